"""Segments that are listed together: fewer requests, and the same objects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbk.engine.formats.binlog.backup import AHEAD
from mbk.engine.formats.binlog.groups import OBJECTS, Group, grouped, listed
from mbk.engine.runtime.run import Run
from mbk.ports.milvus.values import SegmentInfo
from mbk.ports.storage import Capabilities, ObjectInfo
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import World

ROOT = "files/"
ALL = (40_007, 40_012, 40_013, 41_000, 5, 40_01)


class Counting(MemoryStorage):
    """``asked``: the prefixes that were listed."""

    def __init__(self) -> None:
        super().__init__(MemoryService("b"), "b", root=ROOT)
        self.asked: list[str] = []

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self.asked.append(prefix)
        return super().list(prefix, start_after=start_after)


def put(storage: MemoryStorage, segment: int, *logs: int, kind: str = "insert_log/10/20") -> None:
    for log in logs:
        field = "0/" if kind.startswith("insert") else ""
        storage.write(f"{ROOT}{kind}/{segment}/{field}{log}", [b"x"])


def segments(*ids: int, partition: int = 20) -> list[SegmentInfo]:
    return [SegmentInfo(number, partition, 5) for number in ids]


def found(storage: MemoryStorage, group: Group) -> dict[int, tuple[list[str], list[str]]]:
    return {
        segment: (
            [entry.key.rsplit("/", 1)[1] for entry in logs.inserts],
            [entry.key.rsplit("/", 1)[1] for entry in logs.deltas],
        )
        for _, segments in listed(storage, Run(), ROOT, group)
        for segment, logs in segments.items()
    }


@pytest.mark.parametrize("logs", [1, 300, 400, 1000])
def test_every_segment_is_in_one_group_with_what_its_id_shares(logs: int) -> None:
    storage = Counting()
    groups = [*grouped(10, segments(*ALL, *ALL), storage, logs=logs)]
    assert sorted(segment.id for group in groups for segment in group.segments) == sorted(ALL)
    for group in groups:
        assert all(f"{segment.id}/".startswith(group.shared) for segment in group.segments)
        assert len(group.segments) <= max(1, 1000 // logs)


def test_partitions_are_listed_apart() -> None:
    groups = grouped(10, [*segments(1, 2), *segments(3, partition=-1)], Counting(), logs=3)
    assert [(group.partition, len(group.segments)) for group in groups] == [(-1, 1), (20, 2)]


def test_a_storage_that_lists_directories_only_is_asked_for_each_segment() -> None:
    plain = MemoryStorage(MemoryService("b"), "b", capabilities=Capabilities())
    groups = [*grouped(10, segments(1, 2), Counting(), plain, logs=3)]
    assert [group.shared for group in groups] == ["1/", "2/"]


def test_segments_are_listed_by_one_request_a_kind_and_others_are_left_out() -> None:
    storage = Counting()
    put(storage, 400, 1, 2)
    put(storage, 401, 3)
    put(storage, 4011, 4)
    put(storage, 401, 9, kind="delta_log/10/20")
    [group] = grouped(10, segments(400, 401, 402), storage, logs=3)
    assert found(storage, group) == {400: (["1", "2"], []), 401: (["3"], ["9"]), 402: ([], [])}
    assert storage.asked == [f"{ROOT}insert_log/10/20/40", f"{ROOT}delta_log/10/20/40"]


def test_among_too_many_other_objects_a_group_is_divided() -> None:
    storage = Counting()
    put(storage, 4005, *range(OBJECTS))
    for segment in (4001, 4011, 4012):
        put(storage, segment, segment)
    [group] = grouped(10, segments(4001, 4011, 4012), storage, logs=3)
    assert {segment: logs[0] for segment, logs in found(storage, group).items()} == {
        4001: ["4001"],
        4011: ["4011"],
        4012: ["4012"],
    }


def test_a_backup_lists_its_segments_together_on_both_sides() -> None:
    world = World()
    world.milvus.add("docs")
    for number in range(8):
        world.milvus.insert("docs", [number])
    asked: list[str] = []
    for bucket in (world.storage, world.backup):
        bucket.fault = lambda call, key: asked.append(key) if call == "list" else None
    world.create()
    groups = [prefix for prefix in asked if "insert_log/" in prefix and not prefix.endswith("insert_log/")]
    # The first listing is that of a few segments, which tells beforehand how much there is to do.
    _, *groups = groups
    assert len(groups) == 2


def test_of_many_segments_each_is_listed_once() -> None:
    """More than are asked for at once: no listing has the segments of another one."""
    world = World()
    world.milvus.add("docs")
    for number in range(AHEAD + 8):
        world.milvus.insert("docs", [number])
    asked: list[str] = []
    world.storage.fault = lambda call, key: asked.append(key) if call == "list" else None
    world.create()
    _, *together = [prefix for prefix in asked if "insert_log/" in prefix and not prefix.endswith("/")]
    assert len(together) > 1
    assert not [one for one in together for other in together if one is not other and other.startswith(one)]
