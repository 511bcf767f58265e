"""Snapshots: made, exported, restored (3.0; a 2.6 has none, run: 2.6.19).

Sources: milvus ``internal/datacoord/snapshot_manager.go``, ``internal/proxy/snapshot_impl.go``,
``docs/design_docs/20251114-snapshot_design.md`` (nothing is flushed, growing segments are not in it, segments are kept
from garbage collection).
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2

from mbk.errors import MbkError
from tests.milvus_double import objects
from tests.milvus_double.calls import Call, Part
from tests.milvus_double.external_storage import ExternalStorages, Place
from tests.milvus_double.faults import EXPORT, RESTORE, Faults
from tests.milvus_double.refusal import Refused, invalid
from tests.milvus_double.snapshot_files import Bundle, bundle_keys, metadata_key, remove, write
from tests.milvus_double.state import ALL_PARTITIONS, Collection, Partition, Snapshot, State

_TAIL = re.compile(r"(?P<root>.*/|)(?P<tail>snapshots/(?P<collection>\d+)/metadata/(?P<snapshot>\d+)\.json)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,254}")
PENDING, EXECUTING, COMPLETED, FAILED = 1, 2, 3, 4


@dataclass(slots=True)
class SnapshotJob:
    id: int
    snapshot: str
    database: str
    collection: str
    state: int = PENDING
    progress: int = 0
    reason: str = ""
    started: float = 0.0
    files: int = 0
    copied: int = 0
    bytes: int = 0
    uri: str = ""

    @property
    def running(self) -> bool:
        return self.state in (PENDING, EXECUTING)


class Snapshots(Part):
    """``stores``: what the server reaches. ``own_directory``: exports lie in ``exports/{uuid}/``, as of newer servers.

    ``seconds`` is how long a job waits before it works.
    """

    def __init__(self, state: State, faults: Faults) -> None:
        super().__init__(state)
        self.stores = ExternalStorages(state.store)
        self.own_directory = False
        self.seconds = 0.0
        self.exports: dict[int, SnapshotJob] = {}
        self.restores: dict[int, SnapshotJob] = {}
        self._faults = faults
        self._pins: dict[int, int] = {}
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="snapshot")

    def close(self) -> None:
        self._closing.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.stores.close()

    # -- within the cluster --------------------------------------------------------------------------------------------

    def CreateSnapshot(self, request: Any, call: Call) -> Any:
        collection = self.state.collection(call.database, request.collection_name)
        if not _NAME.fullmatch(request.name):
            raise invalid(f"invalid snapshot name {request.name!r}")
        if self._named(collection, request.name):
            raise invalid(f"snapshot {request.name} already exists in collection {collection.name}")
        segments = collection.persistent_segments()
        snapshot = Snapshot(
            id=self.state.clock.new_id(),
            name=request.name,
            database=collection.database,
            collection_id=collection.id,
            created=min(collection.checkpoints.values(), default=0) or self.state.clock.now(),
            description=request.description,
            extra={"partitions": list(collection.partitions)},
        )
        write(self.state, collection, snapshot, segments)
        self.state.snapshots[snapshot.id] = snapshot
        return common.Status()

    def DropSnapshot(self, request: Any, call: Call) -> Any:
        collection = self.state.collection(call.database, request.collection_name)
        snapshot = self._named(collection, request.name)
        if snapshot is None:
            return common.Status()
        exported = any(
            job.running and job.snapshot == snapshot.name and job.collection == collection.name
            for job in self.exports.values()
        )
        if exported or snapshot.id in self._pins.values():
            raise Refused(f"snapshot {snapshot.name} is pinned and cannot be dropped", retriable=True)
        remove(self.state, snapshot)
        del self.state.snapshots[snapshot.id]
        return common.Status()

    def ListSnapshots(self, request: Any, call: Call) -> Any:
        names = [
            snapshot.name
            for snapshot in self.state.snapshots.values()
            if not request.collection_name
            or snapshot.collection_id == self.state.collection(call.database, request.collection_name).id
        ]
        return milvus.ListSnapshotsResponse(status=common.Status(), snapshots=names)

    def DescribeSnapshot(self, request: Any, call: Call) -> Any:
        collection, snapshot = self._snapshot(request, call)
        return milvus.DescribeSnapshotResponse(
            status=common.Status(),
            name=snapshot.name,
            description=snapshot.description,
            collection_name=collection.name,
            partition_names=snapshot.extra["partitions"],
            create_ts=snapshot.created,
            s3_location=self.state.key(snapshot.extra["metadata"]),
        )

    def PinSnapshotData(self, request: Any, call: Call) -> Any:
        _, snapshot = self._snapshot(request, call)
        pin = self.state.clock.new_id()
        self._pins[pin] = snapshot.id
        return milvus.PinSnapshotDataResponse(status=common.Status(), pin_id=pin)

    def UnpinSnapshotData(self, request: Any, _call: Call) -> Any:
        self._pins.pop(request.pin_id, None)
        return common.Status()

    def _snapshot(self, request: Any, call: Call) -> tuple[Collection, Snapshot]:
        collection = self.state.collection(call.database, request.collection_name)
        snapshot = self._named(collection, request.name)
        if snapshot is None:
            raise Refused(f"snapshot {request.name} not found in collection {collection.name}", code=1100)
        return collection, snapshot

    def _named(self, collection: Collection, name: str) -> Snapshot | None:
        own = (item for item in self.state.snapshots.values() if item.collection_id == collection.id)
        return next((item for item in own if item.name == name), None)

    # -- export --------------------------------------------------------------------------------------------------------

    def ExportSnapshot(self, request: Any, call: Call) -> Any:
        collection, snapshot = self._snapshot(request, call)
        place = self.stores.place(request.target_s3_path, request.external_spec)
        job = self._job(self.exports, request.name, collection.database, collection.name)
        self._pool.submit(self._work, job, EXPORT, lambda: self._export(job, snapshot, place))
        return milvus.ExportSnapshotResponse(status=common.Status(), job_id=job.id)

    def _export(self, job: SnapshotJob, snapshot: Snapshot, place: Place) -> None:
        below = f"exports/{uuid.uuid4()}/" if self.own_directory else ""
        keys = bundle_keys(self.state, snapshot)
        job.files = len(keys)
        for key in keys:
            with self.state.store.read(self.state.key(key)) as chunks:
                data = b"".join(chunks)
            place.storage.write(f"{place.key}/{below}{key}", [data], size=len(data))
            job.copied += 1
            job.bytes += len(data)
            job.progress = 99 * job.copied // job.files
        own = metadata_key(snapshot.collection_id, snapshot.id)
        job.uri = f"{place.uri.rstrip('/')}/{below}{own}"

    def GetExportSnapshotState(self, request: Any, _call: Call) -> Any:
        job = self._known(self.exports, request.job_id)
        info = milvus.ExportSnapshotInfo(
            **self._told(job),
            total_files=job.files,
            copied_files=job.copied,
            total_bytes=job.bytes,
            snapshot_metadata_uri=job.uri if job.state == COMPLETED else "",
        )
        return milvus.GetExportSnapshotStateResponse(status=common.Status(), info=info)

    # -- restore -------------------------------------------------------------------------------------------------------

    def RestoreExternalSnapshot(self, request: Any, call: Call) -> Any:
        place = self.stores.place(request.snapshot_metadata_uri, request.external_spec)
        tail = _TAIL.fullmatch(place.key)
        if tail is None:
            raise invalid(
                f"snapshot_metadata_uri has to end with snapshots/{{collection}}/metadata/{{id}}.json: {place.key}"
            )
        name = request.target_collection_name
        self._check_target(call.database, name)
        job = self._job(self.restores, tail["snapshot"], call.database, name)

        def work() -> None:
            self._restore(job, Bundle(place.storage, tail["root"], tail["tail"]))

        self._pool.submit(self._work, job, RESTORE, work)
        return milvus.RestoreExternalSnapshotResponse(status=common.Status(), job_id=job.id)

    def RestoreSnapshot(self, request: Any, call: Call) -> Any:
        _, snapshot = self._snapshot(request, call)
        database = request.target_db_name or call.database
        self._check_target(database, request.target_collection_name)
        job = self._job(self.restores, request.name, database, request.target_collection_name)
        root = self.state.key("x")[:-1]

        def work() -> None:
            self._restore(job, Bundle(self.state.store, root, snapshot.extra["metadata"]))

        self._pool.submit(self._work, job, RESTORE, work)
        return milvus.RestoreSnapshotResponse(status=common.Status(), job_id=job.id)

    def GetRestoreSnapshotState(self, request: Any, _call: Call) -> Any:
        job = self._known(self.restores, request.job_id)
        info = milvus.RestoreSnapshotInfo(**self._told(job))
        return milvus.GetRestoreSnapshotStateResponse(status=common.Status(), info=info)

    def ListRestoreSnapshotJobs(self, request: Any, call: Call) -> Any:
        jobs = [
            milvus.RestoreSnapshotInfo(**self._told(job))
            for job in self.restores.values()
            if job.database == call.database and request.collection_name in ("", job.collection)
        ]
        return milvus.ListRestoreSnapshotJobsResponse(status=common.Status(), jobs=jobs)

    def _check_target(self, database: str, name: str) -> None:
        if not name:
            raise invalid("target collection name is empty")
        if name in self.state.database(database).collections:
            raise invalid(f"collection {name} already exists")

    def _restore(self, job: SnapshotJob, bundle: Bundle) -> None:
        """The collection comes first and stays where the rest fails."""
        with self.state.lock:
            self._check_target(job.database, job.collection)
            collection, partitions = self._make(job, bundle)
        manifests = bundle.manifests()
        for number, manifest in enumerate(manifests, 1):
            rows, deletes = bundle.rows(manifest, collection), bundle.deletes(manifest)
            with self.state.lock:
                segment = objects.write_segment(
                    self.state,
                    collection,
                    partitions[manifest["partition_id"]],
                    bundle.channel(manifest, collection),
                    rows,
                    deletes=deletes,
                    level=manifest["level"],
                    storage_version=manifest["storage_version"],
                )
                segment.is_sorted = manifest["is_sorted"]
            job.progress = 99 * number // len(manifests)

    def _make(self, job: SnapshotJob, bundle: Bundle) -> tuple[Collection, dict[int, int]]:
        """With the ids of fields and indexes kept, and a new one for itself and its partitions."""
        told, clock = bundle.collection, self.state.clock
        number = clock.new_id()
        schema = schema_pb2.CollectionSchema()
        schema.CopyFrom(bundle.schema)
        schema.name = job.collection
        collection = Collection(
            id=number,
            database=job.database,
            name=job.collection,
            schema=schema,
            shards=told["shards"],
            consistency_level=told["consistency_level"],
            channels=self.state.new_channels(number, told["shards"]),
            created=clock.now(),
            properties=dict(told["properties"]),
            indexes={index.name: index for index in bundle.indexes()},
            max_field_id=told["max_field_id"],
        )
        ids = {ALL_PARTITIONS: ALL_PARTITIONS}
        for old, name in told["partitions"].items():
            partition = Partition(id=clock.new_id(), name=name, created=collection.created)
            collection.partitions[name] = partition
            ids[int(old)] = partition.id
        self.state.database(job.database).collections[job.collection] = collection
        self.state.collections[number] = collection
        return collection, ids

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _job(
        self, jobs: dict[int, SnapshotJob], snapshot: str, database: str, collection: str
    ) -> SnapshotJob:
        job = SnapshotJob(self.state.clock.new_id(), snapshot, database, collection, started=time.time())
        jobs[job.id] = job
        return job

    @staticmethod
    def _known(jobs: dict[int, SnapshotJob], number: int) -> SnapshotJob:
        if number not in jobs:
            raise Refused(f"snapshot job {number} not found", code=1100)
        return jobs[number]

    def _work(self, job: SnapshotJob, kind: str, work: Callable[[], None]) -> None:
        fault = self._faults.of_job(job, kind)
        job.state = EXECUTING
        if fault is not None and not fault.reason:
            job.progress = fault.percent
            return
        try:
            if self._closing.wait(self.seconds):
                raise Refused("the server shuts down")
            if fault is not None:
                raise Refused(fault.reason)
            work()
            job.state, job.progress = COMPLETED, 100
        except Refused as refused:
            job.state, job.reason = FAILED, refused.reason
        except (MbkError, KeyError, ValueError) as error:
            job.state, job.reason = FAILED, str(error)

    @staticmethod
    def _told(job: SnapshotJob) -> dict[str, Any]:
        return {
            "job_id": job.id,
            "snapshot_name": job.snapshot,
            "db_name": job.database,
            "collection_name": job.collection,
            "state": job.state,
            "progress": job.progress,
            "reason": job.reason,
            "start_time": int(job.started * 1000),
            "time_cost": int((time.time() - job.started) * 1000),
        }
