"""A server of HTTP that answers what it is told to, byte by byte, also what no server should."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.servers.process import HOST

#: Instead of an answer: closes without one; hears no request before the next answer, or hears the next one late, when
#: whoever sends it has long been waiting; hangs until the server is closed.
CLOSE = b"<close>"
DEAF = b"<deaf>"
SLOW = b"<slow>"
HANG = b"<hang>"

#: Longer than a slice of a wait for the network (`mbk.ports.waiting`).
_LATE = 0.8


@dataclass(slots=True)
class Scripted:
    """``requests`` as they came: the number of their connection, head, and body."""

    port: int = 0
    requests: list[tuple[int, str, bytes]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    @property
    def connections(self) -> list[int]:
        return [number for number, _, _ in self.requests]


@contextmanager
def scripted(*connections: Sequence[bytes], tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """A server whose nth connection gives these answers, one a request, and is then closed.

    The last connection's answers are those of all further ones.
    """
    server = Scripted()
    with socket.create_server((HOST, 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=_accept, args=(server, listener, connections, tls), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def answer(body: bytes = b"", *headers: str, status: str = "200 OK", length: bool = True) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _accept(
    server: Scripted,
    listener: socket.socket,
    connections: Sequence[Sequence[bytes]],
    tls: ssl.SSLContext | None,
) -> None:
    number = 0
    with suppress(OSError):
        while True:
            sock, _ = listener.accept()
            script = connections[min(number, len(connections) - 1)]
            threading.Thread(target=_serve, args=(server, sock, number, script, tls), daemon=True).start()
            number += 1


def _serve(
    server: Scripted, sock: socket.socket, number: int, script: Sequence[bytes], tls: ssl.SSLContext | None
) -> None:
    with suppress(OSError), sock:
        if tls is not None:
            sock = tls.wrap_socket(sock, server_side=True)
        incoming = sock.makefile("rb")
        deaf = False
        for reply in script:
            if reply == DEAF:
                deaf = True
                continue
            if reply == SLOW:
                server.closing.wait(_LATE)
                continue
            if not deaf and not _heard(server, incoming, number):
                return
            if reply == HANG:
                server.closing.wait()
            if reply in (CLOSE, HANG):
                return
            sock.sendall(reply)
        incoming.close()
        sock.close()


def _heard(server: Scripted, incoming: socket.SocketIO, number: int) -> bool:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = incoming.readline()
        if not line:
            return False
        head += line
    length = next(
        (int(line[15:]) for line in head.splitlines() if line.lower().startswith(b"content-length:")), 0
    )
    server.requests.append((number, head.decode(), incoming.read(length) or b""))
    return True
