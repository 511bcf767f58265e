"""How well a run keeps to its limits, and what it finds out about a storage that refuses what is too much.

``python -m benchmarks.steering``: rates that are set against rates that are reached, then storages that answer each
request after some milliseconds and refuse what is more than they can do, and last what a request costs when nothing
limits. Everything is in memory: the times are those of the limits.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.run import Run
from mbk.engine.runtime.steered import SteeredStorage
from mbk.engine.runtime.tokens import TokenBucket
from mbk.errors import Throttled
from mbk.model.rates import Bandwidth
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import MIB, ObjectInfo, Storage
from mbk.testing import MemoryService, MemoryStorage

WORKERS = 128
KEY = "object"
SIZE = 4 * MIB


class Refusing(StorageWrapper):
    """Answers after ``latency`` seconds, and at once with a refusal what is more than ``most`` or ``rate`` allow."""

    def __init__(self, wrapped: Storage, *, latency: float, most: int = 10**9, rate: float = 10**9) -> None:
        super().__init__(wrapped)
        self.latency, self.most, self.rate = latency, most, rate
        self.refused = self.served = self._now = 0
        self._tokens, self._at = 1.0, time.monotonic()
        self._lock = threading.Lock()

    def stat(self, key: str) -> ObjectInfo:
        with self._lock:
            now = time.monotonic()
            # As services do: tokens that come in at the rate, at most those of a tenth of a second.
            self._tokens = min(max(1.0, self.rate / 10), self._tokens + (now - self._at) * self.rate)
            self._at = now
            if self._now >= self.most or self._tokens < 1:
                self.refused += 1
                raise Throttled("slow down")
            self._now += 1
            self._tokens -= 1
        time.sleep(self.latency)
        with self._lock:
            self._now -= 1
            self.served += 1
        return super().stat(key)


@dataclass(frozen=True, slots=True)
class Reached:
    """What was done in so many seconds of the wall's and of the processor's time."""

    done: float
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        return self.done / self.seconds


def stored() -> MemoryStorage:
    storage = MemoryStorage(MemoryService("bench"), "bench")
    storage.write(KEY, [bytes(SIZE)], size=SIZE)
    return storage


def measured(work: Callable[[], float]) -> Reached:
    began, cpu = time.monotonic(), time.process_time()
    done = work()
    return Reached(done, time.monotonic() - began, time.process_time() - cpu)


def requests(rate: float, seconds: float) -> Reached:
    run = Run(budget=Budget(max_rate=rate))
    storage = retried(stored(), run)
    count = int(rate * seconds)

    def work() -> float:
        with Pool(WORKERS, run.cancelled) as pool:
            pool.run(lambda _: storage.stat(KEY), range(count))
        return count

    return measured(work)


def streamed(limit: int, seconds: float) -> Reached:
    """Copies through the process, by eight threads."""
    run = Run(budget=Budget(max_bandwidth=Bandwidth(limit)))
    storage = retried(stored(), run)
    count = round(limit * seconds / SIZE)

    def one(number: int) -> None:
        def chunks() -> object:
            with storage.read(KEY) as stream:
                yield from stream

        storage.write(f"copy/{number % 8}", chunks(), size=SIZE)  # type: ignore[arg-type]  # a generator of bytes

    def work() -> float:
        with Pool(8, run.cancelled) as pool:
            pool.run(one, range(count))
        return count * SIZE

    return measured(work)


def refused(
    count: int, budget: Budget, *, latency: float, **limits: float
) -> tuple[Reached, Refusing, Run, int]:
    run = Run(budget=budget)
    refusing = Refusing(stored(), latency=latency, **limits)  # type: ignore[arg-type]  # most and rate
    storage = retried(refusing, run)

    def work() -> float:
        with Pool(WORKERS, run.cancelled) as pool:
            pool.run(lambda _: storage.stat(KEY), range(count))
        return count

    reached = measured(work)
    return reached, refusing, run, run.steering.gate(refusing.location).flow.limit


def tell_refused(what: str, count: int, knowing: Budget, *, latency: float, **limits: float) -> None:
    """Against a run that was told what the storage can do."""
    ideal, *_ = refused(count, knowing, latency=latency, **limits)
    for adaptive in (True, False):
        budget = Budget(copies=WORKERS, adaptive=adaptive)
        reached, refusing, run, limit = refused(count, budget, latency=latency, **limits)
        how = f"adapts, {limit} at the end" if adaptive else f"always {WORKERS}"
        print(
            f"| {what}, {count} requests | {how} | {reached.seconds:.1f} s | {ideal.seconds / reached.seconds:.0%} | "
            f"{refusing.refused} | {run.retry.retries} | {reached.cpu:.2f} s |",
            flush=True,
        )


def cost() -> None:
    run = Run()
    bare = SteeredStorage(stored(), run)
    rounds = 200_000

    def nothing() -> None:
        pass

    def each(call: Callable[[], object]) -> float:
        def loop() -> float:
            for _ in range(rounds):
                call()
            return rounds

        return min(measured(loop).cpu for _ in range(3)) / rounds * 1e6

    limited = TokenBucket(lambda: 1e9)
    print(f"a request that nothing limits: {each(lambda: bare.request(nothing)) - each(nothing):.1f} µs")
    print(f"a token that is there: {each(lambda: limited.take(1, run.cancelled)) - each(nothing):.1f} µs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each rate")
    seconds = parser.parse_args().seconds
    for rate in (50, 200, 1000):
        reached = requests(rate, seconds)
        print(f"| {rate} requests/s | {reached.rate:.1f} | {reached.rate / rate - 1:+.1%} |", flush=True)
    for limit in (10, 50):
        reached = streamed(limit * MIB, seconds)
        print(
            f"| {limit} MiB/s | {reached.rate / MIB:.1f} | {reached.rate / limit / MIB - 1:+.1%} |",
            flush=True,
        )
    share = max(0.01, min(1.0, seconds / 8))
    for most in (10, 40, 100):
        knowing = Budget(copies=most, adaptive=False)
        tell_refused(f"{most} at once", int(150 * most * share), knowing, latency=0.02, most=most)
    for rate in (100, 500):
        tell_refused(
            f"{rate} a second", int(6 * rate * share), Budget(max_rate=rate), latency=0.02, rate=rate
        )
    cost()


if __name__ == "__main__":
    main()
