"""Stopped at every call by SIGSTOP, overtaken by another process, and continued: no false success, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.robustness.forks import Forks, forks
from tests.robustness.kills import sample
from tests.robustness.scene import Scene, scene
from tests.robustness.stops import PAIRS, Stopped
from tests.robustness.table import Table


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Forks, Forks]]:
    with forks() as stopped, forks() as other:
        yield stopped, other


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory: Path = tmp_path_factory.mktemp("stops")
    with scene(directory, "2.6.12") as found:
        yield found


@pytest.mark.parametrize("pair", PAIRS)
def test_stopped_at_every_call_and_overtaken(
    milvus: Scene,
    processes: tuple[Forks, Forks],
    pair: str,
    record_property: Callable[[str, object], None],
) -> None:
    table = Table(f"stops on {milvus.server.version.name}: ended well of all")
    overtaken(milvus, processes, pair, table)
    record_property("table", str(table))
    assert not table.missed, "\n".join(table.missed)


def overtaken(
    scene: Scene, processes: tuple[Forks, Forks], pair: str, table: Table, *, count: int = 0, seed: int = 0
) -> None:
    kind = PAIRS[pair]
    trials: Stopped = kind(kind.kind(scene, processes[0]), processes[1])
    for instant in sample(trials.instants(), count, seed):
        why = ""
        try:
            trials.trial(instant)
        except AssertionError as wrong:
            why = str(wrong).partition("\nassert")[0]
        table.count(pair, instant.side, good=not why, what=f"{instant}: {why}")
