"""Collections with data of every kind that Milvus 2.3 has, and the comparison of two collections."""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pymilvus import DataType, MilvusClient

from mbk.demo.embedded import EmbeddedMilvus
from tests.servers.s3 import S3Server

DIMENSION = 8
#: The server gives no more rows a query.
WINDOW = 16_384
Row = dict[str, Any]


class Clients:
    """One client a database: a client asks the database that it was made with, whatever a call says."""

    def __init__(self, server: EmbeddedMilvus, **login: Any) -> None:
        self._uri = f"http://{server.address}:{server.port}"
        self._login = login
        self._clients: dict[str, MilvusClient] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *error: object) -> None:
        for client in self._clients.values():
            client.close()

    def __getitem__(self, database: str) -> MilvusClient:
        with self._lock:
            if database not in self._clients:
                self._clients[database] = MilvusClient(uri=self._uri, db_name=database, **self._login)
            return self._clients[database]

    @property
    def databases(self) -> list[str]:
        """Sorted: the server promises no order."""
        return sorted(self["default"].list_databases())

    def database(self, name: str) -> str:
        """Makes the database where it is not there yet."""
        if name not in self.databases:
            self["default"].create_database(name)
        return name


@dataclass(frozen=True, slots=True)
class Coll:
    """One collection: where it is, how its rows are asked for and how its vectors are searched."""

    clients: Clients
    database: str
    name: str
    key: str = "pk"
    vector: str = "vector"
    search: Mapping[str, Any] = field(default_factory=lambda: {"nprobe": 16})
    output: Sequence[str] = ("*",)

    def __str__(self) -> str:
        return f"{self.database}.{self.name}"

    @property
    def client(self) -> MilvusClient:
        return self.clients[self.database]

    def moved(self, name: str | None = None, *, database: str | None = None) -> Coll:
        """The same kind of collection under another name."""
        return replace(self, name=name or self.name, database=database or self.database)

    def insert(self, rows: list[Row], *, partition: str = "") -> list[Any]:
        answer = self.client.insert(data=rows, partition_name=partition or None, collection_name=self.name)
        return list(answer["ids"])

    def upsert(self, rows: list[Row]) -> None:
        self.client.upsert(data=rows, collection_name=self.name)

    def delete(self, keys: Sequence[Any]) -> None:
        wanted = ", ".join(json.dumps(key) for key in keys)
        self.client.delete(filter=f"{self.key} in [{wanted}]", collection_name=self.name)

    def flush(self) -> None:
        self.client.flush(collection_name=self.name)

    def load(self) -> None:
        self.client.load_collection(collection_name=self.name)

    def reload(self) -> None:
        self.client.release_collection(collection_name=self.name)
        self.load()

    def index(self, *indexes: Mapping[str, Any]) -> None:
        params = self.client.prepare_index_params()
        for index in indexes:
            params.add_index(**index)
        self.client.create_index(index_params=params, collection_name=self.name)

    def exists(self) -> bool:
        return self.database in self.clients.databases and self.client.has_collection(self.name)

    def described(self) -> dict[str, Any]:
        return dict(self.client.describe_collection(collection_name=self.name))

    def partitions(self) -> list[str]:
        return list(self.client.list_partitions(self.name))

    def indexes(self) -> list[dict[str, Any]]:
        """Every index as it was asked for, without what changes by itself."""
        names = self.client.list_indexes(self.name)
        described = [dict(self.client.describe_index(self.name, name)) for name in sorted(names)]
        changing = ("total_rows", "indexed_rows", "pending_index_rows", "state", "index_state_fail_reason")
        return [{key: item[key] for key in item if key not in changing} for item in described]

    def rows(self, condition: str = "", *, partition: str = "") -> dict[Any, Row]:
        """All live rows by primary key, every field and every dynamic key of them; the collection must be loaded."""
        everything = f'{self.key} >= ""' if self._text_keys() else f"{self.key} > -1 or {self.key} <= -1"
        found = self.client.query(
            filter=condition or everything,
            output_fields=list(self.output),
            limit=WINDOW,
            consistency_level="Strong",
            partition_names=[partition] if partition else None,
            collection_name=self.name,
        )
        rows = {row[self.key]: dict(row) for row in found}
        assert len(rows) == len(found) < WINDOW, f"{self}: {len(found)} rows, {len(rows)} keys"
        return rows

    def rows_by_partition(self) -> dict[str, dict[Any, Row]]:
        return {name: self.rows(partition=name) for name in self.partitions()}

    def _text_keys(self) -> bool:
        fields = self.described()["fields"]
        return bool(next(item for item in fields if item.get("is_primary"))["type"] == DataType.VARCHAR)

    def hits(self, vectors: list[Any], *, limit: int = 10) -> list[list[float]]:
        found = self.client.search(
            data=vectors,
            anns_field=self.vector,
            limit=limit,
            search_params={"params": dict(self.search)},
            consistency_level="Strong",
            collection_name=self.name,
        )
        return [[hit["distance"] for hit in hits] for hits in found]


def assert_same(source: Coll, restored: Coll, *, rows: dict[Any, Row] | None = None) -> None:
    """Row by row, then by what a search finds. ``rows``: what the source held when it was backed up.

    Hits of the same distance may come in any order, so that distances are compared.
    """
    wanted = source.rows() if rows is None else rows
    restored.load()
    found = restored.rows()
    assert found.keys() == wanted.keys(), _keys_differ(restored, wanted.keys(), found.keys())
    for key, row in wanted.items():
        assert found[key] == row, f"{restored}: row {key!r}"
    if rows is None and wanted:
        vectors = [row[source.vector] for row in list(wanted.values())[:: max(1, len(wanted) // 5)]]
        vectors = [
            item[0] if isinstance(item, list) and isinstance(item[0], bytes) else item for item in vectors
        ]
        for left, right in zip(source.hits(vectors), restored.hits(vectors), strict=True):
            assert len(left) == len(right)
            assert all(
                math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) for a, b in zip(left, right, strict=True)
            )


def _keys_differ(restored: Coll, wanted: Iterable[Any], found: Iterable[Any]) -> str:
    lost, strange = set(wanted) - set(found), set(found) - set(wanted)
    return (
        f"{restored}: {len(lost)} rows lost {sorted(lost)[:3]}, {len(strange)} strange {sorted(strange)[:3]}"
    )


# -- rows --------------------------------------------------------------------------------------------------------------


def floats(chance: random.Random) -> list[float]:
    """Values that single precision holds exactly."""
    return [chance.randrange(2**20) / 2**20 for _ in range(DIMENSION)]


def plain_rows(keys: Iterable[int], *, salt: str = "") -> list[Row]:
    chance = random.Random(f"{salt}{DIMENSION}")
    return [{"pk": key, "word": f"{salt}word {key}", "vector": floats(chance)} for key in keys]


def rich_rows(keys: Iterable[int], *, salt: str = "") -> list[Row]:
    """Every scalar type, its extremes, JSON of all kinds, arrays (empty too), and dynamic keys that come and go."""
    chance = random.Random(f"{salt}rich")
    return [
        {
            "pk": key,
            "truth": key % 3 == 0,
            "tiny": key % 256 - 128,
            "small": key % 65_536 - 32_768,
            "medium": 2**31 - 1 - key,
            "long": (-1) ** key * (2**63 - 1 - key),
            "single": chance.random(),
            "double": chance.random() * 1e300,
            "word": f'{salt}Wörter, 文字 "{key}" \\ \n{"x" * (key % 50)}',
            "document": _document(key),
            "numbers": [key + step for step in range(key % 5)],
            "words": [f"w{key}", "", "ü"][: key % 4],
            "vector": floats(chance),
            **({f"extra_{key % 7}": key, "nested": {"a": [1, {"b": None}]}} if key % 2 else {}),
        }
        for key in keys
    ]


def _document(key: int) -> Row:
    """Objects only: that is what this server takes for JSON."""
    kinds = [
        {"key": key, "deep": {"list": [1, "two", 3.5, None, True, [[]]]}},
        {},
        {"ü": "文", "big": 2**53 + key},
    ]
    return kinds[key % len(kinds)]


def binary_rows(keys: Iterable[int], *, salt: str = "") -> list[Row]:
    chance = random.Random(f"{salt}binary")
    return [
        {"pk": f"{salt}key-{key:06d}-ß", "number": key, "vector": chance.randbytes(DIMENSION)} for key in keys
    ]


# -- collections -------------------------------------------------------------------------------------------------------


def plain(clients: Clients, database: str, name: str, rows: int = 200, *, loaded: bool = True) -> Coll:
    """int64 keys, a text, a vector with an index."""
    schema = MilvusClient.create_schema(auto_id=False, description=f"plain {name}")
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("word", DataType.VARCHAR, max_length=200)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    made = _make(Coll(clients, database, name), schema)
    made.index(IVF)
    if rows:
        made.insert(plain_rows(range(rows)))
        made.flush()
    if loaded:
        made.load()
    return made


def rich(clients: Clients, database: str, name: str, *, partitions: Sequence[str] = ("p1", "p2")) -> Coll:
    """Every scalar type, JSON, arrays and dynamic keys; nothing in it yet."""
    schema = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=True, description="Everything — 全部"
    )
    schema.add_field("pk", DataType.INT64, is_primary=True, description="the key")
    for name_, kind in (
        ("truth", DataType.BOOL),
        ("tiny", DataType.INT8),
        ("small", DataType.INT16),
        ("medium", DataType.INT32),
        ("long", DataType.INT64),
        ("single", DataType.FLOAT),
        ("double", DataType.DOUBLE),
        ("document", DataType.JSON),
    ):
        schema.add_field(name_, kind)
    schema.add_field("word", DataType.VARCHAR, max_length=512)
    schema.add_field("numbers", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8)
    schema.add_field("words", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=4, max_length=32)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    made = _make(Coll(clients, database, name), schema)
    for partition in partitions:
        made.client.create_partition(made.name, partition)
    made.index(IVF, {"field_name": "word", "index_name": "by_word", "index_type": "Trie"})
    return made


def binary(clients: Clients, database: str, name: str) -> Coll:
    """Text keys and a binary vector; nothing in it yet."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("number", DataType.INT64)
    schema.add_field("vector", DataType.BINARY_VECTOR, dim=8 * DIMENSION)
    made = _make(Coll(clients, database, name), schema)
    made.index({**IVF, "index_type": "BIN_IVF_FLAT", "metric_type": "HAMMING"})
    return made


def auto_ids(clients: Clients, database: str, name: str, *, kind: DataType = DataType.INT64) -> Coll:
    """Keys that the server makes; nothing in it yet."""
    schema = MilvusClient.create_schema(auto_id=True)
    schema.add_field("id", kind, is_primary=True, **({"max_length": 64} if kind == DataType.VARCHAR else {}))
    schema.add_field("word", DataType.VARCHAR, max_length=200)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    made = _make(Coll(clients, database, name, key="id", search={"ef": 64}), schema)
    made.index(
        {**IVF, "index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 8, "efConstruction": 64}}
    )
    return made


def keyed(clients: Clients, database: str, name: str, *, partitions: int = 3) -> Coll:
    """A partition key; nothing in it yet."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("tenant", DataType.VARCHAR, max_length=64, is_partition_key=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    made = _make(Coll(clients, database, name), schema, num_partitions=partitions, properties=TTL)
    made.index({**IVF, "index_type": "IVF_SQ8", "metric_type": "IP"})
    return made


def keyed_rows(keys: Iterable[int]) -> list[Row]:
    chance = random.Random("keyed")
    return [{"pk": key, "tenant": f"tenant {key % 11}", "vector": floats(chance)} for key in keys]


TTL = {"collection.ttl.seconds": "8640000"}
IVF: Mapping[str, Any] = {
    "field_name": "vector",
    "index_name": "by_vector",
    "index_type": "IVF_FLAT",
    "metric_type": "L2",
    "params": {"nlist": 16},
}


def _make(coll: Coll, schema: Any, **more: Any) -> Coll:
    coll.client.create_collection(coll.name, schema=schema, consistency_level="Strong", **more)
    return coll


def without(rows: list[Row], name: str) -> list[Row]:
    return [{key: value for key, value in row.items() if key != name} for row in rows]


def keys_below(server: S3Server, bucket: str, prefix: str) -> list[str]:
    """What the vendor's own SDK finds."""
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]
