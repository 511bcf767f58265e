"""The operation `restore secondary`: a standby cluster gets the state of a backup, including ids."""

from __future__ import annotations

import time
from dataclasses import replace

from mbk.engine.formats.base import Clusters, StandbyRestore
from mbk.engine.formats.known import of_backup
from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.claims import hold_targets
from mbk.engine.runtime.context import StandbyContext
from mbk.engine.runtime.fenced import restoring
from mbk.frozen import frozen
from mbk.model.options import StandbyOptions
from mbk.model.plans import Plan, total
from mbk.model.records import DEFAULT_DATABASE, Backup
from mbk.model.reports import RunReport
from mbk.model.selection import CollectionName


@frozen(kw_only=True)
class StandbyPlan:
    name: str
    backup: Backup
    clusters: Clusters
    standby: StandbyRestore


def plan(context: StandbyContext, name: str, options: StandbyOptions) -> StandbyPlan:
    """Raises every obstacle: something missing in the backup, a standby that is in use."""
    catalog = Catalog(context.backup_storage, context.run)
    context.backup_storage.check()
    backup = catalog.read(name)
    clusters = Clusters(source=options.source, target=options.target, open=context.open_log)
    standby = of_backup(backup.format, name).standby(context, catalog, backup, clusters)
    return StandbyPlan(name=name, backup=backup, clusters=clusters, standby=standby)


def preview(context: StandbyContext, plan: StandbyPlan) -> Plan:
    estimates = plan.standby.estimate()
    planned = [estimate.planned(str(name), str(name)) for name, estimate in estimates.items()]
    return Plan(
        command="restore secondary",
        name=plan.name,
        id=plan.backup.id,
        location=f"{context.backup_storage.location}/{plan.name}",
        target=f"cluster {plan.clusters.target}",
        milvus_version=context.milvus.version,
        resumes=plan.standby.resumed,
        collections=tuple(planned),
        objects=total([item.objects for item in planned]),
        size=total([item.size for item in planned]),
        rows=total([item.rows_expected for item in planned]),
        notices=tuple(context.run.notices),
    )


def execute(context: StandbyContext, name: str, options: StandbyOptions) -> RunReport:
    """`Busy` while another run restores into one of the collections, or removes what one staged for it."""
    started = time.monotonic()
    targets, what = _targets(context, name), f"seeding of {options.target} with backup {name!r}"
    with hold_targets(context.storage, targets, what, context.run, pace=context.pace.lease) as fence:
        context = replace(context, storage=restoring(context, fence).storage)
        made = plan(context, name, options)
        outcomes, stats = made.standby.execute()
    return RunReport(
        command="restore secondary",
        name=name,
        id=made.backup.id,
        location=f"{context.backup_storage.location}/{name}",
        milvus_version=context.milvus.version,
        seconds=time.monotonic() - started,
        collections=tuple(outcomes),
        transfer=stats,
        notices=tuple(context.run.notices),
    )


def _targets(context: StandbyContext, name: str) -> list[str]:
    context.backup_storage.check()
    context.storage.check()
    backup = Catalog(context.backup_storage, context.run).read(name)
    return [
        str(CollectionName(item.db_name or DEFAULT_DATABASE, item.collection_name))
        for item in backup.collection_backups
    ]
