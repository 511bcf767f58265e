"""How much of a budget is worth using between two storages."""

from __future__ import annotations

from pathlib import Path

from mbk.engine.runtime.budget import Budget
from mbk.engine.transfer.pair import within
from mbk.testing import MemoryStorage
from mbk_local.storage import LocalStorage


def test_between_directories_few_objects_are_copied_at_once(tmp_path: Path) -> None:
    """Beyond the cores and disks of the machine, threads stand in line."""
    files, service = LocalStorage(tmp_path), MemoryStorage()
    few = within(Budget(), files, files)
    assert 1 < few.copies < Budget().copies
    assert few.memory == Budget().memory
    assert within(Budget(copies=2), files, files).copies == 2
    assert within(Budget(), files, service) == within(Budget(), service, files) == Budget()


def test_a_configured_concurrency_counts_between_directories_too(tmp_path: Path) -> None:
    """They may be of a share that answers late."""
    asked, files = Budget(copies=64, adaptive=False), LocalStorage(tmp_path)
    assert within(asked, files, files) == asked
