"""Incremental backups of a real Milvus on a real S3 server, against whole ones and against other copiers.

    python -m benchmarks.incremental MINIO [--segments N] [--steps N] [--only changes|history]

``MINIO`` is the binary of a MinIO; Milvus is the embedded 2.3.5 and keeps its data there. ``changes``: 1 GiB in 4,000 objects: a
whole `create`, a first incremental one, one of nothing new, one after 2 % of the rows were changed with compaction on, and
other copiers of the same objects; each in a process of its own, requests counted by a front. ``history``: backups of a
collection of which each step changes 1 %, and the bytes that are stored in the end.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.copying import AT_ONCE, MIB, Used, minio, used
from mbk.demo.embedded import EmbeddedMilvus, S3Target
from tests.servers.process import HOST, free_port, listening, script
from tests.servers.s3 import S3Server

MILVUS, BACKUPS = "milvus", "backups"
#: Fields beside key and vector: with the two of Milvus' own a segment has 40 objects.
SCALARS = 36
DIMENSION = 256
#: Of a segment: near the largest that Milvus makes here, so that compaction has no small ones to merge.
ROWS = 9500
#: Seconds: compaction, and the time that Milvus waits before it removes what it compacted.
COMPACTED = 90
SETTINGS = {
    "dataCoord.segment.assignmentExpiration": 200,
    "dataCoord.segment.maxSize": 12,
    "proxy.timeTickInterval": 50,
}

#: Works on one collection: ``fill`` makes so many segments; ``change`` writes a share of the rows again, spread over all.
WRITER = """
import sys
import numpy
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections
port, what, segments, rows, scalars, dimension, share = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:7]), float(sys.argv[7])
connections.connect(host="127.0.0.1", port=port)
random = numpy.random.default_rng()
def columns(ids):
    numbers = [random.integers(0, 100, len(ids), dtype=numpy.int8) for _ in range(scalars)]
    return [ids, random.random((len(ids), dimension), dtype=numpy.float32).tolist(), *numbers]
fields = [FieldSchema("id", DataType.INT64, is_primary=True), FieldSchema("v", DataType.FLOAT_VECTOR, dim=dimension)]
fields += [FieldSchema(f"n{number}", DataType.INT8) for number in range(scalars)]
docs = Collection("docs", CollectionSchema(fields), num_shards=1)
if what == "fill":
    docs.create_index("v", {"index_type": "FLAT", "metric_type": "L2", "params": {}})
    for segment in range(segments):
        for start in range(0, rows, 4750):
            ids = numpy.arange(segment * rows + start, segment * rows + min(rows, start + 4750))
            docs.insert(columns(ids))
        docs.flush()
else:
    ids = random.choice(segments * rows, int(segments * rows * share), replace=False)
    for start in range(0, len(ids), 4000):
        docs.upsert(columns(ids[start : start + 4000]))
    docs.flush()
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """One command: what it used, and the requests that it sent, by kind."""

    used: Used
    requests: Mapping[str, int]

    @property
    def count(self) -> int:
        return sum(self.requests.values())


@dataclass(frozen=True, slots=True)
class Bench:
    server: S3Server
    milvus: EmbeddedMilvus
    directory: Path

    def write(self, what: str, segments: int, *, share: float = 0) -> None:
        numbers = map(str, (segments, ROWS, SCALARS, DIMENSION, share))
        command = [sys.executable, "-c", WRITER, str(self.milvus.port), what, *numbers]
        subprocess.run(command, check=True)

    def mbk(self, *arguments: str) -> Taken:
        def once(server: S3Server) -> Used:
            return used([sys.executable, "-m", "mbk", "--config", self.config(server), *arguments])

        return self.counted(once)

    def rclone(self) -> Taken:
        def once(server: S3Server) -> Used:
            env = {
                "RCLONE_CONFIG_ONE_TYPE": "s3",
                "RCLONE_CONFIG_ONE_PROVIDER": "Minio",
                "RCLONE_CONFIG_ONE_ENDPOINT": server.url,
                "RCLONE_CONFIG_ONE_ACCESS_KEY_ID": server.access_key,
                "RCLONE_CONFIG_ONE_SECRET_ACCESS_KEY": server.secret_key,
                "RCLONE_CONFIG_ONE_REGION": server.region,
            }
            command = [script("rclone"), "copy", "--config", "/dev/null", "--s3-no-check-bucket"]
            places = [f"one:{MILVUS}/files/{kind}_log" for kind in ("insert", "delta")]
            command += ["--transfers", AT_ONCE, "--checkers", "32", places[0], f"one:{BACKUPS}/rclone"]
            return used(command, env)

        return self.counted(once)

    def counted(self, once: Any) -> Taken:
        with counting(self.server) as (front, counted):
            taken = once(front)
        return Taken(taken, counted)

    def config(self, server: S3Server) -> str:
        path = self.directory / "backup.yaml"
        account = {"accessKeyID": server.access_key, "secretAccessKey": server.secret_key}
        side = {"storageType": "minio", "address": server.host, "port": server.port, **account}
        values = {
            "milvus": {"address": HOST, "port": self.milvus.port},
            "minio": {**side, "bucketName": MILVUS, "rootPath": "files"}
            | {"backupBucketName": BACKUPS, "backupRootPath": "b", "backupStorageType": "minio"}
            | {"backupAddress": server.host, "backupPort": server.port}
            | {"backupAccessKeyID": server.access_key, "backupSecretAccessKey": server.secret_key},
            "backup": {"gcPause": {"address": self.milvus.management_url}},
        }
        path.write_text(json.dumps(values))
        return str(path)

    def stored(self, bucket: str, prefix: str) -> tuple[int, int]:
        """Objects and bytes."""
        pages = self.server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        sizes = [entry["Size"] for page in pages for entry in page.get("Contents", ())]
        return len(sizes), sum(sizes)


@contextmanager
def counting(server: S3Server) -> Iterator[tuple[S3Server, dict[str, int]]]:
    """The server behind a front, and the requests by kind, known once the context is left."""
    port, counted = free_port(), dict[str, int]()
    command = [sys.executable, "-m", "benchmarks.front", str(port), str(server.port), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = listening(port)
        while not ready():
            time.sleep(0.05)
        try:
            yield server.behind(port), counted
        finally:
            process.send_signal(signal.SIGTERM)
            counted.update(ast.literal_eval(process.communicate()[0]))


@contextmanager
def bench(binary: str) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as directory, minio(binary) as server:
        for bucket in (MILVUS, BACKUPS):
            server.make_bucket(bucket)
        storage = S3Target(
            address=server.host,
            port=server.port,
            access_key_id=server.access_key,
            secret_access_key=server.secret_key,
            bucket=MILVUS,
            root_path="files",
        )
        home = Path(directory)
        with EmbeddedMilvus(home / "milvus", storage=storage, overrides=SETTINGS) as milvus:
            yield Bench(server, milvus, home)


def tell(title: str, taken: Taken, whole: Taken, added: tuple[int, int] | None = None) -> None:
    text = f"{title:34} {taken.used.wall:6.2f} s ({whole.used.wall / taken.used.wall:5.1f} x) {taken.count:6} requests"
    if added is not None:
        text += f", {added[0]:5} objects and {added[1] / MIB:7.1f} MiB added"
    print(
        f"{text}, {taken.used.processor:5.2f} s CPU, {taken.used.memory:4.0f} MiB: {dict(taken.requests)}",
        flush=True,
    )


def changes(bench: Bench, segments: int) -> None:
    bench.write("fill", segments)
    time.sleep(COMPACTED)  # what was merged while it was filled is listed once its index is built
    objects, size = bench.stored(MILVUS, "files/insert_log/")
    print(f"{objects} objects, {size / MIB:.0f} MiB", flush=True)
    whole = bench.mbk("create", "-n", "whole")
    tell("whole create", whole, whole, bench.stored(BACKUPS, "b/whole/"))
    tell("rclone", bench.rclone(), whole)
    before = bench.stored(BACKUPS, "b/")

    def incremental(name: str, title: str) -> None:
        nonlocal before
        taken = bench.mbk("create", "-n", name, "--incremental")
        now = bench.stored(BACKUPS, "b/")
        tell(title, taken, whole, (now[0] - before[0], now[1] - before[1]))
        before = now

    incremental("first", "first incremental")
    incremental("second", "second, nothing new")
    incremental("third", "third, nothing new")
    bench.write("change", segments, share=0.02)
    incremental("changed", "2 % of the rows changed")
    time.sleep(COMPACTED)
    incremental("compacted", "a minute later, compacted")
    incremental("last", "again, nothing new")


def history(bench: Bench, segments: int, steps: int) -> None:
    bench.write("fill", segments)
    _, size = bench.stored(MILVUS, "files/insert_log/")
    seconds = list[float]()
    for step in range(steps):
        seconds.append(bench.mbk("create", "-n", f"step{step}", "--incremental").used.wall)
        bench.write("change", segments, share=0.01)
    objects, stored = bench.stored(BACKUPS, "b/")
    print(
        f"{steps} backups of {size / MIB:.0f} MiB, 1 % changed between two: {stored / MIB:.0f} MiB in {objects} objects, "
        f"{stored / size:.1f} times one; {sum(seconds) / steps:.2f} s each",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("minio")
    parser.add_argument("--segments", type=int, default=100)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--only", choices=("changes", "history"))
    asked = parser.parse_args(arguments)
    os.environ.setdefault("TMPDIR", tempfile.gettempdir())
    if asked.only != "history":
        with bench(asked.minio) as one:
            changes(one, asked.segments)
    if asked.only != "changes":
        with bench(asked.minio) as one:
            history(one, max(1, asked.segments // 10), asked.steps)


if __name__ == "__main__":
    main()
