"""A classic backup taken into the pool: the same backup afterwards, whole at every moment, and its classic copies freed."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from mbk.engine.operations import copy, pin, take_in
from mbk.engine.runtime.context import CopyContext
from mbk.engine.runtime.limits import Limits
from mbk.errors import BackupLocked, DamagedBackup, InvalidBackup, MbkError, PartialFailure, PermissionDenied
from mbk.model.manifest import SHARED, Locked, Verified, VerifiedResult
from mbk.model.options import CopyOptions, ImportOptions, PinOptions
from mbk.model.reports import RunReport
from mbk.ports.milvus.values import Feature
from tests.fakes.milvus import V2_3, V2_4
from tests.fakes.world import Killed, Life, World
from tests.fixtures.backups.builder import OldBackup
from tests.raising import raised


def filled(features: frozenset[Feature] = V2_3) -> World:
    world = World(features=features, workers=1)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", range(3), database="other")
    world.milvus.delete("docs", [1, 9])
    return world


@pytest.fixture
def world() -> World:
    world = filled()
    world.create(labels={"team": "search"})
    return world


def take(world: World, name: str = "nightly", **options: Any) -> RunReport:
    return take_in.execute(world.context(), name, ImportOptions(**options))


def as_classic(world: World, name: str, to: str) -> RunReport:
    """A self-contained copy in the same root."""
    context = CopyContext(
        run=world.run(),
        backup_storage=world.backup,
        target=world.backup,
        limits=Limits(transfer=world.limits),
        pace=world.pace,
        tool="mbk test",
    )
    return copy.execute(context, name, CopyOptions(to=to, layout="classic"))


def pooled(world: World) -> dict[str, bytes]:
    """The objects in the pool, by key."""
    found = world.objects("backups", "backup/.mbk/pool/")
    return {key: data for key, data in found.items() if "/binlogs/" in key}


def data_of(world: World, name: str = "nightly") -> dict[str, bytes]:
    """By key below the backup's prefix."""
    prefix = f"backup/{name}/"
    found = world.objects("backups", f"{prefix}binlogs/")
    return {key.removeprefix(prefix): data for key, data in found.items()}


def rows_of(world: World, name: str) -> dict[str, Any]:
    """What a restore of the backup brings back."""
    world.restore(name, suffix="_back")
    return {
        "docs": world.milvus.rows_by_partition("docs_back"),
        "logs": world.milvus.rows_by_partition("logs_back", database="other"),
    }


def wanted(world: World) -> dict[str, Any]:
    return {
        "docs": world.milvus.rows_by_partition("docs"),
        "logs": world.milvus.rows_by_partition("logs", database="other"),
    }


def test_the_objects_lie_in_the_pool_and_nowhere_else(world: World) -> None:
    before, committed = data_of(world), world.catalog().committed("nightly")
    report = take(world)
    number = committed.backup.id
    assert not data_of(world)
    assert {
        key.removeprefix(f"backup/.mbk/pool/{number}/"): data for key, data in pooled(world).items()
    } == before
    assert sum(item.objects or 0 for item in report.collections) == len(before) > 0
    assert sum(report.transfer.objects.values()) == len(before)


def test_it_is_the_same_backup_afterwards(world: World) -> None:
    pin.execute(world.context(), "nightly", PinOptions(reason="audit"))
    (before,) = world.catalog().summaries()
    known = world.catalog().committed("nightly").manifest
    take(world)
    (after,) = world.catalog().summaries()
    now = world.catalog().committed("nightly")
    assert (after.id, after.labels, after.rows, after.size, after.created, after.finished) == (
        before.id,
        before.labels,
        before.rows,
        before.size,
        before.created,
        before.finished,
    )
    assert after.pin is not None
    assert after.pin.reason == "audit"
    assert (now.backup.format, now.manifest.format, after.format) == (SHARED, SHARED, SHARED)
    assert (now.manifest.rows, now.manifest.protection) == (known.rows, known.protection)
    assert now.manifest.added is not None
    assert now.manifest.added.objects == len(pooled(world))
    assert now.manifest.added.size == sum(map(len, pooled(world).values()))


def test_the_record_names_the_objects_in_the_pool_with_their_digests(world: World) -> None:
    take(world)
    catalog = world.catalog()
    committed = catalog.committed("nightly")
    record = catalog.open_record(committed)
    assert record is not None
    with record:
        named = {committed.below + item.key: item for item in record.objects()}
        assert record.is_here(world.backup.location, "nightly")
    assert named.keys() == pooled(world).keys()
    assert all(item.digests for item in named.values())


def test_it_restores_the_same_rows_from_the_pool(world: World) -> None:
    take(world)
    assert rows_of(world, "nightly") == wanted(world)


def test_a_copy_of_it_in_the_classic_layout_restores_the_rows(world: World) -> None:
    before = data_of(world)
    take(world)
    as_classic(world, "nightly", "again")
    assert data_of(world, "again") == before
    assert rows_of(world, "again") == wanted(world)


@pytest.mark.parametrize("features", [V2_3, V2_4], ids=["2.3", "2.4"])
def test_killed_at_any_instant_either_backup_is_whole_and_the_next_run_ends_it(
    features: frozenset[Feature],
) -> None:
    backed_up = filled(features)
    backed_up.create()
    before = data_of(backed_up)
    whole, undisturbed = Life(), backed_up.copy()
    undisturbed.live(whole)
    take(undisturbed)
    formats = set[str]()
    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises((Killed, MbkError)):
            take(world)
        world.live(Life())
        committed = world.catalog().committed("nightly")
        formats.add(committed.backup.format)
        if committed.is_shared:
            assert sorted(pooled(world).values()) == sorted(before.values()), f"killed at {instant}"
        else:
            assert data_of(world) == before, f"killed at {instant}"
        assert committed.manifest.format == committed.backup.format
        deleted = world.copy()
        # That the process is dead is known here by its lease alone, and only once.
        deleted.backup.delete(deleted.objects("backups", "backup/.mbk/leases/"))
        deleted.delete("nightly")
        assert not files(deleted), f"killed at {instant}"
        assert not data_of(deleted), f"killed at {instant}"
        take(world)
        assert not data_of(world), f"killed at {instant}"
        assert pooled(world) == pooled(undisturbed), f"killed at {instant}"
        assert len(files(world)) == len(files(undisturbed)), f"killed at {instant}"
        assert world.catalog().committed("nightly").manifest.earlier is None
    assert formats == {"", SHARED}


def files(world: World) -> list[str]:
    return sorted(world.objects("backups", "backup/nightly/"))


def test_a_second_run_has_nothing_to_do_and_says_so(world: World) -> None:
    take(world)
    before = world.backed_up
    assert not take(world).transfer.objects
    assert world.backed_up == before
    assert "import-done-before" in world.notices


def test_what_is_not_of_the_backup_stays_and_is_told(world: World) -> None:
    key = "backup/nightly/binlogs/insert_log/notes.txt"
    world.backup.write(key, [b"mine"])
    take(world)
    assert data_of(world) == {key.removeprefix("backup/nightly/"): b"mine"}
    assert "others-left" in world.notices


def test_the_plan_tells_what_is_copied_and_what_is_freed(world: World) -> None:
    context = world.context()
    plan = take_in.preview(context, take_in.plan(context, "nightly", ImportOptions()))
    before = data_of(world)
    assert (plan.objects, plan.size) == (len(before), sum(map(len, before.values())))
    assert plan.removes == (f"{len(before)} classic copies below backup/nightly/binlogs/",)
    assert data_of(world) == before
    assert not pooled(world)


def test_what_was_verified_stays_verified(world: World) -> None:
    catalog = world.catalog()
    commit = catalog.committed("nightly").manifest.commit
    result = VerifiedResult(at="2026-11-01T00:00:00+00:00", depth="contents")
    known = Verified(subject=commit, results=[result])
    catalog.write_beside("nightly", "verified.json", msgspec.json.encode(known))
    take(world)
    (summary,) = world.catalog().summaries()
    assert summary.verified is not None
    assert summary.verified.depth == "contents"


def old(world: World, name: str = "old", **layout: Any) -> OldBackup:
    backup = OldBackup(world.backup, name=name, prefix=f"backup/{name}/")
    backup.segment(440101, range(3), **layout)
    backup.segment(440102, range(3, 8), deletes=[4], **layout)
    return backup


@pytest.mark.parametrize("layout", [{}, {"group": 1}], ids=["no group", "groups"])
def test_a_backup_of_another_tool_gets_a_record_and_restores_the_same_rows(layout: dict[str, Any]) -> None:
    world = World(workers=1)
    old(world, **layout).commit()
    before = data_of(world, "old")
    (summary,) = world.catalog().summaries()
    take(world, "old")
    (after,) = world.catalog().summaries()
    assert summary.created is not None
    begun = summary.created.replace(microsecond=0)
    assert (after.id, after.created, after.format) == (summary.id, begun, SHARED)
    assert not data_of(world, "old")
    as_classic(world, "old", "again")
    assert data_of(world, "again") == before
    world.restore("old")
    assert [key for key, _ in world.milvus.visible_rows("docs")] == [0, 1, 2, 3, 5, 6, 7]


def test_a_backup_of_another_tool_is_whole_at_every_instant() -> None:
    backed_up = World(workers=1)
    old(backed_up).commit()
    before = data_of(backed_up, "old")
    whole, undisturbed = Life(), backed_up.copy()
    undisturbed.live(whole)
    take(undisturbed, "old")
    for instant in range(1, whole.operations + 1):
        world = backed_up.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises((Killed, MbkError)):
            take(world, "old")
        world.live(Life())
        committed = world.catalog().committed("old")
        if not committed.is_shared:
            assert data_of(world, "old") == before, f"killed at {instant}"
        take(world, "old")
        assert not data_of(world, "old")
        assert pooled(world) == pooled(undisturbed)


def test_a_backup_without_full_meta_is_refused_and_stays(world: World) -> None:
    old(world).commit(levels_only=True)
    before = world.backed_up
    with raised(InvalidBackup, "layout-without-full-meta", backup="old"):
        take(world, "old")
    assert world.backed_up == before


def test_changed_copies_of_one_backup_do_not_touch_each_other(world: World) -> None:
    """As a tool leaves them that keeps the id of what it rewrites."""
    first, second = old(world, "first"), old(world, "second")
    first.commit()
    second.commit()
    key = next(key for key in data_of(world, "second") if "/440101/" in key)
    changed = data_of(world, "second")[key] + b" "
    world.backup.write(f"backup/second/{key}", [changed])
    full = "backup/second/meta/full_meta.json"
    tree = json.loads(world.backed_up[full])
    world.backup.write(full, [re.sub(rb'"size": \d+', b'"size": 0', json.dumps(tree).encode())])
    take(world, "first")
    before = pooled(world)
    take(world, "second")
    assert before.items() <= pooled(world).items()
    as_classic(world, "second", "again")
    assert data_of(world, "again")[key] == changed


def test_copies_of_one_backup_have_its_objects_once(world: World) -> None:
    old(world, "first").commit()
    old(world, "second").commit()
    take(world, "first")
    before = pooled(world)
    assert take(world, "second").transfer.objects == {"kept": len(before)}
    assert pooled(world) == before


def test_a_backup_that_the_storage_keeps_is_refused_and_stays(world: World) -> None:
    locked = Locked(mode="governance", until="2999-01-01T00:00:00+00:00")
    world.catalog().write_beside("nightly", "locked.json", msgspec.json.encode(locked))
    before = world.backed_up
    with raised(BackupLocked, "backup-locked", backup="nightly"):
        take(world)
    assert world.backed_up == before


def test_what_the_pool_has_already_is_not_stored_again(world: World) -> None:
    """Backups of one cluster share what did not change, as if each had been an incremental one."""
    world.milvus.insert("docs", range(20, 30))
    world.create("second")
    take(world)
    before = pooled(world)
    report = take(world, "second")
    assert report.transfer.objects["kept"] == len(before)
    assert report.transfer.objects["server"] == len(pooled(world)) - len(before) > 0
    manifest = world.catalog().committed("second").manifest
    assert manifest.added is not None
    assert manifest.added.objects == len(pooled(world)) - len(before)
    new = [data for key, data in pooled(world).items() if key not in before]
    assert manifest.added.size == sum(map(len, new))
    world.delete("nightly")
    assert rows_of(world, "second") == wanted(world)


def test_an_object_of_the_pool_that_was_lost_comes_back_by_an_import(world: World) -> None:
    world.create("second")
    take(world)
    before = pooled(world)
    world.backup.delete([next(iter(before))])
    take(world, "second")
    assert pooled(world) == before
    assert rows_of(world, "nightly") == wanted(world)


def test_what_the_pool_lost_before_the_classic_copies_went_is_put_back(world: World) -> None:
    """As a run leaves it that stood still, whose lease was taken, and that committed all the same."""
    before = data_of(world)
    take(world)
    whole = pooled(world)
    for key, data in before.items():
        world.backup.write(f"backup/nightly/{key}", [data])
    world.backup.delete([*whole][:2])
    report = take(world)
    assert report.transfer.objects == {"server": 2}
    assert pooled(world) == whole
    assert not data_of(world)


def test_classic_copies_stay_as_long_as_the_pool_lacks_an_object(world: World) -> None:
    before = data_of(world)
    take(world)
    lost, *others = pooled(world)
    for key, data in before.items():
        if not lost.endswith(key):
            world.backup.write(f"backup/nightly/{key}", [data])
    world.backup.delete([lost])
    left = data_of(world)
    with raised(DamagedBackup, "backup-objects-differ", missing=1):
        take(world)
    assert data_of(world) == left
    assert len(others) == len(left)


def test_other_bytes_under_the_same_ids_are_not_taken_for_the_same(world: World) -> None:
    """As a cluster leaves them that was restored from its own past."""
    world.create("second")
    take(world)
    key = next(key for key in data_of(world, "second") if "/insert_log/" in key)
    changed = data_of(world, "second")[key][::-1]
    record_other_bytes(world, "second", key, changed)
    before = pooled(world)
    take(world, "second")
    number = world.catalog().committed("second").backup.id
    assert before.items() < pooled(world).items()
    assert pooled(world)[f"backup/.mbk/pool/{number}/{key}"] == changed


def record_other_bytes(world: World, name: str, key: str, data: bytes) -> None:
    """A backup of another tool with these bytes: its metadata tells sizes alone."""
    world.edit(lambda _: None, name)
    world.backup.write(f"backup/{name}/{key}", [data])


def test_a_partial_backup_is_refused_with_what_completes_it(world: World) -> None:
    number = world.milvus.inventory.describe("other", "logs").id

    def break_logs(operation: str, key: str) -> None:
        if operation in ("copy", "write") and f"/{number}/" in key:
            raise PermissionDenied("not this one")

    world.backup.fault = break_logs
    with pytest.raises(PartialFailure):
        world.create("part")
    world.backup.fault = lambda *_: None
    before = world.backed_up
    with raised(InvalidBackup, "copy-of-partial", backup="part"):
        take(world, "part")
    assert world.backed_up == before
