"""A backup copied to another place, stopped at any moment; and what is said of a backup that another command began."""

from __future__ import annotations

import pytest

from mbk.engine.operations import copy as operation
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.view import incomplete
from mbk.engine.runtime.context import CopyContext
from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.run import Run
from mbk.errors import BackupExists, InvalidBackup, MbkError
from mbk.model.manifest import L0COMPACT, Manifest
from mbk.model.options import CopyOptions
from mbk.model.records import Backup
from mbk.model.states import BackupState
from mbk.testing import MemoryStorage
from tests.fakes.world import QUICK, Killed, Life, World
from tests.fixtures.backups.builder import OldBackup
from tests.raising import raised


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


def copy(world: World, archive: MemoryStorage, name: str = "nightly") -> None:
    operation.execute(
        CopyContext(
            run=world.run(),
            backup_storage=world.backup,
            target=archive,
            limits=Limits(transfer=world.limits),
            pace=world.pace,
        ),
        name,
        CopyOptions(path="archive"),
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
