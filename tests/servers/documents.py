"""A web server of a few documents, as a metadata service or an STS endpoint is one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.servers.process import HOST


@dataclass(frozen=True, slots=True)
class Visit:
    method: str
    path: str
    headers: Mapping[str, str]
    body: str


@dataclass(slots=True)
class Documents:
    """``pages`` by method and path without the query, ``GET /a``; a callable is asked anew at each visit."""

    pages: Mapping[str, str | Callable[[Visit], str | None]]
    visits: list[Visit] = field(default_factory=list)
    url: str = ""

    def answer(self, visit: Visit) -> str | None:
        self.visits.append(visit)
        page = self.pages.get(f"{visit.method} {visit.path.partition('?')[0]}")
        return page(visit) if callable(page) else page


@contextmanager
def answering(pages: Mapping[str, str | Callable[[Visit], str | None]]) -> Iterator[Documents]:
    """404 for what there is no page for, or whose page is None."""
    documents = Documents(pages)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = documents.answer(Visit(self.command, self.path, headers, body))
            self.send_response(404 if found is None else 200)
            self.end_headers()
            self.wfile.write((found or "").encode())

        do_GET = do_PUT = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as web:
        documents.url = f"http://{HOST}:{web.server_address[1]}"
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield documents
        finally:
            web.shutdown()
