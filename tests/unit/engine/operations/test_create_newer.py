"""What a backup does with what newer servers offer: one boundary, exact lists, pauses by collection, zones, etcd."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mbk.engine.backup.flush import FLUSH_PATIENCE
from mbk.engine.backup.gc_pause import REFUSALS
from mbk.engine.repository.timeline import moment, timestamp
from mbk.engine.repository.view import view
from mbk.engine.runtime.retry import RetryPolicy
from mbk.engine.runtime.run import Run
from mbk.errors import (
    CollectionNotFound,
    Interrupted,
    MbkError,
    MilvusError,
    MilvusUnavailable,
    PartialFailure,
    PermissionDenied,
    RateLimited,
    Unsupported,
    UsageError,
)
from mbk.model.events import Notice
from mbk.model.manifest import Manifest
from mbk.model.options import Strategy
from mbk.model.records import FieldSchema, IndexInfo, KeyValue
from mbk.ports.milvus.values import Feature, FlushAllPoint
from tests.fakes.milvus import V2_3, V2_4, V2_5, V2_6
from tests.fakes.newer import PCHANNEL
from tests.fakes.world import QUICK, Life, World
from tests.raising import raised


@pytest.fixture
def world() -> World:
    return filled(V2_6)


def filled(features: frozenset[Feature]) -> World:
    world = World(features=features)
    for name in ("docs", "logs"):
        world.milvus.add(name, partitions=("_default", "cold"))
        world.milvus.insert(name, range(6))
        world.milvus.insert(name, range(6, 9), partition="cold")
    return world


def full(world: World) -> dict[str, Any]:
    loaded = json.loads(world.backed_up["backup/nightly/meta/full_meta.json"])
    assert isinstance(loaded, dict)
    return loaded


def own(world: World) -> Manifest:
    return world.catalog().read_manifest("nightly")


def protections(world: World) -> list[tuple[str, bool]]:
    return [(item.boundary, item.gc_paused) for item in own(world).protection.values()]


def calls(world: World, *names: str) -> list[tuple[str, str]]:
    return [call for call in world.milvus.calls if call[0] in names]


def failing(call: str, *errors: MbkError) -> Callable[[str, str], None]:
    """A fault: the first calls of that name fail, each with one of ``errors``."""
    left = list(errors)

    def fault(name: str, _what: str) -> None:
        if name == call and left:
            raise left.pop(0)

    return fault


# -- one boundary over all ---------------------------------------------------------------------------------------


def test_one_flush_draws_one_line_for_all_collections(world: World) -> None:
    world.milvus.insert("docs", [100], flush=False)
    world.create()
    assert calls(world, "flush", "flush_all") == [("flush_all", "")]
    root = full(world)
    assert root["flush_all_msgs_base64"] == {PCHANNEL: "bWVzc2FnZQ=="}
    assert root["control_channel_name"] == f"{PCHANNEL}_vcchan"
    assert root["physical_channel_names"] == [PCHANNEL]
    stamps = set()
    for collection in root["collection_backups"]:
        ((channel, position),) = collection["channel_checkpoints"].items()
        assert channel == f"{PCHANNEL}_{collection['collection_id']}v0"
        assert timestamp(position) == collection["backup_timestamp"]
        stamps.add(collection["backup_timestamp"])
    (line,) = stamps
    # Without the counter below the millisecond, in which rows may be under way.
    (at,) = {item.at for item in own(world).protection.values()}
    assert at <= moment(line)
    assert protections(world) == [("all", True), ("all", True)]
    docs = root["collection_backups"][0]
    assert sum(s["num_of_rows"] for part in docs["partition_backups"] for s in part["segment_backups"]) == 10


def test_rows_are_counted_before_the_one_flush(world: World) -> None:
    """What is written between flush and copy is noticed only so: then nobody knows the backup's rows."""

    def fault(call: str, _what: str) -> None:
        if call == "flush_all":
            world.milvus.fault = lambda _call, _what: None
            world.milvus.insert("docs", [200])

    world.milvus.fault = fault
    report = world.create()
    assert [item.rows_expected for item in report.collections] == [None, 9]


def test_serial_flush_is_done_where_it_is_asked_for(world: World) -> None:
    world.create(strategy=Strategy.SERIAL_FLUSH)
    assert calls(world, "flush_all") == []
    assert "flush_all_msgs_base64" not in full(world)
    assert [boundary for boundary, _ in protections(world)] == ["own", "own"]


def test_skip_flush_says_that_there_is_no_line(world: World) -> None:
    world.create(strategy=Strategy.SKIP_FLUSH)
    assert protections(world) == [("none", True), ("none", True)]


def test_a_server_that_cannot_flush_all_after_all_flushes_each(world: World) -> None:
    world.milvus.fault = failing("flush_all", Unsupported("not on this cluster"))
    world.create()
    assert sorted(calls(world, "flush")) == [("flush", "docs"), ("flush", "logs")]
    assert world.notices == ["flush-all-unsupported"]
    world.milvus.fault = failing("flush_all", Unsupported("not on this cluster"))
    with pytest.raises(Unsupported):
        world.create("other", strategy=Strategy.BULK_FLUSH)


def test_a_collection_whose_channels_the_flush_did_not_reach_is_flushed_by_itself(world: World) -> None:
    world.milvus.points.flush_all = lambda **_: FlushAllPoint({"other": b"message"}, {"other": 5})
    world.create(only="docs")
    assert calls(world, "flush") == [("flush", "docs")]
    assert protections(world) == [("own", True)]


def test_collections_of_two_runs_have_no_boundary_in_common(world: World) -> None:
    number = world.milvus.inventory.describe("default", "logs").id

    def broken(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{number}/" in key:
            raise PermissionDenied("not this one")

    world.backup.fault = broken
    with pytest.raises(PartialFailure):
        world.create()
    assert "flush_all_msgs_base64" in full(world)
    world.backup.fault = lambda _operation, _key: None
    world.create(resume=True)
    root = full(world)
    assert "flush_all_msgs_base64" not in root, "no message is true for both"
    assert len({item["backup_timestamp"] for item in root["collection_backups"]}) == 2
    assert len({item.at for item in own(world).protection.values()}) in (1, 2)
    assert protections(world) == [("all", True), ("all", True)]


@pytest.mark.parametrize("call", ["flush_all", "flush"])
def test_a_flush_that_the_quota_puts_off_is_waited_for(world: World, call: str) -> None:
    """The default quota is one flush of a collection in ten seconds; ordinary retries give up before."""
    world.milvus.fault = failing(call, *[RateLimited("quota") for _ in range(12)])
    world.create(strategy=Strategy.AUTO if call == "flush_all" else Strategy.SERIAL_FLUSH)
    assert world.held() == ["docs", "logs"]


def test_waiting_for_quotas_leaves_the_budget_for_real_trouble() -> None:
    """A thousand collections that were all flushed a moment ago are no reason to give up."""
    run = Run(policy=RetryPolicy(first=0.0001, ceiling=0.0001, budget=2))
    fault = failing("flush", *[RateLimited("quota") for _ in range(18)])
    run.retry.patiently(FLUSH_PATIENCE, "flush", fault, "flush", "")
    impatient = failing("flush", *[RateLimited("quota") for _ in range(18)])
    with pytest.raises(RateLimited):
        run.retry.call("flush", impatient, "flush", "")


def test_a_server_that_is_gone_is_not_waited_for_as_for_a_quota() -> None:
    run = Run(policy=QUICK)
    asked = []

    def gone() -> None:
        asked.append(1)
        raise MilvusUnavailable("refused")

    with pytest.raises(MilvusUnavailable):
        run.retry.patiently(FLUSH_PATIENCE, "flush", gone)
    assert len(asked) == QUICK.attempts


def test_a_list_of_segments_that_a_compaction_disturbs_is_asked_for_again(world: World) -> None:
    passing = [MilvusError("segment not found", retryable=True) for _ in range(12)]
    world.milvus.fault = failing("segments", *passing)
    world.create()
    assert world.held() == ["docs", "logs"]


# -- exact lists -------------------------------------------------------------------------------------------------


def orphan(world: World) -> str:
    """A file that a failed upload left in the first segment of docs."""
    info = world.milvus.inventory.describe("default", "docs")
    segment = world.milvus.segments.persistent("default", "docs")[0]
    key = f"files/insert_log/{info.id}/{segment.partition_id}/{segment.id}/100/999999"
    world.storage.write(key, [b"half"])
    return key.rsplit("/", 1)[1]


def test_files_that_the_server_does_not_name_are_not_copied(world: World) -> None:
    log = orphan(world)
    world.create()
    assert not [key for key in world.backed_up if key.endswith(f"/{log}")]
    segments = full(world)["collection_backups"][0]["partition_backups"][0]["segment_backups"]
    assert all(segment["v_channel"].startswith(PCHANNEL) for segment in segments)
    assert not world.notices


def test_where_rest_does_not_answer_the_storage_is_listed_and_that_is_told_once(world: World) -> None:
    world.milvus.fault = failing("segment_logs", *[PermissionDenied("403") for _ in range(9)])
    report = world.create()
    assert world.notices == ["segment-detail-failed"]
    assert len(report.notices) == 1
    assert world.held() == ["docs", "logs"]
    assert len(calls(world, "segment_logs")) == 0, "it is not asked again and again"


def test_without_the_list_an_orphan_fails_its_collection_alone(world: World) -> None:
    orphan(world)
    world.milvus.fault = failing("segment_logs", *[MilvusUnavailable("refused") for _ in range(99)])
    with raised(PartialFailure, "collections-not-backed-up", failed=1, total=2):
        world.create()
    assert world.held() == ["logs"]


def test_a_segment_that_the_answer_leaves_out_is_listed(world: World) -> None:
    answer = world.milvus.segments.logs
    world.milvus.segments.logs = lambda *args: dict(list(answer(*args).items())[1:])
    world.create()
    parts = full(world)["collection_backups"][0]["partition_backups"]
    channels = [segment.get("v_channel", "") for part in parts for segment in part["segment_backups"]]
    assert sorted(map(bool, channels)) == [False, True]


def test_older_servers_are_not_asked_for_lists(world: World) -> None:
    world = filled(V2_4)
    world.create()
    assert calls(world, "segment_logs") == []


# -- the pause of the garbage collection -------------------------------------------------------------------------


def test_each_collection_is_paused_while_it_is_copied(world: World) -> None:
    world.workers = 1
    world.create()
    ids = [str(world.milvus.inventory.describe("default", name).id) for name in ("docs", "logs")]
    made = calls(world, "flush_all", "pause_gc", "segment_logs", "resume_gc")
    assert made[made.index(("flush_all", "")) :] == [
        ("flush_all", ""),
        ("pause_gc", ids[0]), ("segment_logs", ids[0]), ("resume_gc", ""),
        ("pause_gc", ids[1]), ("segment_logs", ids[1]), ("resume_gc", ""),
    ]  # fmt: skip


def test_all_segments_are_listed_right_before_and_right_after_the_flush_of_all(world: World) -> None:
    world.create()
    listed = calls(world, "segments", "flush_all", "pause_gc")
    at = listed.index(("flush_all", ""))
    names = [("segments", "docs"), ("segments", "logs")]
    assert sorted(listed[at - 2 : at]) == names
    assert sorted(listed[at + 1 : at + 3]) == names


def test_the_pauses_are_given_back(world: World) -> None:
    world.create()
    assert world.milvus.gc_paused == 0


def test_a_pause_that_could_not_be_had_is_said_of_each_collection(world: World) -> None:
    world.milvus.fault = failing("pause_gc", Unsupported("404"))
    world.workers = 1
    world.create()
    assert [paused for _, paused in protections(world)] == [False, True]
    collections = view(world.catalog(), "nightly")["collection_backups"]
    assert [item["protection"]["gc_paused"] for item in collections] == [False, True]
    assert {item["protection"]["boundary"] for item in collections} == {"all"}


def test_a_management_port_that_never_answers_is_not_asked_for_ever(world: World) -> None:
    for number in range(6):
        world.milvus.add(f"more_{number}")
    asked = []

    def fault(call: str, what: str) -> None:
        if call == "pause_gc":
            asked.append(what)
            raise MilvusUnavailable("no answer")

    world.workers = 1
    world.milvus.fault = fault
    world.create()
    assert len({*asked}) == REFUSALS
    assert world.notices == ["gc-pause-failed"]


def test_before_2_6_8_one_pause_protects_all() -> None:
    world = filled(V2_3)
    world.create()
    assert calls(world, "pause_gc", "resume_gc") == [("pause_gc", ""), ("resume_gc", "")]
    assert protections(world) == [("own", True), ("own", True)]


def test_a_pause_that_is_not_wanted_is_not_claimed(world: World) -> None:
    world.create(pause_gc=False)
    assert calls(world, "pause_gc") == []
    assert protections(world) == [("all", False), ("all", False)]


def test_every_ticket_is_given_back_whenever_ctrl_c_comes() -> None:
    def ready() -> World:
        world = World(features=V2_6)
        world.milvus.add("docs")
        world.milvus.insert("docs", range(4))
        return world

    whole = Life()
    counted = ready()
    counted.live(whole)
    counted.create()
    for instant in range(1, whole.operations + 1):
        world = ready()
        left = [instant]

        def fault(call: str, _what: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt(call)

        world.storage.fault = world.backup.fault = world.milvus.fault = fault
        with pytest.raises((KeyboardInterrupt, Interrupted)) as caught:
            world.create()
        # Where the very call that gives it back was interrupted, the lease ends by itself.
        assert world.milvus.gc_paused == 0 or str(caught.value) == "resume_gc"


# -- what else newer servers have --------------------------------------------------------------------------------


def test_the_key_of_an_encrypted_database_is_kept_and_never_shown(world: World) -> None:
    zone = [KeyValue(key="cipher.ezID", value="1"), KeyValue(key="cipher.key", value="root")]
    world.milvus.add("secret", database="vault")
    world.milvus.database_properties = {"vault": zone, "default": [zone[0], KeyValue(key="cipher.key")]}
    world.milvus.encryption_keys = {"vault": "the-key"}
    world.create()
    databases = {item["db_name"]: item for item in full(world)["database_backups"]}
    assert databases["vault"]["ezk"] == "the-key"
    assert "ezk" not in databases["default"]
    assert "the-key" not in json.dumps(view(world.catalog(), "nightly", detail=True))
    assert "the-key" not in repr(world.events)


def test_a_database_whose_key_cannot_be_had_stops_the_run_before_it_begins(world: World) -> None:
    zone = [KeyValue(key="cipher.ezID", value="1"), KeyValue(key="cipher.key", value="root")]
    world.milvus.database_properties = {"default": zone}
    world.milvus.fault = failing("encryption_key", MilvusError("no zone", code="no-zone"))
    with raised(MilvusError, "no-zone"):
        world.create()
    assert not world.backed_up or all("/.mbk/" in key for key in world.backed_up)


def test_the_replication_position_is_recorded_and_its_failure_only_told() -> None:
    world = filled(V2_5)
    world.create()
    assert full(world)["rpc_channel_info"] == {"name": "by-dev-replicate-msg", "position": "CAE="}
    world.milvus.fault = failing("replicate_position", MilvusError("no such channel"))
    world.create("other")
    assert world.notices == ["no-replication-position"]
    world.milvus.points.replicate_position = lambda: ""
    world.create("alone")
    assert "rpc_channel_info" not in json.loads(world.backed_up["backup/alone/meta/full_meta.json"])
    assert len(world.notices) == 1, "a server that is no part of a replication is the usual case"


def test_a_collection_whose_data_lie_elsewhere_is_skipped_with_a_word(world: World) -> None:
    world.milvus.add("lake").external = True
    report = world.create()
    assert {item.source: item.outcome for item in report.collections}["default.lake"] == "skipped"
    assert world.notices == ["external-collection"]
    assert world.held() == ["docs", "logs"]


def test_a_collection_made_during_the_run_is_told_of(world: World) -> None:
    def fault(call: str, _what: str) -> None:
        if call == "flush_all":
            world.milvus.fault = lambda _call, _what: None
            world.milvus.add("late")

    world.milvus.fault = fault
    world.create()
    assert [(event.code, event.facts) for event in world.events if isinstance(event, Notice)] == [
        ("collection-created", {"name": "default.late"})
    ]
    assert world.held() == ["docs", "logs"]


def test_a_field_added_during_the_run_is_in_the_schema(world: World) -> None:
    added = FieldSchema(field_id=102, name="extra", data_type=5, nullable=True)

    def fault(call: str, _what: str) -> None:
        if call == "segments":
            world.milvus.fault = lambda _call, _what: None
            world.milvus.add_field("docs", added)

    world.milvus.fault = fault
    world.create(only="docs")
    fields = full(world)["collection_backups"][0]["schema"]["fields"]
    assert [field["name"] for field in fields] == ["id", "text", "extra"]
    assert world.notices == ["schema-changed"]


def test_another_collection_of_the_same_name_is_not_taken_for_an_empty_one(world: World) -> None:
    def fault(call: str, what: str) -> None:
        if call == "segments" and what == "docs":
            world.milvus.fault = lambda _call, _what: None
            world.milvus.definitions.drop_collection("default", "docs")
            world.milvus.add("docs")

    world.milvus.fault = fault
    report = world.create()
    assert {item.source: item.outcome for item in report.collections}["default.docs"] == "skipped"
    assert world.held() == ["logs"]


def test_a_collection_dropped_when_it_was_copied_is_in_the_backup(world: World) -> None:
    def fault(call: str, what: str) -> None:
        if call == "resume_gc" and "default.docs" in world.milvus.names:
            world.milvus.fault = lambda _call, _what: None
            world.milvus.definitions.drop_collection("default", "docs")

    world.workers = 1
    world.milvus.fault = fault
    world.create()
    assert world.held() == ["docs", "logs"]


def manifests(world: World, name: str) -> None:
    listed = world.milvus.segments.persistent
    world.milvus.segments.persistent = lambda database, collection: [
        replace(item, storage_version=3) if collection == name else item
        for item in listed(database, collection)
    ]


def test_segments_that_the_format_cannot_hold_fail_before_anything_is_copied(world: World) -> None:
    world.milvus.features = V2_6 | {Feature.SNAPSHOT}
    manifests(world, "docs")
    with raised(MilvusError, "segment-version-unsupported") as caught:
        world.create(only="docs", format="binlog")
    assert "docs" in str(caught.value.facts["segment"])
    assert "--format snapshot" in (caught.value.hint or "")
    assert calls(world, "flush_all", "flush") == []
    assert not [key for key in world.backed_up if key.startswith("backup/nightly/")]


def test_segments_that_the_format_cannot_hold_fail_their_collection_alone(world: World) -> None:
    manifests(world, "docs")
    with pytest.raises(PartialFailure):
        world.create(format="binlog")
    assert world.held() == ["logs"]


# -- partitions --------------------------------------------------------------------------------------------------


def test_only_the_chosen_partitions_are_in_the_backup_and_all_deletes_for_them(world: World) -> None:
    world.milvus.delete("docs", [1, 7])
    report = world.create(only="docs/cold")
    (collection,) = full(world)["collection_backups"]
    assert [part["partition_name"] for part in collection["partition_backups"]] == ["cold"]
    assert len(collection["l0_segments"]) == 1
    ids = {segment.id for segment in world.milvus.segments.persistent("default", "docs") if segment.rows == 3}
    copied = {key.split("/")[-3] for key in world.backed_up if "/insert_log/" in key}
    assert copied == {str(number) for number in ids}
    assert report.collections[0].rows_expected is None, "the count is of the whole collection"


def test_a_partition_made_meanwhile_is_held_against_the_filter_too(world: World) -> None:
    def fault(call: str, _what: str) -> None:
        if call == "flush_all":
            world.milvus.fault = lambda _call, _what: None
            for name in ("cold_2", "warm"):
                world.milvus.definitions.create_partition("default", "docs", name)
                world.milvus.insert("docs", range(20, 23), partition=name)

    world.milvus.fault = fault
    world.create(only="docs/cold*")
    (collection,) = full(world)["collection_backups"]
    assert [part["partition_name"] for part in collection["partition_backups"]] == ["cold", "cold_2"]


def test_partitions_of_a_partition_key_are_not_chosen_one_by_one(world: World) -> None:
    world.milvus.schema("docs").fields[1].is_partition_key = True
    with raised(UsageError, "partitions-not-selectable", collection="default.docs"):
        world.create(only="docs/cold")


# -- etcd --------------------------------------------------------------------------------------------------------


class Etcd:
    """A meta store of one collection."""

    def __init__(self, *indexes: IndexInfo, dynamic: FieldSchema | None = None) -> None:
        self.indexes = list(indexes)
        self.dynamic = dynamic

    def index_extras(self, collection_id: int) -> list[IndexInfo]:
        return self.indexes

    def dynamic_field(self, collection_id: int) -> FieldSchema | None:
        return self.dynamic

    def close(self) -> None:
        pass


def indexed(world: World, store: Etcd) -> None:
    world.milvus.definitions.create_index(
        "default", "docs", IndexInfo(field_name="text", index_name="text", index_type="Trie", index_id=7)
    )
    world.metastore = store


def test_what_only_etcd_knows_of_an_index_joins_what_is_described(world: World) -> None:
    pairs = [KeyValue(key="max_length", value="9")]
    indexed(world, Etcd(IndexInfo(index_id=7, field_id=101, create_time=5, type_params=pairs)))
    world.create(only="docs", index_extra=True)
    (index,) = full(world)["collection_backups"][0]["index_infos"]
    assert (index["field_name"], index["index_type"], index["create_time"]) == ("text", "Trie", 5)
    assert index["type_params"] == [{"key": "max_length", "value": "9"}]


def test_an_index_that_only_etcd_knows_is_an_error(world: World) -> None:
    indexed(world, Etcd(IndexInfo(index_id=8, index_name="ghost")))
    with raised(MilvusError, "index-not-described", collection="default.docs", index="ghost", index_id=8):
        world.create(only="docs", index_extra=True)


def test_the_field_of_dynamic_keys_is_added_with_its_id(world: World) -> None:
    world.milvus.schema("docs").enable_dynamic_field = True
    index = IndexInfo(index_id=7)
    dynamic = FieldSchema(field_id=102, name="$meta", data_type=23, is_dynamic=True)
    indexed(world, Etcd(index, dynamic=dynamic))
    world.create(only="docs", index_extra=True)
    field = full(world)["collection_backups"][0]["schema"]["fields"][-1]
    assert (field["fieldID"], field["is_dynamic"]) == (102, True)
    world.metastore = Etcd(index)
    with raised(MilvusError, "dynamic-field-not-in-etcd", collection="default.docs"):
        world.create("other", only="docs", index_extra=True)


def test_etcd_is_asked_for_only_where_it_is_wanted(world: World) -> None:
    indexed(world, Etcd(IndexInfo(index_id=8)))
    world.create(only="docs")
    world.metastore = None
    with raised(UsageError, "etcd-not-configured"):
        world.create("other", only="docs", index_extra=True)


def test_a_collection_that_is_gone_when_its_partitions_are_looked_for_is_skipped(world: World) -> None:
    def fault(call: str, what: str) -> None:
        if call == "segments" and what == "docs":
            raise CollectionNotFound("gone")

    world.milvus.fault = fault
    report = world.create()
    assert {item.source: item.outcome for item in report.collections}["default.docs"] == "skipped"
