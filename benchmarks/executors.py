"""What workers bring: twice as many for twice the copies a second, and processes against threads where bytes pass through.

    python -m benchmarks.executors [objects] [milliseconds]

The first table is of a service that answers each copy after so many milliseconds, one at a time on each connection; each
worker has eight connections, so that one worker is the limit. The second one streams files to files, with digests. Time
counts from the moment when the workers are ready. The ways take turns.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mbk.config.schema import StorageChoice
from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.executor import Executor
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.registry.reference import Reference, References
from mbk.workers.cluster import Dask
from mbk.workers.processes import Processes
from tests.servers.dask import dask_cluster

#: Connections of a worker.
EACH = 8
ROUNDS = 2
Chosen = Callable[[References], Executor]


@contextmanager
def service(milliseconds: int) -> Iterator[int]:
    """The port of a `benchmarks.throttled`."""
    command = [sys.executable, "-m", "benchmarks.throttled", str(milliseconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.kill()


def busy() -> float:
    """Seconds of the processor, of this process and of those that ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def seconds(
    chosen: Chosen | None,
    source: StorageChoice,
    destination: StorageChoice,
    items: list[CopyItem],
    **how: object,
) -> float:
    """How long the copies take, once each worker has made some."""
    references = References()
    opened = [Reference(choice) for choice in (source, destination)]
    storages = [reference.open() for reference in opened]
    for storage, reference in zip(storages, opened, strict=True):
        references.add(storage, reference)
    budget = Budget(copies=int(str(how["copies"])))
    with Transfer(
        source=storages[0],
        destination=storages[1],
        run=Run(budget=budget),
        limits=TransferLimits(mode=str(how["mode"]), executor=chosen(references) if chosen else None),
    ) as transfer:
        transfer.copy(items[: 16 * EACH], collection="", present={})
        started = time.perf_counter()
        transfer.copy(items[16 * EACH :], collection="", present={})
        return time.perf_counter() - started


def far_away(objects: int, milliseconds: int) -> None:
    items = [CopyItem(source_key=f"a/{n}", key=f"b/{n}", size=0) for n in range(objects + 16 * EACH)]
    with service(milliseconds) as port, tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        values = {"address": "127.0.0.1", "port": port, "access_key_id": "key", "secret_access_key": "secret"}
        choice = StorageChoice(type="s3", values={**values, "bucket": "bench"})
        clusters = {}
        for count in (1, 2):
            (place := Path(directory, str(count))).mkdir()
            names = [str(number) for number in range(count)]
            clusters[count] = stack.enter_context(dask_cluster(place, *names))

        def processes(count: int) -> Chosen:
            return lambda references: Processes(count, references.of)

        def dask(count: int) -> Chosen:
            address = clusters[count].address
            return lambda references: Dask(references=references.of, scheduler=address, workers=count)

        for name, kind in {"processes": processes, "dask": dask}.items():
            best = {1: float("inf"), 2: float("inf")}
            for _ in range(ROUNDS):
                for count in best:
                    took = seconds(kind(count), choice, choice, items, copies=EACH * count, mode="direct")
                    best[count] = min(best[count], took)
            rates = [objects / best[count] for count in best]
            limit = EACH * 1000 / milliseconds
            print(
                f"{name}: {rates[0]:.0f} copies/s with one worker ({rates[0] / limit:.2f} of what its connections allow), "
                f"{rates[1]:.0f} with two: {rates[1] / rates[0]:.2f} times"
            )


def streamed(objects: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        roots = [Path(directory, name) for name in ("from", "to")]
        for root in roots:
            root.mkdir()
        for number in range(objects):
            (roots[0] / str(number)).write_bytes(os.urandom(size))
        items = [CopyItem(source_key=str(n), key=f"b/{n}", size=size) for n in range(objects)]
        choices = [StorageChoice(type="local", values={"root_path": str(root)}) for root in roots]
        ways: dict[str, Chosen | None] = {
            "threads": None,
            "two processes": lambda references: Processes(2, references.of),
        }
        best = dict.fromkeys(ways, (float("inf"), 0.0))
        for _ in range(ROUNDS):
            for name, chosen in ways.items():
                before = busy()
                took = seconds(chosen, choices[0], choices[1], items, copies=32, mode="streaming")
                best[name] = min(best[name], (took, busy() - before))
        mib = (objects - 16 * EACH) * size / 1024**2
        for name, (took, processor) in best.items():
            print(f"{name}: {mib / took:.0f} MiB/s, {processor:.1f} s of the processor, start-up included")


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    objects = given[0] if given else 1000
    far_away(objects, given[1] if len(given) > 1 else 50)
    streamed(16 * EACH + objects // 2, 1024**2)
