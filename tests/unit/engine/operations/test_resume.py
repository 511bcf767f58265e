"""`create --resume` goes on as the backup was begun: with its filter, its strategy and its options."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.engine.operations.resume import as_begun, asked
from mbk.engine.runtime.run import Run
from mbk.errors import BackupNotFound, InvalidBackup, PartialFailure, PermissionDenied, StorageFull
from mbk.model.manifest import Manifest
from mbk.model.options import CreateOptions, Strategy
from mbk.model.records import Rbac
from mbk.model.selection import Selection
from tests.fakes.world import World
from tests.raising import raised


@pytest.fixture
def world() -> World:
    world = World(workers=1)
    for name in ("docs", "logs", "users"):
        world.milvus.add(name, partitions=("_default", "cold"))
        world.milvus.insert(name, range(6))
        world.milvus.insert(name, range(6, 9), partition="cold")
    return world


def break_copies(world: World, error: type[Exception], name: str = "docs") -> None:
    number = world.milvus.inventory.describe("default", name).id

    def fault(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{number}/" in key:
            raise error("not this one")

    world.backup.fault = fault


def mend(world: World) -> None:
    world.backup.fault = lambda _operation, _key: None


def interrupted(world: World, **options: Any) -> None:
    break_copies(world, StorageFull)
    with pytest.raises(StorageFull):
        world.create(**options)
    mend(world)


@pytest.mark.parametrize(
    ("options", "held"),
    [
        ({"only": "docs"}, ["docs"]),
        ({"only": "docs,u*"}, ["docs", "users"]),
        ({"exclude": "logs"}, ["docs", "users"]),
    ],
    ids=str,
)
def test_the_filter_of_the_begun_run_is_kept(world: World, options: dict[str, Any], held: list[str]) -> None:
    interrupted(world, **options)
    world.create(resume=True)
    assert world.held() == held
    assert "begun-otherwise" not in world.notices


def test_another_filter_is_used_when_it_is_given_and_told(world: World) -> None:
    interrupted(world, only="docs")
    world.create(resume=True, only="*.*")
    assert world.held() == ["docs", "logs", "users"]
    assert "begun-otherwise" in world.notices


def test_strategy_and_options_of_the_begun_run_are_kept(world: World) -> None:
    world.milvus.access.read = lambda: Rbac()
    interrupted(world, rbac=True, strategy=Strategy.SKIP_FLUSH)
    world.milvus.calls.clear()
    world.create(resume=True)
    assert "flush" not in [call for call, _ in world.milvus.calls]
    assert world.catalog().read("nightly").rbac_meta is not None
    assert world.catalog().read_manifest("nightly").asked["strategy"] == "skip_flush"


def test_index_extras_of_the_begun_run_are_asked_for_again(world: World) -> None:
    manifest = Manifest(name="nightly", asked=asked(CreateOptions(index_extra=True, filter="docs")))
    options = as_begun(CreateOptions(resume=True), manifest, Run())
    assert (options.index_extra, options.selection, options.resume) == (True, Selection.parse("docs"), True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"filter": "a.*,b,c.,d*.x/p,e/p"},
        {"filter": "a.*", "exclude": "a.b,a.c*,a.d/p"},
        {"exclude": "x"},
        {"strategy": "meta_only", "format": "binlog", "rbac": True, "pause_gc": False},
    ],
    ids=str,
)
def test_what_is_kept_is_what_was_asked(options: dict[str, Any]) -> None:
    begun = CreateOptions(**options)
    manifest = Manifest(name="nightly", asked=asked(begun))
    run = Run()
    assert as_begun(CreateOptions(), manifest, run) == begun
    assert as_begun(begun, manifest, run) == begun
    assert run.notices == []


def test_a_manifest_of_an_older_mbk_says_nothing_of_options() -> None:
    options = CreateOptions(filter="a", resume=True)
    assert as_begun(options, Manifest(name="nightly"), Run()) is options


@pytest.mark.parametrize(("options", "told"), [({}, True), ({"filter": "docs"}, False)], ids=str)
def test_that_a_backup_of_an_older_mbk_goes_on_with_everything_is_told(
    options: dict[str, Any], told: bool
) -> None:
    run = Run()
    as_begun(CreateOptions(**options), Manifest(id="1", name="nightly"), run)
    assert ["--filter" in notice for notice in run.notices] == [True] * told


def test_a_new_backup_is_made_without_a_word(world: World) -> None:
    world.create()
    assert "begun-unknown" not in world.notices


@pytest.mark.parametrize(
    "kept", [{"filter": "(("}, {"filter": "a", "strategy": "sideways"}, {"filter": "", "rbac": "yes"}]
)
def test_options_that_cannot_be_are_a_damaged_backup(kept: dict[str, bool | int | str]) -> None:
    with raised(InvalidBackup, "begun-options-invalid", backup="nightly"):
        as_begun(CreateOptions(), Manifest(name="nightly", asked=kept), Run())


def test_options_of_a_newer_mbk_are_passed_over() -> None:
    kept = Manifest(name="nightly", asked={"filter": "a", "of_the_future": 1})
    assert as_begun(CreateOptions(), kept, Run()) == CreateOptions(filter="a")


def test_a_partial_backup_is_completed_as_it_was_begun(world: World) -> None:
    """Only the chosen partition of what failed, not the whole collection."""
    break_copies(world, PermissionDenied)
    with pytest.raises(PartialFailure):
        world.create(only="docs/cold,logs", strategy=Strategy.SKIP_FLUSH)
    mend(world)
    world.milvus.calls.clear()
    world.create(resume=True)
    assert "flush" not in [call for call, _ in world.milvus.calls]
    [docs] = [
        item for item in world.catalog().read("nightly").collection_backups if item.collection_name == "docs"
    ]
    assert [part.partition_name for part in docs.partition_backups] == ["cold"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_was_never_begun_cannot_be_resumed(world: World, dry_run: bool) -> None:
    world.create("nightly")
    before = world.backed_up
    with raised(BackupNotFound, "backup-not-begun", backup="nightyl"):
        world.create("nightyl", resume=True, dry_run=dry_run)
    assert world.backed_up == before
