"""What runs tell while they last, and of what they leave to be done."""

from __future__ import annotations

import pytest

from mbk.errors import InvalidKey
from mbk.model.events import (
    Event,
    ImportProgressed,
    ObjectCopied,
    ObjectsDeleted,
    PhaseStarted,
    WorkExpected,
)
from mbk.model.records import IndexInfo
from tests.fakes.milvus import V2_4
from tests.fakes.world import World


@pytest.fixture
def world() -> World:
    world = World(features=V2_4)
    for name in ("docs", "logs"):
        world.milvus.add(name)
        for number in range(3):
            world.milvus.insert(name, range(10 * number, 10 * number + 6))
            world.milvus.points.flush("default", name)
    return world


def expected(world: World) -> dict[str, WorkExpected]:
    return {event.collection: event for event in world.events if isinstance(event, WorkExpected)}


def before(world: World, kind: type[Event]) -> list[Event]:
    """What was told before the first event of the kind."""
    first = next(place for place, event in enumerate(world.events) if isinstance(event, kind))
    return world.events[:first]


def test_a_backup_tells_how_much_there_is_of_all_before_the_first_byte(world: World) -> None:
    report = world.create()
    told = [event for event in before(world, ObjectCopied) if isinstance(event, WorkExpected)]
    assert {event.collection: (event.objects, event.size) for event in told} == {
        item.source: (item.objects, item.size) for item in report.collections
    }
    phases = [event.phase for event in world.events if isinstance(event, PhaseStarted)]
    assert phases[0] == "waiting"
    assert next(phase for phase in phases if phase != "waiting") == "inventory"


def test_a_backup_that_cannot_tell_how_much_there_is_goes_on(world: World) -> None:
    """Nobody may lose a backup to its progress."""
    seen = []

    def fault(operation: str, key: str) -> None:
        phases = [event.phase for event in world.events if isinstance(event, PhaseStarted)]
        if operation == "list" and phases[-1:] == ["inventory"]:
            seen.append(key)
            raise InvalidKey("no")

    world.storage.fault = fault
    assert len(world.create().collections) == 2
    assert seen
    assert not expected(world)


def test_a_restore_tells_its_jobs_and_what_it_stages_before_the_first(world: World) -> None:
    world.create()
    world.events.clear()
    report = world.restore(suffix="_r")
    for kind in (ObjectCopied, ImportProgressed):
        assert len([event for event in before(world, kind) if isinstance(event, WorkExpected)]) == 2
    jobs = {event.job for event in world.events if isinstance(event, ImportProgressed)}
    for item in report.collections:
        assert (expected(world)[item.target].objects, expected(world)[item.target].size) == (
            item.objects,
            item.size,
        )
    assert sum(event.jobs for event in expected(world).values()) == len(jobs)


def test_a_deletion_tells_how_many_there_are_and_how_many_are_gone(world: World) -> None:
    world.create()
    world.events.clear()
    report = world.delete()
    gone = sum(event.objects for event in world.events if isinstance(event, ObjectsDeleted))
    assert expected(world)[""].objects == gone == report.deleted_objects


def test_a_restore_tells_what_it_left_to_be_done(world: World) -> None:
    index = IndexInfo(field_name="v", index_name="v", index_type="HNSW", params={"index_type": "HNSW"})
    world.milvus.definitions.create_index("default", "docs", index)
    world.milvus.definitions.load("default", "docs")
    world.create()
    report = world.restore(suffix="_r")
    assert [(todo.code, todo.option, todo.collections) for todo in report.todo] == [
        ("indexes-not-built", "--rebuild-index", ("default.docs_r",)),
        ("not-loaded", "--load", ("default.docs_r",)),
    ]
    assert world.restore(suffix="_s", rebuild_index=True, load=True).todo == ()
    assert report.compared == "auto"


def test_a_listing_knows_what_was_backed_up_and_how_long_it_took(world: World) -> None:
    world.create()
    (summary,) = world.catalog().summaries()
    assert (summary.collection_count, summary.rows) == (2, 36)
    assert summary.seconds is not None


def test_a_backup_of_another_tool_is_as_old_as_its_metadata(world: World) -> None:
    world.create()
    (mine,) = world.catalog().summaries()
    world.backup.delete([key for key in world.backed_up if key.endswith("mbk.json") or "objects-" in key])
    world.edit(lambda tree: None)
    world.backup.delete(["backup/nightly/meta/mbk.json"])
    (other,) = world.catalog().summaries()
    assert (other.state, other.collection_count, other.rows) == ("complete", None, None)
    assert other.created is not None
    assert mine.created is not None
    assert other.created >= mine.created


def test_an_incomplete_backup_has_no_size(world: World) -> None:
    world.create()
    world.backup.delete(["backup/nightly/meta/full_meta.json"])
    (summary,) = world.catalog().summaries()
    assert (summary.state, summary.size, summary.rows) == ("incomplete", None, None)
