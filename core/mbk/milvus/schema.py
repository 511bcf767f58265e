"""Schemas and indexes: the server's messages and the records of the format, both ways."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mbk.milvus.features import Version
from mbk.milvus.proto import common, schema
from mbk.model.meta import (
    CollectionSchema,
    FieldSchema,
    FunctionSchema,
    IndexInfo,
    KeyValue,
    StructArrayFieldSchema,
)

FIRST_FIELD_ID = 100

#: Properties that a server keeps for itself; restored they break later changes of the schema (milvus#48988).
SERVER_MANAGED = frozenset({"max_field_id"})

#: Number, name and first version of each type. Data, because 2.3.5 takes types that it does not know without a word
#: and fails when rows come; and not the protocol's own enumeration, because an older client lacks the newer ones.
_TYPES: dict[int, tuple[str, Version]] = {
    1: ("Bool", (2, 2, 0)),
    2: ("Int8", (2, 2, 0)),
    3: ("Int16", (2, 2, 0)),
    4: ("Int32", (2, 2, 0)),
    5: ("Int64", (2, 2, 0)),
    10: ("Float", (2, 2, 0)),
    11: ("Double", (2, 2, 0)),
    21: ("VarChar", (2, 2, 0)),
    22: ("Array", (2, 3, 0)),
    23: ("JSON", (2, 2, 9)),
    24: ("Geometry", (2, 6, 0)),
    25: ("Text", (2, 6, 0)),
    26: ("Timestamptz", (2, 6, 0)),
    100: ("BinaryVector", (2, 2, 0)),
    101: ("FloatVector", (2, 2, 0)),
    102: ("Float16Vector", (2, 4, 0)),
    103: ("BFloat16Vector", (2, 4, 0)),
    104: ("SparseFloatVector", (2, 4, 0)),
    105: ("Int8Vector", (2, 6, 0)),
    106: ("ArrayOfVector", (2, 6, 0)),
}
#: Types not in the table: only a server newer than everything known here may judge them.
_FUTURE: Version = (3, 0, 0)
_VECTORS = range(100, 106)
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_pairs(pairs: Iterable[Any]) -> list[KeyValue]:
    return [KeyValue(key=pair.key, value=pair.value) for pair in pairs]


def write_pairs(pairs: Iterable[KeyValue]) -> list[Any]:
    return [common.KeyValuePair(key=pair.key, value=pair.value) for pair in pairs]


def merged(first: Iterable[KeyValue], second: Iterable[KeyValue]) -> list[KeyValue]:
    """The union by key, the second winning, in order of first appearance."""
    found = {pair.key: pair.value for pair in (*first, *second)}
    return [KeyValue(key=key, value=value) for key, value in found.items()]


def read_schema(message: Any) -> CollectionSchema:
    return CollectionSchema(
        name=message.name,
        description=message.description,
        auto_id=message.autoID,
        fields=[read_field(field) for field in message.fields],
        enable_dynamic_field=message.enable_dynamic_field,
        properties=read_pairs(message.properties),
        functions=[_read_function(function) for function in message.functions],
        struct_array_fields=[
            StructArrayFieldSchema(
                field_id=struct.fieldID,
                name=struct.name,
                description=struct.description,
                fields=[read_field(field) for field in struct.fields],
            )
            for struct in message.struct_array_fields
        ],
    )


def read_field(message: Any) -> FieldSchema:
    default = b""
    if message.HasField("default_value"):
        default = message.default_value.SerializeToString(deterministic=True)
    return FieldSchema(
        field_id=message.fieldID,
        name=message.name,
        is_primary_key=message.is_primary_key,
        description=message.description,
        data_type=message.data_type,
        type_params=read_pairs(message.type_params),
        index_params=read_pairs(message.index_params),
        auto_id=message.autoID,
        state=message.state,
        element_type=message.element_type,
        is_dynamic=message.is_dynamic,
        is_partition_key=message.is_partition_key,
        nullable=message.nullable,
        is_function_output=message.is_function_output,
        default_value_base64=base64.b64encode(default).decode("ascii"),
        is_clustering_key=message.is_clustering_key,
    )


def _read_function(message: Any) -> FunctionSchema:
    return FunctionSchema(
        name=message.name,
        id=message.id,
        description=message.description,
        type=message.type,
        input_field_names=list(message.input_field_names),
        input_field_ids=list(message.input_field_ids),
        output_field_names=list(message.output_field_names),
        output_field_ids=list(message.output_field_ids),
        params=read_pairs(message.params),
    )


def write_schema(record: CollectionSchema, properties: Sequence[KeyValue] = ()) -> Any:
    """The message to create the collection with: without ``$meta``, which servers make themselves."""
    return schema.CollectionSchema(
        name=record.name,
        description=record.description,
        autoID=record.auto_id,
        fields=[write_field(field) for field in sent_fields(record)],
        enable_dynamic_field=record.enable_dynamic_field,
        properties=write_pairs(properties),
        functions=[_write_function(function) for function in record.functions],
        struct_array_fields=[
            schema.StructArrayFieldSchema(
                fieldID=struct.field_id,
                name=struct.name,
                description=struct.description,
                fields=[write_field(field) for field in struct.fields],
            )
            for struct in record.struct_array_fields
        ],
    )


def sent_fields(record: CollectionSchema) -> list[FieldSchema]:
    return [field for field in record.fields if not field.is_dynamic]


def write_field(record: FieldSchema) -> Any:
    message = schema.FieldSchema(
        fieldID=record.field_id,
        name=record.name,
        is_primary_key=record.is_primary_key,
        description=record.description,
        data_type=record.data_type,
        type_params=write_pairs(record.type_params),
        index_params=write_pairs(record.index_params),
        autoID=record.auto_id,
        element_type=record.element_type,
        is_partition_key=record.is_partition_key,
        is_clustering_key=record.is_clustering_key,
        nullable=record.nullable,
        is_function_output=record.is_function_output,
    )
    if default := _default_value(record):
        message.default_value.ParseFromString(default)
    return message


def _default_value(record: FieldSchema) -> bytes:
    """The serialized default; the legacy form is raw bytes in a text and often damaged (FORMAT.md 1.3)."""
    if record.default_value_base64:
        return base64.b64decode(record.default_value_base64)
    legacy = record.default_value_proto.encode("utf-8")
    try:
        schema.ValueField.FromString(legacy)
    except Exception:  # noqa: BLE001  protobuf's DecodeError has no stable home; a damaged default is dropped
        return b""
    return legacy


def _write_function(record: FunctionSchema) -> Any:
    return schema.FunctionSchema(
        name=record.name,
        id=record.id,
        description=record.description,
        type=record.type,
        input_field_names=record.input_field_names,
        input_field_ids=record.input_field_ids,
        output_field_names=record.output_field_names,
        output_field_ids=record.output_field_ids,
        params=write_pairs(record.params),
    )


def schema_problems(record: CollectionSchema, version: Version) -> list[str]:
    """What of the schema a server of ``version`` cannot represent, each as ``field: reason``."""
    fields = sent_fields(record)
    problems = [f"{field.name}: {reason}" for field in fields for reason in _field_problems(field, version)]
    vectors = [field.name for field in fields if field.data_type in _VECTORS]
    if len(vectors) > 1 and version < (2, 4, 0):
        problems.append(f"{', '.join(vectors)}: several vector fields")
    if record.enable_dynamic_field and version < (2, 2, 9):
        problems.append("dynamic fields")
    if record.functions and version < (2, 5, 0):
        problems += [f"{function.name}: functions" for function in record.functions]
    if record.struct_array_fields and version < (2, 6, 4):
        problems += [f"{struct.name}: arrays of structs" for struct in record.struct_array_fields]
    return problems + _number_problems(fields)


def _field_problems(field: FieldSchema, version: Version) -> list[str]:
    problems = []
    type_name, since = _TYPES.get(field.data_type, (str(field.data_type), _FUTURE))
    if version < since:
        problems.append(f"the type {type_name}")
    if field.nullable and version < (2, 5, 0):
        problems.append("null values")
    if (field.default_value_base64 or field.default_value_proto) and version < (2, 3, 0):
        problems.append("a default value")
    if field.is_partition_key and version < (2, 2, 9):
        problems.append("a partition key")
    if field.is_clustering_key and version < (2, 4, 0):
        problems.append("a clustering key")
    return problems


def _number_problems(fields: Sequence[FieldSchema]) -> list[str]:
    """Servers number fields by position, and imported data is matched by number (FORMAT.md 3.4)."""
    return [
        f"{field.name}: the field id {field.field_id} (it would become {number})"
        for number, field in enumerate(fields, start=FIRST_FIELD_ID)
        if field.field_id and field.field_id != number
    ]


def read_index(message: Any) -> IndexInfo:
    params = {pair.key: pair.value for pair in message.params}
    return IndexInfo(
        field_name=message.field_name,
        index_name=message.index_name,
        index_type=params.get("index_type", ""),
        params=params,
        index_id=message.indexID,
    )


def index_name_to_send(name: str) -> str:
    """Names that a server made up itself, such as ``/a/b``, are not taken from clients: it makes them up again."""
    return name if _PLAIN_NAME.fullmatch(name) else ""


def index_params_to_send(params: dict[str, str]) -> list[Any]:
    """As described; only ``marisa-trie``, which 2.3 describes and 2.2 refuses, is sent under its own name."""
    renamed = {key: "Trie" if value == "marisa-trie" else value for key, value in params.items()}
    return [common.KeyValuePair(key=key, value=value) for key, value in renamed.items()]
