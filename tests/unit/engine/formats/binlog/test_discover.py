"""Which files a segment consists of, as the storage and the server say.

See docs/reference/milvus-protocol.md#segments-and-their-files.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mbk.engine.formats.binlog.discover import SegmentFiles, SegmentGone
from mbk.errors import MilvusError, Throttled, WrongStorage
from mbk.ports.milvus.values import SegmentInfo
from mbk.testing import MemoryStorage
from tests.fakes.segments import discovered
from tests.raising import raised

SEGMENT = SegmentInfo(30, 20, 5)
L0 = SegmentInfo(31, -1, 2, is_l0=True)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(root="files/")


def put(storage: MemoryStorage, *keys: str) -> None:
    for key in keys:
        storage.write(f"files/{key}", [b"x" * 3])


def found(storage: MemoryStorage, segment: SegmentInfo) -> SegmentFiles | None:
    return discovered(storage, segment)


def test_all_files_are_listed_and_brought_below_their_group(storage: MemoryStorage) -> None:
    put(
        storage,
        "insert_log/10/20/30/0/1",
        "insert_log/10/20/30/100/2",
        "delta_log/10/20/30/3",
        "insert_log/10/20/300/0/9",
    )
    files = found(storage, SEGMENT)
    assert files is not None
    assert {item.source_key: item.key for item in files.items} == {
        "files/insert_log/10/20/30/0/1": "backup/nightly/binlogs/insert_log/10/20/30/30/0/1",
        "files/insert_log/10/20/30/100/2": "backup/nightly/binlogs/insert_log/10/20/30/30/100/2",
        "files/delta_log/10/20/30/3": "backup/nightly/binlogs/delta_log/10/20/30/30/3",
    }
    assert (files.record.size, files.record.group_id, files.record.num_of_rows) == (9, 30, 5)


def test_an_all_partition_l0_segment_has_no_group(storage: MemoryStorage) -> None:
    put(storage, "delta_log/10/-1/31/3")
    files = found(storage, L0)
    assert files is not None
    assert [item.key for item in files.items] == ["backup/nightly/binlogs/delta_log/10/-1/31/3"]
    assert files.record.group_id == 0
    assert files.record.is_l0


def test_a_segment_without_rows_and_files_is_left_out(storage: MemoryStorage) -> None:
    assert found(storage, replace(SEGMENT, rows=0)) is None
    assert found(storage, replace(L0, rows=0)) is None


def test_rows_without_files_mean_another_storage_or_a_segment_that_was_replaced(
    storage: MemoryStorage,
) -> None:
    with raised(WrongStorage, "milvus-data-missing"):
        found(storage, SEGMENT)
    put(storage, "insert_log/1/2/3/0/4")
    with raised(SegmentGone, "segment-logs-missing", log_kind="insert", segment=30, rows=5):
        found(storage, SEGMENT)


def test_orphans_beside_the_exact_list_are_counted_but_not_copied(storage: MemoryStorage) -> None:
    put(
        storage,
        "insert_log/10/20/30/0/1",
        "insert_log/10/20/30/0/7",
        "delta_log/10/20/30/3",
        "delta_log/10/20/30/4",
    )
    files = found(storage, replace(SEGMENT, insert_logs={0: (1,)}, delta_logs=(3,)))
    assert files is not None
    assert sorted(item.key.rsplit("/", 1)[1] for item in files.items) == ["1", "3"]
    assert files.record.size == 12


@pytest.mark.parametrize(
    "exact", [{"insert_logs": {0: (1, 2)}}, {"insert_logs": {0: (1,)}, "delta_logs": (3,)}]
)
def test_a_log_of_the_exact_list_that_is_not_there_means_that_the_segment_changed(
    storage: MemoryStorage, exact: dict[str, object]
) -> None:
    put(storage, "insert_log/10/20/30/0/1")
    with raised(SegmentGone, "segment-log-missing", segment=30):
        found(storage, replace(SEGMENT, **exact))


def test_deletes_without_files_mean_that_the_segment_was_replaced(storage: MemoryStorage) -> None:
    """Its deletes may have gone into data segments that were listed before: all must be listed anew."""
    with raised(SegmentGone, "segment-logs-missing", log_kind="delta", segment=31):
        found(storage, L0)
    with pytest.raises(SegmentGone):
        found(storage, replace(L0, rows=0, delta_logs=(3,)))


def test_a_segment_of_manifests_is_refused_with_the_way_out(storage: MemoryStorage) -> None:
    with raised(MilvusError, "segment-version-unsupported", segment="segment 30") as caught:
        found(storage, replace(SEGMENT, storage_version=3))
    assert "--format snapshot" in (caught.value.hint or "")


def test_the_exact_list_may_leave_a_field_shorter_than_others(storage: MemoryStorage) -> None:
    put(storage, *(f"insert_log/10/20/30/{field}/{field + 1}" for field in (0, 1, 100)))
    put(storage, "insert_log/10/20/30/0/9")
    files = found(storage, replace(SEGMENT, insert_logs={0: (1, 9), 1: (2,), 100: (101,)}))
    assert files is not None
    assert len(files.items) == 4


def test_files_of_a_layout_that_is_not_known_are_refused(storage: MemoryStorage) -> None:
    put(storage, "insert_log/10/20/30/_metadata/manifest-1.avro")
    with raised(
        MilvusError, "segment-layout-unknown", key="files/insert_log/10/20/30/_metadata/manifest-1.avro"
    ):
        found(storage, SEGMENT)


def test_logs_are_in_order_whatever_the_listing_says(storage: MemoryStorage) -> None:
    put(storage, *(f"insert_log/10/20/30/0/{log}" for log in (10, 9, 100)))
    files = found(storage, SEGMENT)
    assert files is not None
    assert [log.log_id for log in files.record.binlogs[0].binlogs] == [9, 10, 100]


def test_a_listing_that_breaks_is_made_again(storage: MemoryStorage) -> None:
    put(storage, "insert_log/10/20/30/0/1")
    left = [2]

    def fault(operation: str, _key: str) -> None:
        if operation == "list" and left[0]:
            left[0] -= 1
            raise Throttled("slow down")

    storage.fault = fault
    files = found(storage, SEGMENT)
    assert files is not None
    assert len(files.items) == 1
