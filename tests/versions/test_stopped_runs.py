"""A sample of tests/robustness/test_stop.py: processes stopped by SIGSTOP, overtaken by another, and continued."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.robustness.forks import Forks, forks
from tests.robustness.kills import Instant
from tests.robustness.scene import Scene, scene
from tests.robustness.stops import PAIRS, Stopped


@pytest.fixture(scope="module")
def processes() -> Iterator[tuple[Forks, Forks]]:
    with forks() as stopped, forks() as other:
        yield stopped, other


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory: Path = tmp_path_factory.mktemp("stopped")
    with scene(directory, "2.6.12") as found:
        yield found


@pytest.mark.parametrize(
    ("pair", "when", "call"),
    [
        ("create, deleted", "before", "write made/meta/full_meta.json"),
        ("create, deleted", "after", "copy made/binlogs/"),
        ("copy, deleted", "after", "full_meta.json"),
        ("delete, deleted", "before", "delete ['made/binlogs/"),
        ("restore, restored", "after", "write restore-temp-"),
    ],
)
def test_a_run_that_was_stopped_and_overtaken_stops_and_leaves_nothing(
    milvus: Scene, processes: tuple[Forks, Forks], pair: str, when: str, call: str
) -> None:
    kind = PAIRS[pair]
    trials: Stopped = kind(kind.kind(milvus, processes[0]), processes[1])
    found = [item for item in trials.instants() if item.when == when and call in item.what]
    trials.trial(one_of(found))


def one_of(instants: list[Instant]) -> Instant:
    assert instants, "no such call"
    return instants[len(instants) // 2]
