"""A small HTTP server on loopback whose routes are functions, with the faults of a double in front of them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.milvus_double.faults import Faults

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. ``query`` and ``body`` are parsed; ``body`` is {} where there is none, None where it is no JSON."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def json(cls, value: object, status: int = 200) -> Answered:
        text = json.dumps(value, separators=(",", ":")).encode()
        return cls(status, text, {"Content-Type": "application/json; charset=utf-8"})


NOT_FOUND = Answered(404, b"404 page not found", {"Content-Type": "text/plain"})
Route = Callable[[Asked], Answered]


class HttpPort:
    """Serves while its context is open. ``routes``: (method, path) -> function; everything else is 404."""

    def __init__(
        self, routes: Mapping[tuple[str, str], Route], *, faults: Faults | None = None, port: int = 0
    ) -> None:
        self.routes = dict(routes)
        self.faults = faults or Faults()
        self._wanted = port
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        assert self._server is not None, "the port is not open"
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = ThreadingHTTPServer((LOOPBACK, self._wanted), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def answer(self, asked: Asked) -> Answered | None:
        """None: cut the connection."""
        fault = self.faults.of_http(asked.path, asked.body or asked.query)
        if fault is not None:
            time.sleep(fault.seconds)
            if fault.done:
                self._route(asked)
            return Answered(fault.status, fault.body) if fault.status else None
        return self._route(asked)

    def _route(self, asked: Asked) -> Answered:
        route = self.routes.get((asked.method, asked.path))
        return NOT_FOUND if route is None else route(asked)


class _Handler(BaseHTTPRequestHandler):
    owner: HttpPort
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key.lower(): value for key, value in self.headers.items()}
        asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), _parsed(content), headers)
        answered = self.owner.answer(asked)
        if answered is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(answered.status)
        for name, value in answered.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answered.content)))
        self.end_headers()
        self.wfile.write(answered.content)

    do_GET = do_POST = do_PUT = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _parsed(content: bytes) -> Any:
    if not content:
        return {}
    try:
        return json.loads(content)
    except ValueError:
        return None
