"""Deleting shared backups: whatever happens amid it, no object goes that a backup names, and in the end no other is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from mbk.engine.operations import gc, prune
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.pool.collection import collect
from mbk.engine.repository.pool.named import Unknowable
from mbk.engine.repository.pool.rule import collecting
from mbk.engine.runtime.lease import hold
from mbk.errors import Busy, PermissionDenied, StorageFull
from mbk.model import layout
from mbk.model.layout import POOL, REMOVED
from mbk.model.options import GcOptions, PruneOptions
from mbk.model.states import BackupState
from tests.fakes.world import Killed, Life, World
from tests.raising import raised
from tests.sharing import share_after

POOLED = f"backup/{POOL}"
TOMBS = f"backup/{REMOVED}"


def identity(world: World, name: str) -> str:
    return world.catalog().read_manifest(name).id


def shared(world: World, *names: str) -> None:
    """Backups of these names, between which rows come, rows go, and segments are compacted."""
    earlier: list[str] = []
    for number, name in enumerate(names):
        world.milvus.insert("docs", range(100 * number, 100 * number + 8))
        world.milvus.delete("docs", [100 * number])
        if number == 2:
            world.milvus.compact("docs")
        world.create(name, labels={"name": name})
        owner = identity(world, name)
        share_after(world.backup, name, owner, *earlier)
        earlier.append(owner)


@pytest.fixture
def world() -> World:
    world = World()
    world.milvus.add("docs")
    shared(world, "a", "b", "c")
    return world


def committed(world: World) -> list[str]:
    complete = (BackupState.COMPLETE, BackupState.PARTIAL)
    return [item.name for item in world.catalog().summaries() if item.state in complete]


def named(world: World, *names: str) -> set[str]:
    """The keys of the pool that these backups name."""
    return set(_named(world.catalog(), names))


def _named(catalog: Catalog, names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        found = catalog.committed(name)
        record = catalog.open_record(found)
        assert record is not None
        with record:
            yield from (f"{POOLED}{item.key}" for item in record.objects())


def pooled(world: World) -> set[str]:
    return {key for key in world.backed_up if key.startswith(POOLED) and "/binlogs/" in key}


def whole(world: World, *names: str) -> None:
    """These and no others are there, with all of their objects."""
    assert committed(world) == [*names]
    assert named(world, *names) <= pooled(world)


def tidy(world: World, *names: str) -> None:
    whole(world, *names)
    assert pooled(world) == named(world, *names)
    stones = {f"{TOMBS}{identity(world, name)}" for name in names}
    assert not [key for key in world.backed_up if key.startswith(TOMBS) and key[:-22] not in stones]


@pytest.mark.parametrize("order", ["abc", "cba", "bac", "bca"])
def test_any_backup_goes_first_and_frees_what_no_other_has(order: str, world: World) -> None:
    left = ["a", "b", "c"]
    for name in order:
        before, others = pooled(world), [one for one in left if one != name]
        sizes = {key: len(data) for key, data in world.backed_up.items()}
        gone = before - named(world, *others)
        own = {key for key in sizes if key.startswith(f"backup/{name}/")}
        report = world.delete(name)
        left = others
        tidy(world, *left)
        assert report.deleted_objects == len(gone | own)
        assert sum(sizes[key] for key in gone) < report.freed
    assert not pooled(world)


@pytest.mark.parametrize("lost", [False, True], ids=["damaged", "lost"])
def test_what_a_backup_without_its_manifest_alone_had_is_freed(lost: bool, world: World) -> None:
    key = f"{world.backup.location.root}b/meta/mbk.json"
    world.backup.delete([key]) if lost else world.backup.write(key, [b"{"])
    world.delete("b")
    tidy(world, "a", "c")


def test_what_no_file_tells_of_a_deleted_backup_is_said(world: World) -> None:
    own = [key for key in world.backed_up if key.startswith("backup/b/meta/") and key.endswith(".json")]
    for key in own:
        world.backup.write(key, [b"{"])
    report = world.delete("b")
    assert "mbk gc" in "".join(report.notices)
    whole(world, "a", "c")
    assert pooled(world) > named(world, "a", "c"), "nobody knows that they are not needed"


def keeping(*names: str) -> PruneOptions:
    return PruneOptions(keep_labels=[f"name={name}" for name in names])


def test_a_prune_frees_what_only_those_that_go_together_have(world: World) -> None:
    before = pooled(world)
    kept = next(
        item.backup.name
        for item in prune.plan(world.context(), "", PruneOptions(keep_last=1)).decisions
        if not item.goes
    )
    sizes = {key: len(data) for key, data in world.backed_up.items()}
    gone = before - named(world, kept)
    report = prune.execute(world.context(), "", PruneOptions(keep_last=1))
    tidy(world, kept)
    metadata = sum(
        size for key, size in sizes.items() if "/meta/" in key and not key.startswith(f"backup/{kept}/")
    )
    pool = sum(sizes[key] for key in gone)
    # The manifests tell that the backups are being deleted, in about as many bytes.
    assert pool < report.freed <= pool + metadata + 1000


def deleted(world: World) -> None:
    world.delete("b")


def pruned(world: World) -> None:
    prune.execute(world.context(), "", keeping("c"))


@pytest.mark.parametrize("act", [deleted, pruned])
def test_killed_at_any_call_nothing_is_missing_and_the_next_run_removes_the_rest(
    act: Callable[[World], None], world: World
) -> None:
    counting, twin = Life(), world.copy()
    twin.live(counting)
    act(twin)
    told = set()
    for call in range(1, counting.operations):
        twin = world.copy()
        twin.live(Life(ends_at=call))
        with pytest.raises(Killed):
            act(twin)
        twin.live(Life())
        left = committed(twin)
        whole(twin, *left)
        for item in [*twin.catalog().summaries()]:
            if item.state is BackupState.INCOMPLETE:
                told.add(item.reason.partition(":")[0])
            if item.name not in left or item.name == "b":
                twin.delete(item.name)
        collect(twin.backup, twin.run(), pace=twin.pace.lease)
        tidy(twin, *(name for name in left if name != "b"))
    assert told == {"delete the rest"}


def test_a_deletion_that_was_stopped_says_so_of_any_backup() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    world.create()
    counting, twin = Life(), world.copy()
    twin.live(counting)
    twin.delete()
    told = set()
    for call in range(1, counting.operations):
        twin = world.copy()
        twin.live(Life(ends_at=call))
        with pytest.raises(Killed):
            twin.delete()
        twin.live(Life())
        found = twin.catalog().summary("nightly")
        told.add((found.state, found.reason.partition(":")[0]) if found else None)
    assert told == {(BackupState.COMPLETE, ""), (BackupState.INCOMPLETE, "delete the rest"), None}


def test_while_a_run_may_build_on_the_pool_nothing_is_removed_from_it(world: World) -> None:
    before = pooled(world)
    with hold(world.backup, "next", "backup 'next'", world.run(), pace=world.pace.lease):
        world.delete("b")
        whole(world, "a", "c")
        assert pooled(world) == before
        assert "pool-not-freed" in world.notices
    world.delete("a")
    tidy(world, "c")


def test_a_run_that_registers_amid_a_removal_stops_it(world: World) -> None:
    removed: list[str] = []

    def arrives(operation: str, key: str) -> None:
        if operation == "delete" and "/binlogs/" in key and not removed:
            removed.append(key)
            world.backup.write("backup/.mbk/leases/next", [b'{"token":"x","machine":"m","pid":1,"what":"w"}'])

    world.backup.fault = arrives
    prune.execute(world.context(), "", keeping("c"))
    whole(world, "c")
    assert "pool-not-freed" in world.notices
    world.backup.delete(["backup/.mbk/leases/next"])
    collect(world.backup, world.run(), pace=world.pace.lease)
    tidy(world, "c")


def test_without_a_record_that_can_be_read_nothing_is_removed(world: World) -> None:
    before = pooled(world)
    record = next(key for key in world.backed_up if key.startswith("backup/c/meta/objects-"))
    world.backup.write(record, [world.backed_up[record][:-9]])
    world.delete("a")
    assert pooled(world) == before
    assert "pool-not-freed" in world.notices
    world.delete("c")
    assert committed(world) == ["b"]
    assert named(world, "b") <= pooled(world)


@pytest.mark.parametrize("lost", ["mbk.json", "full_meta.json"])
def test_a_backup_that_lost_a_file_keeps_its_objects(lost: str, world: World) -> None:
    mine = named(world, "c")
    world.backup.delete([f"backup/c/meta/{lost}"])
    world.delete("a")
    assert mine <= pooled(world)


def test_what_the_storage_keeps_is_told_and_tried_again(world: World) -> None:
    kept = min(named(world, "b") - named(world, "a", "c"))

    def fault(operation: str, key: str) -> None:
        if operation == "delete" and key == kept:
            raise PermissionDenied("it is locked")

    world.backup.fault = fault
    with pytest.raises(Exception, match="still there"):
        world.delete("b")
    whole(world, "a", "c")
    world.live(Life())
    collect(world.backup, world.run(), pace=world.pace.lease)
    tidy(world, "a", "c")


def test_on_a_full_disk_backups_go_and_what_they_had_goes_as_soon_as_there_is_room(world: World) -> None:
    def full(operation: str, _: str) -> None:
        if operation == "write":
            raise StorageFull("no space left on device")

    world.backup.fault = full
    prune.execute(world.context(), "", keeping("c"))
    whole(world, "c")


def test_of_two_that_remove_one_waits_and_both_end_well(world: World) -> None:
    with collecting(world.backup, world.run(), pace=world.pace.lease) as collector:
        assert collector.is_alone
        assert not collector.writers()


def test_a_backup_that_was_never_completed_takes_what_it_put_there_along(world: World) -> None:
    manifest = world.catalog().read_manifest("b")
    orphan = f"{POOLED}{manifest.id}/binlogs/insert_log/1/2/3/3/100/9"
    world.backup.write(orphan, [b"of an earlier attempt"])
    world.backup.delete(["backup/b/meta/full_meta.json"])
    world.delete("b")
    assert orphan not in pooled(world)
    whole(world, "a", "c")


# -- gc ----------------------------------------------------------------------------------------------------------------

NOW = GcOptions(grace=timedelta())


def orphaned(world: World) -> set[str]:
    """What a run left that was killed, and whose backup is gone without a word."""
    owner = identity(world, "b")
    orphans = pooled(world) - named(world, "a", "c")
    for key in [key for key in world.backed_up if key.startswith("backup/b/")]:
        world.backup.delete([key])
    assert orphans
    assert all(f"/{owner}/" in key for key in orphans)
    return orphans


def collected(world: World) -> None:
    gc.execute(world.context(), "", NOW)


def test_what_belongs_to_no_backup_is_shown_then_removed_and_nothing_else(world: World) -> None:
    orphans = orphaned(world)
    before = dict(world.backed_up)
    planned = gc.plan(world.context(), "", NOW)
    assert planned.objects == len(orphans)
    assert planned.size == sum(len(before[key]) for key in orphans)
    assert dict(world.backed_up) == before, "a plan changes nothing"
    report = gc.execute(world.context(), "", NOW)
    assert (report.deleted_objects, report.freed) == (planned.objects, planned.size)
    tidy(world, "a", "c")
    assert gc.execute(world.context(), "", NOW).deleted_objects == 0


def test_uploads_that_nobody_goes_on_with_end(world: World) -> None:
    world.backup.multipart(f"{POOLED}gone/binlogs/insert_log/1/2/3/3/100/9")  # begun, and never ended
    assert world.backup.bucket.uploads
    collected(world)
    assert not world.backup.bucket.uploads
    tidy(world, "a", "b", "c")


def test_what_is_young_stays(world: World) -> None:
    orphaned(world)
    before = pooled(world)
    assert gc.execute(world.context(), "", GcOptions()).deleted_objects == 0
    assert pooled(world) == before


def test_what_a_backup_that_can_be_resumed_has_put_there_stays(world: World) -> None:
    before = pooled(world)
    world.backup.delete([f"backup/b/meta/{layout.FULL_META}"])
    collected(world)
    assert pooled(world) == before


def test_killed_at_any_call_of_gc_nothing_is_missing_and_the_next_one_removes_the_rest(world: World) -> None:
    orphaned(world)
    counting, twin = Life(), world.copy()
    twin.live(counting)
    collected(twin)
    for call in range(1, counting.operations):
        twin = world.copy()
        twin.live(Life(ends_at=call))
        with pytest.raises(Killed):
            collected(twin)
        twin.live(Life())
        whole(twin, "a", "c")
        collected(twin)
        tidy(twin, "a", "c")


def test_beside_a_run_that_builds_on_the_pool_gc_removes_nothing(world: World) -> None:
    orphaned(world)
    before = pooled(world)
    with hold(world.backup, "d", "backup of 'd'", world.run(), pace=world.pace.lease):
        with raised(Busy, "gc-beside-writers"):
            collected(world)
        with raised(Busy, "gc-beside-writers"):
            gc.plan(world.context(), "", NOW)
        assert pooled(world) == before
    collected(world)
    tidy(world, "a", "c")


def test_without_a_record_that_can_be_read_gc_removes_nothing(world: World) -> None:
    orphaned(world)
    for key in [key for key in world.backed_up if key.startswith("backup/c/meta/objects-")]:
        world.backup.delete([key])
    before = pooled(world)
    with pytest.raises(Unknowable):
        collected(world)
    assert pooled(world) == before
