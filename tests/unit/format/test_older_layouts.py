"""Backups of ten releases, each peculiarity of docs/reference/backup-format.md#older-backups restored whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mbk.errors import DamagedBackup, InvalidBackup, UsageError
from tests.fakes.milvus import V2_3, V2_4
from tests.fakes.world import World
from tests.fixtures.backups.builder import COLLECTION, PARTITION, OldBackup
from tests.raising import raised


@pytest.fixture(params=["same bucket", "other bucket"])
def world(request: pytest.FixtureRequest) -> World:
    return World(features=V2_4, same=request.param == "same bucket")


@pytest.fixture
def old(world: World) -> OldBackup:
    return OldBackup(world.backup)


def keys(world: World, name: str = "docs") -> list[int]:
    return [key for key, _ in world.milvus.visible_rows(name)]


def test_segments_without_a_group_lie_directly_below_their_partition(world: World, old: OldBackup) -> None:
    old.segment(440101, range(5))
    old.segment(440102, range(5, 9), deletes=[6])
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 1, 2, 3, 4, 5, 7, 8]


def test_a_group_of_several_segments_is_imported_once_and_not_once_a_segment(
    world: World, old: OldBackup
) -> None:
    for group in (1, 2, 3):
        for segment in (1, 2):
            number = group * 10 + segment
            old.segment(
                440100 + number, range(number * 10, number * 10 + 3), deletes=[number * 10], group=group
            )
    old.commit()
    world.restore("old")
    assert keys(world) == [number * 10 + row for number in (11, 12, 21, 22, 31, 32) for row in (1, 2)]


def test_group_1_is_not_taken_for_group_10(world: World, old: OldBackup) -> None:
    old.segment(440101, range(3), group=1)
    old.segment(440102, range(3, 6), group=10)
    old.commit()
    world.restore("old")
    assert keys(world) == list(range(6))


def test_a_segment_that_stands_twice_in_the_metadata_is_restored_once(world: World, old: OldBackup) -> None:
    old.segment(440101, range(3), group=440101)
    old.segments.append(dict(old.segments[0]))
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 1, 2]


def test_deletes_of_a_segment_without_inserts_are_applied_where_groups_are_used(
    world: World, old: OldBackup
) -> None:
    """v0.4.4 to v0.4.14: such a segment kept group 0 beside segments whose group is their id."""
    old.segment(440101, range(5), group=440101)
    old.segment(440102, deletes=[1, 2])
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 3, 4]


def test_a_segment_whose_inserts_were_lost_is_not_taken_for_one_of_deletes(
    world: World, old: OldBackup
) -> None:
    old.segment(440101, range(5), deletes=[1], group=440101)
    old.commit()
    gone = [key for key in world.backed_up if "/insert_log/" in key]
    world.backup.delete(gone)
    with raised(InvalidBackup, "segment-data-missing", segment=440101):
        world.restore("old")


def test_a_segment_without_a_group_beside_grouped_ones_is_imported_without_them(
    world: World, old: OldBackup
) -> None:
    old.segment(440101, range(5), group=440101)
    old.segment(440102, range(5, 8))
    old.commit()
    world.restore("old")
    assert keys(world) == list(range(8))


def test_empty_segments_are_skipped_also_when_they_are_marked_as_l0(world: World, old: OldBackup) -> None:
    """v0.4.15 to v0.5.3 took a segment without an insert_log directory for L0."""
    old.segment(440101, range(3), group=440101)
    old.segment(440102, group=440102, is_l0=True, num_of_rows=4)
    old.segment(440103, group=440103)
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 1, 2]


def test_l0_segments_are_imported_after_the_data(world: World, old: OldBackup) -> None:
    old.all_partition_l0(440105, [0])
    old.segment(440104, deletes=[1], group=440104, is_l0=True)
    old.segment(440101, range(4), group=440101)
    old.commit()
    world.restore("old")
    assert keys(world) == [2, 3]
    assert [request.l0 for request in world.milvus.import_requests] == [False, True, True]
    assert [request.partition for request in world.milvus.import_requests] == ["_default", "_default", ""]


def test_binlogs_that_cannot_be_read_for_a_server_without_l0_are_told_before_anything_is_made(
    world: World, old: OldBackup
) -> None:
    """Such a server gets the deletes of L0 segments beside the rows that they hit, so these are read; what the fake's
    servers write is no binlog. The collection that would be replaced is still there."""
    world.milvus.features = V2_3
    old.segment(440101, range(4), group=440101)
    old.all_partition_l0(440105, [0])
    old.commit()
    world.milvus.add("docs")
    world.milvus.insert("docs", [7])
    with raised(InvalidBackup, "binlog-invalid") as caught:
        world.restore("old", drop_existing=True)
    assert "insert_log/440001/440002/440101/440101/1/" in str(caught.value.facts["key"])
    assert "\n" not in str(caught.value)
    assert keys(world) == [7]
    assert not world.milvus.import_requests
    assert not world.staged


def test_binlogs_without_ids_and_one_delta_entry_a_file_are_read(world: World, old: OldBackup) -> None:
    """Before v0.5.4 no log_id, and each delta file had an entry of its own, its id in ``fieldID``."""
    entries = [
        {"fieldID": number, "binlogs": [{"log_path": f"files/delta_log/1/2/3/{number}", "log_size": 2}]}
        for number in (7, 8)
    ]
    for number in (7, 8):
        old.put(f"binlogs/delta_log/{COLLECTION}/{PARTITION}/440101/440101/{number}", b"[]")
    old.segment(
        440101, range(4), group=440101, deltalogs=entries, statslogs=[{"fieldID": 100, "binlogs": []}]
    )
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
@pytest.mark.parametrize("ids", [True, False], ids=["with log ids", "with paths only"])
def test_an_object_that_the_metadata_lists_must_be_there(
    ids: bool, kind: str, world: World, old: OldBackup
) -> None:
    """Without a record, names and sizes are compared with the lists of the segments."""
    old.segment(440101, range(5), deletes=[2], group=440101)
    old.segments[-1] |= lists(world, 440101, ids=ids)
    old.commit()
    world.restore("old", suffix="_whole")
    assert keys(world, "docs_whole") == [0, 1, 3, 4]
    assert "backup-without-record" in world.notices
    key = next(key for key in world.backed_up if f"/{kind}/" in key)
    data = world.backed_up[key]
    for change in (lambda: world.backup.delete([key]), lambda: world.backup.write(key, [data[:-1]])):
        change()
        with raised(DamagedBackup, "backup-objects-differ") as caught:
            world.restore("old")
        assert "/".join(key.split("/")[-2:]) in str(caught.value)
        assert "default.docs" not in world.milvus.names


@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
def test_an_object_that_no_list_names_is_not_imported(kind: str, world: World, old: OldBackup) -> None:
    old.segment(440101, range(5), deletes=[2], group=440101)
    old.segments[-1] |= lists(world, 440101)
    old.commit()
    for key in [key for key in world.backed_up if f"/{kind}/" in key]:
        directory, _, log = key.rpartition("/")
        twice = world.backed_up[key] if kind == "insert_log" else b"[[0, 900000000000000000]]"
        world.backup.write(f"{directory}/{int(log) + 1000}", [twice])
    world.restore("old")
    assert keys(world) == [0, 1, 3, 4]
    assert "extra-objects" in world.notices


def lists(world: World, segment: int, *, ids: bool = True) -> dict[str, Any]:
    """The lists of a segment's files, as a tool records them."""
    found: dict[str, Any] = {"binlogs": [], "deltalogs": []}
    for key, data in world.backed_up.items():
        if f"/{segment}/" in key:
            parts = key.split("/")
            log = {"log_path": f"files/{key}", "log_size": len(data)} | (
                {"log_id": int(parts[-1])} if ids else {}
            )
            inserted = "insert_log" in parts
            entry = {"fieldID": int(parts[-2 if inserted else -1]), "binlogs": [log]}
            found["binlogs" if inserted else "deltalogs"].append(entry)
    return found


def test_a_key_built_by_textual_replacement_is_found_by_listing(world: World, old: OldBackup) -> None:
    """Before v0.5.4 the group went behind the first place where the partition's digits stood in the path."""
    old.segment(440101, range(4), deletes=[2], group=440101, at=f"{PARTITION}/440101/{PARTITION}/440101")
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 1, 3]


def test_channel_cp_meta_is_ignored(world: World, old: OldBackup) -> None:
    old.segment(440101, range(2), group=440101)
    old.put("meta/channel_cp_meta.json", b"not even JSON")
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 1]


def test_the_legacy_default_value_is_kept(world: World, old: OldBackup) -> None:
    old.collection["schema"] = {
        "name": "docs",
        "fields": [
            {
                "fieldID": 100,
                "name": "id",
                "is_primary_key": True,
                "data_type": 5,
                "default_value_proto": "\x18\x07",
            }
        ],
    }
    old.commit()
    (collection,) = world.catalog().read("old").collection_backups
    assert collection.schema is not None
    assert collection.schema.fields[0].default_value_proto == "\x18\x07"


def test_a_collection_without_a_database_is_restored_into_default(world: World, old: OldBackup) -> None:
    old.collection["db_name"] = ""
    old.segment(440101, range(2), group=440101)
    old.commit()
    report = world.restore("old")
    assert report.collections[0].target == "default.docs"
    assert keys(world) == [0, 1]


def test_an_old_backup_timestamp_is_never_used_to_cut(world: World, old: OldBackup) -> None:
    """Before v0.4.13 it held seconds shifted by 18 bits."""
    old.collection["backup_timestamp"] = 1700000000 << 18
    old.segment(440101, range(2), group=440101)
    old.commit()
    with raised(UsageError, "truncation-impossible", backup="old"):
        world.restore("old", truncate=True)
    assert not world.milvus.names, "nothing half restored stays"
    world.restore("old")
    assert [request.end_ts for request in world.milvus.import_requests] == [0]


@pytest.mark.parametrize("group", [0, 1], ids=["below the partition", "in the group"])
def test_an_orphan_beside_the_segments_is_not_imported(world: World, old: OldBackup, group: int) -> None:
    """A directory is handed to Milvus as it is only when nothing else lies in it."""
    old.segment(440101, range(3), group=group)
    old.segment(440102, range(3, 6), group=group)
    old.segment(449999, range(100, 103), group=group)
    old.segments.pop()
    old.commit()
    world.restore("old")
    assert keys(world) == list(range(6))
    assert all(
        "restore-temp" in path
        for request in world.milvus.import_requests
        for file in request.files
        for path in file
    )


def test_the_level_files_alone_are_a_backup_too(world: World, old: OldBackup) -> None:
    old.segment(440101, range(3), group=440101)
    old.commit(levels_only=True)
    assert [summary.state for summary in world.catalog().summaries()] == ["complete"]
    world.restore("old")
    assert keys(world) == [0, 1, 2]


def test_nothing_of_an_old_backup_is_changed_by_a_restore(world: World, old: OldBackup) -> None:
    old.segment(440101, range(3))
    old.segment(440102, range(3, 6))
    old.commit()
    before = world.backed_up
    world.restore("old")
    assert world.backed_up == before


def test_the_collection_directory_of_another_id_is_not_touched(world: World, old: OldBackup) -> None:
    old.segment(440101, range(3), group=440101)
    old.put(f"binlogs/insert_log/{COLLECTION}1/1/2/2/100/3", json.dumps([1]).encode())
    old.commit()
    world.restore("old")
    assert keys(world) == [0, 1, 2]
