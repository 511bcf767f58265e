"""A share of all requests fails, of both storages and of Milvus, in all ways in which a service can fail."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from tests.milvus_double.refusal import RpcFailure
from tests.robustness.services import Services
from tests.servers.faults import Fault

ERROR = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"
_CODES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED)


@dataclass(slots=True)
class Weather:
    """``rate`` of the requests fail. The list of faults of a proxy, and a hook of a double."""

    rate: float
    seed: int = 0
    struck: int = 0
    _chance: random.Random = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def strikes(self) -> bool:
        with self._lock:
            now = self._chance.random() < self.rate
            self.struck += now
        return now

    def __iter__(self) -> Iterator[Fault]:
        if self.strikes():
            yield self._chance.choice(
                [
                    Fault("answer", status=500, body=ERROR),
                    Fault("answer", status=503),
                    Fault("reset"),
                    Fault("lose"),
                    Fault("cut", after=self._chance.choice((0, 1, 100))),
                    Fault("stall", seconds=0.3),
                    Fault("shorten", method="GET", target=r"/insert_log/|/delta_log/|/meta/"),
                ]
            )

    def before(self, rpc: str, request: Any) -> None:
        if self.strikes():
            raise RpcFailure(self._chance.choice(_CODES), "connection refused")

    def after(self, rpc: str, request: Any, response: Any) -> None:
        if self.strikes():
            raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "transport is closing")

    def over_http(self, _asked: Any) -> bool:
        return self.strikes()


@contextmanager
def stormy(site: Services, rate: float, *, seed: int = 0) -> Iterator[Weather]:
    weather = Weather(rate / 2, seed)  # a call to Milvus can fail twice: before and after
    storage = Weather(rate, seed)
    site.proxy.faults = storage  # type: ignore[assignment]  # it is only iterated
    site.double.hooks.append(weather)
    site.double.faults.http("*", status=503, times=None, when=weather.over_http)
    site.double.faults.reset_http("*", done=True, times=None, when=weather.over_http)
    try:
        yield storage
    finally:
        site.proxy.faults = []
        site.double.hooks.remove(weather)
        site.double.faults.clear()
