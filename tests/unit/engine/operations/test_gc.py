"""gc: what belongs to no backup and to no run is shown, then removed; what belongs to one stays, whatever happens amid it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec import structs

from mbk.engine.operations import gc
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.lease import PREFIX, Lease, hold
from mbk.engine.runtime.pace import LeasePace
from mbk.errors import CollectionExists
from mbk.model import layout
from mbk.model.manifest import DELETE, Ended, Journal
from mbk.model.options import GcOptions
from mbk.model.reports import GcReport, Leftover
from mbk.model.states import BackupState, LeftoverKind
from tests.fakes.milvus import V2_3, V2_4
from tests.fakes.world import AT_ONCE, Killed, Life, World

NOW = GcOptions(grace=timedelta())
DAY = GcOptions()
#: Whether a silent run comes back is seen soon.
BRIEFLY = replace(AT_ONCE, lease=LeasePace(settle=0.001, handover=0.001, expiry=0.05, beat=0.01, poll=0.005))
COPY = "insert_log/7-0123456789ab/11/100/5"


def filled(*, same: bool = False, features: Any = V2_3, workers: int = 1) -> World:
    world = World(features=features, same=same, workers=workers)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.delete("docs", [1, 9])
    return world


def planned(world: World, options: GcOptions = NOW) -> tuple[Leftover, ...]:
    return gc.plan(world.context(), "", options).leftovers


def collected(world: World, options: GcOptions = NOW) -> GcReport:
    return gc.execute(world.context(), "", options)


def of(kind: LeftoverKind, found: GcReport | tuple[Leftover, ...]) -> list[tuple[str, str]]:
    leftovers = found if isinstance(found, tuple) else found.leftovers
    return [(item.name, item.outcome) for item in leftovers if item.kind is kind]


def left_behind(world: World, keys: list[str], *, days: int = 2) -> None:
    """Objects in Milvus' bucket or in that of the backups that were written so long ago."""
    for key in keys:
        storage = world.storage if key.startswith("files/") else world.backup
        storage.write(key, [b"left"])
        older(world, key, days=days)


def older(world: World, prefix: str, *, days: int = 2) -> None:
    for bucket in world.service.buckets.values():
        for key, item in [*bucket.objects.items()]:
            if key.startswith(prefix) and item.info.modified is not None:
                then = item.info.modified - timedelta(days=days)
                bucket.objects[key] = replace(item, info=replace(item.info, modified=then))


def copies(world: World) -> list[str]:
    return [key for key in world.staged if not key.endswith("/mbk.json")]


# -- what restores left ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("features", [V2_3, V2_4], ids=["2.3", "2.4"])
def test_after_a_restore_killed_at_any_instant_its_copies_go_and_the_same_restore_ends_well(
    features: Any,
) -> None:
    backed_up = filled(features=features)
    backed_up.create()
    whole, undisturbed = Life(), backed_up.copy()
    undisturbed.live(whole)
    undisturbed.restore(suffix="_back")
    rows = undisturbed.milvus.visible_rows("docs_back")
    cleaned = 0
    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.restore(suffix="_back")
        world.live(Life())
        cleaned += bool(copies(world))
        report = collected(world)
        assert not copies(world), f"killed at {instant}"
        assert all(outcome in ("removed", "kept") for _, outcome in of(LeftoverKind.RESTORE, report))
        try:
            world.restore(suffix="_back")
        except CollectionExists:
            assert not world.staged, f"nothing tells any more whose it is, killed at {instant}"
        assert world.milvus.visible_rows("docs_back") == rows, f"killed at {instant}"
        assert not collected(world).leftovers, f"killed at {instant}"
        assert not world.staged, f"killed at {instant}"
    assert cleaned > 10


def test_after_a_replacement_killed_at_any_instant_and_a_gc_the_same_restore_ends_it() -> None:
    backed_up = filled(features=V2_4)
    backed_up.create()
    rows, names = backed_up.milvus.visible_rows("docs"), backed_up.milvus.names
    backed_up.milvus.insert("docs", [100])
    whole, undisturbed = Life(), backed_up.copy()
    undisturbed.live(whole)
    undisturbed.restore(drop_existing=True)
    assert undisturbed.milvus.visible_rows("docs") == rows
    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.restore(drop_existing=True)
        world.live(Life())
        collected(world)
        assert not copies(world), f"killed at {instant}"
        world.restore(drop_existing=True)
        assert world.milvus.visible_rows("docs") == rows, f"killed at {instant}"
        assert world.milvus.names == names, f"killed at {instant}"
        assert not world.staged, f"killed at {instant}"


def half_restored(features: Any = V2_3) -> World:
    """A restore that was killed when its copies were there and Milvus imported them."""
    backed_up = filled(features=features)
    backed_up.create()
    whole, twin = Life(), backed_up.copy()
    twin.live(whole)
    twin.restore(suffix="_back")
    for instant in range(1, whole.operations):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.restore(suffix="_back")
        world.live(Life())
        if copies(world) and "default.docs_back" in world.milvus.names:
            # What proves that its run is dead is gone once somebody saw it, also in a copy of this world.
            world.storage.delete([key for key in world.objects("milvus") if PREFIX in key])
            return world
    raise AssertionError("the restore stages nothing")


def test_gc_killed_at_any_call_leaves_the_rest_to_the_next_one() -> None:
    world = half_restored()
    left_behind(
        world, [f"files/restore-temp-old-default-logs/{COPY}", "backup/bare/binlogs/insert_log/1/2/3/3/100/9"]
    )
    counting, twin = Life(), world.copy()
    twin.live(counting)
    collected(twin)
    for call in range(1, counting.operations + 1):
        twin = world.copy()
        twin.live(Life(ends_at=call))
        with pytest.raises(Killed):
            collected(twin)
        twin.live(Life())
        collected(twin)
        assert not copies(twin), f"killed at {call}"
        assert not twin.objects("backups", "backup/bare/"), f"killed at {call}"
        twin.restore(suffix="_back")
        assert twin.milvus.visible_rows("docs_back") == twin.milvus.visible_rows("docs")
        assert not twin.staged


def test_what_a_killed_restore_left_is_shown_first_and_its_journal_stays_while_a_collection_is_half_made() -> (
    None
):
    world = half_restored()
    before = dict(world.staged)
    (place,) = {key.rpartition("/restore-temp")[0] + "/" + key.split("/")[1] + "/" for key in before}
    (shown,) = [item for item in planned(world) if item.kind is LeftoverKind.RESTORE]
    assert (shown.name, shown.outcome, shown.objects) == (place, "planned", len(copies(world)))
    assert "default.docs_back" in shown.reason
    assert dict(world.staged) == before, "a plan changes nothing"
    report = collected(world)
    assert of(LeftoverKind.RESTORE, report) == [(place, "removed")]
    assert report.deleted_objects == shown.objects
    assert [*world.staged] == [f"{place}mbk.json"]
    assert of(LeftoverKind.RESTORE, collected(world)) == [(place, "kept")]


def test_the_journal_goes_too_once_the_collection_that_it_tells_of_is_dropped() -> None:
    world = half_restored()
    collected(world)
    assert world.staged
    world.milvus.definitions.drop_collection("default", "docs_back")
    assert [outcome for _, outcome in of(LeftoverKind.RESTORE, planned(world))] == ["planned"]
    assert [outcome for _, outcome in of(LeftoverKind.RESTORE, collected(world))] == ["removed"]
    assert not world.staged


def test_the_journal_stays_where_milvus_does_not_tell() -> None:
    world = half_restored()
    world.milvus.definitions.drop_collection("default", "docs_back")
    context = world.context()
    alone = Context(run=context.run, backup_storage=world.backup, storage=world.storage, pace=context.pace)
    gc.execute(alone, "", NOW)
    assert not copies(world)
    assert world.staged


def test_what_is_young_stays() -> None:
    world = half_restored()
    before = dict(world.staged)
    assert not of(LeftoverKind.RESTORE, planned(world, DAY))
    collected(world, DAY)
    assert dict(world.staged) == before
    older(world, "files/restore-temp")
    world.storage.write(copies(world)[0], [b"again"])
    collected(world, DAY)
    assert copies(world), "one young copy keeps the others"


def test_the_journals_of_a_restore_that_is_done_stay_together_until_none_is_needed() -> None:
    """Killed when some of them were given back: those are young again."""
    journal = Journal(backup_id="b", target="default.docs", collection_id=7, created=True)
    lost = structs.replace(journal, target="default.logs")
    ended = "files/restore-temp-nightly-ended-0123456789ab/mbk.json"
    back = "files/restore-temp-nightly-default-docs/mbk.json"
    world = World()
    world.storage.write(ended, [msgspec.json.encode(Ended(journals=[journal, lost]))])
    older(world, ended)
    world.storage.write(back, [msgspec.json.encode(journal)])
    collected(world, DAY)
    assert sorted(world.staged) == [back, ended]
    older(world, back)
    collected(world, DAY)
    assert not world.staged


def amid_import(world: World, act: Callable[[], None]) -> None:
    """Restores; ``act`` comes when Milvus is asked to import."""
    start, acted = world.milvus.imports.start, []

    def starting(*args: Any, **options: Any) -> Any:
        if not acted:
            acted.append(True)
            act()
        return start(*args, **options)

    world.milvus.imports.start = starting
    world.restore(suffix="_back")
    assert acted


def test_what_a_running_restore_works_with_stays() -> None:
    world = filled()
    world.create()
    seen: list[GcReport] = []

    def act() -> None:
        before = dict(world.staged)
        seen.append(collected(world))
        assert copies(world)
        assert dict(world.staged) == before

    amid_import(world, act)
    ((_, outcome),) = of(LeftoverKind.RESTORE, seen[0])
    assert outcome == "kept"
    assert world.milvus.visible_rows("docs_back") == world.milvus.visible_rows("docs")


def test_a_restore_that_is_not_at_work_there_keeps_nothing_else() -> None:
    world = filled()
    world.create()
    old = f"files/restore-temp-old-default-logs/{COPY}"
    left_behind(world, [old])
    amid_import(world, lambda: collected(world, DAY) and None)
    assert old not in world.staged


@pytest.mark.parametrize(
    "key",
    [
        "restore-temp-restore_2024-default-docs/insert_log/1/2/3/100/5",  # as the Go tool stages
        "restore-temp-nightly-default-docs/notes.txt",
        "restore-temp-nightly-default-docs/insert_log/7-0123456789ab/11/100/5.parquet",
        f"restore-temp-nightly/{COPY}",
        f"restore-tmp-nightly-default-docs/{COPY}",
        f"insert_log/restore-temp-nightly-default-docs/{COPY}",
    ],
)
def test_what_no_restore_of_mbk_writes_stays(key: str) -> None:
    world = World()
    left_behind(world, [f"files/{key}"])
    assert not planned(world)
    collected(world)
    assert world.objects("milvus", f"files/{key}")


def test_other_objects_beside_the_copies_stay_and_are_told() -> None:
    world = World()
    place = "files/restore-temp-nightly-default-docs/"
    left_behind(world, [f"{place}{COPY}", f"{place}notes.txt"])
    (item,) = collected(world).leftovers
    assert (item.outcome, item.objects) == ("removed", 1)
    assert item.reason
    assert [*world.staged] == [f"{place}notes.txt"]


def test_without_milvus_storage_the_rest_is_removed_and_a_notice_says_so() -> None:
    world = World()
    left_behind(world, ["backup/bare/binlogs/insert_log/1/2/3/3/100/9"])
    del world.service.buckets["milvus"]
    assert of(LeftoverKind.BACKUP, collected(world)) == [("bare", "removed")]
    assert "staged-not-looked-for" in world.notices


# -- what has no metadata ----------------------------------------------------------------------------------------------

BARE = [
    "backup/bare/binlogs/insert_log/1/2/3/3/100/9",
    "backup/bare/binlogs/delta_log/1/2/3/3/9",
]


def test_copied_logs_without_metadata_are_shown_then_removed() -> None:
    world = filled()
    world.create()
    left_behind(world, BARE)
    before = dict(world.backed_up)
    assert of(LeftoverKind.BACKUP, planned(world, DAY)) == [("bare", "planned")]
    assert dict(world.backed_up) == before
    report = collected(world, DAY)
    assert of(LeftoverKind.BACKUP, report) == [("bare", "removed")]
    assert report.deleted_objects == 2
    assert dict(world.backed_up) == {key: data for key, data in before.items() if key not in BARE}


@pytest.mark.parametrize(
    "beside",
    [
        "backup/bare/notes.txt",
        "backup/bare/binlogs/stats_log/1/2/3/100/9",
        "backup/bare/binlogs/insert_log/1/2/3/3/100/9.tmp",
        "backup/bare/meta/notes.json",
        "backup/bare/meta/full_meta.json",
        "backup/bare/binlogs/insert_log/1/2/3/3/100/young",
    ],
)
def test_a_directory_in_which_anything_else_lies_stays(beside: str) -> None:
    world = World()
    left_behind(world, [*BARE, beside])
    before = dict(world.backed_up)
    assert not of(LeftoverKind.BACKUP, planned(world))
    collected(world)
    assert dict(world.backed_up) == before


def test_who_still_copies_keeps_the_directory() -> None:
    world = World()
    left_behind(world, BARE)
    world.backup.write("backup/bare/binlogs/insert_log/1/2/3/3/100/10", [b"now"])
    before = dict(world.backed_up)
    assert not planned(world, DAY)
    collected(world, DAY)
    assert dict(world.backed_up) == before


def test_the_directories_of_milvus_stay() -> None:
    world = World(same=True, backup_root="")
    world.storage.write("files/insert_log/1/2/3/100/9", [b"row"])
    keys = ["snapshots/binlogs/insert_log/1/2/3/3/100/9", "files/binlogs/insert_log/1/2/3/3/100/9"]
    for key in keys:
        world.backup.write(key, [b"row"])
    before = world.objects("milvus")
    collected(world)
    assert world.objects("milvus") == before


def test_a_delete_killed_at_any_instant_is_ended_and_a_create_that_can_be_resumed_stays() -> None:
    backed_up = filled()
    backed_up.create("kept")
    backed_up.create()
    whole, twin = Life(), backed_up.copy()
    twin.live(whole)
    twin.delete()
    ended = 0
    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.delete()
        world.live(Life())
        states = {item.name: item.state for item in world.catalog().summaries()}
        report = collected(world)
        left = {item.name: item.state for item in world.catalog().summaries()}
        if states.get("nightly") is BackupState.INCOMPLETE:
            ended += 1
            assert of(LeftoverKind.BACKUP, report) == [("nightly", "removed")], f"killed at {instant}"
            assert not world.objects("backups", "backup/nightly/"), f"killed at {instant}"
            states.pop("nightly")
        assert left == states, f"killed at {instant}"
    assert ended > 3


def test_a_create_that_can_be_resumed_stays() -> None:
    world = filled()
    world.create()
    world.backup.delete([f"backup/nightly/meta/{layout.FULL_META}"])
    older(world, "backup/")
    before = dict(world.backed_up)
    assert not planned(world)
    collected(world)
    assert dict(world.backed_up) == before


def test_a_delete_that_goes_on_elsewhere_is_left_to_it() -> None:
    world = filled()
    world.create()
    mark, written = f"backup/nightly/meta/{layout.FULL_META}", world.catalog().read_manifest("nightly")
    world.catalog().write_manifest("nightly", structs.replace(written, command=DELETE))
    world.backup.delete([mark])
    before = world.objects("backups", "backup/nightly/")
    assert before
    with hold(world.backup, "nightly", "deletion", world.run(), pace=world.pace.lease, deletes=True):
        assert of(LeftoverKind.BACKUP, collected(world)) == [("nightly", "kept")]
        assert world.objects("backups", "backup/nightly/") == before
    assert of(LeftoverKind.BACKUP, collected(world)) == [("nightly", "removed")]


# -- leases ------------------------------------------------------------------------------------------------------------


def abandoned(world: World, key: str) -> None:
    """As a run leaves it that was killed on this machine."""
    storage = world.storage if key.startswith("files/") else world.backup
    lease = Lease(storage, key, "backup of 'gone'", world.run(), world.pace.lease)
    lease.take()
    data = storage.bucket.objects[key]
    lease.release()
    storage.bucket.objects[key] = data


@pytest.mark.parametrize("key", [f"backup/{PREFIX}gone", f"files/{PREFIX}restore-0123"])
def test_leases_that_nobody_renewed_for_a_day_are_shown_then_removed(key: str) -> None:
    world = World(pace=BRIEFLY)
    abandoned(world, key)
    assert not of(LeftoverKind.LEASE, planned(world)), "it may be somebody's"
    older(world, key)
    assert of(LeftoverKind.LEASE, planned(world)) == [(key, "planned")]
    assert of(LeftoverKind.LEASE, collected(world)) == [(key, "removed")]
    assert not [left for name in ("milvus", "backups") for left in world.objects(name) if PREFIX in left]


def test_the_lease_of_a_run_that_was_killed_here_goes_at_once() -> None:
    world = filled()
    world.live(Life(ends_at=12))
    with pytest.raises(Killed):
        world.create()
    world.live(Life())
    key = f"backup/{PREFIX}nightly"
    assert key in world.backed_up
    assert of(LeftoverKind.LEASE, planned(world)) == [(key, "planned")]
    assert of(LeftoverKind.LEASE, collected(world)) == [(key, "removed")]
    assert key not in world.backed_up


# -- uploads -----------------------------------------------------------------------------------------------------------


def test_unfinished_uploads_are_shown_before_they_end() -> None:
    world = World()
    world.backup.multipart(f"backup/{layout.POOL}gone/binlogs/insert_log/1/2/3/3/100/9")
    world.backup.multipart(f"backup/{layout.POOL}gone/binlogs/insert_log/1/2/3/3/101/9")
    assert [(item.kind, item.count) for item in planned(world)] == [(LeftoverKind.UPLOADS, 2)]
    assert len([*world.uploads()]) == 2
    assert [(item.kind, item.count) for item in collected(world).leftovers] == [(LeftoverKind.UPLOADS, 2)]
    assert not [*world.uploads()]
