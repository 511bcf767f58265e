"""A user before a shell: the real program in a process of its own, and what it says when something is wrong."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT, Signals
from typing import Any

import yaml

#: Stands wherever a configuration wants a password that nobody checks.
SECRET = "never-to-be-read-aloud"
PATIENCE = 120
_SAID_BESIDE = re.compile(
    r"mbk: warning: |  caused by |\d\d:\d\d:\d\d (debug|info|warning): |mbk: still stopping|"
    # progress
    r"mbk: [a-z]\w*( \w+)*: [\d.]+ s: "
)


def said_in(errors: str) -> list[str]:
    """The lines that say how a command ended, without its progress and what else it tells on the way."""
    return [line for line in errors.splitlines() if line and not _SAID_BESIDE.match(line)]


@dataclass(frozen=True, slots=True)
class Shell:
    """``secrets`` are what must never be seen. Every command runs with ``-v`` and the most talkative log file."""

    config: Path
    secrets: Sequence[str] = (SECRET,)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.config.with_suffix(".log")

    def start(self, *words: str) -> Command:
        command = [sys.executable, "-m", "mbk", "-v", "--config", str(self.config)]
        command += ["--set", "log.level=debug", "--set", f"log.file.path={self.log}", *words]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment() | self.env,
            cwd=self.config.parent,
        )
        return Command(self, process, self.log.stat().st_size if self.log.exists() else 0)

    def run(self, *words: str) -> str:
        """What a command that succeeds prints."""
        out, err = self.start(*words).end(0)
        assert "mbk: error" not in err
        return out

    def json(self, *words: str) -> Any:
        return json.loads(self.run("-o", "json", *words))

    def complaint(self, *words: str, code: int) -> str:
        """The one line that a command fails with, without its ``mbk: error:``."""
        return self.start(*words).complaint(code)

    def states(self) -> dict[str, str]:
        """Each backup's name and state, as the listing shows them."""
        return {item["name"]: item["state"] for item in self.json("list")}


@dataclass(frozen=True, slots=True)
class Command:
    shell: Shell
    process: subprocess.Popen[str]
    log_start: int

    def until(self, text: str) -> None:
        """Waits until the log of this run says ``text`` (a regular expression)."""
        self.until_true(lambda: re.search(text, self._log()), f"{text!r} in the log")

    def until_true(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self.process.poll() is not None:
                out, err = self.process.communicate()
                raise AssertionError(f"ended with {self.process.returncode} before {what}: {out}\n{err}")
            assert time.monotonic() < deadline, f"no {what}: {self._log()}"
            time.sleep(0.01)

    def send(self, number: Signals = SIGINT) -> None:
        self.process.send_signal(number)

    def end(self, code: int) -> tuple[str, str]:
        """Both outputs, once the command has ended with ``code``; no secret and no traceback is in them or the log."""
        try:
            out, err = self.process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, err = self.process.communicate()
            raise AssertionError(f"did not end: {out}\n{err}\n{self._log()}") from None
        words = " ".join(map(str, self.process.args[4:])) if isinstance(self.process.args, list) else ""
        assert self.process.returncode == code, f"{words}: {self.process.returncode}\n{out}\n{err}"
        for where, text in (("stdout", out), ("stderr", err), ("log", self._log())):
            assert "Traceback" not in text, f"a traceback in {where}: {text}"
            for secret in self.shell.secrets:
                for form in (secret, base64.b64encode(f"root:{secret}".encode()).decode()):
                    assert form not in text, f"a secret in {where}"
        return out, err

    def complaint(self, code: int) -> str:
        _, err = self.end(code)
        said = said_in(err)
        assert len(said) == 1, f"not one line but {len(said)}:\n{err}"
        start = "mbk: " if code == 130 else "mbk: error: "
        assert said[0].startswith(start), said[0]
        return said[0].removeprefix(start)

    def interrupted(self, number: Signals = SIGINT) -> str:
        """Sends the signal and returns the line that the command ends with."""
        self.send(number)
        return self.complaint(130)

    def _log(self) -> str:
        if not self.shell.log.exists():
            return ""
        with self.shell.log.open(encoding="utf-8") as log:
            log.seek(self.log_start)
            return log.read()


def shell(
    path: Path,
    *,
    milvus: Mapping[str, Any],
    storage: Mapping[str, Any],
    backup: Mapping[str, Any],
    **more: Any,
) -> Shell:
    """Writes the configuration; ``more``: further sections. The login that nobody asks for holds the secret."""
    secrets = [SECRET]
    for side in (storage, backup):
        if secret := side.get("auth", {}).get("secretAccessKey"):
            secrets.append(secret)
    if password := milvus.get("password"):
        secrets.append(password)
    tree = {
        "configVersion": "v2",
        "milvus": {"user": "root", "password": SECRET, **milvus, "storage": dict(storage)},
        "backup": {"storage": dict(backup), **more.pop("backup_settings", {})},
        **more,
    }
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return Shell(path, tuple(secrets))


def _environment() -> dict[str, str]:
    ours = ("MILVUS", "MINIO_", "BACKUP_", "AWS_", "MBK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
