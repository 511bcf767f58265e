"""A running double of one version, a client of it, and small schemas to try on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbk.config.schema import MilvusSettings
from mbk.milvus import connect
from mbk.model.records import (
    CollectionSchema,
    FieldSchema,
    key_values,
)
from mbk.ports.milvus.server import Milvus
from tests.milvus_double.server import MilvusDouble

BOOL, INT64, FLOAT, VARCHAR, ARRAY, JSON = 1, 5, 10, 21, 22, 23
GEOMETRY, TEXT, TIMESTAMPTZ = 24, 25, 26
BINARY, FLOATS, HALF, BRAIN, SPARSE, BYTES, VECTORS_IN_STRUCT = range(100, 107)
STRONG = 0


@dataclass(frozen=True)
class Played:
    double: MilvusDouble
    client: Milvus
    home: Path

    def has(self, *features: str) -> bool:
        return all(self.double.version.has(feature) for feature in features)


@contextmanager
def connected(double: MilvusDouble) -> Iterator[Milvus]:
    client = connect(
        MilvusSettings(
            address=double.address,
            port=double.port,
            rest_endpoint=double.rest_url,
            management_endpoint=double.management_url,
        )
    )
    try:
        yield client
    finally:
        client.close()


def field(
    name: str, data_type: int, /, *, params: dict[str, str] | None = None, **values: Any
) -> FieldSchema:
    return FieldSchema(name=name, data_type=data_type, type_params=key_values(params or {}), **values)


def numbered(name: str, *fields: FieldSchema, **values: Any) -> CollectionSchema:
    for number, item in enumerate(fields, start=100):
        item.field_id = number
    return CollectionSchema(name=name, fields=list(fields), **values)


def base() -> tuple[FieldSchema, FieldSchema]:
    key = field("id", INT64, is_primary_key=True)
    return key, field("vector", FLOATS, params={"dim": "4"})


def make(played: Played, schema: CollectionSchema, **values: Any) -> None:
    played.client.definitions.create_collection(
        "default", schema, **({"shards": 1, "consistency_level": STRONG} | values)
    )
