"""The import calls of gRPC. From 2.4 on the proxy translates them to the newer import and its answers back.

Sources: milvus ``internal/proxy/impl.go`` (``Import``, ``GetImportState``, ``ListImportTasks``), ``internal/proxy/util.go``
(``convertToV1...``), ``pkg/util/importutil/import_options.go`` (keys of the infos); the infos of 2.3 by running 2.3.5.
"""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.imports import COMPLETED, FAILED, PENDING, Imports, Wanted
from tests.milvus_double.refusal import Refused
from tests.milvus_double.state import ImportJob, State

_STATES = {PENDING: common.ImportPending, COMPLETED: common.ImportCompleted, FAILED: common.ImportFailed}


class ImportCalls(Part):
    def __init__(self, state: State, imports: Imports) -> None:
        super().__init__(state)
        self._imports = imports

    def Import(self, request: Any, call: Call) -> Any:
        wanted = Wanted(
            call.database,
            request.collection_name,
            request.partition_name,
            [list(request.files)] if request.files else [],
            {pair.key: pair.value for pair in reversed(request.options)},
        )
        try:
            job = self._imports.create(wanted)
        except Refused as refused:
            if refused.code == 200 and not self.state.version.has("import_v2"):
                raise Refused(refused.reason, code=200, error_code=common.MetaFailed) from refused
            raise
        return milvus.ImportResponse(status=common.Status(), tasks=[job.id])

    def GetImportState(self, request: Any, _call: Call) -> Any:
        return self._answer(self._imports.job(request.task))

    def ListImportTasks(self, request: Any, call: Call) -> Any:
        found = [
            self._answer(job)
            for job in self.state.jobs.values()
            if job.database == call.database and request.collection_name in ("", job.collection)
        ]
        newest_first = sorted(found, key=lambda answer: -answer.id)
        tasks = newest_first[: request.limit] if request.limit > 0 else newest_first
        return milvus.ListImportTasksResponse(status=common.Status(), tasks=tasks)

    def _answer(self, job: ImportJob) -> Any:
        infos = {"failed_reason": job.reason, "progress_percent": str(job.progress)}
        if not self.state.version.has("import_v2"):
            infos |= {
                "files": ",".join(path for paths in job.files for path in paths),
                "collection": job.collection,
                "partition": job.partition,
                "backup": job.options.get("backup", ""),
            }
        return milvus.GetImportStateResponse(
            status=common.Status(),
            state=_STATES.get(job.state, common.ImportStarted),
            row_count=job.rows,
            infos=[common.KeyValuePair(key=key, value=value) for key, value in infos.items()],
            id=job.id,
            collection_id=job.collection_id,
            segment_ids=job.segments,
            create_ts=int(job.started),
        )
