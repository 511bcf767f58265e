"""Shared backups copied to other places and names, and from one layout to the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mbk.engine.operations import copy as operation
from mbk.engine.operations import delete
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.pool.damage import DamagedObject, read_damaged, write_damaged
from mbk.engine.repository.pool.index import read_index
from mbk.engine.repository.pool.rule import collecting
from mbk.engine.repository.renaming import with_members
from mbk.engine.repository.seal import digest_of
from mbk.engine.runtime.context import Context, CopyContext
from mbk.engine.runtime.limits import Limits
from mbk.engine.runtime.run import Run
from mbk.errors import BackupExists, DamagedBackup, InvalidBackup, MbkError
from mbk.model.manifest import SHARED
from mbk.model.options import CopyOptions, DeleteOptions
from mbk.model.plans import Plan
from mbk.model.reports import RunReport
from mbk.model.states import BackupState
from mbk.ports.storage import Storage
from mbk.testing import MemoryStorage
from mbk_local.storage import LocalStorage
from tests.fakes.world import QUICK, Killed, Life, World
from tests.fixtures.backups.builder import OldBackup
from tests.raising import raised
from tests.unit.engine.operations.test_import import data_of, filled, pooled, rows_of, take, wanted

CLASSIC, IN_POOL = "classic", "shared"


@pytest.fixture
def world() -> World:
    """With a shared backup."""
    world = filled()
    world.create()
    take(world)
    return world


@pytest.fixture
def archive(world: World) -> MemoryStorage:
    return at(world, "archive")


def at(world: World, root: str) -> MemoryStorage:
    return MemoryStorage(world.service, "backups", root=f"{root}/")


def context(world: World, target: Storage, source: Storage | None = None) -> CopyContext:
    return CopyContext(
        run=world.run(),
        backup_storage=source or world.backup,
        target=target,
        limits=Limits(transfer=world.limits),
        pace=world.pace,
        tool="mbk test",
    )


def copy(
    world: World, target: Storage, name: str = "nightly", *, source: Storage | None = None, **options: Any
) -> RunReport:
    return operation.execute(context(world, target, source), name, CopyOptions(**{"to": name, **options}))


def planned(world: World, target: Storage, name: str = "nightly", **options: Any) -> Plan:
    asked = context(world, target)
    return operation.preview(asked, operation.plan(asked, name, CopyOptions(**{"to": name, **options})))


def below(world: World, root: str) -> dict[str, bytes]:
    """Everything below a root but leases and the index, by key."""
    found = world.objects("backups", f"{root}/")
    own = {
        key: data
        for key, data in found.items()
        if "/leases/" not in key and not key.endswith("/index.jsonl.gz")
    }
    return {key.removeprefix(f"{root}/"): data for key, data in own.items()}


def added(report: RunReport) -> int:
    """Bytes that came to the destination."""
    return sum(size for how, size in report.transfer.bytes.items() if how != "kept")


def test_the_copy_of_a_shared_backup_has_its_objects_in_the_pool_there(
    world: World, archive: MemoryStorage
) -> None:
    copy(world, archive)
    assert below(world, "archive") == below(world, "backup")


def test_a_copy_within_one_root_copies_no_object(world: World) -> None:
    before = pooled(world)
    plan = planned(world, world.backup, to="second")
    assert (plan.present, plan.present_size) == (len(before), sum(map(len, before.values())))
    report = copy(world, world.backup, to="second")
    assert report.transfer.objects["kept"] == len(before)
    assert added(report) == sum(
        len(data) for key, data in world.backed_up.items() if key.startswith("backup/second/")
    )
    assert pooled(world) == before
    assert world.catalog().committed("second").is_shared


def test_what_the_pool_there_has_is_not_copied_and_is_told(world: World, archive: MemoryStorage) -> None:
    copy(world, archive)
    copy(world, world.backup, to="second")
    before, data = below(world, "archive"), len(pooled(world))
    plan = planned(world, archive, "second")
    assert plan.present == data
    report = copy(world, archive, "second")
    meta = {key: entry for key, entry in below(world, "archive").items() if key.startswith("second/")}
    assert below(world, "archive") == before | meta
    assert (plan.objects, plan.size) == (len(meta), sum(map(len, meta.values())))
    assert report.transfer.objects["kept"] == data
    assert added(report) == sum(map(len, meta.values()))


@pytest.mark.parametrize("here", [False, True], ids=["whole here", "damaged here"])
def test_what_is_known_to_be_damaged_there_is_copied_again(
    world: World, archive: MemoryStorage, here: bool
) -> None:
    copy(world, archive)
    key = min(pooled(world))
    name, data = key.removeprefix("backup/"), world.backed_up[key]
    known = {name.removeprefix(".mbk/pool/"): DamagedObject(kind="damaged")}
    archive.write(f"archive/{name}", [b"?" * len(data)])
    write_damaged(archive, world.run(), known)
    if here:
        write_damaged(world.backup, world.run(), known)
    copy(world, world.backup, to="second")
    report = copy(world, archive, "second")
    assert below(world, "archive")[name] == data
    assert report.transfer.objects["kept"] == len(pooled(world)) - 1
    assert [*read_damaged(archive, world.run())] == ([*known] if here else [])


def test_only_what_the_pool_there_lacks_is_copied(world: World, archive: MemoryStorage) -> None:
    copy(world, archive)
    copy(world, world.backup, to="second")
    lost = sorted(key for key in below(world, "archive") if "/pool/" in key)[:3]
    archive.delete([f"archive/{key}" for key in lost])
    report = copy(world, archive, "second")
    assert report.transfer.objects["kept"] == len(pooled(world)) - 3
    assert {key: entry for key, entry in below(world, "archive").items() if "/pool/" in key} == {
        key: entry for key, entry in below(world, "backup").items() if "/pool/" in key
    }


def test_an_object_there_that_differs_is_no_copy_and_is_replaced(
    world: World, archive: MemoryStorage
) -> None:
    copy(world, archive)
    key = next(key for key in below(world, "archive") if "/pool/" in key)
    good = below(world, "archive")[key]
    archive.write(f"archive/{key}", [bytes(len(good))])
    copy(world, world.backup, to="second")
    copy(world, archive, "second")
    assert below(world, "archive")[key] == good


def test_a_shared_backup_that_lacks_an_object_is_refused(world: World, archive: MemoryStorage) -> None:
    world.backup.delete([next(iter(pooled(world)))])
    with raised(DamagedBackup, "backup-objects-differ", missing=1):
        copy(world, archive)
    assert not below(world, "archive")


def test_a_self_contained_copy_is_that_of_a_classic_backup(world: World) -> None:
    made = filled()
    made.create()
    before = data_of(made)
    take(made)
    copy(made, at(made, "archive"), layout=CLASSIC)
    there = below(made, "archive")
    assert {key: entry for key, entry in there.items() if "/binlogs/" in key} == {
        f"nightly/{key}": entry for key, entry in before.items()
    }
    assert not any(key.startswith(".mbk/pool/") for key in there)
    committed = Catalog(at(made, "archive"), made.run()).committed("nightly")
    assert (committed.backup.format, committed.manifest.format, committed.manifest.added) == ("", "", None)
    assert b'"format"' not in there["nightly/meta/full_meta.json"]
    assert b'"format"' not in there["nightly/meta/backup_meta.json"]


def test_a_self_contained_copy_has_all_files_that_a_classic_backup_has(
    world: World, archive: MemoryStorage
) -> None:
    """Also those that a shared one lacks, which no reader of it needs."""
    place = "backup/nightly/meta/"
    before = {
        name: world.backed_up[f"{place}{name}"] for name in ("partition_meta.json", "segment_meta.json")
    }
    world.backup.delete([f"{place}{name}" for name in before])
    manifest = world.catalog().read_manifest("nightly")
    files = {name: file for name, file in manifest.files.items() if name not in before}
    world.catalog().write_manifest("nightly", msgspec.structs.replace(manifest, files=files))
    copy(world, archive, layout=CLASSIC)
    there = below(world, "archive")
    assert {name: there[f"nightly/meta/{name}"] for name in before} == before
    assert Catalog(archive, world.run()).committed("nightly").manifest.files.keys() >= before.keys()


def test_a_self_contained_copy_restores_the_rows(world: World) -> None:
    copy(world, world.backup, to="alone", layout=CLASSIC)
    assert rows_of(world, "alone") == wanted(world)


def test_a_classic_backup_can_be_copied_into_a_pool(world: World, archive: MemoryStorage) -> None:
    world.create("plain")
    before = data_of(world, "plain")
    copy(world, archive, "plain", layout=IN_POOL)
    number = world.catalog().committed("plain").backup.id
    there = below(world, "archive")
    assert {key: entry for key, entry in there.items() if "/binlogs/" in key} == {
        f".mbk/pool/{number}/{key}": entry for key, entry in before.items()
    }
    assert Catalog(archive, world.run()).committed("plain").is_shared
    assert data_of(world, "plain") == before
    copy(world, at(world, "back"), "plain", source=archive, layout=CLASSIC)
    assert {key: entry for key, entry in below(world, "back").items() if "/binlogs/" in key} == {
        f"plain/{key}": entry for key, entry in before.items()
    }


def test_a_copy_of_another_tools_backup_comes_into_a_pool(world: World, archive: MemoryStorage) -> None:
    old = OldBackup(world.backup)
    old.segment(440101, range(3))
    old.commit()
    copy(world, archive, "old", layout=IN_POOL)
    committed = Catalog(archive, world.run()).committed("old")
    assert (committed.backup.format, committed.backup.id) == (SHARED, "1")


@pytest.mark.parametrize("layout", ["same", CLASSIC, IN_POOL])
def test_a_finished_copy_is_known_again_and_keeps_everything(
    world: World, archive: MemoryStorage, layout: str
) -> None:
    if layout == IN_POOL:
        world.create("plain")
    name = "plain" if layout == IN_POOL else "nightly"
    copy(world, archive, name, layout=layout)
    before = below(world, "archive")
    report = copy(world, archive, name, layout=layout)
    assert below(world, "archive") == before
    assert added(report) == 0


@pytest.mark.parametrize("file", ["mbk.json", "full_meta.json", "backup_meta.json"])
def test_damaged_metadata_of_a_copy_in_another_layout_is_put_right(
    world: World, archive: MemoryStorage, file: str
) -> None:
    copy(world, archive, layout=CLASSIC)
    key = f"archive/nightly/meta/{file}"
    archive.write(key, [world.objects("backups", key)[key][:-1] + b"!"])
    copy(world, archive, layout=CLASSIC)
    assert Catalog(archive, world.run()).committed("nightly").backup.format == ""


@pytest.mark.parametrize("layout", ["same", CLASSIC, IN_POOL])
def test_killed_at_any_moment_a_copy_is_no_backup_says_what_it_is_and_is_gone_on_with(layout: str) -> None:
    world = filled()
    world.create()
    if layout != IN_POOL:
        take(world)
    life, whole = Life(), at(world, "whole")
    whole.fault = life
    copy(world, whole, layout=layout)
    wanted = {key: data for key, data in below(world, "whole").items() if "/meta/" not in key}
    seen = set()
    for moment in range(1, life.operations + 1):
        target = at(world, f"at_{moment}")
        target.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            copy(world, target, layout=layout)
        target.fault = lambda *_: None
        states = {item.state: item.reason for item in Catalog(target, Run(policy=QUICK)).summaries()}
        seen |= states.keys()
        if BackupState.INCOMPLETE in states:
            told = f"copy it again from {world.backup.location}/nightly, or delete it"
            assert states[BackupState.INCOMPLETE] == told
        copy(world, target, layout=layout)
        there = below(world, f"at_{moment}")
        assert {key: data for key, data in there.items() if "/meta/" not in key} == wanted
        committed = Catalog(target, Run(policy=QUICK)).committed("nightly")
        assert (committed.manifest.command, committed.manifest.earlier) == ("create", None)
        assert len(there) == len(below(world, "whole"))
    assert seen == {BackupState.INCOMPLETE, BackupState.COMPLETE}


def test_a_copy_in_the_other_layout_is_in_the_way(world: World, archive: MemoryStorage) -> None:
    copy(world, archive, layout=CLASSIC)
    before = below(world, "archive")
    with raised(BackupExists, "copy-in-other-layout", backup="nightly", layout="classic") as caught:
        copy(world, archive)
    assert caught.value.hint == "copy with --layout classic, or to another name"
    assert below(world, "archive") == before


def test_a_backup_without_full_meta_gets_no_other_layout(world: World, archive: MemoryStorage) -> None:
    old = OldBackup(world.backup)
    old.segment(440101, range(3))
    old.commit(levels_only=True)
    with raised(InvalidBackup, "layout-without-full-meta", backup="old"):
        copy(world, archive, "old", layout=IN_POOL)
    assert not below(world, "archive")


def test_to_a_directory_and_back_through_another_store(world: World, tmp_path: Path) -> None:
    disk, back = LocalStorage(tmp_path), at(world, "back")
    copy(world, disk)
    assert not (tmp_path / "nightly/binlogs").exists()
    copy(world, disk, to="second", source=disk)
    copy(world, back, source=disk)
    assert below(world, "back") == below(world, "backup")
    copy(world, disk, to="alone", source=disk, layout=CLASSIC)
    copy(world, world.backup, "alone", source=disk)
    assert rows_of(world, "alone") == wanted(world)


def test_classic_objects_of_a_shared_backup_are_told_with_what_removes_them(
    world: World, archive: MemoryStorage
) -> None:
    key = next(iter(pooled(world)))
    twin = f"backup/nightly/binlogs/{key.partition('/binlogs/')[2]}"
    world.backup.write(twin, [pooled(world)[key]])
    copy(world, archive)
    assert "classic-copies-left" in world.notices
    assert not any(name.startswith("nightly/binlogs/") for name in below(world, "archive"))
    take(world)
    world.events.clear()
    copy(world, at(world, "again"))
    assert "classic-copies-left" not in world.notices


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "classic"])
def test_a_record_of_the_other_layout_is_refused_in_one_line(
    world: World, archive: MemoryStorage, *, shared: bool
) -> None:
    """As somebody leaves it who edits the format, and what vouches for it, by hand."""
    if not shared:
        copy(world, world.backup, to="nightly_alone", layout=CLASSIC)
    name = "nightly" if shared else "nightly_alone"
    catalog, place = world.catalog(), f"backup/{name}/meta/"
    committed = catalog.committed(name)
    full = world.backed_up[f"{place}full_meta.json"]
    other = b"" if shared else b"shared"
    changed = with_members(full, {"format": other.decode()}, where="")
    world.backup.write(f"{place}full_meta.json", [changed])
    files = {**committed.manifest.files, "full_meta.json": digest_of([changed])}
    catalog.write_manifest(name, msgspec.structs.replace(committed.manifest, files=files))
    with raised(DamagedBackup, "record-damaged" if shared else "shared-record-damaged") as caught:
        copy(world, archive, name)
    assert ("the backup is classic" if shared else "the backup is shared") in str(caught.value)
    assert not below(world, "archive")


def incremental(world: World, name: str) -> RunReport:
    return world.create(name, incremental=True)


def test_a_second_site_costs_what_changed_too(archive: MemoryStorage, world: World) -> None:
    incremental(world, "first")
    copy(world, archive, "first")
    before = below(world, "archive")
    world.milvus.insert("docs", range(20, 30))
    world.milvus.delete("docs", [3])
    made = incremental(world, "second")
    report = copy(world, archive, "second")
    new = {key: data for key, data in below(world, "archive").items() if key not in before}
    assert report.transfer.objects["kept"] == made.transfer.objects["reused"]
    data = {key: entry for key, entry in new.items() if "/pool/" in key and "/binlogs/" in key}
    assert len(data) == made.transfer.objects["server"]
    meta = [entry for key, entry in new.items() if key.startswith("second/")]
    assert added(report) == sum(map(len, (*data.values(), *meta)))
    here = {key: entry for key, entry in below(world, "backup").items() if "/binlogs/" in key}
    there = {key: entry for key, entry in below(world, "archive").items() if "/binlogs/" in key}
    assert there.items() <= here.items()


def test_each_copy_restores_by_itself_from_the_second_site(archive: MemoryStorage, world: World) -> None:
    incremental(world, "first")
    copy(world, archive, "first")
    world.milvus.insert("docs", range(20, 30))
    incremental(world, "second")
    copy(world, archive, "second")
    remove(world, archive, "first")
    copy(world, world.backup, "second", to="back", source=archive, layout=CLASSIC)
    assert rows_of(world, "back") == wanted(world)
    copy(world, at(world, "third"), "second", source=archive)
    world.backup = at(world, "third")
    world.milvus.drop_collection("default", "docs_back")
    world.milvus.drop_collection("other", "logs_back")
    assert rows_of(world, "second") == wanted(world)


def remove(world: World, storage: Storage, name: str) -> None:
    asked = Context(run=world.run(), backup_storage=storage, pace=world.pace)
    delete.execute(asked, name, DeleteOptions())


def test_while_a_copy_comes_nothing_goes_from_the_pool_there(archive: MemoryStorage, world: World) -> None:
    incremental(world, "first")
    incremental(world, "second")
    copy(world, archive, "first")
    before = {key for key in below(world, "archive") if "/binlogs/" in key}
    beside, done = at(world, "archive"), list[str]()

    def amid(operation: str, key: str) -> None:
        if not done and key.endswith("second/meta/full_meta.json"):
            done.append(operation)
            remove(world, beside, "first")

    archive.fault = amid
    copy(world, archive, "second")
    assert done
    assert "pool-not-freed" in world.notices
    assert {key for key in below(world, "archive") if "/binlogs/" in key} == before
    assert Catalog(archive, world.run()).committed("second")


def test_a_copy_waits_for_a_run_that_removes_objects_there(archive: MemoryStorage, world: World) -> None:
    with ThreadPoolExecutor() as pool:
        with collecting(archive, world.run(), pace=world.pace.lease):
            waiting = pool.submit(copy, world, archive)
            while "pool-awaited" not in world.notices:
                assert not wait([waiting], timeout=0.01).done
            assert not any("/binlogs/" in key for key in below(world, "archive"))
        waiting.result()
    assert below(world, "archive").keys() >= below(world, "backup").keys()


def test_an_imported_backup_is_built_on_where_its_digests_tell(world: World) -> None:
    """Nobody knows what the storage of Milvus told of its objects when they were copied."""
    assert incremental(world, "first").transfer.objects == {"reused": len(pooled(world))}


def test_the_index_knows_an_imported_backup_and_a_copy_under_a_name_that_was_classic(world: World) -> None:
    world.create("plain")
    world.create("gone")
    incremental(world, "first")
    assert read_index(world.backup, world.run()).names == {"nightly", "first"}
    take(world, "plain")
    world.delete("gone")
    copy(world, world.backup, "first", to="gone")
    assert read_index(world.backup, world.run()).names == {"nightly", "first", "plain", "gone"}
