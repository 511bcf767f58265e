"""A server that speaks Google Cloud Storage, because none can be had: what mbk uses of it, after the vendor's documents.

The JSON API (:mod:`tests.servers.gcs_api`), the multipart uploads of the XML API (:mod:`tests.servers.gcs_xml`), the
token endpoint of service accounts and the metadata server (:mod:`tests.servers.gcs_accounts`). Rights and checksums are
checked. It runs in this process; what it was asked stands in `GcsServer.requests`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from mbk.testing.faults import Action, Call
from tests.servers import gcs_api, gcs_xml
from tests.servers.gcs_accounts import Account, Accounts
from tests.servers.gcs_store import Answer, Bucket, Refusal, Request, Store
from tests.servers.network import Answer as Said
from tests.servers.network import Requests
from tests.servers.process import HOST
from tests.servers.web import WebServer

PAGE = 1000

_ERROR = '{{"error": {{"code": {0}, "message": "{2}", "errors": [{{"reason": "{1}"}}]}}}}'
#: What a storage of Google's sends, a key as one element of the path.
REQUESTS: dict[Call, Requests] = {
    "list": Requests("GET", r"/o\?"),
    "stat": Requests("GET", r"^/storage/.*/o/{key}\?"),
    "read": Requests("GET", r"^/download/.*/o/{key}\?"),
    "write": Requests("POST", r"uploadType=multipart&name={key}(&|$)"),
    "copy": Requests("POST", r"/rewriteTo/.*/o/{key}(\?|$)"),
    "part": Requests("PUT", r"/{key}\?.*partNumber"),
    "complete": Requests("POST", r"/{key}\?.*uploadId"),
    "abort": Requests("DELETE", r"/{key}\?.*uploadId"),
    "delete_batch": Requests("POST", "^/batch/"),
}
ANSWERS: dict[Action, Said] = {
    "throttle": Said(429, _ERROR.format(429, "rateLimitExceeded", "Slow down").encode()),
    "fail": Said(500, _ERROR.format(500, "backendError", "Internal error").encode()),
    "fail_inside": Said(200, b"<Error><Code>InternalError</Code><Message>Internal error</Message></Error>"),
    "refuse": Said(501, _ERROR.format(501, "notImplemented", "Not implemented").encode()),
}


class GcsServer:
    """``page_size``, ``rewrite_bytes`` (a round of a rewrite) and ``kept_of_a_piece`` may be made smaller by a test."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.store = Store()
        self.accounts = Accounts()
        self.page_size = PAGE
        self.rewrite_bytes = 1024 * 1024
        self.kept_of_a_piece: int | None = None
        #: Objects that cannot be deleted, by bucket and name.
        self.protected: set[tuple[str, str]] = set()
        #: Unfinished rewrites by token: the bytes done, source and destination.
        self.rewrites: dict[str, tuple[int, Any, Any]] = {}
        #: Method and path of each request; those within a batch too.
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def token_uri(self) -> str:
        return f"{self.url}/token"

    def account(self, name: str, *buckets: str) -> Account:
        """An account that may do everything with these buckets (patterns such as ``alice-*``) and nothing else."""
        return self.accounts.add(name, buckets)

    def make_bucket(self, name: str) -> str:
        self.store.buckets[name] = Bucket(name)
        return name

    def settings(self, bucket: str, **more: Any) -> dict[str, Any]:
        """The values of a storage's settings, in mbk's vocabulary, without credentials."""
        return {"address": HOST, "port": self.port, "bucket": bucket, **more}

    def key_file(self, account: Account, directory: Path) -> str:
        path = directory / f"{account.email.partition('@')[0]}.json"
        path.write_text(json.dumps(account.key_file(self.token_uri)))
        return str(path)

    def answer(self, request: Request) -> Answer:
        self.requests.append((request.method, request.path))
        as_json = request.elements[0] in ("storage", "upload", "download", "batch")
        try:
            if request.path == "/token":
                return self.accounts.exchange(request)
            if request.headers.get("metadata-flavor"):
                return self.accounts.metadata(request)
            return gcs_api.handle(self, request) if as_json else gcs_xml.handle(self, request)
        except Refusal as refusal:
            return refusal.as_json() if as_json else refusal.as_xml()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    served: GcsServer

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.served.answer(Request.of(self.command, self.path, dict(self.headers.items()), body))
        self.send_response_only(answer.status, "Status")
        for name, value in {"Date": formatdate(usegmt=True), **answer.headers}.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve


@contextmanager
def gcs() -> Iterator[GcsServer]:
    with WebServer((HOST, 0), _Handler) as web:
        server = GcsServer(web.server_address[1])
        web.RequestHandlerClass = type("Handler", (_Handler,), {"served": server})
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server
        finally:
            web.shutdown()
