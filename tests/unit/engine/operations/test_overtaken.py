"""A run stands still at any instant, another one takes its lease over and ends; then the first goes on.

It must not succeed, nor leave anything in a deleted backup. Real processes are stopped in tests/robustness.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import pytest

from mbk.engine.operations import copy, create, delete, l0compact, restore
from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.context import Context, CopyContext
from mbk.engine.runtime.holder import held
from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.pace import LeasePace, Pace
from mbk.engine.runtime.run import Run
from mbk.errors import AlreadyExists, DamagedBackup, LeaseLost, MbkError, NotFound
from mbk.model.options import (
    CopyOptions,
    CreateOptions,
    DeleteOptions,
    L0CompactOptions,
    RestoreOptions,
)
from mbk.model.selection import Renaming
from mbk.ports.storage import Storage
from mbk.testing import MemoryStorage
from tests.fakes.between import Between, Instants
from tests.fakes.milvus import V2_4
from tests.fakes.world import AT_ONCE, QUICK, World
from tests.unit.engine.forged import P1, Backup

#: So many instants of each sweep are tried.
SAMPLE = 14
#: The first look tells, and nobody renews: only the fence notices.
OTHER = replace(AT_ONCE, lease=LeasePace(beat=10_000, expiry=0.0, settle=0.0, handover=0.0, poll=0.001))
STILL = replace(AT_ONCE, lease=LeasePace(beat=10_000, expiry=0.2, settle=0.0, handover=0.0, poll=0.001))


def filled() -> World:
    world = World(features=V2_4, workers=1)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.delete("docs", [1, 9])
    return world


def context(storage: Storage, pace: Pace) -> Context:
    return Context(run=Run(policy=QUICK), backup_storage=storage, limits=Limits(), pace=pace, tool="mbk test")


def below(storage: MemoryStorage, name: str) -> list[str]:
    return [entry.key for entry in storage.list(f"{storage.location.root}{name}/")]


@contextmanager
def as_another_process() -> Iterator[None]:
    """Leases of this process look like those of one that stands still."""
    ours = {*held}
    held.clear()
    try:
        yield
    finally:
        held.clear()
        held.update(ours)


def deletion(storage: MemoryStorage, name: str) -> Callable[[], None]:
    def happens() -> None:
        with as_another_process(), suppress(NotFound):
            delete.execute(context(storage, OTHER), name, DeleteOptions())

    return happens


def sweep(
    begin: Callable[[Instants], Callable[[], object]], end: Callable[[Instants, MbkError | None], None]
) -> int:
    """``begin`` makes a run anew; ``end`` judges it. Returns at how many instants the run was told to have been overtaken."""
    quiet = Instants(0, lambda: None)
    begin(quiet)()
    overtaken = 0
    chance = random.Random(quiet.passed)
    for at in sorted(chance.sample(range(1, quiet.passed + 1), min(SAMPLE, quiet.passed))):
        instants = Instants(at, lambda: None)
        run = begin(instants)
        error: MbkError | None = None
        try:
            run()
        except MbkError as raised:
            error = raised
        # Overtaken before it had the lease, it finds what the other made.
        expected = (type(None), LeaseLost, AlreadyExists, NotFound)
        assert isinstance(error, expected), f"{instants.where}: {error!r}"
        overtaken += isinstance(error, LeaseLost)
        end(instants, error)
    return overtaken


def made(world: World, storage: Storage) -> object:
    found = replace(world.context(), backup_storage=storage, pace=STILL)
    return create.execute(found, "nightly", CreateOptions())


def test_a_create_overtaken_by_a_deletion_at_any_instant_fails_and_leaves_nothing() -> None:
    worlds: list[World] = []

    def begin(instants: Instants) -> Callable[[], object]:
        worlds[:] = [filled()]
        instants.happens = deletion(worlds[0].backup, "nightly")
        return lambda: made(worlds[0], Between(worlds[0].backup, instants))

    def end(instants: Instants, error: MbkError | None) -> None:
        world = worlds[0]
        states = [summary.state for summary in world.catalog().summaries()]
        if error is not None:
            assert below(world.backup, "nightly") == [], instants.where
            assert states == [], instants.where
        elif states:
            assert states == ["complete"], instants.where
            world.restore(suffix="_back")
            assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
        else:
            # It had ended, but for its lease.
            assert "leases/nightly" in instants.where

    assert sweep(begin, end) > 7


def resumption(world: World) -> Callable[[], None]:
    """Another run of the same backup, which goes on with it, or makes it where nothing is there."""

    def happens() -> None:
        with as_another_process():
            found = replace(world.context(), backup_storage=world.backup, pace=OTHER)
            begun = bool(below(world.backup, "nightly"))
            with suppress(MbkError):
                create.execute(found, "nightly", CreateOptions(resume=begun))

    return happens


def in_the_window(where: str) -> bool:
    """Between the look at the lease and the write that it allowed: no storage can make one step of these."""
    return where.startswith(("after read backup/.mbk/leases/", "before write backup/nightly/meta/"))


def test_a_create_overtaken_by_its_resumption_at_any_instant_spoils_nothing_unnoticed() -> None:
    worlds: list[World] = []
    spoiled: list[str] = []

    def begin(instants: Instants) -> Callable[[], object]:
        worlds[:] = [filled()]
        instants.happens = resumption(worlds[0])
        return lambda: made(worlds[0], Between(worlds[0].backup, instants))

    def end(instants: Instants, _error: MbkError | None) -> None:
        world = worlds[0]
        try:
            world.restore(suffix="_back")
        except DamagedBackup:
            spoiled.append(instants.where)
        else:
            assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")

    assert sweep(begin, end) > 7
    assert all(map(in_the_window, spoiled)), spoiled


def test_a_copy_overtaken_by_a_deletion_at_any_instant_fails_and_leaves_nothing() -> None:
    worlds: list[tuple[World, MemoryStorage]] = []

    def begin(instants: Instants) -> Callable[[], object]:
        world = filled()
        world.create()
        archive = MemoryStorage(world.service, "backups", root="archive/")
        worlds[:] = [(world, archive)]
        instants.happens = deletion(archive, "nightly")
        found = CopyContext(
            run=world.run(),
            backup_storage=world.backup,
            target=Between(archive, instants),
            limits=Limits(transfer=world.limits),
            pace=STILL,
        )
        return lambda: copy.execute(found, "nightly", CopyOptions(path="archive"))

    def end(instants: Instants, error: MbkError | None) -> None:
        world, archive = worlds[0]
        states = [summary.state for summary in Catalog(archive, world.run()).summaries()]
        if error is not None:
            assert below(archive, "nightly") == [], instants.where
        assert states == ["complete"] or (error or "leases/nightly" in instants.where), instants.where
        assert [summary.state for summary in world.catalog().summaries()] == ["complete"]

    assert sweep(begin, end) > 7


def test_an_l0compact_overtaken_by_a_deletion_at_any_instant_fails_and_leaves_nothing() -> None:
    places: list[MemoryStorage] = []

    def begin(instants: Instants) -> Callable[[], object]:
        storage = MemoryStorage(root="backup/")
        backup = Backup(storage)
        backup.data(P1, 460101, range(20), time=1000)
        backup.l0_segment(P1, 460105, backup.delete(1, 2, 3, time=2000))
        backup.write()
        places[:] = [storage]
        instants.happens = deletion(storage, "out")
        found = context(Between(storage, instants), STILL)
        return lambda: l0compact.execute(found, "src", L0CompactOptions(output="out"))

    def end(instants: Instants, error: MbkError | None) -> None:
        states = {item.name: item.state for item in Catalog(places[0], Run()).summaries()}
        assert states.pop("src")
        if error is not None:
            assert below(places[0], "out") == [], instants.where
        assert states.get("out") in ("complete", "partial") or (error or "leases/out" in instants.where), (
            instants.where
        )

    assert sweep(begin, end) > 7


def test_a_deletion_overtaken_by_a_new_backup_of_that_name_deletes_one_batch_of_it_at_most() -> None:
    """What was asked for when the run was stopped is done. Whatever that was, the deletion does not succeed."""
    worlds: list[World] = []
    spoiled: list[str] = []

    def begin(instants: Instants) -> Callable[[], object]:
        world = filled()
        world.create()
        worlds[:] = [world]

        def happens() -> None:
            deletion(world.backup, "nightly")()
            with as_another_process():
                create.execute(
                    replace(world.context(), backup_storage=world.backup, pace=OTHER),
                    "nightly",
                    CreateOptions(),
                )

        instants.happens = happens
        found = context(Between(world.backup, instants), STILL)
        return lambda: delete.execute(found, "nightly", DeleteOptions())

    def end(instants: Instants, error: MbkError | None) -> None:
        world = worlds[0]
        if not world.catalog().find("nightly").is_backup and error is None:
            return  # the other was there before it had the lease
        try:
            world.restore(suffix="_back")
        except MbkError:
            spoiled.append(instants.where)
            assert error is not None
        else:
            assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")

    assert sweep(begin, end) > 5
    assert all(
        where.startswith(("after read backup/.mbk/leases/", "before delete ['backup/nightly/"))
        for where in spoiled
    ), spoiled


def restored(world: World, storage: Storage, pace: Pace, *, drop: bool) -> object:
    options = RestoreOptions(renaming=Renaming.parse("", suffix="_back"), drop_existing=drop)
    return restore.execute(replace(world.context(), storage=storage, pace=pace), "nightly", options)


@pytest.mark.parametrize("drop", [False, True], ids=["new", "in the place of another"])
def test_a_restore_overtaken_by_the_same_one_at_any_instant_doubles_loses_and_leaves_nothing(
    drop: bool,
) -> None:
    worlds: list[World] = []
    spoiled: list[str] = []

    def begin(instants: Instants) -> Callable[[], object]:
        world = filled()
        world.create()
        if drop:
            world.milvus.add("docs_back", partitions=("_default", "cold"))
            world.milvus.insert("docs_back", range(50, 60))
        worlds[:] = [world]

        def happens() -> None:
            watching, world.milvus.fault = world.milvus.fault, lambda _call, _what: None
            with as_another_process(), suppress(MbkError):
                restored(world, world.storage, OTHER, drop=drop)
            world.milvus.fault = watching

        instants.happens = happens
        world.milvus.fault = lambda call, what: instants.passes(f"before {call} {what}")
        return lambda: restored(world, Between(world.storage, instants), STILL, drop=drop)

    def end(instants: Instants, error: MbkError | None) -> None:
        world = worlds[0]
        world.milvus.fault = lambda _call, _what: None
        rows = world.milvus.visible_rows("docs_back") if "default.docs_back" in world.milvus.names else None
        if rows != world.milvus.visible_rows("docs") or world.staged:
            spoiled.append(instants.where)

    assert sweep(begin, end) > 7
    assert all(map(in_the_window_of_a_restore, spoiled)), spoiled


def in_the_window_of_a_restore(where: str) -> bool:
    """Between the look at the lease and the change of Milvus, or the write of the journal, that it allowed."""
    steps = ("drop", "rename", "create", "import", "alter", "load", "release", "write files/restore-temp-")
    return where.startswith(("after read files/.mbk/leases/restore-", *(f"before {step}" for step in steps)))
