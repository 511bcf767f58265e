"""The operation `delete`: deletes a backup with all its objects, complete or not."""

from __future__ import annotations

from dataclasses import dataclass

from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.lease import hold
from mbk.engine.transfer import listing
from mbk.model.options import DeleteOptions
from mbk.model.plans import Plan
from mbk.model.reports import DeletionReport


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePlan:
    """``objects`` and ``size`` (bytes) cover everything below the backup's prefix."""

    name: str
    prefix: str
    objects: int
    size: int


def plan(context: Context, name: str, options: DeleteOptions) -> DeletePlan:  # noqa: ARG001 - there are none yet
    """`BackupNotFound` if there is no backup of this name."""
    context.backup_storage.check()
    catalog = Catalog(context.backup_storage, context.run)
    stored = catalog.require(name)
    objects, size = 0, 0
    for entry in listing.objects(context.backup_storage, context.run, stored.layout.prefix):
        objects, size = objects + 1, size + entry.size
    return DeletePlan(name=name, prefix=stored.layout.prefix, objects=objects, size=size)


def preview(context: Context, plan: DeletePlan) -> Plan:
    here = context.backup_storage.location
    return Plan(
        command="delete",
        name=plan.name,
        location=f"{here}/{plan.name}",
        objects=plan.objects,
        size=plan.size,
        removes=(f"{plan.objects} objects below {plan.prefix}",),
        notices=tuple(context.run.notices),
    )


def execute(context: Context, name: str, options: DeleteOptions) -> DeletionReport:  # noqa: ARG001 - there are none yet
    """Deletes the backup. `BackupNotFound` if there is none."""
    context.backup_storage.check()
    catalog = Catalog(context.backup_storage, context.run)
    catalog.layout(name)  # refuses an invalid name
    what = f"deletion of backup {name!r}"
    with hold(context.backup_storage, name, what, context.run, pace=context.pace.lease):
        return DeletionReport(name, catalog.delete(name))
