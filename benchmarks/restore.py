"""Restores into an embedded Milvus 2.3.5 on local storage: where the time goes, beside a client that only asks Milvus.

    python -m benchmarks.restore [tiny] [many] [large] [--rounds N]

``tiny``: 50 segments of 100 rows in one collection. ``many``: 6 collections of 10 such segments. ``large``: 2 segments of
250 MiB. Each collection has an index, which is built again. Bare: for each collection create it with its index, import the
directories of the backup as mbk would merge them, already in place, and wait for rows and index, 50 ms between
two looks: what Milvus itself needs. The phases are seconds of all collections together; several may pass at once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import mbk
from mbk.demo.embedded import EmbeddedMilvus
from mbk.engine.formats.binlog.combining import SegmentLogs, arranged
from mbk.model.events import CollectionFinished, Event, PhaseStarted

SETTINGS = {
    "dataCoord.segment.assignmentExpiration": 200,
    "dataCoord.segment.maxSize": 1024,
    "dataCoord.segment.sealProportion": 0.9,
    "dataCoord.enableCompaction": False,
    "proxy.timeTickInterval": 50,
}
LOOK = 0.05

FILL = """
import sys
import numpy
from pymilvus import DataType, MilvusClient
uri, name, segments, rows, dimension = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
client = MilvusClient(uri=uri)
schema = client.create_schema()
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
index = client.prepare_index_params()
index.add_index("vector", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 16})
client.create_collection(name, schema=schema, index_params=index, num_shards=1)
random = numpy.random.default_rng(1)
for segment in range(segments):
    for start in range(0, rows, 10000):
        vectors = random.random((min(10000, rows - start), dimension), dtype=numpy.float32)
        first = segment * rows + start
        client.insert(name, [{"id": first + n, "vector": vector} for n, vector in enumerate(vectors)])
    client.flush(name)
client.release_collection(name)
"""

BARE = """
import json, sys, time
from concurrent.futures import ThreadPoolExecutor
from pymilvus import DataType, MilvusClient, connections, utility
host, port, jobs, look = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), float(sys.argv[4])
connections.connect(host=host, port=port)
client = MilvusClient(uri=f"http://{host}:{port}")
started = time.perf_counter()
def restore(name, directory, dimension, rows):
    schema = client.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 16})
    client.create_collection(name, schema=schema, num_shards=1)
    client.create_index(name, index)
    partition = "_default"
    job = utility.do_bulk_insert(name, [directory, ""], partition_name=partition, backup="true")
    while (state := utility.get_bulk_insert_state(job)).state_name != "Completed":
        if "ailed" in state.state_name:
            raise SystemExit(str(state))
        time.sleep(look)
    while True:
        built = client.describe_index(name, "vector")
        if built.get("pending_index_rows", 0) == 0 and built.get("indexed_rows", 0) >= rows:
            break
        time.sleep(look)
with ThreadPoolExecutor(len(jobs)) as pool:
    list(pool.map(lambda job: restore(*job), jobs))
print(time.perf_counter() - started)
for job in jobs:
    client.drop_collection(job[0])
"""


@dataclass(frozen=True)
class Case:
    collections: int
    segments: int
    rows: int
    dimension: int


CASES = {
    "tiny": Case(collections=1, segments=50, rows=100, dimension=16),
    "many": Case(collections=6, segments=10, rows=100, dimension=16),
    "large": Case(collections=1, segments=2, rows=250 * 1024, dimension=256),
}


class Phases:
    """Seconds by phase, over all collections."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._now: dict[str, tuple[str, float]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._next(event.collection, event.phase)
        elif isinstance(event, CollectionFinished):
            self._next(event.collection, "")

    def _next(self, collection: str, phase: str) -> None:
        now = time.perf_counter()
        before, since = self._now.get(collection, ("", now))
        self.seconds[before] += now - since
        self._now[collection] = phase, now

    def __str__(self) -> str:
        return ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in self.seconds.items() if phase)


def python(code: str, *arguments: object) -> str:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def logs_of(segment: Path) -> SegmentLogs:
    logs = [path for path in segment.rglob("*") if path.is_file()]
    return SegmentLogs(
        segment=int(segment.name),
        logs=tuple(path.relative_to(segment).as_posix() for path in logs),
        size=sum(path.stat().st_size for path in logs),
    )


def bare(server: EmbeddedMilvus, root: Path, case: Case) -> float:
    """The directories are made before the clock starts, small segments of a collection as one, as mbk stages them."""
    jobs = []
    for number, collection in enumerate(sorted((root / "backup/bench/binlogs/insert_log").iterdir())):
        merged = root / "merged" / collection.name
        segments = sorted(collection.glob("*/*/*"))
        for segment, targets in zip(segments, arranged(map(logs_of, segments), combine=True), strict=True):
            for log, target in targets.items():
                (merged / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(segment / log, merged / target)
        jobs.append((f"bare{number}", f"{merged}/", case.dimension, case.segments * case.rows))
    seconds = float(python(BARE, server.address, server.port, json.dumps(jobs), LOOK))
    shutil.rmtree(root / "merged")
    return seconds


def run(name: str, case: Case, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        with EmbeddedMilvus(root / "home", overrides=SETTINGS) as server:
            uri = f"http://{server.address}:{server.port}"
            for number in range(case.collections):
                python(FILL, uri, f"docs{number}", case.segments, case.rows, case.dimension)
            config = root / "backup.yaml"
            config.write_text(
                f"milvus: {{address: {server.address}, port: {server.port}}}\n"
                f"minio: {{storageType: local, rootPath: {server.storage_root}, backupRootPath: {root}/backup}}\n"
                "backup: {gcPause: {enable: false}}\n"
            )
            taken: list[float] = []
            alone: list[float] = []
            with mbk.connect(config) as session:
                session.create("bench")
                for number in range(rounds):
                    phases = Phases()
                    started = time.perf_counter()
                    report = session.restore(
                        "bench", suffix=f"_r{number}", rebuild_index=True, on_event=phases
                    )
                    taken.append(time.perf_counter() - started)
                    print(f"{name}: {taken[-1]:.2f} s ({phases})", flush=True)
                    for outcome in report.collections:
                        python(
                            "import sys; from pymilvus import MilvusClient;"
                            "MilvusClient(uri=sys.argv[1]).drop_collection(sys.argv[2])",
                            uri,
                            outcome.target.removeprefix("default."),
                        )
                    alone.append(bare(server, root, case))
                    print(f"{name}, bare: {alone[-1]:.2f} s", flush=True)
    print(
        f"{name}: {median(taken):.2f} s, Milvus alone {median(alone):.2f} s, "
        f"ratio {median(mine / its for mine, its in zip(taken, alone, strict=True)):.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[*CASES])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    for name in chosen.cases:
        run(name, CASES[name], chosen.rounds)


if __name__ == "__main__":
    main()
