"""What lies in the pool and belongs to no backup: found by a walk through it, removed by the rule of removal.

Deleting and pruning remove what their backups had. Left are what they had to leave, and what runs left that were killed
and whose backups are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from mbk.engine.repository.catalog import Catalog, clean, unfinished
from mbk.engine.repository.pool.collection import Collection, Freed, WriterCame
from mbk.engine.repository.pool.named import Named
from mbk.engine.repository.pool.rule import Collector, collecting
from mbk.engine.runtime.aging import Age
from mbk.engine.runtime.fenced import FencedStorage
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import Busy
from mbk.model import layout
from mbk.model.reports import Leftover
from mbk.model.states import LeftoverKind
from mbk.ports.storage import ObjectInfo, Storage


def find(storage: Storage, run: Run, age: Age) -> Iterator[Leftover]:
    """`Unknowable` if the record of a backup is lost or damaged, as what it names cannot be told."""
    here, known = str(storage.location), Named.by_all(Catalog(storage, run))
    is_orphan = _orphan(_pool(storage), known, age)

    def count(entries: Iterator[ObjectInfo]) -> tuple[int, int]:
        objects = size = 0
        for entry in filter(is_orphan, entries):
            objects, size = objects + 1, size + entry.size
        return objects, size

    objects, size = listing.consume(storage, run, count, _pool(storage))
    if objects:
        yield Leftover(location=here, kind=LeftoverKind.POOL, objects=objects, size=size)
    if tombs := _tombs(storage, run):
        yield Leftover(location=here, kind=LeftoverKind.DELETED, count=len(tombs))
    if uploads := unfinished(storage, run, _pool(storage)):
        yield Leftover(location=here, kind=LeftoverKind.UPLOADS, count=uploads)


@dataclass(slots=True)
class Removed:
    """What one removal did. ``freed``: all of it, of which ``buried`` is what deleted backups had left in ``tombs`` tombstones."""

    location: str
    freed: Freed = field(default_factory=Freed)
    buried: Freed = field(default_factory=Freed)
    tombs: int = 0
    uploads: int = 0

    @property
    def leftovers(self) -> Iterator[Leftover]:
        here, freed, buried = self.location, self.freed, self.buried
        if objects := freed.objects - buried.objects:
            size = freed.size - buried.size
            yield Leftover(
                location=here, kind=LeftoverKind.POOL, outcome="removed", objects=objects, size=size
            )
        if gone := self.tombs - freed.left:
            yield Leftover(
                location=here,
                kind=LeftoverKind.DELETED,
                outcome="removed",
                count=gone,
                objects=buried.objects,
                size=buried.size,
            )
        if freed.left:
            reason = "another run began a backup, or theirs is not deleted yet"
            yield Leftover(
                location=here, kind=LeftoverKind.DELETED, outcome="kept", count=freed.left, reason=reason
            )
        if self.uploads:
            yield Leftover(location=here, kind=LeftoverKind.UPLOADS, outcome="removed", count=self.uploads)


def remove(storage: Storage, run: Run, pace: LeasePace, grace: timedelta) -> Removed:
    """`Busy` while another run builds on the pool; it stops when one begins, and the next run goes on."""
    done = Removed(str(storage.location))
    try:
        with collecting(storage, run, pace=pace) as collector:
            refuse_beside(collector.writers())
            run.phase("collect")
            _remove(storage, run, collector, grace, done)
    except WriterCame:
        run.notice(
            "gc-stopped",
            "another run began a backup: what is left is removed by the next mbk gc",
        )
    return done


def refuse_beside(writers: Sequence[str]) -> None:
    if writers:
        raise Busy(
            "objects are removed only while no backup is being made: {writers}",
            code="gc-beside-writers",
            writers="; ".join(writers),
            hint="run it again when that has finished",
        )


def _remove(storage: Storage, run: Run, collector: Collector, grace: timedelta, done: Removed) -> None:
    """What deleted backups left first: it is recorded, and needs no grace."""
    known, tombs = Named.by_all(Catalog(storage, run)), _tombs(storage, run)
    fenced = FencedStorage(storage, collector.lease, lambda _: False)
    removal = Collection(fenced, run, collector, known, done.freed)
    done.tombs = done.freed.left = len(tombs)
    try:
        removal.bury(tombs)
    finally:
        done.buried = Freed(done.freed.objects, done.freed.size)
    age = Age.told(storage, run, collector.lease.key, grace)
    is_orphan = _orphan(_pool(storage), known, age)

    def remove(entries: Iterator[ObjectInfo]) -> None:
        removal.remove((entry.key, entry.size) for entry in filter(is_orphan, entries))

    listing.consume(storage, run, remove, _pool(storage))
    # No run writes there now, and no upload is ever gone on with.
    done.uploads = clean(fenced, run, _pool(storage))
    removal.require_gone()


def _tombs(storage: Storage, run: Run) -> list[ObjectInfo]:
    return listing.objects(storage, run, f"{storage.location.root}{layout.REMOVED}")


def _pool(storage: Storage) -> str:
    return layout.pool_prefix(storage.location.root)


def _orphan(pool: str, known: Named, age: Age) -> Callable[[ObjectInfo], bool]:
    """Tells of an object in the pool whether no backup names it, and it is old enough.

    What was put there by a backup that can be resumed is none.
    """

    def is_orphan(entry: ObjectInfo) -> bool:
        name = entry.key[len(pool) :]
        if not layout.is_pooled(name) or name.partition("/")[0] in known.unfinished:
            return False
        return age.has_passed(entry) and name.encode() not in known

    return is_orphan
