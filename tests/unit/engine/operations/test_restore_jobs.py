"""Import jobs, their staged copies and the journal between two runs."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.engine.runtime.pace import ImportPace
from mbk.errors import (
    CollectionExists,
    ImportFailed,
    VerificationFailed,
)
from mbk.ports.milvus.values import ImportPhase, ImportState
from tests.fakes.milvus import V2_4
from tests.fakes.world import Killed, Life, World
from tests.raising import raised


def test_a_restore_is_cut_at_the_point_unless_everything_is_asked_for() -> None:
    world = World(features=V2_4)
    world.milvus.add("docs")
    world.milvus.insert("docs", range(5))
    flush = world.milvus.points.flush

    def late(database: str, collection: str, **_: Any) -> Any:
        point = flush(database, collection)
        world.milvus.insert("docs", [50, 51])
        return point

    world.milvus.points.flush = late
    world.create()
    world.restore(suffix="_all", no_cut=True)
    world.restore(suffix="_cut")
    world.restore(suffix="_strict", truncate=True)
    assert [key for key, _ in world.milvus.visible_rows("docs_all")] == [0, 1, 2, 3, 4, 50, 51]
    assert [key for key, _ in world.milvus.visible_rows("docs_cut")] == [0, 1, 2, 3, 4]
    assert [key for key, _ in world.milvus.visible_rows("docs_strict")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("limit", [{"max_segments": 1}, {"max_group_size": 1}, {"max_segments": 2}])
def test_jobs_keep_to_their_limits(limit: dict[str, int]) -> None:
    world = World()
    world.milvus.add("docs")
    for start in range(0, 25, 5):
        world.milvus.insert("docs", range(start, start + 5))
    world.create()
    world.restore(suffix="_back", limits=limit)
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    assert len(world.milvus.import_requests) == (3 if limit == {"max_segments": 2} else 5)


def test_small_segments_share_a_job_and_the_copies_are_gone_afterwards() -> None:
    world = World(same=True)
    world.milvus.add("docs")
    for start in range(0, 25, 5):
        world.milvus.insert("docs", range(start, start + 5))
    world.create()
    world.restore(suffix="_back")
    assert len(world.milvus.import_requests) == 1
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    assert not world.staged


def test_a_partition_key_collection_gets_as_many_partitions() -> None:
    world = World()
    made = world.milvus.add("docs", partitions=("_default_0", "_default_1", "_default_2"))
    made.schema.fields[1].is_partition_key = True
    world.milvus.insert("docs", range(4), partition="_default_1")
    world.create()
    world.restore(suffix="_back")
    assert world.milvus.rows_by_partition("docs_back") == world.milvus.rows_by_partition("docs")
    assert not [what for call, what in world.milvus.calls if call == "create_partition"]


def test_copies_that_did_not_arrive_are_noticed_before_the_collection_is_made() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(4))
    world.create()
    put = world.storage.put

    def losing(key: str, data: bytes, *options: Any) -> Any:
        info = put(key, data, *options)
        if "/100/" in key:
            world.storage.bucket.objects.pop(key)
        return info

    world.storage.put = losing
    with raised(VerificationFailed, "copied-object-missing"):
        world.restore(suffix="_back")
    assert "create_collection" not in [call for call, _ in world.milvus.calls]
    assert not world.staged


def test_copies_of_a_killed_restore_are_used_by_the_next() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(4))
    world.create()

    def fault(call: str, _what: str) -> None:
        if call == "start_import":
            world.live(Life(ends_at=1))
            raise Killed(call)

    world.milvus.fault = fault
    with pytest.raises(Killed):
        world.restore(suffix="_back")
    copies = [key for key in world.staged if not key.endswith("mbk.json")]
    assert copies
    world.live(Life())
    report = world.restore(suffix="_back")
    assert report.transfer.objects == {"kept": len(copies)}
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_a_journal_that_is_damaged_is_taken_for_none() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(4))
    world.create()
    world.storage.write("files/restore-temp-nightly-default-docs_back/mbk.json", [b"{"])
    world.restore(suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    assert not world.staged


def test_a_job_of_a_killed_restore_that_failed_meanwhile_is_begun_again() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(4))
    world.create()

    def fault(call: str, job: str) -> None:
        if call == "import_state":
            world.live(Life(ends_at=1))
            world.milvus._jobs[job] = ImportState(ImportPhase.FAILED, reason="the node went away")
            world.milvus._collections["default", "docs_back"].segments.clear()
            raise Killed(call)

    world.milvus.fault = fault
    with pytest.raises(Killed):
        world.restore(suffix="_back")
    world.live(Life())
    world.restore(suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_another_backup_does_not_go_on_with_what_this_one_began() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(4))
    world.create()

    def fault(call: str, _what: str) -> None:
        if call == "start_import":
            world.live(Life(ends_at=1))
            raise Killed(call)

    world.milvus.fault = fault
    with pytest.raises(Killed):
        world.restore(suffix="_back")
    world.live(Life())
    world.delete("nightly")
    world.milvus.insert("docs", range(4, 8))
    world.create()
    with pytest.raises(CollectionExists):
        world.restore(suffix="_back")
    world.restore(suffix="_back", drop_existing=True)
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
    assert not world.staged


def _one_job_fails_while_another_runs(world: World, states: list[ImportState]) -> None:
    """Two jobs; the first fails at once, the second answers with ``states``, the last of them for ever."""
    world.milvus.add("docs")
    world.milvus.insert("docs", range(5))
    world.milvus.insert("docs", range(5, 10))
    world.create()
    jobs: list[str] = []

    def answer(job: str, *, database: str = "") -> ImportState:
        if job not in jobs:
            jobs.append(job)
        if job == jobs[0] and len(jobs) == 2:
            return ImportState(ImportPhase.FAILED, reason="no room")
        if job != jobs[0] and world.milvus.inventory.has_collection("default", "docs_back"):
            return states.pop(0) if len(states) > 1 else states[0]
        return ImportState(ImportPhase.RUNNING)

    world.milvus.imports.state = answer


def test_a_collection_is_not_dropped_under_a_running_job() -> None:
    world = World(same=True)
    left = [
        ImportState(ImportPhase.RUNNING),
        ImportState(ImportPhase.RUNNING),
        ImportState(ImportPhase.COMPLETED),
    ]
    _one_job_fails_while_another_runs(world, left)
    with raised(ImportFailed, "import-failed", reason="no room"):
        world.restore(
            suffix="_back", limits={"max_segments": 1}, pace=ImportPace(first=0.001, last=0.001, attempts=1)
        )
    assert len(left) == 1
    assert not world.milvus.inventory.has_collection("default", "docs_back")
    assert not world.staged


def test_a_job_that_does_not_end_keeps_its_collection_for_the_next_run() -> None:
    world = World(same=True)
    _one_job_fails_while_another_runs(world, [ImportState(ImportPhase.RUNNING)])
    with raised(ImportFailed, "import-failed", reason="no room"):
        world.restore(
            suffix="_back",
            limits={"max_segments": 1},
            pace=ImportPace(first=0.001, last=0.001, attempts=1, settle=0.0),
        )
    assert world.milvus.inventory.has_collection("default", "docs_back")
    assert "half-restored" in world.notices
    # What failed left nothing; what was still running is done by now.
    del world.milvus.imports.state
    world.milvus._collections["default", "docs_back"].segments.pop(0)
    world.restore(suffix="_back", limits={"max_segments": 1})
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")
