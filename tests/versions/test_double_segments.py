"""How rows and deletes lie in the double's object store, and what becomes of them, per version."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from pymilvus import DataType, MilvusClient
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.milvus_double import MilvusDouble
from tests.milvus_double.state import L0, SEALED, Collection
from tests.versions.script import Server, Site

DOCS = "docs"
#: Types of HTTP/2 frames.
PING, GOAWAY = 6, 7


class Running:
    """A double with one collection of two partitions, 20 rows in each, flushed and loaded."""

    def __init__(self, double: MilvusDouble) -> None:
        self.double = double
        self.client = MilvusClient(double.uri)
        self.server = Server(Site(double.target, double.rest_url, double.management_url, double.storage_root))
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("pk", DataType.INT64, is_primary=True)
        schema.add_field("word", DataType.VARCHAR, max_length=50)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
        self.client.create_collection(DOCS, schema=schema, consistency_level="Strong")
        self.client.create_partition(DOCS, "other")
        params = self.client.prepare_index_params()
        params.add_index("vector", index_type="FLAT", metric_type="L2")
        self.client.create_index(DOCS, params, sync=False)
        self.insert(range(20))
        self.insert(range(20, 40), "other")
        self.client.flush(DOCS)
        self.client.load_collection(DOCS)

    def insert(self, keys: range, partition: str = "_default") -> None:
        rows = [{"pk": key, "word": f"word {key}", "vector": [float(key)] * 4} for key in keys]
        self.client.insert(DOCS, rows, partition_name=partition)

    def delete(self, *keys: int, partition: str = "") -> None:
        self.client.delete(DOCS, ids=list(keys), partition_name=partition or None)
        self.client.flush(DOCS)

    def keys(self) -> set[int]:
        # 2.2 asks for a condition, and a literal of -2**63 is too much for some.
        found = self.client.query(DOCS, filter="pk >= 0", output_fields=["pk"], limit=1000)
        return {row["pk"] for row in found}

    @property
    def collection(self) -> Collection:
        return self.double.state.collection("default", DOCS)

    def objects(self, kind: str) -> list[str]:
        """Shapes of keys below ``kind``: ids as ``<collection>``, ``<default>``, ``<other>`` and ``<n>``."""
        names = {str(self.collection.id): "<collection>"}
        names |= {str(part.id): f"<{part.name.strip('_')}>" for part in self.collection.partitions.values()}
        found = []
        for entry in self.double.state.store.list(f"{kind}/"):
            parts = [names.get(part, part) for part in entry.key.split("/")]
            found.append("/".join(re.sub(r"\d{15,}(-\d+)?", "<n>", part) for part in parts))
        return sorted(found)

    def listed(self) -> list[Any]:
        request = milvus.GetPersistentSegmentInfoRequest(collectionName=DOCS)
        return list(self.server.raw("GetPersistentSegmentInfo", request).infos)


@contextmanager
def running(version: str, home: Path, **options: Any) -> Iterator[Running]:
    with MilvusDouble(version, home=home, flush_rate=0, **options) as double:
        made = Running(double)
        yield made
        made.client.close()
        made.server.close()


def test_2_2_keeps_deletes_of_flushed_segments_in_memory(tmp_path: Path) -> None:
    with running("v2.2.16", tmp_path) as made:
        made.delete(3, 25)
        assert made.keys() == set(range(40)) - {3, 25}
        assert made.objects("delta_log") == []
        made.double.state.sync_deletes = True
        made.client.flush(DOCS)
        assert len(made.objects("delta_log")) == 2


def test_2_3_writes_deletes_beside_the_segments_that_have_their_keys(tmp_path: Path) -> None:
    with running("v2.3.22", tmp_path) as made:
        made.delete(3, 25)
        assert made.objects("delta_log") == [
            "delta_log/<collection>/<default>/<n>/<n>",
            "delta_log/<collection>/<other>/<n>/<n>",
        ]
        assert {info.level for info in made.listed()} == {0}


@pytest.mark.parametrize("version", ["v2.4.23", "v2.5.8", "v2.6.12"])
def test_later_versions_write_segments_of_deletes(version: str, tmp_path: Path) -> None:
    with running(version, tmp_path) as made:
        made.delete(3, 25)
        made.delete(26, 4, partition="other")
        assert made.objects("delta_log") == [
            "delta_log/<collection>/-1/<n>/<n>",
            "delta_log/<collection>/-1/<n>/<n>",
            "delta_log/<collection>/<other>/<n>/<n>",
        ]
        l0 = [info for info in made.listed() if info.level == L0]
        assert {info.partitionID for info in l0} == {-1, made.collection.partitions["other"].id}
        assert {(info.num_rows, info.storage_version) for info in l0} == {(0, 0)}
        # Key 4 lies in the default partition, which a delete in the other one does not reach.
        assert made.keys() == set(range(40)) - {3, 25, 26}


def test_packed_segments_have_a_directory_a_column_group(tmp_path: Path) -> None:
    with running("v2.6.0", tmp_path) as made:
        groups = {key.split("/")[4] for key in made.objects("insert_log")}
        assert groups == {"0", "102"}
        assert {info.storage_version for info in made.listed()} == {2}


def test_3_0_writes_packed_segments_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    with running("v3.0.1", tmp_path / "three", write_version=3) as made:
        names = {key.split("/")[4] for key in made.objects("insert_log")}
        assert names == {"_data", "_metadata"}
        assert {info.storage_version for info in made.listed()} == {3}
    with running("v3.0.1", tmp_path / "two") as made:
        assert {info.storage_version for info in made.listed()} == {2}


def test_what_is_compacted_lies_there_until_garbage_collection(tmp_path: Path) -> None:
    with running("v2.5.8", tmp_path) as made:
        made.delete(3)
        before = made.objects("insert_log")
        old = {info.segmentID for info in made.listed()}
        made.double.compact("default", DOCS)
        assert not old & {info.segmentID for info in made.listed()}
        assert len(made.objects("insert_log")) == 2 * len(before)
        assert made.double.collect_garbage() > 0
        assert made.objects("insert_log") == before
        assert made.objects("delta_log") == []
        assert made.keys() == set(range(40)) - {3}


@pytest.mark.parametrize("version", ["v2.4.23", "v2.5.8", "v2.6.12", "v3.0.1"])
def test_what_is_flushed_is_sorted_within_seconds(version: str, tmp_path: Path) -> None:
    with running(version, tmp_path) as made:
        made.insert(range(140, 120, -1))
        made.client.flush(DOCS)
        before = {info.segmentID for info in made.listed()}
        objects = set(made.objects("insert_log"))
        made.double.state.sort_seconds = 0.0
        made.double.sort()
        after = made.listed()
        sorts = version != "v2.4.23"
        assert {info.is_sorted for info in after} == {sorts}
        assert before.isdisjoint(info.segmentID for info in after) is sorts
        # The old objects stay until garbage collection.
        assert objects <= set(made.objects("insert_log"))
        assert sum(info.num_rows for info in after) == 60
        assert made.keys() == set(range(40)) | set(range(121, 141))


@pytest.mark.parametrize("version", ["v2.5.8", "v2.6.12"])
def test_a_second_flush_within_ten_seconds_is_refused(version: str, tmp_path: Path) -> None:
    with running(version, tmp_path) as made:
        made.double.state.flush_rate = 0.1
        made.client.flush(DOCS)
        answer = made.server.raw("Flush", milvus.FlushRequest(collection_names=[DOCS]))
        assert (answer.status.code, answer.status.retriable) == (8, version == "v2.6.12")
        assert "rate limit exceeded[rate=0.1]" in answer.status.reason


def test_a_client_that_pings_is_not_sent_away(tmp_path: Path) -> None:
    """HTTP/2 by hand: the pings of a client library come 10 s apart at least."""
    ping = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + b"mbk-ping"
    settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    with running("v2.6.12", tmp_path) as made:
        host, _, port = made.double.target.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + ping * 6)
            frames = connection.makefile("rb")
            answered = 0
            while answered < 6:
                head = frames.read(9)
                assert len(head) == 9, "the connection was closed"
                assert head[3] != GOAWAY
                frames.read(int.from_bytes(head[:3]))
                answered += head[3] == PING


def test_paused_garbage_collection_removes_nothing(tmp_path: Path) -> None:
    with running("v2.5.8", tmp_path) as made:
        base = f"{made.double.management_url}/management/datacoord/garbage_collection"
        urlopen(f"{base}/pause?pause_seconds=600").close()
        before = made.objects("insert_log")
        made.client.drop_collection(DOCS)
        assert made.double.collect_garbage() == 0
        assert len(list(made.double.state.store.list("insert_log/"))) == len(before)
        urlopen(f"{base}/resume").close()
        assert made.double.collect_garbage() > 0
        assert not list(made.double.state.store.list("insert_log/"))


def test_orphans_stand_in_one_directory_and_in_no_list(tmp_path: Path) -> None:
    with running("v2.4.23", tmp_path) as made:
        (orphan,) = made.double.leave_orphans("default", DOCS)
        assert made.double.state.store.stat(orphan).size > 0
        listed = {key for segment in made.collection.persistent_segments() for key in segment.keys}
        assert orphan not in listed


def test_rows_are_persistent_once_they_are_flushed(tmp_path: Path) -> None:
    with running("v2.6.12", tmp_path) as made:
        before = len(made.listed())
        made.insert(range(100, 110))
        assert made.keys() >= set(range(100, 110))
        assert len(made.listed()) == before
        with made.double.state.lock:
            growing = next(item for item in made.collection.live_segments() if not item.persistent)
            growing.state = SEALED
        assert len(made.listed()) == before
        made.client.flush(DOCS)
        assert len(made.listed()) == before + 1


def test_columns_come_in_several_files_where_there_are_many_rows(tmp_path: Path) -> None:
    with running("v2.5.20", tmp_path) as made:
        made.double.state.rows_per_log = 7
        made.insert(range(100, 120))
        made.client.flush(DOCS)
        newest = max(made.collection.persistent_segments(), key=lambda segment: segment.id)
        assert {len(files) for files in newest.insert_logs.values()} == {3}
        assert made.keys() >= set(range(100, 120))
