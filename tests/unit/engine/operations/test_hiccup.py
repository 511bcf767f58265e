"""One call fails for a moment, whichever it is: the run goes on as if nothing had been."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from mbk.engine.operations import copy, delete
from mbk.engine.runtime.context import Context, CopyContext
from mbk.errors import MbkError, MilvusUnavailable, StorageUnavailable
from mbk.model.options import CopyOptions, DeleteOptions
from mbk.ports.milvus.values import Feature
from mbk.testing import MemoryStorage
from tests.fakes.milvus import V2_3, V2_4, V2_6
from tests.fakes.world import Life, World


class Hiccup(Life):
    """Operation ``ends_at`` fails once."""

    def __init__(self, ends_at: int | None = None) -> None:
        super().__init__(ends_at)
        self.failed = ""

    def of(self, error: Callable[[str], MbkError]) -> Callable[[str, str], None]:
        def fault(operation: str, what: str) -> None:
            with self._lock:
                self.operations += 1
                now = self.operations == self.ends_at
            if now:
                self.failed = f"{operation} {what}"
                raise error("no answer")

        return fault


def live(world: World, hiccup: Hiccup) -> None:
    world.storage.fault = world.backup.fault = hiccup.of(StorageUnavailable)
    world.milvus.fault = hiccup.of(MilvusUnavailable)


def filled(features: frozenset[Feature], *, same: bool = False) -> World:
    world = World(features=features, same=same, workers=1)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", range(3), database="other")
    world.milvus.delete("docs", [1, 9])
    return world


def backed_up(features: frozenset[Feature], *, same: bool = False) -> World:
    world = filled(features, same=same)
    world.create()
    return world


def survives(ready: World, work: Callable[[World], object], right: Callable[[World], bool]) -> None:
    world, whole = ready.copy(), Hiccup()
    live(world, whole)
    work(world)
    assert right(world)
    assert whole.operations > 5
    for instant in range(1, whole.operations + 1):
        world, hiccup = ready.copy(), Hiccup(instant)
        live(world, hiccup)
        try:
            work(world)
        except MbkError as error:
            pytest.fail(f"{hiccup.failed!r} (call {instant}) ended the run: {error!r}")
        live(world, Hiccup())
        assert right(world), f"{hiccup.failed!r} (call {instant})"


VERSIONS = pytest.mark.parametrize("features", [V2_3, V2_4, V2_6], ids=["2.3", "2.4", "2.6"])


def complete(world: World) -> bool:
    found = [(item.name, item.state) for item in world.catalog().summaries()]
    return found == [("nightly", "complete")] and not list(world.uploads()) and not leases(world)


def leases(world: World) -> list[str]:
    return [key for bucket in ("milvus", "backups") for key in world.objects(bucket) if "/leases/" in key]


def restored(world: World) -> bool:
    rows = world.milvus.visible_rows
    same = rows("docs_back") == rows("docs") and rows("logs_back", database="other") == rows(
        "logs", database="other"
    )
    return same and not world.staged and not leases(world)


@VERSIONS
def test_create(features: frozenset[Feature]) -> None:
    survives(filled(features), World.create, complete)


@VERSIONS
@pytest.mark.parametrize("same", [True, False], ids=["same bucket", "other bucket"])
def test_restore(features: frozenset[Feature], same: bool) -> None:
    survives(backed_up(features, same=same), lambda world: world.restore(suffix="_back"), restored)


def test_a_restore_that_replaces() -> None:
    def replaced(world: World) -> bool:
        keys = [key for key, _ in world.milvus.visible_rows("docs")]
        return keys == [0, 2, 3, 4, 5, 6, 7, 8, 10, 11] and not world.staged and not leases(world)

    survives(backed_up(V2_4), lambda world: world.restore(drop_existing=True), replaced)


def context(world: World) -> Context:
    return Context(
        run=world.run(), backup_storage=world.backup, pace=world.pace, limits=world.context().limits
    )


def test_delete() -> None:
    survives(
        backed_up(V2_4),
        lambda world: delete.execute(context(world), "nightly", DeleteOptions()),
        lambda world: not world.backed_up,
    )


def test_copy() -> None:
    def copied(world: World) -> bool:
        return {key.removeprefix("other/") for key in world.objects("backups", "other/")} == {
            key.removeprefix("backup/") for key in world.backed_up
        }

    def work(world: World) -> None:
        target = MemoryStorage(world.service, "backups", root="other/", fault=world.backup.fault)
        given = context(world)
        copy.execute(
            CopyContext(
                run=given.run,
                backup_storage=world.backup,
                target=target,
                pace=world.pace,
                limits=given.limits,
            ),
            "nightly",
            CopyOptions(path="other"),
        )

    survives(backed_up(V2_4), work, copied)


def test_list_and_get() -> None:
    survives(
        backed_up(V2_4),
        lambda world: (list(world.catalog().summaries()), world.catalog().read("nightly")),
        complete,
    )


def test_a_name_whose_answer_got_lost_is_ones_own() -> None:
    """The service wrote the first object of the backup, but nobody heard of it."""
    world = filled(V2_4)
    write, lost = world.backup.write_if_absent, threading.Event()

    def losing(key: str, *args: Any, **options: Any) -> Any:
        info = write(key, *args, **options)
        if key.endswith("mbk.json") and not lost.is_set():
            lost.set()
            raise StorageUnavailable("no answer")
        return info

    world.backup.write_if_absent = losing
    world.create()
    assert lost.is_set()
    assert complete(world)
