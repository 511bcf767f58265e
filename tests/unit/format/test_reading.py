"""Reading metadata: every valid JSON of the format, and one clear line for everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mbk.engine.repository import codec as metafiles
from mbk.errors import BackupNotFound, InvalidBackup, MbkError
from mbk.model.reports import BackupSummary
from mbk.testing import MemoryStorage
from tests.fakes.world import World
from tests.fixtures.backups import worked_example as example
from tests.raising import raised

META = "backup/nightly_01/meta/"


@pytest.fixture
def world() -> World:
    return World()


def put(world: World, files: dict[str, Any], name: str = "nightly_01") -> None:
    for file, value in files.items():
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        world.backup.write(f"{world.backup_root}{name}/meta/{file}", [data])


def listed(world: World) -> dict[str, BackupSummary]:
    return {summary.name: summary for summary in world.catalog().summaries()}


def test_full_meta_is_read_alone(world: World) -> None:
    put(world, {"full_meta.json": example.FULL, "segment_meta.json": b"broken"})
    backup = world.catalog().read("nightly_01")
    (collection,) = backup.collection_backups
    assert [part.partition_name for part in collection.partition_backups] == ["_default", "cold"]
    assert [segment.segment_id for segment in collection.partition_backups[0].segment_backups] == [
        460101,
        460102,
    ]
    assert [segment.segment_id for segment in collection.l0_segments] == [460103]
    assert collection.created_timestamp == 463000000000000000
    assert listed(world)["nightly_01"].state == "complete"
    assert listed(world)["nightly_01"].size == 546290


def test_the_level_files_alone_are_put_together(world: World) -> None:
    put(world, example.LEVELS)
    backup = world.catalog().read("nightly_01")
    (collection,) = backup.collection_backups
    assert [len(part.segment_backups) for part in collection.partition_backups] == [2, 0]
    assert collection.size == backup.size == 545650, "without what only full_meta knows"
    assert not collection.l0_segments


def test_l0_segments_of_older_level_files_are_kept(world: World) -> None:
    collections = {"infos": [{**example.COLLECTION, "l0_segments": [example.ALL_L0]}]}
    put(world, {**example.LEVELS, "collection_meta.json": collections})
    (collection,) = world.catalog().read("nightly_01").collection_backups
    assert [segment.segment_id for segment in collection.l0_segments] == [460103]


def test_a_missing_level_file_without_full_meta_is_no_backup_to_read(world: World) -> None:
    for missing in example.LEVELS:
        put(
            world,
            {file: data for file, data in example.LEVELS.items() if file != missing},
            f"no_{missing[:5]}",
        )
    for name, summary in listed(world).items():
        assert summary.state == "incomplete"
        with raised(InvalidBackup, "backup-incomplete", backup=name):
            world.catalog().read(name)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"size": "12"}, "$.size"),
        ({"size": 1.5}, "$.size"),
        ({"name": 3}, "$.name"),
        ({"collection_backups": {}}, "$.collection_backups"),
        ({"collection_backups": [{"collection_id": "1"}]}, "$.collection_backups[0].collection_id"),
    ],
)
def test_a_wrong_type_is_named_with_its_place(world: World, change: dict[str, Any], place: str) -> None:
    put(world, {"full_meta.json": {**example.FULL, **change}})
    with raised(InvalidBackup, "metadata-invalid", key=f"{META}full_meta.json") as caught:
        world.catalog().read("nightly_01")
    assert place in str(caught.value.facts["reason"])


@pytest.mark.parametrize(
    "data", [b"", b"{", json.dumps(example.FULL).encode()[:-700], b"\xff\xfe", b"[]", b"null"]
)
def test_truncated_and_foreign_data_is_an_invalid_backup_that_names_the_file(
    world: World, data: bytes
) -> None:
    put(world, {"full_meta.json": data})
    with raised(InvalidBackup, key=f"{META}full_meta.json") as caught:
        world.catalog().read("nightly_01")
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("format", ["parquet", "Snapshot", "bin"])
def test_an_unknown_format_is_refused(world: World, format: str) -> None:
    put(world, {"full_meta.json": {**example.FULL, "format": format}})
    with raised(InvalidBackup, "backup-format-unknown", format=format):
        world.catalog().read("nightly_01")
    with pytest.raises(InvalidBackup):
        world.restore("nightly_01")


def test_unknown_keys_and_other_tools_keys_are_ignored() -> None:
    full = json.loads(json.dumps(example.FULL))
    full["progress"] = 100
    full["errorMessage"] = ""
    full["collection_backups"][0]["replicas"] = 2
    full["collection_backups"][0]["schema"]["fields"][0]["default_value"] = {"Data": {"LongData": 3}}
    full["collection_backups"][0]["schema"]["fields"][0]["is_clustering_key"] = True
    full["collection_backups"][0]["partition_backups"][0]["segment_backups"][0]["statslogs"] = [
        {"fieldID": "x"}
    ]
    backup = metafiles.decode_full(json.dumps(full).encode(), where="x")
    schema = backup.collection_backups[0].schema
    assert schema is not None
    assert schema.fields[0].is_clustering_key


def test_null_means_absent() -> None:
    full = json.loads(json.dumps(example.FULL))
    full["milvus_version"] = None
    full["rbac_meta"] = None
    full["collection_backups"][0]["aliases"] = None
    full["collection_backups"][0]["l0_segments"] = None
    full["collection_backups"][0]["created_timestamp"] = None
    full["collection_backups"][0]["partition_backups"][0]["segment_backups"][0]["size"] = None
    backup = metafiles.decode_full(json.dumps(full).encode(), where="x")
    (collection,) = backup.collection_backups
    assert backup.milvus_version == ""
    assert collection.aliases == []
    assert collection.created_timestamp == 0
    assert collection.backup_timestamp == example.FLUSHED_AT, "the others are exact all the same"


def test_indented_json_is_read(world: World) -> None:
    put(world, {"full_meta.json": json.dumps(example.FULL, indent=2).encode()})
    assert world.catalog().read("nightly_01").name == "nightly_01"


# -- list --------------------------------------------------------------------------------------------------------


def test_list_shows_every_state(world: World) -> None:
    put(world, {"full_meta.json": example.FULL, "backup_meta.json": example.HEAD}, "complete")
    put(world, {"full_meta.json": example.FULL}, "without_backup_meta")
    put(world, {"full_meta.json": example.FULL, "backup_meta.json": example.HEAD,
                "mbk.json": {"failed": {"default.docs": "why"}}}, "partial")  # fmt: skip
    put(world, {"mbk.json": {"name": "begun", "started": "2026-01-02T03:04:05+00:00"}}, "begun")
    put(world, {"mbk.json": {}, **example.LEVELS}, "killed_while_committing")
    put(world, {"full_meta.json": b"{", "backup_meta.json": b"{"}, "broken")
    world.backup.write("backup/leftovers/binlogs/insert_log/1/2/3/3/0/4", [b"x"])
    world.backup.write("backup/no_backup_at_all/file", [b"x"])
    world.backup.write("backup/a_file", [b"x"])
    found = listed(world)
    assert {name: summary.state for name, summary in found.items()} == {
        "begun": "incomplete",
        "broken": "unreadable",
        "complete": "complete",
        "killed_while_committing": "incomplete",
        "partial": "partial",
        "without_backup_meta": "complete",
    }
    assert list(found) == sorted(found)
    assert found["partial"].reason == "default.docs: why"
    assert "broken/meta/backup_meta.json" in found["broken"].reason
    assert found["begun"].created is not None
    assert found["begun"].created.year == 2026
    assert "--resume" in found["begun"].reason


def test_with_an_empty_root_milvus_own_directory_is_no_backup() -> None:
    world = World(same=True, backup_root="")
    world.milvus.add("docs")
    world.milvus.insert("docs", range(4))
    world.create()
    assert list(listed(world)) == ["nightly"]
    before = world.objects("milvus", "files/")
    with pytest.raises(BackupNotFound):
        world.delete("files")
    with pytest.raises(BackupNotFound):
        world.catalog().read("files")
    world.delete("nightly")
    assert world.objects("milvus") == before


def test_directories_that_no_backup_can_have_do_not_disturb_a_listing() -> None:
    world = World(backup_root="")
    put(world, {"full_meta.json": example.FULL, "backup_meta.json": example.HEAD})
    for key in ("/leading/slash", "./dot", "../dots", "//twice"):
        world.backup.write(key, [b"x"])
    assert list(listed(world)) == ["nightly_01"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../other"])
def test_a_name_that_is_a_path_reaches_nothing(world: World, name: str) -> None:
    world.backup.write("other/meta/full_meta.json", [b"{}"])
    for use in (world.catalog().read, world.delete, world.restore):
        with pytest.raises(MbkError) as caught:
            use(name)
        assert caught.value.exit_code == 2
    assert world.objects("backups") == {"other/meta/full_meta.json": b"{}"}


def test_a_name_that_begins_like_another_is_another(world: World) -> None:
    put(world, {"full_meta.json": example.FULL}, "night")
    put(world, {"full_meta.json": example.FULL}, "nightly")
    world.delete("night")
    assert list(listed(world)) == ["nightly"]
    with pytest.raises(BackupNotFound):
        world.catalog().read("nightl")


def test_a_listing_reads_no_large_file(world: World) -> None:
    put(world, {"full_meta.json": example.FULL, "backup_meta.json": example.HEAD})
    read: list[str] = []
    world.backup.fault = lambda operation, key: read.append(key) if operation == "read" else None
    assert listed(world)
    assert read == [f"{META}backup_meta.json"]


def test_one_unreadable_backup_does_not_hide_the_others(world: World) -> None:
    from mbk.errors import PermissionDenied

    put(world, {"full_meta.json": example.FULL, "backup_meta.json": example.HEAD}, "a")
    put(world, {"full_meta.json": example.FULL, "backup_meta.json": example.HEAD}, "b")

    def fault(operation: str, key: str) -> None:
        if operation == "read" and "/a/" in key:
            raise PermissionDenied("not for you")

    world.backup.fault = fault
    assert {name: summary.state for name, summary in listed(world).items()} == {
        "a": "unreadable",
        "b": "complete",
    }


def test_an_empty_bucket_holds_no_backups() -> None:
    world = World()
    world.backup = MemoryStorage(world.service, "backups", root="backup/")
    assert listed(world) == {}
