"""`backup.objectLock`: the storage keeps all that mbk makes of a backup, and nothing of mbk deletes it before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mbk.engine.operations import copy, create, prune, take_in, verify
from mbk.engine.repository import locks
from mbk.engine.runtime.context import ClusterContext, CopyContext
from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.locked import lock_until
from mbk.errors import BackupLocked, MbkError, StorageError, Unsupported
from mbk.model.layout import LOCKED, is_record
from mbk.model.locking import ObjectLock
from mbk.model.options import (
    CopyOptions,
    CreateOptions,
    ImportOptions,
    PruneOptions,
    VerifyOptions,
)
from mbk.ports.storage import Retention
from mbk.testing import MemoryStorage
from mbk.testing.memory import EVERYTHING
from tests.fakes.world import Killed, Life, World
from tests.raising import raised

DAYS = 30
GOVERNANCE = ObjectLock(mode="governance", days=DAYS)


@pytest.fixture
def world() -> World:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    return world


def locking(world: World, lock: ObjectLock = GOVERNANCE) -> ClusterContext:
    return replace(world.context(), object_lock=lock)


def create_locked(
    world: World, name: str = "nightly", lock: ObjectLock = GOVERNANCE, **options: bool
) -> None:
    create.execute(locking(world, lock), name, CreateOptions(**options))


def held(world: World, name: str = "nightly", *, root: str = "backup") -> dict[str, Retention | None]:
    """How each object below the backup's prefix is locked."""
    found = world.service.buckets["backups"].objects
    return {key: item.options.retention for key, item in found.items() if key.startswith(f"{root}/{name}/")}


def pooled(world: World, *, root: str = "backup") -> dict[str, Retention | None]:
    """How each object of the pool is locked."""
    return {key: lock for key, lock in held(world, ".mbk/pool", root=root).items() if "/binlogs/" in key}


def site(world: World) -> MemoryStorage:
    return MemoryStorage(world.service, "backups", root="site/")


def copied(
    world: World,
    target: MemoryStorage,
    lock: ObjectLock | None = GOVERNANCE,
    name: str = "nightly",
    **options: str,
) -> None:
    context = CopyContext(
        run=world.run(),
        backup_storage=world.backup,
        target=target,
        limits=Limits(transfer=world.limits),
        pace=world.pace,
        object_lock=lock,
    )
    copy.execute(context, name, CopyOptions(**{"to": name, **options}))


def taken_in(world: World, lock: ObjectLock | None = GOVERNANCE) -> None:
    take_in.execute(replace(world.context(), object_lock=lock), "nightly", ImportOptions())


def lasts(retention: Retention | None, days: int = DAYS) -> bool:
    expected = timedelta(days=days)
    left = retention.until - datetime.now(UTC) if retention else timedelta()
    return expected - timedelta(minutes=1) < left <= expected


def expire(world: World, name: str = "nightly") -> None:
    """The lock is over: the storage lets the objects go, and the backup says so."""
    past = Retention(mode="governance", until=datetime.now(UTC) - timedelta(hours=1))
    bucket = world.service.buckets["backups"]
    for key, item in [*bucket.objects.items()]:
        if key.startswith(f"backup/{name}/"):
            bucket.objects[key] = replace(item, options=replace(item.options, retention=past))
    world.backup.write(f"backup/{name}/meta/{LOCKED}", [locks.encoded(past)])


def test_everything_that_a_backup_is_made_of_is_locked(world: World) -> None:
    create_locked(world)
    assert len(held(world)) > 5
    assert all(map(lasts, held(world).values()))
    (summary,) = world.catalog().summaries()
    assert summary.locked is not None
    assert (summary.locked.mode, lasts(held(world)[f"backup/nightly/meta/{LOCKED}"])) == ("governance", True)
    assert verify.execute(world.context(), "nightly", VerifyOptions()).is_whole


def test_without_the_setting_nothing_is_locked(world: World) -> None:
    world.create()
    assert not any(held(world).values())


def test_a_locked_backup_is_not_deleted_and_loses_nothing(world: World) -> None:
    create_locked(world)
    before = dict(world.backed_up)
    for options in ({}, {"versions": True}):
        with raised(BackupLocked, "backup-locked", backup="nightly", mode="governance"):
            world.delete(**options)
    assert world.backed_up == before


def test_a_locked_backup_is_deleted_once_its_time_is_over(world: World) -> None:
    create_locked(world)
    expire(world)
    world.delete()
    assert not held(world)


def test_a_prune_keeps_what_is_locked_and_says_until_when(world: World) -> None:
    create_locked(world, "a_old")
    world.create("b_new")
    report = prune.execute(world.context(), "", PruneOptions(keep_last=1))
    (old,) = [item for item in report.backups if item.name == "a_old"]
    assert old.outcome == "kept"
    assert any(reason.startswith("locked until 20") for reason in old.reasons)
    expire(world, "a_old")
    prune.execute(world.context(), "", PruneOptions(keep_last=1))
    assert not held(world, "a_old")


def test_a_lock_that_cannot_be_read_keeps_the_backup(world: World) -> None:
    world.create()
    world.backup.write(f"backup/nightly/meta/{LOCKED}", [b"\x00 torn"])
    with raised(BackupLocked, "backup-locked"):
        world.delete()


@pytest.fixture
def torn(world: World) -> World:
    """A backup that was begun with a lock, and ended before it was complete."""

    def fault(operation: str, key: str) -> None:
        if operation == "write" and key.endswith("/full_meta.json"):
            raise StorageError("the disk is on fire")

    world.backup.fault = fault
    with pytest.raises(StorageError):
        create_locked(world)
    world.backup.fault = lambda *_: None
    return world


def test_what_was_never_completed_is_locked_too(torn: World) -> None:
    (summary,) = torn.catalog().summaries()
    assert summary.locked is not None
    with raised(BackupLocked, "backup-locked"):
        torn.delete()


def test_a_run_that_completes_a_backup_locks_what_was_there_as_well(torn: World) -> None:
    create_locked(torn, lock=ObjectLock(mode="governance", days=2 * DAYS), resume=True)
    # The record of the commit that failed stays, for the storage keeps it; no manifest names it.
    (named,) = [name for name in torn.catalog().read_manifest("nightly").files if is_record(name)]
    kept = {key: lock for key, lock in held(torn).items() if key.endswith(named) or "/objects-" not in key}
    assert all(lasts(lock, 2 * DAYS) for lock in kept.values())


def test_a_run_that_completes_a_backup_never_shortens_its_lock(torn: World) -> None:
    create_locked(torn, lock=ObjectLock(mode="governance", days=1), resume=True)
    assert all(map(lasts, held(torn).values()))


def test_an_unlocked_backup_that_is_completed_is_locked_then(world: World) -> None:
    def fault(operation: str, key: str) -> None:
        if operation == "write" and key.endswith("/full_meta.json"):
            raise StorageError("the disk is on fire")

    world.backup.fault = fault
    with pytest.raises(StorageError):
        world.create()
    world.backup.fault = lambda *_: None
    create_locked(world, resume=True)
    assert all(map(lasts, held(world).values()))


def test_a_storage_that_cannot_lock_is_refused_before_anything_is_written(world: World) -> None:
    world.backup._capabilities = replace(EVERYTHING, write_options=frozenset())
    with raised(Unsupported, "object-lock-unsupported"):
        create_locked(world)
    assert not world.backed_up


def test_a_storage_that_drops_the_lock_is_found_out_before_anything_is_copied(world: World) -> None:
    world.backup.locked = lambda *_: None  # type: ignore[method-assign]  # a service that ignores a header it does not know
    with raised(Unsupported, "object-lock-ignored"):
        create_locked(world)
    assert not [key for key in world.backed_up if "/binlogs/" in key]


def test_locking_what_is_there_may_be_done_again_and_shortens_nothing(world: World) -> None:
    world.create()
    keys = sorted(key for key in held(world) if "/binlogs/" in key)
    until = datetime.now(UTC) + timedelta(days=DAYS)
    for days in (0, 0, -1):
        retention = Retention(mode="governance", until=until + timedelta(days=days))
        assert lock_until(world.backup, world.run(), keys, retention) == len(keys)
        assert all(lasts(held(world)[key]) for key in keys)


@pytest.mark.parametrize("layout", ["same", "shared"])
def test_a_copy_is_locked_as_its_destination_says(world: World, layout: str) -> None:
    world.create()
    copied(world, site(world), layout=layout)
    assert all(map(lasts, held(world, root="site").values()))
    assert all(map(lasts, pooled(world, root="site").values()))
    assert bool(pooled(world, root="site")) is (layout == "shared")
    with raised(BackupLocked, "backup-locked"):
        replace(world, backup_root="site/").delete()
    assert not any(held(world).values())


def test_a_copy_of_a_locked_backup_to_where_nothing_is_locked_is_free(world: World) -> None:
    create_locked(world)
    copied(world, site(world), None)
    assert not any(held(world, root="site").values())


@pytest.mark.parametrize("layout", ["same", "shared"])
def test_killed_at_any_moment_a_locked_copy_is_completed_and_all_of_it_locked(
    world: World, layout: str
) -> None:
    world.create()
    life, twin = Life(), world.copy()
    whole = site(twin)
    whole.fault = life
    copied(twin, whole, layout=layout)
    for moment in range(1, life.operations + 1):
        twin = world.copy()
        target = site(twin)
        target.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            copied(twin, target, layout=layout)
        target.fault = lambda *_: None
        copied(twin, target, layout=layout)
        found = {**held(twin, root="site"), **pooled(twin, root="site")}
        assert found
        assert all(map(lasts, found.values())), moment


def test_what_is_copied_again_keeps_its_time(world: World) -> None:
    world.create()
    copied(world, site(world))
    copied(world, site(world), ObjectLock(mode="governance", days=2 * DAYS))
    assert all(map(lasts, held(world, root="site").values()))


def test_a_copy_that_was_made_without_a_lock_is_locked_by_copying_it_again(world: World) -> None:
    world.create()
    copied(world, site(world), None)
    copied(world, site(world))
    assert all(map(lasts, held(world, root="site").values()))


def test_a_copy_into_a_pool_locks_for_longer_what_the_pool_has(world: World) -> None:
    create_locked(world, incremental=True)
    copied(world, world.backup, ObjectLock(mode="governance", days=2 * DAYS), to="second")
    assert pooled(world)
    assert all(lasts(lock, 2 * DAYS) for lock in pooled(world).values())
    assert all(lasts(lock, 2 * DAYS) for lock in held(world, "second").values())


def test_a_copy_to_a_storage_that_cannot_lock_is_refused_before_anything_is_written(world: World) -> None:
    world.create()
    target = site(world)
    target._capabilities = replace(EVERYTHING, write_options=frozenset())
    with raised(Unsupported, "object-lock-unsupported"):
        copied(world, target)
    assert not held(world, root="site")


def test_what_is_taken_into_the_pool_is_locked_there(world: World) -> None:
    world.create()
    taken_in(world)
    found = {**held(world), **pooled(world)}
    assert pooled(world)
    assert all(map(lasts, found.values()))
    with raised(BackupLocked, "backup-locked"):
        world.delete()
    assert verify.execute(world.context(), "nightly", VerifyOptions()).is_whole


def test_killed_at_any_moment_an_import_is_completed_and_all_of_it_locked(world: World) -> None:
    world.create()
    life, twin = Life(), world.copy()
    twin.live(life)
    taken_in(twin)
    for moment in range(1, life.operations + 1):
        twin = world.copy()
        twin.live(Life(moment))
        with pytest.raises((Killed, MbkError)):
            taken_in(twin)
        twin.backup.fault = twin.storage.fault = lambda *_: None
        taken_in(twin)
        found = {**held(twin), **pooled(twin)}
        assert all(map(lasts, found.values())), moment
        assert not [key for key in found if key.startswith("backup/nightly/binlogs/")]
