from __future__ import annotations

import json
from typing import Any

import pytest

from mbk.engine.runtime.run import Run
from mbk.errors import (
    BackupExists,
    CollectionNotFound,
    InvalidName,
    MbkError,
    MilvusUnavailable,
    PartialFailure,
    PermissionDenied,
    StorageFull,
    UsageError,
)
from mbk.model.options import Strategy
from mbk.model.reports import RunReport
from tests.fakes.digests import Digesting
from tests.fakes.world import World
from tests.raising import raised


@pytest.fixture
def world() -> World:
    world = World()
    for name in ("docs", "logs", "users"):
        world.milvus.add(name)
        world.milvus.insert(name, range(6))
    return world


def states(world: World) -> dict[str, str]:
    return {summary.name: summary.state for summary in world.catalog().summaries()}


def full(world: World, name: str = "nightly") -> dict[str, Any]:
    loaded = json.loads(world.backed_up[f"backup/{name}/meta/full_meta.json"])
    assert isinstance(loaded, dict)
    return loaded


def partial(world: World, **options: Any) -> RunReport:
    with pytest.raises(PartialFailure) as caught:
        world.create(**options)
    assert caught.value.exit_code == 3
    report = caught.value.report
    assert isinstance(report, RunReport)
    return report


def break_copies_of(world: World, name: str, error: type[MbkError] = PermissionDenied) -> None:
    number = world.milvus.inventory.describe("default", name).id

    def fault(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{number}/" in key:
            raise error("not this one", code="not-this-one")

    world.backup.fault = fault


def mend(world: World) -> None:
    world.backup.fault = lambda _operation, _key: None


def test_the_report_says_what_was_done(world: World) -> None:
    report = world.create()
    assert [(item.source, item.outcome, item.rows_expected) for item in report.collections] == [
        ("default.docs", "done", 6), ("default.logs", "done", 6), ("default.users", "done", 6),
    ]  # fmt: skip
    assert (
        report.size
        == full(world)["size"]
        == sum(len(data) for key, data in world.backed_up.items() if "/binlogs/" in key)
    )
    assert report.milvus_version == "v2.3.5-fake"
    assert report.transfer.objects == {"server": 24}


@pytest.mark.parametrize("name", ["", "1st", "a-b", "../x", "a" * 129, "名"])
def test_a_name_against_the_rule_is_refused_before_anything_else(world: World, name: str) -> None:
    with pytest.raises(InvalidName):
        world.create(name)
    assert not world.milvus.calls
    assert not world.objects("backups")


def test_a_taken_name_is_refused_and_the_backup_stays_as_it_is(world: World) -> None:
    world.create()
    before = world.backed_up
    with raised(BackupExists, "backup-exists", backup="nightly"):
        world.create()
    with pytest.raises(BackupExists):
        world.create(resume=True)
    assert world.backed_up == before


def test_an_incomplete_backup_is_refused_with_the_advice_to_resume(world: World) -> None:
    world.backup.write("backup/nightly/meta/mbk.json", [b'{"name":"nightly"}'])
    world.backup.write("backup/nightly/binlogs/insert_log/1/2/3/3/0/4", [b"x"])
    with raised(BackupExists, "backup-exists-incomplete", backup="nightly", command="create") as caught:
        world.create()
    assert "--resume" in (caught.value.hint or "")
    world.create(resume=True)
    assert states(world) == {"nightly": "complete"}
    assert not [key for key in world.backed_up if "/insert_log/1/" in key], (
        "what nobody knows any more is swept away"
    )


def test_a_run_that_cannot_even_ask_takes_no_name(world: World) -> None:
    with raised(CollectionNotFound, "collection-missing", name="default.typo"):
        world.create(only="typo")
    world.milvus.fault = down
    with pytest.raises(MilvusUnavailable):
        world.create()
    assert not world.objects("backups")


def down(call: str, _what: str) -> None:
    raise MilvusUnavailable(f"{call}: nobody answers")


def test_a_dry_run_writes_nothing(world: World) -> None:
    report = world.create(dry_run=True)
    assert [item.rows_expected for item in report.collections] == [6, 6, 6]
    assert not world.objects("backups")
    assert "flush" not in [call for call, _ in world.milvus.calls]


def test_one_collections_failure_does_not_stop_the_others(world: World) -> None:
    break_copies_of(world, "logs")
    report = partial(world, strategy=Strategy.AUTO)
    assert [(item.source, item.outcome) for item in report.failed] == [("default.logs", "failed")]
    assert world.held() == ["docs", "users"]
    assert states(world) == {"nightly": "partial"}


def test_a_resumed_partial_backup_gains_what_failed_and_loses_nothing(world: World) -> None:
    break_copies_of(world, "logs")
    partial(world)
    mend(world)
    before = {key: data for key, data in world.backed_up.items() if "/binlogs/" in key}
    world.milvus.definitions.drop_collection("default", "docs")
    world.milvus.add("later")
    world.milvus.insert("later", range(3))
    world.create(resume=True)
    assert world.held() == ["docs", "logs", "users"], (
        "what was saved stays, also when Milvus has lost it since"
    )
    assert states(world) == {"nightly": "complete"}
    after = world.backed_up
    assert before.items() <= after.items()
    assert len(json.loads(after["backup/nightly/meta/segment_meta.json"])["infos"]) == 3
    assert full(world)["size"] == sum(len(data) for key, data in after.items() if "/binlogs/" in key)
    report = world.restore(suffix="_back")
    assert [item.rows_present for item in report.collections] == [6, 6, 6]


def test_a_resume_that_fails_again_leaves_the_partial_backup_as_it_was(world: World) -> None:
    break_copies_of(world, "logs")
    partial(world)
    before = world.backed_up
    with pytest.raises(PermissionDenied):
        world.create(resume=True)
    mend(world)
    world.milvus.fault = down
    with pytest.raises(MilvusUnavailable):
        world.create(resume=True)
    assert world.backed_up == before
    assert states(world) == {"nightly": "partial"}


def test_what_was_copied_is_not_copied_again_by_a_resume(world: World) -> None:
    break_copies_of(world, "users", StorageFull)
    with pytest.raises(StorageFull):
        world.create()
    copied = sum("/binlogs/" in key for key in world.backed_up)
    mend(world)
    report = world.create(resume=True)
    assert report.transfer.objects.get("kept", 0) == copied


def test_a_resume_copies_again_what_has_the_right_size_and_other_bytes(world: World) -> None:
    world.storage = Digesting(world.service, "milvus", root="files/")
    world.backup = Digesting(world.service, "backups", root="backup/")
    break_copies_of(world, "users", StorageFull)
    with pytest.raises(StorageFull):
        world.create()
    copied = {key: data for key, data in world.backed_up.items() if "/binlogs/" in key}
    altered = min(copied)
    mend(world)
    world.backup.write(altered, [bytes(len(copied[altered]))])
    report = world.create(resume=True)
    assert report.transfer.objects.get("kept", 0) == len(copied) - 1
    assert world.backed_up[altered] == copied[altered]


def test_a_full_disk_stops_the_run_and_leaves_an_incomplete_backup(world: World) -> None:
    world.workers = 1
    break_copies_of(world, "docs", StorageFull)
    with pytest.raises(StorageFull):
        world.create()
    assert states(world) == {"nightly": "incomplete"}
    described = [what for call, what in world.milvus.calls if call == "flush"]
    assert "users" not in described, "no other collection is begun"
    assert "left-incomplete" in world.notices


def test_a_server_that_goes_away_stops_the_run(world: World) -> None:
    def fault(call: str, what: str) -> None:
        if call == "segments" and what == "logs":
            raise MilvusUnavailable("nobody answers")

    world.milvus.fault = fault
    with pytest.raises(MilvusUnavailable):
        world.create()
    assert states(world) == {"nightly": "incomplete"}
    assert "left-incomplete" in world.notices


def test_a_failure_before_the_name_is_taken_leaves_nothing_to_finish(world: World) -> None:
    world.milvus.fault = down
    with pytest.raises(MilvusUnavailable):
        world.create()
    assert (states(world), "left-incomplete" in world.notices) == ({}, False)


def test_fail_fast_stops_at_the_first_failed_collection(world: World) -> None:
    break_copies_of(world, "logs")
    with pytest.raises(PermissionDenied):
        world.create(fail_fast=True)
    assert states(world) == {"nightly": "incomplete"}


def test_when_everything_fails_the_error_is_the_first_ones(world: World) -> None:
    break_copies_of(world, "logs")
    with raised(PermissionDenied, "not-this-one"):
        world.create(only="logs")


@pytest.mark.parametrize(
    "only", ["docs,missing", "docs,db.missing", "docs,missing,gone*", "docs/_default,gone/p"]
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_named_collection_that_is_not_there_is_refused_before_anything_is_written(
    world: World, only: str, dry_run: bool
) -> None:
    with raised(CollectionNotFound, "collection-missing"):
        world.create(only=only, dry_run=dry_run)
    assert not world.objects("backups")
    assert "flush" not in [call for call, _ in world.milvus.calls]


def test_all_collections_that_are_not_there_are_named(world: World) -> None:
    with raised(CollectionNotFound, "collections-missing", names="db.b, default.a"):
        world.create(only="docs,a,db.b")


def test_what_is_not_there_is_left_out_when_that_is_wanted(world: World) -> None:
    world.create(only="docs,missing", allow_missing=True)
    assert (world.held(), states(world)) == (["docs"], {"nightly": "complete"})
    assert "left-out" in world.notices
    with raised(CollectionNotFound, "collection-missing"):
        world.create("none", only="missing", allow_missing=True)
    assert states(world) == {"nightly": "complete"}


def test_what_failed_and_was_dropped_since_can_be_left_out_of_a_partial_backup(world: World) -> None:
    break_copies_of(world, "logs")
    partial(world)
    mend(world)
    world.milvus.definitions.drop_collection("default", "logs")
    with raised(CollectionNotFound, "collection-missing", name="default.logs"):
        world.create(resume=True)
    assert states(world) == {"nightly": "partial"}
    world.create(resume=True, allow_missing=True)
    assert (world.held(), states(world)) == (["docs", "users"], {"nightly": "complete"})


def test_a_collection_dropped_during_the_run_is_skipped_and_told(world: World) -> None:
    def fault(call: str, what: str) -> None:
        if call == "flush" and what == "logs":
            world.milvus.fault = lambda _call, _what: None
            world.milvus.definitions.drop_collection("default", "logs")

    world.workers = 1
    world.milvus.fault = fault
    report = world.create()
    assert {item.source: item.outcome for item in report.collections} == {
        "default.docs": "done", "default.logs": "skipped", "default.users": "done",
    }  # fmt: skip
    assert world.held() == ["docs", "users"]


def test_segments_that_compaction_replaces_are_listed_anew(world: World) -> None:
    world.milvus.insert("docs", range(6, 12))
    done = []

    def fault(operation: str, key: str) -> None:
        if operation == "copy" and not done:
            done.append(key)
            world.milvus.compact("docs")

    world.backup.fault = fault
    world.create(only="docs")
    assert world.notices == ["segments-replaced"]
    (segment,) = world.milvus.segments.persistent("default", "docs")
    assert {key.split("/")[-3] for key in world.backed_up if "/binlogs/" in key} == {str(segment.id)}, (
        "no orphans"
    )
    world.restore(suffix="_back")
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_a_partition_made_during_the_run_is_not_lost(world: World) -> None:
    def fault(call: str, what: str) -> None:
        if call == "flush":
            world.milvus.fault = lambda _call, _what: None
            world.milvus.definitions.create_partition("default", "docs", "new")
            world.milvus.insert("docs", range(20, 23), partition="new")

    world.milvus.fault = fault
    world.create(only="docs")
    world.restore(suffix="_back", no_cut=True)
    assert world.milvus.rows_by_partition("docs_back")["new"] == world.milvus.rows_by_partition("docs")["new"]


def test_a_segment_of_a_partition_without_a_name_fails_its_collection(world: World) -> None:
    world.milvus.add("odd")
    world.milvus.insert("odd", range(3))
    from dataclasses import replace

    segments = world.milvus.segments.persistent
    world.milvus.segments.persistent = lambda database, name: [
        replace(segment, partition_id=5) if name == "odd" else segment for segment in segments(database, name)
    ]
    report = partial(world)
    assert "partition 5 " in (report.failed[0].error or "")


def test_what_was_written_before_the_flush_is_in_the_backup(world: World) -> None:
    world.milvus.insert("docs", [100, 101], flush=False)
    world.create(only="docs")
    world.restore(suffix="_back")
    assert {key for key, _ in world.milvus.visible_rows("docs_back")} == {*range(6), 100, 101}


def test_skip_flush_flushes_nothing_and_meta_only_copies_nothing(world: World) -> None:
    world.milvus.insert("docs", [100], flush=False)
    world.create("skipped", only="docs", strategy=Strategy.SKIP_FLUSH)
    world.create("bare", only="docs", strategy=Strategy.META_ONLY)
    assert "flush" not in [call for call, _ in world.milvus.calls]
    assert full(world, "skipped")["collection_backups"][0].get("channel_checkpoints") is None
    assert not [key for key in world.backed_up if "/bare/binlogs/" in key]
    (partition,) = full(world, "bare")["collection_backups"][0]["partition_backups"]
    assert "segment_backups" not in partition


def test_what_the_server_cannot_do_is_refused_first(world: World) -> None:
    with raised(UsageError, "bulk-flush-unsupported"):
        world.create(strategy=Strategy.BULK_FLUSH)
    with raised(UsageError, "snapshot-unsupported"):
        world.create(format="snapshot")
    assert not world.objects("backups")


def test_the_garbage_collection_is_always_resumed(world: World) -> None:
    world.create("one")
    assert ("pause_gc", "") in world.milvus.calls
    break_copies_of(world, "docs", StorageFull)
    with pytest.raises(StorageFull):
        world.create("two")
    assert world.milvus.gc_paused == 0
    world.milvus.calls.clear()
    mend(world)
    world.create("three", pause_gc=False)
    assert ("pause_gc", "") not in world.milvus.calls


def test_a_notice_is_given_once_a_run() -> None:
    events: list[object] = []
    run = Run(events.append)
    for _ in range(3):
        run.notice("code", "the same words")
    run.notice("code", "other words")
    assert run.notices == ["the same words", "other words"]
    assert len(events) == 2


def test_an_object_that_is_missing_after_copying_fails_the_collection(world: World) -> None:
    real = world.backup.put

    def losing(key: str, data: bytes, *options: Any) -> Any:
        info = real(key, data, *options)
        if key.endswith(lost):
            world.backup.bucket.objects.pop(key)
        return info

    lost = next(iter(world.objects("milvus"))).rsplit("/", 1)[1]
    world.backup.put = losing
    report = partial(world)
    assert lost in (report.failed[0].error or "")
    assert "memory://" in (report.failed[0].error or "")


def test_a_backup_below_milvus_own_root_is_told_from_milvus_data() -> None:
    world = World(same=True, backup_root="files/")
    world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    world.create()
    assert world.milvus.visible_rows("docs")
    assert states(world) == {"nightly": "complete"}
