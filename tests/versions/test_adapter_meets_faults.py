"""One attempt of the adapter's, and what came of it: errors that say whether another one may help, and no harm done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mbk.errors import MilvusError, MilvusUnavailable, RateLimited
from mbk.model.records import CollectionSchema, FunctionSchema, as_dict
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import ImportRequest
from tests.milvus_double.faults import Faults
from tests.milvus_double.server import MilvusDouble
from tests.versions.played import FLOATS, INT64, STRONG, VARCHAR, base, connected, field, numbered


@pytest.fixture
def double(tmp_path: Path) -> Iterator[MilvusDouble]:
    with MilvusDouble("v2.6.12", home=tmp_path, flush_rate=0) as running:
        yield running


@pytest.fixture
def client(double: MilvusDouble) -> Iterator[Milvus]:
    with connected(double) as found:
        yield found


def grown() -> CollectionSchema:
    """A function, dynamic fields, and a field that came after them."""
    made = FunctionSchema(name="embed", type=2, input_field_names=["words"], output_field_names=["made"])
    schema = numbered(
        "grown",
        *base(),
        field("words", VARCHAR, params={"max_length": "20"}),
        field("made", FLOATS, params={"dim": "8"}, is_function_output=True),
        enable_dynamic_field=True,
        functions=[made],
    )
    schema.fields.append(field("late", INT64, field_id=105, nullable=True))
    return schema


def create(client: Milvus) -> None:
    client.definitions.create_collection("default", grown(), shards=1, consistency_level=STRONG)


@pytest.mark.parametrize(
    "rpc", ["CreateCollection", "AddCollectionField", "AlterCollection", "DescribeCollection"]
)
def test_a_creation_whose_answer_was_lost_is_finished_by_the_next_attempt(
    client: Milvus, double: MilvusDouble, rpc: str
) -> None:
    double.faults.lose_answer(rpc)
    with pytest.raises(MilvusUnavailable) as caught:
        create(client)
    assert caught.value.retryable
    create(client)
    found = client.inventory.describe("default", "grown")
    assert {item.name: item.field_id for item in found.schema.fields} == {
        item.name: item.field_id for item in grown().fields
    }
    assert "disable_func_runtime_check" not in as_dict(list(found.properties))


def test_a_collection_that_was_dropped_between_two_attempts_is_made_again(
    client: Milvus, double: MilvusDouble
) -> None:
    double.faults.rate_limit("AddCollectionField")
    with pytest.raises(RateLimited):
        create(client)
    client.definitions.drop_collection("default", "grown")
    create(client)
    assert client.inventory.has_collection("default", "grown")


def test_segments_that_compaction_takes_away_may_be_asked_for_again(
    client: Milvus, double: MilvusDouble
) -> None:
    create(client)
    double.faults.segment_not_found()
    with pytest.raises(MilvusError) as caught:
        client.segments.persistent("default", "grown")
    assert caught.value.retryable
    assert client.segments.persistent("default", "grown") == []


def test_a_flush_waits_through_slowness_and_passing_errors(client: Milvus, double: MilvusDouble) -> None:
    create(client)
    double.faults.slow_flush(polls=2)
    double.faults.fail("GetFlushAllState")
    slept: list[float] = []
    assert client.points.flush_all(sleep=slept.append).timestamps
    assert len(slept) >= 2


@pytest.mark.parametrize("rest", [False, True])
def test_too_many_jobs_are_a_matter_of_waiting(client: Milvus, double: MilvusDouble, rest: bool) -> None:
    client.definitions.create_collection(
        "default", numbered("plain", *base()), shards=1, consistency_level=STRONG
    )
    double.imports.max_jobs = 0
    request = ImportRequest("default", "plain", "_default", (("/nowhere/",),), rest=rest)
    with pytest.raises(RateLimited) as caught:
        client.imports.start(request)
    assert caught.value.retryable


def test_a_rest_port_that_is_down_or_broken_may_be_asked_again(client: Milvus, double: MilvusDouble) -> None:
    create(client)
    faults: Faults = double.faults
    faults.http("/v2/vectordb/segments/describe", status=500)
    with pytest.raises(MilvusError) as broken:
        client.segments.logs("default", 1, [2])
    faults.rest_down()
    with pytest.raises(MilvusUnavailable) as down:
        client.segments.logs("default", 1, [2])
    assert broken.value.retryable
    assert down.value.retryable
