"""Import jobs over REST: when they are used, what is in one, and what happens where there is no REST."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.errors import MilvusUnavailable
from tests.fakes.milvus import V2_3, V2_4, V2_6
from tests.fakes.world import World
from tests.raising import raised


def filled(features: frozenset[Any], *, same: bool = True, segments: int = 5) -> World:
    world = World(features=features, same=same)
    world.milvus.add("docs", partitions=("_default", "cold"))
    for start in range(0, segments * 5, 5):
        world.milvus.insert("docs", range(start, start + 5))
    world.milvus.insert("docs", [900], partition="cold")
    world.create()
    return world


def unreachable(world: World) -> None:
    listed = world.milvus.imports.jobs

    def away(database: str, collection: str, *, rest: bool = False) -> Any:
        if rest:
            raise MilvusUnavailable("Milvus' REST port at 127.0.0.1:1 does not answer", code="rest-away")
        return listed(database, collection)

    world.milvus.imports.jobs = away


def whole(world: World) -> bool:
    return world.milvus.rows_by_partition("docs_back") == world.milvus.rows_by_partition("docs")


def test_segments_share_a_job_where_they_lie() -> None:
    world = filled(V2_4)
    copied: list[str] = []
    world.storage.fault = lambda operation, key: copied.append(key) if operation in ("put", "copy") else None
    world.restore(suffix="_back")
    assert whole(world)
    assert sorted((item.partition, len(item.files), item.rest) for item in world.milvus.import_requests) == [
        ("_default", 5, True),
        ("cold", 1, False),
    ]
    assert not [key for key in copied if "insert_log" in key], "nothing is staged"


def test_a_job_over_rest_keeps_to_its_limit() -> None:
    world = filled(V2_4)
    world.restore(suffix="_back", limits={"max_segments": 2})
    assert whole(world)
    assert sorted(len(item.files) for item in world.milvus.import_requests) == [1, 1, 2, 2]


def test_everything_goes_over_rest_when_asked_for() -> None:
    world = filled(V2_4, same=False)
    world.restore(suffix="_back", rest_import=True)
    assert whole(world)
    assert all(item.rest for item in world.milvus.import_requests)


def test_nothing_goes_over_rest_when_that_is_asked_for() -> None:
    world = filled(V2_4)
    world.restore(suffix="_back", rest_import=False)
    assert whole(world)
    assert not any(item.rest for item in world.milvus.import_requests)


def test_a_server_without_rest_is_told_of_and_served_over_grpc() -> None:
    world = filled(V2_3)
    world.restore(suffix="_back", rest_import=True)
    assert whole(world)
    assert "rest-missing" in world.notices
    assert not any(item.rest for item in world.milvus.import_requests)


def test_rest_that_does_not_answer_is_told_of_and_left_out() -> None:
    world = filled(V2_4)
    unreachable(world)
    world.restore(suffix="_back")
    assert whole(world)
    assert "rest-unreachable" in world.notices
    assert not any(item.rest for item in world.milvus.import_requests)


def test_rest_that_was_asked_for_must_answer() -> None:
    world = filled(V2_4)
    unreachable(world)
    with raised(MilvusUnavailable, "rest-away"):
        world.restore(suffix="_back", rest_import=True)
    assert world.milvus.names == {"default.docs"}


@pytest.mark.parametrize(("features", "jobs"), [(V2_4, [1, 1, 1]), (V2_6, [3])], ids=["2.4", "2.6"])
def test_l0_segments_share_a_job_where_the_server_takes_several(
    features: frozenset[Any], jobs: list[int]
) -> None:
    world = World(features=features, same=True)
    world.milvus.add("docs")
    world.milvus.insert("docs", range(10))
    for key in (2, 4, 6):
        world.milvus.delete("docs", [key])
    world.create()
    world.restore(suffix="_back")
    assert [len(item.files) for item in world.milvus.import_requests if item.l0] == jobs
    assert [key for key, _ in world.milvus.visible_rows("docs_back")] == [0, 1, 3, 5, 7, 8, 9]
