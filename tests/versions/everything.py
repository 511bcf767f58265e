"""A server filled with everything that its version has, through the public client, and the comparison afterwards."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import DataType, Function, FunctionType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from tests.milvus_double.server import MilvusDouble
from tests.milvus_double.state import Collection, Key, Row

DIMENSION = 8
DATABASE = "archive"
Rows = list[dict[str, Any]]

FLAT = {"index_type": "FLAT", "metric_type": "L2"}
SPARSE = {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP"}


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes one collection with rows; ``needs`` are features of the version, as `ServerVersion.has` knows them."""

    name: str
    needs: tuple[str, ...]
    make: Callable[[Filling, str], None]
    database: str = "default"


class Filling:
    """The client side of a double that is being filled."""

    def __init__(self, double: MilvusDouble) -> None:
        self.double = double
        self._clients: dict[str, MilvusClient] = {}

    def has(self, *features: str) -> bool:
        return all(self.double.version.has(feature) for feature in features)

    def knows(self, kind: DataType) -> bool:
        return self.double.version.knows_type(int(kind))

    def client(self, database: str = "default") -> MilvusClient:
        if database not in self._clients:
            more = {"user": "root", "password": "Milvus"} if self.double.state.authorization else {}
            name = {} if database == "default" else {"db_name": database}
            self._clients[database] = MilvusClient(uri=self.double.uri, **name, **more)
        return self._clients[database]

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def collection(
        self, name: str, schema: Any, *indexes: dict[str, Any], database: str = "default", **more: Any
    ) -> None:
        client = self.client(database)
        client.create_collection(name, schema=schema, consistency_level="Strong", **more)
        params = client.prepare_index_params()
        for index in indexes:
            params.add_index(**index)
        if indexes:
            # There is nothing to wait for, and the client would sleep for half a second an index.
            client.create_index(collection_name=name, index_params=params, sync=False)

    def insert(self, name: str, rows: Rows, *, partition: str = "", database: str = "default") -> None:
        self.client(database).insert(name, rows, **({"partition_name": partition} if partition else {}))

    def flush(self, name: str, *, database: str = "default") -> None:
        self.client(database).flush(name)


def chance(name: str) -> random.Random:
    return random.Random(name)


def floats(source: random.Random) -> list[float]:
    """Values that half precision holds exactly."""
    return [source.randrange(256) / 256 for _ in range(DIMENSION)]


# -- collections -------------------------------------------------------------------------------------------------------


def _scalars(filling: Filling, name: str) -> None:
    """Every scalar type, dynamic keys, three partitions, several segments, deletes and upserts before and after flushes."""
    schema = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=filling.has("dynamic_field"), description="Alles — 全部"
    )
    schema.add_field("pk", DataType.INT64, is_primary=True)
    kinds = {
        "truth": DataType.BOOL,
        "tiny": DataType.INT8,
        "small": DataType.INT16,
        "medium": DataType.INT32,
        "long": DataType.INT64,
        "single": DataType.FLOAT,
        "double": DataType.DOUBLE,
    }
    for field, kind in kinds.items():
        schema.add_field(field, kind)
    schema.add_field("word", DataType.VARCHAR, max_length=512)
    if filling.knows(DataType.JSON):
        schema.add_field("document", DataType.JSON)
    if filling.knows(DataType.ARRAY):
        schema.add_field("numbers", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8)
        schema.add_field(
            "words", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=4, max_length=32
        )
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    filling.collection(
        name,
        schema,
        {"field_name": "vector", "index_name": "by_vector", **FLAT},
        {"field_name": "word", "index_name": "by_word", "index_type": "Trie"},
    )
    client = filling.client()
    for partition in ("p1", "p2"):
        client.create_partition(name, partition)
    client.load_collection(name)
    filling.insert(name, _scalar_rows(filling, range(100)))
    filling.flush(name)
    filling.insert(name, _scalar_rows(filling, range(100, 200)), partition="p1")
    client.delete(name, filter=f"pk in {[*range(10), *range(100, 110)]}")
    filling.flush(name)
    filling.insert(name, _scalar_rows(filling, range(200, 260)), partition="p2")
    if filling.double.version.implements("Upsert"):
        client.upsert(name, _scalar_rows(filling, range(20, 30), salt="new "))
    client.delete(name, filter=f"pk in {[*range(30, 35), *range(250, 255)]}")
    if filling.double.version.implements("CreateAlias"):
        client.create_alias(name, f"{name}_alias")


def _scalar_rows(filling: Filling, keys: Iterable[int], *, salt: str = "") -> Rows:
    source = chance(f"{salt}scalars")
    rows: Rows = []
    for key in keys:
        row: dict[str, Any] = {
            "pk": key,
            "truth": key % 3 == 0,
            "tiny": key % 256 - 128,
            "small": key % 65_536 - 32_768,
            "medium": 2**31 - 1 - key,
            "long": (-1) ** key * (2**63 - 1 - key),
            "single": source.randrange(1024) / 1024,
            "double": source.random() * 1e300,
            "word": f'{salt}Wörter, 文字 "{key}"\n{"x" * (key % 50)}',
            "vector": floats(source),
        }
        if filling.knows(DataType.JSON):
            row["document"] = {"key": key, "deep": {"list": [1, "two", 3.5, None, True]}} if key % 3 else {}
        if filling.knows(DataType.ARRAY):
            row["numbers"] = [key + step for step in range(key % 5)]
            row["words"] = [f"w{key}", "", "ü"][: key % 4]
        if filling.has("dynamic_field") and key % 2:
            row |= {f"extra_{key % 7}": key, "nested": {"a": [1, {"b": None}]}}
        rows.append(row)
    return rows


def _binary(filling: Filling, name: str) -> None:
    """Text keys and a binary vector, two shards; rows that only a flush makes persistent."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("vector", DataType.BINARY_VECTOR, dim=8 * DIMENSION)
    index = {"field_name": "vector", "index_name": "bits", "index_type": "BIN_FLAT", "metric_type": "HAMMING"}
    filling.collection(name, schema, index, num_shards=2)
    source = chance(name)
    filling.client().load_collection(name)
    rows = [{"pk": f"key-{number:04d}-ß", "vector": source.randbytes(DIMENSION)} for number in range(120)]
    filling.insert(name, rows[:60])
    filling.flush(name)
    filling.insert(name, rows[60:])
    keys = json.dumps([row["pk"] for row in rows[50:70]], ensure_ascii=False)
    filling.client().delete(name, filter=f"pk in {keys}")


def _auto(filling: Filling, name: str) -> None:
    """Keys that the server makes."""
    schema = MilvusClient.create_schema(auto_id=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    filling.collection(name, schema, {"field_name": "vector", "index_name": "auto", **FLAT})
    source = chance(name)
    filling.insert(name, [{"vector": floats(source)} for _ in range(50)])


def _keyed(filling: Filling, name: str) -> None:
    """A partition key and its partitions; a property."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("tenant", DataType.VARCHAR, max_length=64, is_partition_key=True)
    if filling.has("clustering_key"):
        schema.add_field("day", DataType.INT64, is_clustering_key=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    properties = {"collection.ttl.seconds": "8640000", "mmap.enabled": "true"}
    index = {"field_name": "vector", "index_name": "by_vector", **FLAT}
    filling.collection(name, schema, index, num_partitions=4, properties=properties)
    source = chance(name)
    more = {"day": 7} if filling.has("clustering_key") else {}
    filling.insert(
        name,
        [{"pk": key, "tenant": f"tenant {key % 11}", "vector": floats(source), **more} for key in range(100)],
    )


def _empty(filling: Filling, name: str) -> None:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    filling.collection(name, schema)


def _vectors(filling: Filling, name: str) -> None:
    """Four vector fields of one row, among them sparse ones, and nothing loaded."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("full", DataType.FLOAT_VECTOR, dim=DIMENSION)
    schema.add_field("half", DataType.FLOAT16_VECTOR, dim=DIMENSION)
    schema.add_field("brain", DataType.BFLOAT16_VECTOR, dim=DIMENSION)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    filling.collection(
        name,
        schema,
        *({"field_name": field, "index_name": f"by_{field}", **FLAT} for field in ("full", "half", "brain")),
        {"field_name": "sparse", "index_name": "by_sparse", **SPARSE},
    )
    source = chance(name)
    rows = [
        {
            "pk": key,
            "full": floats(source),
            "half": np.array(floats(source), dtype=np.float16),
            "brain": np.array(floats(source), dtype=np.float32).astype(">f4").tobytes()[: 2 * DIMENSION],
            "sparse": {source.randrange(1000): source.randrange(64) / 64 for _ in range(1 + key % 5)},
        }
        for key in range(60)
    ]
    filling.insert(name, rows)


def _small_vectors(filling: Filling, name: str) -> None:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("small", DataType.INT8_VECTOR, dim=DIMENSION)
    hnsw = {"index_type": "HNSW", "metric_type": "COSINE", "params": {"M": 8, "efConstruction": 64}}
    filling.collection(name, schema, {"field_name": "small", "index_name": "by_small", **hnsw})
    source = chance(name)
    filling.insert(
        name,
        [
            {"pk": key, "small": np.array([source.randrange(-128, 128) for _ in range(DIMENSION)], np.int8)}
            for key in range(40)
        ],
    )


def _nulls(filling: Filling, name: str) -> None:
    """Null values of every kind that may be null, and default values."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("maybe", DataType.INT64, nullable=True)
    schema.add_field("word", DataType.VARCHAR, max_length=64, nullable=True)
    schema.add_field("document", DataType.JSON, nullable=True)
    schema.add_field("numbers", DataType.ARRAY, element_type=DataType.INT64, max_capacity=8, nullable=True)
    schema.add_field("rate", DataType.DOUBLE, default_value=0.5)
    schema.add_field("title", DataType.VARCHAR, max_length=64, default_value="n/a", nullable=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    filling.collection(name, schema, {"field_name": "vector", "index_name": "by_vector", **FLAT})
    source = chance(name)
    rows: Rows = []
    for key in range(60):
        row: dict[str, Any] = {"pk": key, "vector": floats(source)}
        if key % 2:
            row |= {"maybe": key, "word": f"word {key}", "document": {"key": key}, "numbers": [key]}
        else:
            row |= {"maybe": None, "word": None, "document": None, "numbers": None}
        rows.append(row | ({"rate": 2.0, "title": "given"} if key % 3 else {}))
    filling.insert(name, rows)


def _full_text(filling: Filling, name: str) -> None:
    """BM25 with an analyzer; an index on a path in JSON whose name only a server makes."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field(
        "text",
        DataType.VARCHAR,
        max_length=512,
        enable_analyzer=True,
        enable_match=True,
        analyzer_params={"type": "english"},
    )
    schema.add_field("document", DataType.JSON)
    schema.add_field("terms", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=["text"],
            output_field_names=["terms"],
        )
    )
    indexes = [
        {
            "field_name": "terms",
            "index_name": "by_terms",
            "index_type": "SPARSE_INVERTED_INDEX",
            "metric_type": "BM25",
        }
    ]
    if filling.has("json_path_index"):
        params = {"json_path": 'document["a"]["b"]', "json_cast_type": "double"}
        indexes.append(
            {"field_name": "document", "index_name": "", "index_type": "INVERTED", "params": params}
        )
    filling.collection(name, schema, *indexes)
    filling.insert(
        name,
        [
            {"pk": key, "text": f"words about topic {key % 5} and {key}", "document": {"a": {"b": key}}}
            for key in range(50)
        ],
    )


def _grown(filling: Filling, name: str) -> None:
    """A field that came after ``$meta``, with rows of before and after it."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=True)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    filling.collection(name, schema, {"field_name": "vector", "index_name": "by_vector", **FLAT})
    source = chance(name)
    client = filling.client()
    filling.insert(name, [{"pk": key, "vector": floats(source), "free": key} for key in range(30)])
    filling.flush(name)
    client.add_collection_field(name, "later", DataType.VARCHAR, max_length=64, nullable=True)
    client.add_collection_field(name, "count", DataType.INT64, nullable=True, default_value=7)
    filling.insert(name, [{"pk": key, "vector": floats(source), "later": f"l{key}"} for key in range(30, 60)])


def _structs(filling: Filling, name: str) -> None:
    """An array of structs with texts and every kind of vector, some of it deleted, a geometry, a time with its zone."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    schema.add_field("place", DataType.GEOMETRY, nullable=True)
    schema.add_field("moment", DataType.TIMESTAMPTZ, nullable=True)
    chunk = MilvusClient.create_struct_field_schema()
    chunk.add_field("text", DataType.VARCHAR, max_length=64)
    chunk.add_field("embedding", DataType.FLOAT_VECTOR, dim=DIMENSION)
    chunk.add_field("half", DataType.FLOAT16_VECTOR, dim=DIMENSION)
    chunk.add_field("brain", DataType.BFLOAT16_VECTOR, dim=DIMENSION)
    chunk.add_field("small", DataType.INT8_VECTOR, dim=DIMENSION)
    chunk.add_field("bits", DataType.BINARY_VECTOR, dim=DIMENSION)
    schema.add_field(
        "chunks", DataType.ARRAY, element_type=DataType.STRUCT, struct_schema=chunk, max_capacity=4
    )
    hnsw = {"index_type": "HNSW", "metric_type": "MAX_SIM_COSINE", "params": {"M": 8, "efConstruction": 64}}
    filling.collection(
        name,
        schema,
        {"field_name": "vector", "index_name": "by_vector", **FLAT},
        {"field_name": "chunks[embedding]", "index_name": "by_chunk", **hnsw},
    )
    source = chance(name)
    for start in (0, 30):
        filling.insert(name, [_with_chunks(source, key) for key in range(start, start + 30)])
        filling.flush(name)
    filling.client().delete(name, ids=[1, 2, 40])
    filling.client().upsert(name, [_with_chunks(source, key) for key in (3, 50)])


def _with_chunks(source: random.Random, key: int) -> dict[str, Any]:
    """None to three structs."""
    return {
        "pk": key,
        "vector": floats(source),
        "place": f"POINT ({key} {key + 1})",
        "moment": f"2026-01-{key % 28 + 1:02d}T12:00:00+08:00",
        "chunks": [_chunk(source, f"c{key}") for _ in range(key % 4)],
    }


def _chunk(source: random.Random, text: str) -> dict[str, Any]:
    return {
        "text": text,
        "embedding": floats(source),
        "half": np.array(floats(source), np.float16),
        "brain": source.randbytes(2 * DIMENSION),
        "small": np.frombuffer(source.randbytes(DIMENSION), np.int8),
        "bits": source.randbytes(DIMENSION // 8),
    }


def _embedded(filling: Filling, name: str) -> None:
    """A function whose remote side answers while the rows come, and when they are restored only where it must be asked."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=512)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    schema.add_function(
        Function(
            name="remote",
            function_type=FunctionType.TEXTEMBEDDING,
            input_field_names=["text"],
            output_field_names=["vector"],
            params={"provider": "openai", "model_name": "text-embedding-3-small"},
        )
    )
    filling.double.state.providers_answer = True
    filling.collection(name, schema, {"field_name": "vector", "index_name": "by_vector", **FLAT})
    filling.insert(name, [{"pk": key, "text": f"text number {key}"} for key in range(30)])
    filling.double.state.providers_answer = not filling.has("function_check_switch")


def _minhash(filling: Filling, name: str) -> None:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=512)
    schema.add_field("signature", DataType.BINARY_VECTOR, dim=512)
    schema.add_function(
        Function(
            name="near_duplicates",
            function_type=FunctionType.MINHASH,
            input_field_names=["text"],
            output_field_names=["signature"],
            params={"num_hashes": 16},
        )
    )
    index = {"index_type": "MINHASH_LSH", "metric_type": "MHJACCARD"}
    filling.collection(name, schema, {"field_name": "signature", "index_name": "by_signature", **index})
    filling.insert(name, [{"pk": key, "text": f"text number {key % 7}"} for key in range(30)])


def _in_database(filling: Filling, name: str) -> None:
    """A collection of the same name in another database."""
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=DIMENSION)
    index = {"field_name": "vector", "index_name": "by_vector", **FLAT}
    filling.collection(name, schema, index, database=DATABASE)
    source = chance(name)
    filling.insert(
        name, [{"pk": key, "vector": floats(source)} for key in range(1000, 1040)], database=DATABASE
    )


MAKERS = (
    Maker("scalars", (), _scalars),
    Maker("binary", (), _binary),
    Maker("auto", (), _auto),
    Maker("keyed", ("partition_key",), _keyed),
    Maker("empty", (), _empty),
    Maker("vectors", ("several_vectors",), _vectors),
    Maker("small_vectors", ("packed_segments",), _small_vectors),
    Maker("nulls", ("nullable",), _nulls),
    Maker("full_text", ("functions",), _full_text),
    Maker("grown", ("add_field",), _grown),
    Maker("embedded", ("text_embedding",), _embedded),
    Maker("minhash", ("minhash",), _minhash),
    Maker("structs", ("struct_arrays",), _structs),
    Maker("scalars", ("databases",), _in_database, DATABASE),
)


def fill(double: MilvusDouble) -> list[tuple[str, str]]:
    """Makes everything; returns (database, collection) of each collection made."""
    filling = Filling(double)
    try:
        if filling.has("databases"):
            properties = {"database.replica.number": "1"} if filling.has("database_properties") else {}
            filling.client().create_database(DATABASE, **({"properties": properties} if properties else {}))
        made = [maker for maker in MAKERS if filling.has(*maker.needs)]
        for maker in made:
            maker.make(filling, maker.name)
    finally:
        filling.close()
    return [(maker.database, maker.name) for maker in made]


# -- comparison --------------------------------------------------------------------------------------------------------


def rows_of(double: MilvusDouble, database: str, name: str) -> dict[str, dict[Key, tuple[Any, ...]]]:
    """Partition -> key -> row id, timestamp and values of what is visible: nothing of a row may change."""
    with double.state.lock:
        collection = double.state.collection(database, name)
        return {
            partition.name: {
                key: _exact(row, collection)
                for key, row in double.state.visible(collection, [partition.id]).items()
            }
            for partition in collection.partitions.values()
        }


def _exact(row: Row, collection: Collection) -> tuple[Any, ...]:
    """Rows that are older than a field have its default, or null, whether it is written or not."""
    values = {field.fieldID: row.values.get(field.fieldID, _default(field)) for field in collection.fields}
    return row.row_id, row.timestamp, values


def _default(field: Any) -> Any:
    if field.is_dynamic:
        return b"{}"
    kind = field.default_value.WhichOneof("data")
    return getattr(field.default_value, kind) if kind else None


def described(double: MilvusDouble, database: str, name: str) -> Any:
    """Schema with field ids, properties, partitions and indexes, as the server tells them."""
    import grpc

    with grpc.insecure_channel(f"{double.address}:{double.port}") as channel:
        stub = milvus_pb2_grpc.MilvusServiceStub(channel)
        meta = [("dbname", database)]
        if double.state.authorization:
            meta.append(("authorization", "cm9vdDpNaWx2dXM="))
        found = stub.DescribeCollection(
            milvus_pb2.DescribeCollectionRequest(collection_name=name), metadata=meta
        )
        parts = stub.ShowPartitions(milvus_pb2.ShowPartitionsRequest(collection_name=name), metadata=meta)
        indexes = stub.DescribeIndex(milvus_pb2.DescribeIndexRequest(collection_name=name), metadata=meta)
    found.schema.name = ""
    properties = {pair.key: pair.value for pair in (*found.schema.properties, *found.properties)}
    del found.schema.properties[:]
    return {
        "schema": str(found.schema),
        "properties": properties,
        "shards": found.shards_num,
        "consistency": found.consistency_level,
        "partitions": sorted(parts.partition_names),
        "indexes": sorted(
            (index.field_name, index.index_name, sorted((pair.key, pair.value) for pair in index.params))
            for index in indexes.index_descriptions
        ),
    }


def collection_of(double: MilvusDouble, database: str, name: str) -> Collection:
    with double.state.lock:
        return double.state.collection(database, name)
