"""The operation `restore`: from a committed backup into a running Milvus.

The plan checks everything that can be checked before the first change: names, existing targets, missing objects,
unreachable storages, schemas that the server does not support. A collection that could not be restored completely is
dropped again if this restore created it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from mbk.engine.formats.base import Format, RestoreFormat, RestoreWork, RestoreWorker
from mbk.engine.formats.known import of_backup
from mbk.engine.repository.catalog import Catalog
from mbk.engine.restore.checks import TargetChecks
from mbk.engine.restore.plan import RestorePlan as Tasks
from mbk.engine.restore.plan import RestoreTask, make_plan
from mbk.engine.restore.setup import RestoreSetup
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.lease import hold_targets
from mbk.engine.runtime.messages import notice_unmatched
from mbk.engine.runtime.pool import Pool
from mbk.errors import MbkError, PartialFailure, UsageError
from mbk.model.events import CollectionFinished
from mbk.model.options import RestoreOptions
from mbk.model.plans import Plan, total
from mbk.model.records import Backup
from mbk.model.reports import CollectionOutcome, RunReport
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """``begun``: targets of an earlier run of this restore, True if it can be resumed; ``replaced``: existing collections
    to drop and restore."""

    name: str
    options: RestoreOptions
    backup: Backup
    kind: Format
    tasks: Tasks
    begun: Mapping[CollectionName, bool]
    replaced: tuple[CollectionName, ...]
    format: RestoreFormat


def plan(context: ClusterContext, name: str, options: RestoreOptions) -> RestorePlan:
    """Raises every obstacle that can be known before the first change."""
    return _plan(context, _chosen(context, name, options))


def preview(context: ClusterContext, plan: RestorePlan) -> Plan:
    """The plan with its objects, bytes and rows."""
    planned = [
        plan.format.estimate(task.target).planned(str(task.source), str(task.target))
        for task in plan.tasks.tasks
    ]
    return Plan(
        command="restore",
        name=plan.name,
        id=plan.backup.id,
        location=f"{context.backup_storage.location}/{plan.name}",
        target=f"Milvus {context.milvus.version}",
        format=plan.kind.name,
        milvus_version=context.milvus.version,
        resumes=any(plan.begun.values()),
        collections=tuple(planned),
        objects=sum(item.objects for item in planned),
        size=sum(item.size for item in planned),
        rows=total([item.rows_expected for item in planned]),
        removes=tuple(f"collection {name}" for name in plan.replaced),
        notices=tuple(context.run.notices),
    )


def execute(context: ClusterContext, name: str, options: RestoreOptions) -> RunReport:
    """Restores. `PartialFailure` carries the report if only some collections are restored."""
    started = time.monotonic()
    chosen = _chosen(context, name, options)
    targets = [str(task.target) for task in chosen.tasks.tasks]
    what = f"restore of {name!r}"
    with hold_targets(context.storage, targets, what, context.run, pace=context.pace.lease):
        return _Restore(context, _plan(context, chosen), started).run()


# -- planning ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    name: str
    options: RestoreOptions
    catalog: Catalog
    backup: Backup
    tasks: Tasks


def _chosen(context: ClusterContext, name: str, options: RestoreOptions) -> _Chosen:
    """Which collections become which targets; only checks that Milvus and its storage are reachable."""
    catalog = Catalog(context.backup_storage, context.run)
    context.backup_storage.check()
    backup = catalog.read(name)
    tasks = make_plan(backup, options)
    for item in tasks.unmatched:
        notice_unmatched(context.run, "filter", item)
    for item in tasks.unrenamed:
        notice_unmatched(context.run, "rename", item)
    if options.rbac and backup.rbac_meta is None:
        raise UsageError(
            "backup {backup!r} contains no users and roles",
            code="backup-without-rbac",
            backup=backup.name,
            hint="leave out --rbac",
        )
    context.storage.check()
    return _Chosen(name=name, options=options, catalog=catalog, backup=backup, tasks=tasks)


def _plan(context: ClusterContext, chosen: _Chosen) -> RestorePlan:
    backup, tasks = chosen.backup, chosen.tasks
    checks = TargetChecks(
        context=context,
        name=chosen.name,
        backup_id=backup.id,
        tasks=tasks.tasks,
        options=chosen.options,
    )
    begun = checks.begun()
    work = RestoreWork(
        name=chosen.name,
        backup=backup,
        place=chosen.catalog.layout(chosen.name),
        tasks=tasks.tasks,
        options=chosen.options,
        rows=chosen.catalog.read_manifest(chosen.name).rows,
    )
    kind = of_backup(backup.format, chosen.name)
    return RestorePlan(
        name=chosen.name,
        options=chosen.options,
        backup=backup,
        kind=kind,
        tasks=tasks,
        begun=begun,
        replaced=tuple(checks.replaced(begun)),
        format=kind.restore(context, work),
    )


# -- running -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Restore:
    """One run that holds the leases of its targets."""

    context: ClusterContext
    plan: RestorePlan
    started: float
    _errors: dict[str, MbkError] = field(default_factory=dict, init=False)

    def run(self) -> RunReport:
        plan, run = self.plan, self.context.run
        setup = RestoreSetup(self.context.milvus, run, plan.tasks, plan.options)
        for task in plan.tasks.tasks:
            run.phase("waiting", str(task.target))
        with plan.format.work() as worker:
            setup.create_databases()
            resumed = setup.resume(plan.begun)
            outcomes = self._collections(worker, resumed)
            stats = worker.stats
        report = RunReport(
            command="restore",
            name=plan.name,
            id=str(uuid.uuid4()),
            location=f"{self.context.backup_storage.location}/{plan.name}",
            milvus_version=self.context.milvus.version,
            seconds=time.monotonic() - self.started,
            collections=tuple(outcomes),
            transfer=stats,
            notices=tuple(run.notices),
        )
        return self._ended(report)

    def _collections(self, worker: RestoreWorker, resumed: set[CollectionName]) -> list[CollectionOutcome]:
        """All collections, then users and roles, as grants may name collections; the journals are deleted last."""
        tasks = self.plan.tasks.tasks

        def one(task: RestoreTask) -> CollectionOutcome:
            return self._collection(worker, task, resumed=task.target in resumed)

        workers = self.context.run.budget.collections
        with Pool(workers, self.context.run.cancelled, name="mbk-restore") as pool:
            outcomes = {outcome.target: outcome for outcome in pool.map(one, tasks)}
        self._rbac()
        for task in tasks:
            if outcomes[str(task.target)].outcome == CollectionState.DONE:
                worker.conclude(task)
        return [outcomes[str(task.target)] for task in tasks]

    def _collection(self, worker: RestoreWorker, task: RestoreTask, *, resumed: bool) -> CollectionOutcome:
        label, run = str(task.target), self.context.run
        try:
            outcome = worker.restore(task, resumed=resumed)
        except MbkError as error:
            if self.plan.options.fail_fast or concerns_everything(error):
                raise
            self._errors[label] = error
            run.emit(CollectionFinished(collection=label, outcome=CollectionState.FAILED, error=str(error)))
            return CollectionOutcome(str(task.source), label, CollectionState.FAILED, error=str(error))
        run.emit(CollectionFinished(collection=label, outcome=CollectionState.DONE))
        return outcome

    def _rbac(self) -> None:
        recorded = self.plan.backup.rbac_meta
        if not self.plan.options.rbac or recorded is None:
            return
        self.context.run.phase("rbac")
        for note in self.context.milvus.access.restore(recorded):
            self.context.run.notice("rbac", note)

    def _ended(self, report: RunReport) -> RunReport:
        if report.failed:
            if len(report.failed) == len(report.collections):
                raise self._errors[report.failed[0].target]
            raise PartialFailure(
                "{failed} of {total} collections of backup {backup!r} were not restored",
                code="collections-not-restored",
                failed=len(report.failed),
                total=len(report.collections),
                backup=report.name,
                report=report,
                hint="the others are done; run again with --filter for these",
            )
        return report
