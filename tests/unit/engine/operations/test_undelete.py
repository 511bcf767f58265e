"""`undelete`: what was deleted or overwritten in a bucket that keeps versions comes back, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mbk.engine.operations import create, undelete, verify
from mbk.engine.runtime.context import Context
from mbk.errors import (
    BackupExists,
    BackupLocked,
    BackupNotFound,
    DamagedBackup,
    DamageFound,
    DeleteFailed,
    InvalidBackup,
    MbkError,
    StorageError,
    Unsupported,
)
from mbk.model.layout import FULL_META, is_record
from mbk.model.locking import ObjectLock
from mbk.model.options import CreateOptions, UndeleteOptions, VerifyOptions
from mbk.model.reports import UndeleteReport
from mbk.model.states import BackupState, Depth
from mbk_local.storage import LocalStorage
from tests.fakes.world import Killed, Life, World
from tests.raising import raised

LOCK = ObjectLock(mode="governance", days=30)
SHARED = pytest.mark.parametrize("incremental", [False, True], ids=["classic", "shared"])


@pytest.fixture
def world() -> World:
    """With a bucket for backups that keeps versions."""
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(6))
    world.service.buckets["backups"].versioned = True
    return world


def create_locked(world: World, name: str = "nightly", *, incremental: bool = False) -> None:
    context = replace(world.context(), object_lock=LOCK)
    create.execute(context, name, CreateOptions(incremental=incremental))


def bring_back(world: World, name: str = "nightly") -> UndeleteReport:
    return undelete.execute(world.context(), name, UndeleteOptions())


def is_whole(world: World, name: str = "nightly") -> bool:
    return verify.execute(world.context(), name, VerifyOptions(depth=Depth.DIGESTS)).is_whole


def steal(world: World) -> None:
    """Whoever has the key deletes every object of the bucket, and as many versions as the storage lets go."""
    world.backup.delete([*world.backed_up])
    with pytest.raises(DeleteFailed):
        world.backup.delete_versions(item for item in world.backup.versions("") if not item.is_mark)


def of_backup(world: World) -> dict[str, bytes]:
    """What backups are made of: no leases, and no cache."""
    return {
        key: data
        for key, data in world.backed_up.items()
        if ".mbk/leases/" not in key and not key.endswith(("index.jsonl.gz", "verified.json"))
    }


def data_keys(world: World) -> list[str]:
    return [key for key in world.backed_up if "/binlogs/" in key]


@SHARED
def test_a_locked_backup_comes_back_after_everything_was_deleted(world: World, incremental: bool) -> None:
    create_locked(world, incremental=incremental)
    before = of_backup(world)
    steal(world)
    assert not world.backed_up
    report = bring_back(world)
    assert of_backup(world) == before
    assert (report.returned, report.rewritten, report.present) == (len(before), 0, 0)
    assert report.size == sum(map(len, before.values()))
    assert is_whole(world)
    world.restore(suffix="_back")
    assert world.milvus.rows_by_partition("docs_back") == world.milvus.rows_by_partition("docs")
    with raised(BackupLocked, "backup-locked"):
        world.delete()


@SHARED
def test_what_was_written_over_is_written_again_and_locked_again(world: World, incremental: bool) -> None:
    create_locked(world, incremental=incremental)
    before = of_backup(world)
    for key, data in before.items():
        world.backup.write(key, [b"\x00" * len(data)])
    world.backup.delete(data_keys(world)[::2])
    report = bring_back(world)
    assert of_backup(world) == before
    assert report.rewritten == report.returned == len(before)
    kept = world.service.buckets["backups"].objects
    assert all(kept[key].options.retention for key in before)
    assert is_whole(world)


def test_each_of_the_backups_that_share_a_pool_comes_back_by_itself(world: World) -> None:
    create_locked(world, "first", incremental=True)
    world.milvus.insert("docs", range(6, 9))
    create_locked(world, "second", incremental=True)
    before = of_backup(world)
    steal(world)
    bring_back(world, "second")
    assert is_whole(world, "second")
    assert bring_back(world, "first").present > 0
    assert of_backup(world) == before


@SHARED
def test_killed_at_any_moment_it_is_no_complete_backup_and_the_next_run_ends_well(
    world: World, incremental: bool
) -> None:
    create_locked(world, incremental=incremental)
    before = of_backup(world)
    world.backup.write(data_keys(world)[0], [b"garbage"])
    world.backup.delete([*world.backed_up])
    life, twin = Life(), world.copy()
    twin.backup.fault = life
    bring_back(twin)
    assert life.operations > 10
    for moment in range(1, life.operations + 1):
        twin = world.copy()
        twin.backup.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            bring_back(twin)
        twin.backup.fault = lambda *_: None
        complete = [item.name for item in twin.catalog().summaries() if item.state is BackupState.COMPLETE]
        if complete:
            assert is_whole(twin)
        bring_back(twin)
        assert of_backup(twin) == before, moment


def test_a_dry_run_tells_what_comes_back_and_changes_nothing(world: World) -> None:
    create_locked(world)
    before = of_backup(world)
    gone = data_keys(world)[:2]
    world.backup.delete([*gone, f"backup/nightly/meta/{FULL_META}"])
    versions = [*world.backup.versions("")]
    context = world.context()
    told = undelete.preview(context, undelete.plan(context, "nightly", UndeleteOptions()))
    assert [*world.backup.versions("")] == versions
    assert (told.objects, told.present) == (3, len(before) - 3)
    assert told.size == sum(len(before[key]) for key in (*gone, f"backup/nightly/meta/{FULL_META}"))


def test_no_version_but_marks_of_deletion_is_ever_deleted(world: World) -> None:
    create_locked(world)
    world.backup.write(data_keys(world)[0], [b"garbage"])
    world.backup.delete([*world.backed_up])
    real = {(item.key, item.version) for item in world.backup.versions("") if not item.is_mark}
    bring_back(world)
    assert real <= {(item.key, item.version) for item in world.backup.versions("") if not item.is_mark}


@SHARED
def test_what_mbk_itself_deleted_comes_back(world: World, incremental: bool) -> None:
    world.create(incremental=incremental)
    before = {key: data for key, data in of_backup(world).items() if "/pool/removed/" not in key}
    world.delete()
    assert not data_keys(world)
    bring_back(world)
    assert {key: data for key, data in of_backup(world).items() if "/pool/removed/" not in key} == before
    assert is_whole(world)
    world.delete()
    assert not data_keys(world)


def test_a_backup_that_is_there_stays_as_it_is(world: World) -> None:
    world.create()
    before = [*world.backup.versions("backup/nightly/")]
    report = bring_back(world)
    assert (report.returned, world.notices[-1]) == (0, "undelete-not-needed")
    assert [*world.backup.versions("backup/nightly/")] == before


def test_another_backup_that_has_the_name_now_is_not_replaced(world: World) -> None:
    world.create()
    world.delete()

    def fault(operation: str, key: str) -> None:
        if operation == "write" and key.endswith("/full_meta.json"):
            raise StorageError("the disk is on fire")

    world.backup.fault = fault
    with pytest.raises(MbkError):
        world.create()
    world.backup.fault = lambda *_: None
    before = world.backed_up
    with raised(BackupExists, "backup-exists", backup="nightly"):
        bring_back(world)
    assert world.backed_up.keys() == before.keys()


def test_the_newest_of_several_backups_of_a_name_comes_back(world: World) -> None:
    world.create()
    world.delete()
    world.milvus.insert("docs", range(6, 9))
    world.create()
    before, newest = of_backup(world), world.catalog().committed("nightly").backup.id
    world.delete()
    assert bring_back(world).id == newest
    assert of_backup(world) == before


def test_objects_of_which_no_version_is_left_are_named_and_the_rest_is_back(world: World) -> None:
    world.create()
    key = data_keys(world)[0]
    world.backup.delete([*world.backed_up])
    world.backup.delete_versions([item for item in world.backup.versions(key) if item.key == key])
    with raised(DamagedBackup, "undelete-lost", backup="nightly", count=1, keys=key):
        bring_back(world)
    assert {item.state for item in world.catalog().summaries()} == {BackupState.COMPLETE}
    with raised(DamageFound):
        is_whole(world)


def test_without_the_record_nothing_is_guessed(world: World) -> None:
    world.create()
    (record,) = [key for key in world.backed_up if is_record(key.rpartition("/")[2])]
    world.backup.delete([*world.backed_up])
    world.backup.delete_versions([item for item in world.backup.versions(record) if item.key == record])
    versions = [*world.backup.versions("backup/nightly/")]
    with raised(InvalidBackup, "undelete-incomplete", backup="nightly"):
        bring_back(world)
    assert [*world.backup.versions("backup/nightly/")] == versions


def test_a_backup_that_never_was_is_not_found(world: World) -> None:
    world.create()
    with raised(BackupNotFound, "undelete-nothing", backup="weekly"):
        bring_back(world, "weekly")


def test_a_storage_without_versions_says_so(world: World, tmp_path: Path) -> None:
    context = Context(run=world.run(), backup_storage=LocalStorage(tmp_path), pace=world.pace)
    with raised(Unsupported, "undelete-unsupported"):
        undelete.execute(context, "nightly", UndeleteOptions())
