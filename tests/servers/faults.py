"""An HTTP proxy that fails on purpose, before any server that speaks plain HTTP. The Host header stays."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from tests.servers.process import HOST
from tests.servers.web import WebServer

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"
HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive"}

Action = Literal["answer", "reset", "cut", "lose", "stall", "shorten"]


@dataclass(slots=True)
class Fault:
    """What happens to requests whose method and target (``/path?query``) match, after ``skip`` of them, ``times`` times.

    ``answer``: ``status``, ``headers`` and ``body`` instead of the server's. ``reset``: the connection breaks, the server never
    hears of it. ``lose``: the server acts, its answer does not arrive. ``cut``: the answer breaks after ``after``
    bytes of its body. ``stall``: no answer until the proxy is closed, or for ``seconds``. ``shorten``: the body lacks its
    last byte, and its length says so.
    """

    action: Action
    method: str = ".*"
    target: str = ""
    skip: int = 0
    times: int = 1
    status: int = 503
    body: bytes = SLOW_DOWN
    headers: tuple[tuple[str, str], ...] = ()
    after: int = 0
    seconds: float | None = None
    seen: int = field(default=0, init=False)

    def strikes(self, request: Request) -> bool:
        if not re.fullmatch(self.method, request.method) or not re.search(self.target, request.target):
            return False
        self.seen += 1
        return self.skip < self.seen <= self.skip + self.times


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: Message


class FaultProxy:
    """``faults`` may be changed at any time; ``requests`` are those that came."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    def fault_for(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            return next((fault for fault in self.faults if fault.strikes(request)), None)


@contextmanager
def fault_proxy(
    upstream: int,
    *faults: Fault,
    tls: ssl.SSLContext | None = None,
    handler: type[Handler] | None = None,
) -> Iterator[FaultProxy]:
    """A proxy before the server on port ``upstream``; with ``tls`` it also speaks https to its clients.

    ``handler`` may answer some requests itself.
    """
    proxy = FaultProxy(upstream)
    proxy.faults = list(faults)
    bound = type("Bound", (handler or Handler,), {"proxy": proxy})
    server = WebServer((HOST, 0), bound)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    proxy.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        body = self._body()
        fault = self.proxy.fault_for(Request(self.command, self.path, self.headers))
        match fault.action if fault else None:
            case "answer":
                assert fault
                self.answer(fault.status, [("Content-Type", "application/xml"), *fault.headers], fault.body)
            case "reset":
                self._break()
            case "stall":
                assert fault
                self.proxy.closing.wait(fault.seconds)
                self._break()
            case _:
                self._forward(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = handle_any

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def _forward(self, body: bytes, fault: Fault | None) -> None:
        upstream = http.client.HTTPConnection(HOST, self.proxy.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP_BY_HOP | {"content-length", "expect"}:
                    upstream.putheader(name, value)
            upstream.putheader("Content-Length", str(len(body)))
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            if fault and fault.action == "lose":
                self._break()
                return
            if fault and fault.action == "shorten":
                content = content[:-1]
            cut = fault.after if fault and fault.action == "cut" else None
            self.answer(answer.status, answer.getheaders(), content, cut=cut)
        finally:
            upstream.close()

    def answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: int | None = None
    ) -> None:
        self.send_response_only(status)
        length = str(len(body))
        for name, value in headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        if status not in (204, 304):
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        if cut is not None:
            self._break(politely=True)

    def _break(self, *, politely: bool = False) -> None:
        """Closes the connection; impolitely with a reset, so that the client sees an error and no end of file."""
        self.close_connection = True
        self.wfile.flush()
        if not politely:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
