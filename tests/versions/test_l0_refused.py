"""Servers that import no L0 segments: 3.0 by default, and any other that is told not to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymilvus import DataType, MilvusClient

from mbk.errors import PartialFailure, Unsupported
from mbk.model.events import Event
from tests.raising import raised
from tests.versions.everything import rows_of
from tests.versions.places import Place, place


@pytest.fixture(params=["v2.6.12", "v3.0.1"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Its backup ``deleted`` has L0 segments; it imports none."""
    with place(tmp_path, request.param) as found:
        client = MilvusClient(uri=found.double.uri)
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("pk", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        client.create_collection("docs", schema=schema, num_shards=2)
        for again in range(2):
            client.insert("docs", [{"pk": key, "vector": [again, key]} for key in range(20)])
            client.flush("docs")
            client.delete("docs", ids=[*range(20)] if not again else [3, 4])
            client.flush("docs")
        with found.session() as session:
            session.create("deleted", format="binlog")
        found.double.imports.l0_enabled = False
        yield found


def test_deletes_are_folded_into_the_data_segments(server: Place) -> None:
    events: list[Event] = []
    with server.session() as session:
        report = session.restore("deleted", suffix="_back", on_event=events.append)
    rows = rows_of(server.double, "default", "docs_back")
    assert rows == rows_of(server.double, "default", "docs")
    assert len(rows["_default"]) == 18
    (outcome,) = report.collections
    assert (outcome.outcome, outcome.rows_expected, outcome.rows_present) == ("done", 18, 18)
    known = server.double.version.number >= (3, 0, 0)
    assert ("l0-folded" in {event.code for event in events if event.kind == "notice"}) is not known


def test_into_a_collection_that_exists_as_well_or_it_is_refused_with_the_way_out(server: Place) -> None:
    client = MilvusClient(uri=server.double.uri)
    with server.session() as session:
        session.restore("deleted", suffix="_back", meta_only=True)
        if server.double.version.number >= (3, 0, 0):
            session.restore("deleted", suffix="_back", skip_create=True)
            assert rows_of(server.double, "default", "docs_back") == rows_of(server.double, "default", "docs")
            return
        with raised((Unsupported, PartialFailure), "l0-import-disabled") as caught:
            session.restore("deleted", suffix="_back", skip_create=True)
    assert "l0compact" in str(caught.value.hint)
    assert client.has_collection("docs_back")
