"""What digests cost: `create` with and without them, as it is and with every copy read back, on files and over S3.

    python -m benchmarks.digests [objects] [KiB of each] [rounds]

All ways take turns, round by round, and the fastest round of each counts, so that a busy machine disturbs the ratios
little; in brackets the ratios of the time, and of the processor time of mbk's own process. Milvus is played; its objects are random bytes below its root, and every request to the S3 server is a real one.
Without digests nothing is hashed and nothing compared but sizes: what `create` did before it recorded objects.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from mbk.engine.operations import create
from mbk.engine.repository.catalog import delete_below
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.limits import Limits, TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem, Known
from mbk.engine.transfer.proof import Proof
from mbk.model.options import CreateOptions
from mbk.ports.milvus.values import Feature
from mbk.ports.storage import Storage
from mbk_local.storage import LocalStorage
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage
from tests.fakes.milvus import V2_3, FakeMilvus
from tests.servers.s3 import S3Server, rclone

#: Binlogs of a segment of the played Milvus.
LOGS = 4


class NoDigest:
    """Counts, and hashes nothing."""

    def __init__(self, kind: str) -> None:
        self.kind, self.size, self.hex = kind, 0, ""

    def update(self, data: bytes) -> None:
        self.size += len(data)


@contextmanager
def without_digests() -> Iterator[None]:
    def same(_self: Proof, _item: CopyItem, known: Known, *_told: object) -> Known:
        return Known(how=known.how)

    def by_etag(_self: Proof, _item: CopyItem, _entry: object, known: Known) -> Known:
        return known

    with ExitStack() as stack:
        for target, replacement in {
            "mbk.engine.transfer.ways.stream.Digest": NoDigest,
            "mbk.engine.transfer.proof.Proof.stored": same,
            "mbk.engine.transfer.proof.Proof.by_etag": by_etag,
            "mbk.engine.transfer.proof.Proof.require_read": lambda *_: None,
            "mbk_local.storage.add_to": lambda *_: None,
        }.items():
            stack.enter_context(patch(target, replacement))
        yield


@contextmanager
def with_digests() -> Iterator[None]:
    yield


class Cluster:
    """A played Milvus whose binlogs, ``objects`` of ``size`` bytes, lie in a storage."""

    def __init__(self, storage: Storage, objects: int, size: int) -> None:
        self.storage = storage
        self.milvus = FakeMilvus(storage, features=V2_3 - {Feature.COUNT})
        self.milvus.add("docs")
        for number in range(objects // LOGS):
            self.milvus.insert("docs", [number])
        for entry in [*storage.list(storage.location.root)]:
            storage.write(entry.key, [os.urandom(size)], size=size)

    def create(
        self, backup: Storage, mode: str, checksum: str, *, keep: bool = False
    ) -> tuple[float, float, dict[str, int]]:
        """Seconds, those of the processor, and the ways in which the objects were copied; the backup is deleted again."""
        run = Run()
        context = ClusterContext(
            run=run,
            milvus=self.milvus,
            storage=self.storage,
            backup_storage=backup,
            limits=Limits(transfer=TransferLimits(mode=mode)),
        )
        started, busy = time.perf_counter(), time.process_time()
        report = create.execute(context, "bench", CreateOptions(checksum=checksum))
        seconds, processor = time.perf_counter() - started, time.process_time() - busy
        if not keep:
            delete_below(backup, f"{backup.location.root}bench/", run)
        return seconds, processor, dict(report.transfer.objects)


Ways = dict[str, tuple[Callable[[], object], str]]
WAYS = {
    "without": (without_digests, "auto"),
    "auto": (with_digests, "auto"),
    "full": (with_digests, "full"),
}


def measure(title: str, cluster: Cluster, backup: Storage, mode: str, rounds: int) -> None:
    best: dict[str, tuple[float, float]] = {}
    how: dict[str, int] = {}
    for _ in range(rounds):
        for name, (digests, checksum) in WAYS.items():
            with digests():
                *taken, how = cluster.create(backup, mode, checksum)
            before = best.get(name, taken)
            best[name] = (min(taken[0], before[0]), min(taken[1], before[1]))
    seconds, processor = best["without"]
    ratios = ", ".join(
        f"{name} {taken:.2f} s ({taken / seconds:.2f}, {busy / processor:.2f})"
        for name, (taken, busy) in best.items()
    )
    print(f"{title} {how}: {ratios}", flush=True)


def s3(server: S3Server, bucket: str, root: str) -> Storage:
    return open_storage(GenericSettings(**server.settings(server.make_bucket(bucket), root_path=root)))


def main() -> None:
    numbers = [int(text) for text in sys.argv[1:]]
    objects, kib, rounds = [*numbers, *(4000, 256, 3)[len(numbers) :]]
    size = kib * 1024
    print(f"{objects} objects of {kib} KiB, {objects * kib / 2**20:.2f} GiB, the best of {rounds} rounds")
    with tempfile.TemporaryDirectory() as directory, rclone() as server:
        files = LocalStorage(Path(directory))
        cluster = Cluster(files, objects, size)
        backup_files = Path(directory, "backups")
        backup_files.mkdir()
        measure("files to files", cluster, LocalStorage(backup_files), "auto", rounds)
        measure("files to S3", cluster, s3(server, "from-files", "backup"), "auto", rounds)
        del cluster
        cluster = Cluster(s3(server, "milvus", "files"), objects, size)
        measure("S3 to S3", cluster, s3(server, "backups", "backup"), "auto", rounds)
        measure("S3 to S3 streamed", cluster, s3(server, "streamed", "backup"), "streaming", rounds)
        measure("S3 to files", cluster, LocalStorage(backup_files), "auto", rounds)


if __name__ == "__main__":
    main()
