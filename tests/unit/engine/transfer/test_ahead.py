"""Large objects, read in several ranges at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mbk.engine.runtime.run import Run
from mbk.engine.transfer.ahead import AT_ONCE, Ahead
from mbk.errors import Interrupted, PermissionDenied, StorageUnavailable
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import QUICK
from tests.limits import no_more_threads

#: Of a range, in bytes.
RANGE = 1000
SIZES = [1, RANGE - 1, RANGE, RANGE + 1, 3 * RANGE, 6 * RANGE + 5]


def bytes_of(size: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))[:size]


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(MemoryService("bucket"), "bucket")


@pytest.fixture
def run() -> Run:
    return Run(policy=QUICK)


@pytest.fixture
def ahead(storage: MemoryStorage, run: Run) -> Iterator[Ahead]:
    made = Ahead(storage, run, length=RANGE)
    yield made
    made.close()


def still_reading() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mbk-ahead")]


@pytest.mark.parametrize("size", SIZES)
def test_the_bytes_come_in_order(size: int, storage: MemoryStorage, ahead: Ahead) -> None:
    data = bytes_of(size)
    storage.write("key", [data])
    assert b"".join(ahead.chunks("key", size)) == data


def test_without_threads_the_ranges_are_read_one_after_the_other(
    storage: MemoryStorage, ahead: Ahead
) -> None:
    data = bytes_of(9 * RANGE)
    storage.write("key", [data])
    with no_more_threads():
        assert b"".join(ahead.chunks("key", len(data))) == data


def test_no_more_ranges_are_held_than_are_promised(storage: MemoryStorage, ahead: Ahead) -> None:
    data, offsets = bytes_of(12 * RANGE), list[int]()
    storage.write("key", [data])
    storage.fault = lambda operation, _key: offsets.append(1) if operation == "read" else None
    chunks = ahead.chunks("key", len(data))
    taken = 0
    for chunk in chunks:
        taken += len(chunk)
        assert len(offsets) <= taken // RANGE + AT_ONCE + 1
    assert taken == len(data)


def test_a_range_that_breaks_is_read_again(storage: MemoryStorage, ahead: Ahead) -> None:
    data, breaks = bytes_of(5 * RANGE), iter([True, False, True])
    storage.write("key", [data])

    def fault(operation: str, _key: str) -> None:
        if operation == "chunk" and next(breaks, False):
            raise StorageUnavailable("gone", code="gone")

    storage.fault = fault
    assert b"".join(ahead.chunks("key", len(data))) == data


def test_an_error_ends_all_of_it(storage: MemoryStorage, ahead: Ahead) -> None:
    storage.write("key", [bytes_of(8 * RANGE)])

    def fault(operation: str, _key: str) -> None:
        if operation == "read":
            raise PermissionDenied("no", code="no")

    storage.fault = fault
    with pytest.raises(PermissionDenied):
        list(ahead.chunks("key", 8 * RANGE))
    ahead.close()
    assert still_reading() == []


def test_whoever_stops_taking_stops_the_reading(storage: MemoryStorage, ahead: Ahead) -> None:
    storage.write("key", [bytes_of(20 * RANGE)])
    reads = list[str]()
    storage.fault = lambda operation, key: reads.append(key) if operation == "read" else None
    chunks = ahead.chunks("key", 20 * RANGE)
    next(chunks)
    del chunks
    ahead.close()
    assert still_reading() == []
    assert len(reads) <= AT_ONCE


def test_a_cancelled_run_reads_no_further(storage: MemoryStorage, ahead: Ahead, run: Run) -> None:
    storage.write("key", [bytes_of(6 * RANGE)])
    chunks = ahead.chunks("key", 6 * RANGE)
    next(chunks)
    run.cancelled.set()
    with pytest.raises(Interrupted):
        list(chunks)


@pytest.mark.parametrize("more", [1, RANGE + 3])
def test_a_longer_object_gives_more_than_was_expected(
    more: int, storage: MemoryStorage, ahead: Ahead
) -> None:
    storage.write("key", [bytes_of(3 * RANGE + more)])
    assert sum(map(len, ahead.chunks("key", 3 * RANGE))) > 3 * RANGE
    assert sum(map(len, ahead.chunks("key", 3 * RANGE + more + 1))) < 3 * RANGE + more + 1
