"""The operation `copy`: copies a committed backup, byte for byte, to another place, with the commit protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from mbk.engine.formats.known import of_backup
from mbk.engine.repository.catalog import Catalog, backup_exists
from mbk.engine.runtime.context import Context, CopyContext
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.messages import notice_bucket_missing
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.engine.transfer.verify import verify
from mbk.errors import BucketNotFound, UsageError
from mbk.model import layout
from mbk.model.events import WorkPlanned
from mbk.model.layout import BackupLayout
from mbk.model.manifest import COPY, Manifest, now
from mbk.model.options import CopyOptions
from mbk.model.plans import Plan, total
from mbk.model.records import DEFAULT_DATABASE, Backup, Collection
from mbk.model.reports import CollectionOutcome, RunReport, TransferStats
from mbk.model.states import CollectionState
from mbk.ports.storage import ObjectInfo, Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """``items``: every object of the backup. ``present``: the objects of a copy that an earlier run started."""

    name: str
    backup: Backup
    mark: str
    items: tuple[CopyItem, ...]
    present: Mapping[str, ObjectInfo]


def plan(context: CopyContext, name: str, options: CopyOptions) -> CopyPlan:  # noqa: ARG001 - the target is opened by them
    """Raises every obstacle; `BackupExists` if the target has something under this name other than an unfinished copy of
    the same backup."""
    target = context.target
    catalog, backup = _readable(context, name, target)
    try:
        target.check()
    except BucketNotFound as missing:
        notice_bucket_missing(context.run, missing)
        return _plan(context, catalog, backup, name, target, Manifest(), {}, is_committed=False)
    return _planned(context, catalog, backup, name, target)


def preview(context: CopyContext, plan: CopyPlan) -> Plan:
    place = Catalog(context.target, context.run).layout(plan.name)
    outcomes = tuple(_planned_outcomes(plan, place))
    return Plan(
        command="copy",
        name=plan.name,
        id=plan.backup.id,
        location=f"{context.backup_storage.location}/{plan.name}",
        target=f"{context.target.location}/{plan.name}",
        milvus_version=plan.backup.milvus_version,
        resumes=bool(plan.present),
        collections=outcomes,
        objects=len(plan.items),
        size=sum(item.size for item in plan.items),
        rows=total([item.rows_expected for item in outcomes]),
        notices=tuple(context.run.notices),
    )


def execute(context: CopyContext, name: str, options: CopyOptions) -> RunReport:  # noqa: ARG001 - as for `plan`
    """Copies the backup. An interrupted copy is resumed; anything else at the target stays untouched."""
    started, run, target = time.monotonic(), context.run, context.target
    catalog, backup = _readable(context, name, target)
    target.check(create=True)
    with hold(target, name, f"copy of backup {name!r}", run, pace=context.pace.lease):
        stats = _copy(context, _planned(context, catalog, backup, name, target), target)
    return RunReport(
        command="copy",
        name=name,
        id=backup.id,
        location=f"{target.location}/{name}",
        milvus_version=backup.milvus_version,
        seconds=time.monotonic() - started,
        collections=tuple(_outcomes(backup)),
        transfer=stats,
        notices=tuple(run.notices),
    )


# -- planning ----------------------------------------------------------------------------------------------------------


def _readable(context: Context, name: str, target: Storage) -> tuple[Catalog, Backup]:
    here, there = context.backup_storage.location, target.location
    if here.same_bucket(there) and here.root == there.root:
        raise UsageError(
            "backup {backup!r} would be copied onto itself",
            code="backup-onto-itself",
            backup=name,
            hint="choose another path or bucket",
        )
    context.backup_storage.check()
    catalog = Catalog(context.backup_storage, context.run)
    backup = catalog.read(name)
    of_backup(backup.format, name).require_movable(name)
    return catalog, backup


def _planned(context: Context, source: Catalog, backup: Backup, name: str, target: Storage) -> CopyPlan:
    catalog = Catalog(target, context.run)
    place = catalog.layout(name)
    present = listing.by_key(target, context.run, place.prefix)
    is_committed = catalog.find(name).is_committed
    begun = catalog.read_manifest(name)
    return _plan(context, source, backup, name, target, begun, present, is_committed=is_committed)


def _plan(
    context: Context,
    source: Catalog,
    backup: Backup,
    name: str,
    target: Storage,
    begun: Manifest,
    present: dict[str, ObjectInfo],
    *,
    is_committed: bool,
) -> CopyPlan:
    stored, place = source.find(name), Catalog(target, context.run).layout(name)
    items = [
        CopyItem.of(entry, place.prefix + entry.key.removeprefix(stored.layout.prefix))
        for entry in listing.objects(context.backup_storage, context.run, stored.layout.prefix)
    ]
    ours = begun.command == COPY and begun.id == backup.id
    if ours:
        present = {key: entry for key, entry in present.items() if key != place.meta(layout.MANIFEST)}
    sizes = {item.key: item.size for item in items}
    others = any(sizes.get(key) != entry.size for key, entry in present.items())
    if (is_committed and not ours) or others:
        raise backup_exists(name, target.location, hint="delete it there, or copy to another path or bucket")
    mark = layout.FULL_META if layout.FULL_META in stored.files else layout.BACKUP_META
    return CopyPlan(name=name, backup=backup, mark=mark, items=tuple(items), present=present)


# -- running -----------------------------------------------------------------------------------------------------------


def _copy(context: Context, plan: CopyPlan, target: Storage) -> TransferStats:
    """Until the copy is complete, the manifest at the target says that it is a copy, and of what; the last step replaces
    it by that of the source."""
    run, catalog = context.run, Catalog(target, context.run)
    place = catalog.layout(plan.name)
    run.phase("copy")
    run.emit(WorkPlanned(collection="", objects=len(plan.items), size=sum(item.size for item in plan.items)))
    target.clean(place.prefix)
    _take_name(context, plan, catalog)
    data, meta, manifest, last = _in_order(plan.items, place, plan.mark)
    with Transfer(
        source=context.backup_storage, destination=target, run=run, limits=context.limits.transfer
    ) as transfer:
        for batch in (data, meta):
            transfer.copy(batch, collection="", present=plan.present)
        run.phase("verify")
        verify([*data, *meta], listing.by_key(target, run, place.prefix), where=str(target.location))
        run.check_cancelled()
        run.phase("commit")
        transfer.copy(last, collection="", present={})
        if manifest:
            transfer.copy(manifest, collection="", present={})
        else:
            key = place.meta(layout.MANIFEST)
            run.retry.call(f"delete {key}", target.delete, [key])
        return transfer.stats


def _take_name(context: Context, plan: CopyPlan, catalog: Catalog) -> None:
    source = Catalog(context.backup_storage, context.run)
    manifest = msgspec.structs.replace(
        source.read_manifest(plan.name),
        id=plan.backup.id,
        name=plan.name,
        started=now(),
        finished="",
        command=COPY,
        source=f"{context.backup_storage.location}/{plan.name}",
    )
    catalog.write_manifest(plan.name, manifest)


def _in_order(
    items: Sequence[CopyItem], place: BackupLayout, mark: str
) -> tuple[list[CopyItem], list[CopyItem], list[CopyItem], list[CopyItem]]:
    """The data, the metadata, the manifest if there is one, and the file that commits the backup."""
    manifest, last = place.meta(layout.MANIFEST), place.meta(mark)
    meta = [
        item for item in items if item.key.startswith(place.meta_prefix) and item.key not in (manifest, last)
    ]
    data = [item for item in items if not item.key.startswith(place.meta_prefix)]
    named = {item.key: item for item in items}
    return data, meta, [named[manifest]] if manifest in named else [], [named[last]]


def _outcomes(backup: Backup) -> Iterator[CollectionOutcome]:
    for item in backup.collection_backups:
        label = _label(item)
        yield CollectionOutcome(label, label, CollectionState.DONE, size=item.size)


def _planned_outcomes(plan: CopyPlan, place: BackupLayout) -> Iterator[CollectionOutcome]:
    for item in plan.backup.collection_backups:
        label = _label(item)
        below = place.collection_prefixes(item.collection_id)
        own = [entry for entry in plan.items if entry.key.startswith(below)]
        segments = [segment for part in item.partition_backups for segment in part.segment_backups]
        yield CollectionOutcome(
            label,
            label,
            CollectionState.PLANNED,
            objects=len(own),
            size=sum(entry.size for entry in own),
            rows_expected=sum(segment.num_of_rows for segment in segments if not segment.is_l0),
        )


def _label(item: Collection) -> str:
    return f"{item.db_name or DEFAULT_DATABASE}.{item.collection_name}"
