"""A real Dask cluster on this machine: a scheduler and workers, each a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.servers.process import HOST, running

THREADS = 4


@dataclass
class DaskCluster:
    """``workers``: the processes, by name. ``log``: what all of them wrote."""

    directory: Path
    flags: tuple[str, ...] = ()
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.directory / "scheduler.json"

    @property
    def address(self) -> str:
        return str(json.loads(self.file.read_text())["address"])

    def is_up(self) -> bool:
        """Whether the file is written to its end."""
        try:
            return bool(self.address)
        except (FileNotFoundError, ValueError):
            return False

    @property
    def log(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.directory.glob("*.log"))

    @contextmanager
    def worker(self, name: str, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """One more worker, until the context is left. It comes when it comes."""
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "distributed.cli.dask_worker"),
                    *("--scheduler-file", str(self.file), "--host", HOST, "--name", name),
                    *("--nthreads", str(THREADS), "--no-nanny", "--no-dashboard"),
                    *("--local-directory", str(self.directory / name), *self.flags),
                ],
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.workers[name] = process
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Dask's own, to look from outside of mbk."""
        from distributed import Client, Security

        files = dict(zip(self.flags[::2], self.flags[1::2], strict=True))
        security = Security(
            tls_ca_file=files.get("--tls-ca-file"),
            tls_client_cert=files.get("--tls-cert"),
            tls_client_key=files.get("--tls-key"),
        )
        with Client(self.address, security=security, set_as_default=False) as client:
            yield client


@contextmanager
def dask_cluster(
    directory: Path, *names: str, flags: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> Iterator[DaskCluster]:
    """A scheduler, and workers of these names, which come when they come. ``flags`` of each process, such as those of TLS;
    ``env`` of the workers."""
    cluster = DaskCluster(directory, flags)
    command = [
        *(sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", HOST, "--port", "0"),
        *("--no-dashboard", "--scheduler-file", str(cluster.file), *flags),
    ]
    with running(command, ready=cluster.is_up), ExitStack() as stack:
        for name in names:
            stack.enter_context(cluster.worker(name, env))
        yield cluster
