"""What one S3 request costs the client, by everything that could send it, on one server.

    python -m benchmarks.requests [URL] [--copies N] [--mib N] [--rounds N] [--only CANDIDATE ...]

``URL`` is that of a running S3 service, ``http://key:secret@host:port``; without it rclone's server in memory is started.
`pip install awscrt obstore opendal` brings the candidates that mbk does not depend on; those that are missing are left out.

Every candidate runs in a process of its own, all take turns, round by round, and the median of the rounds counts: milliseconds of
processor time and of wall time a server-side copy (32 in flight), seconds of processor time and of wall time a GiB got, put, and streamed from one object
into another (8 MiB each, 8 in flight).
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from urllib.parse import urlsplit

from benchmarks.request_senders import SENDERS, Target
from mbk.ports.storage import MIB
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage
from tests.servers.s3 import rclone

COPIES_AT_ONCE = 32
BODIES_AT_ONCE = 8
BODY = 8 * MIB
#: What is copied: of the size of a small binlog.
SMALL = 16 * 1024
SOURCES = 100

Figures = dict[str, tuple[float, float]]


def measured(name: str, target: Target, copies: int, bodies: int) -> Figures | None:
    """Processor and wall time: milliseconds a copy, seconds a GiB. None where the candidate is not installed."""
    try:
        sender = SENDERS[name](target)
    except ImportError:
        return None
    data = os.urandom(BODY)
    per_gib = 1024 * MIB / (bodies * BODY)

    def streamed(number: int) -> None:
        sender.put(f"out/{number}", sender.get(f"large/{number}"))

    copying = timed(
        lambda number: sender.copy(f"small/{number % SOURCES}", f"copied/{number}"), copies, COPIES_AT_ONCE
    )
    putting = timed(lambda number: sender.put(f"large/{number}", data), bodies, BODIES_AT_ONCE)
    getting = timed(lambda number: sender.get(f"large/{number}"), bodies, BODIES_AT_ONCE)
    streaming = timed(streamed, bodies, BODIES_AT_ONCE)
    return {
        "copy": (copying[0] * 1000 / copies, copying[1] * 1000 / copies),
        "got": (getting[0] * per_gib, getting[1] * per_gib),
        "put": (putting[0] * per_gib, putting[1] * per_gib),
        "streamed": (streaming[0] * per_gib, streaming[1] * per_gib),
    }


def timed(call: Callable[[int], object], times: int, at_once: int) -> tuple[float, float]:
    """Seconds of processor and of wall time. The first calls, with connections and imports, do not count."""
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(call, range(min(at_once, times))))
        started, busy = time.perf_counter(), processor()
        list(pool.map(call, range(times)))
        return processor() - busy, time.perf_counter() - started


def processor() -> float:
    """Of all threads, those of C and Rust, too."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def served(url: str) -> Iterator[Target]:
    if url:
        parts = urlsplit(url)
        assert parts.hostname, url
        yield Target(parts.hostname, parts.port or 80, parts.username or "", parts.password or "")
        return
    with rclone() as server:
        yield Target(server.host, server.port, server.access_key, server.secret_key)


def arranged(target: Target) -> None:
    storage = open_storage(GenericSettings(**target.settings))
    storage.check(create=True)
    for number in range(SOURCES):
        storage.write(f"small/{number}", [os.urandom(SMALL)])
    storage.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url", nargs="?", default="")
    parser.add_argument("--copies", type=int, default=2000)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[*SENDERS], choices=[*SENDERS])
    asked = parser.parse_args()
    rounds: dict[str, list[Figures]] = {}
    with served(asked.url) as target:
        arranged(target)
        for _ in range(asked.rounds):
            for name in asked.only:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found = pool.apply(measured, (name, target, asked.copies, asked.mib * MIB // BODY))
                if found:
                    rounds.setdefault(name, []).append(found)
    print(
        f"{'':12}"
        + "".join(f"{what:>20}" for what in ("copy, ms", "got, s/GiB", "put, s/GiB", "streamed, s/GiB"))
    )
    for name, figures in rounds.items():
        cells = [
            f"{median(each[what][0] for each in figures):.2f} · {median(each[what][1] for each in figures):.2f}"
            for what in ("copy", "got", "put", "streamed")
        ]
        print(f"{name:12}" + "".join(f"{cell:>20}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
