"""The operation `pin`: a backup stays, whatever the rules of a prune say and whoever deletes it, until it is let go."""

from __future__ import annotations

from mbk.engine.repository import pins
from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import hold
from mbk.errors import InvalidBackup
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.manifest import now
from mbk.model.options import PinOptions
from mbk.model.plans import Plan
from mbk.model.reports import Pin, PinReport


@frozen(kw_only=True)
class PinPlan:
    """``pin`` None: the backup is let go."""

    name: str
    pin: Pin | None


def plan(context: Context, name: str, options: PinOptions) -> PinPlan:
    """`BackupNotFound`, or `InvalidBackup` for one that was never completed."""
    context.backup_storage.check()
    catalog = Catalog(context.backup_storage, context.run)
    if not catalog.require(name).is_committed:
        raise InvalidBackup(
            "backup {backup!r} is incomplete, and is not pinned",
            code="pin-incomplete",
            backup=name,
            hint=catalog.read_manifest(name).remedy(name),
        )
    return PinPlan(name=name, pin=None if options.remove else Pin(options.until, options.reason))


def preview(context: Context, plan: PinPlan) -> Plan:
    where = f"{context.backup_storage.location}/{plan.name}"
    return Plan(command="pin", name=plan.name, location=where, notices=tuple(context.run.notices))


def execute(context: Context, name: str, options: PinOptions) -> PinReport:
    pin, run = plan(context, name, options).pin, context.run
    with hold(
        context.backup_storage, name, f"pinning backup {name!r}", run, pace=context.pace.lease
    ) as fence:
        storage = writing_backup(context.backup_storage, fence, name)
        catalog = Catalog(storage, run)
        if pin is not None:
            catalog.write_beside(name, layout.PINNED, pins.encoded(pin, now()))
        else:
            key = catalog.layout(name).meta(layout.PINNED)
            run.retry.call(f"delete {key}", storage.delete, [key])
    return PinReport(name, pin)
