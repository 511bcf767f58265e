"""What gives out tokens to a machine: the endpoint that App Service has, which DefaultAzureCredential asks."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.process import HOST


@contextmanager
def managed_identity(*, lifetime: int = 3600) -> Iterator[dict[str, str]]:
    """Yields the variables that point at it. Azurite checks audience, issuer and times of a token, not its signature.

    https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
    """
    secret = secrets.token_hex(16)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            known = self.headers.get("X-IDENTITY-HEADER") == secret and "resource" in asked
            body = json.dumps(_answer(asked["resource"][0], lifetime) if known else {"message": "no"})
            self.send_response(200 if known else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        try:
            url = f"http://{HOST}:{web.server_address[1]}/token"
            yield {"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": secret}
        finally:
            web.shutdown()


def _answer(resource: str, lifetime: int) -> dict[str, str]:
    now = int(time.time())
    ours = {
        "aud": resource,
        "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
        "iat": now - 60,
        "nbf": now - 60,
        "exp": now + lifetime,
        "oid": "11059fcc-5514-4800-b5f8-49808b9cfab6",
        "tid": "ab1f708d-50f6-404c-a006-d71b2ac7a606",
    }
    token = ".".join(_part(part) for part in ({"alg": "RS256", "typ": "JWT"}, ours, "unsigned"))
    return {
        "access_token": token,
        "expires_on": str(now + lifetime),
        "resource": resource,
        "token_type": "Bearer",
    }


def _part(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
