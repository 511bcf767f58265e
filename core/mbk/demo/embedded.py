"""A real Milvus standalone server as a child process, for `mbk demo` and for tests."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from mbk.demo import _guard
from mbk.demo.server_config import (
    LOOPBACK,
    PORT_NAMES,
    S3Target,
    etcd_config,
    free_ports,
    milvus_config,
    write_configs,
)
from mbk.demo.server_log import dead_server_report, port_was_taken
from mbk.demo.wheel import default_cache, embedded_supported, locate_wheel, unpack_server, wheel_version
from mbk.errors import MilvusUnavailable

__all__ = ["EmbeddedMilvus", "S3Target", "embedded_supported"]

#: Time to end in order, which a server that was really used often does not take.
GRACE_SECONDS = 3.0
PORT_ATTEMPTS = 3
_POLL_SECONDS = 0.1
#: A start takes 3 to 60 seconds, by the machine: a line so often shows that it goes on.
_TOLD_SECONDS = 5.0
_KEPT_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TZ", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")
_STATE = ("etcd", "rocksmq", "rocksmq_meta_kv", "data")


class EmbeddedMilvus:
    """One Milvus standalone server (segcore, etcd, rocksmq in one process) with everything it writes in ``home``.

    ``wheel`` is the directory of the unpacked package `milvus`, the installed one by default. ``cache`` is the
    directory under which its binaries are unpacked once, as ``milvus-<version>``; by default the user's cache.
    With ``storage`` its data is on S3 (2.3 and later), otherwise in `storage_root`. ``overrides`` are dotted keys
    of ``milvus.yaml``, such as ``{"dataCoord.segment.assignmentExpiration": 200}``. ``grace``: seconds that the server
    gets to end by itself before it is killed; no acknowledged row is lost either way. ``tell`` is given a line of progress
    every few seconds of a start.

    Raises `MilvusUnavailable` if there is no such server for the platform, `MissingDependency` if the package is not
    installed. As a context manager it starts on entry and stops on exit.

    Several can run at once, each with its own free ports. Clients use 127.0.0.1, and etcd listens nowhere else.
    The gRPC ports (proxy and the inner roles) and the management port cannot be bound to one interface: Milvus
    listens on all of them whatever ``<role>.ip`` says, so in a hostile network a demo is exposed.

    The server does not outlive this process, not even when this process is killed: see `mbk.demo._guard`.
    Restarting a used ``home`` keeps its data but takes up to a minute until queries answer.
    """

    address = LOOPBACK

    def __init__(
        self,
        home: Path,
        *,
        wheel: Path | None = None,
        cache: Path | None = None,
        storage: S3Target | None = None,
        overrides: Mapping[str, object] = MappingProxyType({}),
        grace: float = GRACE_SECONDS,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.home = home.absolute()
        self.storage = storage
        self._wheel = locate_wheel(wheel)
        self._cache = cache
        self._overrides = dict(overrides)
        self._grace = grace
        self._tell = tell
        self._ports: dict[str, int] = dict.fromkeys(PORT_NAMES, 0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def version(self) -> str:
        """The version of the package, such as ``2.3.5``; the server calls itself ``v2.3.5-lite``."""
        return wheel_version(self._wheel)

    @property
    def port(self) -> int:
        """The port for clients; 0 before `start`, another one after each."""
        return self._ports["proxy"]

    @property
    def management_url(self) -> str:
        """Where ``/healthz`` and ``/management`` are, without a slash at the end."""
        return f"http://{LOOPBACK}:{self._ports['metrics']}"

    @property
    def storage_root(self) -> Path:
        """On local storage the directory that contains ``insert_log``; on S3 only the server's own scratch files."""
        return self.home / "data"

    @property
    def log_directory(self) -> Path:
        return self.home / "logs"

    @property
    def pid(self) -> int | None:
        """The process to signal: it passes SIGTERM on to the server and ends with it. None when not running."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, timeout: float = 120) -> None:
        """Start the server and return when it reports itself healthy; does nothing when it runs already.

        Raises `MilvusUnavailable` as soon as the process dies, or after ``timeout`` seconds without health; the
        error's note is the relevant part of the log. No process is left behind then, nor after an interrupt.
        """
        if self._process is not None:
            return
        binaries = unpack_server(self._wheel, self._cache or default_cache(), self._tell)
        fresh = not (self.home / "etcd").exists()
        deadline = time.monotonic() + timeout
        for _ in range(PORT_ATTEMPTS):
            try:
                self._launch(binaries)
                if self._becomes_healthy(deadline, timeout):
                    return
            except BaseException:
                self.stop()
                raise
            self.stop()
            if fresh:
                self._forget_state()
        raise self._failure(f"could not bind its ports in {PORT_ATTEMPTS} attempts")

    def stop(self) -> None:
        """End the server: SIGTERM, SIGKILL after ``grace`` seconds (it often hangs after real use).

        Does nothing when it does not run.
        """
        process = self._process
        if process is None:
            return
        try:
            process.terminate()
            process.wait(self._grace + 5)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._process = None

    def _launch(self, binaries: Path) -> None:
        self._ports = dict(zip(PORT_NAMES, free_ports(len(PORT_NAMES)), strict=True))
        template = (self._wheel / "data" / "config.yaml.template").read_text("utf-8")
        config = milvus_config(
            template, home=self.home, ports=self._ports, storage=self.storage, overrides=self._overrides
        )
        write_configs(self.home, config, etcd_config(self.home, self._ports))
        order = {
            "parent": os.getpid(),
            "grace": self._grace,
            "command": [str(binaries / "milvus"), "run", "standalone"],
            "env": self._environment(binaries),
        }
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", _guard.__file__, json.dumps(order)],
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self, binaries: Path) -> dict[str, str]:
        # Milvus reads its settings from the environment, too: a stray MINIO_PORT would override milvus.yaml.
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        return kept | {
            "LD_LIBRARY_PATH": str(binaries),
            "METRICS_PORT": str(self._ports["metrics"]),
            "DEPLOY_MODE": "STANDALONE",
        }

    def _becomes_healthy(self, deadline: float, timeout: float) -> bool:
        """False when another process took one of the ports first: a role then moves elsewhere or dies."""
        self._tell(f"starting Milvus {self.version}")
        began = told = time.monotonic()
        while True:
            if time.monotonic() - told > _TOLD_SECONDS:
                told = time.monotonic()
                self._tell(f"starting Milvus {self.version}: {told - began:.0f} s")
            healthy = self._healthy() and self._listens()
            if port_was_taken(self._console_text()):
                return False
            if healthy:
                return True
            if self._process is None or self._process.poll() is not None:
                raise self._failure("exited while starting")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready after {timeout:g} s")
            time.sleep(_POLL_SECONDS)

    def _listens(self) -> bool:
        """Whether clients can connect: 2.2 reports itself healthy a moment before."""
        try:
            socket.create_connection((LOOPBACK, self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def _forget_state(self) -> None:
        # The sessions of the failed start in etcd would block the next one until they expire.
        for name in _STATE:
            shutil.rmtree(self.home / name, ignore_errors=True)

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self._ports["metrics"], timeout=5)
        try:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            return response.status == http.client.OK and b"OK" in response.read(1024)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def _console(self) -> Path:
        return self.log_directory / "console.log"

    def _console_text(self) -> str:
        try:
            return self._console.read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _failure(self, what: str) -> MilvusUnavailable:
        secrets = (self.storage.secret_access_key,) if self.storage else ()
        report = dead_server_report(self._console_text(), secrets=secrets)
        error = MilvusUnavailable(
            "the embedded Milvus {version} {reason}",
            code="embedded-milvus-failed",
            version=self.version,
            reason=f"{what} ({report.reason})" if report.reason else what,
            logs=self.log_directory,
            hint="its logs are in {logs}",
        )
        if report.excerpt:
            error.add_note(report.excerpt)
        return error
