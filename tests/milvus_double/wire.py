"""Columns as gRPC carries them (``schema.FieldData``), and the values of `state.Row`, both ways.

Nulls: ``valid_data`` has one mark a row. Clients leave nulls out of the payload or send a placeholder; servers answer
scalars with placeholders and vectors without (milvus ``internal/proxy/validate_util.go``, ``pkg/util/typeutil/schema.go``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.geometry import to_wkb, to_wkt
from tests.milvus_double.refusal import invalid
from tests.milvus_double.state import Collection, Row, Value

SCALAR_SLOTS: dict[int, str] = {
    DataType.Bool: "bool_data",
    DataType.Int8: "int_data",
    DataType.Int16: "int_data",
    DataType.Int32: "int_data",
    DataType.Int64: "long_data",
    DataType.Float: "float_data",
    DataType.Double: "double_data",
    DataType.VarChar: "string_data",
    DataType.Text: "string_data",
    DataType.JSON: "json_data",
    DataType.Geometry: "geometry_wkt_data",
    DataType.Timestamptz: "string_data",
}
#: Vectors that stand as bytes: their slot, and bits a dimension.
BYTE_VECTORS: dict[int, tuple[str, int]] = {
    DataType.BinaryVector: ("binary_vector", 1),
    DataType.Float16Vector: ("float16_vector", 16),
    DataType.BFloat16Vector: ("bfloat16_vector", 16),
    DataType.Int8Vector: ("int8_vector", 8),
}
VECTORS = frozenset({DataType.FloatVector, DataType.SparseFloatVector, *BYTE_VECTORS})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dimension(field: schema_pb2.FieldSchema) -> int:
    return int(next((pair.value for pair in field.type_params if pair.key == "dim"), 0))


# -- reading -----------------------------------------------------------------------------------------------------------


def read_column(field: schema_pb2.FieldSchema, data: schema_pb2.FieldData) -> list[Value]:
    """One value a row; None for a null."""
    values = _payload(field, data)
    marks = list(data.valid_data)
    if not marks:
        return values
    if len(values) == len(marks):
        return [value if mark else None for value, mark in zip(values, marks, strict=True)]
    left = iter(values)
    try:
        return [next(left) if mark else None for mark in marks]
    except StopIteration:
        raise invalid(f"the length of valid_data of field({field.name}) is wrong") from None


def _payload(field: schema_pb2.FieldSchema, data: schema_pb2.FieldData) -> list[Value]:
    kind = int(field.data_type)
    if kind == DataType.Array:
        return [_elements(field, item) for item in data.scalars.array_data.data]
    if kind == DataType.ArrayOfVector:
        return [_vectors(int(field.element_type), item) for item in data.vectors.vector_array.data]
    if kind in VECTORS:
        return _vectors(kind, data.vectors, dimension(field))
    if kind not in SCALAR_SLOTS:
        raise invalid(f"undefined data type of field({field.name}): {kind}")
    read = _READERS.get(kind, _same)
    return [read(value) for value in getattr(data.scalars, SCALAR_SLOTS[kind]).data]


def _elements(field: schema_pb2.FieldSchema, item: schema_pb2.ScalarField) -> list[Value]:
    return list(getattr(item, SCALAR_SLOTS[int(field.element_type)]).data)


def _vectors(kind: int, data: schema_pb2.VectorField, expected: int = 0) -> list[bytes]:
    if kind == DataType.SparseFloatVector:
        return list(data.sparse_float_vector.contents)
    width = expected or data.dim
    if kind == DataType.FloatVector:
        raw = np.asarray(data.float_vector.data, dtype="<f4").tobytes()
        size = 4 * width
    else:
        slot, bits = BYTE_VECTORS[kind]
        raw, size = getattr(data, slot), width * bits // 8
    if not size or len(raw) % size:
        length, what = (len(raw) // 4, "float") if kind == DataType.FloatVector else (len(raw), "byte")
        raise invalid(f"the length({length}) of {what} data should divide the dim({width})")
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _same(value: Any) -> Any:
    return value


def microseconds(text: str) -> int:
    """A time with or without its zone, UTC without."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f"got invalid timestamptz string: {text}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _wkb(text: str) -> bytes:
    try:
        return to_wkb(text)
    except ValueError as error:
        raise invalid(str(error)) from None


_READERS: dict[int, Callable[[Any], Any]] = {
    DataType.Timestamptz: microseconds,
    DataType.Geometry: _wkb,
}


# -- writing -----------------------------------------------------------------------------------------------------------


def write_column(field: schema_pb2.FieldSchema, values: Sequence[Value]) -> schema_pb2.FieldData:
    kind = int(field.data_type)
    data = schema_pb2.FieldData(
        type=kind, field_name=field.name, field_id=field.fieldID, is_dynamic=field.is_dynamic
    )
    if field.nullable:
        data.valid_data.extend(value is not None for value in values)
    if kind in VECTORS:
        _fill_vectors(kind, data.vectors, [value for value in values if value is not None], dimension(field))
    elif kind == DataType.ArrayOfVector:
        array = data.vectors.vector_array
        array.dim, array.element_type = dimension(field), field.element_type
        for value in values:
            _fill_vectors(int(field.element_type), array.data.add(), value or [], dimension(field))
    elif kind == DataType.Array:
        data.scalars.array_data.element_type = field.element_type
        slot = SCALAR_SLOTS[int(field.element_type)]
        for value in values:
            part = getattr(data.scalars.array_data.data.add(), slot)
            part.SetInParent()
            part.data.extend(value or [])
    else:
        part = getattr(data.scalars, SCALAR_SLOTS[kind])
        part.SetInParent()
        part.data.extend(
            _WRITERS.get(kind, _same)(_EMPTY[kind] if value is None else value) for value in values
        )
    return data


def _fill_vectors(kind: int, data: schema_pb2.VectorField, values: Iterable[bytes], width: int) -> None:
    data.dim = width
    if kind == DataType.SparseFloatVector:
        contents = list(values)
        data.sparse_float_vector.contents.extend(contents)
        data.dim = data.sparse_float_vector.dim = max(map(sparse_dimension, contents), default=0)
    elif kind == DataType.FloatVector:
        data.float_vector.data.extend(np.frombuffer(b"".join(values), dtype="<f4").tolist())
    else:
        setattr(data, BYTE_VECTORS[kind][0], b"".join(values))


def sparse_dimension(value: bytes) -> int:
    indices = np.frombuffer(value, dtype="<u4")[::2]
    return int(indices.max()) + 1 if len(indices) else 0


def _iso(value: int) -> str:
    return (_EPOCH + timedelta(microseconds=value)).isoformat().replace("+00:00", "Z")


_WRITERS: dict[int, Callable[[Any], Any]] = {DataType.Timestamptz: _iso, DataType.Geometry: to_wkt}
_EMPTY: dict[int, Any] = {
    DataType.Bool: False,
    DataType.VarChar: "",
    DataType.Text: "",
    DataType.JSON: b"",
    DataType.Geometry: to_wkb("POINT (0 0)"),
    **dict.fromkeys((DataType.Int8, DataType.Int16, DataType.Int32, DataType.Int64, DataType.Timestamptz), 0),
    **dict.fromkeys((DataType.Float, DataType.Double), 0.0),
}


def write_columns(
    collection: Collection, rows: Sequence[Row], wanted: Callable[[schema_pb2.FieldSchema], bool]
) -> list[schema_pb2.FieldData]:
    """The wanted fields and the struct arrays of which at least one sub-field is wanted."""
    plain = [
        write_column(field, [value_of(field, row) for row in rows])
        for field in collection.schema.fields
        if wanted(field)
    ]
    for struct in collection.schema.struct_array_fields:
        subs = [sub for sub in struct.fields if wanted(sub)]
        if subs:
            columns = [write_column(sub, [value_of(sub, row) for row in rows]) for sub in subs]
            plain.append(
                schema_pb2.FieldData(
                    type=DataType.ArrayOfStruct,
                    field_name=struct.name,
                    field_id=struct.fieldID,
                    struct_arrays=schema_pb2.StructArrayField(fields=columns),
                )
            )
    return plain


def value_of(field: schema_pb2.FieldSchema, row: Row) -> Value:
    """A row that is older than the field has the field's default, or null."""
    value = row.values[field.fieldID] if field.fieldID in row.values else default_of(field)
    return b"{}" if value is None and field.is_dynamic else value


def default_of(field: schema_pb2.FieldSchema) -> Value:
    if not field.HasField("default_value"):
        return None
    slot = field.default_value.WhichOneof("data")
    value = getattr(field.default_value, slot) if slot else None
    if field.data_type == DataType.Timestamptz and isinstance(value, str):
        return microseconds(value)
    if field.data_type == DataType.JSON and isinstance(value, str):
        return value.encode()
    return value
