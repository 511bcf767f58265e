"""Killed at every call, before, amid and after it, and run again: nothing is lost, falsely whole or left over.

And each call fails once, with an error that passes: nobody notices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.robustness.forks import Forks, forks
from tests.robustness.kills import COMMANDS, Command, sweep
from tests.robustness.scene import Scene, scene
from tests.robustness.table import Table


@pytest.fixture(scope="module")
def server_of_processes() -> Iterator[Forks]:
    with forks(calm=True) as found:
        yield found


@pytest.fixture(scope="module", params=["2.4.23", "2.6.12"])
def milvus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory: Path = tmp_path_factory.mktemp("kills")
    with scene(directory, request.param) as found:
        yield found


Record = Callable[[str, object], None]


@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_every_call(
    milvus: Scene, server_of_processes: Forks, command: str, record_property: Record
) -> None:
    table = Table(f"kills on {milvus.server.version.name}: ended well of all")
    sweep(COMMANDS[command](milvus, server_of_processes), command, table, Command.trial)
    record_property("table", str(table))
    assert not table.missed, "\n".join(table.missed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_call_may_fail_once(
    milvus: Scene, server_of_processes: Forks, command: str, record_property: Record
) -> None:
    table = Table(f"single faults on {milvus.server.version.name}: unnoticed of all")
    sweep(COMMANDS[command](milvus, server_of_processes), command, table, Command.fault)
    record_property("table", str(table))
    assert not table.missed, "\n".join(table.missed)
