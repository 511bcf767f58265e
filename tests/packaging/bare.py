"""Wheels built from the sources, and environments that hold nothing but what is installed into them."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THIRD_PARTY = ROOT / "tests/fixtures/third_party"


@dataclass(frozen=True)
class Bare:
    """A virtual environment without pip, filled from outside; commands run away from the sources."""

    path: Path

    def install(self, *what: object) -> None:
        python = str(self.bin("python"))
        arguments = ["--python", python, "install", "--quiet", "--no-compile", *map(str, what)]
        run = subprocess.run(
            [sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr

    def bin(self, name: str) -> Path:
        return self.path / "bin" / name

    def run(self, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MBK_"))
        }
        return subprocess.run(
            [str(self.bin(name)), *arguments],
            cwd=self.path,
            env=inherited | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def python(self, code: str, **environment: str) -> str:
        run = self.run("python", "-c", code, **environment)
        assert run.returncode == 0, run.stderr
        return run.stdout


def build(project: Path, to: Path) -> Path:
    """The wheel of a project, built by its own backend from what is installed here."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(to), str(project)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return max(to.glob("*.whl"), key=lambda path: path.stat().st_mtime_ns)


def environment(path: Path) -> Bare:
    venv.create(path, with_pip=False, symlinks=True)
    return Bare(path)
