"""The rows that a backup's segments must become, counted from their keys, times and deletes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mbk.engine.formats.binlog.counting import RowCount, Rows
from mbk.engine.formats.binlog.expected import located
from mbk.engine.formats.binlog.inventory import surveyed
from mbk.engine.formats.binlog.rows import Source
from mbk.engine.repository.catalog import Catalog
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.run import Run
from mbk.model.selection import CollectionName
from mbk.testing import MemoryStorage
from tests.fakes.world import QUICK
from tests.milvus_double.state import Delete, Key
from tests.unit.engine.forged import P1, P2, Backup, as_they_are, int_keys, text_keys

T = 460_000_000_000_000_000


@pytest.fixture(params=[1, 2], ids=["one file a field", "column groups"])
def backup(request: pytest.FixtureRequest) -> Backup:
    return Backup(MemoryStorage(root="backup/"), version=request.param)


def counted(backup: Backup, *, end: int = 0) -> Rows:
    backup.write()
    run = Run(policy=QUICK)
    catalog = Catalog(backup.storage, run)
    committed = catalog.committed(backup.name)
    (record,) = committed.backup.collection_backups
    name = CollectionName("db", "coll")
    found = surveyed(backup.storage, run, catalog, committed)[record.collection_id]
    data, l0 = located(RestoreTask(record, name, name), found)
    with as_they_are(backup.storage, run) as contents:
        return RowCount(
            source=Source(backup.storage, run, contents),
            schema=record.schema,
            label="db.coll",
            data=data,
            l0=l0,
            end=lambda _segment: end,
        ).rows()


def gone(*keys: int, at: int, key: Callable[[int], Key] = int_keys) -> list[Delete]:
    return [Delete(key(number), at) for number in keys]


def test_without_deletes_the_metadata_counts(backup: Backup) -> None:
    backup.data(P1, 460101, range(5), time=T)
    backup.data(P2, 460102, range(7), time=T)
    assert counted(backup) == Rows(12, 12)


def test_a_delete_takes_older_rows_of_its_own_segment_once(backup: Backup) -> None:
    """The row of key 3 is younger than its delete, key 99 is nowhere, and key 1 is deleted twice."""
    deletes = [*gone(1, 2, 99, at=T + 50), *gone(1, at=T + 60), *gone(3, at=T + 1)]
    backup.data(P1, 460101, range(10), time=T, deletes=deletes)
    backup.data(P1, 460102, range(10), time=T)
    assert counted(backup) == Rows(18, 18)


def test_deletes_of_l0_segments_are_applied_when_rows_are_read(backup: Backup) -> None:
    backup.data(P1, 460101, range(10), time=T, deletes=gone(0, 1, at=T + 90))
    backup.data(P2, 460102, range(10), time=T)
    backup.l0_segment(P1, 460103, gone(1, 2, at=T + 80))
    backup.l0_segment(-1, 460104, gone(5, at=T + 95), gone(9, at=T + 2))
    assert counted(backup) == Rows(18, 15), "key 9 has its time 9, after its delete"


def test_after_the_cut_neither_rows_nor_deletes_count(backup: Backup) -> None:
    backup.data(P1, 460101, range(10), time=T, deletes=[*gone(0, at=T + 3), *gone(1, at=T + 90)])
    backup.l0_segment(-1, 460104, gone(2, at=T + 4), gone(3, at=T + 91))
    assert counted(backup, end=T + 6) == Rows(6, 5)


def test_text_keys_are_counted_alike() -> None:
    backup = Backup(MemoryStorage(root="backup/"), version=1, key=text_keys)
    backup.data(P1, 460101, range(6), time=T, deletes=gone(4, at=T + 50, key=text_keys))
    backup.l0_segment(-1, 460104, gone(5, at=T + 50, key=text_keys))
    assert counted(backup) == Rows(5, 4)


def test_a_segment_without_deletes_is_not_read(backup: Backup) -> None:
    """Only the metadata knows its rows: its objects are none."""
    backup.data(P1, 460101, range(10), time=T)
    for entry in list(backup.storage.list("backup/src/binlogs/")):
        backup.storage.write(entry.key, [bytes(entry.size)])
    backup.data(P2, 460102, range(10), time=T, deletes=gone(4, at=T + 50))
    assert counted(backup) == Rows(19, 19)
