"""A Milvus in memory that makes, exports and restores snapshots by itself, as far as backup and restore can notice.

milvus: internal/datacoord/snapshot_export_manager.go (an export has a directory of its own and pins its snapshot until it
ends; it cannot be cancelled), snapshot_manager.go (a restore job that fails leaves its target).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mbk.errors import AlreadyExists, ImportFailed, MilvusError
from mbk.model.records import CollectionSchema, IndexInfo, KeyValue, as_dict, key_values
from mbk.ports.milvus.values import CollectionInfo, Feature, ImportPhase, SegmentInfo, SnapshotState
from mbk.testing import MemoryStorage
from tests.fakes.milvus import V2_6, FakeMilvus
from tests.fakes.rows import Collection

V3_0 = V2_6 | {Feature.SNAPSHOT, Feature.MANIFEST_SEGMENTS}
SPEC = '{"extfs": {"access_key_value": "very-secret"}}'


class ReachableStorage(MemoryStorage):
    """``mem://{bucket}/{key}`` where Milvus' own service is meant, ``mem://{host}/{bucket}/{key}`` elsewhere."""

    def external_uri(self, key: str, *, own: bool) -> str:
        host = "" if own else f"{self.location.endpoint}/"
        return f"mem://{host}{self.location.bucket}/{key}"

    def external_spec(self) -> str:
        return SPEC


@dataclass(slots=True)
class _Snapshot:
    created: int
    content: dict[str, Any]
    description: str = ""
    pinned: bool = False


@dataclass(slots=True)
class _Job:
    """``polls`` more until it ends; ``at_end`` then does it, and gives the state or raises what the job fails with."""

    polls: int
    at_end: Any
    state: SnapshotState = field(default_factory=lambda: SnapshotState(ImportPhase.RUNNING))


class SnapshotMilvus(FakeMilvus):
    """``manifests``: its segments have some, which binlogs cannot hold. ``breaks``: names of collections whose jobs fail, ``stuck`` whose never end. ``lost``: whose exports lack a file."""

    version = "v3.0.0-fake"

    def __init__(
        self, storage: MemoryStorage, *, features: frozenset[Feature] = V3_0, polls: int = 2
    ) -> None:
        super().__init__(storage, features=features)
        self.service = storage.service
        self.polls = polls
        self.manifests = True
        self.breaks: set[str] = set()
        self.stuck: set[str] = set()
        self.lost: set[str] = set()
        self.specs: list[str] = []
        self.held: dict[tuple[str, str, str], _Snapshot] = {}
        self.properties: dict[str, dict[str, str]] = {}
        self._snapshot_jobs: dict[str, _Job] = {}
        self._exports = itertools.count(1)

    def describe(self, database: str, collection: str) -> CollectionInfo:
        found = key_values(self.properties.get(collection, {}))
        return replace(super().describe(database, collection), properties=tuple(found))

    def persistent_segments(self, database: str, collection: str) -> list[SegmentInfo]:
        found = super().persistent_segments(database, collection)
        return [replace(segment, storage_version=3) for segment in found] if self.manifests else found

    # -- making and dropping ---------------------------------------------------------------------------------------

    def create_snapshot(self, database: str, collection: str, snapshot: str, *, description: str = "") -> int:
        self._called("create_snapshot", collection)
        found = self._get(database, collection)
        made = _Snapshot(next(self._clock), self._content(found), description)
        return self.held.setdefault((database, collection, snapshot), made).created

    def find_snapshots(self, database: str, collection: str, *, prefix: str) -> Mapping[str, str]:
        self._called("snapshots", collection)
        return {
            name: item.description
            for (*where, name), item in self.held.items()
            if where == [database, collection] and name.startswith(prefix)
        }

    def drop_snapshot(self, database: str, collection: str, snapshot: str) -> None:
        self._called("drop_snapshot", collection)
        self._get(database, collection)
        found = self.held.get((database, collection, snapshot))
        if found is not None and found.pinned:
            raise MilvusError(f"snapshot {snapshot} is pinned")
        self.held.pop((database, collection, snapshot), None)

    def _content(self, found: Collection) -> dict[str, Any]:
        return {
            "id": found.id,
            "partitions": list(found.partitions),
            "rows": self.rows_by_partition(found.name, database=found.database),
            "schema": msgspec.json.encode(found.schema).decode(),
            "shards": found.shards,
            "indexes": msgspec.json.encode(found.indexes).decode(),
            "properties": self.properties.get(found.name, {}),
        }

    # -- exporting -------------------------------------------------------------------------------------------------

    def export_snapshot(self, database: str, collection: str, snapshot: str, *, uri: str, spec: str) -> str:
        self._called("export_snapshot", collection)
        self.specs.append(spec)
        found = self.held[database, collection, snapshot]
        found.pinned = True
        bucket, key = self._resolve(uri)
        root = f"{key}/exports/uuid-{next(self._exports)}"

        def end() -> SnapshotState:
            found.pinned = False
            self._fail_if_broken(collection)
            return self._write_bundle(bucket, root, collection, found)

        return self._begin(collection, end)

    def export_state(self, job: str) -> SnapshotState:
        self._called("export_state", job)
        return self._advance(job)

    def _write_bundle(self, bucket: str, root: str, collection: str, made: _Snapshot) -> SnapshotState:
        target = MemoryStorage(self.service, bucket)
        number = made.content["id"]
        metadata = f"{root}/snapshots/{number}/metadata/{made.created}.json"
        files = {
            f"{root}/insert_log/{number}/1/2/100/{at}": json.dumps(rows).encode()
            for at, rows in enumerate(made.content["rows"].values())
        }
        files[metadata] = json.dumps(made.content).encode()
        for key, data in files.items():
            if collection not in self.lost or key == metadata:
                target.write(key, [data])
        # Milvus tells the scheme and the host that it knows the bucket by.
        return SnapshotState(
            ImportPhase.COMPLETED,
            100,
            metadata_uri=f"canonical://10.0.0.1:443/{bucket}/{metadata}",
            files=len(files) - 1,
            size=sum(map(len, files.values())),
        )

    # -- restoring -------------------------------------------------------------------------------------------------

    def restore_snapshot(self, database: str, collection: str, *, uri: str, spec: str) -> str:
        self._called("restore_snapshot", collection)
        self.specs.append(spec)
        if (database, collection) in self._collections:
            raise AlreadyExists(f"collection {collection} exists")
        bucket, key = self._resolve(uri)
        content = json.loads(self.service.buckets[bucket].objects[key].data)
        schema = msgspec.json.decode(content["schema"], type=CollectionSchema)
        made = self.add(collection, database=database, partitions=content["partitions"])
        made.schema = msgspec.structs.replace(schema, name=collection)
        made.shards = content["shards"]
        made.indexes = msgspec.json.decode(content["indexes"], type=list[IndexInfo])
        self.properties[collection] = dict(content["properties"])

        def end() -> SnapshotState:
            self._fail_if_broken(collection)
            for partition, rows in content["rows"].items():
                full = [(row[0], next(self._clock), row[1]) for row in rows]
                self._write_segment(made, made.partitions[partition], full)
            return SnapshotState(ImportPhase.COMPLETED, 100)

        return self._begin(collection, end)

    def restore_snapshot_state(self, job: str) -> SnapshotState:
        self._called("restore_snapshot_state", job)
        return self._advance(job)

    # -- altering --------------------------------------------------------------------------------------------------

    def alter_collection(
        self, database: str, collection: str, *, properties: Any = (), delete_keys: Any = ()
    ) -> None:
        self._called("alter_collection", collection)
        found = self._get(database, collection)
        kept = self.properties.setdefault(collection, {})
        for key in delete_keys:
            del kept[key]
        for key, value in as_dict(list(properties)).items():
            if key == "collection.description":
                found.schema.description = value
            else:
                kept[key] = value

    def alter_field(self, database: str, collection: str, field: str, *, delete_keys: Any) -> None:
        self._called("alter_field", field)
        (found,) = (item for item in self._get(database, collection).schema.fields if item.name == field)
        found.type_params = _without(found.type_params, delete_keys)

    def alter_index(self, database: str, collection: str, index: str, *, delete_keys: Any) -> None:
        self._called("alter_index", index)
        (found,) = (item for item in self._get(database, collection).indexes if item.index_name == index)
        found.params = {key: value for key, value in found.params.items() if key not in delete_keys}

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _begin(self, collection: str, end: Any) -> str:
        job = str(next(self._ids))
        self._snapshot_jobs[job] = _Job(10**9 if collection in self.stuck else self.polls, end)
        return job

    def end_jobs(self) -> None:
        """Lets everything that was begun come to its end, as it does in a server that nobody asks."""
        for job in self._snapshot_jobs.values():
            job.polls = 0
        for number in self._snapshot_jobs:
            self._advance(number)

    def _advance(self, number: str) -> SnapshotState:
        if number not in self._snapshot_jobs:
            raise ImportFailed(f"there is no job {number}")
        job = self._snapshot_jobs[number]
        if job.state.phase is ImportPhase.RUNNING:
            job.polls -= 1
            try:
                job.state = job.at_end() if job.polls < 0 else job.state
            except MilvusError as error:
                job.state = SnapshotState(ImportPhase.FAILED, reason=error.message)
        return job.state

    def _fail_if_broken(self, collection: str) -> None:
        if collection in self.breaks:
            raise MilvusError("the disk is full")

    def _resolve(self, uri: str) -> tuple[str, str]:
        parts = uri.removeprefix("mem://").split("/")
        if parts[0] not in self.service.buckets:
            parts = parts[1:]
        return parts[0], "/".join(parts[1:])


def _without(pairs: list[KeyValue], keys: Any) -> list[KeyValue]:
    return [pair for pair in pairs if pair.key not in keys]
