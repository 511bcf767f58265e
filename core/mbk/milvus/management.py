"""The management port: plain HTTP without login, here for pausing the garbage collection (FORMAT.md 2.8)."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

from mbk.errors import ConfigError, MilvusError, MilvusUnavailable, Problem, Unsupported

SECONDS = 10.0
_SETTING = "milvus.management.endpoint"
_PAUSE = "/management/datacoord/garbage_collection/pause"
_RESUME = "/management/datacoord/garbage_collection/resume"
_MAX_ANSWER = 1 << 20


def pause(endpoint: str, seconds: int, *, collection_id: int | None) -> str:
    """The ticket, ``""`` where the server gives none."""
    query = {"pause_seconds": seconds, "collection_id": collection_id or 0}
    return str(_get(endpoint, _PAUSE, query).get("ticket", ""))


def resume(endpoint: str, *, ticket: str = "", collection_id: int | None = None) -> None:
    query: dict[str, object] = {}
    if ticket:
        query["ticket"] = ticket
    if collection_id is not None:
        query["collection_id"] = collection_id
    _get(endpoint, _RESUME, query)


def _get(endpoint: str, path: str, query: Mapping[str, object]) -> Mapping[str, object]:
    # Not urllib: a proxy from the environment would answer for a port that only this network knows.
    url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}", scheme="http")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(url.hostname or "", url.port, timeout=SECONDS)
    except ValueError as exc:
        raise ConfigError("milvus", [Problem(_SETTING, f"{endpoint} is not an address: {exc}")]) from exc
    try:
        connection.request("GET", f"{url.path.rstrip('/')}{path}?{urlencode(query)}")
        response = connection.getresponse()
        status, body = response.status, response.read(_MAX_ANSWER).decode("utf-8", errors="replace")
    except (OSError, http.client.HTTPException) as exc:
        raise MilvusUnavailable(
            f"Milvus' management port at {endpoint} does not answer ({exc})", hint=f"set {_SETTING}"
        ) from exc
    finally:
        connection.close()
    return _answer(status, body, f"{endpoint}{path}")


def _answer(status: int, body: str, place: str) -> Mapping[str, object]:
    if status == http.client.NOT_FOUND:
        raise Unsupported(f"this Milvus has no garbage collection pause ({place}: 404)")
    if status != http.client.OK:
        raise MilvusError(f"{place} answers {status}: {' '.join(body.split())[:200]}", code=status)
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
