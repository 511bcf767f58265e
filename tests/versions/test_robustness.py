"""A few trials of each sweep in tests/robustness, always the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.robustness.damage import cases
from tests.robustness.damaged import judge
from tests.robustness.forks import Forks, forks
from tests.robustness.kills import COMMANDS, Command, sweep
from tests.robustness.lies import WAYS, tell_all
from tests.robustness.scene import BACKUP, Scene, scene
from tests.robustness.table import Table, sample
from tests.sharing import share_in


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory: Path = tmp_path_factory.mktemp("sample")
    with scene(directory, "2.6.12") as found:
        yield found


@pytest.fixture(scope="module")
def processes() -> Iterator[Forks]:
    with forks(calm=True) as found:
        yield found


@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_run_is_run_again_and_ends_well(milvus: Scene, processes: Forks, command: str) -> None:
    table = Table("kills")
    sweep(COMMANDS[command](milvus, processes), command, table, Command.trial, count=2, seed=6)
    assert not table.missed, "\n".join(table.missed)


def test_one_call_that_fails_is_not_noticed(milvus: Scene, processes: Forks) -> None:
    table = Table("single faults")
    sweep(COMMANDS["create"](milvus, processes), "create", table, Command.fault, count=4, seed=2)
    assert not table.missed, "\n".join(table.missed)


def test_damage_is_noticed(milvus: Scene) -> None:
    table = Table("damage")
    for target, damage in sample([*cases(milvus.template)], 10, seed=1):
        judge(milvus, target, damage, table)
    assert not table.missed, "\n".join(table.missed)


def test_damage_of_a_shared_backup_is_noticed(milvus: Scene) -> None:
    table = Table("damage in the pool")
    shared = replace(milvus, template=milvus.fresh())
    share_in(shared.template, BACKUP)
    for target, damage in sample([*cases(shared.template)], 10, seed=1):
        judge(shared, target, damage, table)
    assert not table.missed, "\n".join(table.missed)


@pytest.mark.parametrize("way", WAYS)
def test_a_lie_is_found_out_or_undone(way: str) -> None:
    table = Table("lies")
    tell_all(way, table, count=1)
    assert not table.missed, "\n".join(table.missed)
