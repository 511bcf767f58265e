"""Restoring, on the double of every version: over gRPC and REST, with deletes, cut at the line, through faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

from mbk.engine.runtime.pace import ImportPace
from mbk.errors import ImportFailed
from mbk.model.events import Event
from mbk.model.reports import RunReport
from mbk.session import Session
from tests.milvus_double.versions import PLAYED
from tests.raising import raised
from tests.versions.everything import rows_of
from tests.versions.places import QUICK, Place, place

#: Little patience.
PACE = replace(QUICK, imports=ImportPace(first=0.02, last=0.02, patience=1.0, settle=0.1, look=0.05))

COLD = "cold"
INDEX = {"field_name": "vector", "index_type": "FLAT", "metric_type": "L2"}


class Server:
    """A double with one backup of one collection: three data segments in two partitions, deletes, and late rows."""

    def __init__(self, found: Place) -> None:
        self.place = found
        self.double = found.double
        self.client = MilvusClient(uri=self.double.uri)
        self.events: list[Event] = []
        self.flushes = 0
        self._fill()
        self.before = rows_of(self.double, "default", "docs")
        self.double.faults.change_answer("Flush", self._late)
        self.double.faults.change_answer("FlushAll", self._late)
        with found.session() as session:
            session.create("docs", format="binlog")
        self.double.faults.clear()
        self.after = rows_of(self.double, "default", "docs")

    def _fill(self) -> None:
        self.make("docs")
        self.client.create_partition("docs", COLD)
        for start, partition in ((0, "_default"), (40, "_default"), (80, COLD)):
            self.client.insert("docs", rows(range(start, start + 40)), partition_name=partition)
            self.client.flush("docs")
        # 2.2 does not persist deletes of flushed segments: they would be in no backup.
        for gone in ([1, 41], [81], [2]) if self.has("flush_persists_deletes") else ():
            self.client.delete("docs", ids=gone)
            self.client.flush("docs")

    def make(self, name: str) -> None:
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("pk", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
        self.client.create_collection(name, schema=schema, num_shards=2, consistency_level="Strong")
        params = self.client.prepare_index_params()
        params.add_index(**INDEX)
        self.client.create_index(name, params)

    def _late(self, _request: Any, _response: Any) -> None:
        """After the consistency point and before the segments are listed: rows and a delete that a restore cuts off.

        Before 2.6 the time of a first flush is the point of a collection that cannot be queried.
        """
        self.flushes += 1
        if self.flushes < (1 if self.has("streaming") else 2):
            return
        if len(rows_of(self.double, "default", "docs")["_default"]) < 90:
            self.client.insert("docs", rows(range(200, 220)))
            if self.has("flush_persists_deletes"):
                self.client.delete("docs", ids=[5, 200])
            self.client.flush("docs")

    @property
    def version(self) -> str:
        return str(self.double.version.name)

    def has(self, feature: str) -> bool:
        return bool(self.double.version.has(feature))

    def session(self) -> Session:
        return self.place.session(pace=PACE)

    def restore(self, target: str, **options: Any) -> RunReport:
        self.events.clear()
        with self.session() as session:
            return session.restore("docs", rename=f"docs:{target}", on_event=self.events.append, **options)

    def rows(self, name: str) -> Any:
        return rows_of(self.double, "default", name)

    @property
    def notices(self) -> set[str]:
        return {event.code for event in self.events if event.kind == "notice"}

    def jobs(self, name: str) -> list[Any]:
        with self.double.state.lock:
            return [job for job in self.double.state.jobs.values() if job.collection == name]


def rows(keys: range) -> list[dict[str, Any]]:
    return [{"pk": key, "vector": [key / 256, 0.5, 0.25, 1.0]} for key in keys]


@pytest.fixture(scope="module", params=PLAYED)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("restore")
    with place(directory, request.param) as found:
        made = Server(found)
        yield made
        made.client.close()


@pytest.fixture(autouse=True)
def well(server: Server) -> Iterator[None]:
    """The next test finds no faults."""
    yield
    server.double.faults.clear()


@pytest.mark.parametrize("rest", [False, True, None], ids=["grpc", "rest", "auto"])
def test_rows_and_deletes_come_back(server: Server, rest: bool | None) -> None:
    name = f"back_{rest}".lower()
    server.restore(name, rest_import=rest)
    assert server.rows(name) == server.before
    assert ("rest-missing" in server.notices) is bool(rest and not server.has("import_v2"))


def test_what_came_after_the_consistency_point_is_cut_off_unless_everything_is_asked_for(
    server: Server,
) -> None:
    server.restore("cut", truncate=True)
    assert server.rows("cut") == server.before
    server.restore("uncut", no_cut=True)
    assert server.rows("uncut") == server.after
    assert "point-unknown" not in server.notices


def test_deletes_go_into_a_loaded_collection_that_stays_loaded(server: Server) -> None:
    server.make("loaded")
    server.client.create_partition("loaded", COLD)
    server.client.load_collection("loaded")
    server.restore("loaded", skip_create=True)
    assert server.rows("loaded") == server.before
    assert "Loaded" in str(server.client.get_load_state("loaded"))
    imports_l0 = server.has("l0_segments") and not server.has("l0_import_disabled")
    assert ("released" in server.notices) is imports_l0


def test_imports_survive_what_passes(server: Server) -> None:
    """Limits, a job that fails by accident, answers that get lost; over gRPC and over REST."""
    faults = server.double.faults
    for rest in (False, True):
        name = f"passing_{rest}".lower()
        faults.rate_limit("CreateCollection", times=2)
        faults.rate_limit("Import", times=2)
        faults.fail_import("the data node went away", after=1)
        faults.lose_answer("Import", after=2)
        faults.reset_http("/v2/vectordb/jobs/import/create", done=True)
        server.restore(name, rest_import=rest)
        assert server.rows(name) == server.before
        assert "import-found" in server.notices
        faults.clear()


def test_a_segment_that_cannot_be_imported_is_named_and_nothing_half_stays(server: Server) -> None:
    with server.session() as session:
        shown = session.get("docs", detail=True).document
    parts = shown["collection_backups"][0]["partition_backups"]
    bad = next(
        str(part["segment_backups"][0]["segment_id"]) for part in parts if part["partition_name"] == COLD
    )
    server.double.faults.fail_import(
        "parse magic number failed", times=None, when=lambda job: holds(job, bad)
    )
    with raised(ImportFailed, "import-failed", collection="default.bad", segment=bad) as caught:
        server.restore("bad")
    assert "parse magic number failed" in str(caught.value.facts["reason"])
    assert not server.client.has_collection("bad")


def holds(job: Any, segment: str) -> bool:
    """As a directory of its own, or as one of several in a directory."""
    paths = [path for file in job.files for path in file if path]
    return any(f"/{segment}/" in path or Path(path, segment).is_dir() for path in paths)


def test_a_job_that_stands_still_is_given_up_or_begun_anew(server: Server) -> None:
    """Since 2.4 dropping a collection ends its jobs; before, nobody can tell what a standing job may still do."""
    server.double.faults.stall_import()
    if server.has("import_v2"):
        server.restore("stalled")
        assert server.rows("stalled") == server.before
        assert "begun-anew" in server.notices
        return
    with raised(ImportFailed, "import-no-progress", collection="default.stalled", percent=30):
        server.restore("stalled")
    assert "half-restored" in server.notices


def test_rest_that_is_away_is_done_without(server: Server) -> None:
    server.double.faults.rest_down()
    server.restore("without")
    assert server.rows("without") == server.before
    assert ("rest-unreachable" in server.notices) is server.has("rest_v2")
