"""A snapshot as objects: its metadata and manifests, copied as a bundle, and read back into rows.

Layout below the root path or the bundle, as in milvus ``docs/design_docs/20251114-snapshot_design.md``::

    snapshots/{collection}/metadata/{snapshot}.json
    snapshots/{collection}/manifests/{snapshot}/{segment}.avro
    insert_log/… delta_log/… stats_log/…                        (as in the root path)

The manifests are not real Avro: nobody but a server reads them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from pymilvus.grpc_gen import schema_pb2

from mbk.ports.storage import Storage
from tests.milvus_double import codec
from tests.milvus_double.state import Collection, Delete, Index, LogFile, Row, Segment, Snapshot, State

_AVRO = b"Obj\x01"


def metadata_key(collection_id: int, snapshot_id: int) -> str:
    return f"snapshots/{collection_id}/metadata/{snapshot_id}.json"


def _manifest_key(collection_id: int, snapshot_id: int, segment_id: int) -> str:
    return f"snapshots/{collection_id}/manifests/{snapshot_id}/{segment_id}.avro"


def write(state: State, collection: Collection, snapshot: Snapshot, segments: Sequence[Segment]) -> None:
    """The snapshot's own files; the segments' stay where they are and are kept from garbage collection."""
    keys = []
    for segment in segments:
        key = _manifest_key(collection.id, snapshot.id, segment.id)
        _put(state.store, state.key(key), _AVRO + json.dumps(_manifest(state, segment)).encode())
        keys.append(key)
    metadata = _described(collection, snapshot) | {
        "manifest_list": keys,
        "segment_ids": [item.id for item in segments],
    }
    own = metadata_key(collection.id, snapshot.id)
    _put(state.store, state.key(own), json.dumps(metadata).encode())
    snapshot.extra |= {
        "metadata": own,
        "keys": [own, *keys],
        "segment_ids": [segment.id for segment in segments],
        "data": [key for segment in segments for key in segment.keys],
    }


def remove(state: State, snapshot: Snapshot) -> None:
    state.store.delete([state.key(key) for key in snapshot.extra["keys"]])


def bundle_keys(state: State, snapshot: Snapshot) -> list[str]:
    """Every object of the bundle, relative to the root path; the metadata last."""
    own: list[str] = snapshot.extra["keys"]
    data = [_relative(state, key) for key in snapshot.extra["data"]]
    return [*data, *own[1:], own[0]]


def _relative(state: State, key: str) -> str:
    return key.removeprefix(state.key("")).lstrip("/")


def _described(collection: Collection, snapshot: Snapshot) -> dict[str, Any]:
    return {
        "snapshot_info": {
            "id": snapshot.id,
            "name": snapshot.name,
            "description": snapshot.description,
            "collection_id": collection.id,
            "create_ts": snapshot.created,
        },
        "collection": {
            "schema": base64.b64encode(collection.schema.SerializeToString()).decode(),
            "shards": collection.shards,
            "consistency_level": collection.consistency_level,
            "channels": collection.channels,
            "properties": collection.properties,
            "partitions": {partition.id: partition.name for partition in collection.partitions.values()},
            "max_field_id": collection.max_field_id,
        },
        "indexes": [asdict(index) for index in collection.indexes.values()],
    }


def _manifest(state: State, segment: Segment) -> dict[str, Any]:
    def paths(files: Sequence[LogFile]) -> list[str]:
        return [_relative(state, file.key) for file in files]

    return {
        "segment_id": segment.id,
        "partition_id": segment.partition_id,
        "channel": segment.channel,
        "level": segment.level,
        "storage_version": segment.storage_version,
        "is_sorted": segment.is_sorted,
        "num_of_rows": segment.row_count,
        "binlog_files": {group: paths(files) for group, files in segment.insert_logs.items()},
        "deltalog_files": paths(segment.delta_logs),
        "other_files": [_relative(state, key) for key in segment.other_keys],
    }


class Bundle:
    """A snapshot read from ``root`` (a prefix with a slash, or "") of a storage."""

    def __init__(self, storage: Storage, root: str, metadata: str) -> None:
        self._storage, self._root = storage, root
        self.metadata: dict[str, Any] = json.loads(self._read(metadata))
        self.collection: dict[str, Any] = self.metadata["collection"]
        self.schema = schema_pb2.CollectionSchema.FromString(base64.b64decode(self.collection["schema"]))

    def indexes(self) -> list[Index]:
        return [Index(**index) for index in self.metadata["indexes"]]

    def manifests(self) -> list[dict[str, Any]]:
        return [json.loads(self._read(key).removeprefix(_AVRO)) for key in self.metadata["manifest_list"]]

    def rows(self, manifest: Mapping[str, Any], collection: Collection) -> list[Row]:
        """Of one segment, as they were, for the channel of the same number in ``collection``."""
        version = manifest["storage_version"]
        files = (
            {int(group): keys for group, keys in manifest["binlog_files"].items()}
            if version < 3
            else _packed_files(manifest["other_files"])
        )
        channel = self.channel(manifest, collection)
        rows: list[Row] = []
        for at in range(max(map(len, files.values()), default=0)):
            batch = {group: self._read(keys[at]) for group, keys in files.items()}
            columns = codec.decode_columns(min(version, 2), collection.fields, batch)
            rows += [replace(row, channel=channel) for row in codec.rows_of(collection.key_field, columns)]
        return rows

    def deletes(self, manifest: Mapping[str, Any]) -> list[Delete]:
        return [item for key in manifest["deltalog_files"] for item in codec.decode_deletes(self._read(key))]

    def channel(self, manifest: Mapping[str, Any], collection: Collection) -> str:
        number: int = self.collection["channels"].index(manifest["channel"])
        return collection.channels[number]

    def _read(self, key: str) -> bytes:
        with self._storage.read(self._root + key) as chunks:
            return b"".join(chunks)


def _packed_files(keys: Sequence[str]) -> dict[int, list[str]]:
    """Group -> files, in the order in which they were written, out of ``_data/{group}_{id}.parquet``."""
    found: dict[int, list[str]] = {}
    for key in keys:
        if "/_data/" in key:
            group = key.rpartition("/")[2].partition("_")[0]
            found.setdefault(int(group), []).append(key)
    return found


def _put(storage: Storage, key: str, data: bytes) -> None:
    storage.write(key, [data], size=len(data))
