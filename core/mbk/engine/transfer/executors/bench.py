"""Where a worker copies: the storages, opened in its own process, and its share of what the run may use."""

from __future__ import annotations

import time
import traceback
import uuid
from collections import deque
from dataclasses import field
from pathlib import PurePath

from mbk.engine.runtime.budget import Budget, Room
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.locked import LockedStorage, Locks
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.retried import retried
from mbk.engine.runtime.retry import RetryPolicy
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.copier import Copier
from mbk.engine.transfer.executors.batches import Copied, CopyBatch, Strain
from mbk.engine.transfer.items import CopyItem, Known
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.proof import Proof
from mbk.engine.transfer.tally import limits_met
from mbk.errors import ConfigError, MbkError, Problem
from mbk.frozen import frozen
from mbk.model.events import Event
from mbk.ports.storage import Location, Storage, StorageRef


@frozen(kw_only=True)
class Side:
    """A storage as workers open it, and where it must be. ``locks``: what is made there is locked so."""

    reference: StorageRef
    location: Location
    locks: Locks | None = None

    def open(self) -> Storage:
        """`ConfigError` if the worker's own configuration has another storage there."""
        storage = self.reference.open()
        if storage.location.same_bucket(self.location):
            return storage if self.locks is None else LockedStorage(storage, self.locks)
        found = storage.location
        storage.close()
        raise ConfigError(
            "the worker's configuration", [Problem("", f"it has {found}, the run uses {self.location}")]
        )


@frozen(kw_only=True)
class CopyJob:
    """A `Job`: copies from one storage to another. ``budget`` and ``policy`` are the worker's share."""

    id: str
    source: Side
    destination: Side
    limits: TransferLimits
    policy: RetryPolicy
    budget: Budget = field(default_factory=Budget)

    def open(self) -> CopyBench:
        source = self.source.open()
        try:
            return CopyBench(self, source, self.destination.open())
        except BaseException:
            source.close()
            raise


class CopyBench:
    """A `Bench`. Its batches share threads, memory, retries and what was learned of the storages' digests."""

    def __init__(self, job: CopyJob, source: Storage, destination: Storage) -> None:
        self._events: deque[Event] = deque()
        self._run = run = Run(self._events.append, policy=job.policy, budget=job.budget)
        self._opened = (source, destination)
        source, destination = retried(source, run), retried(destination, run)
        pair = Pair(source=source, destination=destination, run=run, limits=job.limits)
        useful = pair.workers(lambda: self._copier.way)
        self._pool = Pool(job.budget.copies, run.cancelled, name="mbk-copy", useful=useful)
        self._parts = Pool(job.budget.parts, run.cancelled, name="mbk-part", useful=useful)
        self._room = room = Room(job.budget.memory, run.cancelled)
        self._id = uuid.uuid4().hex
        self._copier = Copier(pair, Proof(source, destination, run), parts=self._parts, room=room)

    def do(self, batch: CopyBatch) -> Copied:
        until = time.monotonic() + batch.seconds
        self._copier.decide(batch.way)

        def one(item: CopyItem) -> tuple[str, Known | None]:
            return item.key, self._copier.copy(item) if time.monotonic() < until else None

        known: dict[str, Known] = {}
        error: MbkError | None = None
        try:
            for key, made in self._pool.map(one, batch.items):
                if made is not None:
                    known[key] = made
        except MbkError as failure:
            error = failure
        except Exception as failure:  # noqa: BLE001 - it may not be picklable, nor its text fit to be shown
            error = _bug(failure)
        return Copied(known=known, events=self._told(), error=error, strain=self._strain())

    def cancel(self) -> None:
        self._run.cancelled.set()

    def close(self) -> None:
        self._pool.close()
        self._parts.close()
        self._copier.close()
        for storage in self._opened:
            storage.close()

    def _strain(self) -> Strain:
        brakes = self._run.brakes
        return Strain(worker=self._id, most=brakes.most, limited=limits_met(self._run, self._room))

    def _told(self) -> tuple[Event, ...]:
        told = []
        while self._events:
            try:
                told.append(self._events.popleft())
            except IndexError:
                break  # another batch took the last one
        return tuple(told)


def _bug(error: Exception) -> MbkError:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return MbkError(
        "a worker met an internal error, please report it: {kind} in {file}, line {line}",
        code="worker-bug",
        kind=type(error).__name__,
        file=PurePath(last.filename).name,
        line=last.lineno,
    )
