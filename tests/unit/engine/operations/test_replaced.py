"""``drop_existing``: the collection that is there stays until what replaces it is complete, wherever the run ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mbk.errors import (
    CollectionExists,
    MilvusError,
    MilvusUnavailable,
    PermissionDenied,
    UsageError,
    VerificationFailed,
)
from mbk.model.records import LOADED, IndexInfo
from mbk.model.selection import Selection
from mbk.ports.milvus.values import Feature
from tests.fakes.milvus import V2_3, V2_4, V2_6
from tests.fakes.world import Killed, Life, World
from tests.raising import raised

OLD, NEW = list(range(100, 105)), list(range(12))


def ready(features: frozenset[Feature] = V2_3, *, same: bool = True) -> World:
    """``docs``, loaded and with an alias, holds other rows than its backup does; ``logs`` too."""
    world = World(features=features, same=same, workers=1)
    docs = world.milvus.add("docs", partitions=("_default", "cold"))
    docs.indexes.append(IndexInfo(field_name="text", index_name="by_text", params={"index_type": "Trie"}))
    docs.loaded = True
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", range(3), database="other")
    world.create()
    for name, database in (("docs", "default"), ("logs", "other")):
        world.milvus.drop_collection(database, name)
        there = world.milvus.add(name, database=database)
        there.loaded = True
        there.aliases.append(f"{name}_alias")
        world.milvus.insert(name, OLD, database=database)
    world.milvus.calls.clear()
    return world


def keys(world: World, name: str = "docs", database: str = "default") -> list[int]:
    return [key for key, _ in world.milvus.visible_rows(name, database=database)]


def failing(call: str, error: BaseException, *, at: int = 1) -> Callable[[str, str], None]:
    """From the call number ``at`` of that name on."""
    seen = [0]

    def fault(name: str, _what: str) -> None:
        if name == call:
            seen[0] += 1
            if seen[0] >= at:
                raise error

    return fault


def untouched(world: World) -> bool:
    return (
        world.milvus.names == {"default.docs", "other.logs"}
        and keys(world) == OLD
        and world.milvus.describe("default", "docs").aliases == ("docs_alias",)
        and not world.staged
    )


def replaced(world: World) -> bool:
    return (
        world.milvus.names == {"default.docs", "other.logs"}
        and keys(world) == NEW
        and keys(world, "logs", "other") == [0, 1, 2]
        and world.milvus.describe("default", "docs").aliases == ("docs_alias",)
        and world.milvus.describe("other", "logs").aliases == ("logs_alias",)
        and not world.staged
    )


def test_a_collection_is_replaced_with_its_aliases_and_stays_loaded() -> None:
    world = ready()
    world.restore(drop_existing=True, rebuild_index=True)
    assert replaced(world)
    assert world.milvus.describe("default", "docs").load_state == LOADED


def test_the_old_collection_goes_last() -> None:
    world = ready()
    world.restore(drop_existing=True, selection=Selection.parse("docs"))
    changes = [
        call
        for call, _ in world.milvus.calls
        if call in ("start_import", "rename_collection", "alter_alias", "drop_collection")
    ]
    assert changes[-4:] == ["rename_collection", "rename_collection", "alter_alias", "drop_collection"]
    assert {*changes[:-4]} == {"start_import"}


def test_what_is_not_loaded_for_lack_of_an_index_is_told() -> None:
    world = ready()
    world.restore(drop_existing=True)
    assert world.notices.count("replaced-unloaded") == 2
    assert replaced(world)


@pytest.mark.parametrize(
    "call",
    ["create_collection", "start_import", "create_index", "load", "load_progress", "rename_collection"],
)
def test_whatever_milvus_refuses_the_collection_stays_as_it_was(call: str) -> None:
    world = ready()
    world.milvus.fault = failing(call, MilvusError("quota exceeded"))
    if call == "create_index":
        world.milvus.fault = failing(call, PermissionDenied("not allowed"))
    with pytest.raises((MilvusError, PermissionDenied)):
        world.restore(drop_existing=True, rebuild_index=True, selection=Selection.parse("docs"))
    world.milvus.fault = Life()
    assert untouched(world)


def test_a_collection_with_the_wrong_number_of_rows_replaces_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready()
    monkeypatch.setattr(world.milvus, "row_count", lambda *_: len(NEW) - 1)
    monkeypatch.setattr(world.milvus.rows, "count", lambda *_: len(NEW) - 1, raising=False)
    with raised(VerificationFailed, "replacement-wrong", expected=len(NEW), present=len(NEW) - 1):
        world.restore(drop_existing=True, rebuild_index=True, load=True, selection=Selection.parse("docs"))
    assert untouched(world)


def test_a_name_that_the_new_one_does_not_get_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready()
    rename = world.milvus.rename_collection

    def refusing(database: str, collection: str, name: str) -> None:
        if name == "docs" and collection.startswith("_mbk_new"):
            raise MilvusError("not today")
        rename(database, collection, name)

    monkeypatch.setattr(world.milvus, "rename_collection", refusing)
    with pytest.raises(MilvusError):
        world.restore(drop_existing=True, selection=Selection.parse("docs"))
    assert untouched(world)


@pytest.mark.parametrize("lost", [{1}, {2}, {1, 2}])
def test_an_answer_that_got_lost_is_not_asked_for_twice(
    lost: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ready()
    rename, calls = world.milvus.rename_collection, [0]

    def losing(database: str, collection: str, name: str) -> None:
        rename(database, collection, name)
        calls[0] += 1
        if calls[0] in lost:
            raise MilvusUnavailable("the answer got lost")

    monkeypatch.setattr(world.milvus, "rename_collection", losing)
    world.restore(drop_existing=True)
    assert replaced(world)
    assert calls[0] == 4


def test_an_old_collection_that_cannot_be_dropped_is_told_and_dropped_by_the_next_run() -> None:
    world = ready()
    world.milvus.fault = failing("drop_collection", MilvusError("not today"))
    chosen: dict[str, Any] = {"drop_existing": True, "selection": Selection.parse("docs")}
    with pytest.raises(MilvusError):
        world.restore(**chosen)
    assert "replaced-left" in world.notices
    assert keys(world) == NEW
    world.milvus.fault = Life()
    world.restore(**chosen)
    assert world.milvus.names == {"default.docs", "other.logs"}
    assert keys(world) == NEW
    assert not world.staged


def test_a_collection_is_not_replaced_by_some_of_its_partitions() -> None:
    world = ready()
    with raised(UsageError, "replaced-in-part", collection="default.docs", partitions="cold"):
        world.restore(drop_existing=True, selection=Selection.parse("docs/cold"))
    assert untouched(world)


def test_a_strangers_collection_under_the_temporary_name_is_not_touched() -> None:
    world = ready()
    world.milvus.fault = failing("start_import", Killed())
    with pytest.raises(Killed):
        world.restore(drop_existing=True)
    world.milvus.fault = Life()
    made = next(what for call, what in world.milvus.calls if call == "create_collection")
    world.milvus.drop_collection("default", made)
    world.milvus.add(made)
    with raised(CollectionExists, "temporary-name-taken", name=f"default.{made}"):
        world.restore(drop_existing=True)
    assert keys(world) == OLD
    assert keys(world, made) == []


def test_without_renaming_the_user_is_told_that_the_collection_goes_first() -> None:
    world = ready(V2_3 - {Feature.RENAME})
    report = world.restore(drop_existing=True, dry_run=True)
    assert len(report.notices) == 1
    assert world.notices == ["replaced-in-place"]
    assert untouched(world)
    world.restore(drop_existing=True)
    assert keys(world) == NEW


@pytest.mark.parametrize(
    ("features", "same"), [(V2_3, True), (V2_4, False), (V2_6, True)], ids=["2.3", "2.4", "2.6"]
)
def test_killed_at_any_call_a_replacing_restore_leaves_the_old_or_the_new_collection(
    features: frozenset[Feature], same: bool
) -> None:
    options = {"drop_existing": True, "rebuild_index": True}
    begin = ready(features, same=same)
    undisturbed, whole = begin.copy(), Life()
    undisturbed.live(whole)
    undisturbed.restore(**options)
    undisturbed.live(Life())
    assert replaced(undisturbed)

    for instant in range(1, whole.operations + 1):
        world = begin.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.restore(**options)
        world.live(Life())
        for name, database, rows in (("docs", "default", NEW), ("logs", "other", [0, 1, 2])):
            held = {
                full: keys(world, full.split(".")[1], database)
                for full in world.milvus.names
                if full.startswith(f"{database}.") and full.endswith(name)
            }
            own = held.get(f"{database}.{name}")
            if own is None:
                # Between the two renames: both are there, complete.
                assert sorted(held.values()) == sorted([OLD, rows]), f"killed at {instant}"
            else:
                assert own in (OLD, rows), f"killed at {instant}"
        world.restore(**options)
        assert replaced(world), f"killed at {instant}"
