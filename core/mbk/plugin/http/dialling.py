"""From an origin to a connected socket: name, TCP, proxy, TLS."""

from __future__ import annotations

import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mbk.plugin.http.answers import LARGEST_HEAD, parsed
from mbk.plugin.http.failures import BadAnswer, BadProxy, BadTrust, ConnectTimedOut, NoProxy, NotConnected
from mbk.plugin.http.origin import Origin, Proxy

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
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

    def dial(self) -> socket.socket:
        """A socket that waits at most the read time-out in each call. Raises `NotConnected`."""
        address = self.origin.address if self.proxy is None else (self.proxy.host, self.proxy.port)
        try:
            sock = socket.create_connection(address, timeout=self.timeouts.connect)
        except (OSError, ValueError) as exc:  # ValueError: a host that can be no name
            raise self._unreached(exc) from exc
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return self._ready(sock)
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

    def _unreached(self, exc: Exception) -> NotConnected:
        if self.proxy is not None:
            return NoProxy(f"proxy {self.proxy.host}:{self.proxy.port} cannot be reached")
        if isinstance(exc, TimeoutError):
            return ConnectTimedOut("timed out while connecting")
        return NotConnected("could not connect")

    def _ready(self, sock: socket.socket) -> socket.socket:
        if self.trust is None or not self.origin.tls:
            _wait_in_the_kernel(sock, self.timeouts.read)
            return sock
        if self.proxy is not None:
            try:
                self._tunnel(sock, self.proxy)
            except (TimeoutError, ConnectionError, BadAnswer) as exc:
                raise NoProxy(f"proxy {self.proxy.host}:{self.proxy.port} does not connect") from exc
        secured = self.trust.wrap_socket(sock, server_hostname=self.origin.host)
        secured.settimeout(self.timeouts.read)
        return secured

    def _tunnel(self, sock: socket.socket, proxy: Proxy) -> None:
        host, port = self.origin.address
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n".encode("latin-1"))
        raw = b""
        # Byte by byte, so that nothing of the TLS behind it is taken.
        while not raw.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            if not byte or len(raw) >= LARGEST_HEAD:
                raise NoProxy("the proxy closed the connection")
            raw += byte
        status = parsed(raw[:-4], bodiless=True).status
        if not 200 <= status < 300:
            raise NoProxy(f"the proxy refused to connect, with status {status}")


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
