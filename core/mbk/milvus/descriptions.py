"""Descriptions of a collection, as the server's own messages: calls that several roles need."""

from __future__ import annotations

from typing import Any

from mbk.errors import MilvusError
from mbk.milvus.failures import check, no_such_collection
from mbk.milvus.proto import common, milvus
from mbk.milvus.server import Server, name_of
from mbk.model.records import LOADED, LOADING, NOT_LOADED
from mbk.ports.milvus.values import PartitionInfo

_LOAD_STATES = {2: LOADING, 3: LOADED}


def describe(server: Server, database: str, collection: str) -> Any:
    return server.call(
        "DescribeCollection",
        milvus.DescribeCollectionRequest(collection_name=collection),
        f"describe {name_of(database, collection)}",
        database=database,
    )


def indexes_of(server: Server, database: str, collection: str) -> Any:
    """The index descriptions; for a collection without indexes the server returns an error, we return none."""
    what = f"describe the indexes of {name_of(database, collection)}"
    request = milvus.DescribeIndexRequest(collection_name=collection)
    response = server.call("DescribeIndex", request, what, database=database, checked=False)
    if _says_no_index(response.status):
        return ()
    check(response.status, what)
    return response.index_descriptions


def load_state(server: Server, database: str, collection: str) -> str:
    """A collection whose loading failed counts as not loaded."""
    request = milvus.GetLoadStateRequest(collection_name=collection)
    what = f"get the load state of {name_of(database, collection)}"
    response = server.call("GetLoadState", request, what, database=database, checked=False)
    if response.state == common.LoadStateNotExist and not response.status.error_code:
        raise no_such_collection(what)
    return _LOAD_STATES.get(response.state, NOT_LOADED)


def loaded_partitions(server: Server, database: str, collection: str) -> dict[str, str]:
    """The load states of the partitions that are loaded or loading, in a single call."""
    request = milvus.ShowPartitionsRequest(collection_name=collection, type=milvus.ShowType.InMemory)
    what = f"list the loaded partitions of {name_of(database, collection)}"
    response = server.call("ShowPartitions", request, what, database=database)
    percentages = zip(response.partition_names, response.inMemory_percentages, strict=False)
    return {name: LOADED if percent >= 100 else LOADING for name, percent in percentages}


def partitions_of(server: Server, database: str, collection: str) -> tuple[PartitionInfo, ...]:
    request = milvus.ShowPartitionsRequest(collection_name=collection)
    what = f"list the partitions of {name_of(database, collection)}"
    listed = server.call("ShowPartitions", request, what, database=database)
    if len(listed.partition_names) != len(listed.partitionIDs):
        raise MilvusError(
            "{operation}: the server returned {names} names but {ids} ids",
            code="partition-list-invalid",
            operation=what,
            names=len(listed.partition_names),
            ids=len(listed.partitionIDs),
        )
    pairs = zip(listed.partitionIDs, listed.partition_names, strict=True)
    return tuple(PartitionInfo(id=number, name=name) for number, name in pairs)


def _says_no_index(status: Any) -> bool:
    return status.error_code == common.IndexNotExist or "index not found" in status.reason
