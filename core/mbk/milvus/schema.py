"""Schemas and indexes: the server's messages and the records of the format, both ways."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mbk.milvus.proto import common, schema
from mbk.model.records import (
    CollectionSchema,
    FieldSchema,
    FunctionSchema,
    IndexInfo,
    KeyValue,
    StructArrayFieldSchema,
)

#: The highest field id ever assigned; the server's own counter: restoring it breaks later changes (milvus#48988).
MAX_FIELD_ID = "max_field_id"
#: Properties that the server derives from the request or keeps for itself, and those that tie a collection to its cluster:
#: its encryption zone, and the replication that has exclusive write access. Sources, all of milvus:
#: pkg/common/common.go for the names, internal/rootcoord/create_collection_task.go for the consistency level.
SERVER_MANAGED = frozenset(
    {
        MAX_FIELD_ID,
        "consistency_level",
        "collection.on.truncating",
        "cipher.enabled",
        "cipher.key",
        "cipher.ezID",
        "replicate.id",
        "replicate.endTS",
    }
)
NAMESPACE = "namespace.enabled"
#: User-defined names cannot start with it.
_SERVER_MADE = "$"

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_pairs(pairs: Iterable[Any]) -> list[KeyValue]:
    return [KeyValue(key=pair.key, value=pair.value) for pair in pairs]


def write_pairs(pairs: Iterable[KeyValue]) -> list[Any]:
    return [common.KeyValuePair(key=pair.key, value=pair.value) for pair in pairs]


def merged(first: Iterable[KeyValue], second: Iterable[KeyValue]) -> list[KeyValue]:
    """The union by key; the second wins; in order of first appearance."""
    union = {pair.key: pair.value for pair in (*first, *second)}
    return [KeyValue(key=key, value=value) for key, value in union.items()]


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
                type_params=read_pairs(struct.type_params),
                nullable=struct.nullable,
            )
            for struct in message.struct_array_fields
        ],
        version=message.version,
        enable_namespace=message.enable_namespace,
        do_physical_backfill=message.do_physical_backfill,
        file_resource_ids=list(message.file_resource_ids),
    )


def is_external(message: Any) -> bool:
    """Whether the data is in another system: the collection has a source, or a field has one.

    milvus: pkg/util/typeutil/schema.go, ``IsExternalCollection``.
    """
    return bool(message.external_source) or any(field.external_field for field in message.fields)


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
        # The oldest supported client library lacks it.
        element_nullable=getattr(message, "element_nullable", False),
        external_field=message.external_field,
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


def write_schema(
    record: CollectionSchema,
    properties: Sequence[KeyValue] = (),
    *,
    fields: Sequence[FieldSchema] | None = None,
    structs: Sequence[StructArrayFieldSchema] | None = None,
) -> Any:
    """The message to create the collection with; ``fields`` and ``structs`` replace those of the record."""
    return schema.CollectionSchema(
        name=record.name,
        description=record.description,
        autoID=record.auto_id,
        fields=[write_field(field) for field in (sent_fields(record) if fields is None else fields)],
        enable_dynamic_field=record.enable_dynamic_field,
        properties=write_pairs(properties),
        functions=[_write_function(function) for function in record.functions],
        struct_array_fields=[
            write_struct(struct) for struct in (record.struct_array_fields if structs is None else structs)
        ],
        enable_namespace=record.enable_namespace,
    )


def sent_fields(record: CollectionSchema) -> list[FieldSchema]:
    return [field for field in record.fields if not is_server_made(field)]


def is_server_made(field: FieldSchema) -> bool:
    """``$meta`` or ``$namespace_id``: servers create them and do not accept them in a request."""
    return field.is_dynamic or field.name.startswith(_SERVER_MADE)


def write_struct(record: StructArrayFieldSchema) -> Any:
    message = schema.StructArrayFieldSchema(
        fieldID=record.field_id,
        name=record.name,
        description=record.description,
        fields=[write_field(field) for field in record.fields],
        type_params=write_pairs(record.type_params),
        nullable=record.nullable,
    )
    for field in message.fields:
        field.name = part_name(record.name, field.name)
    return message


def part_name(struct: str, part: str) -> str:
    """``part`` of ``struct[part]``: some servers describe parts that way but expect the plain name.

    milvus: internal/proxy/util.go, ``transformStructFieldNames`` and ``restoreStructFieldNames``.
    """
    inner = part.removeprefix(f"{struct}[")
    return inner[:-1] if inner != part and inner.endswith("]") else part


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
        external_field=record.external_field,
    )
    if record.element_nullable and "element_nullable" in message.DESCRIPTOR.fields_by_name:
        message.element_nullable = True
    if default := _default_value(record):
        message.default_value.ParseFromString(default)
    return message


def _default_value(record: FieldSchema) -> bytes:
    """The serialized default; the legacy form is raw bytes in a string and often damaged."""
    if record.default_value_base64:
        return base64.b64decode(record.default_value_base64, validate=True)
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
    """``""`` for names that a server generated, such as ``/a/b``: it refuses them and generates them again."""
    return name if _PLAIN_NAME.fullmatch(name) else ""


def index_params_to_send(params: dict[str, str]) -> list[Any]:
    """As described, except ``marisa-trie``: 2.3 describes ``Trie`` like that, and 2.2 refuses it."""
    renamed = {key: "Trie" if value == "marisa-trie" else value for key, value in params.items()}
    return [common.KeyValuePair(key=key, value=value) for key, value in renamed.items()]
