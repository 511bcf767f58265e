"""`l0compact` on backups whose objects the double's codec wrote and reads: no code of mbk's judges the result."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from mbk.engine.operations import l0compact, verify
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.removal import Remover
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.limits import Limits, TransferLimits
from mbk.engine.runtime.run import Run
from mbk.errors import (
    BackupExists,
    BackupLocked,
    BackupNotFound,
    DamagedBackup,
    InvalidBackup,
    InvalidName,
    MbkError,
    UsageError,
)
from mbk.model.events import Event, ObjectCopied
from mbk.model.jobs import Progress
from mbk.model.locking import ObjectLock
from mbk.model.options import L0CompactOptions, VerifyOptions
from mbk.model.reports import RunReport
from mbk.model.states import BackupState, Depth
from mbk.observe.meter import Meter
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import AT_ONCE, QUICK, Killed, Life
from tests.raising import raised
from tests.sharing import OWNER, share
from tests.unit.engine.forged import (
    COLL,
    P1,
    P2,
    Backup,
    Tree,
    below,
    content_of,
    live,
    meta,
    objects,
    text_keys,
)


def compact(
    storage: MemoryStorage,
    source: str = "src",
    output: str = "out",
    *,
    force: bool = False,
    on_event: Callable[[Event], None] = lambda _: None,
    lock: ObjectLock | None = None,
) -> RunReport:
    context = Context(
        run=Run(on_event, policy=QUICK),
        backup_storage=storage,
        limits=Limits(transfer=TransferLimits()),
        pace=AT_ONCE,
        tool="mbk test",
        object_lock=lock,
    )
    return l0compact.execute(context, source, L0CompactOptions(output=output, force=force))


@pytest.fixture
def storage() -> MemoryStorage:
    return MemoryStorage(MemoryService("backups"), "backups", root="backup/")


def filled(storage: MemoryStorage, **options: Any) -> Backup:
    """Deletes of every kind: by partition, over all, older than the row, of a row in another partition, of nothing."""
    backup = Backup(storage, **options)
    backup.data(P1, 460101, range(20), time=1000, deletes=backup.delete(0, time=5000))
    backup.data(P1, 460102, range(20, 30), time=1000)
    backup.data(P2, 460103, range(10, 40), time=1000)
    backup.data(P2, 460104, range(5, 8), time=9000)
    backup.l0_segment(P1, 460105, backup.delete(1, 2, 3, 25, time=2000), backup.delete(3, 4, 15, time=2000))
    backup.l0_segment(P1, 460106, backup.delete(4, time=500))
    backup.l0_segment(-1, 460107, backup.delete(5, 6, 12, 22, 39, 777, time=3000))
    backup.write()
    return backup


VARIANTS: list[Tree] = [
    {},
    {"version": 2},
    {"key": text_keys},
    {"version": 2, "key": text_keys},
    {"grouped": False},
]


@pytest.mark.parametrize("options", VARIANTS, ids=["v1", "v2", "v1 texts", "v2 texts", "old layout"])
def test_the_new_backup_holds_the_same_rows_without_l0_segments(
    storage: MemoryStorage, options: Tree
) -> None:
    backup = filled(storage, **options)
    before = live(backup, "src")
    assert (len(before[P1]), len(before[P2])) == (20 - 9 + 10 - 2, 30 - 3 + 3)
    compact(storage)
    assert live(backup, "out") == before
    (collection,) = meta(storage, "out")["collection_backups"]
    segments = [item for part in collection["partition_backups"] for item in part["segment_backups"]]
    assert "l0_segments" not in collection
    assert [item["segment_id"] for item in segments] == [460101, 460102, 460103, 460104]
    kept = {
        int(key.split("/")[-2 if "delta_log" in key else -3])
        for key in objects(storage, "backup/out/binlogs/")
    }
    assert kept == {460101, 460102, 460103, 460104}


@pytest.mark.parametrize("options", VARIANTS, ids=["v1", "v2", "v1 texts", "v2 texts", "old layout"])
def test_of_a_shared_backup_a_classic_one_is_made(storage: MemoryStorage, options: Tree) -> None:
    """Its delete logs lie below two ids, and between the logs of other backups."""
    backup = filled(storage, **options)
    before = live(backup, "src")
    context = Context(run=Run(policy=QUICK), backup_storage=storage, pace=AT_ONCE, tool="mbk test")
    verify.execute(context, "src", VerifyOptions(depth=Depth.CONTENTS, record=True))
    share(storage, "src", lambda key: f"{OWNER[:-1]}{int(key[-1]) % 2 if 'delta_log' in key else 2}")
    pool = "backup/.mbk/pool/"
    for key, data in objects(storage, pool).items():
        if "/delta_log/" in key:
            storage.write(f"{pool}{key}9", [data])
    compact(storage)
    assert live(backup, "out") == before
    assert "format" not in meta(storage, "out")
    assert Catalog(storage, Run(policy=QUICK)).committed("out").is_shared is False
    assert all(
        key.split("/")[0] in ("insert_log", "delta_log") for key in objects(storage, "backup/out/binlogs/")
    )


def test_how_much_there_is_is_told_before_the_first_byte(storage: MemoryStorage) -> None:
    filled(storage)
    meter, told = Meter(), list[Progress]()

    def watch(event: Event) -> None:
        if isinstance(event, ObjectCopied):
            told.append(meter.progress())
        meter(event)

    report = compact(storage, on_event=watch)
    assert told[0].objects == 0
    assert told[0].objects_total > 0
    assert told[0].bytes_total > 0
    assert told[0].collections_total == meter.progress().collections == len(report.collections)


def test_the_source_stays_as_it_is(storage: MemoryStorage) -> None:
    filled(storage)
    before = objects(storage, "backup/src/")
    compact(storage)
    assert objects(storage, "backup/src/") == before


def test_sizes_count_what_is_there_now(storage: MemoryStorage) -> None:
    filled(storage)
    compact(storage)
    root = meta(storage, "out")
    (collection,) = root["collection_backups"]
    data = objects(storage, "backup/out/binlogs/")
    for partition in collection["partition_backups"]:
        for record in partition["segment_backups"]:
            here = [
                len(content)
                for kind in ("insert_log", "delta_log")
                for _, content in below(data, kind, record)
            ]
            assert record["size"] == sum(here)
            logs = [log for item in record["deltalogs"] for log in item.get("binlogs", [])]
            assert sorted(log["log_size"] for log in logs) == sorted(
                len(content) for _, content in below(data, "delta_log", record)
            )
    total = sum(map(len, data.values()))
    assert root["size"] == collection["size"] == total
    assert meta(storage, "out", "backup_meta.json")["size"] == total
    assert sum(part["size"] for part in collection["partition_backups"]) == total


def test_new_log_ids_are_higher_than_all_that_there_were(storage: MemoryStorage) -> None:
    backup = filled(storage)
    old = {key.rpartition("/")[2] for key in objects(storage, "backup/src/binlogs/")}
    compact(storage)
    new = {key.rpartition("/")[2] for key in objects(storage, "backup/out/binlogs/")} - old
    assert new
    assert min(map(int, new)) > backup.next_log


def test_everything_else_of_the_backup_is_kept_under_its_new_name_and_id(storage: MemoryStorage) -> None:
    filled(storage)
    report = compact(storage)
    root = meta(storage, "out")
    assert (root["name"], root["id"]) == ("out", report.id)
    assert root["id"] == root["collection_backups"][0]["id"] != "old task"
    assert root["database_backups"] == [{"db_name": "db", "db_id": 7, "ezk": "secret"}]
    assert root["flush_all_msgs_base64"] == {"pch": "AA=="}
    assert root["collection_backups"][0]["channel_checkpoints"] == {"ch": "EgA="}
    own = meta(storage, "out", "mbk.json")
    assert (own["id"], own["name"], own["tool"]) == (report.id, "out", "mbk test")
    assert own["rows"] == {str(COLL): 42}
    assert own["failed"] == {"db.lost": "why"}


def test_the_report_says_how_many_deletes_went_where(storage: MemoryStorage) -> None:
    filled(storage)
    (outcome,) = compact(storage).collections
    assert outcome.source == "db.coll"
    assert outcome.notes == ("16 deletes written to 4 segments",)


def test_a_backup_without_l0_segments_is_copied(storage: MemoryStorage) -> None:
    backup = Backup(storage)
    backup.data(P1, 460101, range(5), time=1000, deletes=backup.delete(0, time=5000))
    backup.write()
    compact(storage)
    assert objects(storage, "backup/out/binlogs/") == objects(storage, "backup/src/binlogs/")


def test_a_name_that_is_taken_is_refused_and_left_alone(storage: MemoryStorage) -> None:
    filled(storage)
    storage.write("backup/out/meta/full_meta.json", [b"{}"])
    with raised(BackupExists, "backup-exists", backup="out") as caught:
        compact(storage)
    assert "--force" in (caught.value.hint or "")
    assert objects(storage, "backup/out/") == {"meta/full_meta.json": b"{}"}


@pytest.mark.parametrize("force", [False, True])
def test_objects_that_are_no_backups_are_neither_replaced_nor_joined(
    storage: MemoryStorage, force: bool
) -> None:
    filled(storage)
    files = {"binlogs/insert_log/1/2/3/3/0/4": b"", "cat.jpg": b"x"}
    for key, content in files.items():
        storage.write(f"backup/out/{key}", [content])
    with raised(BackupExists, "prefix-not-empty", prefix="backup/out/"):
        compact(storage, force=force)
    assert objects(storage, "backup/out/") == files


def test_force_replaces_what_was_there_with_nothing_of_it_left(storage: MemoryStorage) -> None:
    backup = filled(storage)
    storage.write("backup/out/meta/mbk.json", [b'{"name":"out"}'])
    storage.write("backup/out/binlogs/insert_log/1/2/3/3/0/4", [b"old"])
    compact(storage, force=True)
    assert live(backup, "out") == live(backup, "src")
    assert "binlogs/insert_log/1/2/3/3/0/4" not in objects(storage, "backup/out/")


def test_what_cannot_be_compacted_is_refused_before_anything_is_deleted(storage: MemoryStorage) -> None:
    def refused(error: type[MbkError], code: str, source: str = "src", output: str = "out") -> None:
        with raised(error, code):
            compact(storage, source, output, force=True)

    storage.write("backup/out/meta/mbk.json", [b'{"name":"out"}'])
    refused(BackupNotFound, "backup-missing")
    storage.write("backup/half/meta/mbk.json", [b'{"name":"half"}'])
    refused(InvalidBackup, "backup-incomplete", "half")
    filled(storage)
    refused(UsageError, "backup-replaces-itself", "src", "src")
    refused(InvalidName, "backup-name-invalid", "src", "5 names")
    Backup(storage, "snap").write(format="snapshot", collection_backups=[])
    refused(UsageError, "snapshot-without-l0", "snap")
    third = Backup(storage, "third")
    third.data(P1, 460101, range(2), time=1)
    third.partitions[P1][0]["storage_version"] = 3
    third.write()
    refused(UsageError, "segment-unreadable", "third")
    assert objects(storage, "backup/out/") == {"meta/mbk.json": b'{"name":"out"}'}


def test_a_shortened_delta_log_is_refused_before_anything_is_written(storage: MemoryStorage) -> None:
    filled(storage)
    key = next(entry.key for entry in storage.list("backup/src/binlogs/delta_log/460001/-1/"))
    storage.write(key, [content_of(storage, key)[:-30]])
    with raised(DamagedBackup, "backup-objects-differ", changed=1):
        compact(storage)
    assert objects(storage, "backup/out/") == {}


def test_a_damaged_delta_log_leaves_an_incomplete_backup_that_can_be_deleted(storage: MemoryStorage) -> None:
    filled(storage)
    key = next(entry.key for entry in storage.list("backup/src/binlogs/delta_log/460001/-1/"))
    storage.write(key, [content_of(storage, key)[:-30] + bytes(30)])
    with raised(InvalidBackup) as caught:
        compact(storage)
    assert "460107" in str(caught.value.facts["key"])
    catalog = Catalog(storage, Run(policy=QUICK))
    assert {item.name: item.state for item in catalog.summaries()}["out"] == BackupState.INCOMPLETE
    Remover(storage, catalog, Run(policy=QUICK), milvus=None).remove("out")
    assert objects(storage, "backup/out/") == {}


def test_what_it_copies_and_writes_is_recorded_with_digests(storage: MemoryStorage) -> None:
    filled(storage)
    compact(storage)
    catalog = Catalog(storage, Run(policy=QUICK))
    record = catalog.open_record(catalog.committed("out"))
    assert record is not None
    with record:
        known = {entry.key: entry.digests for entry in record.objects()}
    data = {key: data for key, data in objects(storage, "backup/out/").items() if key.startswith("binlogs/")}
    assert known.keys() == data.keys()
    assert all(known[key]["sha256"] == hashlib.sha256(content).hexdigest() for key, content in data.items())


def test_killed_at_any_moment_it_is_incomplete_or_whole_and_force_ends_it_well(
    storage: MemoryStorage,
) -> None:
    backup = filled(storage)
    before = live(backup, "src")
    alive, life = storage.fault, Life()
    storage.fault = life
    compact(storage, force=True)
    operations = life.operations
    assert operations > 50
    for moment in range(1, operations, 7):
        storage.fault = Life(moment)
        with pytest.raises((Killed, MbkError)):
            compact(storage, force=True)
        storage.fault = alive
        found = Catalog(storage, Run(policy=QUICK)).find("out")
        if found.is_committed:
            assert live(backup, "out") == before
    compact(storage, force=True)
    assert live(backup, "out") == before


def test_old_rows_are_not_a_new_backup(storage: MemoryStorage) -> None:
    """A prune goes by the times: the newest backup is the one with the newest rows."""
    filled(storage)
    compact(storage)
    catalog = Catalog(storage, Run(policy=QUICK))
    old = datetime(2020, 1, 2, tzinfo=UTC)
    taken = msgspec.structs.replace(
        catalog.read_manifest("out").begun(), name="src", started=old.isoformat(), finished=old.isoformat()
    )
    catalog.write_manifest("src", taken)
    compact(storage, force=True)
    output = catalog.summary("out")
    assert output is not None
    assert (output.created, output.finished) == (old, old)


def test_the_new_backup_is_locked_where_new_backups_are(storage: MemoryStorage) -> None:
    filled(storage)
    compact(storage, lock=ObjectLock(mode="governance", days=30))
    found = {key: item.options.retention for key, item in storage.bucket.objects.items()}
    made = [lock for key, lock in found.items() if key.startswith("backup/out/")]
    assert len(made) > 5
    assert all(lock is not None and lock.until > datetime.now(UTC) for lock in made)
    assert not any(lock for key, lock in found.items() if key.startswith("backup/src/"))
    with raised(BackupLocked, "backup-locked", backup="out"):
        compact(storage, force=True)
