"""`backup.objectLock`: the storage keeps all that `create` makes, and nothing of mbk deletes it before."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mbk.engine.operations import create, prune, verify
from mbk.engine.repository import locks
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.locked import lock_until
from mbk.errors import BackupLocked, StorageError, Unsupported
from mbk.model.layout import LOCKED, is_record
from mbk.model.locking import ObjectLock
from mbk.model.options import CreateOptions, PruneOptions, VerifyOptions
from mbk.ports.storage import Retention
from mbk.testing.memory import EVERYTHING
from tests.fakes.world import World
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


def held(world: World, name: str = "nightly") -> dict[str, Retention | None]:
    """How each object below the backup's prefix is locked."""
    found = world.service.buckets["backups"].objects
    return {key: item.options.retention for key, item in found.items() if key.startswith(f"backup/{name}/")}


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
