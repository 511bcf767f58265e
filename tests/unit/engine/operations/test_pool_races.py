"""Of two runs on the pool one stands still at any instant, the other takes it for dead and does all its work; then the first goes on.

Whatever comes of it: all that a committed backup names is there.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from mbk.engine.operations import copy, create, delete, take_in
from mbk.engine.runtime.context import Context, CopyContext
from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.pace import Pace
from mbk.errors import LeaseLost, MbkError, NotFound
from mbk.model.options import CopyOptions, CreateOptions, DeleteOptions, ImportOptions
from mbk.ports.storage import Storage
from mbk.testing import MemoryStorage
from tests.fakes.between import Between, Instants
from tests.fakes.milvus import V2_4
from tests.fakes.world import World
from tests.unit.engine.operations.test_overtaken import OTHER, STILL, as_another_process

Work = Callable[[World, Storage, Pace], object]


def filled() -> World:
    """The newest backup is not the only one that has most of the objects, but the only one that has some."""
    world = World(features=V2_4, workers=1)
    world.milvus.add("docs")
    for number, name in enumerate(("first", "second")):
        world.milvus.insert("docs", range(10 * number, 10 * number + 5))
        world.milvus.delete("docs", [10 * number])
        world.create(name, incremental=True)
    world.milvus.insert("docs", range(50, 55))
    return world


def furnished() -> World:
    """Also with a classic backup, and a second site."""
    world = filled()
    for name in ("first", "second"):
        copying(name, name)(world, MemoryStorage(world.service, "backups", root="archive/"), world.pace)
    world.create("plain")
    return world


def creation(name: str) -> Work:
    def work(world: World, storage: Storage, pace: Pace) -> object:
        found = replace(world.context(), backup_storage=storage, pace=pace)
        return create.execute(found, name, CreateOptions(incremental=True))

    return work


def deletion(*names: str) -> Work:
    def work(world: World, storage: Storage, pace: Pace) -> object:
        def one(name: str) -> object:
            found = Context(
                run=world.run(), backup_storage=storage, limits=Limits(), pace=pace, tool="mbk test"
            )
            return delete.execute(found, name, DeleteOptions())

        return [one(name) for name in names]

    return work


def copying(name: str, to: str, *, root: str = "backup") -> Work:
    """From another root, or this one."""

    def work(world: World, storage: Storage, pace: Pace) -> object:
        source = MemoryStorage(world.service, "backups", root=f"{root}/")
        found = CopyContext(
            run=world.run(),
            backup_storage=source,
            target=storage,
            pace=pace,
            limits=Limits(),
            tool="mbk test",
        )
        return copy.execute(found, name, CopyOptions(to=to))

    return work


def importing(name: str) -> Work:
    def work(world: World, storage: Storage, pace: Pace) -> object:
        found = Context(run=world.run(), backup_storage=storage, limits=Limits(), pace=pace, tool="mbk test")
        return take_in.execute(found, name, ImportOptions())

    return work


def missing(world: World) -> set[str]:
    """What committed backups name and the pool does not have."""
    catalog, found = world.catalog(), set[str]()
    for summary in catalog.summaries():
        if summary.state == "complete":
            record = catalog.open_record(catalog.committed(summary.name))
            assert record is not None
            with record:
                below = catalog.committed(summary.name).below
                found |= {f"{below}{entry.key}" for entry in record.objects()}
    return found - world.backed_up.keys()


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (creation("third"), deletion("second")),
        (creation("third"), deletion("first", "second")),
        (deletion("second"), creation("third")),
        (creation("third"), creation("fourth")),
        (deletion("first"), deletion("second")),
        (copying("second", "third"), deletion("second")),
        (copying("second", "third", root="archive"), deletion("first", "second")),
        (deletion("second"), copying("first", "third")),
        (importing("plain"), deletion("first", "second")),
        (deletion("first", "second"), importing("plain")),
        (importing("plain"), importing("plain")),
    ],
    ids=[
        "create, delete",
        "create, delete all",
        "delete, create",
        "two creates",
        "two deletions",
        "copy, delete",
        "copy from elsewhere, delete all",
        "delete, copy",
        "import, delete all",
        "delete all, import",
        "two imports",
    ],
)
def test_whoever_stands_still_nothing_is_missing(first: Work, other: Work) -> None:
    quiet = Instants(0, lambda: None)
    world = furnished()
    first(world, Between(world.backup, quiet), STILL)
    assert not missing(world)
    chance = random.Random(quiet.passed)
    for at in sorted(chance.sample(range(1, quiet.passed + 1), min(40, quiet.passed))):
        world = furnished()

        def happens(world: World = world) -> None:
            with as_another_process():
                other(world, world.backup, OTHER)

        instants = Instants(at, happens)
        with suppress(LeaseLost, NotFound):
            first(world, Between(world.backup, instants), STILL)
        assert not missing(world), instants.where
        # Whatever was left undone, the next runs end well.
        for name in [item.name for item in world.catalog().summaries() if item.state == "incomplete"]:
            world.delete(name)
        world.create("last", incremental=True)
        assert not missing(world), instants.where
        assert world.catalog().committed("last")


def test_a_create_that_commits_after_its_lease_was_taken_takes_that_back() -> None:
    """It stands still between the look at its lease and the write that commits."""
    world = filled()
    seen = list[str]()

    def happens() -> None:
        with as_another_process():
            deletion("first", "second")(world, world.backup, OTHER)

    class Once(Instants):
        def passes(self, what: str) -> None:
            if what.startswith("before write backup/third/meta/full_meta.json") and not seen:
                seen.append(what)
                happens()

    with pytest.raises(MbkError) as caught:
        creation("third")(world, Between(world.backup, Once(0, happens)), STILL)
    assert seen
    assert isinstance(caught.value, LeaseLost)
    assert [item.state for item in world.catalog().summaries()] == ["incomplete"]
    world.create("third", resume=True)
    assert not missing(world)
