"""Starting a server, waiting until it answers, stopping it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def script(name: str) -> str:
    """A command that was installed beside this interpreter."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise FileNotFoundError(f"{name} is not installed: install the dependency group `servers`")
    return str(path)


@contextmanager
def running(
    command: Sequence[str], *, ready: Callable[[], bool], env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Runs ``command`` in a new directory until the context is left. Fails with its output when it dies early."""
    with (
        tempfile.TemporaryDirectory(prefix="mbk-server-") as directory,
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "TMPDIR": directory, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            _wait(process, ready, lambda: _tail(output.fileno()))
            yield
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def listening(port: int) -> Callable[[], bool]:
    def connects() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    return connects


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], tail: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {tail()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{process.args!r} did not answer in {START_SECONDS} s: {tail()}")
        time.sleep(0.05)


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, 4000, max(0, size - 4000)).decode(errors="replace")
