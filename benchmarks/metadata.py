"""A backup of a million binlogs: time and peak memory of every step that touches its metadata.

    python -m benchmarks.metadata [segments] [fields] [logs a field]

Each step runs in a process of its own, so that its peak is its own. Objects have no bytes: a storage that invents its
listing as it is drawn from shows what planning, copying and verifying hold, not what a disk does.
"""

# ruff: noqa: ARG002 - the ports say which arguments there are

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from mbk.engine.operations import create as create_backup
from mbk.engine.operations import restore as restore_backup
from mbk.engine.operations import verify as verify_backup
from mbk.engine.repository import codec as metafiles
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.record import encode_record
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.run import Run
from mbk.model import records as meta
from mbk.model.layout import record_file
from mbk.model.objects import ObjectRecord
from mbk.model.options import CreateOptions, RestoreOptions, VerifyOptions
from mbk.model.selection import Renaming
from mbk.model.states import Depth
from mbk.ports.milvus.values import SegmentInfo
from mbk.ports.storage import PLAIN, Capabilities, Level, Location, ObjectInfo, Receipt, Storage
from mbk_local.storage import LocalStorage
from tests.fakes.milvus import FakeMilvus
from tests.fakes.rows import schema

MIB = 1024 * 1024
#: Of every object: what costs time here is their number.
SIZE = 64
COLLECTION, PARTITION, FIRST = 460000000000000001, 460000000000000002, 460000000000001000
NAME = "million"


class Shape:
    def __init__(self, segments: int, fields: int, logs: int) -> None:
        self.segments, self.fields, self.logs = segments, fields, logs

    @property
    def binlogs(self) -> int:
        return self.segments * self.fields * self.logs

    def files(self, segment: int) -> Iterator[str]:
        """As Milvus numbers them: a write takes consecutive numbers, one for each field."""
        base = FIRST + segment * 1000 * self.fields
        for field in range(self.fields):
            for log in range(self.logs):
                yield f"{field if field < 2 else 98 + field}/{base + log * self.fields + field}"


def content(segment: int, file: str) -> bytes:
    return f"{segment}/{file}".encode().ljust(SIZE)


def etag(segment: int, file: str) -> str:
    """The digest of an object, as a service tells it: it compresses as badly as any."""
    return hashlib.md5(content(segment, file), usedforsecurity=False).hexdigest()


class Invented:
    """A bucket that invents listings, believes copies, and keeps what is written below ``meta/`` in a directory."""

    def __init__(self, shape: Shape, directory: Path, *, bucket: str, root: str, backup: bool) -> None:
        self.shape = shape
        self.kept = LocalStorage(directory)
        self.location = Location("invented", "", bucket, root=root)
        self.capabilities = Capabilities(server_side_copy=True, partial_prefixes=True)
        self.backup = backup

    def check(self, *, create: bool = False) -> None:
        pass

    def close(self) -> None:
        pass

    def list_level(self, prefix: str = "") -> Level:
        if prefix.endswith("insert_log/") and not self.backup:
            return Level(prefixes=(f"{prefix}{COLLECTION}/",))
        below = self.kept.list_level(prefix)
        data = f"{self.location.root}{NAME}/"
        begun = prefix == data and below
        return replace(below, prefixes=(*below.prefixes, f"{data}binlogs/")) if begun else below

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        if "delta_log/" in prefix:
            return
        if "insert_log/" not in prefix:
            yield from self.kept.list(prefix, start_after=start_after)
            return
        head, _, rest = prefix.partition("insert_log/")
        parts = rest.strip("/").split("/")
        # Of segments whose ids begin alike, their partition's directory, or the whole collection.
        alike = "/".join([*parts[2:], ""]) if rest.endswith("/") else "".join(parts[2:])
        chosen = [n for n in range(self.shape.segments) if f"{FIRST + n}/".startswith(alike)]
        for segment in chosen:
            number = FIRST + segment
            group = f"{number}/" if self.backup else ""
            place = f"{head}insert_log/{COLLECTION}/{PARTITION}/{group}{number}/"
            for file in self.shape.files(segment):
                yield ObjectInfo(f"{place}{file}", SIZE, etag=etag(segment, file))

    def stat(self, key: str) -> ObjectInfo:
        return self.kept.stat(key)

    def read(self, key: str, *, offset: int = 0, length: int | None = None):
        if "insert_log/" not in key:
            return self.kept.read(key, offset=offset, length=length)
        segment, field, log = key.split("/")[-3:]
        return nullcontext(iter([content(int(segment) - FIRST, f"{field}/{log}")]))

    def write(self, key: str, chunks, *, size: int | None = None, options=PLAIN) -> ObjectInfo:
        return self.kept.write(key, chunks, size=size)

    write_if_absent = write

    def delete(self, keys) -> None:
        self.kept.delete(keys)

    def clean(self, prefix: str) -> int:
        return 0

    def can_copy_from(self, other: Storage) -> bool:
        return True

    def copy(self, source: Storage, source_key: str, key: str, *, options=None) -> Receipt:
        return Receipt()


class Server(FakeMilvus):
    """One collection of so many segments."""

    def __init__(self, shape: Shape, storage: Storage) -> None:
        super().__init__(storage, first_id=COLLECTION)
        self.shape = shape
        made = self.add("docs")
        made.id, made.partitions = COLLECTION, {"_default": PARTITION}
        self._collections["default", "docs"] = made

    def persistent_segments(self, database: str, collection: str) -> list[SegmentInfo]:
        return [SegmentInfo(FIRST + number, PARTITION, 1000) for number in range(self.shape.segments)]

    def row_count(self, database: str, collection: str) -> int | None:
        return None


def storages(shape: Shape, directory: Path) -> tuple[Invented, Invented]:
    return (
        Invented(shape, directory, bucket="milvus", root="files/", backup=False),
        Invented(shape, directory, bucket="backups", root="backup/", backup=True),
    )


def create(shape: Shape, directory: Path) -> str:
    """The whole use-case: plan, copy, verify, commit."""
    source, destination = storages(shape, directory)
    report = create_backup.execute(_context(shape, source, destination), NAME, CreateOptions())
    return f"{sum(item.objects for item in report.collections):,} objects"


def write(shape: Shape, directory: Path) -> str:
    """The metadata alone: segments into the spool, all files out of it."""
    with SegmentSpool() as spool:
        for number in range(shape.segments):
            spool.add(_segment(shape, number), _objects(shape, number))
        parts = [
            (
                meta.CollectionHead(
                    collection_id=COLLECTION, db_name="default", collection_name="docs", schema=schema("docs")
                ),
                [
                    meta.PartitionHead(
                        partition_id=PARTITION, partition_name="_default", collection_id=COLLECTION
                    )
                ],
            )
        ]
        backup = meta.BackupExtras(id="1", name="alone")
        catalog = Catalog(storages(shape, directory)[1], Run())
        place = catalog.layout("alone")
        catalog.write(place.meta("backup_meta.json"), lambda: metafiles.encode_backup_head(backup))
        catalog.write(place.meta("segment_meta.json"), lambda: metafiles.encode_segments(parts, spool))
        where = place.meta(record_file("a" * 32))
        catalog.write(where, lambda: encode_record("invented", [COLLECTION], spool))
        catalog.write(place.meta("full_meta.json"), lambda: metafiles.encode_full(backup, parts, spool))
    size, record = catalog.meta_size("alone"), catalog.find("alone").files[record_file("a" * 32)].size
    return f"{size / MIB:,.0f} MiB of metadata, the record {record / shape.binlogs:.1f} bytes an object"


def _segment(shape: Shape, number: int) -> meta.Segment:
    fields: dict[int, list[meta.Binlog]] = {}
    for file in shape.files(number):
        field, _, log = file.partition("/")
        path = f"files/insert_log/{COLLECTION}/{PARTITION}/{FIRST + number}/{file}"
        fields.setdefault(int(field), []).append(meta.Binlog(log_path=path, log_size=SIZE, log_id=int(log)))
    return meta.Segment(
        segment_id=FIRST + number,
        collection_id=COLLECTION,
        partition_id=PARTITION,
        num_of_rows=1000,
        size=SIZE * shape.fields * shape.logs,
        group_id=FIRST + number,
        binlogs=[meta.FieldBinlog(field_id=field, binlogs=logs) for field, logs in fields.items()],
        deltalogs=[meta.FieldBinlog()],
    )


def _objects(shape: Shape, number: int) -> Iterator[ObjectRecord]:
    place = f"binlogs/insert_log/{COLLECTION}/{PARTITION}/{FIRST + number}/{FIRST + number}"
    for file in shape.files(number):
        tag = etag(number, file)
        yield ObjectRecord(f"{place}/{file}", SIZE, tag, {"md5": tag})


def listing(shape: Shape, directory: Path) -> str:
    """`mbk list` of a bucket with this backup in it."""
    found = list(Catalog(storages(shape, directory)[1], Run()).summaries())
    return ", ".join(f"{item.name} {item.state}" for item in found)


def read(shape: Shape, directory: Path) -> str:
    """The reader's view of ``full_meta.json``, as `get` and `restore` begin."""
    backup = Catalog(storages(shape, directory)[1], Run()).read(NAME)
    return f"{sum(len(part.segment_backups) for part in backup.collection_backups[0].partition_backups):,} segments"


def read_record(shape: Shape, directory: Path) -> str:
    """The record of objects: fetched, checked, unpacked, and every object of it decoded."""
    catalog = Catalog(storages(shape, directory)[1], Run())
    record = catalog.open_record(catalog.committed(NAME))
    if record is None:
        return "no record"
    with record:
        return f"{sum(1 for _ in record.objects()):,} objects"


def plan_restore(shape: Shape, directory: Path) -> str:
    """`restore --dry-run`: the metadata, and the listing of every object of the backup."""
    milvus, backup = storages(shape, directory)
    options = RestoreOptions(renaming=Renaming(suffix="_back"), dry_run=True)
    context = _context(shape, milvus, backup)
    plan = restore_backup.preview(context, restore_backup.plan(context, NAME, options))
    return f"{plan.objects:,} objects planned"


def verify(shape: Shape, directory: Path) -> str:
    """`mbk verify`, by the digests that the storage tells."""
    milvus, backup = storages(shape, directory)
    options = VerifyOptions(depth=Depth.DIGESTS)
    report = verify_backup.execute(_context(shape, milvus, backup), NAME, options)
    return f"{report.collections[0].vouched:,} objects vouched for"


def _context(shape: Shape, storage: Invented, backups: Invented) -> ClusterContext:
    return ClusterContext(
        run=Run(), milvus=Server(shape, storage), storage=storage, backup_storage=backups, tool="benchmark"
    )


STEPS = {
    "create": create,
    "write metadata": write,
    "list": listing,
    "read metadata": read,
    "read the record": read_record,
    "plan a restore": plan_restore,
    "verify": verify,
}


def peak() -> float:
    """MiB."""
    scale = 1024 if sys.platform != "darwin" else MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def step(name: str, shape: Shape, directory: Path) -> None:
    idle = peak()
    started = time.perf_counter()
    result = STEPS[name](shape, directory)
    seconds = time.perf_counter() - started
    print(f"{name:16} {seconds:8.2f} s {peak():8.0f} MiB peak ({idle:.0f} before) {result}")


def main() -> None:
    numbers = [int(value) for value in sys.argv[1:4] if value.isdigit()]
    shape = Shape(*(numbers or (10_000, 10, 10)))
    if len(sys.argv) == 6:
        step(sys.argv[4], shape, Path(sys.argv[5]))
        return
    print(f"{shape.binlogs:,} binlogs in {shape.segments:,} segments")
    with tempfile.TemporaryDirectory() as directory:
        for name in STEPS:
            arguments = [str(number) for number in (shape.segments, shape.fields, shape.logs)]
            subprocess.run([sys.executable, "-m", __spec__.name, *arguments, name, directory], check=True)


if __name__ == "__main__":
    main()
