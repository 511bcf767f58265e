"""Middleware around the whole application: authentication, size limit and headers."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from mbk.api.auth import Credentials
from mbk.api.errors import PROBLEM, problem

log = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: How much of the body of a refused request is read, and for how long at most.
DRAIN_BYTES = 64 * 1024
DRAIN_SECONDS = 1.0
#: Open to everyone: a probe has no token, and they reveal nothing but up or down.
OPEN = frozenset({"/healthz", "/readyz"})
#: Basic is what makes a browser ask for a name and a password, which may be a token.
_SCHEMES = (b"Bearer", b'Basic realm="mbk: any user, the token as password", charset="UTF-8"')
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
)


class AccessMiddleware:
    """An ASGI application around another. Without credentials, everyone is admitted.

    Except for foreign pages in a browser on this machine: requests that a browser can send without knowing a token must
    come from our own pages (``Origin``) and, where no authentication is configured, must go to a host name that DNS
    rebinding cannot point here (``Host``).
    """

    def __init__(
        self,
        app: App,
        *,
        credentials: Credentials,
        max_body: int,
        body_seconds: float,
        any_host: bool = False,
    ) -> None:
        self._app = app
        self._credentials = credentials
        self._max_body = max_body
        self._body_seconds = body_seconds
        self._any_host = any_host or bool(credentials)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        length = headers.get(b"content-length", b"0")
        if not self._is_ours(headers):
            await self._refuse(scope, receive, send, 403, "cross-origin requests are not allowed")
        elif not await self._is_admitted(scope["path"], headers.get(b"authorization", b"")):
            await self._refuse(
                scope, receive, send, 401, "authentication is required: Authorization: Bearer TOKEN"
            )
        elif not length.isdigit() or int(length) > self._max_body:
            await self._refuse(scope, receive, send, 413, self._too_large)
        else:
            await self._serve(scope, receive, send)

    def _is_ours(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        # A browser sends a password by itself, once somebody logged in with it, but never a token.
        bearer = headers.get(b"authorization", b"").lower().startswith(b"bearer ")
        own_token = bool(self._credentials) and bearer
        if origin and not own_token and origin.partition("://")[2] != host:
            return False
        return self._any_host or _is_address(host)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        received, is_whole = 0, False
        until = asyncio.get_running_loop().time() + self._body_seconds

        async def counted() -> Message:
            nonlocal received, is_whole
            if is_whole:  # the next message is that the client went away
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(
                    408, "the body did not come to its end", {"Connection": "close"}
                ) from None
            is_whole = not message.get("more_body")
            received += len(message.get("body", b""))
            if received > self._max_body:
                raise HTTPException(413, self._too_large)
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, counted, with_headers)

    @property
    def _too_large(self) -> str:
        return f"the body exceeds {self._max_body} bytes"

    async def _is_admitted(self, path: str, authorization: bytes) -> bool:
        if not self._credentials or path in OPEN:
            return True
        try:
            given = authorization.decode("latin-1")
        except UnicodeDecodeError:
            return False
        if not given.lower().startswith("basic "):
            return self._credentials.admits(given) is not None
        # In a thread: stretching a password takes a while.
        return await asyncio.to_thread(self._credentials.admits, given) is not None

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, detail: str) -> None:
        await _drain(receive)
        classic = scope["path"].startswith("/api/v1/")
        body = {"error": detail} if classic else problem(status, detail)
        kind = "application/json" if classic else PROBLEM
        answer = json.dumps(body).encode()
        length = str(len(answer)).encode()
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", length),
            (b"connection", b"close"),
            *_HEADERS,
        ]
        if status == 401:
            headers += [(b"www-authenticate", scheme) for scheme in _SCHEMES]
            log.warning("401 %s %s: not authenticated", scope["method"], scope["path"])
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


async def _drain(receive: Receive) -> None:
    """Reads a small body: a connection that is closed with unread data is reset, and the answer is lost with it."""
    received, more = 0, True
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while more and received < DRAIN_BYTES:
                message = await receive()
                received += len(message.get("body", b""))
                more = bool(message.get("more_body"))
    except TimeoutError:
        pass


def _is_address(host: str) -> bool:
    """Whether the header holds an address or ``localhost``: not a name that someone else's DNS could point here."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
