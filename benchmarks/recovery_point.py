"""How little is lost: incremental backups of a real Milvus that is written to all the time, and restores of any moment.

    python -m benchmarks.recovery_point MINIO [--minutes N] [--every SECONDS] [--moments N]

``MINIO`` is the binary of a MinIO; Milvus is the embedded 2.3.5 and keeps its data there. Clients insert, upsert and delete at
full speed, and note the server's own time of each write. Every so often `create --incremental` runs. Then the disaster: the
collection is dropped amid the writes and amid a last `create`. The moment before the drop and moments drawn at random are
restored with `restore --at`; each restored row is compared with what was there at the moment that mbk says it is. The
recovery point: how much a loss at the worst instant would have cost, from the consistency point of the newest complete backup
to the next one's completion.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from benchmarks.copying import MIB
from benchmarks.incremental import BACKUPS, Bench, Taken, bench
from mbk.engine.repository.timeline import hybrid_of, time_of
from tests.robustness.writing import ALWAYS, CHURN, Wire, Writers, by_key, compared

NAME, BACK = "docs", "docs_back"
THREADS = 2
#: Of the time that a backup takes: the last one is then amid its work.
AMID = 0.5


@dataclass(frozen=True, slots=True)
class Made:
    """A backup: when it was begun and complete, and the moment it is of, in seconds of the epoch."""

    name: str
    began: float
    complete: float
    point: float
    taken: Taken
    added: int


def backed_up(bench: Bench, number: int) -> Made:
    name, began = f"b{number}", time.time()
    before = bench.stored(BACKUPS, "b/.mbk/pool/")[1]
    taken = bench.mbk("create", "-n", name, "--incremental", "--filter", NAME)
    complete = time.time()
    added = bench.stored(BACKUPS, "b/.mbk/pool/")[1] - before
    body = bench.server.client().get_object(Bucket=BACKUPS, Key=f"b/{name}/meta/mbk.json")["Body"]
    (protection,) = json.loads(body.read())["protection"].values()
    return Made(name, began, complete, time_of(protection["point"]).timestamp(), taken, added)


def told(made: Made, since: float) -> None:
    print(
        f"{made.name:4} begun at {made.began - since:6.1f} s, complete after {made.complete - made.began:5.2f} s, "
        f"of {made.point - since:6.1f} s; {made.taken.count:4} requests, {made.added / MIB:6.2f} MiB added",
        flush=True,
    )


def disaster(bench: Bench, wire: Wire, writers: Writers, made: Sequence[Made], since: float) -> float:
    """Drops the collection amid the writes and amid a backup. Returns when."""
    command = [sys.executable, "-m", "mbk", "--config", bench.config(bench.server), "-o", "json"]
    create = [*command, "create", "-n", "last", "--incremental", "--filter", NAME]
    with subprocess.Popen(create, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        time.sleep(AMID * min(each.complete - each.began for each in made))
        dropped, written = time.time(), writers.ops
        writers.drop(wire)
        said, _ = running.communicate()
    outcomes = [item["outcome"] for item in json.loads(said or "{}").get("collections", ())]
    print(
        f"dropped at {dropped - since:.1f} s, after {written} writes, amid a create: exit code {running.returncode}, {outcomes}",
        flush=True,
    )
    return dropped


def restored(bench: Bench, wire: Wire, writers: Writers, at: float, since: float) -> None:
    """Restores a moment, and compares every row with what was there at the moment that the report tells."""
    moment = datetime.fromtimestamp(at, UTC).isoformat()
    command = [sys.executable, "-m", "mbk", "--config", bench.config(bench.server), "-o", "json"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "restore", "--at", moment, "-s", "_back"], check=False, capture_output=True, text=True
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    (outcome,) = report["collections"]
    got = datetime.fromisoformat(outcome["moment"])
    wire.load(BACK)
    rows = by_key(wire.rows(BACK, range(ALWAYS + THREADS * CHURN)))
    counted = wire.count(BACK)
    found = compared(writers, rows, hybrid_of(got))
    print(
        f"restore --at {at - since:6.1f} s: {report['name']} as of {got.timestamp() - since:6.1f} s, {outcome['behind']:5.2f} s before; "
        f"{counted} rows, {found.missing} missing, {counted - len(rows) + found.doubled} too many, {found.wrong} wrong; {seconds:.1f} s",
        flush=True,
    )
    wire.drop(BACK)


def run(bench: Bench, minutes: float, every: float, moments: int, seed: int) -> None:
    address = f"{bench.milvus.address}:{bench.milvus.port}"
    wire = Wire(address)
    wire.create(NAME, shards=2)
    writers = Writers(address, NAME, seed=seed, threads=THREADS)
    writers.fill(wire)
    wire.load(NAME)
    made, since = list[Made](), time.time()
    with writers.working():
        while (left := since + minutes * 60 - time.time()) > 0:
            began = time.time()
            made.append(backed_up(bench, len(made)))
            told(made[-1], since)
            time.sleep(max(0.0, min(left, began + every - time.time())))
        dropped = disaster(bench, wire, writers, made, since)
    losses = [later.complete - earlier.point for earlier, later in pairwise(made)]
    print(
        f"recovery point: {max(losses):.1f} s at the worst instant, "
        f"{sum(losses) / len(losses):.1f} s on average at the worst of each interval",
        flush=True,
    )
    chance = random.Random(seed)
    asked = sorted(chance.uniform(made[0].complete, dropped) for _ in range(moments))
    for at in (*asked, dropped - 0.001):
        restored(bench, wire, writers, at, since)
    wire.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("minio")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--moments", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    with bench(asked.minio) as one:
        run(one, asked.minutes, asked.every, asked.moments, asked.seed)


if __name__ == "__main__":
    main()
