"""The operation `l0compact`: a new backup of the same rows without L0 segments.

It is committed like any other: the manifest first, then data, verification, level files, ``full_meta.json``. A killed run
leaves an incomplete backup, which `delete` removes and ``--force`` replaces.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from mbk.engine.formats.base import Compaction
from mbk.engine.formats.known import of_backup, require_compaction
from mbk.engine.repository.catalog import Catalog, backup_exists
from mbk.engine.repository.keeping import Keeping, keeping, require_keeping
from mbk.engine.repository.leftovers import leftovers
from mbk.engine.repository.removal import Remover
from mbk.engine.repository.surroundings import require_room
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import hold
from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.layout import BackupLayout
from mbk.model.manifest import L0COMPACT, SHARED, now
from mbk.model.options import L0CompactOptions
from mbk.model.plans import Plan, total
from mbk.model.reports import RunReport, check_name, compacted_name


@frozen(kw_only=True)
class L0CompactPlan:
    """Backup ``output`` is made from ``source``. ``replaces``: an existing backup ``output`` is deleted first."""

    source: str
    output: str
    replaces: bool
    compaction: Compaction


def plan(context: Context, name: str, options: L0CompactOptions) -> L0CompactPlan:
    """Raises every obstacle. With ``force`` an existing backup of the new name is deleted."""
    output = options.output or compacted_name(name)
    _refuse(context, name, output)
    return _plan(context, name, output, options)


def preview(context: Context, plan: L0CompactPlan) -> Plan:
    planned = [estimate.planned(label, label) for label, estimate in plan.compaction.estimate().items()]
    here = context.backup_storage.location
    return Plan(
        command="l0compact",
        name=plan.output,
        id=plan.compaction.id,
        location=f"{here}/{plan.source}",
        target=f"{here}/{plan.output}",
        milvus_version=plan.compaction.milvus_version,
        collections=tuple(planned),
        objects=total([item.objects for item in planned]),
        size=total([item.size for item in planned]),
        rows=total([item.rows_expected for item in planned]),
        removes=(f"backup {plan.output}",) if plan.replaces else (),
        notices=tuple(context.run.notices),
    )


def execute(context: Context, name: str, options: L0CompactOptions) -> RunReport:
    started, source, output = time.monotonic(), name, options.output or compacted_name(name)
    _refuse(context, source, output)
    what = f"l0compact of {source!r} into {output!r}"
    storage, left, begun = context.backup_storage, leftovers(output), datetime.now(UTC)
    with hold(storage, output, what, context.run, pace=context.pace.lease, aftermath=left) as fence:
        storage = writing_backup(storage, fence, output)
        storage = keeping(storage, context.run, output, context.object_lock, begun)
        context = replace(context, backup_storage=storage)
        made = _plan(context, source, output, options)
        _take_name(context, made)
        Keeping(storage, context.run, BackupLayout(storage.location.root, output)).take()
        outcomes, stats = made.compaction.run(output)
    return RunReport(
        command="l0compact",
        name=output,
        id=made.compaction.id,
        location=f"{context.backup_storage.location}/{output}",
        milvus_version=made.compaction.milvus_version,
        seconds=time.monotonic() - started,
        collections=tuple(outcomes),
        transfer=stats,
        notices=tuple(context.run.notices),
        compared=options.checksum,
    )


def _refuse(context: Context, source: str, output: str) -> None:
    require_compaction()
    check_name(output)
    if output == source:
        raise UsageError(
            "backup {backup!r} cannot replace itself",
            code="backup-replaces-itself",
            backup=source,
            hint="choose another name with -o",
        )
    require_room(output, context.backup_storage.location, context.milvus_place)
    context.backup_storage.check()
    require_keeping(context.backup_storage, context.run, context.object_lock)
    context.limits.transfer.require_workers()


def _plan(context: Context, source: str, output: str, options: L0CompactOptions) -> L0CompactPlan:
    catalog = Catalog(context.backup_storage, context.run)
    backup = catalog.read(source)
    full = options.checksum == "full"
    compaction = of_backup(backup.format, source).compact(context, catalog, source, full=full)
    taken = catalog.find(output).is_backup
    if not taken:
        catalog.require_free(output)
    elif not options.force:
        raise backup_exists(
            output,
            context.backup_storage.location,
            hint="choose another name with -o, or replace it with --force",
        )
    return L0CompactPlan(source=source, output=output, replaces=taken, compaction=compaction)


def _take_name(context: Context, plan: L0CompactPlan) -> None:
    catalog = Catalog(context.backup_storage, context.run)
    if plan.replaces:
        remover = Remover(context.backup_storage, catalog, context.run, milvus=context.milvus_place)
        remover.remove(plan.output)
        catalog.require_free(plan.output)
    catalog.clean(catalog.layout(plan.output).prefix)
    source = catalog.read_manifest(plan.source).begun()
    manifest = msgspec.structs.replace(
        source,
        tool=context.tool,
        id=plan.compaction.id,
        name=plan.output,
        started=now(),
        command=L0COMPACT,
        source=plan.source,
        # Also of a shared backup a classic one is made: it holds other objects than any other backup.
        format="" if source.format == SHARED else source.format,
        origin="",
        added=None,
    )
    catalog.write_manifest(plan.output, manifest)
