"""Which files of a segment are its own, where the server gives no list and uploads have failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mbk.binlog.envelope import INSERT, Descriptor, write
from mbk.engine.formats.binlog.discover import SegmentFiles
from mbk.engine.formats.binlog.orphans import SegmentUnclear
from mbk.engine.runtime.run import Run
from mbk.ports.milvus.values import SegmentInfo
from mbk.testing import MemoryStorage
from tests.fakes.segments import discovered
from tests.fakes.world import QUICK
from tests.raising import raised

FIELDS = (100, 101, 0, 1)


class Bucket:
    """A segment as a data node writes it: the ids of a real 2.3.5, a block of consecutive ones a write."""

    def __init__(self) -> None:
        self.storage = MemoryStorage(root="files/")
        self.run = Run(policy=QUICK)

    def put(self, field: int, log: int, rows: int = 5, *, readable: bool = True) -> str:
        key = f"files/insert_log/10/20/30/{field}/{log}"
        head = Descriptor(10, 20, 30, field, 7, 8, 5, {"original_size": str(8 * rows)})
        self.storage.write(key, [write(head, INSERT, b"payload") if readable else b"x"])
        return key

    def write(
        self, first: int, rows: int = 5, *, fields: tuple[int, ...] = FIELDS, readable: bool = True
    ) -> None:
        for place, field in enumerate(FIELDS):
            if field in fields:
                self.put(field, first + place, rows, readable=readable)

    def found(self, rows: int, **changes: int) -> SegmentFiles:
        segment = replace(SegmentInfo(30, 20, rows), **changes)
        files = discovered(self.storage, segment, self.run)
        assert files is not None
        return files

    def kept(self, rows: int) -> dict[int, list[int]]:
        binlogs = self.found(rows).record.binlogs
        return {item.field_id: [log.log_id for log in item.binlogs] for item in binlogs}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def block(*firsts: int) -> dict[int, list[int]]:
    return {field: [first + FIELDS.index(field) for first in firsts] for field in sorted(FIELDS)}


@pytest.mark.parametrize("left", [(100,), (101, 0), (1,), (100, 101, 0)])
def test_what_a_failed_upload_left_is_not_copied_and_told(bucket: Bucket, left: tuple[int, ...]) -> None:
    bucket.write(1000)
    bucket.write(1010, fields=left)
    bucket.write(1020, rows=3)
    assert bucket.kept(8) == block(1000, 1020)
    (notice,) = bucket.run.notices
    assert "segment 30" in notice
    assert any(f"/{field}/{1010 + FIELDS.index(field)}" in notice for field in left)


def test_orphans_in_every_field_do_not_pass_for_a_write(bucket: Bucket) -> None:
    """The fields have as many files each, of different writes: counting them is not enough."""
    bucket.write(1000)
    bucket.write(1010, fields=(100, 101))
    bucket.write(1020, fields=(0, 1))
    assert bucket.kept(5) == block(1000)


def test_one_id_for_all_fields_is_understood_as_well(bucket: Bucket) -> None:
    for log, fields in ((1000, FIELDS), (1005, (101,)), (1010, FIELDS)):
        for field in fields:
            bucket.put(field, log)
    assert bucket.kept(10) == {field: [1000, 1010] for field in sorted(FIELDS)}


def test_orphans_are_counted_in_the_size(bucket: Bucket) -> None:
    bucket.write(1000)
    bucket.write(1010, fields=(100,))
    files = bucket.found(5)
    assert files.record.size == sum(item.size for item in bucket.storage.list("files/"))
    assert len(files.items) == len(FIELDS)


def test_a_whole_block_may_directly_follow_another(bucket: Bucket) -> None:
    bucket.write(1000)
    bucket.write(1004)
    bucket.write(1010, fields=(1,))
    assert bucket.kept(10) == block(1000, 1004)


def test_rows_that_do_not_add_up_are_an_error_with_segment_field_and_files(bucket: Bucket) -> None:
    bucket.write(1000)
    bucket.write(1010, fields=(100,))
    with raised(
        SegmentUnclear, "segment-files-unclear", segment=30, field=100, present=2, expected=1
    ) as caught:
        bucket.found(9)
    assert "files/insert_log/10/20/30/100/1010" in str(caught.value.facts["keys"])


def test_blocks_that_can_be_cut_in_two_ways_are_an_error(bucket: Bucket) -> None:
    bucket.write(
        1000, fields=(101, 0, 1)
    )  # 1001 to 1003, directly before a block that begins with the field 100
    bucket.write(1004)
    with raised(SegmentUnclear, "segment-files-unclear", segment=30):
        bucket.found(5)


def test_rows_that_cannot_be_counted_decide_nothing(bucket: Bucket) -> None:
    bucket.write(1000, readable=False)
    bucket.write(1010, fields=(100,), readable=False)
    with pytest.raises(SegmentUnclear):
        bucket.found(5)


def test_an_order_of_ids_that_is_not_known_is_taken_where_all_fields_agree(bucket: Bucket) -> None:
    for place, field in enumerate(FIELDS):
        for log in (1000 + 100 * place, 1001 + 100 * place):
            bucket.put(field, log)
    assert len(bucket.found(10).items) == 2 * len(FIELDS)


def test_an_order_of_ids_that_is_not_known_is_refused_where_the_rows_contradict_it(bucket: Bucket) -> None:
    for place, field in enumerate(FIELDS):
        for log in (1000 + 100 * place, 1001 + 100 * place):
            bucket.put(field, log)
    with raised(SegmentUnclear, "segment-rows-unclear", segment=30, rows=5):
        bucket.found(5)


def test_column_groups_of_different_length_need_the_servers_list(bucket: Bucket) -> None:
    bucket.put(0, 1000)
    bucket.put(101, 1001)
    bucket.put(0, 1010)
    with raised(SegmentUnclear, "segment-rows-unclear", segment=30) as caught:
        bucket.found(5, storage_version=2)
    assert "REST" in (caught.value.hint or "")


def test_a_segment_that_is_whole_costs_no_reading(bucket: Bucket) -> None:
    bucket.write(1000)
    bucket.write(1010)
    operations: list[str] = []
    bucket.storage.fault = lambda operation, _key: operations.append(operation)
    bucket.found(10)
    assert "read" not in operations
