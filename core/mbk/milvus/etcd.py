"""Milvus' meta store in etcd, read over etcd's JSON gateway: plain HTTP, no client package.

The gateway serves ``kv/range`` under ``/v3`` from etcd 3.4 on and under ``/v3beta`` and ``/v3alpha`` before
(etcd: Documentation/dev-guide/api_grpc_gateway.md). There, keys and values are base64, and 64-bit numbers are strings.

Milvus keeps an index at ``{root}/meta/field-index/{collection}/{index}`` as ``indexpb.FieldIndex`` (milvus:
pkg/proto/index_coord.proto) and a field at ``{root}/meta/root-coord/fields/{collection}/{field}`` as
``schemapb.FieldSchema``, as seen on 2.3.5.
"""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import SplitResult, urlsplit

from mbk.errors import (
    AuthenticationFailed,
    ConfigError,
    MilvusError,
    MilvusUnavailable,
    Problem,
    Unsupported,
)
from mbk.model.records import FieldSchema, IndexInfo, KeyValue
from mbk.model.wire import Message

SECONDS = 10.0
#: Keys asked for at once: a page of index definitions stays far below what one answer may hold.
PAGE = 500
_SETTING = "milvus.etcd.endpoints"
_PATHS = ("/v3/kv/range", "/v3beta/kv/range", "/v3alpha/kv/range")
_MAX_ANSWER = 64 << 20
#: Milvus' snapshot store writes it in place of a deleted value (milvus: suffix_snapshot.go).
_TOMBSTONE = b"\xe2\x9b\xbc"
_SYSTEM_FIELDS = 100


class EtcdMetaStore:
    """Implements :class:`mbk.ports.metastore.MetaStore`. Endpoints are tried in order; the first that responds is kept."""

    def __init__(self, endpoints: Sequence[str], root_path: str, *, page: int = PAGE) -> None:
        problems = [Problem(_SETTING, "must list at least one endpoint")] if not endpoints else []
        self._endpoints: list[SplitResult] = []
        for endpoint in endpoints:
            try:
                self._endpoints.append(_parsed(endpoint))
            except ValueError as exc:
                problems.append(Problem(_SETTING, f"invalid address {endpoint.rpartition('@')[2]}: {exc}"))
        if problems:
            raise ConfigError("milvus", problems)
        self._root = f"{root_path.strip('/')}/meta" if root_path.strip("/") else "meta"
        self._page = page
        self._first = self._endpoints[0]
        self._path = ""

    def index_extras(self, collection_id: int) -> list[IndexInfo]:
        indexes = [
            index
            for key, value in self._range(f"{self._root}/field-index/{collection_id}/")
            if (index := _index(key, value, collection_id)) is not None
        ]
        return sorted(indexes, key=lambda index: index.index_id)

    def dynamic_field(self, collection_id: int) -> FieldSchema | None:
        from mbk.milvus.proto import schema
        from mbk.milvus.schema import read_field

        for key, value in self._range(f"{self._root}/root-coord/fields/{collection_id}/"):
            try:
                message = schema.FieldSchema.FromString(value)
            except Exception as exc:  # protobuf's DecodeError has no stable home
                raise MilvusError(
                    "cannot decode the field at {key} in etcd: {reason}",
                    code="etcd-field-invalid",
                    key=key,
                    reason=exc,
                    hint="check milvus.etcd.rootPath",
                ) from exc
            if message.is_dynamic and message.fieldID >= _SYSTEM_FIELDS:
                return read_field(message)
        return None

    def close(self) -> None:
        """Nothing stays open between calls."""

    # -- asking --------------------------------------------------------------------------------------------------

    def _range(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Every key below the prefix with its value, page by page."""
        start = prefix.encode()
        end = start[:-1] + bytes([start[-1] + 1])
        while True:
            answer = self._ask({"key": _base64(start), "range_end": _base64(end), "limit": self._page})
            pairs = answer.get("kvs") or []
            for pair in pairs:
                start = base64.b64decode(pair["key"])
                value = base64.b64decode(pair.get("value", ""))
                if value != _TOMBSTONE:
                    yield start.decode("utf-8", errors="replace"), value
            if not answer.get("more") or not pairs:
                return
            start += b"\0"

    def _ask(self, request: Mapping[str, object]) -> Mapping[str, list[dict[str, str]]]:
        """The answer of the first endpoint that responds; from then on that one is asked first."""
        failures = []
        first = self._first
        for endpoint in (first, *(other for other in self._endpoints if other is not first)):
            try:
                answer = self._ask_endpoint(endpoint, request)
            except MilvusUnavailable as error:
                failures.append(error.message)
                continue
            self._first = endpoint
            return answer
        raise MilvusUnavailable(
            "the etcd of Milvus does not respond: {reason}",
            code="etcd-unreachable",
            reason="; ".join(failures),
            setting=_SETTING,
            hint="check {setting}, or run without --backup-index-extra",
        )

    def _ask_endpoint(
        self, endpoint: SplitResult, request: Mapping[str, object]
    ) -> Mapping[str, list[dict[str, str]]]:
        place = f"{endpoint.hostname}:{endpoint.port}"
        for path in (self._path,) if self._path else _PATHS:
            status, body = _post(endpoint, place, path, json.dumps(request).encode())
            if status == http.client.NOT_FOUND:
                continue
            answer = _answer(status, body, place)
            self._path = path
            return answer
        raise Unsupported(
            "{endpoint} is not an etcd with a JSON gateway (404)",
            code="etcd-gateway-missing",
            endpoint=place,
            setting=_SETTING,
            hint="check {setting}, or run without --backup-index-extra",
        )


def _parsed(endpoint: str) -> SplitResult:
    url = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}", scheme="http")
    if not url.hostname or url.port is None:
        raise ValueError("expected host:port")
    if url.scheme not in ("http", "https"):
        raise ValueError(f"{url.scheme}:// is not supported")
    return url


def _post(endpoint: SplitResult, place: str, path: str, body: bytes) -> tuple[int, bytes]:
    # Not urllib: it would use a proxy from the environment, which cannot reach this port.
    kind = http.client.HTTPSConnection if endpoint.scheme == "https" else http.client.HTTPConnection
    connection = kind(endpoint.hostname or "", endpoint.port, timeout=SECONDS)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(_MAX_ANSWER)
    except (OSError, http.client.HTTPException) as exc:
        raise _failed(place, str(exc)) from exc
    finally:
        connection.close()


def _answer(status: int, body: bytes, place: str) -> Mapping[str, list[dict[str, str]]]:
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if status == http.client.OK and isinstance(answer, dict):
        return answer
    text = answer.get("error") or answer.get("message") if isinstance(answer, dict) else None
    reason = " ".join(str(text or body[:200].decode("utf-8", errors="replace")).split())
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN) or "user name" in reason:
        raise AuthenticationFailed(
            "the etcd of Milvus at {endpoint} requires a login: {reason}",
            code="etcd-login-required",
            endpoint=place,
            reason=reason,
            hint="mbk cannot log in to etcd; run without --backup-index-extra",
        )
    if status >= http.client.INTERNAL_SERVER_ERROR:
        raise _failed(place, f"{status} {reason}")
    raise MilvusError(
        "the etcd of Milvus at {endpoint} returned {status}: {reason}",
        code="etcd-request-failed",
        endpoint=place,
        status=status,
        reason=reason,
        server_code=status,
    )


def _failed(endpoint: str, reason: str) -> MilvusUnavailable:
    return MilvusUnavailable(
        "{endpoint}: {reason}", code="etcd-endpoint-failed", endpoint=endpoint, reason=reason
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


# -- reading the records -----------------------------------------------------------------------------------------------


def _index(key: str, value: bytes, collection_id: int) -> IndexInfo | None:
    """``FieldIndex``: 1 the index, 2 deleted, 3 create time; None for a dropped index."""
    try:
        record = Message(value)
        info = next(record.messages(1), None)
        if info is None or record.integer(2):
            return None
        if info.signed(1) != collection_id:
            raise ValueError(f"belongs to collection {info.signed(1)}")
        return _read(info, create_time=record.integer(3))
    except ValueError as exc:
        raise MilvusError(
            "cannot decode the index at {key} in etcd: {reason}",
            code="etcd-index-invalid",
            key=key,
            reason=exc,
            hint="check milvus.etcd.rootPath",
        ) from exc


def _read(info: Message, *, create_time: int) -> IndexInfo:
    """``IndexInfo``; the two versions were added in 2.5 or later and are absent before."""
    return IndexInfo(
        field_id=info.signed(2),
        index_name=info.text(3),
        index_id=info.signed(4),
        type_params=_pairs(info, 5),
        index_params=_pairs(info, 6),
        is_auto_index=bool(info.integer(11)),
        user_index_params=_pairs(info, 12),
        min_index_version=info.signed(14),
        max_index_version=info.signed(15),
        create_time=create_time,
    )


def _pairs(info: Message, number: int) -> list[KeyValue]:
    return [KeyValue(key=pair.text(1), value=pair.text(2)) for pair in info.messages(number)]
