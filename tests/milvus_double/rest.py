"""REST v2 as far as backups need it: the exact files of segments, and import jobs.

Every answer is HTTP 200 with ``{"code": 0, "data": …}`` or ``{"code": …, "message": …}``, except a failed login (401) and what
a version lacks (404). Sources: milvus ``internal/distributed/proxy/httpserver/handler_v2.go`` (routes, bodies, answers),
``constant.go`` (paths), ``utils.go`` (bearer tokens).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from tests.milvus_double.http_port import Answered, Asked, HttpPort, Route
from tests.milvus_double.imports import PENDING, Imports, Wanted
from tests.milvus_double.objects import sort_flushed
from tests.milvus_double.passwords import matches
from tests.milvus_double.refusal import Refused
from tests.milvus_double.state import DEFAULT, ImportJob, LogFile, State

NEED_LOGIN, MISSING_PARAMETERS, BAD_BODY = 1800, 1802, 1801
#: Since when, by the feature's name in `versions.SINCE`.
SEGMENTS, JOBS = "segment_detail", "rest_v2"


class Rest:
    def __init__(self, state: State, imports: Imports) -> None:
        self._state = state
        self._imports = imports

    def routes(self) -> Mapping[tuple[str, str], Route]:
        """Those that the played version has."""
        known: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
            "/v2/vectordb/collections/list": (JOBS, self._collections),
            "/v2/vectordb/segments/describe": (SEGMENTS, self._describe_segments),
            "/v2/vectordb/jobs/import/create": (JOBS, self._create),
            "/v2/vectordb/jobs/import/describe": (JOBS, self._describe),
            "/v2/vectordb/jobs/import/get_progress": (JOBS, self._describe),
            "/v2/vectordb/jobs/import/list": (JOBS, self._list),
        }
        return {
            ("POST", path): functools.partial(self._answer, handle)
            for path, (feature, handle) in known.items()
            if self._state.version.has(feature)
        }

    def port(self, port: int = 0) -> HttpPort:
        return HttpPort(self.routes(), faults=self._imports.faults, port=port)

    def _answer(self, handle: Callable[[dict[str, Any]], Any], asked: Asked) -> Answered:
        if self._state.authorization and not self._logged_in(asked.headers.get("authorization", "")):
            return Answered.json({"code": NEED_LOGIN, "message": "user hasn't authenticated"}, 401)
        if not isinstance(asked.body, dict):
            return _error(BAD_BODY, "can only accept json format request, error: invalid body")
        try:
            with self._state.lock:
                sort_flushed(self._state)
                return Answered.json({"code": 0, "data": handle(asked.body)})
        except KeyError as missing:
            return _error(MISSING_PARAMETERS, f"missing required parameters, error: {missing.args[0]}")
        except Refused as refused:
            return _error(refused.code, refused.reason)

    def _logged_in(self, header: str) -> bool:
        user, _, password = header.removeprefix("Bearer ").partition(":")
        known = self._state.rbac.users.get(user)
        return header.startswith("Bearer ") and known is not None and matches(known, password)

    def _collections(self, body: dict[str, Any]) -> Any:
        return list(self._state.database(body.get("dbName") or DEFAULT).collections)

    # -- segments ------------------------------------------------------------------------------------------------------

    def _describe_segments(self, body: dict[str, Any]) -> Any:
        """Segments that are dropped and not yet removed are known, too (``DataCoord.GetSegmentInfo``)."""
        numbers = [int(number) for number in body["segmentIds"]]
        return {"segmentInfos": [self._segment_info(number) for number in numbers]}

    def _segment_info(self, number: int) -> dict[str, Any]:
        segment = self._state.segment(number)
        if segment is None:
            raise Refused(f"segment not found[segment={number}]", code=600)
        return {
            "collectionID": segment.collection_id,
            "partitionID": segment.partition_id,
            "segmentID": segment.id,
            "vChannel": segment.channel,
            # Numbers, as JSON of Go's enumerations (run: 2.5.27, 2.6.19).
            "state": int(segment.state),
            "level": int(segment.level),
            "isSorted": segment.is_sorted,
            "numRows": segment.row_count,
            "insertLogs": _logs(segment.insert_logs),
            "deltaLogs": _logs({0: segment.delta_logs} if segment.delta_logs else {}),
            "statsLogs": _logs(segment.stats_logs),
        }

    # -- imports -------------------------------------------------------------------------------------------------------

    def _create(self, body: dict[str, Any]) -> Any:
        options = body.get("options") or {}
        wanted = Wanted(
            body.get("dbName") or DEFAULT,
            body["collectionName"],
            body.get("partitionName") or "",
            body["files"],
            {str(key): str(value) for key, value in options.items()},
        )
        return {"jobId": str(self._imports.create(wanted).id)}

    def _describe(self, body: dict[str, Any]) -> Any:
        text = str(body["jobId"])
        if not text.isdecimal():
            raise Refused(f'parse job id failed, err=strconv.ParseInt: parsing "{text}": invalid syntax')
        job = self._imports.job(int(text))
        one = {
            "jobId": str(job.id),
            "collectionName": job.collection,
            "state": job.state,
            "progress": job.progress,
            "importedRows": job.rows,
            "totalRows": job.rows,
            "fileSize": 0,
        }
        if job.reason:
            one["reason"] = job.reason
        return one | {"details": [_detail(job, paths) for paths in job.files] if job.state != PENDING else []}

    def _list(self, body: dict[str, Any]) -> Any:
        database, name = body.get("dbName") or DEFAULT, body.get("collectionName") or ""
        if name:
            self._state.collection(database, name)
        jobs = [
            job
            for job in self._state.jobs.values()
            if job.database == database and name in ("", job.collection)
        ]
        return {"records": [_record(job) for job in jobs]}


def _error(code: int, message: str) -> Answered:
    return Answered.json({"code": code, "message": message})


def _logs(logs: Mapping[int, list[LogFile]]) -> list[dict[str, Any]]:
    return [
        {"fieldID": number, "logIDs": [file.log_id for file in files]}
        for number, files in sorted(logs.items())
    ]


def _record(job: ImportJob) -> dict[str, Any]:
    return {
        "jobId": str(job.id),
        "collectionName": job.collection,
        "state": job.state,
        "progress": job.progress,
        **({"reason": job.reason} if job.reason else {}),
    }


def _detail(job: ImportJob, paths: list[str]) -> dict[str, Any]:
    shown = " ".join(paths)
    return {
        "fileName": f"[{shown}]",
        "fileSize": 0,
        "progress": job.progress,
        "state": job.state,
        "importedRows": job.rows,
        "totalRows": job.rows,
        "completeTime": "",
        "reason": job.reason,
    }
