"""What can go wrong with a Milvus, on demand.

    faults = double.faults
    faults.rate_limit("Flush", times=2)
    faults.lose_answer("CreateCollection")                  # it is done, and the answer is UNAVAILABLE
    faults.segment_not_found(times=3)                       # GetPersistentSegmentInfo while compaction runs
    faults.slow_flush(polls=5)
    faults.fail_import("disk quota exceeded", when=lambda job: job.collection == "docs")
    faults.stall_import(at=40)
    faults.http("/v2/vectordb/segments/describe", status=500, times=1)
    faults.rest_down()

``rpc`` and ``path`` are patterns (``Get*``). ``after`` calls that match pass first, then ``times`` are struck (None: all
that follow); ``when`` looks at the request. Rules are asked in the order in which they were given. Every method returns
its `Rule`, whose ``struck`` says how often it did something.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import grpc

from tests.milvus_double.refusal import Refused, RpcFailure, rate_limited

Predicate = Callable[[Any], bool]
#: Kinds of jobs: imports, exports and restores of snapshots.
IMPORT, EXPORT, RESTORE = "import", "export", "restore"


def _anything(_request: Any) -> bool:
    return True


@dataclass(slots=True)
class Rule:
    """One fault. ``act`` is called with what was asked (and answered, where it strikes after) and raises or changes it."""

    pattern: str
    act: Callable[..., Any]
    times: int | None = 1
    after: int = 0
    when: Predicate = _anything
    struck: int = 0
    seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def strikes(self, name: str, request: Any) -> bool:
        if not fnmatchcase(name, self.pattern) or not self.when(request):
            return False
        with self._lock:
            self.seen += 1
            if self.seen <= self.after or (self.times is not None and self.struck >= self.times):
                return False
            self.struck += 1
            return True

    def end(self) -> None:
        self.times = self.struck


@dataclass(frozen=True, slots=True)
class Cut:
    """``status`` 0: no answer at all, the connection is reset; ``done``: what was asked is done nevertheless."""

    status: int = 0
    body: bytes = b""
    done: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobFault:
    """``reason``: the job fails with it; without one it stays at ``percent`` for ever."""

    reason: str = ""
    percent: int = 0


class Faults:
    """All the rules of one double; a hook of its gRPC calls, and asked by its HTTP servers and its imports."""

    def __init__(self) -> None:
        self._before: list[Rule] = []
        self._after: list[Rule] = []
        self._http: list[Rule] = []
        self._jobs: list[Rule] = []
        self._streams: list[Rule] = []

    def clear(self) -> None:
        """All is well again. Jobs that were stalled stay so."""
        for rules in (self._before, self._after, self._http, self._jobs, self._streams):
            rules.clear()

    # -- gRPC ----------------------------------------------------------------------------------------------------------

    def refuse(
        self,
        rpc: str,
        refused: Refused,
        *,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        """An error status of the server; nothing was done."""
        return self._add(self._before, Rule(rpc, _raising(refused), times, after, when))

    def fail(
        self,
        rpc: str,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        details: str = "connection refused",
        *,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        """A call that fails as such, before anything was done."""
        return self._add(self._before, Rule(rpc, _raising(RpcFailure(code, details)), times, after, when))

    def lose_answer(
        self,
        rpc: str,
        code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE,
        *,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        """The work is done, the caller hears only that the call failed."""
        failure = RpcFailure(code, "transport is closing")
        return self._add(self._after, Rule(rpc, _raising(failure), times, after, when))

    def delay(
        self,
        rpc: str,
        seconds: float,
        *,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        return self._add(self._before, Rule(rpc, lambda _request: time.sleep(seconds), times, after, when))

    def change_answer(
        self,
        rpc: str,
        change: Callable[[Any, Any], None],
        *,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        """``change(request, response)`` edits the answer."""
        return self._add(self._after, Rule(rpc, change, times, after, when))

    def rate_limit(
        self, rpc: str, *, times: int | None = 1, after: int = 0, when: Predicate = _anything
    ) -> Rule:
        return self.refuse(rpc, rate_limited(), times=times, after=after, when=when)

    def segment_not_found(self, *, times: int | None = 1, after: int = 0) -> Rule:
        """As ``internal/proxy/impl.go`` answers while a segment of its list was just replaced."""
        refused = Refused("segment not found[segment=1]", code=600)
        return self.refuse("GetPersistentSegmentInfo", refused, times=times, after=after)

    def slow_flush(self, *, polls: int | None = 3) -> Rule:
        """``polls`` questions for the state of a flush are answered with "not yet"; None: all of them."""
        return self.change_answer("GetFlush*State", _not_flushed, times=polls)

    # -- imports -------------------------------------------------------------------------------------------------------

    def fail_import(
        self,
        reason: str,
        *,
        times: int | None = 1,
        after: int = 0,
        when: Callable[[Any], bool] = _anything,
        kind: str = IMPORT,
    ) -> Rule:
        """A job that is accepted, starts and fails; none of its rows are seen. ``kind`` may be `EXPORT` or `RESTORE`."""
        return self._add(self._jobs, Rule(kind, lambda: JobFault(reason), times, after, when))

    def stall_import(
        self,
        *,
        at: int = 30,
        times: int | None = 1,
        after: int = 0,
        when: Callable[[Any], bool] = _anything,
        kind: str = IMPORT,
    ) -> Rule:
        """A job that stays at ``at`` percent."""
        return self._add(self._jobs, Rule(kind, lambda: JobFault(percent=at), times, after, when))

    def of_job(self, job: Any, kind: str = IMPORT) -> JobFault | None:
        rule = next((rule for rule in list(self._jobs) if rule.strikes(kind, job)), None)
        return None if rule is None else rule.act()

    # -- HTTP ----------------------------------------------------------------------------------------------------------

    def http(
        self,
        path: str = "*",
        *,
        status: int = 500,
        body: bytes = b"",
        seconds: float = 0.0,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        """REST and management port: this status, nothing done. ``when`` gets the parsed body or query."""
        fault = Cut(status, body, seconds=seconds)
        return self._add(self._http, Rule(path, lambda: fault, times, after, when))

    def reset_http(
        self,
        path: str = "*",
        *,
        done: bool = False,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        """The connection is closed without an answer; with ``done`` what was asked has been done."""
        return self._add(self._http, Rule(path, lambda: Cut(done=done), times, after, when))

    def rest_down(self) -> Rule:
        """Every REST call is cut off until the rule ends."""
        return self.reset_http("/v2/*", times=None)

    def of_http(self, path: str, asked: Any) -> Cut | None:
        rule = next((rule for rule in list(self._http) if rule.strikes(path, asked)), None)
        return None if rule is None else rule.act()

    # -- replication ---------------------------------------------------------------------------------------------------

    def break_stream(
        self,
        *,
        done: bool = False,
        times: int | None = 1,
        after: int = 0,
        when: Predicate = _anything,
    ) -> Rule:
        """A replicate stream ends at a message; with ``done`` the message has been taken and is not confirmed."""
        return self._add(self._streams, Rule("*", lambda: Cut(done=done), times, after, when))

    def of_stream(self, request: Any) -> Cut | None:
        rule = next((rule for rule in list(self._streams) if rule.strikes("stream", request)), None)
        return None if rule is None else rule.act()

    # -- the hook ------------------------------------------------------------------------------------------------------

    def before(self, rpc: str, request: Any) -> None:
        for rule in list(self._before):
            if rule.strikes(rpc, request):
                rule.act(request)

    def after(self, rpc: str, request: Any, response: Any) -> None:
        for rule in list(self._after):
            if rule.strikes(rpc, request):
                rule.act(request, response)

    @staticmethod
    def _add(rules: list[Rule], rule: Rule) -> Rule:
        rules.append(rule)
        return rule


def _raising(error: Exception) -> Callable[..., None]:
    def act(*_asked: Any) -> None:
        raise error

    return act


def _not_flushed(_request: Any, response: Any) -> None:
    response.flushed = False
