"""What a target collection is created with: the backup's schema, properties and indexes, adapted.

See docs/reference/milvus-protocol.md#creating-a-collection.
"""

from __future__ import annotations

import msgspec

from mbk.engine.restore.plan import RestoreTask
from mbk.model.options import RestoreOptions
from mbk.model.records import (
    CollectionSchema,
    Database,
    FieldSchema,
    IndexInfo,
    KeyValue,
    as_dict,
    key_values,
)

#: Managed by the server: a restored value breaks fields added later (docs/reference/milvus-protocol.md#properties).
SERVER_MANAGED = frozenset({"max_field_id"})
#: Of databases with encryption at rest.
CIPHER, ZONE_ID = "cipher.", "cipher.ezID"
METRIC = "metric_type"
#: Vector fields by data type (docs/reference/backup-format.md#schema): binary, float, float16, bfloat16, sparse, int8,
#: arrays of vectors.
VECTOR_TYPES = range(100, 107)


def target_schema(task: RestoreTask, options: RestoreOptions) -> CollectionSchema:
    """The schema under its new name, without the parameters to skip."""
    schema = msgspec.structs.replace(task.record.schema or CollectionSchema(), name=task.made.collection)
    if task.description is not None:
        schema.description = task.description
    drop_type = options.skip_params.get("fieldTypeParams", frozenset())
    drop_index = options.skip_params.get("fieldIndexParams", frozenset())
    schema.properties = target_properties(task, options)
    schema.fields = [
        msgspec.structs.replace(
            field,
            type_params=_without(field.type_params, drop_type),
            index_params=_without(field.index_params, drop_index),
        )
        for field in schema.fields
    ]
    return schema


def target_shards(task: RestoreTask, options: RestoreOptions) -> int:
    """The number of a restore plan; else that of the backup, at most ``max_shards``."""
    shards = task.record.shards_num
    return task.shards or (min(shards, options.max_shards) if options.max_shards else shards)


def target_properties(task: RestoreTask, options: RestoreOptions) -> list[KeyValue]:
    """Properties from both places of the record; those of the collection override those of its schema."""
    schema = task.record.schema
    merged = as_dict(schema.properties if schema else []) | as_dict(task.record.properties)
    dropped = SERVER_MANAGED | options.skip_params.get("collectionProperties", frozenset())
    return key_values({key: value for key, value in merged.items() if key not in dropped})


def database_properties(database: Database, options: RestoreOptions) -> list[KeyValue]:
    """With those of encryption only if the user maps the zone key to one of the target.

    The server assigns the zone's id.
    """
    return [
        pair
        for pair in database.properties
        if pair.key not in SERVER_MANAGED
        and pair.key != ZONE_ID
        and (options.ezk_mapping or not pair.key.startswith(CIPHER))
    ]


def target_indexes(task: RestoreTask, options: RestoreOptions) -> list[IndexInfo]:
    """The indexes to create; vector indexes as AUTOINDEX of the same metric on request."""
    fields = {field.name: field for field in (task.record.schema.fields if task.record.schema else [])}
    dropped = options.skip_params.get("indexParams", frozenset())
    result = []
    for index in task.record.index_infos:
        params = {key: value for key, value in index.params.items() if key not in dropped}
        if options.auto_index and _is_vector(fields.get(index.field_name)):
            params = {"index_type": "AUTOINDEX"} | ({METRIC: params[METRIC]} if METRIC in params else {})
        result.append(msgspec.structs.replace(index, params=params, index_type=params.get("index_type", "")))
    return result


def _is_vector(field: FieldSchema | None) -> bool:
    return field is not None and field.data_type in VECTOR_TYPES


def _without(pairs: list[KeyValue], keys: frozenset[str]) -> list[KeyValue]:
    return [pair for pair in pairs if pair.key not in keys]
