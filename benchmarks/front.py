"""A front before a server, in a process of its own: adds latency to each answer, and counts requests by kind.

    python -m benchmarks.front PORT SERVER_PORT MILLISECONDS

Bytes are handed on as they come; only the first bytes of a request are looked at, to count it. It prints what it counted when it
is told to end (SIGTERM).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter

HOST = "127.0.0.1"
METHODS = frozenset({b"GET", b"PUT", b"HEAD", b"POST", b"DELETE"})

counted: Counter[str] = Counter()


def count(head: bytes) -> None:
    """By the first bytes of a request."""
    method, _, rest = head.partition(b" ")
    target = rest[: rest.find(b" ")]
    if method == b"PUT":
        counted["copy" if b"x-amz-copy-source" in head.lower() else "put"] += 1
    elif method == b"GET":
        counted["list" if b"list-type" in target or b"prefix=" in target else "get"] += 1
    elif method in METHODS:
        counted[method.decode().lower()] += 1


class End(asyncio.Protocol):
    """One end of a connection; what comes in at it goes out at the ``other``."""

    other: End
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.other.transport.close()


class Service(End):
    """The server's end. The first bytes of an answer wait, and all that come meanwhile."""

    def __init__(self, client: Client, delay: float) -> None:
        self.other, self.delay = client, delay
        self.asked = False
        self.held: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        if self.asked:
            self.asked = False
            asyncio.get_running_loop().call_later(self.delay, self.let_go)
            self.held.append(data)
        elif self.held:
            self.held.append(data)
        else:
            self.other.transport.write(data)

    def let_go(self) -> None:
        self.other.transport.write(b"".join(self.held))
        self.held.clear()
        if self.transport.is_closing():
            self.other.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.held:
            super().connection_lost(exc)


class Client(End):
    """The client's end. Nothing is read before the server's end is there."""

    def __init__(self, port: int, delay: float) -> None:
        self.port = port
        self.service = Service(self, delay)
        self.other = self.service
        self.connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self.connecting = asyncio.create_task(self.connect())

    async def connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.service, HOST, self.port)
        except OSError:
            self.transport.abort()
        else:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self.service, "transport"):
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self.service.asked:
            self.service.asked = True
            count(data)
        self.service.transport.write(data)


async def main() -> None:
    port, server, milliseconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await loop.create_server(lambda: Client(server, milliseconds / 1000), HOST, port, backlog=512)
    await ended.wait()
    print(dict(counted), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
