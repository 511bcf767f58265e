"""The operation `gc`: removes what lies in the pool and belongs to no backup, by the rule of removal.

Deleting and pruning remove what their backups had; what is left for this operation is what they had to leave, and what runs
left that were killed and whose backups are gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from mbk.engine.repository.catalog import Catalog, clean
from mbk.engine.repository.pool.collection import Collection, Freed, WriterCame
from mbk.engine.repository.pool.named import Named
from mbk.engine.repository.pool.rule import Collector, collecting, writing
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.fenced import FencedStorage
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import Busy
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.options import GcOptions
from mbk.model.plans import Plan
from mbk.model.reports import GcReport
from mbk.ports.storage import ObjectInfo, Storage


@frozen(kw_only=True)
class GcPlan:
    """``objects`` and ``size``, in bytes, of what no backup names; ``tombstones``: deleted backups whose objects were left."""

    objects: int
    size: int
    tombstones: int


def plan(context: Context, _: str, options: GcOptions) -> GcPlan:
    """What is there now. Raises what the run would raise: `Busy` beside a run that builds on the pool, `Unknowable` if the
    record of a backup is lost or damaged, as what it names cannot be told."""
    storage, run = context.backup_storage, context.run
    storage.check()
    _refuse_beside(writing(storage, run, context.pace.lease))
    known = Named.by_all(Catalog(storage, run))
    is_orphan = _orphan(_pool(storage), known, _before(datetime.now(UTC), options.grace))

    def count(entries: Iterator[ObjectInfo]) -> tuple[int, int]:
        objects = size = 0
        for entry in filter(is_orphan, entries):
            objects, size = objects + 1, size + entry.size
        return objects, size

    objects, size = listing.consume(storage, run, count, _pool(storage))
    return GcPlan(objects=objects, size=size, tombstones=len(_tombs(storage, run)))


def preview(context: Context, plan: GcPlan) -> Plan:
    tombs = f"what {plan.tombstones} deleted backups had to leave"
    return Plan(
        command="gc",
        name="",
        location=str(context.backup_storage.location),
        objects=plan.objects,
        size=plan.size,
        removes=(
            *([f"{plan.objects} objects of the pool that no backup has"] if plan.objects else []),
            *([tombs] if plan.tombstones else []),
        ),
        notices=tuple(context.run.notices),
    )


def execute(context: Context, _: str, options: GcOptions) -> GcReport:
    """Removes it. `Busy` while another run builds on the pool; it stops when one begins, and the next run goes on."""
    started, storage, run, freed = time.monotonic(), context.backup_storage, context.run, Freed()
    storage.check()
    try:
        with collecting(storage, run, pace=context.pace.lease) as collector:
            _refuse_beside(collector.writers())
            run.phase("collect")
            _remove(storage, run, collector, freed, options.grace)
    except WriterCame:
        run.notice(
            "gc-stopped",
            "another run began a backup: what is left is removed by the next mbk gc",
        )
    return GcReport(
        location=str(storage.location),
        deleted_objects=freed.objects,
        freed=freed.size,
        left=freed.left,
        seconds=time.monotonic() - started,
        notices=tuple(run.notices),
    )


def _refuse_beside(writers: Sequence[str]) -> None:
    if writers:
        raise Busy(
            "objects are removed only while no backup is being made: {writers}",
            code="gc-beside-writers",
            writers="; ".join(writers),
            hint="run it again when that has finished",
        )


def _remove(storage: Storage, run: Run, collector: Collector, freed: Freed, grace: timedelta) -> None:
    """What deleted backups left first: it is recorded, and needs no grace."""
    known, tombs = Named.by_all(Catalog(storage, run)), _tombs(storage, run)
    fenced = FencedStorage(storage, collector.lease, lambda _: False)
    removal, freed.left = Collection(fenced, run, collector, known, freed), len(tombs)
    removal.bury(tombs)
    is_orphan = _orphan(_pool(storage), known, _before(_told_now(storage, run, collector), grace))

    def remove(entries: Iterator[ObjectInfo]) -> None:
        removal.remove((entry.key, entry.size) for entry in filter(is_orphan, entries))

    listing.consume(storage, run, remove, _pool(storage))
    # No run writes there now, and no upload is ever gone on with.
    clean(fenced, run, _pool(storage))
    removal.require_gone()


def _tombs(storage: Storage, run: Run) -> list[ObjectInfo]:
    return listing.objects(storage, run, f"{storage.location.root}{layout.REMOVED}")


def _pool(storage: Storage) -> str:
    return layout.pool_prefix(storage.location.root)


def _orphan(pool: str, known: Named, before: datetime | None) -> Callable[[ObjectInfo], bool]:
    """Tells of an object in the pool whether no backup names it, and it is old enough.

    What was put there by a backup that can be resumed is none. ``before``: None if it may be of any age.
    """

    def is_orphan(entry: ObjectInfo) -> bool:
        name = entry.key[len(pool) :]
        if not layout.is_pooled(name) or name.partition("/")[0] in known.unfinished:
            return False
        is_old = before is None or (entry.modified is not None and entry.modified < before)
        return is_old and name.encode() not in known

    return is_orphan


def _before(now: datetime, grace: timedelta) -> datetime | None:
    """The moment before which an object is old enough. None without a grace time."""
    return now - grace if grace else None


def _told_now(storage: Storage, run: Run, collector: Collector) -> datetime:
    """Now, as the clock of the storage tells: the lease was written a moment ago."""
    key = collector.lease.key
    return run.retry.call(f"stat {key}", storage.stat, key).modified or datetime.now(UTC)
