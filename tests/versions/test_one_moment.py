"""A few rounds of ``tests/robustness/test_moment.py``: the restored state is that of the point, whoever writes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.robustness.moments import on_double


@pytest.mark.parametrize("version", ["v2.3.5", "v2.4.23", "v2.6.12", "v3.0.1"])
def test_a_backup_under_writers_is_restored_to_its_point(tmp_path: Path, version: str) -> None:
    with on_double(tmp_path, version) as scene:
        found, notices = scene.round("alone", 7)
        assert found.faults == (0, 0, 0)
        assert not any("compacted" in item for item in notices)


def test_rows_that_nobody_can_query_are_not_under_way_at_the_point(tmp_path: Path) -> None:
    with on_double(tmp_path, "v2.5.20") as scene:
        found, _ = scene.round("unloaded", 8, loaded=False)
        assert found.faults == (0, 0, 0)


def test_compactions_during_the_flush_are_not_taken_for_the_point(tmp_path: Path) -> None:
    with on_double(tmp_path, "v2.5.20") as scene:
        found, _ = scene.round("foreign", 9, foreign=True)
        assert found.faults == (0, 0, 0)
