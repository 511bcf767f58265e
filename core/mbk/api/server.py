"""``mbk server``: opens the socket, serves, and stops in order."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from mbk.api.app import create_server_app
from mbk.api.service import Service, build
from mbk.api.waits import Waits, protocol
from mbk.config.schema import ServerSettings, Settings
from mbk.errors import ConfigError, Problem, UsageError
from mbk.jobs.sessions import Open
from mbk.session import Session

#: Seconds that open connections are given to finish once the jobs have stopped.
GRACE = 5
INTERRUPTED = 130


class Serving:
    """A server that listens at ``url``, and serves once `run` is called."""

    def __init__(
        self,
        settings: Settings,
        *,
        config: Path | None = None,
        open: Open = Session,
        waits: Waits = Waits(),  # noqa: B008 - frozen
    ) -> None:
        """``config``: the file of the settings. Raises `UsageError` if it would be exposed without authentication or cannot
        listen, and `ConfigError`.
        """
        server = settings.server
        self.service = build(settings, config=config, open=open)
        try:
            refuse_exposure(server, has_credentials=bool(self.service.credentials))
            self._server = _Server(_config(server, self.service, waits), self.service)
            self._listener = _listen(server)
        except BaseException:
            self.service.stop()
            raise
        port = self._listener.getsockname()[1]
        host = f"[{server.host}]" if ":" in server.host else server.host
        self.url = f"{'https' if server.tls_cert else 'http'}://{host}:{port}"

    def run(self, *, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serves until SIGINT, SIGTERM or `stop`. Running jobs are interrupted cleanly; the next server can resume them."""
        self._server.on_ready = on_ready
        with self._listener:
            asyncio.run(self._server.serve([self._listener]))

    def stop(self) -> None:
        """May be called from any thread."""
        self._server.stop_soon()


def refuse_exposure(server: ServerSettings, *, has_credentials: bool) -> None:
    """Raises `UsageError` if anyone on the network could do anything."""
    if has_credentials or server.tls_client_ca or server.allow_anonymous or is_loopback(server.host):
        return
    raise UsageError(
        "without authentication, anyone who can reach {host} could restore and delete",
        code="server-exposed",
        host=server.host,
        hint="set server.authFile, or server.allowAnonymous=true",
    )


def is_loopback(host: str) -> bool:
    """Whether the name resolves to loopback addresses only."""
    if not host:
        return False
    try:
        addresses = {item[4][0] for item in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


class _Server(uvicorn.Server):
    """Stops the jobs at the first signal, so that requests waiting for one, and event streams, end as well."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.on_ready: Callable[[], None] = lambda: None
        self._service = service
        self._signals = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            self.on_ready()

    def stop_soon(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            if before[number] is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _stop(self) -> None:
        self._signals += 1
        if self._signals > 2:
            os._exit(INTERRUPTED)  # a stalled server is left at once
        self._service.begin_stop()
        self.should_exit = True


def _config(server: ServerSettings, service: Service, waits: Waits) -> uvicorn.Config:
    if server.debug:
        logging.getLogger("uvicorn.access").setLevel(logging.INFO)
    tls = {}
    if server.tls_cert or server.tls_key or server.tls_client_ca:
        tls = {
            "ssl_certfile": _file(server.tls_cert, "server.tls.cert"),
            "ssl_keyfile": _file(server.tls_key, "server.tls.key"),
        }
    if server.tls_client_ca:
        tls |= {"ssl_ca_certs": _file(server.tls_client_ca, "server.tls.clientCA")}
    config = uvicorn.Config(
        create_server_app(service, waits),
        http=protocol(waits),
        lifespan="on",
        log_config=None,
        access_log=server.debug,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=GRACE,
        ssl_cert_reqs=ssl.CERT_REQUIRED if server.tls_client_ca else ssl.CERT_NONE,
        **tls,  # type: ignore[arg-type]  # paths, by name
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as exc:
        problem = Problem("server.tls", f"the certificate, the key or the CA file cannot be used: {exc}")
        raise ConfigError("configuration", [problem]) from exc
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return config


def _file(path: str, key: str) -> str:
    if not path:
        problem = Problem(key, "is not set", "TLS needs a certificate and a key")
        raise ConfigError("configuration", [problem])
    try:
        with Path(path).open("rb"):
            return path
    except OSError as exc:
        reason = (exc.strerror or "not a file").lower()
        raise ConfigError("configuration", [Problem(key, f"cannot read {path}: {reason}")]) from exc


def _listen(server: ServerSettings) -> socket.socket:
    try:
        addresses = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = addresses[0]
        listener = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as exc:
        raise UsageError(
            "cannot listen on {host}:{port}: {reason}",
            code="cannot-listen",
            host=server.host,
            port=server.port,
            reason=exc.strerror or exc,
            hint="choose another port with -p",
        ) from exc
    listener.set_inheritable(True)
    return listener
