from __future__ import annotations

from typing import Any

import pytest

from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.pace import ImportPace
from mbk.errors import (
    BackupNotFound,
    CollectionExists,
    CollectionNotFound,
    DamagedBackup,
    ImportFailed,
    InvalidBackup,
    MilvusError,
    MilvusUnavailable,
    PartialFailure,
    RateLimited,
    Unsupported,
    UsageError,
    VerificationFailed,
)
from mbk.model.records import LOADED, Collection, IndexInfo, KeyValue
from mbk.model.reports import RunReport
from mbk.model.selection import CollectionName, Renaming, Selection
from mbk.ports.milvus.values import Feature, ImportPhase, ImportState
from tests.fakes.milvus import V2_3, V2_4, V2_5
from tests.fakes.world import Killed, Life, World
from tests.raising import raised
from tests.sharing import share


@pytest.fixture(params=["2.3, same bucket", "2.4, other bucket", "2.3, shared", "2.4, shared"])
def world(request: pytest.FixtureRequest) -> World:
    return made(request.param)


def made(kind: str) -> World:
    old = kind.startswith("2.3")
    world = World(features=V2_3 if old else V2_4, same=old)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12))
    world.milvus.insert("docs", range(20, 24), partition="cold")
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", range(3), database="other")
    world.milvus.delete("docs", [2, 21])
    world.create()
    if "shared" in kind:
        share(world.backup, "nightly")
    world.milvus.calls.clear()
    return world


def partial(world: World, **options: Any) -> RunReport:
    with pytest.raises(PartialFailure) as caught:
        world.restore(**options)
    report = caught.value.report
    assert isinstance(report, RunReport)
    return report


def changes(world: World) -> list[str]:
    reading = {
        "databases",
        "has_collection",
        "describe",
        "schema_problems",
        "collections",
        "import_state",
        "import_jobs",
        "segments",
    }
    return [call for call, _ in world.milvus.calls if call not in reading]


def test_every_row_comes_back_into_its_partition(world: World) -> None:
    report = world.restore(suffix="_back")
    assert world.milvus.rows_by_partition("docs_back") == world.milvus.rows_by_partition("docs")
    assert world.milvus.visible_rows("logs_back", database="other") == world.milvus.visible_rows(
        "logs", database="other"
    )
    assert [(item.source, item.target, item.outcome) for item in report.collections] == [
        ("default.docs", "default.docs_back", "done"),
        ("other.logs", "other.logs_back", "done"),
    ]
    assert not world.staged


def test_rows_are_counted_exactly_where_that_can_be_known(world: World) -> None:
    docs, logs = world.restore(suffix="_back").collections
    assert (logs.rows_expected, logs.rows_present, logs.notes) == (3, 3, ())
    if Feature.L0_SEGMENTS in world.milvus.features:
        assert "upper bound" in docs.notes[0], "what L0 segments delete is counted by no import"
    else:
        assert (docs.rows_expected, docs.rows_present, docs.notes) == (14, 14, ())


def test_an_existing_target_is_refused_before_the_first_change(world: World) -> None:
    world.milvus.add("logs_back", database="other")
    with raised(CollectionExists, "target-exists", collections="other.logs_back"):
        world.restore(suffix="_back")
    assert not changes(world)


def test_an_existing_target_is_replaced_when_asked_for(world: World) -> None:
    before = world.milvus.visible_rows("docs")
    world.milvus.insert("docs", [999])
    world.restore(drop_existing=True)
    assert world.milvus.visible_rows("docs") == before


def test_rows_are_added_to_an_existing_collection_when_asked_for(world: World) -> None:
    world.milvus.definitions.drop_collection("other", "logs")
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", [77], database="other")
    world.restore(skip_create=True, selection=Selection.parse("other.logs"))
    assert [key for key, _ in world.milvus.visible_rows("logs", database="other")] == [0, 1, 2, 77]
    with raised(CollectionNotFound, "target-missing", collection="default.docs_nowhere"):
        world.restore(suffix="_nowhere", skip_create=True)


def test_a_missing_object_is_found_before_the_first_change(world: World) -> None:
    segment = world.milvus.segments.persistent("other", "logs")[0].id
    world.backup.delete([key for key in world.backed_up if f"/{segment}/" in key])
    with raised(DamagedBackup, "backup-objects-differ", missing=8):
        world.restore(suffix="_back")
    assert not changes(world)


@pytest.mark.parametrize("kind", ["2.3, same bucket", "2.4, other bucket"])
def test_without_a_record_a_segment_without_objects_is_found_before_the_first_change(kind: str) -> None:
    world = made(kind)
    segment = world.milvus.segments.persistent("other", "logs")[0].id
    world.backup.delete([key for key in world.backed_up if f"/{segment}/" in key])
    world.edit(
        lambda tree: [item.update(partition_backups=bare(item)) for item in tree["collection_backups"]]
    )
    with raised(InvalidBackup, "segment-data-missing", segment=segment, collection="other.logs"):
        world.restore(suffix="_back")
    assert not changes(world)


def bare(collection: dict[str, Any]) -> list[Any]:
    """The partitions without the lists of files of their segments."""
    for part in collection["partition_backups"]:
        for segment in part.get("segment_backups", ()):
            del segment["binlogs"]
    return list(collection["partition_backups"])


def test_a_schema_that_the_server_cannot_have_is_refused_before_the_first_change(world: World) -> None:
    world.milvus.problems["logs_back"] = ("v: sparse vectors", "w: null values")
    with raised(
        Unsupported, "definitions-unsupported", problems="other.logs (v: sparse vectors, w: null values)"
    ):
        world.restore(suffix="_back")
    assert not changes(world)


def test_there_is_no_backup_of_that_name(world: World) -> None:
    with pytest.raises(BackupNotFound):
        world.restore("weekly")


def test_a_dry_run_changes_nothing(world: World) -> None:
    report = world.restore(suffix="_back", dry_run=True)
    assert [(item.outcome, item.rows_expected) for item in report.collections] == [
        ("planned", 16),
        ("planned", 3),
    ]
    assert not changes(world)
    assert not world.staged


def test_a_failed_import_takes_the_collection_away_and_leaves_the_others(world: World) -> None:
    start = world.milvus.imports.start

    def failing(request: Any) -> str:
        job = start(request)
        if request.collection == "docs_back":
            world.milvus._jobs[job] = ImportState(ImportPhase.FAILED, reason="disk quota exceeded")
        return job

    world.milvus.imports.start = failing
    report = partial(world, suffix="_back")
    assert "disk quota exceeded" in (report.failed[0].error or "")
    assert "default.docs_back" not in world.milvus.names
    assert "other.logs_back" in world.milvus.names
    assert not world.staged


def test_rows_added_in_part_are_not_added_twice_by_the_next_run(world: World) -> None:
    world.milvus.definitions.drop_collection("default", "docs")
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", [500])
    begun = [0]

    def fault(call: str, _what: str) -> None:
        if call == "start_import":
            begun[0] += 1
            if begun[0] == 2:
                raise ImportFailed("no import today", code="no-import-today")

    world.milvus.fault = fault
    chosen = Selection.parse("docs")
    with pytest.raises(ImportFailed):
        world.restore(skip_create=True, selection=chosen)
    assert "half-added" in world.notices
    assert "default.docs" in world.milvus.names, "a collection that was there before is not taken away"
    world.restore(skip_create=True, selection=chosen)
    assert [key for key, _ in world.milvus.visible_rows("docs")] == [0, 1, *range(3, 12), 20, 22, 23, 500]
    assert not world.staged


def test_an_import_that_took_nothing_is_no_success(world: World) -> None:
    """A wrong directory ends as "completed" with 0 rows."""
    world.milvus._import = lambda request: 0
    with raised(VerificationFailed, "import-rows-differ", present=0, expected=3):
        world.restore(suffix="_back", selection=Selection.parse("other.logs_back"))
    assert "other.logs_back" not in world.milvus.names


def test_when_everything_fails_the_error_is_the_first_ones(world: World) -> None:
    def fault(call: str, _what: str) -> None:
        if call == "start_import":
            raise ImportFailed("no import today", code="no-import-today")

    world.milvus.fault = fault
    with raised(ImportFailed, "no-import-today"):
        world.restore(suffix="_back")
    assert world.milvus.names == {"default.docs", "other.logs"}


def test_a_server_that_goes_away_stops_the_run(world: World) -> None:
    def fault(call: str, _what: str) -> None:
        if call == "start_import":
            raise MilvusUnavailable("nobody answers")

    world.milvus.fault = fault
    with pytest.raises(MilvusUnavailable):
        world.restore(suffix="_back", pace=ImportPace(first=0.001, last=0.001, look=0.001))


def test_an_import_that_may_have_begun_is_not_begun_twice(world: World) -> None:
    start = world.milvus.imports.start
    lost = [1]

    def losing(request: Any) -> str:
        job = start(request)
        if lost[0]:
            lost[0] = 0
            raise MilvusUnavailable("the answer got lost")
        return job

    world.milvus.imports.start = losing
    world.restore(suffix="_back")
    assert "import-found" in world.notices
    for name, database in (("docs_back", "default"), ("logs_back", "other")):
        assert world.milvus.visible_rows(name, database=database) == world.milvus.visible_rows(
            name[:-5], database=database
        )


def test_rate_limits_are_waited_out(world: World) -> None:
    left = [3]

    def fault(call: str, _what: str) -> None:
        if call in ("create_collection", "start_import", "import_state") and left[0]:
            left[0] -= 1
            raise RateLimited("rate limit exceeded")

    world.milvus.fault = fault
    world.restore(suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_kept_copies_are_not_taken_for_a_killed_restore(world: World) -> None:
    world.restore(suffix="_back", limits={"keep_temp": True})
    assert bool(world.staged) == (not world.same or Feature.L0_SEGMENTS not in world.milvus.features)
    with pytest.raises(CollectionExists):
        world.restore(suffix="_back")
    world.milvus.insert("docs_back", [999])
    world.restore(suffix="_back", drop_existing=True)
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    assert not world.staged


def test_a_dry_run_after_a_kill_drops_nothing(world: World) -> None:
    def fault(call: str, _what: str) -> None:
        if call == "create_partition":
            world.live(Life(ends_at=1))
            raise Killed(call)

    world.milvus.fault = fault
    with pytest.raises(Killed):
        world.restore(suffix="_back", selection=Selection.parse("docs_back"))
    world.live(Life())
    assert "default.docs_back" in world.milvus.names
    world.restore(suffix="_back", selection=Selection.parse("docs_back"), dry_run=True)
    assert "default.docs_back" in world.milvus.names
    world.restore(suffix="_back", selection=Selection.parse("docs_back"))
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_names_are_chosen_after_renaming(world: World) -> None:
    world.restore(suffix="_back", selection=Selection.parse("docs_back"))
    assert "other.logs_back" not in world.milvus.names
    with raised(CollectionNotFound, "backup-collection-missing", collection="default.docs"):
        world.restore(suffix="_again", selection=Selection.parse("docs"))


def test_a_database_that_does_not_exist_is_made(world: World) -> None:
    renaming = Renaming.parse("other.*:fresh.*,default.docs:fresh.texts")
    world.restore(renaming=renaming)
    assert {"fresh.logs", "fresh.texts"} <= world.milvus.names
    world.milvus.features -= {Feature.DATABASES}
    with raised(Unsupported, "definitions-unsupported", problems="databases (other)"):
        world.restore(suffix="_x")


def test_two_collections_of_one_name_are_refused(world: World) -> None:
    renaming = Renaming.parse("other.*:default.*,default.docs:default.logs")
    with raised(UsageError, "targets-collide", collection="default.logs", count=2):
        world.restore(renaming=renaming)
    assert not changes(world)


def test_meta_only_brings_the_collection_without_its_rows(world: World) -> None:
    report = world.restore(suffix="_back", meta_only=True)
    assert world.milvus.visible_rows("docs_back") == []
    assert list(world.milvus.inventory.describe("default", "docs_back").partitions)[1].name == "cold"
    assert [item.rows_present for item in report.collections] == [None, None]
    assert not world.milvus.import_requests


def test_indexes_aliases_and_load_state_are_replayed_on_request() -> None:
    world = World()
    made = world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    made.indexes.append(IndexInfo(field_name="text", index_name="by_text", params={"index_type": "Trie"}))
    made.aliases.append("current")
    made.loaded = True
    world.create()
    world.restore(suffix="_plain")
    plain = world.milvus.inventory.describe("default", "docs_plain")
    assert (plain.indexes, plain.aliases, plain.load_state) == ((), (), "NotLoad")
    made.aliases.clear()
    world.restore(suffix="_whole", rebuild_index=True, aliases=True, load=True)
    whole = world.milvus.inventory.describe("default", "docs_whole")
    assert whole.indexes[0].index_name == "by_text"
    assert whole.aliases == ("current",)
    assert whole.load_state == LOADED


def test_what_fails_after_the_data_is_told_and_takes_nothing_back() -> None:
    world = World()
    made = world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    made.aliases.append("current")
    world.create()

    def fault(call: str, _what: str) -> None:
        if call == "create_alias":
            raise MilvusError("alias current exists")

    world.milvus.fault = fault
    (outcome,) = world.restore(suffix="_back", aliases=True).collections
    assert outcome.outcome == "done"
    assert outcome.notes == ("aliases: alias current exists",)
    assert world.notices == ["aliases-failed"]
    assert len(world.milvus.visible_rows("docs_back")) == 3


def test_properties_of_a_collection_come_back_but_not_those_that_the_server_keeps() -> None:
    world = World()
    made = world.milvus.add("docs")
    made.schema.properties = [
        KeyValue(key="mmap.enabled", value="true"),
        KeyValue(key="max_field_id", value="9"),
    ]
    world.create()
    world.restore(suffix="_back")
    properties = world.milvus._collections["default", "docs_back"].schema.properties
    assert [(item.key, item.value) for item in properties] == [("mmap.enabled", "true")]


def test_role_and_user_restore_needs_them_in_the_backup(world: World) -> None:
    with raised(UsageError, "backup-without-rbac"):
        world.restore(suffix="_back", rbac=True)
    assert not changes(world)


def test_an_index_that_the_server_does_not_know_keeps_no_rows_back() -> None:
    world = World()
    made = world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    for name in ("by_text", "by_pk"):
        made.indexes.append(IndexInfo(field_name=name[3:], index_name=name, params={"index_type": "Trie"}))
    world.create()

    def fault(call: str, what: str) -> None:
        if call == "create_index" and what == "by_text":
            raise MilvusError("invalid index type: Trie")

    world.milvus.fault = fault
    (outcome,) = world.restore(suffix="_back", rebuild_index=True).collections
    assert outcome.notes == ("index by_text: invalid index type: Trie",)
    assert "index-refused" in world.notices
    back = world.milvus.inventory.describe("default", "docs_back")
    assert [index.index_name for index in back.indexes] == ["by_pk"]
    assert len(world.milvus.visible_rows("docs_back")) == 3


@pytest.mark.parametrize(
    ("mapping", "kept"),
    [
        ({}, {"database.replica.number": "2"}),
        ({"old": "new"}, {"database.replica.number": "2", "cipher.enabled": "true"}),
    ],
)
def test_a_database_comes_back_with_its_properties(mapping: dict[str, str], kept: dict[str, str]) -> None:
    """Those of encryption only where the zone's key is mapped, and never the zone's own id."""
    world = World(features=V2_5)
    world.milvus.add("docs", database="shop")
    world.milvus.database_properties["shop"] = [
        KeyValue(key=key, value=value)
        for key, value in (
            ("database.replica.number", "2"),
            ("cipher.enabled", "true"),
            ("cipher.ezID", "77"),
            ("max_field_id", "9"),
        )
    ]
    world.create()
    made: dict[str, dict[str, str]] = {}
    create = world.milvus.definitions.create_database

    def creating(name: str, properties: Any = ()) -> None:
        made[name] = {pair.key: pair.value for pair in properties}
        create(name, properties)

    world.milvus.definitions.create_database = creating
    renaming = Renaming.parse("shop.*:shop2.*")
    world.restore(renaming=renaming, ezk_mapping=mapping)
    assert made == {"shop2": kept}


def test_the_load_state_comes_back_with_its_replicas_or_without_them_where_that_fails() -> None:
    world = World()
    made = world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    made.loaded = True
    world.create()
    world.edit(lambda tree: tree["collection_backups"][0].update(replica_number=3))
    asked: list[int] = []
    load = world.milvus.definitions.load

    def loading(database: str, collection: str, *, replicas: int = 1, **more: Any) -> None:
        asked.append(replicas)
        if replicas > 1:
            raise MilvusError("no enough nodes to create replicas")
        load(database, collection, replicas=replicas, **more)

    world.milvus.definitions.load = loading
    world.restore(suffix="_back", load=True)
    assert asked == [3, 1]
    assert world.milvus.inventory.describe("default", "docs_back").load_state == LOADED
    assert "load-reduced" in world.notices

    def refusing(*_: Any, **_more: Any) -> None:
        raise MilvusError("there is no vector index")

    world.milvus.definitions.load = refusing
    before = len(world.notices)
    world.restore(suffix="_cold", load=True)
    assert world.notices[before:] == ["backup-without-record", "point-unknown", "load-failed"], (
        "what is not loaded at all is not loaded with one replica"
    )


def test_live_rows_are_counted_where_the_collection_was_loaded() -> None:
    world = World(features=V2_4)
    made = world.milvus.add("docs")
    world.milvus.insert("docs", range(10))
    world.milvus.delete("docs", [1, 2])
    made.loaded = True
    world.create()
    (outcome,) = world.restore(suffix="_back", load=True).collections
    assert (outcome.rows_expected, outcome.rows_present, outcome.notes) == (8, 8, ())


def test_a_planned_restore_tells_no_zone_key() -> None:
    task = RestoreTask(Collection(), CollectionName("db", "a"), CollectionName("db", "b"), "the zone's key")
    assert "zone" not in repr(task)
