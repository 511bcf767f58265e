"""Whether what a backup says of a collection fits into the protocol's messages: they are built, and nothing is sent.

Numbers of a backup's JSON have no bounds, and a default value is a message of its own in base64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from mbk.milvus.proto import milvus
from mbk.milvus.schema import index_params_to_send, write_field, write_pairs, write_schema, write_struct
from mbk.model.records import CollectionSchema, IndexInfo


def unsendable(
    record: CollectionSchema, numbers: Sequence[int], replicas: int, indexes: Iterable[IndexInfo]
) -> list[str]:
    """What cannot be sent, ``where: why`` each. ``numbers``: shards, consistency level, partitions."""
    steps = _steps(record, numbers, replicas, indexes)
    return [f"{what}: {why}" for what, build in steps if (why := _refusal(build))]


def _steps(
    record: CollectionSchema, numbers: Sequence[int], replicas: int, indexes: Iterable[IndexInfo]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    for field in record.fields:
        yield f"field {field.name}", partial(write_field, field)
    for struct in record.struct_array_fields:
        yield f"field {struct.name}", partial(write_struct, struct)
    yield "functions", lambda: write_schema(record, record.properties, fields=(), structs=())
    shards, consistency_level, partitions = numbers
    yield "shards", lambda: milvus.CreateCollectionRequest(shards_num=shards)
    yield "consistency level", lambda: milvus.CreateCollectionRequest(consistency_level=consistency_level)
    yield "partitions", lambda: milvus.CreateCollectionRequest(num_partitions=partitions)
    yield "properties", lambda: write_pairs(record.properties)
    yield "replicas", lambda: milvus.LoadCollectionRequest(replica_number=replicas)
    for index in indexes:
        yield (
            f"index {index.index_name or index.field_name}",
            partial(index_params_to_send, index.params),
        )


def _refusal(build: Callable[[], Any]) -> str:
    try:
        build()
    except Exception as error:  # noqa: BLE001  protobuf's own errors have no stable home, and nothing else can fail here
        return " ".join(str(error).split()) or type(error).__name__
    return ""
