"""Incremental backups: what an earlier one has is not copied again, and nothing else is taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mbk.engine.operations import create
from mbk.engine.repository.pool.damage import DamagedObject, read_damaged, write_damaged
from mbk.engine.repository.pool.freeing import with_frees
from mbk.engine.repository.pool.index import PoolIndex, encode, place_of, read_index
from mbk.engine.runtime.holder import Holder
from mbk.engine.runtime.limits import BackupLimits
from mbk.engine.runtime.pace import LeasePace
from mbk.errors import PartialFailure, PermissionDenied, StorageUnavailable, UsageError
from mbk.model.layout import is_record
from mbk.model.options import CreateOptions
from mbk.model.reports import RunReport
from mbk.model.selection import Selection
from mbk.ports.milvus.values import Feature
from mbk.testing import MemoryStorage
from tests.fakes.milvus import V2_3, V2_4, V2_6
from tests.fakes.world import AT_ONCE, Killed, Life, World
from tests.raising import raised
from tests.unit.engine.formats.snapshot.test_snapshots import SnapshotWorld

INDEX = "backup/.mbk/pool/index.jsonl.gz"
VERSIONS = pytest.mark.parametrize("features", [V2_3, V2_4, V2_6], ids=["2.3", "2.4", "2.6"])


def filled(features: frozenset[Feature] = V2_3, *, workers: int = 2) -> World:
    world = World(features=features, workers=workers)
    for name in ("docs", "logs"):
        world.milvus.add(name)
        world.milvus.insert(name, range(6))
    world.milvus.delete("docs", [1])
    return world


@pytest.fixture
def world() -> World:
    return filled()


def incremental(world: World, name: str, **options: Any) -> RunReport:
    return world.create(name, incremental=True, **options)


def ways(report: RunReport) -> dict[str, int]:
    return dict(report.transfer.objects)


def pooled(world: World) -> dict[str, bytes]:
    return {key: data for key, data in world.backed_up.items() if "/.mbk/pool/" in key and "/binlogs/" in key}


def named(world: World, name: str) -> dict[str, int]:
    """The keys and sizes of the objects of a backup."""
    catalog = world.catalog()
    record = catalog.open_record(catalog.committed(name))
    assert record is not None
    with record:
        return {f"backup/.mbk/pool/{entry.key}": entry.size for entry in record.objects()}


def whole(world: World, *names: str) -> bool:
    """Whether all that these backups name is there, and nothing else is in the pool."""
    there = {key: len(data) for key, data in pooled(world).items()}
    every = {key: size for name in names for key, size in named(world, name).items()}
    return every == there


def added(world: World, name: str) -> int:
    told = world.catalog().read_manifest(name).added
    assert told is not None
    return told.objects


def rows(world: World, collection: str, name: str) -> list[int]:
    twin = world.copy()
    twin.restore(name, suffix="_back")
    return [key for key, _ in twin.milvus.visible_rows(f"{collection}_back")]


# -- what is copied ----------------------------------------------------------------------------------------------------


@VERSIONS
def test_an_unchanged_second_backup_copies_nothing(features: frozenset[Feature]) -> None:
    world = filled(features)
    first = incremental(world, "first")
    before = pooled(world)
    second = incremental(world, "second")
    assert ways(first) == {"server": len(before)}
    assert ways(second) == {"reused": len(before)}
    assert pooled(world) == before
    assert (added(world, "first"), added(world, "second")) == (len(before), 0)
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5]


def test_an_unchanged_backup_of_many_segments_takes_few_requests(world: World) -> None:
    for start in range(0, 100, 2):
        world.milvus.insert("docs", range(start, start + 2))
    incremental(world, "first")
    requests = list[str]()
    world.backup.fault = lambda operation, key: requests.append(operation)
    second = incremental(world, "second")
    assert ways(second).keys() == {"reused"}
    assert second.transfer.objects["reused"] > 200
    assert len([one for one in requests if one != "chunk"]) <= 40


@VERSIONS
def test_only_what_changed_is_copied(features: frozenset[Feature]) -> None:
    world = filled(features)
    incremental(world, "first")
    before = pooled(world)
    world.milvus.insert("docs", range(6, 9))
    world.milvus.delete("docs", [2])
    second = incremental(world, "second")
    new = len(pooled(world)) - len(before)
    assert ways(second) == {"reused": len(before), "server": new}
    assert 0 < new < len(before)
    assert added(world, "second") == new
    assert whole(world, "first", "second")
    assert rows(world, "docs", "first") == [0, 2, 3, 4, 5]
    assert rows(world, "docs", "second") == [0, 3, 4, 5, 6, 7, 8]


def test_compacted_segments_are_copied_and_others_are_not(world: World) -> None:
    incremental(world, "first")
    of_docs = len([key for key in named(world, "first") if f"/{number(world, 'docs')}/" in key])
    world.milvus.compact("docs")
    second = incremental(world, "second")
    assert second.transfer.objects["reused"] == len(named(world, "first")) - of_docs
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5]


def test_a_collection_that_was_made_again_is_copied(world: World) -> None:
    incremental(world, "first")
    world.milvus.drop_collection("default", "docs")
    world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    second = incremental(world, "second")
    of_docs = [key for key in named(world, "second") if f"/{number(world, 'docs')}/" in key]
    assert ways(second)["server"] == len(of_docs)
    assert rows(world, "docs", "second") == [0, 1, 2]


def test_backups_of_single_collections_are_built_on_by_one_of_all(world: World) -> None:
    incremental(world, "docs_only", only="docs")
    incremental(world, "logs_only", only="logs")
    assert ways(incremental(world, "both")).keys() == {"reused"}


def test_an_older_backup_is_built_on_when_the_newest_lacks_something(world: World) -> None:
    incremental(world, "first")
    incremental(world, "docs_only", only="docs")
    assert ways(incremental(world, "third")).keys() == {"reused"}


def test_any_backup_can_go_in_any_order(world: World) -> None:
    for start, name in enumerate(("first", "second", "third"), start=2):
        world.milvus.insert("docs", range(3 * start, 3 * start + 3))
        incremental(world, name)
    kept = rows(world, "docs", "second")
    world.delete("first")
    world.delete("third")
    assert whole(world, "second")
    assert rows(world, "docs", "second") == kept
    assert "reused" in ways(incremental(world, "fourth"))


def test_the_objects_lie_in_the_pool_alone(world: World) -> None:
    incremental(world, "first")
    assert not [key for key in world.backed_up if key.startswith("backup/first/") and "/meta/" not in key]


# -- what is not the same ----------------------------------------------------------------------------------------------


def number(world: World, name: str) -> int:
    return world.milvus.inventory.describe("default", name).id


def as_it_was(world: World, earlier: World) -> None:
    """Milvus and its storage go back to an earlier state, as from a copy of its disks; the backups do not."""
    world.milvus.become(earlier.milvus)
    bucket = earlier.service.buckets["milvus"]
    world.service.buckets["milvus"] = bucket.copy()


def test_a_cluster_restored_from_its_own_past_shares_only_its_past(world: World) -> None:
    incremental(world, "past")
    past, earlier = len(pooled(world)), world.copy()
    world.milvus.insert("docs", range(100, 103))
    incremental(world, "first")
    as_it_was(world, earlier)
    # The same ids and the same sizes, but other rows.
    world.milvus.insert("docs", range(200, 203))
    second = incremental(world, "second")
    assert ways(second) == {"reused": past, "server": len(named(world, "second")) - past}
    names = [{key.split("/binlogs/")[1] for key in named(world, name)} for name in ("first", "second")]
    assert names[0] == names[1]
    assert rows(world, "docs", "first") == [0, 2, 3, 4, 5, 100, 101, 102]
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5, 200, 201, 202]


def test_a_cloned_cluster_shares_only_what_it_had_when_it_was_cloned(world: World) -> None:
    """Digests tell; both go on with the same ids."""
    incremental(world, "first")
    shared, clone = len(pooled(world)), world.copy()
    clone.backup = world.backup
    world.milvus.insert("docs", range(100, 103))
    clone.milvus.insert("docs", range(200, 203))
    incremental(world, "second")
    third = incremental(clone, "third")
    assert third.transfer.objects["reused"] == shared
    assert third.transfer.objects["stream"] == len(named(world, "third")) - shared > 0
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5, 100, 101, 102]
    assert rows(world, "docs", "third") == [0, 2, 3, 4, 5, 200, 201, 202]


def test_etags_that_are_no_digests_tell_nothing_of_a_clone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = MemoryStorage.list

    def silent(self: MemoryStorage, prefix: str, **how: Any) -> Any:
        return (replace(entry, checksums={}) for entry in told(self, prefix, **how))

    monkeypatch.setattr(MemoryStorage, "list", silent)
    incremental(world, "first")
    assert ways(incremental(world, "second")).keys() == {"reused"}
    clone = world.copy()
    clone.backup = world.backup
    assert ways(incremental(clone, "third")).keys() == {"stream"}


def test_objects_without_etags_are_copied_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = MemoryStorage.list

    def silent(self: MemoryStorage, prefix: str, **how: Any) -> Any:
        return (replace(entry, etag=None, checksums={}) for entry in told(self, prefix, **how))

    monkeypatch.setattr(MemoryStorage, "list", silent)
    incremental(world, "first")
    assert ways(incremental(world, "second")).keys() == {"server"}


# -- the index is no truth ---------------------------------------------------------------------------------------------


def lost(world: World) -> None:
    world.backup.delete([INDEX])


def garbage(world: World) -> None:
    world.backup.write(INDEX, [b"no index"])


def cut_off(world: World) -> None:
    world.backup.write(INDEX, [world.backed_up[INDEX][:-9]])


def foreign(world: World) -> None:
    index = read_index(world.backup, world.run())
    world.backup.write(INDEX, [*encode(index, "s3://elsewhere/backup")])


def emptied(world: World) -> None:
    world.backup.write(INDEX, [*encode(PoolIndex(), place_of(world.backup))])


@pytest.mark.parametrize("harm", [lost, garbage, cut_off, foreign, emptied])
def test_a_useless_index_is_made_anew(world: World, harm: Callable[[World], None]) -> None:
    incremental(world, "first")
    harm(world)
    assert ways(incremental(world, "second")).keys() == {"reused"}
    index = read_index(world.backup, world.run())
    assert index.names == {"first", "second"}
    assert sum(item.objects for item in index.frees_each().values()) == 0
    assert index.frees(["first", "second"]).objects == len(pooled(world))


def test_an_index_that_lies_brings_nothing_into_a_backup(world: World) -> None:
    """It names objects for a backup that has none of them, and for one that is gone."""
    incremental(world, "first")
    stale = world.backed_up[INDEX]
    world.delete("first")
    assert not pooled(world)
    world.backup.write(INDEX, [stale])
    assert ways(incremental(world, "second")).keys() == {"server"}
    assert whole(world, "second")


def test_a_backup_made_again_under_its_name_is_not_taken_for_the_old_one(world: World) -> None:
    incremental(world, "first")
    stale = world.backed_up[INDEX]
    world.delete("first")
    incremental(world, "first", only="logs")
    world.backup.write(INDEX, [stale])
    second = incremental(world, "second")
    assert whole(world, "first", "second")
    assert "server" in ways(second)


def test_what_deleting_a_backup_would_free_is_what_only_it_has(world: World) -> None:
    incremental(world, "first")
    world.milvus.insert("docs", range(6, 9))
    incremental(world, "second")
    frees = read_index(world.backup, world.run()).frees_each()
    assert frees["first"].objects == 0
    assert frees["second"].objects == added(world, "second")
    assert frees["second"].size == sum(
        size for key, size in named(world, "second").items() if key not in named(world, "first")
    )


@pytest.mark.parametrize("harm", [b"damaged", None], ids=["damaged", "lost"])
def test_nothing_is_built_on_a_backup_whose_record_is_damaged(world: World, harm: bytes | None) -> None:
    incremental(world, "first")
    [record] = [key for key in world.backed_up if is_record(key.rpartition("/")[2])]
    if harm is None:
        world.backup.delete([record])
    else:
        world.backup.write(record, [harm])
    lost(world)
    assert ways(incremental(world, "second")).keys() == {"server"}
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5]


# -- damage ------------------------------------------------------------------------------------------------------------


def known_damage(world: World, keys: list[str]) -> None:
    run = world.run()
    write_damaged(
        world.backup,
        run,
        {key.removeprefix("backup/.mbk/pool/"): DamagedObject(kind="missing") for key in keys},
    )


@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
def test_what_is_known_to_be_damaged_is_copied_again_and_heals_every_backup(world: World, kind: str) -> None:
    incremental(world, "first")
    before = pooled(world)
    key = next(key for key in before if f"/{kind}/" in key)
    world.backup.delete([key])
    known_damage(world, [key])
    second = incremental(world, "second")
    assert ways(second) == {"reused": len(before) - 1, "server": 1}
    assert pooled(world) == before
    assert not read_damaged(world.backup, world.run())
    assert rows(world, "docs", "first") == rows(world, "docs", "second") == [0, 2, 3, 4, 5]


def test_damage_that_the_source_cannot_mend_is_not_built_on(world: World) -> None:
    earlier = world.copy()
    world.milvus.insert("docs", range(100, 103))
    incremental(world, "first")
    key = max(key for key in pooled(world) if f"/insert_log/{number(world, 'docs')}/" in key)
    world.backup.delete([key])
    known_damage(world, [key])
    as_it_was(world, earlier)
    world.milvus.insert("docs", range(200, 203))
    incremental(world, "second")
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5, 200, 201, 202]
    assert key not in pooled(world)
    assert read_damaged(world.backup, world.run())


# -- faults ------------------------------------------------------------------------------------------------------------


@VERSIONS
def test_killed_at_any_call_it_is_finished_and_nothing_is_left_over(features: frozenset[Feature]) -> None:
    ready = filled(features, workers=1)
    incremental(ready, "first")
    ready.milvus.insert("docs", range(6, 9))
    undisturbed, life = ready.copy(), Life()
    undisturbed.live(life)
    incremental(undisturbed, "second")
    reached = rows(undisturbed, "docs", "second")
    for instant in range(1, life.operations + 1):
        world = ready.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            incremental(world, "second")
        world.live(Life())
        states = {item.name: str(item.state) for item in world.catalog().summaries()}
        if states.get("second") != "complete":
            world.create("second", incremental=True, resume="second" in states)
        assert whole(world, "first", "second"), f"killed at {instant}"
        assert rows(world, "docs", "second") == reached, f"killed at {instant}"
        assert ways(incremental(world, "third")).keys() == {"reused"}, f"killed at {instant}"


def test_one_call_fails_whichever_it_is() -> None:
    ready = filled(workers=1)
    incremental(ready, "first")
    ready.milvus.insert("docs", range(6, 9))
    life = Life()
    undisturbed = ready.copy()
    undisturbed.live(life)
    incremental(undisturbed, "second")
    for instant in range(1, life.operations + 1):
        world, calls = ready.copy(), Life()

        def fault(operation: str, what: str, calls: Life = calls, instant: int = instant) -> None:
            calls(operation, what)
            if calls.operations == instant:
                raise StorageUnavailable("no answer", code="test-no-answer")

        world.storage.fault = world.backup.fault = fault
        incremental(world, "second")
        assert whole(world, "first", "second"), f"call {instant}"


def test_a_killed_backup_that_then_finds_an_earlier_one_keeps_no_copy_of_its_own(world: World) -> None:
    """What the killed run copied is in an earlier backup meanwhile."""
    calls = Life()
    twin = world.copy()
    twin.live(calls)
    incremental(twin, "second")
    world.live(Life(ends_at=calls.operations // 2))
    with pytest.raises(Killed):
        incremental(world, "second")
    world.live(Life())
    incremental(world, "first")
    second = incremental(world, "second", resume=True)
    assert ways(second).keys() == {"reused"}
    assert whole(world, "first", "second")
    assert added(world, "second") == 0


def test_a_partial_backup_is_completed_as_an_incremental_one(world: World) -> None:
    incremental(world, "first", only="logs")
    docs = number(world, "docs")

    def fault(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{docs}/" in key:
            raise PermissionDenied("not this one", code="test-not-this-one")

    world.backup.fault = fault
    with pytest.raises(PartialFailure):
        incremental(world, "second")
    world.backup.fault = lambda _operation, _key: None
    world.create("second", resume=True)
    assert whole(world, "first", "second")
    assert added(world, "second") == len(named(world, "second")) - len(named(world, "first"))
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5]
    assert ways(incremental(world, "third")).keys() == {"reused"}


def begun(world: World, **options: Any) -> None:
    calls = Life()
    twin = world.copy()
    twin.live(calls)
    twin.create("begun", **options)
    world.live(Life(ends_at=calls.operations // 2))
    with pytest.raises(Killed):
        world.create("begun", **options)
    world.live(Life())


@pytest.mark.parametrize("was", [True, False])
def test_a_backup_keeps_the_layout_that_it_was_begun_in(world: World, was: bool) -> None:
    begun(world, incremental=was)
    with raised(UsageError, "layout-changed"):
        world.create("begun", incremental=not was, resume=True)
    world.create("begun", resume=True)
    assert (world.catalog().read_manifest("begun").format == "shared") is was


def test_snapshots_share_nothing() -> None:
    world = World(features=V2_6 | {Feature.SNAPSHOT})
    world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    with raised(UsageError, "snapshot-incremental"):
        incremental(world, "first", format="snapshot")


def test_without_a_lease_nothing_is_built_on(world: World) -> None:
    def fault(operation: str, key: str) -> None:
        if operation == "write" and "/leases/" in key:
            raise PermissionDenied("no", code="test-no")

    world.backup.fault = fault
    with raised(PermissionDenied, "pool-needs-lease"):
        incremental(world, "first")
    assert not pooled(world)


def test_what_is_lost_without_conditional_writes_is_said(world: World) -> None:
    capabilities = replace(world.backup.capabilities, conditional_write=False)
    world.backup = MemoryStorage(world.service, "backups", root="backup/", capabilities=capabilities)
    incremental(world, "first")
    assert "pool-unconditional" in world.notices


def collector(world: World, beat: int, *, ended: bool = False) -> None:
    holder = Holder("a token", "elsewhere", 4711, "removal of objects", beat=beat, ended=ended)
    data = json.dumps({name: getattr(holder, name) for name in Holder.__struct_fields__}).encode()
    world.backup.write("backup/.mbk/leases/.pool", [data])


def test_it_waits_for_who_removes_objects(world: World) -> None:
    incremental(world, "first")
    world.pace = replace(AT_ONCE, lease=LeasePace(expiry=5.0, settle=0.001, handover=0.001, poll=0.001))
    looks = 0

    def fault(operation: str, key: str) -> None:
        nonlocal looks
        if operation == "read" and key.endswith("/.pool"):
            looks += 1
            # It renews its lease for a while, and ends.
            world.backup.fault = lambda _operation, _key: None
            if looks < 6:
                collector(world, looks)
            else:
                world.backup.delete(["backup/.mbk/leases/.pool"])
            world.backup.fault = fault
        assert looks >= 6 or not key.endswith("index.jsonl.gz"), "the index was read meanwhile"

    collector(world, 0)
    world.backup.fault = fault
    assert ways(incremental(world, "second")).keys() == {"reused"}
    assert "pool-awaited" in world.notices


def test_a_silent_collector_finds_its_lease_taken(world: World) -> None:
    collector(world, 0)
    world.pace = replace(AT_ONCE, lease=LeasePace(expiry=0.01, settle=0.001, handover=0.001, poll=0.001))
    incremental(world, "first")
    left = json.loads(world.backed_up["backup/.mbk/leases/.pool"])
    assert left["ended"]
    assert left["token"] != "a token"


def test_two_roots_know_nothing_of_each_other(world: World) -> None:
    incremental(world, "first")
    other = replace(world, backup_root="elsewhere/")
    other.milvus, other.storage = world.milvus, world.storage
    assert ways(incremental(other, "first")).keys() == {"server"}


def test_an_error_of_the_storage_at_the_index_is_no_error_of_the_backup(world: World) -> None:
    def fault(operation: str, key: str) -> None:
        if operation == "write" and key == INDEX:
            raise PermissionDenied("no", code="test-no")

    world.backup.fault = fault
    incremental(world, "first")
    assert ways(incremental(world, "second")).keys() == {"reused"}


def test_a_listing_tells_what_each_backup_added_and_what_deleting_it_would_free(world: World) -> None:
    incremental(world, "first")
    world.milvus.insert("docs", range(6, 9))
    incremental(world, "second")
    world.create("classic")
    found = with_frees(world.backup, world.run(), world.catalog().summaries())
    told = {item.name: (item.added, item.frees) for item in found}
    more = sum(named(world, "second").values()) - sum(named(world, "first").values())
    assert told == {
        "classic": (None, None),
        "first": (sum(named(world, "first").values()), 0),
        "second": (more, more),
    }


def test_without_a_useful_index_a_listing_does_not_guess(world: World) -> None:
    incremental(world, "first")
    lost(world)
    [found] = with_frees(world.backup, world.run(), world.catalog().summaries())
    assert found.frees is None


def test_a_dry_run_tells_what_would_be_copied(world: World) -> None:
    incremental(world, "first")
    world.milvus.insert("docs", range(6, 9))
    key = next(iter(pooled(world)))
    known_damage(world, [key])
    context, before = world.context(), world.backed_up
    options = CreateOptions(selection=Selection.parse(""), incremental=True)
    told = create.preview(context, create.plan(context, "second", options))
    assert world.backed_up == before
    second = incremental(world, "second")
    assert told.format == "shared"
    assert told.objects == second.transfer.objects["server"]
    assert told.size == second.transfer.bytes["server"]
    assert told.present == second.transfer.objects["reused"]
    assert told.present_size == second.transfer.bytes["reused"]


@pytest.mark.parametrize("kind", ["insert_log", "delta_log"])
def test_a_backup_that_is_to_be_sure_looks_for_what_it_reuses(world: World, kind: str) -> None:
    incremental(world, "first")
    before = pooled(world)
    of_kind = [key for key in before if f"/{kind}/" in key]
    gone, cut = of_kind[0], of_kind[-1]
    world.backup.write(cut, [before[cut][:-1]])
    world.backup.delete([gone])
    incremental(world, "careless")
    assert pooled(world) != before
    incremental(world, "careful", checksum="full")
    assert pooled(world) == before
    assert rows(world, "docs", "careless") == [0, 2, 3, 4, 5]


def test_what_the_index_tells_wrongly_of_a_backup_is_mended(world: World) -> None:
    """It was committed again, and that update was lost."""
    incremental(world, "first")
    stale = world.backed_up[INDEX]
    world.delete("first")
    incremental(world, "first")
    world.backup.write(INDEX, [stale])
    assert ways(incremental(world, "second")).keys() == {"server"}
    world.delete("second")
    assert ways(incremental(world, "third")).keys() == {"reused"}


def configured(world: World, name: str, **options: Any) -> str:
    """The format of a backup that was made where ``backup.layout`` is shared."""
    context = world.context()
    limits = replace(context.limits, backup=BackupLimits(incremental=True))
    chosen = CreateOptions(selection=Selection.parse(""), **options)
    create.execute(replace(context, limits=limits), name, chosen)
    return world.catalog().read_manifest(name).format


def test_the_configured_layout_counts_unless_another_is_chosen(world: World) -> None:
    assert configured(world, "first") == "shared"
    assert configured(world, "second", incremental=False) == ""


def test_where_the_configured_layout_is_shared_it_is_said_that_a_snapshot_shares_nothing() -> None:
    world = SnapshotWorld()
    assert configured(world, "first", format="snapshot") == "snapshot"
    assert world.notices == ["snapshots-whole"]
