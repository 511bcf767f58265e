"""A whole segment's columns between rows and files, in either storage version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.milvus_double.codec.binlog import decode_binlog, encode_binlog
from tests.milvus_double.codec.columns import ROW_ID, TIMESTAMP, FieldSchema, system_fields
from tests.milvus_double.codec.events import CodecError, LogIds
from tests.milvus_double.codec.packed import column_groups, decode_group, encode_group
from tests.milvus_double.state import Row

Columns = dict[int, list[Any]]


def columns_of(fields: Sequence[FieldSchema], rows: Sequence[Row]) -> Columns:
    """Field id -> values, with the system fields. A row without a value has null there."""
    columns: Columns = {field.fieldID: [row.values.get(field.fieldID) for row in rows] for field in fields}
    columns[ROW_ID] = [row.row_id for row in rows]
    columns[TIMESTAMP] = [row.timestamp for row in rows]
    return columns


def rows_of(key_field: FieldSchema, columns: Mapping[int, Sequence[Any]]) -> list[Row]:
    """The rows of decoded columns; channels are the caller's."""
    names = [number for number in columns if number not in (ROW_ID, TIMESTAMP)]
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise CodecError(f"the columns have different numbers of rows: {sorted(lengths)}")
    return [
        Row(
            columns[key_field.fieldID][at],
            columns[ROW_ID][at],
            columns[TIMESTAMP][at],
            {number: columns[number][at] for number in names},
        )
        for at in range(lengths.pop() if lengths else 0)
    ]


def encode_columns(
    version: int, fields: Sequence[FieldSchema], columns: Mapping[int, Sequence[Any]], ids: LogIds
) -> dict[int, bytes]:
    """Directory (field id; column group for version 2) -> the one file in it. ``fields`` are the user's and ``$meta``."""
    every = [*system_fields(), *fields]
    times = columns[TIMESTAMP]
    if version < 2:
        span = (min(times), max(times)) if times else (0, 0)
        return {
            field.fieldID: encode_binlog(field, columns[field.fieldID], ids, span=span) for field in every
        }
    groups = column_groups(every)
    listed = [[field.fieldID for field in group] for group in groups.values()]
    return {number: encode_group(group, columns, all_groups=listed) for number, group in groups.items()}


def decode_columns(version: int, fields: Sequence[FieldSchema], files: Mapping[int, bytes]) -> Columns:
    """The columns of the fields that ``files`` (directory -> one file) have; system fields included."""
    by_id = {field.fieldID: field for field in [*system_fields(), *fields]}
    if version < 2:
        return {
            number: decode_binlog(by_id[number], data) for number, data in files.items() if number in by_id
        }
    columns: Columns = {}
    for data in files.values():
        columns |= decode_group(by_id, data)
    return columns
