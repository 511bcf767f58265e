"""`l0compact` on backups whose objects the double's codec wrote and reads: no code of mbk's judges the result."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType, FieldSchema

from mbk.engine.catalog import INCOMPLETE, Catalog
from mbk.engine.l0compact import L0Compact
from mbk.engine.run import Run
from mbk.engine.transfer import TransferLimits
from mbk.errors import BackupExists, BackupNotFound, InvalidBackup, InvalidName, MbkError, UsageError
from mbk.model.backup import RunReport
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import QUICK, Killed, Life
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
        meta = f"backup/{self.name}/meta"
        for file, tree in (
            ("mbk.json", own),
            ("backup_meta.json", {"name": self.name}),
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
        self.storage.write(f"backup/{self.name}/binlogs/{place}", [data])
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
    return {key.removeprefix(prefix): _bytes(storage, key) for key in keys}


def _bytes(storage: MemoryStorage, key: str) -> bytes:
    with storage.read(key) as chunks:
        return b"".join(chunks)


def meta(storage: MemoryStorage, name: str, file: str = "full_meta.json") -> Tree:
    tree: Tree = json.loads(_bytes(storage, f"backup/{name}/meta/{file}"))
    return tree


def live(backup: Backup, name: str) -> dict[int, list[Key]]:
    """Partition -> the keys that a server would hold after importing the backup as the format says (FORMAT.md 4.4)."""
    (collection,) = meta(backup.storage, name)["collection_backups"]
    data = objects(backup.storage, f"backup/{name}/binlogs/")
    everywhere = [item for record in collection.get("l0_segments", []) for item in _deletes_of(data, record)]
    found: dict[int, list[Key]] = {}
    for partition in collection["partition_backups"]:
        records = partition.get("segment_backups", [])
        local = [item for record in records if record.get("is_l0") for item in _deletes_of(data, record)]
        keys = found.setdefault(partition["partition_id"], [])
        for record in records:
            if not record.get("is_l0"):
                newest: defaultdict[Key, int] = defaultdict(int)
                for item in (*everywhere, *local, *_deletes_of(data, record)):
                    newest[item.pk] = max(newest[item.pk], item.timestamp)
                keys += [key for key, time in _rows_of(backup, data, record) if newest[key] <= time]
        keys.sort(key=str)
    return found


def _below(data: dict[str, bytes], kind: str, record: Tree) -> Iterator[tuple[list[str], bytes]]:
    for key, content in data.items():
        parts = key.split("/")
        if parts[0] == kind and str(record["segment_id"]) in parts[2:-1]:
            yield parts, content


def _deletes_of(data: dict[str, bytes], record: Tree) -> list[Delete]:
    return [item for _, content in _below(data, "delta_log", record) for item in decode_deletes(content)]


def _rows_of(backup: Backup, data: dict[str, bytes], record: Tree) -> list[tuple[Key, int]]:
    files = {int(parts[-2]): content for parts, content in _below(data, "insert_log", record)}
    columns = decode_columns(backup.version, backup.fields, files)
    return list(zip(columns[100], columns[TIMESTAMP], strict=True))


def compact(
    storage: MemoryStorage, source: str = "src", output: str = "out", *, force: bool = False
) -> RunReport:
    job = L0Compact(storage, Run(policy=QUICK), TransferLimits(concurrency=2), "mbk test")
    return job.execute(source, output, force=force)


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(MemoryService("backups"), "backups", root="backup/")


def filled(storage: MemoryStorage, **options: Any) -> Backup:
    """Deletes of every kind: by partition, over all, older than the row, of a row in another partition, of nothing."""
    backup = Backup(storage, **options)
    backup.data(P1, 460101, range(20), time=1000, deletes=backup.delete(0, time=5000))
    backup.data(P1, 460102, range(20, 30), time=1000)
    backup.data(P2, 460103, range(10, 40), time=1000)
    backup.data(P2, 460104, range(5, 8), time=9000)
    backup.l0_segment(P1, 460105, backup.delete(1, 2, 3, 25, time=2000), backup.delete(3, 4, 15, time=2000))
    backup.l0_segment(P1, 460106, backup.delete(4, time=500))
    backup.l0_segment(-1, 460107, backup.delete(5, 6, 12, 22, 39, 777, time=3000))
    backup.write()
    return backup


VARIANTS: list[Tree] = [
    {},
    {"version": 2},
    {"key": text_keys},
    {"version": 2, "key": text_keys},
    {"grouped": False},
]


@pytest.mark.parametrize("options", VARIANTS, ids=["v1", "v2", "v1 texts", "v2 texts", "old layout"])
def test_the_new_backup_holds_the_same_rows_without_l0_segments(
    storage: MemoryStorage, options: Tree
) -> None:
    backup = filled(storage, **options)
    before = live(backup, "src")
    assert (len(before[P1]), len(before[P2])) == (20 - 9 + 10 - 2, 30 - 3 + 3)
    compact(storage)
    assert live(backup, "out") == before
    (collection,) = meta(storage, "out")["collection_backups"]
    segments = [item for part in collection["partition_backups"] for item in part["segment_backups"]]
    assert "l0_segments" not in collection
    assert [item["segment_id"] for item in segments] == [460101, 460102, 460103, 460104]
    kept = {
        int(key.split("/")[-2 if "delta_log" in key else -3])
        for key in objects(storage, "backup/out/binlogs/")
    }
    assert kept == {460101, 460102, 460103, 460104}


def test_the_source_stays_as_it_is(storage: MemoryStorage) -> None:
    filled(storage)
    before = objects(storage, "backup/src/")
    compact(storage)
    assert objects(storage, "backup/src/") == before


def test_sizes_count_what_is_there_now(storage: MemoryStorage) -> None:
    filled(storage)
    compact(storage)
    root = meta(storage, "out")
    (collection,) = root["collection_backups"]
    data = objects(storage, "backup/out/binlogs/")
    for partition in collection["partition_backups"]:
        for record in partition["segment_backups"]:
            here = [
                len(content)
                for kind in ("insert_log", "delta_log")
                for _, content in _below(data, kind, record)
            ]
            assert record["size"] == sum(here)
            logs = [log for item in record["deltalogs"] for log in item.get("binlogs", [])]
            assert sorted(log["log_size"] for log in logs) == sorted(
                len(content) for _, content in _below(data, "delta_log", record)
            )
    total = sum(map(len, data.values()))
    assert root["size"] == collection["size"] == total
    assert meta(storage, "out", "backup_meta.json")["size"] == total
    assert sum(part["size"] for part in collection["partition_backups"]) == total


def test_new_log_ids_are_higher_than_all_that_there_were(storage: MemoryStorage) -> None:
    backup = filled(storage)
    old = {key.rpartition("/")[2] for key in objects(storage, "backup/src/binlogs/")}
    compact(storage)
    new = {key.rpartition("/")[2] for key in objects(storage, "backup/out/binlogs/")} - old
    assert new
    assert min(map(int, new)) > backup.next_log


def test_everything_else_of_the_backup_is_kept_under_its_new_name_and_id(storage: MemoryStorage) -> None:
    filled(storage)
    report = compact(storage)
    root = meta(storage, "out")
    assert (root["name"], root["id"]) == ("out", report.id)
    assert root["id"] == root["collection_backups"][0]["id"] != "old task"
    assert root["database_backups"] == [{"db_name": "db", "db_id": 7, "ezk": "secret"}]
    assert root["flush_all_msgs_base64"] == {"pch": "AA=="}
    assert root["collection_backups"][0]["channel_checkpoints"] == {"ch": "EgA="}
    own = meta(storage, "out", "mbk.json")
    assert (own["id"], own["name"], own["tool"]) == (report.id, "out", "mbk test")
    assert own["rows"] == {str(COLL): 42}
    assert own["failed"] == {"db.lost": "why"}


def test_the_report_says_how_many_deletes_went_where(storage: MemoryStorage) -> None:
    filled(storage)
    (outcome,) = compact(storage).collections
    assert outcome.source == "db.coll"
    assert outcome.notes == ("15 deletes written to 4 segments",)


def test_a_backup_without_l0_segments_is_copied(storage: MemoryStorage) -> None:
    backup = Backup(storage)
    backup.data(P1, 460101, range(5), time=1000, deletes=backup.delete(0, time=5000))
    backup.write()
    compact(storage)
    assert objects(storage, "backup/out/binlogs/") == objects(storage, "backup/src/binlogs/")


@pytest.mark.parametrize("files", [{"meta/full_meta.json": b"{}"}, {"binlogs/insert_log/1/2/3/3/0/4": b""}])
def test_a_name_that_is_taken_is_refused_and_left_alone(
    storage: MemoryStorage, files: dict[str, bytes]
) -> None:
    filled(storage)
    for key, content in files.items():
        storage.write(f"backup/out/{key}", [content])
    with pytest.raises(BackupExists, match="--force"):
        compact(storage)
    assert objects(storage, "backup/out/") == files


def test_force_replaces_what_was_there_with_nothing_of_it_left(storage: MemoryStorage) -> None:
    backup = filled(storage)
    storage.write("backup/out/meta/mbk.json", [b"{}"])
    storage.write("backup/out/binlogs/insert_log/1/2/3/3/0/4", [b"old"])
    compact(storage, force=True)
    assert live(backup, "out") == live(backup, "src")
    assert "binlogs/insert_log/1/2/3/3/0/4" not in objects(storage, "backup/out/")


def test_what_cannot_be_compacted_is_refused_before_anything_is_deleted(storage: MemoryStorage) -> None:
    def refused(error: type[MbkError], words: str, source: str = "src", output: str = "out") -> None:
        with pytest.raises(error, match=words):
            compact(storage, source, output, force=True)

    storage.write("backup/out/meta/mbk.json", [b"{}"])
    refused(BackupNotFound, "no backup")
    storage.write("backup/half/meta/mbk.json", [b"{}"])
    refused(InvalidBackup, "incomplete", "half")
    filled(storage)
    refused(UsageError, "replace itself", "src", "src")
    refused(InvalidName, "not allowed", "src", "5 names")
    Backup(storage, "snap").write(format="snapshot", collection_backups=[])
    refused(UsageError, "is a snapshot", "snap")
    third = Backup(storage, "third")
    third.data(P1, 460101, range(2), time=1)
    third.partitions[P1][0]["storage_version"] = 3
    third.write()
    refused(UsageError, "storage version 3", "third")
    assert objects(storage, "backup/out/") == {"meta/mbk.json": b"{}"}


def test_a_damaged_delta_log_leaves_an_incomplete_backup_that_can_be_deleted(storage: MemoryStorage) -> None:
    filled(storage)
    key = next(entry.key for entry in storage.list("backup/src/binlogs/delta_log/460001/-1/"))
    storage.write(key, [_bytes(storage, key)[:-30]])
    with pytest.raises(InvalidBackup, match="460107"):
        compact(storage)
    catalog = Catalog(storage, Run(policy=QUICK))
    assert {item.name: item.state for item in catalog.summaries()}["out"] == INCOMPLETE
    catalog.delete("out")
    assert objects(storage, "backup/out/") == {}


def test_killed_at_any_moment_it_is_incomplete_or_whole_and_force_ends_it_well(
    storage: MemoryStorage,
) -> None:
    backup = filled(storage)
    before = live(backup, "src")
    alive, life = storage.fault, Life()
    storage.fault = life
    compact(storage, force=True)
    operations = life.operations
    assert operations > 50
    for moment in range(1, operations, 7):
        storage.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            compact(storage, force=True)
        storage.fault = alive
        found = Catalog(storage, Run(policy=QUICK)).find("out")
        if found.is_committed:
            assert live(backup, "out") == before
    compact(storage, force=True)
    assert live(backup, "out") == before
