"""A backup copied to another place, stopped at any moment; and what is said of a backup that another command began."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mbk.engine.operations import copy as operation
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.view import incomplete
from mbk.engine.runtime.context import CopyContext
from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.run import Run
from mbk.errors import (
    BackupExists,
    DamagedBackup,
    InvalidBackup,
    MbkError,
    PartialFailure,
    PermissionDenied,
)
from mbk.model.manifest import L0COMPACT, Manifest
from mbk.model.options import CopyOptions
from mbk.model.records import Backup, Rbac, RbacUser
from mbk.model.reports import RunReport
from mbk.model.states import BackupState, Depth
from mbk.ports.storage import Storage
from mbk.testing import MemoryStorage
from mbk_local.storage import LocalStorage
from tests.fakes.lying import Lying
from tests.fakes.world import QUICK, Killed, Life, World
from tests.fixtures.backups.builder import OldBackup
from tests.raising import raised
from tests.unit.engine.operations import test_verify as verifying


@pytest.fixture
def world() -> World:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(5))
    world.create()
    return world


@pytest.fixture
def archive(world: World) -> MemoryStorage:
    return MemoryStorage(world.service, "backups", root="archive/")


def copy(world: World, archive: Storage, name: str = "nightly", to: str = "") -> RunReport:
    return operation.execute(
        CopyContext(
            run=world.run(),
            backup_storage=world.backup,
            target=archive,
            limits=Limits(transfer=world.limits),
            pace=world.pace,
        ),
        name,
        CopyOptions(path="archive", to=to),
    )


def below(world: World, root: str, name: str = "nightly") -> dict[str, bytes]:
    found = world.objects("backups", f"{root}/{name}/")
    return {key.removeprefix(f"{root}/"): data for key, data in found.items()}


def test_killed_at_any_moment_a_copy_is_no_backup_says_what_it_is_and_is_gone_on_with(world: World) -> None:
    life = Life()
    whole = MemoryStorage(world.service, "backups", root="whole/")
    whole.fault = life
    copy(world, whole)
    told = set()
    for moment in range(1, life.operations + 1):
        target = MemoryStorage(world.service, "backups", root=f"at_{moment}/")
        target.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            copy(world, target)
        target.fault = lambda *_: None
        states = {item.state: item.reason for item in Catalog(target, Run(policy=QUICK)).summaries()}
        told.add(states.get(BackupState.INCOMPLETE))
        if below(world, f"at_{moment}") != below(world, "backup"):
            copy(world, target)
        assert below(world, f"at_{moment}") == below(world, "backup")
    assert told == {None, f"copy it again from {world.backup.location}/nightly, or delete it"}


def test_killed_at_any_moment_a_copy_is_never_damaged_and_a_complete_one_lacks_nothing(world: World) -> None:
    life = Life()
    whole = MemoryStorage(world.service, "backups", root="whole/")
    whole.fault = life
    copy(world, whole)
    source = world.catalog().committed("nightly").manifest
    seen = set()
    for moment in range(1, life.operations + 1):
        target = MemoryStorage(world.service, "backups", root=f"at_{moment}/")
        target.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            copy(world, target)
        target.fault = lambda *_: None
        catalog = Catalog(target, Run(policy=QUICK))
        state = next((item.state for item in catalog.summaries()), None)
        seen.add(state)
        if state is BackupState.COMPLETE:
            manifest = catalog.committed("nightly").manifest
            assert (manifest.rows, manifest.protection) == (source.rows, source.protection)
    assert seen == {None, BackupState.INCOMPLETE, BackupState.COMPLETE}


def damaged(world: World, damage: str) -> str:
    key = next(key for key in world.backed_up if "/insert_log/" in key)
    if damage == "missing":
        world.backup.delete([key])
    elif damage == "resized":
        world.backup.write(key, [world.backed_up[key] + b"x"])
    else:
        world.backup.write(key, [bytes(len(world.backed_up[key]))])
    return key


@pytest.mark.parametrize("damage", ["missing", "resized", "altered"])
def test_a_damaged_backup_is_refused_before_anything_is_copied(
    world: World, archive: MemoryStorage, damage: str
) -> None:
    key = damaged(world, damage)
    missing = int(damage == "missing")
    with raised(DamagedBackup, "backup-objects-differ", missing=missing, changed=1 - missing) as caught:
        copy(world, archive)
    assert caught.value.exit_code == 8
    assert key.removeprefix("backup/nightly/") in str(caught.value)
    assert not below(world, "archive")


@pytest.mark.parametrize("damage", ["missing", "resized"])
def test_a_backup_without_a_record_is_compared_with_its_metadata(
    world: World, archive: MemoryStorage, damage: str
) -> None:
    """As the Go tool leaves one: without mbk's own files and its mark."""
    for key in [*world.backed_up]:
        if "/meta/objects-" in key or key.endswith("/mbk.json"):
            world.backup.delete([key])
    full = json.loads(world.backed_up["backup/nightly/meta/full_meta.json"])
    del full["mbk"]
    world.backup.write("backup/nightly/meta/full_meta.json", [json.dumps(full).encode()])
    copy(world, MemoryStorage(world.service, "backups", root="first/"))
    assert below(world, "first") == below(world, "backup")
    damaged(world, damage)
    missing = int(damage == "missing")
    with raised(DamagedBackup, "backup-objects-differ", missing=missing, changed=1 - missing):
        copy(world, archive)
    assert not below(world, "archive")


def test_what_does_not_belong_to_the_backup_is_not_copied(world: World, archive: MemoryStorage) -> None:
    before = below(world, "backup")
    key = next(key for key in world.backed_up if "/insert_log/" in key)
    world.backup.write(f"{key.rpartition('/')[0]}/999", [b"stranger"])
    copy(world, archive)
    assert below(world, "archive") == before
    assert "extra-objects" in world.notices


def test_a_copy_that_was_damaged_on_its_way_is_made_again(world: World, archive: MemoryStorage) -> None:
    liar = Lying(archive, "flipped copy")
    copy(world, liar)
    assert len(liar.lied) == 1
    assert below(world, "archive") == below(world, "backup")


def test_a_copy_of_another_tools_backup_has_no_file_more_than_it(
    world: World, archive: MemoryStorage
) -> None:
    old = OldBackup(world.backup)
    old.segment(440101, range(3))
    old.commit()
    copy(world, archive, "old")
    assert below(world, "archive", "old") == below(world, "backup", "old")


def begun(storage: MemoryStorage, own: Manifest) -> Catalog:
    catalog = Catalog(storage, Run(policy=QUICK))
    catalog.write_manifest("half", own)
    return catalog


def test_what_l0compact_began_is_told_to_be_begun_anew_and_not_completed_by_create(world: World) -> None:
    manifest = Manifest(name="half", id="7", command=L0COMPACT, source="nightly")
    catalog, remedy = begun(world.backup, manifest), manifest.remedy("half")
    assert "mbk l0compact -n nightly -o half --force" in remedy
    (summary,) = (item for item in catalog.summaries() if item.name == "half")
    assert summary.reason == f"{remedy}, or delete it"
    assert (incomplete(catalog, "half") or {})["reason"] == summary.reason
    with raised(InvalidBackup, "backup-incomplete", backup="half") as caught:
        catalog.read("half")
    assert caught.value.hint == remedy
    for resume in (False, True):
        with raised(BackupExists, "backup-exists-incomplete", command="l0compact", remedy=remedy):
            world.create("half", resume=resume)
    assert set(below(world, "backup", "half")) == {"half/meta/mbk.json"}


def test_what_create_or_an_older_mbk_began_is_completed_by_create(world: World) -> None:
    catalog = begun(world.backup, Manifest(name="half", id="7"))
    (summary,) = (item for item in catalog.summaries() if item.name == "half")
    assert summary.reason == "finish it: mbk create -n half --resume, or delete it"
    world.create("half", resume=True)
    backup: Backup = catalog.read("half")
    assert len(backup.collection_backups) == 1
    assert catalog.read_manifest("half").command == "create"


def test_the_plan_of_a_copy_has_the_objects_of_each_collection(world: World, archive: MemoryStorage) -> None:
    context = CopyContext(run=world.run(), backup_storage=world.backup, target=archive, pace=world.pace)
    planned = operation.preview(context, operation.plan(context, "nightly", CopyOptions(path="archive")))
    data = [key for key in world.backed_up if "/meta/" not in key]
    assert sum(item.objects for item in planned.collections) == len(data) > 0
    assert planned.objects == len(world.backed_up)
    assert planned.size == sum(map(len, world.backed_up.values()))
    assert not below(world, "archive")


def test_a_partial_backup_is_refused_with_what_completes_it(world: World, archive: MemoryStorage) -> None:
    world.milvus.add("logs")
    world.milvus.insert("logs", range(3))
    number = world.milvus.inventory.describe("default", "logs").id

    def break_logs(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{number}/" in key:
            raise PermissionDenied("not this one")

    world.backup.fault = break_logs
    with pytest.raises(PartialFailure):
        world.create("part")
    world.backup.fault = lambda *_: None
    with raised(InvalidBackup, "copy-of-partial", backup="part", collections="default.logs") as caught:
        copy(world, archive, "part")
    assert caught.value.hint == "complete it first: mbk create -n part --resume"
    world.create("part", resume=True)
    copy(world, archive, "part")
    assert below(world, "archive", "part") == below(world, "backup", "part")


def test_the_copy_of_another_backup_is_in_the_way(world: World, archive: MemoryStorage) -> None:
    world.create("other")
    copy(world, archive, "other", to="nightly")
    before = below(world, "archive")
    with raised(BackupExists, "backup-exists", backup="nightly"):
        copy(world, archive)
    assert below(world, "archive") == before


@pytest.mark.parametrize("file", ["mbk.json", "full_meta.json", "segment_meta.json"])
def test_damaged_metadata_of_a_copy_is_put_right(world: World, archive: MemoryStorage, file: str) -> None:
    copy(world, archive)
    key = f"archive/nightly/meta/{file}"
    archive.write(key, [world.objects("backups", key)[key][:-1] + b"!"])
    copy(world, archive)
    assert below(world, "archive") == below(world, "backup")


def test_what_is_beside_the_objects_of_a_copy_stays_and_is_told(world: World, archive: MemoryStorage) -> None:
    copy(world, archive)
    archive.write("archive/nightly/notes.txt", [b"mine"])
    report = copy(world, archive)
    assert below(world, "archive") == below(world, "backup") | {"nightly/notes.txt": b"mine"}
    assert report.transfer.objects == {"kept": len(below(world, "backup"))}
    assert "copy-beside-others" in world.notices


def test_killed_at_any_moment_while_it_is_updated_a_copy_stays_a_whole_backup(world: World) -> None:
    """Of a backup that got its record of objects after it was copied."""
    life = Life()
    verifying.filled(world.backup)
    verifying.completed(world.backup)
    first = MemoryStorage(world.service, "backups", root="first/")
    copy(world, first, "src")
    old = below(world, "first", "src")
    verifying.run(world.backup, Depth.CONTENTS, record=True)
    new = {key: data for key, data in below(world, "backup", "src").items() if "verified" not in key}
    first.fault = life
    copy(world, first, "src")
    assert below(world, "first", "src") == new != old
    for moment in range(1, life.operations + 1):
        target = MemoryStorage(world.service, "backups", root=f"at_{moment}/")
        for key, data in old.items():
            target.write(f"at_{moment}/{key}", [data])
        target.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            copy(world, target, "src")
        target.fault = lambda *_: None
        assert Catalog(target, Run(policy=QUICK)).committed("src").backup.id
        if below(world, f"at_{moment}", "src") != new:
            copy(world, target, "src")
        assert below(world, f"at_{moment}", "src") == new
    # The other way round the record would be lost.
    with raised(BackupExists, "copy-of-older"):
        backwards = MemoryStorage(world.service, "backups", root="old/")
        for key, data in old.items():
            backwards.write(f"old/{key}", [data])
        world.backup = backwards
        copy(world, first, "src")


@pytest.mark.parametrize(("rbac", "rights"), [(True, 0o600), (False, 0o644)])
def test_hashes_of_passwords_that_come_into_a_directory_are_for_its_owner_alone(
    rbac: bool, rights: int, world: World, tmp_path: Path
) -> None:
    world.milvus.access.read = lambda: Rbac(users=[RbacUser(user="root", password="$2a$10$hash")])
    world.create("with_users", rbac=rbac)
    before = os.umask(0o022)
    try:
        copy(world, LocalStorage(tmp_path), "with_users", "under_another_name")
    finally:
        os.umask(before)
    meta = tmp_path / "under_another_name/meta"
    found = {file.name: file.stat().st_mode & 0o777 for file in meta.iterdir()}
    assert {found[name] for name in ("full_meta.json", "backup_meta.json")} == {rights}
