"""Milvus' REST API, version 2, for what gRPC does not offer: the exact files of segments, and import jobs.

Servers serve it on the gRPC port unless ``proxy.http.port`` says otherwise. Ids beyond 2^53 are sent as numbers or strings
(milvus: internal/distributed/proxy/httpserver/handler_v2.go); we accept both.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mbk.config.schema import MilvusSettings
from mbk.errors import (
    ConfigError,
    ImportFailed,
    MilvusError,
    Problem,
    RateLimited,
    Unsupported,
)
from mbk.milvus.failures import check, forbidden, login_refused, no_job, one_line, unknown_job
from mbk.milvus.proto import common
from mbk.milvus.web import Answer, Port
from mbk.ports.milvus.values import ImportPhase, ImportState, SegmentLogs

SETTING = "milvus.rest.endpoint"
SECONDS = 60.0
#: The server lists and checks every file before it answers.
IMPORT_SECONDS = 600.0
#: Segments a request, for an answer of moderate size.
BATCH = 200

_SEGMENTS = "/v2/vectordb/segments/describe"
_CREATE = "/v2/vectordb/jobs/import/create"
_DESCRIBE = "/v2/vectordb/jobs/import/describe"
_LIST = "/v2/vectordb/jobs/import/list"
#: Early builds of 2.4 answer 200 for success.
_SUCCESS = (0, 200)
_SEGMENT_NOT_FOUND = 600
_PHASES = {
    "pending": ImportPhase.RUNNING,
    "preimporting": ImportPhase.RUNNING,
    "importing": ImportPhase.RUNNING,
    "uncommitted": ImportPhase.UNCOMMITTED,
    "committing": ImportPhase.RUNNING,
    "completed": ImportPhase.COMPLETED,
    "failed": ImportPhase.FAILED,
}


class Rest:
    """Connects only when it is called."""

    def __init__(self, settings: MilvusSettings) -> None:
        user, password = settings.user, settings.password.get_secret_value()
        login = {"Authorization": f"Bearer {user}:{password}"} if user or password else {}
        self._port = Port(
            base_url(settings),
            setting=SETTING,
            name="Milvus' REST port",
            headers={"Accept": "application/json", **login},
            context=_trust(settings),
            server_name=settings.server_name,
        )

    def __repr__(self) -> str:
        return f"Rest({self._port.endpoint!r})"

    def segment_logs(
        self, database: str, collection_id: int, segments: Sequence[int]
    ) -> dict[int, SegmentLogs]:
        """Segment id -> its files. A single missing segment fails the whole request, so batches are halved to find it."""
        found: dict[int, SegmentLogs] = {}
        for start in range(0, len(segments), BATCH):
            found.update(self._logs(database, collection_id, segments[start : start + BATCH]))
        return found

    def _logs(
        self, database: str, collection_id: int, segments: Sequence[int]
    ) -> Iterable[tuple[int, SegmentLogs]]:
        body = {"dbName": database, "collectionId": collection_id, "segmentIds": list(segments)}
        try:
            data = self._ask(
                _SEGMENTS, body, f"describe {len(segments)} segments of collection {collection_id}"
            )
        except MilvusError as exc:
            if exc.server_code != _SEGMENT_NOT_FOUND:
                raise
            if len(segments) == 1:
                return []
            half = len(segments) // 2
            return [
                *self._logs(database, collection_id, segments[:half]),
                *self._logs(database, collection_id, segments[half:]),
            ]
        return [(int(info["segmentID"]), _segment(info)) for info in data.get("segmentInfos") or ()]

    def start_import(
        self,
        database: str,
        collection: str,
        partition: str,
        files: Sequence[Sequence[str]],
        options: Mapping[str, str],
        *,
        what: str,
    ) -> str:
        """The id of the job, which is valid for ``GetImportState``, too: both use the same DataCoord."""
        body: dict[str, object] = {
            "dbName": database,
            "collectionName": collection,
            "files": [list(paths) for paths in files],
            "options": dict(options),
        }
        if partition:
            body["partitionName"] = partition
        data = self._ask(_CREATE, body, what, seconds=IMPORT_SECONDS)
        if not data.get("jobId"):
            raise no_job(what)
        return str(data["jobId"])

    def import_state(self, job: str, *, database: str, what: str) -> ImportState:
        """`ImportFailed` for a job that the server does not know: it answers with an error code, or an unknown state."""
        try:
            data = self._ask(_DESCRIBE, {"dbName": database, "jobId": job}, what)
        except RateLimited:
            raise
        except MilvusError as exc:
            if exc.retryable or not exc.server_code:
                raise
            raise ImportFailed(exc.message, code="job-unknown", server_code=exc.server_code) from exc
        state = str(data.get("state") or "")
        phase = _PHASES.get(state.lower())
        if phase is None:
            raise unknown_job(what, f"the job does not exist (state {state!r})")
        return ImportState(
            phase=phase,
            percent=int(data.get("progress") or 0),
            rows=int(data.get("importedRows") or 0),
            reason=one_line(str(data.get("reason") or "")) if phase is ImportPhase.FAILED else "",
        )

    def import_jobs(self, database: str, collection: str, *, what: str) -> list[str]:
        """``collection`` empty: the jobs of all collections."""
        body = {"dbName": database} | ({"collectionName": collection} if collection else {})
        data = self._ask(_LIST, body, what)
        return [str(record["jobId"]) for record in data.get("records") or ()]

    def _ask(
        self, path: str, body: Mapping[str, object], what: str, *, seconds: float = SECONDS
    ) -> dict[str, Any]:
        headers = {"Request-Timeout": str(int(seconds))}
        answer = self._port.ask("POST", path, body, seconds=seconds, headers=headers)
        said = answer.json()
        if "code" not in said or (answer.status != http.client.OK and not said["code"]):
            raise _refusal(answer, what)
        if int(said["code"]) not in _SUCCESS:
            raise_for_code(int(said["code"]), str(said.get("message", "")), what, answer.status)
        data = said.get("data")
        return data if isinstance(data, dict) else {}


def raise_for_code(code: int, reason: str, what: str, status: int) -> None:
    """REST uses the error codes of gRPC's status, so they map to the same errors."""
    if status == http.client.UNAUTHORIZED:
        raise login_refused(what, one_line(reason))
    if status == http.client.FORBIDDEN:
        raise forbidden(what, one_line(reason))
    check(common.Status(code=code, error_code=common.UnexpectedError, reason=reason), what)


def _refusal(answer: Answer, what: str) -> Exception:
    """For an answer that is not from this API: from another server, or from an older Milvus."""
    if answer.status == http.client.NOT_FOUND:
        return Unsupported(
            "{operation}: this Milvus has no such REST API ({url} returned 404)",
            code="rest-call-missing",
            operation=what,
            url=answer.place,
        )
    if answer.status == http.client.UNAUTHORIZED:
        return login_refused(what, f"{answer.place} returned 401")
    if answer.status == http.client.FORBIDDEN:
        return forbidden(what, f"{answer.place} returned 403")
    if answer.status == http.client.TOO_MANY_REQUESTS:
        return RateLimited(
            "{operation}: {url} returned 429",
            code="rest-rate-limited",
            operation=what,
            url=answer.place,
            server_code=answer.status,
        )
    return answer.failure(retryable=answer.status >= http.client.INTERNAL_SERVER_ERROR)


def _segment(info: Mapping[str, Any]) -> SegmentLogs:
    logs: dict[int, tuple[int, ...]] = {}
    for field in info.get("insertLogs") or ():
        logs[int(field.get("fieldID") or 0)] = _ids(field)
    return SegmentLogs(
        v_channel=str(info.get("vChannel") or ""),
        insert_logs=logs,
        delta_logs=_delta_ids(info.get("deltaLogs")),
    )


def _ids(field: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(log) for log in field.get("logIDs") or ())


def _delta_ids(listed: Any) -> tuple[int, ...]:
    """Plain ids, or the ids of each field as for insert logs."""
    found: list[int] = []
    for entry in listed or ():
        found += _ids(entry) if isinstance(entry, dict) else [int(entry)]
    return tuple(found)


def base_url(settings: MilvusSettings) -> str:
    scheme = "http" if settings.tls_mode == "disabled" else "https"
    endpoint = settings.rest_endpoint or f"{settings.address}:{settings.port}"
    return endpoint if "//" in endpoint else f"{scheme}://{endpoint}"


def _trust(settings: MilvusSettings) -> ssl.SSLContext | None:
    """The same certificates as for gRPC; None without TLS."""
    if not base_url(settings).startswith("https"):
        return None
    setting, path = "milvus.caCertPath", settings.ca_cert_path
    try:
        context = ssl.create_default_context(cafile=path or None)
        if settings.tls_mode == "mutual":
            setting, path = "milvus.mtlsCertPath", settings.mtls_cert_path
            context.load_cert_chain(settings.mtls_cert_path, settings.mtls_key_path)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError("milvus", [Problem(setting, f"cannot use {path}: {exc.strerror or exc}")]) from exc
    return context
