"""Hands copies to workers, in batches, and takes back what is known of them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mbk.engine.runtime.executor import Executor, Workers
from mbk.engine.runtime.locked import locks_of
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer.executors.batches import Copied, CopyBatch, Strain, batches
from mbk.engine.transfer.executors.bench import CopyJob, Side
from mbk.engine.transfer.items import STREAM, CopyItem, Known
from mbk.engine.transfer.pair import Pair
from mbk.errors import UsageError
from mbk.model.reports import TransferStats
from mbk.ports.storage import Storage


class Away:
    """The workers of one pair of storages, which start when they are first needed. Several threads may call it; close it."""

    def __init__(self, pair: Pair, executor: Executor) -> None:
        self._pair = pair
        self._executor = executor
        self._run = pair.run
        self._starting = threading.Lock()
        self._strains: dict[str, Strain] = {}
        self._started: tuple[Workers[CopyBatch, Copied], Pool] | None = None

    def start(self) -> tuple[Workers[CopyBatch, Copied], Pool]:
        """The workers, and the threads that wait for them. Does not wait until they are ready."""
        with self._starting:
            if self._started is None:
                workers = self._executor.start(self._job(), self._run)
                self._started = workers, Pool(workers.width, self._run.cancelled, name="mbk-batch")
            return self._started

    def _job(self) -> Callable[[int], CopyJob]:
        pair, run = self._pair, self._run
        source, destination = _side(self._executor, pair.source), _side(self._executor, pair.destination)
        identifier = uuid.uuid4().hex
        return lambda workers: CopyJob(
            id=identifier,
            source=source,
            destination=destination,
            limits=pair.limits.here,
            policy=replace(run.policy, budget=run.policy.budget / workers),
            budget=run.budget.shared(workers),
        )

    def reach(self) -> None:
        """Raises what keeps a worker from copying, if anything does."""
        self.start()[0].do(CopyBatch(items=(), way=STREAM))

    def added_to(self, stats: TransferStats) -> TransferStats:
        """Of the run's own process, with how hard the workers were at it: the requests of all of them, in flight at once."""
        strains = [*self._strains.values()]
        reasons = dict.fromkeys(f"each worker: {strain.limited}" for strain in strains if strain.limited)
        return replace(
            stats,
            concurrency=max(stats.concurrency, sum(strain.most for strain in strains)),
            limited_because="; ".join(filter(None, (stats.limited_because, *reasons))) or None,
        )

    def copied(self, items: Iterable[CopyItem], way: str) -> Iterator[tuple[CopyItem, Known]]:
        """The items with what is known of their copies, as batches come back. Raises the first error of any of them."""
        workers, pool = self.start()

        def done(batch: CopyBatch) -> list[tuple[CopyItem, Known]]:
            return self._done(workers, batch)

        for batch in pool.map(done, batches(items, way)):
            yield from batch

    def close(self) -> None:
        """Leaves nothing running; idempotent."""
        with self._starting:
            started, self._started = self._started, None
        if started is not None:
            workers, pool = started
            try:
                pool.close()
            finally:
                workers.close()

    def _done(self, workers: Workers[CopyBatch, Copied], batch: CopyBatch) -> list[tuple[CopyItem, Known]]:
        known: dict[str, Known] = {}
        left = batch
        while left.items:
            copied = workers.do(left)
            for event in copied.events:
                self._run.relay(event)
            if copied.strain is not None:
                self._strains[copied.strain.worker] = copied.strain
            if copied.error is not None:
                raise copied.error
            known.update(copied.known)
            left = replace(left, items=tuple(item for item in left.items if item.key not in known))
        return [(item, known[item.key]) for item in batch.items]


def _side(executor: Executor, storage: Storage) -> Side:
    reference = executor.reference(storage)
    if reference is None:
        raise UsageError(
            "workers cannot open {location}: only this process can",
            code="storage-without-reference",
            location=storage.location,
            hint="set transfer.executor to threads",
        )
    return Side(reference=reference, location=storage.location, locks=locks_of(storage))
