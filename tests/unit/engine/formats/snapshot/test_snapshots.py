"""The snapshot format, both ways, on a Milvus that exports and restores by itself.

See docs/reference/milvus-protocol.md#snapshots.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import xxhash

from mbk.engine.formats.snapshot.jobs import External
from mbk.engine.operations.check import Check
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.pace import SnapshotPace
from mbk.engine.runtime.run import Run
from mbk.errors import (
    CollectionExists,
    DamagedBackup,
    ImportFailed,
    Interrupted,
    InvalidBackup,
    MbkError,
    MilvusError,
    PartialFailure,
    PermissionDenied,
    Unsupported,
    UsageError,
    VerificationFailed,
)
from mbk.model.layout import BackupLayout, is_record
from mbk.model.mapping import parse_mapping
from mbk.model.options import Strategy
from mbk.model.records import IndexInfo
from mbk.model.reports import RunReport
from mbk.model.selection import Selection
from mbk.ports.milvus.values import Feature
from mbk.ports.storage import ObjectInfo
from mbk.testing import MemoryStorage
from tests.fakes.milvus import V2_6
from tests.fakes.snapshots import SPEC, V3_0, ReachableStorage, SnapshotMilvus
from tests.fakes.world import AT_ONCE, Killed, World
from tests.raising import raised

SECRET = "very-secret"
PATIENT = SnapshotPace(first=0.001, poll=0.001)
IMPATIENT = SnapshotPace(first=0.001, poll=0.001, notice=0.1, patience=1.0, settle=0.02, drop=0.02)


@dataclass
class SnapshotWorld(World):
    """Docs with two partitions and deletes in both, logs in another database; a Milvus 3.0."""

    times: SnapshotPace = PATIENT

    def __post_init__(self) -> None:
        super().__post_init__()
        self.storage = ReachableStorage(self.service, "milvus", root="files/")
        self.backup = ReachableStorage(
            self.service, "milvus" if self.same else "backups", root=self.backup_root
        )
        self.server = SnapshotMilvus(MemoryStorage(self.service, "milvus", root="files/"), features=V3_0)
        self.milvus = self.server
        docs = self.server.add("docs", partitions=("_default", "cold"))
        docs.indexes.append(
            IndexInfo(field_name="text", index_name="by_text", params={"mmap.enabled": "true"})
        )
        self.server.properties["docs"] = {"collection.ttl.seconds": "60", "mmap.enabled": "true"}
        self.server.insert("docs", range(8))
        self.server.insert("docs", range(20, 24), partition="cold")
        self.server.delete("docs", [2, 21])
        self.server.add("logs", database="other")
        self.server.insert("logs", range(3), database="other")

    def context(self, run: Run | None = None, **limits: Any) -> ClusterContext:
        return replace(super().context(run, **limits), pace=replace(AT_ONCE, snapshots=self.times))

    @property
    def held_snapshots(self) -> list[str]:
        return sorted(f"{database}.{name}" for database, name, _ in self.server.held)

    @property
    def bundle(self) -> dict[str, bytes]:
        return self.objects("backups", "backup/nightly/bundle/")


@pytest.fixture
def world() -> SnapshotWorld:
    return SnapshotWorld()


def full_meta(world: SnapshotWorld) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.backed_up["backup/nightly/meta/full_meta.json"])
    return found


def refused(world: SnapshotWorld, error: type[MbkError], code: str, **options: Any) -> MbkError:
    before = set(world.server.names)
    with raised(error, code) as caught:
        world.restore(suffix="_new", **options)
    assert world.server.names == before
    return caught.value


# -- there and back ----------------------------------------------------------------------------------------------------


def test_what_milvus_exported_comes_back_with_indexes_and_deletes(world: SnapshotWorld) -> None:
    world.create()
    assert world.held_snapshots == []
    report = world.restore(suffix="_new", rebuild_index=False)
    assert not report.failed
    assert world.server.rows_by_partition("docs_new") == world.server.rows_by_partition("docs")
    assert world.server.visible_rows("logs_new", database="other") == world.server.visible_rows(
        "logs", database="other"
    )
    assert [index.index_name for index in world.server.inventory.describe("default", "docs_new").indexes] == [
        "by_text"
    ]
    assert world.staged == {}
    assert world.server.import_requests == []


def test_the_files_are_those_of_the_classic_tool(world: SnapshotWorld) -> None:
    world.create()
    meta = {key.rpartition("/")[2] for key in world.backed_up if "/meta/" in key}
    assert {file for file in meta if not is_record(file)} == {
        "mbk.json",
        "backup_meta.json",
        "collection_meta.json",
        "full_meta.json",
    }
    tree = full_meta(world)
    assert tree["format"] == "snapshot"
    docs = next(item for item in tree["collection_backups"] if item["collection_name"] == "docs")
    bundle = docs["snapshot_backup"]
    assert f"backup/nightly/{bundle['metadata_path']}" in world.bundle
    assert bundle["metadata_path"].startswith("bundle/exports/uuid-")
    assert docs["size"] == bundle["total_bytes"] > 0
    assert docs["backup_timestamp"] > 0
    assert [part["partition_name"] for part in docs["partition_backups"]] == ["_default", "cold"]
    assert not any("segment_backups" in part for part in docs["partition_backups"])
    assert json.loads(world.backed_up["backup/nightly/meta/backup_meta.json"])["format"] == "snapshot"


def test_no_garbage_collection_is_paused_and_no_object_passes_through(world: SnapshotWorld) -> None:
    report = world.create()
    assert "pause_gc" not in {call for call, _ in world.server.calls}
    assert set(report.transfer.objects) == {"server"}
    own = world.catalog().read_manifest("nightly")
    assert own.snapshots == []
    assert {item.boundary for item in own.protection.values()} == {"own"}
    assert all(item.gc_paused and item.at for item in own.protection.values())


def recorded(world: SnapshotWorld, name: str) -> dict[str, dict[str, str]]:
    catalog = world.catalog()
    record = catalog.open_record(catalog.committed(name))
    assert record is not None
    with record:
        return {entry.key: entry.digests for entry in record.objects()}


def test_full_reads_what_milvus_wrote_and_records_its_digests(world: SnapshotWorld) -> None:
    world.create(checksum="full")
    found = {f"bundle/{key.partition('/bundle/')[2]}": data for key, data in world.bundle.items()}
    told = recorded(world, "nightly")
    assert told.keys() == found.keys()
    assert all(told[key]["xxh128"] == xxhash.xxh3_128_hexdigest(data) for key, data in found.items())
    assert "snapshots-unread" not in world.notices


class TellsNoDigests(ReachableStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return (replace(entry, checksums={}) for entry in super().list(prefix, start_after=start_after))


def test_files_of_which_nobody_knows_a_digest_are_said_to_be_unread(world: SnapshotWorld) -> None:
    world.create()
    assert "snapshots-unread" not in world.notices, "this storage tells digests"
    world.backup = TellsNoDigests(world.service, "backups", root=world.backup_root)
    world.create("silent")
    assert world.notices.count("snapshots-unread") == 1
    assert not any(recorded(world, "silent").values())


def test_credentials_go_to_milvus_only_where_it_has_none_of_its_own(world: SnapshotWorld) -> None:
    world.create()
    assert set(world.server.specs) == {""}
    far = ReachableStorage(world.service, "backups", root="backup/")
    far._location = replace(far.location, endpoint="far:9000")
    world.backup = far
    world.server.specs.clear()
    world.create("far")
    world.restore("far", suffix="_new")
    assert set(world.server.specs) == {SPEC}
    assert SECRET not in repr(External.of(far, world.storage))
    told = " ".join(map(str, world.events)) + " ".join(str(data) for data in world.backed_up.values())
    assert SECRET not in told


# -- which format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "options", "made"),
    [
        (V3_0, {}, "snapshot"),
        (V3_0, {"format": "snapshot"}, "snapshot"),
        (V3_0, {"format": "binlog"}, ""),
        (V3_0, {"strategy": Strategy.META_ONLY}, ""),
        (V3_0 - {Feature.MANIFEST_SEGMENTS}, {}, ""),
        (V3_0 - {Feature.MANIFEST_SEGMENTS}, {"format": "snapshot"}, "snapshot"),
        (V2_6, {}, ""),
    ],
)
def test_the_format_is_the_one_asked_for_or_the_better_one(
    features: frozenset[Feature], options: dict[str, Any], made: str, world: SnapshotWorld
) -> None:
    world.server.features = features
    world.server.manifests = made == "snapshot"
    world.create(**options)
    assert world.catalog().read("nightly").format == made


def test_segments_without_manifests_are_copied_as_binlogs_and_snapshots_are_there_for_the_asking(
    world: SnapshotWorld,
) -> None:
    world.server.manifests = False
    world.create()
    assert world.catalog().read("nightly").format == ""
    world.create("asked", format="snapshot")
    assert world.catalog().read("asked").format == "snapshot"


@pytest.mark.parametrize(
    ("features", "options", "code"),
    [
        (V2_6, {"format": "snapshot"}, "snapshot-unsupported"),
        (V3_0, {"format": "snapshot", "strategy": Strategy.META_ONLY}, "snapshot-without-data"),
        (V3_0, {"only": "docs/cold"}, "snapshot-partitions"),
    ],
)
def test_what_a_snapshot_cannot_be_is_refused(
    features: frozenset[Feature], options: dict[str, Any], code: str, world: SnapshotWorld
) -> None:
    world.server.features = features
    with raised(UsageError, code):
        world.create(**options)
    assert world.backed_up == {}


def test_a_format_that_nobody_has_is_refused(world: SnapshotWorld) -> None:
    with raised(UsageError) as caught:
        world.create(format="tar")
    assert "tar" in caught.value.facts.values()
    assert world.backed_up == {}


def test_on_a_storage_that_milvus_has_no_name_for_binlogs_are_copied_if_there_are_any(
    world: SnapshotWorld,
) -> None:
    world.backup = MemoryStorage(world.service, "backups", root="backup/")
    with raised(Unsupported, "snapshot-storage-unsupported"):
        world.create(format="snapshot")
    assert world.backed_up == {}
    with raised(MilvusError, "segment-version-unsupported"):
        world.create()
    assert "no-snapshot" in world.notices
    world.server.manifests = False
    world.create("plain")
    assert world.catalog().read("plain").format == ""


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://b/root/nightly/bundle/snapshots/1/metadata/2.json", "bundle/snapshots/1/metadata/2.json"),
        (
            "minio://h:443/b/root/nightly/bundle/exports/u/snapshots/1/metadata/2.json",
            "bundle/exports/u/snapshots/1/metadata/2.json",
        ),
        ("s3://other/root/nightly/bundle/snapshots/1/metadata/2.json", None),
        ("s3://b/root/other/bundle/snapshots/1/metadata/2.json", None),
        ("s3://b/root/nightly/bundle/../../x.json", None),
        ("", None),
    ],
)
def test_the_reported_place_is_compared_by_bucket_and_key(
    uri: str, path: str | None, world: SnapshotWorld
) -> None:
    storage = ReachableStorage(bucket="b", root="root/")
    external, place = External.of(storage, world.storage), BackupLayout("root/", "nightly")
    if path is not None:
        assert external.metadata_path(uri, place) == path
    else:
        with raised(MilvusError, "snapshot-exported-elsewhere", uri=uri, prefix="root/nightly/", bucket="b"):
            external.metadata_path(uri, place)


# -- when something goes wrong -----------------------------------------------------------------------------------------


def test_one_failed_export_does_not_stop_the_others_and_a_second_run_completes_it(
    world: SnapshotWorld,
) -> None:
    world.server.breaks = {"docs"}
    with pytest.raises(PartialFailure):
        world.create()
    assert world.held() == ["logs"]
    assert world.held_snapshots == []
    world.server.breaks = set()
    world.create(resume=True)
    assert world.held() == ["docs", "logs"]
    world.restore(suffix="_new")
    assert world.server.visible_rows("docs_new") == world.server.visible_rows("docs")


def test_files_that_are_missing_are_noticed_before_the_commit(world: SnapshotWorld) -> None:
    world.server.lost = {"docs", "logs"}
    with raised(VerificationFailed, "snapshot-incomplete"):
        world.create()
    assert "backup/nightly/meta/full_meta.json" not in world.backed_up
    assert world.held_snapshots == []


def test_an_export_that_does_not_move_is_told_and_given_up(world: SnapshotWorld) -> None:
    world.server.stuck, world.times = {"docs"}, IMPATIENT
    with pytest.raises(PartialFailure):
        world.create()
    assert "snapshot-stalled" in world.notices
    # Milvus still reads it, so it cannot go; the backup says so.
    assert "snapshot-left" in world.notices
    assert world.held_snapshots == ["default.docs"]
    assert world.catalog().read_manifest("nightly").snapshots == ["default.docs"]
    world.server.end_jobs()
    world.server.stuck, world.times = set(), PATIENT
    world.create(resume=True)
    assert world.held_snapshots == []


def test_an_interrupted_run_lets_the_export_end_and_drops_the_snapshot(world: SnapshotWorld) -> None:
    run = world.run()

    def stop(call: str, _what: str) -> None:
        if call == "export_state":
            run.cancelled.set()

    world.server.fault = stop
    with pytest.raises(Interrupted):
        world.create(run=run)
    assert world.held_snapshots == []


def killed_at(world: SnapshotWorld, call: str) -> Callable[[], None]:
    """From this call on nothing of the process works; returns what brings the world back to life."""
    dead = False

    def fault(operation: str, what: str) -> None:
        nonlocal dead
        dead = dead or operation == call
        if dead:
            raise Killed(f"{operation} {what}")

    def again(fault: Callable[[str, str], None] = lambda _operation, _what: None) -> None:
        world.storage.fault = world.backup.fault = world.server.fault = fault

    world.workers = 1
    again(fault)
    return again


@pytest.mark.parametrize("call", ["create_snapshot", "export_snapshot", "export_state"])
def test_a_killed_run_is_completed_and_leaves_no_snapshot(call: str, world: SnapshotWorld) -> None:
    again = killed_at(world, call)
    with pytest.raises(Killed):
        world.create()
    again()
    assert len(world.held_snapshots) == (call != "create_snapshot")
    world.server.end_jobs()
    world.server.insert("docs", range(100, 103))
    world.create(resume=True)
    assert world.held_snapshots == []
    world.restore(suffix="_new")
    # A snapshot that the killed run left would not have these rows.
    assert world.server.visible_rows("docs_new") == world.server.visible_rows("docs")
    paths = [item["snapshot_backup"]["metadata_path"] for item in full_meta(world)["collection_backups"]]
    roots = tuple(f"backup/nightly/{path.partition('snapshots/')[0]}" for path in paths)
    assert all(key.startswith(roots) for key in world.bundle)


def test_a_snapshot_of_a_collection_that_is_no_longer_asked_for_is_dropped_too(world: SnapshotWorld) -> None:
    again = killed_at(world, "export_snapshot")
    with pytest.raises(Killed):
        world.create()
    again()
    (left,) = world.held_snapshots
    world.create(resume=True, only="other.*" if left == "default.docs" else "docs")
    assert world.held_snapshots == []


def test_a_snapshot_whose_backup_was_deleted_is_dropped_by_the_next_backup_of_the_collection(
    world: SnapshotWorld,
) -> None:
    again = killed_at(world, "export_snapshot")
    with pytest.raises(Killed):
        world.create("first", only="docs")
    again()
    world.server.end_jobs()
    world.create("second", only="docs")
    assert world.held_snapshots == ["default.docs"], "the killed run can still be completed"
    world.delete("first")
    world.create("third", only="docs")
    assert world.held_snapshots == []
    assert "snapshot-dropped" in world.notices


def test_snapshots_of_others_are_left_alone(world: SnapshotWorld) -> None:
    """A user's own, another place's, an older mbk's, and what only looks like ours."""
    for name, description in {
        "mine": "",
        "mbk_elsewhere": "made by mbk for memory://else/where/elsewhere",
        "mbk_older": "made by mbk",
        "mbk_swapped": f"made by mbk for {world.backup.location}/other",
        "mbk_a/b": "",
    }.items():
        world.server.snapshots.create("default", "docs", name, description=description)
    world.create(only="docs")
    assert len(world.server.held) == 5


def test_a_backup_does_without_a_list_of_snapshots(world: SnapshotWorld) -> None:
    def refuse(operation: str, what: str) -> None:
        if operation == "snapshots":
            raise MilvusError("no right to list")

    world.server.fault = refuse
    world.create(only="docs")
    assert world.held() == ["docs"]
    assert "snapshots-unsure" in world.notices


def test_a_new_backup_of_an_old_name_takes_no_old_snapshot(world: SnapshotWorld) -> None:
    world.server.snapshots.create("default", "docs", "mbk_nightly")
    world.server.insert("docs", range(100, 103))
    world.create(only="docs")
    world.restore(suffix="_new")
    assert world.server.visible_rows("docs_new") == world.server.visible_rows("docs")


def test_a_backup_goes_on_in_the_format_in_which_it_was_begun(world: SnapshotWorld) -> None:
    number = world.server.inventory.describe("other", "logs").id
    world.server.manifests = False

    def broken(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{number}/" in key:
            raise PermissionDenied("not this one")

    world.backup.fault = broken
    with pytest.raises(PartialFailure):
        world.create(format="binlog")
    world.backup.fault = lambda _operation, _key: None
    with raised(UsageError, "format-changed", started="binlog"):
        world.create(resume=True, format="snapshot", only="other.*")
    world.create(resume=True, only="other.*")
    assert world.catalog().read("nightly").format == ""


# -- what a restore refuses and changes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"meta_only": True}, "meta_only"),
        ({"truncate": True}, "--at-backup-time"),
        ({"ezk_mapping": {"a": "b"}}, "an ezk mapping"),
        ({"source_selection": Selection.parse("docs/cold")}, "single partitions of default.docs"),
    ],
)
def test_a_restore_refuses_what_would_have_to_change_a_snapshot(
    options: dict[str, Any], named: str, world: SnapshotWorld
) -> None:
    world.create()
    assert refused(world, UsageError, "snapshot-options-unsupported", **options).facts["options"] == named


def test_a_bound_on_shards_is_refused_only_where_it_would_bind(world: SnapshotWorld) -> None:
    world.server._collections["default", "docs"].shards = 2
    world.create(only="docs")
    error = refused(world, UsageError, "snapshot-options-unsupported", max_shards=1)
    assert error.facts["options"] == "a number of shards other than the 2 of default.docs"
    world.restore(suffix="_new", max_shards=2)
    assert world.server.inventory.describe("default", "docs_new").shards == 2


def test_an_override_of_shards_is_refused_and_one_of_the_description_is_not(world: SnapshotWorld) -> None:
    world.create(only="docs")

    def mapping(override: dict[str, Any]) -> Any:
        return parse_mapping(
            [{"source": "default", "colls": [{"source": "docs", "target": "copy", "override": override}]}]
        )

    with raised(
        UsageError,
        "snapshot-options-unsupported",
        options="a number of shards other than the 1 of default.docs",
    ):
        world.restore(mapping=mapping({"shardNum": 3}))
    world.restore(mapping=mapping({"shardNum": 1, "description": "copied"}))
    assert world.server.inventory.describe("default", "copy").schema.description == "copied"


def test_what_shall_be_left_out_is_deleted_afterwards_where_it_is_there(world: SnapshotWorld) -> None:
    world.create()
    world.restore(
        suffix="_new",
        skip_params={
            "collectionProperties": frozenset({"mmap.enabled", "absent"}),
            "fieldTypeParams": frozenset({"max_length"}),
            "indexParams": frozenset({"mmap.enabled"}),
        },
    )
    info = world.server.inventory.describe("default", "docs_new")
    assert [pair.key for pair in info.properties] == ["collection.ttl.seconds"]
    assert [item.type_params for item in info.schema.fields] == [[], []]
    assert info.indexes[0].params == {}
    calls = [call for call, what in world.server.calls if call == "alter_collection" and what == "logs_new"]
    assert calls == []


def test_a_failed_restore_job_leaves_no_target(world: SnapshotWorld) -> None:
    world.create()
    world.server.breaks = {"docs_new"}
    with pytest.raises(PartialFailure) as caught:
        world.restore(suffix="_new")
    assert isinstance(caught.value.report, RunReport)
    assert [item.target for item in caught.value.report.failed] == ["default.docs_new"]
    assert "the disk is full" in str(caught.value.report.failed[0].error)
    assert "default.docs_new" not in world.server.names
    assert "other.logs_new" in world.server.names
    world.server.breaks = set()
    world.restore(suffix="_new", selection=Selection.parse("docs_new"))
    assert world.server.visible_rows("docs_new") == world.server.visible_rows("docs")
    assert world.staged == {}


def test_a_restore_job_that_does_not_move_is_given_up(world: SnapshotWorld) -> None:
    world.create(only="docs")
    world.server.stuck, world.times = {"docs_new"}, IMPATIENT
    with raised(ImportFailed, "snapshot-job-stalled", collection="default.docs_new"):
        world.restore(suffix="_new")
    assert "default.docs_new" not in world.server.names


def test_a_killed_restore_is_begun_anew(world: SnapshotWorld) -> None:
    world.create(only="docs")
    again = killed_at(world, "restore_snapshot_state")
    with pytest.raises(Killed):
        world.restore(suffix="_new")
    again()
    assert "default.docs_new" in world.server.names
    world.restore(suffix="_new")
    assert world.server.visible_rows("docs_new") == world.server.visible_rows("docs")
    assert world.staged == {}


def test_somebody_elses_target_is_left_alone(world: SnapshotWorld) -> None:
    world.create(only="docs")
    with pytest.raises(CollectionExists):
        world.restore()
    world.server.insert("docs", range(50, 52))
    world.restore(drop_existing=True)
    assert [key for key, _ in world.server.visible_rows("docs")] == [0, 1, 3, 4, 5, 6, 7, 20, 22, 23]


def test_a_bundle_that_is_not_whole_is_noticed_before_the_first_change(world: SnapshotWorld) -> None:
    world.create()
    victim = next(key for key in world.bundle if "insert_log" in key)
    world.backup.delete([victim])
    refused(world, VerificationFailed, "snapshot-incomplete")
    metadata = next(key for key in world.bundle if key.endswith(".json"))
    world.backup.delete([metadata])
    refused(world, VerificationFailed, "snapshot-metadata-missing")


@pytest.mark.parametrize("verify", ["auto", "listing"])
def test_a_file_that_was_rewritten_is_noticed_before_the_first_change(
    verify: str, world: SnapshotWorld
) -> None:
    world.create()
    victim = next(key for key in world.bundle if "insert_log" in key)
    content = world.backed_up[victim]
    world.backup.write(victim, [bytes([content[0] ^ 1]) + content[1:]])
    before = world.server.names
    with raised(DamagedBackup, "backup-objects-differ", changed=1):
        world.restore(suffix="_back", verify=verify)
    assert world.server.names == before


def test_contents_reads_the_files_of_snapshots(world: SnapshotWorld) -> None:
    """The storage still tells the digest that a file had."""
    world.create()
    victim = next(key for key in world.bundle if "insert_log" in key)
    objects = world.backup.bucket.objects
    found = objects[victim]
    objects[victim] = replace(found, data=bytes([found.data[0] ^ 1]) + found.data[1:])
    with raised(DamagedBackup, "object-damaged", key=victim):
        world.restore(suffix="_back", verify="contents")


def test_a_file_that_is_no_part_of_a_snapshot_is_told(world: SnapshotWorld) -> None:
    world.create()
    root = next(key for key in world.bundle if key.endswith(".json")).partition("snapshots/")[0]
    world.backup.write(f"{root}insert_log/stranger", [b"?"])
    world.restore(suffix="_back")
    assert ("extra-objects" in world.notices) == (not root.endswith("/bundle/"))


def test_an_older_milvus_says_what_it_would_need(world: SnapshotWorld) -> None:
    world.create()
    world.server.features = V2_6
    refused(world, UsageError, "snapshot-restore-unsupported")


def test_a_dry_run_tells_files_and_bytes_and_changes_nothing(world: SnapshotWorld) -> None:
    world.create()
    before = set(world.server.names)
    report = world.restore(suffix="_new", dry_run=True)
    assert all(item.objects and item.size for item in report.collections)
    assert world.server.names == before


def test_a_record_without_its_snapshot_is_a_damaged_backup(world: SnapshotWorld) -> None:
    world.create()
    world.edit(lambda tree: tree["collection_backups"][0].pop("snapshot_backup"))
    refused(world, InvalidBackup, "snapshot-missing")


@pytest.mark.parametrize(
    ("kind", "features", "told"),
    [
        (ReachableStorage, V3_0, [("Milvus writes them to mem://backups/backup/", False)]),
        (MemoryStorage, V3_0, [("backups copy binlogs instead", True)]),
        (ReachableStorage, V2_6, []),
    ],
)
def test_check_tells_where_milvus_writes_snapshots(
    kind: type[MemoryStorage],
    features: frozenset[Feature],
    told: list[tuple[str, bool]],
    world: SnapshotWorld,
) -> None:
    world.server.features = features
    backup = kind(world.service, "backups", root="backup/")
    check = Check(lambda: world.server, lambda: world.storage, lambda: backup, world.run(), world.limits)
    found = [item for item in check.results() if item.what == "snapshots"]
    assert [item.warning for item in found] == [warning for _, warning in told]
    assert all(text in item.detail for item, (text, _) in zip(found, told, strict=True))
    assert all(item.ok for item in found)


def test_a_run_without_snapshots_keeps_the_note_of_those_that_milvus_still_has(world: SnapshotWorld) -> None:
    world.server.stuck, world.times = {"docs", "logs"}, IMPATIENT
    with pytest.raises(MbkError):
        world.create()
    held = world.held_snapshots
    assert held
    world.create(resume=True, strategy=Strategy.META_ONLY)
    assert world.held_snapshots == held
    assert set(world.catalog().read_manifest("nightly").snapshots) >= set(held)
