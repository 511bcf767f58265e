from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import pytest

from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import (
    InvalidKey,
    MbkError,
    ObjectArchived,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unsupported,
    UsageError,
    VerificationFailed,
)
from mbk.model.events import Event, Notice, ObjectCopied, RetryScheduled
from mbk.model.reports import TransferStats
from mbk.ports.storage import MIB, Capabilities, ObjectInfo
from mbk.testing import MemoryService, MemoryStorage
from mbk.testing.memory import EVERYTHING
from tests.fakes.digests import Digesting
from tests.fakes.world import QUICK
from tests.raising import raised

Fault = Callable[[str, str], None]


class Pair:
    """A source with objects and an empty destination, in two buckets of one service or in two services."""

    def __init__(
        self,
        *,
        one_service: bool = True,
        capabilities: Capabilities = EVERYTHING,
        budget: Budget | None = None,
    ) -> None:
        service = MemoryService("from", "to")
        self.source = MemoryStorage(service, "from")
        self.destination = MemoryStorage(
            service if one_service else MemoryService("to"), "to", capabilities=capabilities
        )
        self.events: list[Event] = []
        self.made = Run(self.events.append, policy=QUICK, budget=budget or Budget(copies=4))

    def put(self, *sizes: int) -> list[CopyItem]:
        items = []
        for number, size in enumerate(sizes):
            self.source.write(f"a/{number}", [bytes([number % 251]) * size])
            items.append(CopyItem(source_key=f"a/{number}", key=f"b/{number}", size=size))
        return items

    def copy(
        self,
        items: list[CopyItem],
        *,
        mode: str = "auto",
        threshold: int = 10**9,
        present: Mapping[str, ObjectInfo] | None = None,
    ) -> TransferStats:
        limits = TransferLimits(mode=mode, part_threshold=threshold)
        with Transfer(
            source=self.source, destination=self.destination, run=self.made, limits=limits
        ) as transfer:
            transfer.copy(items, collection="default.docs", present=present or {})
            return transfer.stats

    def arrived(self, items: list[CopyItem]) -> bool:
        return all(self.destination.get(i.key).data == self.source.get(i.source_key).data for i in items)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def failing(
    operation: str, error: Callable[[], BaseException], *, times: int = 10**9, key: str = ""
) -> Fault:
    left = [times]
    lock = threading.Lock()

    def fault(called: str, what: str) -> None:
        if called == operation and key in what:
            with lock:
                left[0] -= 1
                if left[0] < 0:
                    return
            raise error()

    return fault


def test_objects_of_one_service_are_copied_without_their_bytes_passing_through() -> None:
    pair = Pair()
    pair.source.fault = failing("read", lambda: AssertionError("bytes were read"))
    items = pair.put(1, 0, 200_000)
    stats = pair.copy(items)
    assert pair.arrived(items)
    assert stats.objects == {"server": 3}
    assert stats.bytes == {"server": 200_001}
    assert stats.streamed_because is stats.streamed_hint is None


def test_objects_of_another_service_are_streamed_and_the_report_says_why() -> None:
    pair = Pair(one_service=False)
    items = pair.put(1, 200_000)
    stats = pair.copy(items)
    assert pair.arrived(items)
    assert stats.objects == {"stream": 2}
    assert stats.streamed_because == "source and destination are different services"
    assert "within one service" in (stats.streamed_hint or "")


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: PermissionDenied("may not read the source"),
        lambda: Unsupported("not implemented"),
        lambda: ObjectNotFound("no such bucket, says the other account"),
        lambda: StorageError("bad request"),
        lambda: StorageUnavailable("internal error").final(),
    ],
    ids=["forbidden", "unsupported", "hidden", "bad", "broken"],
)
def test_a_refused_server_side_copy_is_tried_once_then_everything_is_streamed(
    refusal: Callable[[], MbkError],
) -> None:
    pair = Pair()
    tries = Counter[str]()

    def fault(operation: str, _key: str) -> None:
        tries[operation] += 1
        if operation == "copy":
            raise refusal()

    pair.destination.fault = fault
    items = pair.put(*[10] * 40)
    stats = pair.copy(items)
    assert pair.arrived(items)
    assert tries["copy"] == 1
    assert stats.objects == {"stream": 40}
    reason = stats.streamed_because or ""
    assert str(pair.source.location) in reason
    assert str(pair.destination.location) in reason
    assert refusal().message not in reason
    assert [event.code for event in pair.of(Notice)] == ["streaming"]
    assert refusal().message in pair.of(Notice)[0].message


@pytest.mark.parametrize("error", [StorageFull, InvalidKey, ObjectArchived, Throttled])
def test_what_streaming_would_not_mend_is_told(error: type[MbkError]) -> None:
    pair = Pair()
    pair.destination.fault = failing("copy", lambda: error("no").final())
    with pytest.raises(error):
        pair.copy(pair.put(1))
    assert not pair.of(Notice)


def test_one_object_that_the_service_refuses_among_others_is_streamed_alone() -> None:
    """Its parts cannot be copied, say, which the smaller ones before it did not need."""
    pair = Pair()
    items = pair.put(10, 10, 10, 10)
    pair.destination.fault = failing("copy", lambda: StorageError("bad request"), key=items[2].key)
    pair.made = Run(pair.events.append, policy=QUICK, budget=Budget(copies=1))
    stats = pair.copy(items)
    assert pair.arrived(items)
    assert stats.objects == {"server": 3, "stream": 1}
    assert [event.code for event in pair.of(Notice)] == ["streaming-some"]


def test_a_source_object_that_is_really_gone_is_not_taken_for_a_refusal() -> None:
    pair = Pair()
    with pytest.raises(ObjectNotFound):
        pair.copy([CopyItem(source_key="a/gone", key="b/gone", size=3)])
    assert not pair.of(Notice)


def test_direct_mode_raises_instead_of_streaming() -> None:
    pair = Pair()
    pair.destination.fault = failing("copy", lambda: PermissionDenied("may not"))
    with pytest.raises(PermissionDenied):
        pair.copy(pair.put(1), mode="direct")
    with pytest.raises(Unsupported):
        Pair(one_service=False).copy([CopyItem(source_key="a", key="b", size=1)], mode="direct")


def test_streaming_mode_never_asks_for_a_copy() -> None:
    pair = Pair()
    pair.destination.fault = failing("copy", lambda: AssertionError("asked"))
    stats = pair.copy(pair.put(5), mode="streaming")
    assert stats.objects == {"stream": 1}
    assert stats.streamed_because == "the configuration asks for it"
    assert "transfer.mode" in (stats.streamed_hint or "")


def test_what_would_let_the_service_copy_is_told_where_a_grant_does() -> None:
    pair = Pair()
    pair.destination.fault = failing("copy", lambda: PermissionDenied("may not read the source"))
    told = pair.copy(pair.put(1)).streamed_hint
    assert told == f"let the credentials of {pair.destination.location} read {pair.source.location}"
    pair = Pair()
    pair.destination.fault = failing("copy", lambda: Unsupported("no copies here"))
    assert pair.copy(pair.put(1)).streamed_hint is None


def test_only_errors_that_can_pass_are_tried_again() -> None:
    pair = Pair()
    pair.destination.fault = failing("copy", lambda: Throttled("slow down"), times=3)
    stats = pair.copy(pair.put(5, 5))
    assert stats.objects == {"server": 2}
    assert stats.retries == 3 == len(pair.of(RetryScheduled))

    pair = Pair()
    pair.copy(pair.put(5))
    pair.destination.fault = failing("copy", lambda: PermissionDenied("no"))
    with pytest.raises(PermissionDenied):
        pair.copy(pair.put(5), mode="direct")
    assert not pair.of(RetryScheduled)


def test_attempts_are_not_multiplied_by_reading_inside_of_writing() -> None:
    pair = Pair(one_service=False)
    reads = Counter[str]()

    def fault(operation: str, _key: str) -> None:
        reads[operation] += 1
        if operation == "read":
            raise StorageUnavailable("nobody answers")

    pair.source.fault = fault
    with pytest.raises(StorageUnavailable) as caught:
        pair.copy(pair.put(5))
    assert reads["read"] == QUICK.attempts
    assert not caught.value.retryable


def test_a_storage_that_is_down_costs_a_budget_and_not_attempts_times_objects() -> None:
    pair = Pair()
    pair.made = Run(pair.events.append, policy=dataclasses.replace(QUICK, attempts=50, budget=10))
    pair.destination.fault = failing("copy", lambda: StorageUnavailable("nobody answers"))
    with pytest.raises(StorageUnavailable):
        pair.copy(pair.put(*[1] * 100), mode="direct")
    assert len(pair.of(RetryScheduled)) <= 10


def test_a_stream_that_breaks_is_taken_up_where_it_broke() -> None:
    pair = Pair(one_service=False)
    items = pair.put(MemoryStorage.chunk_size * 20)
    offsets = []
    read = pair.source.read

    def watched(key: str, *, offset: int = 0, length: int | None = None) -> object:
        offsets.append(offset)
        return read(key, offset=offset, length=length)

    pair.source.read = watched
    chunks = [0]

    def fault(operation: str, _key: str) -> None:
        if operation == "chunk":
            chunks[0] += 1
            if chunks[0] % 2 == 0:
                raise TransferInterrupted("connection reset")

    pair.source.fault = fault
    pair.copy(items)
    assert pair.arrived(items)
    # Nineteen breaks are more than the attempts for one piece: progress starts the count anew.
    assert offsets == [MemoryStorage.chunk_size * number for number in range(20)]


PARTS = dataclasses.replace(EVERYTHING, max_copy_size=1000, min_part_size=1, max_part_size=400)


def test_an_object_above_the_threshold_is_copied_in_parts() -> None:
    pair = Pair(capabilities=PARTS)
    parts = Counter[str]()

    def fault(operation: str, key: str) -> None:
        if operation in ("copy", "copy_part", "complete"):
            parts[operation, key] += 1

    pair.destination.fault = fault
    items = pair.put(399, 500, 1001)
    stats = pair.copy(items, threshold=500)
    assert pair.arrived(items)
    assert parts == {("copy", "b/0"): 1, ("copy_part", "b/1"): 2, ("complete", "b/1"): 1,
                     ("copy_part", "b/2"): 3, ("complete", "b/2"): 1}  # fmt: skip
    assert stats.objects == {"server": 3}


@pytest.mark.parametrize("operation", ["multipart", "copy_part", "complete"])
def test_each_step_of_a_part_copy_is_tried_again(operation: str) -> None:
    pair = Pair(capabilities=PARTS)
    pair.destination.fault = failing(operation, lambda: Throttled("slow down"), times=2)
    items = pair.put(900)
    pair.copy(items, threshold=500)
    assert pair.arrived(items)
    assert not pair.destination.bucket.uploads


def test_a_part_copy_that_fails_leaves_no_upload() -> None:
    pair = Pair(capabilities=PARTS)
    pair.destination.fault = failing("copy_part", lambda: PermissionDenied("no"))
    with pytest.raises(PermissionDenied):
        pair.copy(pair.put(900), threshold=500, mode="direct")
    assert not pair.destination.bucket.uploads
    assert not pair.destination.bucket.objects


def test_an_object_too_large_to_copy_is_streamed_alone_where_parts_cannot_be_copied() -> None:
    pair = Pair(capabilities=dataclasses.replace(PARTS, part_copy=False))
    items = pair.put(2000, 10, 2000, 10)
    stats = pair.copy(items)
    assert pair.arrived(items)
    assert stats.objects == {"server": 2, "stream": 2}


def test_empty_objects_are_copied_whatever_the_threshold() -> None:
    pair = Pair()
    items = pair.put(0)
    pair.copy(items, threshold=0)
    assert pair.arrived(items)


def test_the_first_permanent_error_stops_the_rest_and_nothing_works_on_behind() -> None:
    pair = Pair()
    items = pair.put(*[1] * 500)
    pair.destination.fault = failing("copy", lambda: PermissionDenied("no"), key="b/5")
    with pytest.raises(PermissionDenied):
        pair.copy(items, mode="direct")
    assert len(pair.destination.bucket.objects) < 400
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mbk-copy")]


def test_what_is_there_in_the_right_size_is_kept() -> None:
    pair = Pair()
    items = pair.put(3, 4)
    stats = pair.copy(items, present={key: ObjectInfo(key, 3) for key in ("b/0", "b/1")})
    assert stats.objects == {"kept": 1, "server": 1}
    assert [event.how for event in pair.of(ObjectCopied)].count("kept") == 1


class Digests(Pair):
    """Nine objects, and what an earlier run left at the destination: the second one has other bytes."""

    def __init__(self, *, salt: bytes = b"", one_service: bool = True) -> None:
        super().__init__(one_service=one_service)
        self.source = Digesting(self.source.service, "from")
        self.destination = Digesting(self.destination.service, "to")
        self.destination.salt = salt
        self.put(*[7] * 9)
        self.items = [CopyItem.of(entry, f"b/{entry.key[2:]}") for entry in self.source.list("a/")]
        for number in range(9):
            data = b"altered" if number == 1 else self.source.get(f"a/{number}").data
            self.destination.write(f"b/{number}", [data])

    def resume(self) -> TransferStats:
        return self.copy(self.items, present={entry.key: entry for entry in self.destination.list("b/")})


@pytest.mark.parametrize("one_service", [True, False], ids=["server side", "streamed"])
def test_what_is_there_in_the_right_size_with_other_bytes_is_copied_again(one_service: bool) -> None:
    pair = Digests(one_service=one_service)
    stats = pair.resume()
    assert pair.arrived(pair.items)
    assert stats.objects == {"kept": 8, "server" if one_service else "stream": 1}


def test_etags_that_are_no_digests_of_the_bytes_cost_one_copy_and_no_more() -> None:
    """A service that encrypts gives every object an etag that looks like a digest and is none of its bytes."""
    stats = Digests(salt=b"encrypted").resume()
    assert stats.objects == {"kept": 8, "server": 1}


def test_who_may_not_look_at_a_copy_goes_by_sizes() -> None:
    pair = Digests(salt=b"encrypted")
    pair.destination.fault = failing("stat", lambda: PermissionDenied("no"))
    assert pair.resume().objects == {"kept": 8, "server": 1}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ({"sha256"}, {"kept": 2, "stream": 1}),
        ({"md5", "sha256"}, {"kept": 2, "stream": 1}),
        ({"md5"}, {"kept": 3}),
    ],
    ids=["one kind in common", "one of two in common", "none in common"],
)
def test_a_resume_compares_the_checksums_that_both_storages_tell(
    kinds: set[str], expected: dict[str, int]
) -> None:
    pair = Pair(one_service=False, capabilities=dataclasses.replace(EVERYTHING, checksums=frozenset(kinds)))
    of_sha256 = dataclasses.replace(EVERYTHING, checksums=frozenset({"sha256"}))
    pair.source = MemoryStorage(pair.source.service, "from", capabilities=of_sha256)
    pair.put(7, 7, 7)
    for number in range(3):
        data = b"altered" if number == 1 else pair.source.get(f"a/{number}").data
        pair.destination.write(f"b/{number}", [data])
    items = [CopyItem.of(entry, f"b/{entry.key[2:]}") for entry in pair.source.list("a/")]
    stats = pair.copy(items, present={entry.key: entry for entry in pair.destination.list("b/")})
    assert stats.objects == expected


def test_what_configuration_asks_for_at_once_is_given() -> None:
    """All objects are under way together, or this waits in vain."""
    pair = Pair(one_service=False, budget=Budget(copies=100, adaptive=False))
    together = threading.Barrier(100)

    def fault(operation: str, _key: str) -> None:
        if operation == "write":
            together.wait(timeout=60)

    items = pair.put(*[1] * 100)
    pair.destination.fault = fault
    stats = pair.copy(items)
    assert stats.limited_because is None


def test_objects_that_pass_through_hold_no_more_memory_than_is_given() -> None:
    size = 200_000
    # A stream is reckoned with its chunks, 2 MiB, and twice its object: three of them are too many.
    pair = Pair(one_service=False, budget=Budget(copies=8, memory=2 * (2 * MIB + 2 * size)))
    lock, writing, most = threading.Lock(), [0], [0]

    class Counting(MemoryStorage):
        def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
            with lock:
                writing[0] += 1
                most[0] = max(most[0], writing[0])
            time.sleep(0.01)
            try:
                return super().write(key, chunks, size=size)
            finally:
                with lock:
                    writing[0] -= 1

    pair.destination = Counting(pair.destination.service, "to")
    items = pair.put(*[size] * 40)
    stats = pair.copy(items)
    assert pair.arrived(items)
    assert most[0] <= 2
    assert stats.limited_because is not None
    assert "2 of 8 copies" in stats.limited_because
    assert "4 MiB" in stats.limited_because


def test_parts_of_all_large_objects_share_one_pool() -> None:
    pair = Pair(capabilities=PARTS, budget=Budget(copies=8, parts=3, part_size=400))
    names = set()

    def fault(operation: str, _key: str) -> None:
        if operation == "copy_part":
            names.add(threading.current_thread().name)

    items = pair.put(*[2000] * 20)
    pair.destination.fault = fault
    pair.copy(items)
    assert pair.arrived(items)
    assert 1 <= len(names) <= 3


def test_a_copy_onto_itself_is_refused() -> None:
    pair = Pair()
    (item,) = pair.put(3)
    with (
        Transfer(
            source=pair.source, destination=pair.source, run=pair.made, limits=TransferLimits()
        ) as transfer,
        raised(UsageError, "object-onto-itself", key="a/0"),
    ):
        transfer.copy([dataclasses.replace(item, key=item.source_key)], collection="", present={})


def test_a_write_that_came_out_shorter_is_an_error() -> None:
    class Short(MemoryStorage):
        def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
            return ObjectInfo(key, super().write(key, chunks, size=size).size - 1)

    pair = Pair()
    pair.destination = Short(pair.source.service, "to")
    with raised(VerificationFailed, "copied-size-differs", key="b/0", size=2, expected=3):
        pair.copy(pair.put(3), mode="streaming")
