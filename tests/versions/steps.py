"""What is asked of both 2.3.5s, in order: a table of names and questions. Later steps build on earlier ones."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.versions.script import KEY, VECTOR, Server, create, empty_request, field, http, pairs, until

Ask = Callable[[Server], Any]
STEPS: dict[str, Ask] = {}


def call(label: str, rpc: str, request: Any, *, database: str = "", only: str = "") -> None:
    """``only``: what of the answer counts, where the rest is how the real server got there."""
    assert label not in STEPS, label

    def ask(server: Server) -> Any:
        answer = server(rpc, request, database)
        status = answer.get("status", answer)
        return status.get(only) if only else answer

    STEPS[label] = ask


def step(ask: Ask) -> Ask:
    STEPS[ask.__name__.replace("_", " ")] = ask
    return ask


# -- the server as a whole ---------------------------------------------------------------------------------------------

call("connect", "Connect", milvus.ConnectRequest(client_info=common.ClientInfo(sdk_type="Python")))
call("connect to a missing database", "Connect", milvus.ConnectRequest(), database="nodb")
call("version", "GetVersion", milvus.GetVersionRequest())
call("databases", "ListDatabases", milvus.ListDatabasesRequest())
call("health", "CheckHealth", milvus.CheckHealthRequest())

# What 2.3.5 lacks, and what an empty request comes to where it has the call.
for name in [
    "DescribeDatabase",
    "AlterDatabase",
    "ListPrivilegeGroups",
    "BackupRBAC",
    "AlterIndex",
    "AddCollectionField",
    "AlterCollectionField",
    "ListSnapshots",
    "TruncateCollection",
    "HybridSearch",
    "RunAnalyzer",
    "GetReplicateInfo",
    "ListIndexedSegment",
    "DescribeAlias",
    "DescribeSegmentIndexData",
    "FlushAll",
    "GetFlushAllState",
    "GetIndexStatistics",
    "RenameCollection",
    "GetLoadState",
    "CreateDatabase",
    "AllocTimestamp",
    "GetComponentStates",
    "ListAliases",
    "DescribeResourceGroup",
    "ListResourceGroups",
    "CreateSnapshot",
    "OperatePrivilegeV2",
]:
    call(f"empty {name}", name, empty_request(name))


@step
def no_rest(server: Server) -> Any:
    return http(f"{server.site.rest}/v2/vectordb/collections/list", body=b"{}")


@step
def no_gc_pause(server: Server) -> Any:
    return http(f"{server.site.management}/management/datacoord/garbage_collection/pause?pause_seconds=60")


# -- databases, collections --------------------------------------------------------------------------------------------

WORD = field("word", DataType.VarChar, max_length=20)
PLAIN: dict[str, Any] = {
    "enable_dynamic_field": True,
    "description": "d",
    "shards_num": 2,
    "properties": pairs(**{"collection.ttl.seconds": "1000"}),
}
call("create", "CreateCollection", create("c1", KEY, WORD, VECTOR, **PLAIN))
call("create it again", "CreateCollection", create("c1", KEY, WORD, VECTOR, **PLAIN))
call("create it otherwise", "CreateCollection", create("c1", KEY, VECTOR))
call("describe", "DescribeCollection", milvus.DescribeCollectionRequest(collection_name="c1"))
_TENANT = field(
    "tenant",
    DataType.VarChar,
    max_length=5,
    is_partition_key=True,
    nullable=True,
    default_value=schema_pb2.ValueField(string_data="x"),
)
call("create keyed", "CreateCollection", create("c2", KEY, _TENANT, VECTOR))
call("describe keyed", "DescribeCollection", milvus.DescribeCollectionRequest(collection_name="c2"))

_VECTOR = DataType.FloatVector
_WRONG: dict[str, milvus.CreateCollectionRequest] = {
    "no vector": create("x1", KEY),
    "no key": create("x2", VECTOR),
    "two keys": create("x3", KEY, field("b", DataType.Int64, is_primary_key=True), VECTOR),
    "two vectors": create("x4", KEY, VECTOR, field("v2", _VECTOR, dim=4)),
    "a key of floats": create("x5", field("k", DataType.Float, is_primary_key=True), VECTOR),
    "no dimension": create("x6", KEY, field("v", _VECTOR)),
    "a large dimension": create("x7", KEY, field("v", _VECTOR, dim=99_999)),
    "no length": create("x8", KEY, field("w", DataType.VarChar), VECTOR),
    "a bad name": create("1x", KEY, VECTOR),
    "no name": create("", KEY, VECTOR),
    "a name twice": create("x9", KEY, VECTOR, field("pk", DataType.Int64)),
    "a sparse vector": create("x10", KEY, field("v", DataType.SparseFloatVector)),
    "a sparse vector beside another": create("y10", KEY, VECTOR, field("v", DataType.SparseFloatVector)),
    "geometry": create("x11", KEY, VECTOR, field("g", DataType.Geometry)),
    "an unknown type": create("x12", KEY, VECTOR, field("g", 77)),
    "type none": create("x13", KEY, VECTOR, field("g", 0)),
    "type string": create("x14", KEY, VECTOR, field("g", DataType.String)),
    "many shards": create("x15", KEY, VECTOR, shards_num=100),
    "no capacity": create("x16", KEY, VECTOR, field("a", DataType.Array, element_type=DataType.Int64)),
    "nullable": create("x17", KEY, VECTOR, field("a", DataType.Int64, nullable=True)),
    "float16": create("x18", KEY, field("v", DataType.Float16Vector, dim=4)),
    "a field for dynamic keys": create("x19", KEY, VECTOR, field("$meta", DataType.JSON, is_dynamic=True)),
    "partitions without a key": create("x20", KEY, VECTOR, num_partitions=3),
    "odd bits": create("x21", KEY, field("v", DataType.BinaryVector, dim=9)),
    "arrays of arrays": create(
        "x22", KEY, VECTOR, field("a", DataType.Array, element_type=DataType.Array, max_capacity=4)
    ),
    "a partition key of floats": create(
        "x23", KEY, field("p", DataType.Float, is_partition_key=True), VECTOR
    ),
}
for label, wrong in _WRONG.items():
    call(f"create with {label}", "CreateCollection", wrong)
call("collections", "ShowCollections", milvus.ShowCollectionsRequest())
call("null is not kept", "DescribeCollection", milvus.DescribeCollectionRequest(collection_name="x17"))


def _of(name: str, request: Any, **more: Any) -> dict[str, Any]:
    key = "collectionName" if "collectionName" in request.DESCRIPTOR.fields_by_name else "collection_name"
    return {key: name, **more}


for rpc, request in (
    ("HasCollection", milvus.HasCollectionRequest),
    ("DescribeCollection", milvus.DescribeCollectionRequest),
    ("DropCollection", milvus.DropCollectionRequest),
    ("ShowPartitions", milvus.ShowPartitionsRequest),
    ("HasPartition", milvus.HasPartitionRequest),
    ("CreatePartition", milvus.CreatePartitionRequest),
    ("DescribeIndex", milvus.DescribeIndexRequest),
    ("GetLoadState", milvus.GetLoadStateRequest),
    ("GetLoadingProgress", milvus.GetLoadingProgressRequest),
    ("GetPersistentSegmentInfo", milvus.GetPersistentSegmentInfoRequest),
    ("GetCollectionStatistics", milvus.GetCollectionStatisticsRequest),
    ("ReleaseCollection", milvus.ReleaseCollectionRequest),
):
    more = {"partition_name": "p"} if "partition_name" in request.DESCRIPTOR.fields_by_name else {}
    call(f"{rpc} of what is not there", rpc, request(**_of("no", request, **more)))
    if rpc not in ("DropCollection", "CreatePartition"):
        call(f"{rpc} of an empty collection", rpc, request(**_of("c1", request, **more)))
call("load without an index", "LoadCollection", milvus.LoadCollectionRequest(collection_name="c1"))
call("flush what is not there", "Flush", milvus.FlushRequest(collection_names=["no"]))
call("flush nothing", "Flush", milvus.FlushRequest())

for label, name, collection in (
    ("create a partition", "p", "c1"),
    ("create it twice", "p", "c1"),
    ("create one with a bad name", "1 p", "c1"),
    ("create one by hand beside a key", "p", "c2"),
):
    call(
        label,
        "CreatePartition",
        milvus.CreatePartitionRequest(collection_name=collection, partition_name=name),
    )
for name in ("no", "_default", "p"):
    call(
        f"drop partition {name}",
        "DropPartition",
        milvus.DropPartitionRequest(collection_name="c1", partition_name=name),
    )
call("partitions", "ShowPartitions", milvus.ShowPartitionsRequest(collection_name="c1"))
call("loaded partitions", "ShowPartitions", milvus.ShowPartitionsRequest(collection_name="c1", type=1))

for label, collection, alias in (
    ("alias of nothing", "no", "a1"),
    ("alias", "c1", "a1"),
    ("alias again", "c1", "a1"),
    ("alias of another", "c2", "a1"),
    ("alias with a collection's name", "c2", "c1"),
):
    call(label, "CreateAlias", milvus.CreateAliasRequest(collection_name=collection, alias=alias))
call("describe alias", "DescribeAlias", milvus.DescribeAliasRequest(alias="a1"))
call("describe no alias", "DescribeAlias", milvus.DescribeAliasRequest(alias="no"))
call("aliases", "ListAliases", milvus.ListAliasesRequest(collection_name="c1"))
call("has an alias", "HasCollection", milvus.HasCollectionRequest(collection_name="a1"))
call("drop by alias", "DropCollection", milvus.DropCollectionRequest(collection_name="a1"))
call("drop no alias", "DropAlias", milvus.DropAliasRequest(alias="no"))
call("alter no alias", "AlterAlias", milvus.AlterAliasRequest(collection_name="c2", alias="no"))
call("create with an alias' name", "CreateCollection", create("a1", KEY, VECTOR))
call("drop with an alias", "DropCollection", milvus.DropCollectionRequest(collection_name="c1"))

for name in ("default", "db2"):
    call(f"create database {name}", "CreateDatabase", milvus.CreateDatabaseRequest(db_name=name))
call("create a database twice", "CreateDatabase", milvus.CreateDatabaseRequest(db_name="db2"))
call("create in it", "CreateCollection", create("q", KEY, VECTOR), database="db2")
call("alias in it", "CreateAlias", milvus.CreateAliasRequest(collection_name="q", alias="a9"), database="db2")
call("aliases in it", "ListAliases", milvus.ListAliasesRequest(collection_name="q"), database="db2")
call(
    "describe in it",
    "DescribeCollection",
    milvus.DescribeCollectionRequest(collection_name="q"),
    database="db2",
)
for name in ("no", "default", "db2"):
    call(f"drop database {name}", "DropDatabase", milvus.DropDatabaseRequest(db_name=name))
for rpc, asked in (
    ("ShowCollections", milvus.ShowCollectionsRequest()),
    ("CreateCollection", create("q", KEY, VECTOR)),
    ("HasCollection", milvus.HasCollectionRequest(collection_name="q")),
    ("DescribeCollection", milvus.DescribeCollectionRequest(collection_name="q")),
    ("DropCollection", milvus.DropCollectionRequest(collection_name="q")),
):
    call(f"{rpc} in a missing database", rpc, asked, database="nodb")

call("rename", "RenameCollection", milvus.RenameCollectionRequest(oldName="c2", newName="c3"))
call("rename what is gone", "RenameCollection", milvus.RenameCollectionRequest(oldName="c2", newName="c4"))
call(
    "rename to a name in use", "RenameCollection", milvus.RenameCollectionRequest(oldName="c3", newName="x17")
)
for value in ("5", "7"):
    call(
        f"alter to {value}",
        "AlterCollection",
        milvus.AlterCollectionRequest(collection_name="c3", properties=pairs(a=value)),
    )
call(
    "delete properties",
    "AlterCollection",
    milvus.AlterCollectionRequest(collection_name="c3", delete_keys=["a"]),
)
call(
    "describe what was altered", "DescribeCollection", milvus.DescribeCollectionRequest(collection_name="c3")
)

# -- indexes, rows, flushes --------------------------------------------------------------------------------------------

T = "t1"
_IVF = pairs(index_type="IVF_FLAT", metric_type="L2", params='{"nlist":16}')
_HNSW = pairs(index_type="HNSW", metric_type="L2", params='{"M":8,"efConstruction":64}')
call("create t1", "CreateCollection", create(T, KEY, WORD, VECTOR))
for label, on, name, given in (
    ("index", "vector", "", _IVF),
    ("index again", "vector", "", _IVF),
    ("index otherwise", "vector", "x", _HNSW),
    ("index a text", "word", "by_word", pairs(index_type="Trie")),
    ("index no field", "zz", "", pairs(index_type="Trie")),
    ("index of no type", "vector", "y", pairs(index_type="NOPE", metric_type="L2")),
    ("index without a metric", "vector", "y", pairs(index_type="FLAT")),
    ("index with a path's name", "word", "/a/b", pairs(index_type="Trie")),
    ("index of the wrong type", "pk", "z", pairs(index_type="Trie")),
):
    call(
        label,
        "CreateIndex",
        milvus.CreateIndexRequest(collection_name=T, field_name=on, index_name=name, extra_params=given),
    )
call("indexes", "DescribeIndex", milvus.DescribeIndexRequest(collection_name=T))
call("no such index", "DescribeIndex", milvus.DescribeIndexRequest(collection_name=T, index_name="zz"))
call("index state", "GetIndexState", milvus.GetIndexStateRequest(collection_name=T, index_name="by_word"))
for name in ("nope", "by_word"):
    call(
        f"drop index {name}",
        "DropIndex",
        milvus.DropIndexRequest(collection_name=T, field_name="word", index_name=name),
    )


def _column(name: str, kind: int, slot: str, values: list[Any], array: Any) -> schema_pb2.FieldData:
    scalars = schema_pb2.ScalarField(**{slot: array(data=values)})
    return schema_pb2.FieldData(type=kind, field_name=name, scalars=scalars)


def rows(keys: list[int], words: list[str], *, dim: int = 4, **more: Any) -> milvus.InsertRequest:
    numbers = schema_pb2.FloatArray(data=[at / 8 for at in range(len(keys) * dim)])
    vectors = schema_pb2.VectorField(dim=dim, float_vector=numbers)
    columns = [
        _column("pk", DataType.Int64, "long_data", keys, schema_pb2.LongArray),
        schema_pb2.FieldData(type=DataType.FloatVector, field_name="vector", vectors=vectors),
    ]
    if words:
        columns.append(_column("word", DataType.VarChar, "string_data", words, schema_pb2.StringArray))
    return milvus.InsertRequest(
        **{"collection_name": T, "fields_data": columns, "num_rows": len(keys)} | more
    )


def query(label: str, *, only: str = "", **more: Any) -> None:
    call(label, "Query", milvus.QueryRequest(collection_name=T, consistency_level=0, **more), only=only)


query("query what is not loaded", expr="pk > 0", output_fields=["pk"])
call("insert", "Insert", rows([1, 2, 3], ["a", "b", "c"]))
call("insert without a column", "Insert", rows([1, 2, 3], []))
call("insert in another dimension", "Insert", rows([1, 2, 3], ["a", "b", "c"], dim=2))
call("insert a long text", "Insert", rows([1, 2, 3], ["a" * 30, "b", "c"]))
call("insert into nothing", "Insert", rows([1], ["a"], collection_name="no"))
call("insert into no partition", "Insert", rows([1], ["a"], partition_name="no"))
call(
    "growing is not persistent",
    "GetPersistentSegmentInfo",
    milvus.GetPersistentSegmentInfoRequest(collectionName=T),
)
call("load", "LoadCollection", milvus.LoadCollectionRequest(collection_name=T))


@step
def loading_progress(server: Server) -> Any:
    asked = milvus.GetLoadingProgressRequest(collection_name=T)
    return until(lambda: server("GetLoadingProgress", asked), lambda found: found.get("progress") == "100")


call("load state", "GetLoadState", milvus.GetLoadStateRequest(collection_name=T))
call("loaded collections", "ShowCollections", milvus.ShowCollectionsRequest(type=1))
call("loaded partitions of t1", "ShowPartitions", milvus.ShowPartitionsRequest(collection_name=T, type=1))


@step
def replicas(server: Server) -> Any:
    described = server.raw("DescribeCollection", milvus.DescribeCollectionRequest(collection_name=T))
    return server("GetReplicas", milvus.GetReplicasRequest(collectionID=described.collectionID))


query("query", expr="pk > 0", output_fields=["pk", "word"])
query("query everything", expr="pk in [1,3]", output_fields=["*"])
query("query no field", expr="pk in [1,3]")
query("count", output_fields=["count(*)"])
query("query without condition", output_fields=["pk"])
query("query without condition but a limit", output_fields=["pk"], query_params=pairs(limit="2"))
query("query with half an expression", expr="pk >", output_fields=["pk"], only="code")
query("query an unknown field", expr="pk > 0", output_fields=["zz"])
query("query by an unknown field", expr="zz > 0", output_fields=["pk"])
query("query no partition", expr="pk > 0", output_fields=["pk"], partition_names=["no"])


def _flush(server: Server) -> Any:
    answer = server.raw("Flush", milvus.FlushRequest(collection_names=[T]))
    asked = milvus.GetFlushStateRequest(
        segmentIDs=answer.coll_segIDs[T].data, flush_ts=answer.coll_flush_ts.get(T, 0), collection_name=T
    )
    done = until(lambda: server("GetFlushState", asked), lambda found: bool(found.get("flushed")))
    return {"flush": server.plain(answer), "state": done}


@step
def flush(server: Server) -> Any:
    return _flush(server)


call("segments", "GetPersistentSegmentInfo", milvus.GetPersistentSegmentInfoRequest(collectionName=T))
STEPS["objects of rows"] = lambda server: server.site.object_shapes()
for label, expr in (
    ("a key", "pk in [1]"),
    ("a key that is not there", "pk in [77]"),
    ("by a text", 'word == "b"'),
):
    call(f"delete {label}", "Delete", milvus.DeleteRequest(collection_name=T, expr=expr))
call("delete without condition", "Delete", milvus.DeleteRequest(collection_name=T), only="code")
STEPS["flush deletes"] = _flush
call(
    "segments after it", "GetPersistentSegmentInfo", milvus.GetPersistentSegmentInfoRequest(collectionName=T)
)
STEPS["objects of deletes"] = lambda server: server.site.object_shapes()
call("statistics", "GetCollectionStatistics", milvus.GetCollectionStatisticsRequest(collection_name=T))
query("count what is left", output_fields=["count(*)"])
_UPSERTED = rows([2, 9], ["B", "n"])
call(
    "upsert",
    "Upsert",
    milvus.UpsertRequest(collection_name=T, fields_data=_UPSERTED.fields_data, num_rows=2),
)
query("query after it", expr="pk > 0", output_fields=["pk", "word"])
_NEAR = common.PlaceholderValue(tag="$0", type=101, values=[struct.pack("<4f", 0, 0, 0, 0)])
call(
    "search",
    "Search",
    milvus.SearchRequest(
        collection_name=T,
        dsl_type=1,
        placeholder_group=common.PlaceholderGroup(placeholders=[_NEAR]).SerializeToString(),
        output_fields=["word"],
        nq=1,
        search_params=pairs(
            anns_field="vector", topk="3", metric_type="L2", params='{"nprobe":16}', round_decimal="-1"
        ),
    ),
)
call("insert a key that is there", "Insert", rows([9], ["again"]))
query("count both rows of a key", output_fields=["count(*)"])
query("query a key with two rows", expr="pk == 9", output_fields=["pk"])
call(
    "drop the index of what is loaded",
    "DropIndex",
    milvus.DropIndexRequest(collection_name=T, field_name="vector", index_name="vector"),
)
call("release", "ReleaseCollection", milvus.ReleaseCollectionRequest(collection_name=T))
call("release twice", "ReleaseCollection", milvus.ReleaseCollectionRequest(collection_name=T))

# -- imports -----------------------------------------------------------------------------------------------------------


def _import(partition: str, *files: str) -> milvus.ImportRequest:
    return milvus.ImportRequest(
        collection_name=T, partition_name=partition, files=files, options=pairs(backup="true")
    )


call("import without a partition", "Import", _import("", "/nowhere/", ""))
call("import nothing without a partition", "Import", _import(""))
call("import into no partition", "Import", _import("no", "/nowhere/", ""))
call("state of no job", "GetImportState", milvus.GetImportStateRequest(task=5))
for label, path in (("missing", "/nowhere/"), ("relative", "insert_log/")):
    STEPS[f"import a {label} directory"] = partial(Server.imported, request=_import("_default", path, ""))
