"""The operation `delete`: deletes a backup with all its objects, complete or not."""

from __future__ import annotations

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.pool.collection import Freed, collect
from mbk.engine.repository.removal import Found, Remover, some
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import hold
from mbk.errors import BackupNotFound
from mbk.frozen import frozen
from mbk.model.options import DeleteOptions
from mbk.model.plans import Plan
from mbk.model.reports import DeletionReport
from mbk.ports.storage import Storage


@frozen(kw_only=True)
class DeletePlan:
    """``found``: what belongs to the backup, and what else lies below its prefix and stays."""

    name: str
    prefix: str
    found: Found


def plan(context: Context, name: str, options: DeleteOptions) -> DeletePlan:
    """`BackupNotFound` if there is no backup of this name."""
    prefix = _prefix(context, name)
    return DeletePlan(
        name=name, prefix=prefix, found=_remover(context, context.backup_storage, options).look(name)
    )


def preview(context: Context, plan: DeletePlan) -> Plan:
    here, found = context.backup_storage.location, plan.found
    stay = f"{found.strangers} objects stay, they do not belong to it: {some(found.others, found.strangers)}"
    return Plan(
        command="delete",
        name=plan.name,
        location=f"{here}/{plan.name}",
        objects=found.objects,
        size=found.size,
        removes=(f"{found.objects} objects below {plan.prefix}",),
        notices=(*context.run.notices, *([stay] if found.strangers else [])),
    )


def execute(context: Context, name: str, options: DeleteOptions) -> DeletionReport:
    """Deletes the backup. `BackupNotFound` if there is none, `DeleteFailed` if something of it is still there."""
    _prefix(context, name)
    what, storage = f"deletion of backup {name!r}", context.backup_storage
    try:
        with hold(storage, name, what, context.run, pace=context.pace.lease, deletes=True) as fence:
            storage = writing_backup(storage, fence, name)
            removed = _remover(context, storage, options).remove(name)
    except BackupNotFound:
        # A run that was stopped may have deleted it, and left the rest to this one.
        collect(context.backup_storage, context.run, pace=context.pace.lease)
        raise
    freed = Freed()
    if removed.shared:
        freed = collect(context.backup_storage, context.run, pace=context.pace.lease)
    return DeletionReport(
        name,
        removed.objects + freed.objects,
        removed.versions,
        removed.strangers,
        freed=removed.size + freed.size,
        notices=tuple(context.run.notices),
    )


def _prefix(context: Context, name: str) -> str:
    """Refuses an invalid name."""
    context.backup_storage.check()
    return Catalog(context.backup_storage, context.run).layout(name).prefix


def _remover(context: Context, storage: Storage, options: DeleteOptions) -> Remover:
    catalog = Catalog(storage, context.run)
    return Remover(
        storage,
        catalog,
        context.run,
        milvus=context.milvus_place,
        remnants=options.remnants,
        versions=options.versions,
    )
