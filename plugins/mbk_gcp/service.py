"""Requests to the service: where they go, the token that they carry, and which answers are errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from mbk.plugin.http import Answer, Origin, sender_to
from mbk.plugin.wire import Data
from mbk_gcp.credentials import Token, token_of
from mbk_gcp.errors import refused

if TYPE_CHECKING:
    from mbk_gcp.settings import GcpSettings

_NONE: Mapping[str, str] = {}
_AGENT = {"User-Agent": "mbk"}


class Service:
    """Thread-safe. Sends nothing when it is made, but finding default credentials may ask the metadata server."""

    def __init__(self, settings: GcpSettings) -> None:
        self.token: Token = token_of(settings)
        origin = Origin(host=settings.host, port=settings.effective_port, tls=settings.tls)
        self._sender = sender_to(origin, settings.ca_cert)

    def send(
        self,
        method: str,
        target: str,
        *statuses: int,
        headers: Mapping[str, str] = _NONE,
        body: Data = b"",
        streamed: bool = False,
        repeatable: bool | None = None,
    ) -> Answer:
        """An answer of one of these statuses; `Refused` for any other. ``repeatable`` as `mbk.plugin.http.Sender` has it.

        One request, or two where the service refuses a token before its time: it did nothing then.
        """
        how: Any = {"streamed": streamed, "repeatable": repeatable}
        token = self.token.headers()
        answer = self._sender.send(method, target, {**_AGENT, **token, **headers}, body, **how)
        if answer.status == 401 and self.token.renew(token):
            token = self.token.headers()
            answer = self._sender.send(method, target, {**_AGENT, **token, **headers}, body, **how)
        if answer.status in statuses:
            return answer
        if answer.stream:
            answer.stream.close()
        raise refused(answer)

    def close(self) -> None:
        self._sender.close()


def object_path(bucket: str, key: str) -> str:
    """In the JSON API. Keys are one element of a path, for ``..`` in a path would be resolved."""
    return f"/storage/v1/b/{bucket}/o/{quote(key, safe='')}"


def xml_path(bucket: str, key: str | None, query: str) -> str:
    """In the XML API, path style."""
    return f"/{bucket if key is None else f'{bucket}/{quote(key, safe=str())}'}?{query}"
