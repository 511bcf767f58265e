"""The management port, plain HTTP without login: pausing garbage collection, and the keys of encrypted databases.

docs/reference/milvus-protocol.md, "Management port".
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from urllib.parse import urlencode

from mbk.errors import MilvusError, Unsupported
from mbk.milvus.server import Server
from mbk.milvus.web import Answer, Port

SETTING = "milvus.management.endpoint"
_PAUSE = "/management/datacoord/garbage_collection/pause"
_RESUME = "/management/datacoord/garbage_collection/resume"
_KEY = "/management/rootcoord/ez/backup"


def pause(endpoint: str, seconds: int, *, collection_id: int | None) -> str:
    """The ticket, ``""`` if the server gives none."""
    query = {"pause_seconds": seconds, "collection_id": collection_id or 0}
    return str(_collection_pause(endpoint, _PAUSE, query).json().get("ticket", ""))


def resume(endpoint: str, *, ticket: str = "", collection_id: int | None = None) -> None:
    query: dict[str, object] = {}
    if ticket:
        query["ticket"] = ticket
    if collection_id is not None:
        query["collection_id"] = collection_id
    _collection_pause(endpoint, _RESUME, query)


def encryption_key(endpoint: str, database: str) -> str:
    """The wrapped key of the encryption zone of ``database``."""
    answer = _get(endpoint, _KEY, {"db_name": database})
    if answer.status == http.client.NOT_FOUND:
        raise Unsupported(
            "this Milvus cannot export encryption keys ({url} returned 404)",
            code="encryption-key-unsupported",
            url=answer.place,
        )
    said = answer.json()
    # The body of any answer may contain the key: only the server's own message may go into an error.
    reason = f"{answer.status} {str(said.get('msg', ''))[:100]}".strip()
    if answer.status != http.client.OK or said.get("msg") != "OK" or not said.get("ezk"):
        raise MilvusError(
            "cannot get the encryption key of database {database}: {url} returned {reason}",
            code="encryption-key-unavailable",
            database=database,
            url=answer.place,
            reason=reason,
        )
    return str(said["ezk"])


class GcPause:
    """Implements :class:`mbk.ports.milvus.roles.GcPause`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def pause(self, seconds: int, *, collection_id: int | None = None) -> str:
        return pause(self._server.settings.management_endpoint, seconds, collection_id=collection_id)

    def resume(self, ticket: str = "", *, collection_id: int | None = None) -> None:
        resume(self._server.settings.management_endpoint, ticket=ticket, collection_id=collection_id)


def _collection_pause(endpoint: str, path: str, query: Mapping[str, object]) -> Answer:
    answer = _get(endpoint, path, query)
    if answer.status == http.client.NOT_FOUND:
        raise Unsupported(
            "this Milvus cannot pause garbage collection ({url} returned 404)",
            code="gc-pause-missing",
            url=answer.place,
        )
    if answer.status != http.client.OK:
        raise answer.failure()
    return answer


def _get(endpoint: str, path: str, query: Mapping[str, object]) -> Answer:
    port = Port(endpoint, setting=SETTING, name="Milvus' management port", optional=True)
    return port.ask("GET", f"{path}?{urlencode(query)}")
