"""Insert binlogs of storage version 1: one file a field, its payload a parquet file of one column named ``val``.

Sources: milvus ``internal/storage/payload_writer.go`` (zstd, column ``val``), ``binlog_writer.go`` and ``event_data.go``
(the extras ``original_size`` as text, ``nullable`` from 2.5 on).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.milvus_double.codec.columns import FieldSchema, from_arrow, to_arrow
from tests.milvus_double.codec.events import (
    INSERT,
    CodecError,
    EventFile,
    LogIds,
    decode_file,
    encode_file,
)


def encode_binlog(field: FieldSchema, values: Sequence[Any], ids: LogIds, *, span: tuple[int, int]) -> bytes:
    """``span``: the first and the last timestamp of the rows, hybrid."""
    column = to_arrow(field, values)
    extras: dict[str, Any] = {"original_size": str(column.nbytes)}
    if field.nullable:
        extras["nullable"] = True
    payload = parquet_bytes(single_column(column, nullable=field.nullable))
    return encode_file(
        EventFile(
            LogIds(ids.collection, ids.partition, ids.segment, field.fieldID),
            int(field.data_type),
            INSERT,
            [payload],
            *span,
            extras,
        )
    )


def decode_binlog(field: FieldSchema, data: bytes) -> list[Any]:
    file = decode_file(data)
    if file.kind != INSERT:
        raise CodecError("wrong binlog type, expect:InsertEventType, actual:DeleteEventType")
    if file.data_type != field.data_type:
        raise CodecError(
            f"field {field.name} has data type {file.data_type} in the file, {field.data_type} by the schema"
        )
    return [value for payload in file.payloads for value in from_arrow(field, read_table(payload).column(0))]


def single_column(column: pa.Array, *, nullable: bool = False) -> pa.Table:
    return pa.Table.from_arrays([column], schema=pa.schema([pa.field("val", column.type, nullable=nullable)]))


def parquet_bytes(table: pa.Table) -> bytes:
    target = io.BytesIO()
    pq.write_table(table, target, compression="zstd", compression_level=3, store_schema=True)
    return target.getvalue()


def read_table(data: bytes) -> pa.Table:
    try:
        return pq.read_table(io.BytesIO(data))
    except (pa.ArrowInvalid, OSError) as error:
        raise CodecError(f"no parquet file: {error}") from error
