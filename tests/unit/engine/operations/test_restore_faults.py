"""What goes wrong with import jobs: failures, standstill, answers that get lost, a server that takes no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mbk.engine.runtime.pace import ImportPace
from mbk.errors import ImportFailed, MilvusError, MilvusUnavailable
from mbk.model.records import LOADED
from mbk.ports.milvus.values import ImportPhase, ImportRequest, ImportState
from tests.fakes.milvus import V2_3, V2_4
from tests.fakes.world import World
from tests.raising import raised

QUICK = ImportPace(first=0.001, last=0.001, notice=0.01, patience=0.05, settle=0.01, look=0.001)


def filled(features: frozenset[Any] = V2_4, *, segments: int = 8) -> World:
    world = World(features=features, same=True)
    world.milvus.add("docs")
    for start in range(0, segments * 5, 5):
        world.milvus.insert("docs", range(start, start + 5))
    world.create()
    return world


def restored(world: World) -> bool:
    return world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def restore(world: World, **options: Any) -> Any:
    return world.restore(suffix="_back", pace=QUICK, **options)


def answering(world: World, state: Callable[[ImportRequest], ImportState | None]) -> None:
    """Jobs for which ``state`` gives an answer do nothing, and answer it whenever asked."""
    start = world.milvus.imports.start

    def begin(request: ImportRequest) -> str:
        answer = state(request)
        if answer is None:
            return start(request)
        world.milvus.import_requests.append(request)
        job = str(next(world.milvus._ids))
        world.milvus._jobs[job] = answer
        return job

    world.milvus.imports.start = begin


def holds(request: ImportRequest, segment: int) -> bool:
    return any(f"/{segment}/" in path for paths in request.files for path in paths)


def test_the_segment_that_cannot_be_imported_is_found_and_named() -> None:
    world = filled()
    bad = world.milvus.segments.persistent("default", "docs")[5].id
    failed = ImportState(ImportPhase.FAILED, reason="parse magic number failed")
    answering(world, lambda request: failed if holds(request, bad) else None)
    with raised(ImportFailed, "import-failed", segment=str(bad), reason="parse magic number failed"):
        restore(world)
    assert "import-split" in world.notices
    assert world.milvus.names == {"default.docs"}
    assert not world.staged


def test_a_server_that_takes_none_of_the_segments_is_not_asked_about_each() -> None:
    world = filled(segments=32)
    answering(world, lambda _: ImportState(ImportPhase.FAILED, reason="no space left on device 7"))
    with raised(ImportFailed, "import-failed", reason="no space left on device 7"):
        restore(world)
    assert len(world.milvus.import_requests) < 16


def test_of_several_segments_that_cannot_be_imported_one_is_named_and_none_is_lost_when_they_can() -> None:
    world = filled()
    ids = [str(item.id) for item in world.milvus.segments.persistent("default", "docs")]
    bad = {ids[1], ids[6]}
    failed = ImportState(ImportPhase.FAILED, reason="parse magic number failed")
    answering(world, lambda request: failed if any(holds(request, int(item)) for item in bad) else None)
    with raised(ImportFailed, "import-failed") as caught:
        restore(world)
    assert caught.value.facts["segment"] in bad
    del world.milvus.imports.start
    left = [9]

    def until_then(request: ImportRequest) -> ImportState | None:
        left[0] -= 1
        return failed if left[0] > 0 and len(request.files) > 1 else None

    answering(world, until_then)
    restore(world)
    assert restored(world)


@pytest.mark.parametrize("features", [V2_3, V2_4], ids=["2.3", "2.4"])
def test_a_job_that_failed_by_accident_is_tried_again_and_brings_its_rows_once(
    features: frozenset[Any],
) -> None:
    world = filled(features)
    left = [2]

    def once(_request: ImportRequest) -> ImportState | None:
        left[0] -= 1
        return ImportState(ImportPhase.FAILED, reason=f"node {left[0]} went away") if left[0] >= 0 else None

    answering(world, once)
    restore(world)
    assert restored(world)
    assert not world.staged


def test_a_collection_with_a_job_that_stands_still_is_begun_anew_with_smaller_jobs() -> None:
    world = filled()
    answering(world, lambda request: ImportState(ImportPhase.RUNNING, 30) if len(request.files) > 4 else None)
    restore(world)
    assert restored(world)
    assert "begun-anew" in world.notices
    assert "import-stalled" in world.notices


@pytest.mark.parametrize(("features", "kept"), [(V2_3, True), (V2_4, False)], ids=["2.3", "2.4"])
def test_a_job_that_never_moves_is_given_up_with_its_segments_named(
    features: frozenset[Any], kept: bool
) -> None:
    """Before 2.4 a collection must not be dropped under a running job."""
    world = filled(features, segments=1)
    (segment,) = world.milvus.segments.persistent("default", "docs")
    answering(world, lambda _: ImportState(ImportPhase.UNCOMMITTED, 100))
    with raised(ImportFailed, "import-no-progress", percent=100, segments=str(segment.id)) as caught:
        restore(world)
    assert "commit" in str(caught.value.facts["waits"])
    assert ("default.docs_back" in world.milvus.names) is kept
    assert ("half-restored" in world.notices) is kept


def test_a_job_whose_start_never_arrived_is_started_again() -> None:
    world = filled()
    left = [1]

    def fault(call: str, _what: str) -> None:
        if call == "start_import" and left[0]:
            left[0] = 0
            raise MilvusUnavailable("connection reset")

    world.milvus.fault = fault
    restore(world)
    assert restored(world)


def losing(world: World) -> None:
    """The first job is begun, but nobody hears of it; and the server does not list jobs."""
    start = world.milvus.imports.start
    left = [1]

    def begin(request: ImportRequest) -> str:
        job = start(request)
        if left[0]:
            left[0] = 0
            raise MilvusUnavailable("the answer got lost")
        return job

    world.milvus.imports.start = begin
    world.milvus.imports.jobs = lambda *_, **__: None


def test_where_jobs_cannot_be_listed_a_lost_answer_begins_the_collection_anew() -> None:
    world = filled()
    losing(world)
    restore(world, rest_import=False)
    assert restored(world)
    assert "begun-anew" in world.notices


def test_where_nobody_can_tell_whether_a_job_began_nothing_is_imported_twice() -> None:
    world = filled(V2_3)
    world.milvus.add("docs_back")
    losing(world)
    with pytest.raises(MilvusUnavailable):
        restore(world, skip_create=True)
    assert restored(world), "the job whose answer got lost brought its rows, once"


def test_a_server_that_takes_no_more_jobs_is_waited_for() -> None:
    world = filled()
    left = [3]

    def fault(call: str, _what: str) -> None:
        if call == "start_import" and left[0]:
            left[0] -= 1
            raise MilvusError("The number of jobs has reached the limit, please try again later")

    world.milvus.fault = fault
    restore(world, rest_import=False)
    assert restored(world)
    assert "imports-refused" in world.notices


def test_deletes_go_into_a_loaded_target_that_is_loaded_again_afterwards() -> None:
    world = filled(segments=1)
    world.milvus.delete("docs", [3])
    world.create("second")
    target = world.milvus.add("docs_back")
    target.loaded = True
    world.restore("second", suffix="_back", skip_create=True, pace=QUICK)
    assert [key for key, _ in world.milvus.visible_rows("docs_back")] == [0, 1, 2, 4]
    assert world.milvus.inventory.describe("default", "docs_back").load_state == LOADED
    assert "released" in world.notices
    assert not world.staged


def test_a_target_is_loaded_again_also_when_the_deletes_fail() -> None:
    world = filled(segments=1)
    world.milvus.delete("docs", [3])
    world.create("second")
    world.milvus.add("docs_back").loaded = True
    answering(world, lambda request: ImportState(ImportPhase.FAILED, reason="no") if request.l0 else None)
    with pytest.raises(ImportFailed):
        world.restore("second", suffix="_back", skip_create=True, pace=QUICK)
    assert world.milvus.inventory.describe("default", "docs_back").load_state == LOADED
