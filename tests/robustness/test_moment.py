"""What is written while a backup is made: twenty rounds of each, and every restored state is that of its point.

A 2.2 persists deletes when it likes, so only its rows are compared: none may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.milvus_servers import milvus_2_2, milvus_local
from tests.robustness.moments import Scene, on_double, on_real
from tests.robustness.writing import total

ROUNDS = 20
DOUBLES = ("v2.3.5", "v2.4.23", "v2.5.20", "v2.6.0", "v2.6.12", "v3.0.1")

Record = Callable[[str, object], None]


@pytest.fixture(scope="module", params=DOUBLES)
def double(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with on_double(tmp_path_factory.mktemp("moment"), request.param) as scene:
        yield scene


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "not loaded"])
@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "beside a flush and a compaction"])
def test_on_a_double(double: Scene, loaded: bool, foreign: bool, record_property: Record) -> None:
    found = [
        double.round(f"r_{loaded}_{foreign}_{seed}", seed, foreign=foreign, loaded=loaded)[0]
        for seed in range(ROUNDS)
    ]
    record_property("table", dict(total(found)))
    assert {item.faults for item in found} == {(0, 0, 0)}


@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "beside a flush and a compaction"])
def test_on_a_real_2_3(tmp_path: Path, foreign: bool, record_property: Record) -> None:
    with milvus_local(tmp_path / "milvus") as server:
        scene = on_real(tmp_path, server, upserts=True)
        found = [scene.round(f"r{seed}", seed, foreign=foreign)[0] for seed in range(ROUNDS)]
    record_property("table", dict(total(found)))
    assert {item.faults for item in found} == {(0, 0, 0)}


@pytest.mark.parametrize("foreign", [False, True], ids=["alone", "beside a flush and a compaction"])
def test_on_a_real_2_2_no_row_is_missing(tmp_path: Path, foreign: bool, record_property: Record) -> None:
    with milvus_2_2(tmp_path / "milvus") as server:
        scene = on_real(tmp_path, server, upserts=False)
        found = [scene.round(f"r{seed}", seed, foreign=foreign)[0] for seed in range(ROUNDS)]
    record_property("table", dict(total(found)))
    assert {item.missing for item in found} == {0}
