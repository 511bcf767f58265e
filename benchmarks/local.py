"""`create` from a directory to a directory, against `cp -r` of the same files, which makes nothing durable.

    python -m benchmarks.local [--directory DIR] [--objects N] [--kib N] [--rounds N]

Milvus is played, its files are real. The ways take turns and each round is one sample; the medians count. ``--directory``
chooses the file system. All files are in the page cache. Time and processor time, of the child process too; `sync -f`
after `cp -r` is what makes its copy as durable as a backup.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.digests import Cluster
from mbk_local.storage import LocalStorage

MILVUS, BACKUPS, COPY = "milvus", "backups", "copy"


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and those of the processor."""
    started, before = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - started, sum(os.times()[:4]) - before


def emptied(directory: Path) -> Path:
    """The directory, new, when nothing of what was there is left to be written."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    os.sync()
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--objects", type=int, default=4000)
    parser.add_argument("--kib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.directory) as directory:
        root = Path(directory)
        files = LocalStorage(emptied(root / MILVUS))
        cluster = Cluster(files, chosen.objects, chosen.kib * 1024)

        def cp(*, sync: bool) -> None:
            subprocess.run(["cp", "-r", str(root / MILVUS), str(root / COPY / MILVUS)], check=True)
            if sync:
                subprocess.run(["sync", "-f", str(root / COPY)], check=True)

        ways: dict[str, Callable[[], object]] = {
            "cp -r": lambda: cp(sync=False),
            "cp -r, sync -f": lambda: cp(sync=True),
            "create": lambda: cluster.create(LocalStorage(root / BACKUPS), "auto", "auto", keep=True),
        }
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(chosen.rounds):
            for way, work in ways.items():
                emptied(root / COPY)
                emptied(root / BACKUPS)
                taken[way].append(measured(work))
    peers = {way: median(seconds for seconds, _ in samples) for way, samples in taken.items()}
    for way, samples in taken.items():
        ratios = ", ".join(f"{peers[way] / peers[peer]:.2f} of {peer}" for peer in ways if peer != way)
        busy = median(processor for _, processor in samples)
        print(f"{way}: {peers[way]:.2f} s, processor {busy:.2f} s ({ratios})", flush=True)


if __name__ == "__main__":
    main()
