"""The same backup from every storage type to every other: the bytes, and which pairs copy server side."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from mbk.engine.operations import create as create_backup
from mbk.engine.operations import restore as restore_backup
from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.limits import Limits, TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.model.options import CreateOptions, RestoreOptions
from mbk.model.reports import RunReport, TransferStats
from mbk.model.selection import Renaming
from mbk.ports.storage import MIB, Storage
from mbk.registry.registry import Registry
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.milvus import V2_4, FakeMilvus
from tests.matrix.places import FROM, TO, Place, Places

TYPES = ("local", "minio", "s3", "aws", "gcp", "azure", "ali", "tc")
#: For each source the destinations that copy from it server side: those of the same service, and no others.
SERVER_SIDE: dict[str, set[str]] = {
    "local": {"local"},
    "minio": {"minio", "s3", "aws"},
    "s3": {"minio", "s3", "aws"},
    "aws": {"minio", "s3", "aws"},
    "gcp": {"gcp"},
    "azure": {"azure"},
    "ali": {"ali"},
    "tc": {"tc"},
}
#: Milvus' storage and where its backups go: every type is once the one and once the other.
RING = [*zip(TYPES, TYPES[1:] + TYPES[:1], strict=True)]

#: The least that S3 takes for a part but the last one.
PART = 5 * MIB
LIMITS = TransferLimits(part_threshold=PART)
#: An object of some MiB is copied in several parts.
BUDGET = Budget(copies=4, parts=4, part_size=PART)
ROOT = "Bäck ups+%41/nightly~1"
COPIED = {
    "nightly/mbk.json": b'{"name": "nightly"}',
    "nightly/meta/full_meta.json": b"{}" * 5000,
    "nightly/meta/an empty one": b"",
    "nightly/binlogs/insert_log/460001/460002/460003/460003/100/460101": bytes(range(256)) * 1024,
    "nightly/binlogs/insert_log/460001/460002/460003/460003/101/460102": b"\0",
    "nightly/binlogs/delta_log/460001/-1/460004/460103": b"\xff" * 4097,
    "nightly/binlogs/index/+ %2F&=?#;'汉": b"odd",
    "nightly/binlogs/insert_log/large": bytes(range(251)) * (6 * MIB // 251),
}


@pytest.fixture(scope="module", name="seeded")
def seeded_sources(places: Places, registry: Registry) -> None:
    """`COPIED` lies in each type."""
    for place in places.values():
        with closing(place.opened(registry, FROM, ROOT)) as storage:
            storage.check(create=True)
            for name, data in COPIED.items():
                storage.write(storage.location.root + name, [data], size=len(data))


def content(storage: Storage) -> dict[str, bytes]:
    """What lies below the root, by the name there."""
    root = storage.location.root
    found = {}
    for entry in storage.list(root):
        with storage.read(entry.key) as chunks:
            found[entry.key.removeprefix(root)] = b"".join(chunks)
        assert entry.size == len(found[entry.key.removeprefix(root)])
    return found


def copy_all(source: Storage, destination: Storage) -> TransferStats:
    start, target = source.location.root, destination.location.root
    items = (CopyItem.of(entry, target + entry.key.removeprefix(start)) for entry in source.list(start))
    with Transfer(source=source, destination=destination, run=Run(budget=BUDGET), limits=LIMITS) as transfer:
        transfer.copy(items, collection="", present={})
        return transfer.stats


def test_the_table_names_every_type(registry: Registry) -> None:
    built_in = {info.name for info in registry.describe() if info.distribution == "mbk"}
    assert set(TYPES) == set(SERVER_SIDE) == built_in


@pytest.mark.parametrize("target", TYPES)
@pytest.mark.parametrize("source", TYPES)
def test_a_backup_is_copied_from_each_storage_to_each(
    source: str, target: str, places: Places, registry: Registry, seeded: None
) -> None:
    with (
        closing(places[source].opened(registry, FROM, ROOT)) as origin,
        closing(places[target].opened(registry, TO, f"from {source}")) as destination,
    ):
        destination.check(create=True)
        stats = copy_all(origin, destination)
        assert content(destination) == COPIED
        if target in SERVER_SIDE[source]:
            assert (dict(stats.objects), stats.streamed_because) == ({"server": len(COPIED)}, None)
            return
        kinds = (destination.location.backend, origin.location.backend)
        assert dict(stats.objects) == {"stream": len(COPIED)}
        assert stats.streamed_because == f"{kinds[0]} cannot copy from {kinds[1]} by itself"


# -- whole backups and restores ------------------------------------------------------------------------------------


def server_on(storage: Storage, name: str) -> FakeMilvus:
    """A Milvus with a collection of that name, which has two partitions, two segments in one, and deletes."""
    milvus = FakeMilvus(storage, features=V2_4)
    milvus.add(name, partitions=("_default", "other"))
    milvus.insert(name, range(40))
    milvus.insert(name, range(40, 60))
    milvus.insert(name, range(100, 120), partition="other")
    milvus.delete(name, range(10, 50))
    return milvus


def context(run: Run, milvus: FakeMilvus, storage: Storage, backups: Storage) -> ClusterContext:
    limits = Limits(transfer=LIMITS)
    return ClusterContext(run=run, milvus=milvus, storage=storage, backup_storage=backups, limits=limits)


def create(milvus: FakeMilvus, storage: Storage, backups: Storage, name: str) -> RunReport:
    run = Run(budget=BUDGET)
    with run.command("create", name):
        return create_backup.execute(context(run, milvus, storage, backups), name, CreateOptions())


def restore(milvus: FakeMilvus, storage: Storage, backups: Storage, name: str) -> RunReport:
    run = Run(budget=BUDGET)
    with run.command("restore", name):
        options = RestoreOptions(renaming=Renaming.parse("", suffix="_back"))
        return restore_backup.execute(context(run, milvus, storage, backups), name, options)


@pytest.mark.parametrize(("kept", "backed_up"), RING, ids=["-to-".join(pair) for pair in RING])
def test_milvus_is_restored_from_a_backup_on_another_type(
    kept: str, backed_up: str, places: Places, registry: Registry
) -> None:
    with (
        closing(places[kept].opened(registry, FROM, f"milvus {backed_up}")) as storage,
        closing(places[backed_up].opened(registry, TO, "the backups")) as backups,
    ):
        storage.check(create=True)
        milvus = server_on(storage, "docs")
        way = "server" if backed_up in SERVER_SIDE[kept] else "stream"
        created = create(milvus, storage, backups, f"of_{kept}")
        restored = restore(milvus, storage, backups, f"of_{kept}")
        assert milvus.visible_rows("docs_back") == milvus.visible_rows("docs")
        assert milvus.rows_by_partition("docs_back") == milvus.rows_by_partition("docs")
        for report in (created, restored):
            assert not report.failed
            assert set(report.transfer.objects) == {way}
            assert bool(report.transfer.streamed_because) == (way == "stream")
        left = f"{storage.location.root}restore-temp"
        assert [
            entry.key for entry in storage.list(storage.location.root) if entry.key.startswith(left)
        ] == []


@pytest.fixture(scope="module", name="made_on_local")
def backup_in_a_directory(
    registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FakeMilvus, Storage, Path]:
    """Backup ``moved`` in a directory, and the Milvus that it is of, with its storage."""
    storage = MemoryStorage(MemoryService("milvus"), "milvus", root="files/")
    milvus = server_on(storage, "docs")
    home = tmp_path_factory.mktemp("backups")
    with closing(Place("local", {TO: str(home)}, lambda _: {}, print).opened(registry, TO, "")) as backups:
        create(milvus, storage, backups, "moved")
    return milvus, storage, home


@pytest.mark.parametrize("target", TYPES)
def test_a_backup_in_a_directory_is_moved_by_the_vendors_tools_and_restored(
    target: str,
    places: Places,
    registry: Registry,
    made_on_local: tuple[FakeMilvus, Storage, Path],
) -> None:
    milvus, storage, home = made_on_local
    place = places[target]
    for file in home.rglob("*"):
        if file.is_file():
            place.upload(place.buckets[TO], f"moved here/{file.relative_to(home).as_posix()}", file)
    with closing(place.opened(registry, TO, "moved here")) as backups:
        try:
            restore(milvus, storage, backups, "moved")
            assert milvus.visible_rows("docs_back") == milvus.visible_rows("docs")
        finally:
            milvus.definitions.drop_collection("default", "docs_back")
