"""A server of processes: everything is imported once, and each trial is a fork that runs one command and may be killed.

``python -m tests.robustness.forks`` reads a trial a line (JSON) and answers two lines to each: the process, and how it
ended. It has no threads and no connections of its own, so that its forks are whole.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """``exit`` is the command's exit code, -9 after a kill; ``calls`` are those of its storages, by name."""

    exit: int
    calls: tuple[str, ...] = ()
    code: str = ""
    error: str = ""

    @property
    def killed(self) -> bool:
        return self.exit == -9


class Forks:
    """``run`` does one trial; ``pid`` is the process of the one that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = 0

    def run(
        self,
        config: Path,
        command: str,
        name: str,
        options: Mapping[str, Any] | None = None,
        *,
        at: int = 0,
        when: str = "",
        fails: bool = False,
        stops: bool = False,
    ) -> Ended:
        """Runs the command; at call ``at`` of its storages its process ends or stops, or that call fails once."""
        trial = {
            "config": str(config),
            "command": command,
            "name": name,
            "options": dict(options or {}),
            "at": at,
            "when": when,
            "fails": fails,
            "stops": stops,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps(trial)}\n")
        self._process.stdin.flush()
        self.pid = int(self._line())
        told = json.loads(self._line())
        return Ended(told["exit"], tuple(told.get("calls", ())), told.get("code", ""), told.get("error", ""))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server of processes is gone"
        return line


@contextmanager
def forks(*, calm: bool = False) -> Iterator[Forks]:
    """``calm``: no trial overtakes another, so that leases may take their time."""
    command = [sys.executable, "-m", "tests.robustness.forks", *(["calm"] if calm else [])]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Forks(process)
        finally:
            process.terminate()


def serve() -> None:
    from tests.robustness import trial

    trial.warm_up()
    for line in sys.stdin:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            trial.run({**json.loads(line), "calm": "calm" in sys.argv}, writing)
        os.close(writing)
        _tell(str(pid))
        with os.fdopen(reading) as pipe:
            told = pipe.read()
        _, status = os.waitpid(pid, 0)
        ended = json.loads(told) if told else {}
        _tell(json.dumps({**ended, "exit": os.waitstatus_to_exitcode(status)}))


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    serve()
