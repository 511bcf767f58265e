"""Removing from the pool what deleted backups had there and no other backup names, by the rule of removal.

A backup that is deleted leaves a *tombstone* first: a copy of its record, or, without one, a file that names its id. So
whoever collects next, this run or another one, knows what to look at without walking the pool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from mbk.engine.repository.catalog import Catalog, clean
from mbk.engine.repository.pool.named import Named, Unknowable
from mbk.engine.repository.pool.rule import Collector, collecting
from mbk.engine.runtime.dead import clear
from mbk.engine.runtime.fenced import FencedStorage
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import AccessError, Busy, DamagedBackup, DeleteFailed, LeaseLost, ObjectNotFound, StorageFull
from mbk.model import layout
from mbk.model.events import ObjectsDeleted
from mbk.ports.storage import ObjectInfo, Storage


@dataclass(slots=True)
class Freed:
    """Objects that were removed from the pool, and their ``size`` in bytes. ``left``: tombstones that stay for the next run."""

    objects: int = 0
    size: int = 0
    left: int = 0


class WriterCame(Exception):
    """A run that builds on the pool waits for this one to stop."""


def collect(
    storage: Storage, run: Run, *, pace: LeasePace | None = None, freed: Freed | None = None
) -> Freed:
    """Removes what deleted backups left, if that may be done now; a notice says if not, and why.

    Counted in ``freed``, if it is given, which is returned. `DeleteFailed` if the storage keeps some of the objects.
    """
    freed = Freed() if freed is None else freed
    clear(storage, run, pace or LeasePace())
    catalog = Catalog(storage, run)
    place = f"{storage.location.root}{layout.REMOVED}"
    tombs = listing.objects(storage, run, place)
    if not tombs:
        return freed
    freed.left = len(tombs)
    try:
        with collecting(storage, run, pace=pace) as collector:
            if writers := collector.writers():
                _stays(run, freed.left, "; ".join(writers))
                return freed
            run.phase("collect")
            known = Named.by_all(catalog)
            fenced = FencedStorage(storage, collector.lease, lambda _: False)
            Collection(fenced, run, collector, known, freed).bury(tombs)
    except LeaseLost:
        raise  # another run took it over: nobody may believe that this one ended well
    except (Busy, AccessError, StorageFull, Unknowable) as reason:
        _stays(run, freed.left, reason.message)
    except WriterCame:
        _stays(run, freed.left, "another run began a backup")
    return freed


def _stays(run: Run, count: int, reason: str) -> None:
    run.notice(
        "pool-not-freed",
        "what {count} deleted backups had in the pool stays there for now: {reason}; `mbk gc` or the next prune removes it",
        count=count,
        reason=reason,
    )


@dataclass(slots=True)
class Collection:
    """One removal. ``storage`` deletes under the lease of the pool. ``known``: what stays; what is removed joins it."""

    storage: Storage
    run: Run
    collector: Collector
    known: Named
    freed: Freed
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def _pool(self) -> str:
        return layout.pool_prefix(self.storage.location.root)

    def bury(self, tombs: Iterable[ObjectInfo]) -> None:
        """Removes what the tombstones tell, and each of them once that is gone. `WriterCame` as soon as a writer registers."""
        for tomb in tombs:
            name = tomb.key.rpartition("/")[2]
            told = layout.removed_record(name)
            if told in self.known.records or name in self.known.unfinished:
                continue  # its backup is there still
            before = len(self.failures)
            self.remove(self._recorded(tomb.key) if told else self._put_by(name))
            if len(self.failures) == before:
                self._delete([tomb.key])
                self.freed.left -= 1
        self.require_gone()

    def require_gone(self) -> None:
        if self.failures:
            raise DeleteFailed(
                "{count} objects in the pool are still there: {key}: {reason}",
                code="pool-objects-left",
                failures=self.failures,
                count=len(self.failures),
                key=next(iter(self.failures)),
                reason=next(iter(self.failures.values())),
                hint="once the reason is gone, run mbk gc",
            )

    def remove(self, objects: Iterable[tuple[str, int]]) -> None:
        """Removes objects, given by key and size. It is not asked again whether one is known."""
        length = max(self.storage.capabilities.delete_batch, 100)
        with Pool(self.run.budget.readers, self.run.cancelled, name="mbk-collect") as pool:
            for batch, failed in pool.map(self._delete_some, self._batches(iter(objects), length)):
                self.failures |= failed
                gone = [size for key, size in batch if key not in failed]
                self.freed.objects += len(gone)
                self.freed.size += sum(gone)
                self.run.emit(ObjectsDeleted(objects=len(gone)))

    def _batches(self, objects: Iterator[tuple[str, int]], length: int) -> Iterator[list[tuple[str, int]]]:
        while batch := [*islice(objects, length)]:
            if not self.collector.is_alone:
                raise WriterCame
            yield batch

    def _delete_some(self, batch: list[tuple[str, int]]) -> tuple[list[tuple[str, int]], dict[str, str]]:
        try:
            self._delete([key for key, _ in batch])
        except DeleteFailed as failed:
            return batch, failed.failures
        return batch, {}

    def _delete(self, keys: list[str]) -> None:
        self.run.retry.call(f"delete {keys[0]}", self.storage.delete, keys)

    def _recorded(self, tomb: str) -> Iterator[tuple[str, int]]:
        """The objects that a copied record names and no backup does."""
        stretches = Catalog(self.storage, self.run).stretches(tomb, None)
        try:
            for raw, size in self.known.fresh(stretches, where=tomb):
                key: str = json.loads(b'"%s"' % raw)
                if layout.is_pooled(key):
                    yield f"{self._pool}{key}", size
        except ObjectNotFound:
            return  # another run has done it
        except DamagedBackup as damage:
            self.run.notice(
                "tombstone-damaged",
                "what a deleted backup had in the pool cannot be told, `mbk gc` finds it: {reason}",
                reason=damage.message,
            )

    def _put_by(self, backup_id: str) -> Iterator[tuple[str, int]]:
        """What a backup put into the pool and no backup names; its unfinished uploads end, too."""
        prefix = f"{self._pool}{backup_id}/"
        clean(self.storage, self.run, prefix)
        start = len(self._pool)
        for entry in listing.objects(self.storage, self.run, prefix):
            name = entry.key[start:]
            if name.encode() not in self.known and layout.is_pooled(name):
                yield entry.key, entry.size
