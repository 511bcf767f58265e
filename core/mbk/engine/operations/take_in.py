"""The operation `import`: a classic backup becomes a shared one of the same name, in the pool of its own root.

Its objects are copied into the pool, the new metadata is committed as that of a backup that is completed, and only then the classic
copies go. So at every moment either the classic backup or the shared one is whole, and a killed run is gone on with by the next.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from mbk.engine.formats.known import of_backup
from mbk.engine.operations.copy import require_whole
from mbk.engine.repository import locks
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.keeping import Keeping, keeping, require_keeping
from mbk.engine.repository.leftovers import InPool, leftovers
from mbk.engine.repository.pool.damage import tell_whole
from mbk.engine.repository.pool.index import tell_index
from mbk.engine.repository.pool.joining import join
from mbk.engine.repository.pool.moving import Move, Moving, directories, moving, outcomes
from mbk.engine.repository.relaying import Carried, carried, relaid, require_relayable, write
from mbk.engine.repository.removal import some
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import hold
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.load import copying, together
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.same import Same, compare
from mbk.engine.transfer.transfer import Transfer
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.events import ObjectsDeleted, WorkPlanned
from mbk.model.flows import requests_of
from mbk.model.options import ImportOptions
from mbk.model.plans import Plan
from mbk.model.reports import CollectionOutcome, RunReport, TransferStats
from mbk.model.states import CollectionState
from mbk.ports.storage import PLAIN, PRIVATE, Storage


@frozen(kw_only=True)
class ImportPlan:
    """``moving``: the objects that go into the pool. A backup that is in it has none, but ``classic`` copies of its objects where a run
    was stopped amid freeing them; ``lost``: those of them that the pool lacks."""

    committed: Committed
    moving: Moving | None
    classic: tuple[CopyItem, ...] = ()
    lost: tuple[CopyItem, ...] = ()

    @property
    def name(self) -> str:
        return self.committed.stored.layout.name

    def outcomes(self, state: CollectionState) -> tuple[CollectionOutcome, ...]:
        return outcomes(self.committed.backup, self.moving.items if self.moving else (), state)


def plan(context: Context, name: str, _: ImportOptions) -> ImportPlan:
    """Raises every obstacle. A backup that is in the pool has nothing left to be done, or to be freed what a killed run left."""
    context.backup_storage.check()
    require_keeping(context.backup_storage, context.run, context.object_lock)
    context.limits.transfer.require_workers()
    return _plan(context, context.backup_storage, name)


def preview(context: Context, plan: ImportPlan) -> Plan:
    storage, backup = context.backup_storage, plan.committed.backup
    items = plan.moving.items if plan.moving else ()
    there = plan.moving.present if plan.moving else {}
    missing = [item for item in items if item.key not in there]
    pair = Pair(source=storage, destination=storage, run=context.run, limits=context.limits.transfer)
    flows = together(
        [copying(((item.source_key, item.size) for item in missing), pair, "backups", "backups")]
    )
    classic = len(items) or len(plan.classic)
    return Plan(
        command="import",
        name=plan.name,
        id=backup.id,
        location=f"{storage.location}/{plan.name}",
        milvus_version=backup.milvus_version,
        collections=plan.outcomes(CollectionState.PLANNED),
        objects=len(missing),
        size=sum(item.size for item in missing),
        present=len(items) - len(missing),
        present_size=sum(item.size for item in items if item.key in there),
        removes=(f"{classic} classic copies below {plan.committed.stored.layout.data_prefix}",)
        if classic
        else (),
        flows=flows,
        requests=requests_of(flows, listed=[("backups", 2 * len(items))], written=[("backups", 6)]),
        notices=tuple(context.run.notices),
    )


def execute(context: Context, name: str, options: ImportOptions) -> RunReport:
    started, run, storage = time.monotonic(), context.run, context.backup_storage
    begun = datetime.now(UTC)
    storage.check()
    require_keeping(storage, run, context.object_lock)
    context.limits.transfer.require_workers()
    what, shared = f"import of backup {name!r}", InPool()
    left = leftovers(name, shared)
    with hold(storage, name, what, run, pace=context.pace.lease, aftermath=left) as fence:
        join(storage, fence, run, context.pace.lease)
        storage = writing_backup(storage, fence, name)
        plan = _plan(context, storage, name)
        storage = keeping(storage, run, name, context.object_lock, begun, again=plan.moving is None)
        Catalog(storage, run).clean(plan.committed.stored.layout.prefix)
        if plan.moving:
            shared.id = plan.moving.move.directory
            stats = _move(context, storage, plan, plan.moving, shared, options)
        else:
            stats = _put_back(context, storage, plan, options)
        tell_index(storage, run, name)
        tell_whole(storage, run, plan.moving.healed if plan.moving else frozenset())
        _free(context, storage, name)
        _keep(context, storage, plan)
    if plan.moving is None and not plan.classic:
        run.notice("import-done-before", "backup {backup!r} is in the pool already", backup=name)
    return RunReport(
        command="import",
        name=name,
        id=plan.committed.backup.id,
        location=f"{storage.location}/{name}",
        milvus_version=plan.committed.backup.milvus_version,
        seconds=time.monotonic() - started,
        collections=plan.outcomes(CollectionState.DONE),
        transfer=stats,
        notices=tuple(run.notices),
        compared=options.checksum,
    )


def _plan(context: Context, storage: Storage, name: str) -> ImportPlan:
    catalog = Catalog(storage, context.run)
    committed = catalog.committed(name)
    require_whole(committed)
    kind = of_backup(committed.backup.format, name)
    kind.require_movable(name)
    if committed.is_shared:
        return _begun(context, catalog, storage, committed)
    entries = [*kind.belongings(context, catalog, committed)]
    require_relayable(committed)
    _require_unlocked(catalog, committed)
    move = Move.of(committed, committed.stored.layout, shared=True)
    return ImportPlan(
        committed=committed, moving=moving(move, entries, storage.location, storage, context.run)
    )


def _begun(context: Context, catalog: Catalog, storage: Storage, committed: Committed) -> ImportPlan:
    """Of a backup that is in the pool. `DamagedBackup` if the pool lacks an object of which there is no classic copy."""
    classic, _ = _left(catalog, storage, context, committed)
    prefixes = sorted(directories(item.key for item in classic))
    there = listing.by_key(storage, context.run, *prefixes)
    lost = [
        item for item in classic if (found := there.get(item.key)) is None or compare(item, found) is Same.NO
    ]
    if not lost:
        _require_sound(context, catalog, committed)
    return ImportPlan(committed=committed, moving=None, classic=tuple(classic), lost=tuple(lost))


def _require_sound(context: Context, catalog: Catalog, committed: Committed) -> None:
    kind = of_backup(committed.backup.format, committed.stored.layout.name)
    deque(kind.belongings(context, catalog, committed), maxlen=0)


def _put_back(context: Context, storage: Storage, plan: ImportPlan, options: ImportOptions) -> TransferStats:
    """Copies what the pool lost from the classic copies: a run that stood still may have committed the backup although its lease was
    taken, and objects that it had found there were removed."""
    if not plan.lost:
        return TransferStats()
    run = context.run
    run.phase("copy")
    with Transfer(
        source=context.backup_storage,
        destination=storage,
        run=run,
        limits=context.limits.transfer,
        full=options.checksum == "full",
    ) as transfer:
        prefixes = sorted(directories(item.key for item in plan.lost))
        transfer.arrive(
            plan.lost, collection="", present={}, listed=lambda: listing.by_key(storage, run, *prefixes)
        )
        _require_sound(context, Catalog(storage, run), plan.committed)
        return transfer.stats


def _require_unlocked(catalog: Catalog, committed: Committed) -> None:
    """`BackupLocked` for one whose classic copies the storage keeps: they would not be freed."""
    lock = catalog.lock(committed.stored)
    if lock is not None and lock.holds(datetime.now(UTC)):
        raise locks.refused(committed.stored.layout.name, lock)


def _move(
    context: Context,
    storage: Storage,
    plan: ImportPlan,
    moving: Moving,
    shared: InPool,
    options: ImportOptions,
) -> TransferStats:
    run, catalog, committed = context.run, Catalog(storage, context.run), plan.committed
    run.phase("copy")
    size = sum(item.size for item in moving.items)
    run.emit(WorkPlanned(collection="", objects=len(moving.items), size=size))
    with Transfer(
        source=context.backup_storage,
        destination=storage,
        run=run,
        limits=context.limits.transfer,
        records=True,
        full=options.checksum == "full",
    ) as transfer:
        with carried(moving, transfer, storage, run) as made:
            transfer.tell_unproven()
            run.check_cancelled()
            run.phase("commit")
            _commit(context, storage, catalog, committed, made, shared)
        return transfer.stats


def _commit(
    context: Context,
    storage: Storage,
    catalog: Catalog,
    committed: Committed,
    made: Carried,
    shared: InPool,
) -> None:
    """The classic backup is true until the last file is written. What was found by reading it is as true of equal copies."""
    place, manifest = committed.stored.layout, committed.manifest
    known = catalog.verified(place.name, manifest.commit or committed.backup.id)
    with relaid(
        catalog, committed, made, name=place.name, location=storage.location, tool=context.tool
    ) as files:
        until = msgspec.structs.replace(files.manifest, earlier=manifest.as_earlier())
        shared.before = bytes(catalog.read_file(place.meta(layout.FULL_META)))
        shared.options = PRIVATE if files.private else PLAIN
        shared.copied = files.manifest.commit
        write(catalog, files, until=until, run=context.run)
        # The plugin of a file system compares what it copies, and tells no digests.
        if known.results and (made.proven or storage.location.mount):
            known = msgspec.structs.replace(known, subject=files.manifest.commit)
            catalog.write(place.meta(layout.VERIFIED), lambda: [msgspec.json.encode(known)])


def _free(context: Context, storage: Storage, name: str) -> None:
    """Deletes what is left of the classic backup, which is a shared one now: copies of objects that it has in the pool, records."""
    run, catalog = context.run, Catalog(storage, context.run)
    run.phase("delete")
    committed = catalog.committed(name)
    if committed.manifest.earlier is not None:
        catalog.write_manifest(name, msgspec.structs.replace(committed.manifest, earlier=None))
    files = committed.stored.files
    stale = [file for file in files if layout.is_record(file) and file not in committed.manifest.files]
    if stale:
        _delete(context, storage, [files[file].key for file in stale])
    classic, others = _left(catalog, storage, context, committed)
    length = max(storage.capabilities.delete_batch, 100)
    for start in range(0, len(classic), length):
        run.check_cancelled()
        _delete(context, storage, [item.source_key for item in classic[start : start + length]])
    if others:
        run.notice(
            "others-left",
            "{count} objects below {prefix} do not belong to backup {backup!r} and stay: {keys}",
            count=len(others),
            prefix=committed.stored.layout.data_prefix,
            backup=name,
            keys=some(others, len(others)),
        )


def _keep(context: Context, storage: Storage, plan: ImportPlan) -> None:
    """Locks what was in the pool before, and last says so: until then the classic backup would be one that cannot be imported."""
    keep = Keeping(storage, context.run, plan.committed.stored.layout)
    if keep.lock is None:
        return
    told = plan.moving is None and layout.LOCKED in plan.committed.stored.files
    if not told:
        keep.objects(_present(context, storage, plan))
        keep.take()
    keep.files()


def _present(context: Context, storage: Storage, plan: ImportPlan) -> Iterator[str]:
    """The keys of objects that were not locked as they were made; nobody knows which those of an earlier run were."""
    if plan.moving:
        yield from (item.key for item in plan.moving.items if item.key in plan.moving.present)
        return
    record = Catalog(storage, context.run).open_record(plan.committed)
    if record is not None:
        with record:
            yield from (f"{plan.committed.below}{entry.key}" for entry in record.objects())


def _left(
    catalog: Catalog, storage: Storage, context: Context, committed: Committed
) -> tuple[list[CopyItem], list[str]]:
    """What lies below the prefix of a shared backup: the classic copies of its objects, and the keys of all else."""
    start = len(committed.stored.layout.prefix)
    found = listing.objects(storage, context.run, committed.stored.layout.data_prefix)
    record = catalog.open_record(committed) if found else None
    if record is None:
        return [], [entry.key for entry in found]
    with record:
        named = {entry.key.partition("/")[2]: entry for entry in record.objects()}
    classic, others = list[CopyItem](), list[str]()
    for entry in found:
        own = named.get(entry.key[start:])
        if own is None or own.size != entry.size:
            others.append(entry.key)
        else:
            copied = replace(entry, checksums={**entry.checksums, **own.digests})
            classic.append(CopyItem.of(copied, f"{committed.below}{own.key}"))
    return classic, others


def _delete(context: Context, storage: Storage, keys: list[str]) -> None:
    context.run.retry.call(f"delete {some(keys[:1], len(keys))}", storage.delete, keys)
    context.run.emit(ObjectsDeleted(objects=len(keys)))
