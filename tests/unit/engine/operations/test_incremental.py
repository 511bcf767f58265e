"""Incremental backups: what an earlier one has is not copied again, and nothing else is taken for it."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.model.reports import RunReport
from tests.fakes.world import World


@pytest.fixture
def world() -> World:
    world = World()
    for name in ("docs", "logs"):
        world.milvus.add(name)
        world.milvus.insert(name, range(6))
    world.milvus.delete("docs", [1])
    return world


def incremental(world: World, name: str, **options: Any) -> RunReport:
    return world.create(name, incremental=True, **options)


def ways(report: RunReport) -> dict[str, int]:
    return dict(report.transfer.objects)


def pooled(world: World) -> set[str]:
    return {key for key in world.backed_up if "/.mbk/pool/" in key and "/binlogs/" in key}


def added(world: World, name: str) -> int:
    told = world.catalog().read_manifest(name).added
    assert told is not None
    return told.objects


def rows(world: World, collection: str, name: str) -> list[int]:
    world.restore(name, suffix=f"_{name}")
    return [key for key, _ in world.milvus.visible_rows(f"{collection}_{name}")]


def test_an_unchanged_second_backup_copies_nothing(world: World) -> None:
    first = incremental(world, "first")
    before = pooled(world)
    second = incremental(world, "second")
    assert ways(first) == {"server": len(before)}
    assert ways(second) == {"reused": len(before)}
    assert pooled(world) == before
    assert (added(world, "first"), added(world, "second")) == (len(before), 0)
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5]


def test_only_what_changed_is_copied(world: World) -> None:
    incremental(world, "first")
    before = pooled(world)
    world.milvus.insert("docs", range(6, 9))
    second = incremental(world, "second")
    assert ways(second) == {"reused": len(before), "server": len(pooled(world)) - len(before)}
    assert 0 < ways(second)["server"] < len(before)
    assert rows(world, "docs", "first") == [0, 2, 3, 4, 5]
    assert rows(world, "docs", "second") == [0, 2, 3, 4, 5, 6, 7, 8]


def test_the_data_of_a_backup_lies_in_the_pool_alone(world: World) -> None:
    incremental(world, "first")
    assert not [key for key in world.backed_up if key.startswith("backup/first/") and "/meta/" not in key]
