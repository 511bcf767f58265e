"""Deltalogs: the JSON form and the form of two columns, both in version 1's envelope, and the bare parquet file.

Sources: milvus ``internal/storage/data_codec.go`` (one JSON text a row), ``delta_data.go`` (``pk``, ``ts``, ``pkType``; the
older form ``pk,ts`` of before 2.2), ``serde_delta.go`` with ``event_data.go`` (``version`` = ``MULTI_FIELD``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pyarrow as pa
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.codec.binlog import parquet_bytes, read_table, single_column
from tests.milvus_double.codec.events import (
    DELETE,
    CodecError,
    EventFile,
    LogIds,
    decode_file,
    encode_file,
)
from tests.milvus_double.state import Delete, Key

MULTI_FIELD = "MULTI_FIELD"
PARQUET_MAGIC = b"PAR1"


def encode_deletes(deletes: Sequence[Delete], ids: LogIds, *, multi_field: bool = False) -> bytes:
    """Version 1. ``multi_field``: two columns of parquet instead of a column of JSON (`decode_deletes` tells them apart)."""
    extras: dict[str, object] = {"original_size": str(sum(len(str(item.pk)) + 8 for item in deletes))}
    if multi_field:
        extras["version"] = MULTI_FIELD
    table = (
        _two_columns(deletes) if multi_field else single_column(pa.array(map(_text, deletes), pa.string()))
    )
    times = [item.timestamp for item in deletes]
    data_type = int(DataType.Int64 if multi_field else DataType.String)
    file = EventFile(
        LogIds(ids.collection, ids.partition, ids.segment),
        data_type,
        DELETE,
        [parquet_bytes(table)],
        min(times),
        max(times),
        extras,
    )
    return encode_file(file)


def encode_packed_deletes(deletes: Sequence[Delete]) -> bytes:
    """The bare parquet file of storage version 2 and 3."""
    return parquet_bytes(_two_columns(deletes))


def decode_deletes(data: bytes) -> list[Delete]:
    """Any of the three forms, also several events in one file."""
    if data.startswith(PARQUET_MAGIC):
        return _from_two_columns(read_table(data))
    file = decode_file(data)
    if file.kind != DELETE:
        raise CodecError("wrong binlog type, expect:DeleteEventType, actual:InsertEventType")
    tables = [read_table(payload) for payload in file.payloads]
    if file.extras.get("version") == MULTI_FIELD:
        return [item for table in tables for item in _from_two_columns(table)]
    return [_from_text(text) for table in tables for text in table.column(0).to_pylist()]


def _two_columns(deletes: Iterable[Delete]) -> pa.Table:
    items = list(deletes)
    kind = pa.string() if items and isinstance(items[0].pk, str) else pa.int64()
    fields = [pa.field("pk", kind, nullable=False), pa.field("ts", pa.int64(), nullable=False)]
    columns = [
        pa.array([item.pk for item in items], kind),
        pa.array([item.timestamp for item in items], pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _from_two_columns(table: pa.Table) -> list[Delete]:
    if table.num_columns < 2:
        raise CodecError(f"a deltalog of {table.num_columns} columns")
    return [
        Delete(pk, ts)
        for pk, ts in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
    ]


def _text(item: Delete) -> str:
    kind = int(DataType.VarChar if isinstance(item.pk, str) else DataType.Int64)
    return json.dumps({"pk": item.pk, "ts": item.timestamp, "pkType": kind}, separators=(",", ":"))


def _from_text(text: str) -> Delete:
    if not text.startswith("{"):
        pk, _, timestamp = text.rpartition(",")
        return Delete(int(pk), int(timestamp))
    found = json.loads(text)
    key: Key = found["pk"]
    return Delete(key, int(found["ts"]))
