"""One column between Python values and Arrow, per data type.

Sources: milvus ``internal/storage/serde.go`` (the Arrow type of each data type), ``payload_writer.go`` (arrays are
``schemapb.ScalarField``, nullable vectors variable-length binary), ``schema.go`` (array of vectors).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2 as schema
from pymilvus.grpc_gen.schema_pb2 import DataType, FieldSchema

from tests.milvus_double.codec.events import CodecError

__all__ = [
    "ROW_ID",
    "TIMESTAMP",
    "FieldSchema",
    "arrow_type",
    "dimension",
    "from_arrow",
    "system_fields",
    "to_arrow",
]

ROW_ID, TIMESTAMP = 0, 1

_PLAIN: dict[int, pa.DataType] = {
    DataType.Bool: pa.bool_(),
    DataType.Int8: pa.int8(),
    DataType.Int16: pa.int16(),
    DataType.Int32: pa.int32(),
    DataType.Int64: pa.int64(),
    DataType.Timestamptz: pa.int64(),
    DataType.Float: pa.float32(),
    DataType.Double: pa.float64(),
    DataType.String: pa.string(),
    DataType.VarChar: pa.string(),
    DataType.Text: pa.string(),
    DataType.Array: pa.binary(),
    DataType.JSON: pa.binary(),
    DataType.Geometry: pa.binary(),
    DataType.SparseFloatVector: pa.binary(),
}
#: Bits a dimension.
_VECTOR_BITS: dict[int, int] = {
    DataType.BinaryVector: 1,
    DataType.Int8Vector: 8,
    DataType.Float16Vector: 16,
    DataType.BFloat16Vector: 16,
    DataType.FloatVector: 32,
}
#: Element type -> the part of a ScalarField that its values stand in.
_SCALAR_PART: dict[int, str] = {
    DataType.Bool: "bool_data",
    DataType.Int8: "int_data",
    DataType.Int16: "int_data",
    DataType.Int32: "int_data",
    DataType.Int64: "long_data",
    DataType.Timestamptz: "long_data",
    DataType.Float: "float_data",
    DataType.Double: "double_data",
    DataType.String: "string_data",
    DataType.VarChar: "string_data",
}


def system_fields() -> list[FieldSchema]:
    """RowID and Timestamp, which no schema lists and every segment has."""
    return [
        FieldSchema(fieldID=ROW_ID, name="RowID", data_type=DataType.Int64),
        FieldSchema(fieldID=TIMESTAMP, name="Timestamp", data_type=DataType.Int64),
    ]


def dimension(field: FieldSchema) -> int:
    for pair in field.type_params:
        if pair.key == "dim":
            return int(pair.value)
    raise CodecError(f"dim not found in field [{field.name}] params")


def vector_bytes(field: FieldSchema, kind: int) -> int:
    return dimension(field) * _VECTOR_BITS[kind] // 8


def arrow_type(field: FieldSchema) -> pa.DataType:
    kind = int(field.data_type)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in _VECTOR_BITS:
        return pa.binary() if field.nullable else pa.binary(vector_bytes(field, kind))
    if kind == DataType.ArrayOfVector:
        return pa.list_(pa.binary(vector_bytes(field, int(field.element_type))))
    raise CodecError(f"unknown field data type [{kind}] for field [{field.name}]")


def to_arrow(field: FieldSchema, values: Iterable[Any]) -> pa.Array:
    if field.data_type == DataType.Array:
        values = [None if value is None else _packed_list(field, value) for value in values]
    try:
        return pa.array(list(values), type=arrow_type(field))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise CodecError(f"field {field.name}: {error}") from error


def from_arrow(field: FieldSchema, column: pa.ChunkedArray | pa.Array) -> list[Any]:
    """The values; `CodecError` where the column has not the type that the field's data type and dimension ask for."""
    wanted = arrow_type(field)
    if not _same_type(column.type, wanted):
        raise CodecError(f"field {field.name} has type {column.type} in the file, {wanted} by the schema")
    values = column.to_pylist()
    if field.data_type == DataType.Array:
        return [None if value is None else _unpacked_list(field, value) for value in values]
    return list(values)


def _same_type(found: pa.DataType, wanted: pa.DataType) -> bool:
    # Names and nullability of list items differ between writers and mean nothing.
    if pa.types.is_list(found) and pa.types.is_list(wanted):
        return bool(found.value_type == wanted.value_type)
    return bool(found == wanted)


def _packed_list(field: FieldSchema, value: Iterable[Any]) -> bytes:
    scalar = schema.ScalarField()
    part = getattr(scalar, _part(field))
    part.SetInParent()
    part.data.extend(value)
    return bytes(scalar.SerializeToString(deterministic=True))


def _unpacked_list(field: FieldSchema, data: bytes) -> list[Any]:
    scalar = schema.ScalarField.FromString(data)
    found = scalar.WhichOneof("data")
    if found not in (None, _part(field)):
        raise CodecError(f"field {field.name} holds {found} in the file, {_part(field)} by the schema")
    return list(getattr(scalar, _part(field)).data)


def _part(field: FieldSchema) -> str:
    try:
        return _SCALAR_PART[int(field.element_type)]
    except KeyError:
        raise CodecError(f"unknown element type [{field.element_type}] for field [{field.name}]") from None
