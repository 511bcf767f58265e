"""The double playing 2.3.5, held against the real 2.3.5: one script for both, and each reads what the other wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.e2e import data
from tests.e2e.data import Clients, Coll
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_local
from tests.milvus_double import MilvusDouble
from tests.versions.both import Both
from tests.versions.script import Server, pairs, until
from tests.versions.steps import STEPS

VERSION = "v2.3.5-lite"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    home = tmp_path_factory.mktemp("likeness")
    with (
        milvus_local(home / "real", STABLE_SEGMENTS) as real,
        MilvusDouble(VERSION, home=home / "double") as double,
    ):
        pair = Both(real, double)
        yield pair
        pair.close()


@pytest.fixture(scope="module")
def answers(both: Both) -> Mapping[str, Mapping[str, Any]]:
    return both.answers()


@pytest.mark.parametrize("label", STEPS)
def test_the_double_answers_as_the_real_server_does(
    answers: Mapping[str, Mapping[str, Any]], label: str
) -> None:
    assert answers["double"][label] == answers["real"][label]


KINDS = ("rich", "binary", "auto")


def filled(clients: Clients, name: str, kind: str) -> Coll:
    """A collection with rows, deletes of them, and rows that came back."""
    if kind == "rich":
        coll = data.rich(clients, "default", name, partitions=())
        coll.insert(data.rich_rows(range(60)))
        coll.load()
        coll.delete([3, 4, 59])
        coll.upsert(data.rich_rows([4, 7], salt="again "))
    elif kind == "binary":
        coll = data.binary(clients, "default", name)
        coll.insert(data.binary_rows(range(40)))
        coll.load()
        coll.delete([row["pk"] for row in data.binary_rows([0, 11])])
    else:
        coll = data.auto_ids(clients, "default", name)
        keys = coll.insert(data.without(data.plain_rows(range(30)), "pk"))
        coll.load()
        coll.delete(keys[:5])
    coll.flush()
    return coll


def emptied(clients: Clients, name: str, kind: str) -> Coll:
    if kind == "rich":
        return data.rich(clients, "default", name, partitions=())
    return (data.binary if kind == "binary" else data.auto_ids)(clients, "default", name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("writer", "reader"), [("double", "real"), ("real", "double")])
def test_each_imports_what_the_other_wrote(both: Both, writer: str, reader: str, kind: str) -> None:
    name = f"{kind}_by_{writer}"
    source = filled(both.clients[writer], name, kind)
    target = emptied(both.clients[reader], name, kind)
    state = both.servers[reader].imported(_import(both.servers[writer], name))
    assert state["state"] == "ImportCompleted", state
    target.load()
    if kind == "auto":
        # 2.3 makes new keys for rows whose keys a server made.
        found, wanted = (
            {row["word"]: row["vector"] for row in coll.rows().values()} for coll in (target, source)
        )
        assert found == wanted
    else:
        assert target.rows() == source.rows()


def _import(writer: Server, name: str, **options: str) -> milvus.ImportRequest:
    """All segments of the default partition at once, as they lie in the writer's storage."""
    described = writer.raw("DescribeCollection", milvus.DescribeCollectionRequest(collection_name=name))
    shown = writer.raw("ShowPartitions", milvus.ShowPartitionsRequest(collection_name=name))
    place = f"{described.collectionID}/{shown.partitionIDs[0]}/"
    return milvus.ImportRequest(
        collection_name=name,
        partition_name="_default",
        files=[f"{writer.site.data}/{kind}/{place}" for kind in ("insert_log", "delta_log")],
        options=pairs(backup="true", **options),
    )


def test_an_import_is_cut_by_milliseconds(both: Both) -> None:
    found = {}
    for name, server in both.servers.items():
        coll = data.plain(both.clients[name], "default", "cut", rows=0, loaded=False)
        coll.insert(data.plain_rows(range(10)))
        boundary = milliseconds(server)
        # The real clock ticks every 50 ms.
        until(partial(milliseconds, server), (boundary + 1).__lt__)
        coll.insert(data.plain_rows(range(10, 30)))
        coll.flush()
        request = _import(server, "cut", end_ts=str(boundary + 1))
        data.plain(both.clients[name], "default", "cut_off", rows=0, loaded=False)
        request.collection_name = "cut_off"
        state = server.imported(request)
        found[name] = state["state"], state.get("row_count")
    assert found["double"] == found["real"] == ("ImportCompleted", "10")


def milliseconds(server: Server) -> int:
    """The physical part of the server's clock."""
    return int(server.raw("AllocTimestamp", milvus.AllocTimestampRequest()).timestamp) >> 18


def test_both_keep_their_data_where_they_say(both: Both) -> None:
    for server in both.servers.values():
        assert (Path(server.site.data) / "insert_log").is_dir()
