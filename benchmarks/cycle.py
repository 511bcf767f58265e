"""Create and restore of about 1 GiB on an embedded Milvus on local storage, and which share of it is Milvus' own.

Milvus' own are the phases in which mbk only waits for the server: flush, create, import, index. Peak memory is that of
this process, the client that fills the collection not counted (it runs in a process of its own).
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import mbk
from mbk.demo.embedded import EmbeddedMilvus
from mbk.model.events import CollectionFinished, Event, PhaseStarted
from mbk.model.reports import RunReport

DIMENSION = 256
BATCH = 10_000
MILVUS_OWN = frozenset({"flush", "create", "import", "index", "load"})

FILL = """
import sys
import numpy
from pymilvus import DataType, MilvusClient
uri, rows, dimension, batch = sys.argv[1], *map(int, sys.argv[2:])
client = MilvusClient(uri=uri)
schema = client.create_schema()
schema.add_field("id", DataType.INT64, is_primary=True)
schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
client.create_collection("bench", schema=schema)
random = numpy.random.default_rng(1)
for start in range(0, rows, batch):
    vectors = random.random((min(batch, rows - start), dimension), dtype=numpy.float32)
    client.insert("bench", [{"id": start + n, "vector": vector} for n, vector in enumerate(vectors)])
client.flush("bench")
"""


class Phases:
    """Seconds by phase, from the events of a run over one collection."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._phase = "prepare"
        self._since = time.perf_counter()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._next(event.phase)
        elif isinstance(event, CollectionFinished):
            self._next("finish")

    def _next(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def report(self, name: str, run: RunReport) -> None:
        self._next("end")
        total = sum(self.seconds.values())
        own = sum(seconds for phase, seconds in self.seconds.items() if phase in MILVUS_OWN)
        parts = ", ".join(f"{phase} {seconds:.2f}" for phase, seconds in self.seconds.items())
        print(
            f"{name}: {total:.1f} s for {run.size / 2**30:.2f} GiB, Milvus' own {own / total:.0%} ({parts})"
        )
        print(f"    objects {dict(run.transfer.objects)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0)
    rows = int(parser.parse_args().gib * 2**30 / (DIMENSION * 4))
    with tempfile.TemporaryDirectory() as directory, EmbeddedMilvus(Path(directory, "home")) as server:
        uri = f"http://{server.address}:{server.port}"
        subprocess.run([sys.executable, "-c", FILL, uri, str(rows), str(DIMENSION), str(BATCH)], check=True)
        config = Path(directory, "backup.yaml")
        config.write_text(
            f"milvus: {{address: {server.address}, port: {server.port}}}\n"
            f"minio: {{storageType: local, rootPath: {server.storage_root}, backupRootPath: {directory}/backup}}\n"
            "backup: {gcPause: {enable: false}}\n"
        )
        with mbk.connect(config) as session:
            phases = Phases()
            phases.report("create ", session.create("bench", on_event=phases))
            phases = Phases()
            phases.report("restore", session.restore("bench", suffix="_restored", on_event=phases))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of mbk: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
