"""The Milvus port on the double of every version: what it says of a server is so, and what it asks for is done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from pymilvus import MilvusClient
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

from mbk.errors import AlreadyExists, CollectionNotFound, ImportFailed, MbkError, MilvusError, Unsupported
from mbk.model.records import (
    IndexInfo,
    KeyValue,
    RbacGrant,
    as_dict,
)
from mbk.ports.milvus.values import Feature, ImportPhase, ImportRequest, SnapshotState
from mbk.testing.memory import MemoryService, MemoryStorage
from tests.milvus_double.server import MilvusDouble
from tests.raising import raised
from tests.versions.played import FLOATS, Played, base, connected, make, numbered

#: What the double's own table, made by other hands from the same sources, calls the features.
NAMES = {
    Feature.DATABASES: "databases",
    Feature.DESCRIBE_DATABASE: "describe_database",
    Feature.SEGMENT_DETAIL: "segment_detail",
    Feature.L0_SEGMENTS: "l0_segments",
    Feature.MULTI_L0_IMPORT: "multi_l0_import",
    Feature.FLUSH_ALL: "flush_all_messages",
    Feature.COLLECTION_GC_PAUSE: "collection_gc_pause",
    Feature.FUNCTION_CHECK_SWITCH: "function_check_switch",
    Feature.RBAC_BACKUP: "rbac_backup",
    Feature.COUNT: "count",
    Feature.REST_IMPORT: "rest_v2",
    Feature.SNAPSHOT: "exported_snapshots",
    Feature.ADD_FIELD: "add_field",
    Feature.PACKED_SEGMENTS: "packed_segments",
    Feature.FLUSHES_DELETES: "flush_persists_deletes",
    Feature.DELETE_TIMES: "imports_by_delete_time",
}


def test_the_features_are_those_that_the_server_has(played: Played) -> None:
    found = {feature for feature in NAMES if feature in played.client.features}
    assert found == {feature for feature, feature_name in NAMES.items() if played.has(feature_name)}
    assert (Feature.HYBRID_END_TS in played.client.features) == played.double.version.hybrid_end_ts
    assert played.client.version == played.double.version.name


# -- data -------------------------------------------------------------------------------------------------------------

ROWS = 40
DELETED = range(5, 15)


@pytest.fixture(scope="module")
def filled(played: Played) -> str:
    return fill(played)


def fill(played: Played) -> str:
    """A collection of two segments, and deletes that came after the first: some rows of each are gone."""
    name = "filled"
    with played.double.state.lock:
        # 2.2 with the setting without which a flush leaves deletes behind.
        played.double.state.sync_deletes = True
    make(played, numbered(name, *base()))
    index = IndexInfo(field_name="vector", index_name="v", params={"index_type": "FLAT", "metric_type": "L2"})
    played.client.definitions.create_index("default", name, index)
    rows = [{"id": number, "vector": [number / 4] * 4} for number in range(ROWS)]
    client = MilvusClient(uri=played.double.uri)
    client.load_collection(name)
    client.insert(name, rows[: ROWS // 4])
    played.client.points.flush("default", name)
    client.insert(name, rows[ROWS // 4 :])
    client.delete(name, filter=f"id in {list(DELETED)}")
    played.client.points.flush("default", name)
    client.close()
    return name


def test_the_boundary_of_a_flush_lies_on_every_channel(played: Played, filled: str) -> None:
    point = played.client.points.flush("default", filled)
    channels = played.client.inventory.describe("default", filled).virtual_channels
    if played.has("flush_ts"):
        assert set(point.timestamps) == set(channels)
        assert all(timestamp >> 18 > 1_600_000_000_000 for timestamp in point.timestamps.values())
        assert set(point.checkpoints) == set(channels)
    else:
        assert not point.timestamps
    assert point.seal_seconds


def test_one_boundary_over_all_where_the_server_tells_it(played: Played, filled: str) -> None:
    if not played.has("flush_all_messages"):
        with pytest.raises(Unsupported):
            played.client.points.flush_all()
        return
    point = played.client.points.flush_all()
    channels = {
        name.rpartition("_")[0]
        for name in played.client.inventory.describe("default", filled).virtual_channels
    }
    assert channels <= set(point.timestamps)
    assert set(point.messages) == set(point.timestamps) == set(point.physical_channels)
    assert point.control_channel.endswith("_vcchan")
    assert all(timestamp >> 18 > 1_600_000_000_000 for timestamp in point.timestamps.values())


def test_segments_are_told_with_the_files_that_lie_there(played: Played, filled: str) -> None:
    segments = played.client.segments.persistent("default", filled)
    collection = played.client.inventory.describe("default", filled).id
    data = [segment for segment in segments if not segment.is_l0]
    assert sum(segment.rows for segment in data) == ROWS
    assert any(segment.is_l0 for segment in segments) == played.has("l0_segments")
    packed = played.has("packed_segments")
    assert {segment.storage_version >= 2 for segment in data} == {packed}
    ids = [segment.id for segment in segments]
    if not played.has("segment_detail"):
        with pytest.raises(Unsupported):
            played.client.segments.logs("default", collection, ids)
        return
    found = played.client.segments.logs("default", collection, [*ids, 12345])
    assert set(found) == set(ids)
    for segment in segments:
        place = played.home / "insert_log" / str(collection) / str(segment.partition_id) / str(segment.id)
        lying = {
            int(group.name): sorted(int(log.name) for log in group.iterdir()) for group in place.glob("*")
        }
        assert {group: sorted(logs) for group, logs in found[segment.id].insert_logs.items()} == lying
        assert bool(found[segment.id].delta_logs) == segment.is_l0
        assert found[segment.id].v_channel


def staged(played: Played, filled: str) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]], int]:
    """Import files of the data segments and of the L0 segments, as a backup lays them out; the storage version."""
    collection = played.client.inventory.describe("default", filled).id
    data, deletes = [], []
    segments = played.client.segments.persistent("default", filled)
    for segment in segments:
        paths = []
        for kind in ("insert_log", "delta_log"):
            source = played.home / kind / str(collection) / str(segment.partition_id) / str(segment.id)
            group = played.home / "staged" / kind / str(segment.id)
            if source.is_dir():
                shutil.copytree(source, group / str(segment.id), dirs_exist_ok=True)
                # A file of L0 is the segment's directory; one of data the directory above.
                paths.append(f"{group / str(segment.id) if segment.is_l0 else group}/")
        (deletes if segment.is_l0 else data).append(tuple(paths))
    return data, deletes, max(segment.storage_version for segment in segments)


def finished(played: Played, request: ImportRequest) -> int:
    """Starts the job, waits for its end and returns the rows that it reports."""
    job = played.client.imports.start(request)
    for _ in range(1000):
        state = played.client.imports.state(job, database=request.database)
        if state.phase is not ImportPhase.RUNNING:
            break
        time.sleep(0.01)
    assert state.phase is ImportPhase.COMPLETED, state
    return state.rows


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
def test_what_was_written_is_imported_with_its_deletes(
    played: Played, filled: str, name: str, rest: bool
) -> None:
    data, deletes, version = staged(played, filled)
    make(played, numbered(name, *base()))

    def ask(files: list[tuple[str, ...]], *, l0: bool = False) -> ImportRequest:
        partition = "" if l0 else "_default"
        stored = 0 if l0 else version
        return ImportRequest(
            "default", name, partition, tuple(files), l0=l0, storage_version=stored, rest=rest
        )

    if rest and not played.has("rest_v2"):
        with pytest.raises(Unsupported):
            played.client.imports.start(ask(data))
        return
    if rest:
        assert finished(played, ask(data)) == ROWS
    else:
        for file in data:
            finished(played, ask([file]))
    refused = played.has("l0_import_disabled")
    for file in deletes:
        if refused:
            with pytest.raises(Unsupported):
                played.client.imports.start(ask([file], l0=True))
        else:
            finished(played, ask([file], l0=True))
    index = IndexInfo(field_name="vector", params={"index_type": "FLAT", "metric_type": "L2"})
    played.client.definitions.create_index("default", name, index)
    played.client.definitions.load("default", name)
    assert played.client.rows.count("default", name) == ROWS - (0 if refused else len(DELETED))
    assert played.client.definitions.load_progress("default", name) == 100


def test_a_job_that_nobody_knows_has_failed_and_a_bad_path_is_no_success(played: Played, name: str) -> None:
    with pytest.raises(ImportFailed):
        played.client.imports.state("7777777")
    make(played, numbered(name, *base()))
    with pytest.raises(CollectionNotFound):
        played.client.imports.start(ImportRequest("default", "nowhere", "_default", (("/no/",),)))
    if played.has("import_v2"):
        # A classic server calls a job of nothing completed; the engine counts rows.
        with raised(MbkError, "milvus-request-failed") as caught:
            played.client.imports.start(
                ImportRequest("default", name, "_default", ((f"{played.home}/no/",),))
            )
        assert "no binlog to import" in str(caught.value.facts["reason"])


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_databases_come_with_what_the_server_tells_of_them(played: Played) -> None:
    client = played.client
    if not played.has("databases"):
        assert [database.db_name for database in client.inventory.databases()] == ["default"]
        return
    client.definitions.create_database("tenants", [KeyValue(key="database.max.collections", value="7")])
    with pytest.raises(AlreadyExists):
        client.definitions.create_database("tenants")
    found = {database.db_name: database for database in client.inventory.databases()}
    assert set(found) == {"default", "tenants"}
    detailed = played.has("describe_database")
    assert bool(found["tenants"].db_id) == detailed
    assert as_dict(found["tenants"].properties).get("database.max.collections") == ("7" if detailed else None)


def test_a_pause_of_the_garbage_collection_is_given_back(played: Played, filled: str) -> None:
    collection = played.client.inventory.describe("default", filled).id
    if not played.has("gc_pause"):
        with pytest.raises(Unsupported):
            played.client.gc.pause(60)
        return
    by_collection = collection if Feature.COLLECTION_GC_PAUSE in played.client.features else None
    ticket = played.client.gc.pause(60, collection_id=by_collection)
    assert bool(ticket) == played.has("collection_gc_pause")
    played.client.gc.resume(ticket, collection_id=by_collection)


def test_users_and_roles_go_over_whole_or_as_far_as_the_server_lets_them(
    tmp_path: Path, played: Played
) -> None:
    """From this version to an empty server of the same."""
    make_users(MilvusClient(uri=played.double.uri), groups=played.has("functions"))
    read = played.client.access.read()
    whole = played.has("rbac_backup")
    secrets = [user.password for user in read.users if user.password]
    assert bool(secrets) == whole
    assert not any(secret in repr(read) for secret in secrets)
    with MilvusDouble(played.double.version.name, home=tmp_path) as empty, connected(empty) as client:
        lines = client.access.restore(read)
        again = client.access.restore(read)
        after = client.access.read()
    assert any("ann" in line for line in lines) != whole
    assert {"reader"} <= {role.name for role in after.roles}
    assert ("ann" in {user.user for user in after.users}) == whole
    assert [as_line(item) for item in after.grants] == [as_line(item) for item in read.grants]
    if whole:
        assert [user.password for user in after.users if user.user == "ann"] == [
            user.password for user in read.users if user.user == "ann"
        ]
        assert {line.split()[1] for line in again} >= {"ann", "reader"}
    if played.has("functions"):
        assert {group.group_name for group in after.privilege_groups} >= {"readers"}


def make_users(client: MilvusClient, *, groups: bool) -> None:
    """Privilege groups came with 2.5, as functions did."""
    client.create_user("ann", "Secret12")
    client.create_role("reader")
    client.grant_role("ann", "reader")
    client.grant_privilege("reader", "Collection", "Search", "*")
    if groups:
        client.create_privilege_group("readers")
        client.add_privileges_to_group("readers", ["Query"])
    client.close()


def as_line(item: RbacGrant) -> tuple[str, ...]:
    privilege = item.grantor.privilege if item.grantor else None
    names = [found.name if found else "" for found in (item.role, item.object, privilege)]
    return (*names, item.object_name, item.db_name)


def test_before_3_0_snapshots_do_not_leave_their_cluster(played: Played, filled: str) -> None:
    if not played.has("exported_snapshots"):
        with pytest.raises(Unsupported):
            played.client.snapshots.create("default", filled, "s")
    assert (Feature.SNAPSHOT in played.client.features) == played.has("exported_snapshots")


def test_a_snapshot_is_exported_and_restored_beside_its_source() -> None:
    storage = MemoryStorage(MemoryService("milvus"), "milvus")
    with MilvusDouble("v3.0.1", storage=storage, flush_rate=0) as double, connected(double) as client:
        played = Played(double, client, Path())
        name = fill(played)
        timestamp = client.snapshots.create("default", name, "s", description="for a test")
        assert timestamp >> 18 > 1_600_000_000_000
        assert client.snapshots.create("default", name, "s") == timestamp
        job = client.snapshots.export("default", name, "s", uri="s3://milvus/backup/nightly/bundle", spec="")
        state = ended(lambda: client.snapshots.export_state(job))
        assert state.phase is ImportPhase.COMPLETED
        assert state.metadata_uri.startswith("s3://milvus/backup/nightly/bundle/")
        assert (state.files > 0, state.size > 0) == (True, True)
        assert client.snapshots.find("default", name, prefix="s") == {"s": "for a test"}
        assert client.snapshots.find("default", name, prefix="mbk_") == {}
        client.snapshots.drop("default", name, "s")
        client.snapshots.drop("default", name, "s")
        assert client.snapshots.find("default", name, prefix="") == {}
        job = client.snapshots.restore("default", "beside", uri=state.metadata_uri, spec="")
        assert ended(lambda: client.snapshots.restore_state(job)).phase is ImportPhase.COMPLETED
        client.definitions.load("default", "beside")
        assert client.rows.count("default", "beside") == ROWS - len(DELETED)
        for unknown in (client.snapshots.export_state, client.snapshots.restore_state):
            with pytest.raises(MilvusError):
                unknown("7777777")


def ended(ask: Callable[[], SnapshotState]) -> SnapshotState:
    for _ in range(1000):
        state = ask()
        if state.phase is not ImportPhase.RUNNING:
            break
        time.sleep(0.01)
    return state


def test_an_alias_belongs_to_its_collection(played: Played, filled: str) -> None:
    played.client.definitions.create_alias("default", filled, "known_as")
    assert played.client.inventory.describe("default", filled).aliases == ("known_as",)
    assert played.client.inventory.has_collection("default", "known_as")


def test_the_key_of_an_encrypted_database_is_handed_out(played: Played) -> None:
    if not played.has("encryption"):
        with pytest.raises((Unsupported, MilvusError)):
            played.client.access.encryption_key("default")
        return
    played.client.definitions.create_database("vault")
    with played.double.state.lock:
        zone = {"cipher.ezID": "7", "cipher.key": "root"}
        played.double.state.database("vault").properties.update(zone)
    assert played.client.access.encryption_key("vault")
    with raised(MilvusError, "encryption-key-unavailable", database="nowhere"):
        played.client.access.encryption_key("nowhere")


def test_a_collection_whose_data_lie_elsewhere_is_known(played: Played, name: str) -> None:
    if not played.has("external_collections"):
        assert not played.client.inventory.describe("default", plain(played, name)).external
        return
    message = schema_pb2.CollectionSchema(name=name, external_source="s3://elsewhere/rows/")
    message.fields.add(
        name="vector",
        data_type=FLOATS,
        external_field="column",
        type_params=[common_pb2.KeyValuePair(key="dim", value="4")],
    )
    request = milvus_pb2.CreateCollectionRequest(collection_name=name, schema=message.SerializeToString())
    with grpc.insecure_channel(played.double.target) as channel:
        status = milvus_pb2_grpc.MilvusServiceStub(channel).CreateCollection(request)
    assert not status.reason
    assert played.client.inventory.describe("default", name).external


def plain(played: Played, name: str) -> str:
    make(played, numbered(name, *base()))
    return name
