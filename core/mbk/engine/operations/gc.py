"""The operation `gc`: removes what lies in the pool and belongs to no backup, by the rule of removal.

Deleting and pruning remove what their backups had; what is left for this operation is what they had to leave, and what runs
left that were killed and whose backups are gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from mbk.engine.repository.catalog import Catalog, clean
from mbk.engine.repository.pool.collection import Collection, Freed, WriterCame, collect
from mbk.engine.repository.pool.named import Named
from mbk.engine.repository.pool.rule import Collector, collecting
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


@dataclass(slots=True)
class _Walk:
    """The objects of the pool that no backup names and that are old enough, as they are listed. ``ids``: below which they lie."""

    storage: Storage
    run: Run
    known: Named
    before: datetime | None
    ids: set[str] = field(default_factory=set)

    def orphans(self) -> Iterator[ObjectInfo]:
        pool = layout.pool_prefix(self.storage.location.root)
        for entry in listing.objects(self.storage, self.run, pool):
            name = entry.key[len(pool) :]
            backup_id = name.partition("/")[0]
            if not layout.is_pooled(name) or backup_id in self.known.unfinished:
                continue
            if name.encode() not in self.known and self._is_old(entry):
                self.ids.add(backup_id)
                yield entry

    def _is_old(self, entry: ObjectInfo) -> bool:
        return self.before is None or (entry.modified is not None and entry.modified < self.before)


def plan(context: Context, _: str, options: GcOptions) -> GcPlan:
    """What is there now. `Unknowable` if the record of a backup is lost or damaged: what it names cannot be told."""
    storage, run = context.backup_storage, context.run
    storage.check()
    known = Named.by_all(Catalog(storage, run))
    walk = _Walk(storage, run, known, _before(datetime.now(UTC), options.grace))
    objects = size = 0
    for entry in walk.orphans():
        objects, size = objects + 1, size + entry.size
    tombs = listing.objects(storage, run, f"{storage.location.root}{layout.REMOVED}")
    return GcPlan(objects=objects, size=size, tombstones=len(tombs))


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
    started, storage, run = time.monotonic(), context.backup_storage, context.run
    storage.check()
    freed = collect(storage, run, pace=context.pace.lease)
    try:
        with collecting(storage, run, pace=context.pace.lease) as collector:
            _require_alone(collector)
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


def _require_alone(collector: Collector) -> None:
    if writers := collector.writers():
        raise Busy(
            "objects are removed only while no backup is being made: {writers}",
            code="gc-beside-writers",
            writers="; ".join(writers),
            hint="run it again when that has finished",
        )


def _remove(storage: Storage, run: Run, collector: Collector, freed: Freed, grace: timedelta) -> None:
    run.phase("collect")
    known = Named.by_all(Catalog(storage, run))
    fenced = FencedStorage(storage, collector.lease, lambda _: False)
    removal = Collection(fenced, run, collector, known, freed)
    now = _told_now(storage, run, collector)
    walk = _Walk(storage, run, known, _before(now, grace))
    removal.remove((entry.key, entry.size) for entry in walk.orphans())
    for backup_id in sorted(walk.ids):
        clean(fenced, run, f"{layout.pool_prefix(storage.location.root)}{backup_id}/")
    removal.require_gone()


def _before(now: datetime, grace: timedelta) -> datetime | None:
    """The moment before which an object is old enough. None without a grace time."""
    return now - grace if grace else None


def _told_now(storage: Storage, run: Run, collector: Collector) -> datetime:
    """Now, as the clock of the storage tells: the lease was written a moment ago."""
    key = collector.lease.key
    return run.retry.call(f"stat {key}", storage.stat, key).modified or datetime.now(UTC)
