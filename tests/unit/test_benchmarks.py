"""The benchmarks run as they are committed; what they measure is nobody's business here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_benchmark_of_the_metadata_runs_with_small_numbers() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.metadata", "3", "4", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "24 binlogs in 3 segments" in done.stdout
    assert done.stdout.count("24 objects") == 4


def test_the_benchmark_of_the_limits_runs_for_a_moment() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.steering", "--seconds", "0.1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("at the end") == 5
