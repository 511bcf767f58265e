"""From an origin to a connected socket: name, TCP, proxy, TLS."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from mbk.frozen import frozen
from mbk.plugin.http.answers import LARGEST_HEAD, parsed
from mbk.plugin.http.failures import BadAnswer, BadProxy, BadTrust, ConnectTimedOut, NoProxy, NotConnected
from mbk.plugin.http.origin import Origin, Proxy
from mbk.ports.waiting import SLICE, Ask, patiently

if TYPE_CHECKING:
    import ssl

T = TypeVar("T")

#: What a call of a socket raises when its time-out is over: its own, or that of the kernel.
WAITED = (TimeoutError, BlockingIOError)
#: A connection that is not made yet, as Unix and Windows say it.
_CONNECTING = (errno.EINPROGRESS, errno.EWOULDBLOCK)


@frozen(kw_only=True)
class Timeouts:
    """In seconds. ``connect`` for each of TCP, the proxy's answer and TLS; ``read`` for each wait amid a request."""

    connect: float = 10.0
    #: Long enough for a service to copy 5 GiB or to assemble 10,000 parts before it answers.
    read: float = 300.0


def trusting(ca_file: str = "") -> ssl.SSLContext:
    """Verifies servers against a PEM file or a directory of them, by default the bundle that SDKs use (certifi), else the
    system's. Raises `BadTrust`.
    """
    import ssl

    if os.path.isdir(ca_file):  # noqa: PTH112  an empty path is no directory, and pathlib's is the working one
        return ssl.create_default_context(capath=ca_file)
    try:
        return ssl.create_default_context(cafile=ca_file or _bundle())
    except ssl.SSLError as exc:
        raise BadTrust(f"{ca_file} is not a PEM file of certificates") from exc
    except OSError as exc:
        raise BadTrust(f"the certificates in {ca_file} cannot be read: {exc.strerror}") from exc


def _bundle() -> str | None:
    try:
        import certifi
    except ImportError:
        return None
    return certifi.where()


@frozen(kw_only=True)
class Dialler:
    """Makes connected sockets to one origin. Thread-safe."""

    origin: Origin
    proxy: Proxy | None
    trust: ssl.SSLContext | None
    timeouts: Timeouts

    def __post_init__(self) -> None:
        if self.origin.tls and self.trust is None:
            raise ValueError("an https origin needs a TLS context")
        if self.proxy is not None and self.proxy.tls:
            raise BadProxy("a proxy that is itself reached by https is not supported")

    def dial(self, ask: Ask = patiently) -> socket.socket:
        """A socket each of whose calls waits at most a slice of the read time-out: see `WAITED`.

        Raises `NotConnected`, and what ``ask`` raises.
        """
        address = self.origin.address if self.proxy is None else (self.proxy.host, self.proxy.port)
        try:
            sock = self._connected(address, ask)
        except (OSError, ValueError) as exc:  # ValueError: a host that can be no name
            raise self._unreached(exc) from exc
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return self._ready(sock, ask)
        except TimeoutError as exc:
            sock.close()
            raise ConnectTimedOut("timed out while connecting") from exc
        except NotConnected:
            sock.close()
            raise
        except (OSError, ValueError) as exc:  # ValueError: of TLS, a host that is no name
            sock.close()
            raise NotConnected("could not connect") from exc
        except BaseException:
            sock.close()
            raise

    def _connected(self, address: tuple[str, int], ask: Ask) -> socket.socket:
        """To the first of the host's addresses that takes it; its error is told where none does."""
        failure: OSError = OSError("the host has no address")
        for family, kind, number, _, where in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
            sock = socket.socket(family, kind, number)
            try:
                self._connect(sock, where, ask)
            except OSError as exc:
                sock.close()
                failure = exc
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        raise failure

    def _connect(self, sock: socket.socket, where: tuple[object, ...], ask: Ask) -> None:
        sock.settimeout(0)
        error = sock.connect_ex(where)
        if error in _CONNECTING:
            _within(self.timeouts.connect, lambda: _require_answered(sock), ask)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        sock.settimeout(min(SLICE, self.timeouts.connect))

    def _unreached(self, exc: Exception) -> NotConnected:
        if self.proxy is not None:
            return NoProxy(f"proxy {self.proxy.host}:{self.proxy.port} cannot be reached")
        if isinstance(exc, TimeoutError):
            return ConnectTimedOut("timed out while connecting")
        return NotConnected("could not connect")

    def _ready(self, sock: socket.socket, ask: Ask) -> socket.socket:
        if self.trust is None or not self.origin.tls:
            _wait_in_the_kernel(sock, min(SLICE, self.timeouts.read))
            return sock
        if self.proxy is not None:
            try:
                self._tunnel(sock, self.proxy, ask)
            except (TimeoutError, ConnectionError, BadAnswer) as exc:
                raise NoProxy(f"proxy {self.proxy.host}:{self.proxy.port} does not connect") from exc
        secured = self.trust.wrap_socket(
            sock, server_hostname=self.origin.host, do_handshake_on_connect=False
        )
        try:
            _within(self.timeouts.connect, secured.do_handshake, ask)
        except BaseException:
            secured.close()
            raise
        secured.settimeout(min(SLICE, self.timeouts.read))
        return secured

    def _tunnel(self, sock: socket.socket, proxy: Proxy, ask: Ask) -> None:
        host, port = self.origin.address
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n".encode("latin-1"))
        raw = b""
        # Byte by byte, so that nothing of the TLS behind it is taken.
        while not raw.endswith(b"\r\n\r\n"):
            byte = _within(self.timeouts.connect, lambda: sock.recv(1), ask)
            if not byte or len(raw) >= LARGEST_HEAD:
                raise NoProxy("the proxy closed the connection")
            raw += byte
        status = parsed(raw[:-4], bodiless=True).status
        if not 200 <= status < 300:
            raise NoProxy(f"the proxy refused to connect, with status {status}")


def _within(seconds: float, call: Callable[[], T], ask: Ask) -> T:
    """Calls again what ran into its own, shorter time-out."""
    since = time.monotonic()
    while True:
        try:
            return call()
        except WAITED:
            if time.monotonic() - since >= seconds:
                raise
            ask(since)


def _require_answered(sock: socket.socket) -> None:
    """Waits for a slice until it is known whether a connection came about."""
    if hasattr(select, "poll"):
        poll = select.poll()  # knows any number of sockets
        poll.register(sock, select.POLLOUT)
        answered = bool(poll.poll(SLICE * 1000))
    else:
        answered = any(select.select([], [sock], [sock], SLICE))
    if not answered:
        raise TimeoutError("timed out")


def _wait_in_the_kernel(sock: socket.socket, seconds: float) -> None:
    """Where the system can, the socket blocks with a time-out of its own.

    Python's time-outs poll before each call. A blocking socket takes a megabyte in one call instead of in many, so the
    interpreter lock changes hands once.
    """
    if sys.platform in ("linux", "darwin"):
        whole = int(seconds)
        timeval = struct.pack("@ll", whole, int((seconds - whole) * 1_000_000))
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        return
    sock.settimeout(seconds)


def is_in_the_kernel(sock: socket.socket) -> bool:
    """Whether a call of the socket blocks until all bytes came."""
    return sock.gettimeout() is None and os.name == "posix"
