"""A command where the system gives the process no thread."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ALONE = """
import sys, threading
from mbk.cli.main import main

threading.stack_size(1 << 46)  # each thread would need more memory than there are addresses
sys.exit(main(sys.argv[1:]))
"""
CONFIG = """
configVersion: v2
backup:
  storage:
    provider: local
    rootPath: {place}
"""


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["list"], 0, "no backups"),
        (["delete", "-n", "half", "--yes"], 1, "the system gives this process no further thread"),
    ],
)
def test_it_does_without_or_says_what_is_missing(
    command: list[str], code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "backups" / "half" / "meta").mkdir(parents=True)
    (tmp_path / "mbk.yaml").write_text(CONFIG.format(place=tmp_path / "backups"))
    config = ["--config", str(tmp_path / "mbk.yaml")]
    run = subprocess.run(
        [sys.executable, "-c", ALONE, *config, *command], capture_output=True, text=True, check=False
    )
    assert (run.returncode, "Traceback" in run.stderr) == (code, False), run.stderr
    assert said in run.stderr + run.stdout
