"""Column groups of storage version 2: a bare parquet file a group, whose columns say which field they are.

Sources: milvus ``internal/storagecommon/column_group_splitter.go`` (vectors and text apart, by field id; all else in group 0),
``internal/storage/schema.go`` (names, ``PARQUET:field_id``); milvus-storage ``cpp/src/common/metadata.cpp`` (the file's own
key-value metadata ``group_field_id_list`` and ``row_group_metadata``, which its reader asks for).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.codec.binlog import parquet_bytes, read_table
from tests.milvus_double.codec.columns import FieldSchema, arrow_type, from_arrow, to_arrow
from tests.milvus_double.codec.events import CodecError

FIELD_ID = b"PARQUET:field_id"
NARROW_GROUP = 0
_OWN_GROUP = frozenset(
    {
        DataType.BinaryVector,
        DataType.FloatVector,
        DataType.Float16Vector,
        DataType.BFloat16Vector,
        DataType.SparseFloatVector,
        DataType.Int8Vector,
        DataType.ArrayOfVector,
        DataType.Text,
    }
)


def has_own_group(field: FieldSchema) -> bool:
    return field.data_type in _OWN_GROUP


def column_groups(fields: Sequence[FieldSchema]) -> dict[int, list[FieldSchema]]:
    """Group id -> its fields, in the order of the schema."""
    groups: dict[int, list[FieldSchema]] = {NARROW_GROUP: []}
    for field in fields:
        groups.setdefault(field.fieldID if has_own_group(field) else NARROW_GROUP, []).append(field)
    return groups


def encode_group(
    fields: Sequence[FieldSchema],
    columns: Mapping[int, Sequence[Any]],
    *,
    all_groups: Sequence[Sequence[int]] = (),
) -> bytes:
    """``all_groups``: the field ids of every group of the segment, which each of its files repeats."""
    arrow_fields = [
        pa.field(field.name, arrow_type(field), field.nullable, _metadata(field)) for field in fields
    ]
    arrays = [to_arrow(field, columns[field.fieldID]) for field in fields]
    groups = all_groups or [[field.fieldID for field in fields]]
    rows = len(arrays[0]) if arrays else 0
    described = {
        b"storage_version": b"1.0.0",
        b"group_field_id_list": ";".join(",".join(map(str, group)) for group in groups).encode(),
        b"row_group_metadata": f"{sum(array.nbytes for array in arrays)}|{rows}|0".encode(),
    }
    return parquet_bytes(pa.Table.from_arrays(arrays, schema=pa.schema(arrow_fields, described)))


def decode_group(fields: Mapping[int, FieldSchema], data: bytes) -> dict[int, list[Any]]:
    """Field id -> values, for the columns whose field is among ``fields``; others are passed over."""
    if not data.startswith(b"PAR1"):
        raise CodecError("failed to open packed reader: Invalid: Parquet magic bytes not found in footer")
    table = read_table(data)
    found: dict[int, list[Any]] = {}
    for number, column in enumerate(table.schema):
        field = fields.get(_field_id(column))
        if field is not None:
            found[field.fieldID] = from_arrow(field, table.column(number))
    return found


def _metadata(field: FieldSchema) -> dict[bytes, bytes]:
    return {FIELD_ID: str(field.fieldID).encode()}


def _field_id(column: pa.Field) -> int:
    metadata = column.metadata or {}
    if FIELD_ID in metadata:
        return int(metadata[FIELD_ID])
    # Newer writers name columns by their field id.
    return int(column.name) if column.name.isdigit() else -1
