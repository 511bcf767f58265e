"""What a request costs the client: each vendor's SDK against mbk's own way, in one run on the same server.

    python -m benchmarks.vendors [gcp] [azure] [ali] [tc]

Milliseconds of the client's processor time, all its threads together; the servers of the tests run in processes of
their own. Both ways take turns, round by round, and the median of the rounds counts.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from benchmarks import vendor_sdks
from benchmarks.vendor_sdks import Way
from mbk.ports.storage import MIB, Storage
from mbk_ali.settings import AliSettings
from mbk_ali.storage import open_storage as open_ali
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import open_storage as open_azure
from mbk_gcp.settings import GcpSettings
from mbk_gcp.storage import open_storage as open_gcp
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage as open_tc
from tests.servers import azurite, cos, gcs, oss

ROUNDS = 5
#: Requests of a kind in a round.
REQUESTS = 40
#: What a page of a listing holds.
LISTED = 1000
SMALL = bytes(range(256)) * 256
#: Got and put in a round for the cost of a GiB.
LARGE = bytes(64 * MIB)

Values = dict[str, Any]


class Ours:
    """mbk's storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def copy(self, key: str, to: str) -> object:
        return self.storage.copy(self.storage, key, to)

    def head(self, key: str) -> object:
        return self.storage.stat(key)

    def page(self, prefix: str) -> int:
        return len([*self.storage.list(prefix)])

    def put(self, key: str, data: bytes) -> object:
        return self.storage.write(key, [data], size=len(data))

    def get(self, key: str) -> int:
        with self.storage.read(key) as chunks:
            return sum(len(chunk) for chunk in chunks)

    def delete(self, keys: Sequence[str]) -> object:
        self.storage.delete(keys)
        return None


@dataclass(frozen=True, slots=True)
class Vendor:
    """``serve`` gives the values of a bucket's settings while its server runs; ``batch`` keys are deleted at once."""

    serve: Callable[[], AbstractContextManager[Values]]
    settings: type[Any]
    open: Callable[[Any], Storage]
    sdk: Callable[[Any], Way]
    batch: int


@contextmanager
def of_gcs() -> Iterator[Values]:
    with gcs.gcs() as server:
        server.rewrite_bytes = len(LARGE)
        token = server.accounts.token(server.account("bench", "bench"))
        yield server.settings(server.make_bucket("bench"), session_token=token)


@contextmanager
def of_azurite() -> Iterator[Values]:
    with azurite.azurite() as accounts:
        account = accounts["alpha"]
        yield account.settings(account.make_bucket("bench"))


@contextmanager
def of_oss() -> Iterator[Values]:
    with oss.oss() as front:
        account = front.user("bench", "bench")
        yield account.settings(account.make_bucket("bench"), region=oss.OSS_REGION)


@contextmanager
def of_cos() -> Iterator[Values]:
    with cos.cos() as front:
        account = front.user("bench", "bench-*")
        yield account.settings(account.make_bucket(f"bench-{cos.APPID}"))


VENDORS = {
    "gcp": Vendor(of_gcs, GcpSettings, open_gcp, vendor_sdks.Gcp, 100),
    "azure": Vendor(of_azurite, AzureSettings, open_azure, vendor_sdks.Azure, 256),
    "ali": Vendor(of_oss, AliSettings, open_ali, vendor_sdks.Ali, 1000),
    "tc": Vendor(of_cos, TcSettings, open_tc, vendor_sdks.Tc, 1000),
}


def _serve(name: str, link: Connection) -> None:
    with VENDORS[name].serve() as values:
        link.send(values)
        link.recv()


@contextmanager
def elsewhere(name: str) -> Iterator[Values]:
    """The values of a server that runs in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(name, there))
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def steps(way: Way, batch: int) -> Iterator[tuple[str, float]]:
    """Names and costs: milliseconds a request, seconds a GiB."""
    for number in range(batch if batch < LISTED else 0):
        way.put(f"deleted/{number}", b"x")
    yield "copy", _each(lambda number: way.copy("small", f"copied/{number}"))
    yield "head", _each(lambda _: way.head("small"))
    yield "page of 1,000", _each(lambda _: _require(way.page("listed/"), LISTED), 3)
    yield "put of 64 KiB", _each(lambda number: way.put(f"put/{number}", SMALL))
    yield "get of 64 KiB", _each(lambda _: _require(way.get("small"), len(SMALL)))
    yield f"delete of {batch:,}", _each(lambda _: way.delete([f"deleted/{i}" for i in range(batch)]), 1)
    gib = 2**30 / len(LARGE) / 1000
    yield "s a GiB got", _each(lambda _: _require(way.get("large"), len(LARGE)), 1) * gib
    yield "s a GiB put", _each(lambda _: way.put("large", LARGE), 1) * gib


def _each(call: Callable[[int], object], times: int = REQUESTS) -> float:
    before = time.process_time()
    for number in range(times):
        call(number)
    return (time.process_time() - before) * 1000 / times


def _require(found: int, wanted: int) -> None:
    if found != wanted:
        raise SystemExit(f"{found} came instead of {wanted}")


def measure(name: str) -> None:
    vendor = VENDORS[name]
    with elsewhere(name) as values:
        settings = vendor.settings(**values)
        ways: dict[str, Way] = {"SDK": vendor.sdk(settings), "mbk": Ours(vendor.open(settings))}
        for number in range(LISTED):
            ways["mbk"].put(f"listed/{number:04}", b"x")
        ways["mbk"].put("small", SMALL)
        ways["mbk"].put("large", LARGE)
        costs: dict[str, dict[str, list[float]]] = {}
        for _ in range(ROUNDS):
            for title, way in ways.items():
                for step, cost in steps(way, vendor.batch):
                    costs.setdefault(step, {}).setdefault(title, []).append(cost)
    print(f"{name:16}{'SDK':>8}{'mbk':>8}{'ratio':>8}")
    for step, found in costs.items():
        sdk, own = median(found["SDK"]), median(found["mbk"])
        print(f"  {step:14}{sdk:8.2f}{own:8.2f}{sdk / own:8.1f}", flush=True)


def main() -> None:
    for name in sys.argv[1:] or VENDORS:
        measure(name)


if __name__ == "__main__":
    main()
