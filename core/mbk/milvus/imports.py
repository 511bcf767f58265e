"""Import jobs over gRPC or REST, in the form that the server's version understands."""

from __future__ import annotations

import re

from mbk.errors import MbkError
from mbk.milvus.descriptions import describe
from mbk.milvus.failures import check, l0_disabled, no_job, one_line, unknown_job, unsupported
from mbk.milvus.proto import common, milvus
from mbk.milvus.server import Server, name_of
from mbk.ports.milvus.values import Feature, ImportPhase, ImportRequest, ImportState

_LOGICAL_BITS = 18
#: The newest storage version that imports can read: segments with manifests cannot be imported from paths.
_PACKED = 2
#: The answer of a server that could take L0 segments, but must not (milvus: dataCoord.import.enableL0Import; seen on 3.0.0).
_L0_DISABLED = re.compile(r"l0 import is disabled", re.I)
_UNKNOWN_JOB = re.compile(r"not (found|exist)|doesn't exist|cannot find|can't find", re.I)
_PHASES = {
    common.ImportCompleted: ImportPhase.COMPLETED,
    common.ImportFailed: ImportPhase.FAILED,
    common.ImportFailedAndCleaned: ImportPhase.FAILED,
}


class Imports:
    """Implements :class:`mbk.ports.milvus.roles.Imports`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        #: Jobs that were started over REST.
        self._rest_jobs: set[str] = set()

    def start(self, request: ImportRequest) -> str:
        what = f"import into {name_of(request.database, request.collection)}"
        self._check_import(request, what)
        start = self._start_over_rest if request.rest else self._start
        if not request.l0:
            return start(request, what)
        with self._server.using(Feature.L0_IMPORT, what):
            try:
                return start(request, what)
            except MbkError as error:
                if _L0_DISABLED.search(error.message):
                    raise l0_disabled(what) from error
                raise

    def _check_import(self, request: ImportRequest, what: str) -> None:
        feature = ""
        if request.l0 and not self._imports_l0:
            feature = "L0 segments"
        elif len(request.files) != 1 and not request.rest:
            feature = "import jobs with several files, except over REST"
        elif request.l0 and len(request.files) > 1 and Feature.MULTI_L0_IMPORT not in self._server.features:
            feature = "import jobs with several L0 segments"
        elif request.storage_version > _PACKED:
            feature = f"importing segments of storage version {request.storage_version}, use a snapshot"
        elif request.storage_version == _PACKED and Feature.PACKED_SEGMENTS not in self._server.features:
            feature = "packed segments (storage version 2)"
        elif request.ezk and Feature.PACKED_SEGMENTS not in self._server.features:
            feature = "encrypted segments"
        if feature:
            raise unsupported(what, self._server.version, feature)

    def _start_over_rest(self, request: ImportRequest, what: str) -> str:
        with self._server.using(Feature.REST_IMPORT, what):
            job = self._server.rest.start_import(
                request.database,
                request.collection,
                request.partition,
                request.files,
                self._import_options(request),
                what=what,
            )
        self._rest_jobs.add(job)
        return job

    def _start(self, request: ImportRequest, what: str) -> str:
        options = self._import_options(request).items()
        message = milvus.ImportRequest(
            collection_name=request.collection,
            partition_name=request.partition,
            files=self._import_paths(request),
            options=[common.KeyValuePair(key=key, value=value) for key, value in options],
        )
        if not self._imports_l0:
            # Here the import itself takes up to a minute to report a missing collection.
            describe(self._server, request.database, request.collection)
        response = self._server.call("Import", message, what, database=request.database)
        if not response.tasks:
            raise no_job(what)
        return str(response.tasks[0])

    def _import_paths(self, request: ImportRequest) -> list[str]:
        """gRPC takes one file a job, of at most two paths; before 2.4 exactly two, of which the second may be empty.

        From 2.4 on an empty path would make the server list the whole bucket (milvus#47762).
        """
        (paths,) = request.files
        return [*paths, ""] if len(paths) == 1 and not self._imports_l0 else list(paths)

    @property
    def _imports_l0(self) -> bool:
        return Feature.L0_SEGMENTS in self._server.features

    def _import_options(self, request: ImportRequest) -> dict[str, str]:
        options = {"l0_import" if request.l0 else "backup": "true"}
        if request.end_ts:
            hybrid = Feature.HYBRID_END_TS in self._server.features
            options["end_ts"] = str(request.end_ts if hybrid else _milliseconds(request.end_ts))
        if self._imports_l0:
            options["skip_disk_quota_check"] = "true"
        if request.storage_version and Feature.PACKED_SEGMENTS in self._server.features:
            options["storage_version"] = str(request.storage_version)
        if request.ezk:
            options["ezk"] = request.ezk
        return options

    def state(self, job: str, *, database: str = "", rest: bool = False) -> ImportState:
        """Asks the interface that started the job; others over gRPC, since REST and gRPC share job ids.

        gRPC reports a job that waits for its commit as failed without a reason: then REST is asked.
        """
        what = f"get the state of import job {job}"
        if not job.isdecimal():
            raise unknown_job(what)
        if rest or job in self._rest_jobs:
            return self._server.rest.import_state(job, database=database, what=what)
        state = self._grpc_state(job, what, database)
        if (
            state.phase is ImportPhase.FAILED
            and not state.reason
            and Feature.REST_IMPORT in self._server.features
        ):
            return self._second_opinion(state, job, what, database)
        return state

    def jobs(self, database: str, collection: str, *, rest: bool = False) -> list[str] | None:
        what = "list the import jobs" + (f" of {name_of(database, collection)}" if collection else "")
        if rest:
            with self._server.using(Feature.REST_IMPORT, what):
                return self._server.rest.import_jobs(database, collection, what=what)
        request = milvus.ListImportTasksRequest(collection_name=collection, db_name=database)
        tasks = self._server.call("ListImportTasks", request, what, database=database).tasks
        return None if any(not task.id for task in tasks) else [str(task.id) for task in tasks]

    def _second_opinion(self, state: ImportState, job: str, what: str, database: str) -> ImportState:
        try:
            return self._server.rest.import_state(job, database=database, what=what)
        except MbkError:
            return state

    def _grpc_state(self, job: str, what: str, database: str) -> ImportState:
        request = milvus.GetImportStateRequest(task=int(job))
        response = self._server.call("GetImportState", request, what, database=database, checked=False)
        if response.status.error_code and _UNKNOWN_JOB.search(response.status.reason):
            raise unknown_job(what, one_line(response.status.reason))
        check(response.status, what)
        infos = {pair.key: pair.value for pair in response.infos}
        phase = _PHASES.get(response.state, ImportPhase.RUNNING)
        return ImportState(
            phase=phase,
            percent=int(infos.get("progress_percent") or 0),
            rows=response.row_count,
            reason=one_line(infos.get("failed_reason", "")) if phase is ImportPhase.FAILED else "",
        )


def _milliseconds(hybrid: int) -> int:
    """Rounded up: rows of the same millisecond should rather be included than lost."""
    return -(-hybrid >> _LOGICAL_BITS)
