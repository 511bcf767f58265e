"""Rates and concurrency, on a clock that only waiting moves."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from heapq import heappop, heappush, heapreplace
from random import Random
from typing import Any

import pytest

from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.concurrency import START, Concurrency, Outcome, Ticket
from mbk.engine.runtime.fence import OPEN
from mbk.engine.runtime.fenced import FencedStorage
from mbk.engine.runtime.layer import peeled, reach
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.retry import RetryPolicy
from mbk.engine.runtime.run import Run
from mbk.engine.runtime.steering import Steering
from mbk.engine.runtime.tokens import TokenBucket
from mbk.errors import DeleteFailed, Interrupted, StorageUnavailable, Throttled
from mbk.model.rates import Bandwidth
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import MIB, Deferring, ObjectInfo, ObjectVersion, Storage, Tidying, Versioned
from mbk.testing import MemoryService, MemoryStorage

QUICK = RetryPolicy(first=0.0001, ceiling=0.0001)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Clock(threading.Event):
    """Time passes only while somebody waits for this event; it is that of one thread."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, timeout: float | None = None) -> bool:
        self.now += timeout or 0.0
        return self.is_set()


def world(clock: Clock, **limits: Any) -> tuple[Storage, Run]:
    """A storage in memory, within the limits."""
    budget = Budget(**limits)
    steering = Steering(budget, clock=clock, now=lambda: NOON)
    run = Run(cancelled=clock, policy=QUICK, budget=budget, steering=steering)
    return retried(MemoryStorage(MemoryService("bucket"), "bucket"), run), run


# -- tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", [1, 7, 400])
def test_a_bucket_holds_its_rate(amount: int) -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: 200.0, clock=clock)
    for _ in range(0, 4000, amount):
        bucket.take(amount, clock)
    bucket.take(0, clock)
    assert clock.now == pytest.approx(20, rel=0.05)


def test_tokens_of_an_idle_time_are_not_saved_up() -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: 100.0, clock=clock)
    clock.now = 3600.0
    for _ in range(1000):
        bucket.take(1, clock)
    assert clock.now - 3600 == pytest.approx(10, rel=0.05)


def test_who_waits_notices_that_the_limit_was_lifted() -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: 1.0 if clock.now < 10 else None, clock=clock)
    bucket.take(1_000_000, clock)
    assert bucket.take(1, clock)
    assert clock.now == pytest.approx(10, abs=1.0)
    assert not bucket.take(1_000_000, clock)


def test_a_cancelled_run_waits_for_no_token() -> None:
    clock = Clock()
    bucket = TokenBucket(lambda: 1.0, clock=clock)
    bucket.take(3600, clock)
    clock.set()
    with pytest.raises(Interrupted):
        bucket.take(1, clock)


# -- concurrency -------------------------------------------------------------------------------------------------


class Service:
    """Answers each request after one unit of time; what is more than ``most`` at once is refused after a tenth of it.

    ``queues``: none is refused, and what is more than ``most`` at once waits for its turn. ``takes``: units of time for the
    request of this number.
    """

    def __init__(
        self, most: int, *, queues: bool = False, takes: Callable[[int], float] = lambda _: 1.0
    ) -> None:
        self.now = 0.0
        self.flow, self.most = Concurrency(128, adaptive=True, clock=lambda: self.now), most
        self._takes = takes
        self._turns: list[float] | None = [0.0] * most if queues else None
        self.served = self.refused = self._requests = self._serving = 0
        #: When each ends, its number, and whether it is refused.
        self._running: list[tuple[float, int, bool, Ticket]] = []

    def serve(self, count: int) -> None:
        """Until so many more are served, with as many at once as may be in flight."""
        until = self.served + count
        while self.served < until:
            while len(self._running) < self.flow.limit:
                self._begin()
            self.now, _, refused, ticket = heappop(self._running)
            self._end(ticket, refused=refused)

    def refuse_all(self) -> None:
        """Refuses what is in flight."""
        while self._running:
            self._end(heappop(self._running)[3], refused=True)

    def _begin(self) -> None:
        self._requests += 1
        ticket = self.flow.enter(threading.Event(), thread=self._requests)
        assert ticket is not None
        refused = self._turns is None and self._serving >= self.most
        self._serving += not refused
        heappush(self._running, (self._until(refused=refused), self._requests, refused, ticket))

    def _until(self, *, refused: bool) -> float:
        if refused:
            return self.now + 0.1
        if self._turns is None:
            return self.now + self._takes(self._requests)
        until = max(self.now, self._turns[0]) + self._takes(self._requests)
        heapreplace(self._turns, until)
        return until

    def _end(self, ticket: Ticket, *, refused: bool) -> None:
        self.flow.leave(ticket, Outcome.REFUSED if refused else Outcome.SERVED)
        self._serving -= not refused
        self.served += not refused
        self.refused += refused


@pytest.mark.parametrize("most", [3, 16, 50, 100])
def test_concurrency_settles_near_what_the_storage_can_do(most: int) -> None:
    service = Service(most)
    service.serve(200 * most)
    assert service.now < 200 / 0.9, "the beginning included"
    assert service.refused < 0.2 * service.served


def test_concurrency_grows_to_its_maximum_within_a_few_round_trips() -> None:
    service = Service(1000)
    assert service.flow.limit == START
    service.serve(1000)
    assert service.flow.limit == 128
    assert service.now <= 20


@pytest.mark.parametrize("most", [6, 16, 50])
def test_it_does_not_grow_beyond_what_makes_the_storage_faster(most: int) -> None:
    service = Service(most, queues=True)
    service.serve(400 * most)
    assert service.now < 400 / 0.9, "the beginning included"
    assert service.flow.limit < 4 * most


def test_objects_of_many_sizes_do_not_hold_it_down() -> None:
    random = Random(7)
    service = Service(1000, takes=lambda _: random.paretovariate(1.5))
    service.serve(4000)
    assert service.flow.limit == 128


def test_what_is_slow_for_a_while_is_found_to_be_fast_again() -> None:
    service = Service(1000, takes=lambda number: 50.0 if 20 < number < 60 else 1.0)
    service.serve(3000)
    assert service.flow.limit == 128


def test_it_does_not_grow_while_fewer_requests_are_made() -> None:
    flow = Concurrency(128, adaptive=True)
    for _ in range(1000):
        flow.leave(flow.enter(threading.Event()), Outcome.SERVED)
    assert flow.limit == START


def test_a_hundred_refusals_at_once_halve_it_once() -> None:
    service = Service(1000)
    service.serve(1000)
    service.refuse_all()
    assert service.flow.limit == 64


def test_it_is_never_below_one() -> None:
    flow = Concurrency(128, adaptive=True)
    for _ in range(20):
        flow.leave(flow.enter(threading.Event()), Outcome.REFUSED)
    assert flow.limit == 1


def test_a_given_concurrency_stays_as_it_is() -> None:
    flow = Concurrency(20, adaptive=False)
    for outcome in (Outcome.REFUSED, Outcome.SERVED):
        flow.leave(flow.enter(threading.Event()), outcome)
    assert flow.limit == 20


class Refusing(StorageWrapper):
    """Refuses what is more than ``most`` requests at once; none ends before ``most`` have begun or nobody comes."""

    def __init__(self, wrapped: Storage, most: int, kind: type[Exception] = Throttled) -> None:
        super().__init__(wrapped)
        self.most, self.kind = most, kind
        self.now = self.peak = self.refused = 0
        self._lock = threading.Condition()

    def stat(self, key: str) -> ObjectInfo:
        with self._lock:
            self.now += 1
            self.peak = max(self.peak, self.now)
            refused = self.now > self.most
            self.refused += refused
            self._lock.wait(0.002)
            self.now -= 1
        if refused:
            raise self.kind("slow down")
        return super().stat(key)


@pytest.mark.parametrize("kind", [Throttled, StorageUnavailable])
def test_a_run_over_a_storage_that_refuses_ends_without_a_failure(kind: type[Exception]) -> None:
    run = Run(policy=QUICK, budget=Budget(copies=64))
    service = MemoryStorage(MemoryService("bucket"), "bucket")
    service.write("key", [b"x"])
    refusing = Refusing(service, 10, kind)
    storage = retried(refusing, run)
    with Pool(64, run.cancelled) as pool:
        found = list(pool.map(lambda _: storage.stat("key").size, range(600)))
    assert found == [1] * 600
    assert 0 < refusing.refused == run.brakes.refused
    assert refusing.peak <= run.brakes.most < 64


def test_a_given_concurrency_is_never_exceeded() -> None:
    run = Run(policy=QUICK, budget=Budget(copies=5, adaptive=False))
    service = MemoryStorage(MemoryService("bucket"), "bucket")
    service.write("key", [b"x"])
    limited = Refusing(service, 5)
    storage = retried(limited, run)
    with Pool(40, run.cancelled) as pool:
        pool.run(lambda _: storage.stat("key"), range(200))
    assert (limited.peak, limited.refused) == (5, 0)


def test_a_cancelled_run_waits_for_no_request_of_others() -> None:
    flow, stop = Concurrency(1, adaptive=False), threading.Event()
    first = flow.enter(stop)
    errors: list[BaseException] = []

    def second() -> None:
        try:
            flow.enter(stop)
        except Interrupted as error:
            errors.append(error)

    other = threading.Thread(target=second)
    other.start()
    stop.set()
    other.join(timeout=60)
    assert len(errors) == 1
    flow.leave(first, Outcome.SERVED)
    assert flow.enter(threading.Event()) is not None


class _CtrlC(threading.Event):
    def is_set(self) -> bool:
        raise KeyboardInterrupt


def test_whoever_is_interrupted_while_waiting_keeps_no_turn() -> None:
    flow = Concurrency(1, adaptive=False)
    first = flow.enter(threading.Event())
    with pytest.raises(KeyboardInterrupt):
        flow.enter(_CtrlC(), thread=2)
    flow.leave(first, Outcome.SERVED)
    over = threading.Event()
    over.set()  # who has to wait would be told so
    assert flow.enter(over) is not None


# -- storages ----------------------------------------------------------------------------------------------------


def test_every_request_of_every_call_counts() -> None:
    clock = Clock()
    storage, run = world(clock, max_rate=10.0)
    for number in range(2500):
        storage.write(f"a/{number}", [b"x"])
    assert clock.now == pytest.approx(250, rel=0.05)

    clock.now += 60
    began = clock.now
    assert len(list(storage.list("a/"))) == 2500
    storage.stat("a/1")
    storage.stat("a/1")
    assert clock.now - began == pytest.approx(0.4, abs=0.11), (
        "three pages and two requests, the last one unpaid"
    )
    assert run.brakes.waited_for_requests


class Able(StorageWrapper):
    """With the abilities that make requests; each call fails once, for a moment."""

    def __init__(self, wrapped: Storage) -> None:
        super().__init__(wrapped)
        self.calls: list[str] = []

    def _answer(self, call: str) -> int:
        self.calls.append(call)
        if self.calls.count(call) == 1:
            raise StorageUnavailable("busy")
        return 1

    def tidy(self, prefix: str) -> int:
        return self._answer(f"tidy {prefix}")

    def defer(self, prefix: str) -> None:
        self._answer(f"defer {prefix}")

    def settle(self, prefix: str) -> None:
        self._answer(f"settle {prefix}")

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        for page in (0, 1):
            self._answer(f"versions {prefix}")
            yield from (ObjectVersion(key=f"{number}", version=f"{page}") for number in range(1000))

    def delete_versions(self, versions: Iterable[ObjectVersion]) -> None:
        self._answer(f"delete {len([*versions])}")


def test_what_only_some_storages_can_do_is_counted_and_tried_again_too() -> None:
    clock = Clock()
    bare, run = world(clock, max_rate=1.0)
    able = Able(peeled(bare))
    storage = FencedStorage(retried(able, run), OPEN, lambda _: True)
    clock.now = 0.0
    tidying, deferring = reach(storage, Tidying), reach(storage, Deferring)
    versioned = reach(storage, Versioned)
    assert tidying is not None
    assert tidying.tidy("a") == 1
    assert deferring is not None
    deferring.defer("a")
    deferring.settle("a")
    assert versioned is not None
    found = [*versioned.versions("a")]
    versioned.delete_versions(found[:2])
    assert len(found) == 2000
    assert able.calls.count("versions a") == 3
    assert run.retry.retries == 5
    assert clock.now == pytest.approx(len(able.calls), abs=2)
    assert reach(bare, Tidying) is None


def test_keys_are_deleted_in_the_batches_that_the_storage_takes() -> None:
    clock = Clock()
    storage, _ = world(clock, max_rate=1.0)
    keys = [f"a/{number}" for number in range(10)]
    for key in keys:
        storage.write(key, [b"x"])
    clock.now += 60
    began = clock.now
    storage.delete(keys)
    assert not list(storage.list("a/"))
    batches = -(-10 // storage.capabilities.delete_batch)
    assert clock.now - began == pytest.approx(batches, abs=1.1)


def test_attempts_that_fail_count_too() -> None:
    clock = Clock()
    budget = Budget(max_rate=1.0)
    run = Run(cancelled=clock, policy=QUICK, budget=budget, steering=Steering(budget, clock=clock))
    storage = retried(Refusing(MemoryStorage(MemoryService("bucket"), "bucket"), 0), run)
    with pytest.raises(Throttled):
        storage.stat("key")
    assert clock.now == pytest.approx(QUICK.attempts - 1, abs=0.1)


def test_bytes_are_held_to_the_bandwidth_each_way() -> None:
    clock = Clock()
    storage, run = world(clock, max_bandwidth=Bandwidth.parse("1MiB/s"))
    storage.write("key", [bytes(8 * MIB)], size=8 * MIB)
    written = clock.now
    assert written == pytest.approx(8, abs=1.1)
    with storage.read("key") as chunks:
        assert sum(map(len, chunks)) == 8 * MIB
    assert clock.now - written == pytest.approx(8, abs=1.1)
    assert "transfer.maxBandwidth held it to 1MiB/s" in run.brakes.limited(run.budget)


def test_the_bandwidth_follows_the_time_of_day() -> None:
    clock = Clock()
    storage, _ = world(clock, max_bandwidth=Bandwidth.parse("11:00-13:00 1MiB/s; unlimited"))
    storage.write("key", [bytes(8 * MIB)], size=8 * MIB)
    assert clock.now == pytest.approx(8, abs=1.1)
    clock = Clock()
    storage, _ = world(clock, max_bandwidth=Bandwidth.parse("13:00-11:00 1MiB/s; unlimited"))
    storage.write("key", [bytes(8 * MIB)], size=8 * MIB)
    assert clock.now == 0


def test_a_server_side_copy_moves_no_bytes() -> None:
    clock = Clock()
    storage, _ = world(clock, max_bandwidth=Bandwidth.parse("1MiB/s"))
    storage.write("key", [bytes(MIB)], size=MIB)
    clock.now = 60.0
    for number in range(100):
        storage.copy(storage, "key", f"copy-{number}")
    assert clock.now == 60


def test_what_is_urgent_is_counted_and_does_not_wait() -> None:
    clock = Clock()
    storage, run = world(clock, max_rate=1.0, copies=1, adaptive=False)
    urgent = retried(peeled(storage), run, urgent=True)
    for _ in range(5):
        urgent.write("lease", [b"x"])
    assert clock.now == 0
    storage.write("key", [b"x"])
    assert clock.now == pytest.approx(5, abs=0.1)


def test_a_streamed_copy_within_one_storage_needs_one_turn() -> None:
    storage, _ = world(Clock(), copies=1, adaptive=False)
    storage.write("key", [b"content"])

    def chunks() -> Iterator[bytes]:
        with storage.read("key") as stream:
            yield from stream

    storage.write("copy", chunks())
    assert storage.stat("copy").size == 7


def test_a_write_that_waits_for_what_other_threads_read_does_not_keep_them_from_reading() -> None:
    """As large objects are streamed within one bucket: their ranges are read ahead by threads of their own."""
    run = Run(budget=Budget(copies=1, adaptive=False))
    storage = retried(MemoryStorage(MemoryService("bucket"), "bucket"), run)
    storage.write("key", [b"content"])

    def read(_: int) -> bytes:
        with storage.read("key") as stream:
            return b"".join(stream)

    with Pool(4, run.cancelled) as readers, Pool(4, run.cancelled) as writers:
        writers.run(lambda number: storage.write(f"copy/{number}", readers.map(read, range(3))), range(20))
    assert {entry.size for entry in storage.list("copy/")} == {21}


def test_an_error_of_the_source_says_nothing_of_the_destination() -> None:
    storage, run = world(Clock())

    def broken() -> Iterator[bytes]:
        yield b"x"
        raise Throttled("the source is busy")

    with pytest.raises(Throttled):
        storage.write("copy", broken())
    assert run.brakes.refused == 0


def test_storages_of_one_bucket_share_their_limits_and_others_do_not() -> None:
    clock = Clock()
    storage, run = world(clock, max_rate=1.0)
    bare = peeled(storage)
    assert isinstance(bare, MemoryStorage)
    same = retried(MemoryStorage(bare.service, "bucket", root="other/"), run)
    storage.write("a", [b"x"])
    same.write("b", [b"x"])
    assert clock.now == pytest.approx(1, abs=0.1)
    other = retried(MemoryStorage(MemoryService("another"), "another"), run)
    other.write("c", [b"x"])
    assert clock.now == pytest.approx(1, abs=0.1)


def test_keys_that_stay_are_named_whatever_batch_they_are_in() -> None:
    class Stubborn(StorageWrapper):
        def delete(self, keys: Any) -> None:
            raise DeleteFailed("{count} keys stay", failures=dict.fromkeys(keys, "held"), count=1)

    clock = Clock()
    budget = Budget(max_rate=1000.0)
    run = Run(cancelled=clock, policy=QUICK, budget=budget, steering=Steering(budget, clock=clock))
    storage = retried(Stubborn(MemoryStorage(MemoryService("bucket"), "bucket")), run)
    keys = [f"k{number}" for number in range(2500)]
    with pytest.raises(DeleteFailed) as caught:
        storage.delete(keys)
    assert [*caught.value.failures] == keys


# -- shares ------------------------------------------------------------------------------------------------------


def test_the_shares_of_several_processes_are_the_budget_together() -> None:
    budget = Budget(copies=100, max_rate=200.0, max_bandwidth=Bandwidth.parse("01:00-02:00 8MiB/s; 80MiB/s"))
    share = pickle.loads(pickle.dumps(budget.shared(4)))
    assert (share.copies, share.max_rate) == (25, 50.0)
    assert str(share.max_bandwidth) == "01:00-02:00 2MiB/s; 20MiB/s"
    assert share.memory == budget.memory // 4
    assert Budget(copies=2).shared(8).copies == 1
