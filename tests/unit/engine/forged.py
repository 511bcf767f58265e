"""Backups whose objects the double's codec writes and reads, so that no code of mbk's judges what mbk makes of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymilvus.grpc_gen.schema_pb2 import DataType, FieldSchema

from mbk.engine.formats.binlog.contents import Contents
from mbk.engine.formats.binlog.known import Known
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.testing import MemoryStorage
from tests.milvus_double.codec import (
    TIMESTAMP,
    LogIds,
    columns_of,
    decode_columns,
    decode_deletes,
    encode_columns,
    encode_deletes,
    encode_packed_deletes,
)
from tests.milvus_double.state import Delete, Key, Row

COLL, P1, P2 = 460001, 460002, 460003
Tree = dict[str, Any]


def int_keys(number: int) -> Key:
    return number


def text_keys(number: int) -> Key:
    return f"ключ {number}"


@dataclass
class Backup:
    """A backup being forged. ``version``: the storage version of its segments; ``grouped`` as writers since 0.4.4."""

    storage: MemoryStorage
    name: str = "src"
    version: int = 1
    key: Callable[[int], Key] = int_keys
    grouped: bool = True
    partitions: dict[int, list[Tree]] = field(default_factory=lambda: {P1: [], P2: []})
    l0: list[Tree] = field(default_factory=list)
    next_log: int = 460900
    root: str = "backup/"

    @property
    def fields(self) -> list[FieldSchema]:
        kind = DataType.VarChar if self.key is text_keys else DataType.Int64
        vector = FieldSchema(fieldID=101, name="vector", data_type=DataType.FloatVector)
        vector.type_params.add(key="dim", value="2")
        return [FieldSchema(fieldID=100, name="pk", data_type=kind, is_primary_key=True), vector]

    def data(
        self, partition: int, segment: int, rows: range, *, time: int, deletes: Sequence[Delete] = ()
    ) -> None:
        made = [
            Row(self.key(row), row, time + row, {100: self.key(row), 101: bytes([row % 256]) * 8})
            for row in rows
        ]
        files = encode_columns(
            self.version, self.fields, columns_of(self.fields, made), LogIds(COLL, partition, segment)
        )
        record = self._record(partition, segment, len(made))
        record["binlogs"] = [
            {"fieldID": number, "binlogs": [self._put("insert_log", record, f"{number}/", data)]}
            for number, data in files.items()
        ]
        logs = [self._put("delta_log", record, "", self._deletes(deletes, record))] if deletes else []
        record["deltalogs"] = [{"binlogs": logs}] if logs else [{}]
        self.partitions[partition].append(record)

    def l0_segment(self, partition: int, segment: int, *logs: Sequence[Delete]) -> None:
        record = self._record(partition, segment, sum(map(len, logs))) | {"is_l0": True}
        stored = [self._put("delta_log", record, "", self._deletes(deletes, record)) for deletes in logs]
        record["deltalogs"] = [{"binlogs": stored}]
        (self.l0 if partition == -1 else self.partitions[partition]).append(record)

    def write(self, **more: Any) -> None:
        partitions = [
            {
                "partition_id": number,
                "partition_name": f"p{number}",
                "collection_id": COLL,
                "size": 1,
                "segment_backups": segments,
            }
            for number, segments in self.partitions.items()
        ]
        schema = [
            {
                "fieldID": item.fieldID,
                "name": item.name,
                "data_type": item.data_type,
                "is_primary_key": item.is_primary_key,
            }
            for item in self.fields
        ]
        collection = {
            "id": "old task",
            "collection_id": COLL,
            "db_name": "db",
            "collection_name": "coll",
            "schema": {"name": "coll", "fields": schema},
            "partition_backups": partitions,
            "l0_segments": self.l0,
            "channel_checkpoints": {"ch": "EgA="},
            "size": 17,
        }
        root = {
            "id": "old task",
            "name": self.name,
            "state_code": 0,
            "collection_backups": [collection],
            "size": 17,
            "milvus_version": "v2.6.1",
            "database_backups": [{"db_name": "db", "db_id": 7, "ezk": "secret"}],
            "flush_all_msgs_base64": {"pch": "AA=="},
            **more,
        }
        own = {
            "version": 1,
            "id": "old task",
            "name": self.name,
            "rows": {str(COLL): 42},
            "failed": {"db.lost": "why"},
        }
        meta = f"{self.root}{self.name}/meta"
        for file, tree in (
            ("mbk.json", own),
            ("backup_meta.json", {"id": "old task", "name": self.name}),
            ("full_meta.json", root),
        ):
            self.storage.write(f"{meta}/{file}", [json.dumps(tree).encode()])

    def _record(self, partition: int, segment: int, rows: int) -> Tree:
        group = {"group_id": segment} if self.grouped and partition != -1 else {}
        return {
            "segment_id": segment,
            "collection_id": COLL,
            "partition_id": partition,
            "num_of_rows": rows,
            "size": 0,
            "storage_version": self.version,
            "v_channel": "ch",
            **group,
        }

    def _put(self, kind: str, record: Tree, below: str, data: bytes) -> Tree:
        self.next_log += 1
        partition, segment = record["partition_id"], record["segment_id"]
        group = f"{segment}/" if "group_id" in record else ""
        place = f"{kind}/{COLL}/{partition}/{group}{segment}/{below}{self.next_log}"
        self.storage.write(f"{self.root}{self.name}/binlogs/{place}", [data])
        record["size"] += len(data)
        return {"log_path": f"files/{place}", "log_size": len(data), "log_id": self.next_log}

    def _deletes(self, deletes: Sequence[Delete], record: Tree) -> bytes:
        if self.version > 1:
            return encode_packed_deletes(deletes)
        ids = LogIds(COLL, record["partition_id"], record["segment_id"])
        return encode_deletes(deletes, ids, multi_field=bool(self.next_log % 2))

    def delete(self, *numbers: int, time: int) -> list[Delete]:
        return [Delete(self.key(number), time) for number in numbers]


def objects(storage: MemoryStorage, prefix: str) -> dict[str, bytes]:
    keys = [entry.key for entry in storage.list(prefix)]
    return {key.removeprefix(prefix): content_of(storage, key) for key in keys}


def content_of(storage: MemoryStorage, key: str) -> bytes:
    with storage.read(key) as chunks:
        return b"".join(chunks)


def meta(storage: MemoryStorage, name: str, file: str = "full_meta.json") -> Tree:
    tree: Tree = json.loads(content_of(storage, f"backup/{name}/meta/{file}"))
    return tree


def live(backup: Backup, name: str) -> dict[int, list[Key]]:
    """Partition -> the keys that a server would hold after importing the backup as the format says."""
    (collection,) = meta(backup.storage, name)["collection_backups"]
    data = objects(backup.storage, f"backup/{name}/binlogs/")
    everywhere = [item for record in collection.get("l0_segments", []) for item in deletes_of(data, record)]
    found: dict[int, list[Key]] = {}
    for partition in collection["partition_backups"]:
        records = partition.get("segment_backups", [])
        local = [item for record in records if record.get("is_l0") for item in deletes_of(data, record)]
        keys = found.setdefault(partition["partition_id"], [])
        for record in records:
            if not record.get("is_l0"):
                newest: defaultdict[Key, int] = defaultdict(int)
                for item in (*everywhere, *local, *deletes_of(data, record)):
                    newest[item.pk] = max(newest[item.pk], item.timestamp)
                keys += [key for key, time in rows_of(backup, data, record) if newest[key] <= time]
        keys.sort(key=str)
    return found


def below(data: dict[str, bytes], kind: str, record: Tree) -> Iterator[tuple[list[str], bytes]]:
    for key, content in data.items():
        parts = key.split("/")
        if parts[0] == kind and str(record["segment_id"]) in parts[2:-1]:
            yield parts, content


def deletes_of(data: dict[str, bytes], record: Tree) -> list[Delete]:
    return [item for _, content in below(data, "delta_log", record) for item in decode_deletes(content)]


def rows_of(backup: Backup, data: dict[str, bytes], record: Tree) -> list[tuple[Key, int]]:
    files = {int(parts[-2]): content for parts, content in below(data, "insert_log", record)}
    columns = decode_columns(backup.version, backup.fields, files)
    return list(zip(columns[100], columns[TIMESTAMP], strict=True))


@contextmanager
def as_they_are(storage: MemoryStorage, run: Run) -> Iterator[Contents]:
    """Every object of the storage, compared with nothing."""
    with Pool(1, run.cancelled) as pool:
        yield Contents(storage=storage, run=run, prefix="", pool=pool, load=lambda: Known(prefix=""))
