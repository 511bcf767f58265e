"""An HTTP server of which only the wire is real: it answers by functions and keeps what it was asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

Respond = Callable[[str, Any], tuple[int, Any]]


@dataclass
class Asked:
    path: str
    body: Any
    headers: dict[str, str]


@dataclass
class HttpDouble:
    """``port``, and every request in ``asked``, in order."""

    port: int
    asked: list[Asked] = field(default_factory=list)


class _Quiet(HTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that does not trust us is its test's matter, not stderr's."""


@contextmanager
def answering(respond: Respond, *, tls: ssl.SSLContext | None = None) -> Iterator[HttpDouble]:
    """``respond`` gets the path and the JSON body, and gives the status and a JSON value, or text that is sent as it is."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null")
            double.asked.append(Asked(self.path, body, dict(self.headers.items())))
            status, answer = respond(self.path, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write((answer if isinstance(answer, str) else json.dumps(answer)).encode())

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    server = _Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    double = HttpDouble(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
