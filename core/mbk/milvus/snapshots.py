"""Snapshots that Milvus itself creates, exports and restores.

milvus: internal/proxy/snapshot_impl.go, internal/datacoord/snapshot_manager.go. Names are unique within a collection;
dropping a missing one succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mbk.errors import AlreadyExists, NotFound
from mbk.milvus.failures import no_job, one_line, unknown_job
from mbk.milvus.proto import milvus
from mbk.milvus.server import Server, name_of
from mbk.ports.milvus.values import Feature, ImportPhase, SnapshotState

_PHASES = {
    "Completed": ImportPhase.COMPLETED,
    "Failed": ImportPhase.FAILED,
}


class Snapshots:
    """Implements :class:`mbk.ports.milvus.roles.Snapshots`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def create(self, database: str, collection: str, snapshot: str, *, description: str = "") -> int:
        what = f"create snapshot {snapshot} of {name_of(database, collection)}"
        request = milvus.CreateSnapshotRequest(
            name=snapshot, description=description, db_name=database, collection_name=collection
        )
        with self._server.using(Feature.SNAPSHOT, what), suppress(AlreadyExists):
            self._server.call("CreateSnapshot", request, what, database=database)
        return int(self._snapshot(database, collection, snapshot, what).create_ts)

    def find(self, database: str, collection: str, *, prefix: str) -> Mapping[str, str]:
        what = f"list the snapshots of {name_of(database, collection)}"
        request = milvus.ListSnapshotsRequest(db_name=database, collection_name=collection)
        with self._server.using(Feature.SNAPSHOT, what):
            names = self._server.call("ListSnapshots", request, what, database=database).snapshots
        descriptions = {}
        for name in names:
            if name.startswith(prefix):
                with suppress(NotFound):  # it was dropped meanwhile
                    descriptions[name] = str(self._snapshot(database, collection, name, what).description)
        return descriptions

    def _snapshot(self, database: str, collection: str, snapshot: str, what: str) -> Any:
        request = milvus.DescribeSnapshotRequest(name=snapshot, db_name=database, collection_name=collection)
        return self._server.call("DescribeSnapshot", request, what, database=database)

    def drop(self, database: str, collection: str, snapshot: str) -> None:
        what = f"drop snapshot {snapshot} of {name_of(database, collection)}"
        request = milvus.DropSnapshotRequest(name=snapshot, db_name=database, collection_name=collection)
        with suppress(NotFound):
            self._server.call("DropSnapshot", request, what, database=database)

    def export(self, database: str, collection: str, snapshot: str, *, uri: str, spec: str) -> str:
        what = f"export snapshot {snapshot} of {name_of(database, collection)}"
        request = milvus.ExportSnapshotRequest(
            name=snapshot,
            db_name=database,
            collection_name=collection,
            target_s3_path=uri,
            external_spec=spec,
        )
        with self._server.using(Feature.SNAPSHOT, what):
            return _job(self._server.call("ExportSnapshot", request, what, database=database), what)

    def export_state(self, job: str) -> SnapshotState:
        what = f"get the state of snapshot export {job}"
        request = milvus.GetExportSnapshotStateRequest(job_id=_number(job, what))
        info = self._server.call("GetExportSnapshotState", request, what).info
        return SnapshotState(
            phase=_phase(milvus.ExportSnapshotState, info, what),
            percent=info.progress,
            reason=one_line(info.reason),
            metadata_uri=info.snapshot_metadata_uri,
            files=info.total_files,
            size=info.total_bytes,
        )

    def restore(self, database: str, collection: str, *, uri: str, spec: str) -> str:
        what = f"restore a snapshot into {name_of(database, collection)}"
        request = milvus.RestoreExternalSnapshotRequest(
            db_name=database, target_collection_name=collection, snapshot_metadata_uri=uri, external_spec=spec
        )
        with self._server.using(Feature.SNAPSHOT, what):
            return _job(self._server.call("RestoreExternalSnapshot", request, what, database=database), what)

    def restore_state(self, job: str) -> SnapshotState:
        what = f"get the state of snapshot restore {job}"
        request = milvus.GetRestoreSnapshotStateRequest(job_id=_number(job, what))
        info = self._server.call("GetRestoreSnapshotState", request, what).info
        return SnapshotState(
            phase=_phase(milvus.RestoreSnapshotState, info, what),
            percent=info.progress,
            reason=one_line(info.reason),
        )


def _job(response: Any, what: str) -> str:
    if not response.job_id:
        raise no_job(what)
    return str(response.job_id)


def _number(job: str, what: str) -> int:
    if not job.isdecimal():
        raise unknown_job(what)
    return int(job)


def _phase(states: Any, info: Any, what: str) -> ImportPhase:
    """States are named ``ExportSnapshotCompleted``, ``RestoreSnapshotFailed`` …; no state means an unknown job."""
    if not info.state:
        raise unknown_job(what)
    name = states.Name(info.state) if info.state in states.values() else ""
    return _PHASES.get(name.partition("Snapshot")[2], ImportPhase.RUNNING)
