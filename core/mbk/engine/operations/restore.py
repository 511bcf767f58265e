"""The operation `restore`: from a committed backup into a running Milvus.

The plan checks everything that can be checked before the first change: names, existing targets, missing objects,
unreachable storages, schemas that the server does not support. A collection that could not be restored completely is
dropped again if this restore created it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime

from mbk.engine.formats.base import Format, RestoreFormat, RestoreWork, RestoreWorker, restore_id
from mbk.engine.formats.known import of_backup
from mbk.engine.repository.catalog import Catalog, Committed, clean, delete_below
from mbk.engine.restore.added import AddedBackups
from mbk.engine.restore.checks import TargetChecks, require_sendable, with_collections
from mbk.engine.restore.ending import Ending
from mbk.engine.restore.journal import restore_temp
from mbk.engine.restore.moments import asked_for, found, moments
from mbk.engine.restore.plan import RestorePlan as Tasks
from mbk.engine.restore.plan import RestoreTask, make_plan
from mbk.engine.restore.setup import RestoreSetup
from mbk.engine.restore.standing import Standing
from mbk.engine.restore.todo import left_to_do
from mbk.engine.runtime.claims import Aftermath, hold_targets
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.fenced import restoring
from mbk.engine.runtime.messages import notice_unmatched
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.load import together
from mbk.errors import InvalidBackup, MbkError, PartialFailure, RowsWrong, UsageError, VerificationFailed
from mbk.frozen import frozen
from mbk.model.events import CollectionFinished
from mbk.model.flows import Flow, Requests, Side, requests_of
from mbk.model.options import RestoreOptions
from mbk.model.plans import Plan, total
from mbk.model.records import Backup
from mbk.model.reports import CollectionOutcome, RunReport
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState
from mbk.ports.storage import Storage

_AGAIN = "the others are done; run again with --filter for these"
_LASTING = "the others are done; the report says what these need, the same restore would fail again"


@frozen(kw_only=True)
class RestorePlan:
    """``standings``: how each target stands, and whether an earlier run of this restore began with it. ``asked``: the moment to
    restore, None for that of the backup; ``moments``: target -> the one that it really is of, where that is known."""

    name: str
    options: RestoreOptions
    backup: Backup
    kind: Format
    tasks: Tasks
    standings: Mapping[CollectionName, Standing]
    format: RestoreFormat
    asked: datetime | None
    moments: Mapping[str, datetime]

    def dated(self, outcome: CollectionOutcome) -> CollectionOutcome:
        """With the moment that the collection is of, and how long that is before the one that was asked for."""
        moment = self.moments.get(outcome.target)
        if moment is None:
            return outcome
        behind = max(0.0, (self.asked - moment).total_seconds()) if self.asked else None
        return replace(outcome, moment=moment, behind=behind)


def plan(context: ClusterContext, name: str, options: RestoreOptions) -> RestorePlan:
    """Raises every obstacle that can be known before the first change."""
    return _plan(context, _chosen(context, name, options))


def preview(context: ClusterContext, plan: RestorePlan) -> Plan:
    """The plan with its objects, bytes and rows."""
    estimates = [plan.format.estimate(task.target) for task in plan.tasks.tasks]
    planned = [
        plan.dated(estimate.planned(str(task.source), str(task.target)))
        for estimate, task in zip(estimates, plan.tasks.tasks, strict=True)
    ]
    flows = together(estimate.flow for estimate in estimates)
    return Plan(
        command="restore",
        name=plan.name,
        id=plan.backup.id,
        location=f"{context.backup_storage.location}/{plan.name}",
        target=f"Milvus {context.milvus.version}",
        format=plan.kind.name,
        milvus_version=context.milvus.version,
        resumes=any(standing.resumable for standing in plan.standings.values()),
        collections=tuple(planned),
        objects=total([item.objects for item in planned]),
        size=total([item.size for item in planned]),
        rows=total([item.rows_expected for item in planned]),
        flows=flows,
        requests=_requests(flows, planned),
        removes=tuple(
            f"collection {name}" for name, standing in sorted(plan.standings.items()) if standing.replaced
        ),
        asked=plan.asked,
        notices=tuple(context.run.notices),
    )


def _requests(flows: tuple[Flow, ...], planned: Sequence[CollectionOutcome]) -> tuple[Requests, ...]:
    """What is staged is listed in the backup, and again where it arrived."""
    listed: list[tuple[Side, int]] = [("backups", item.objects or 0) for item in planned]
    if flows:
        listed += [("storage", item.objects or 0) for item in planned]
    return requests_of(flows, listed=listed)


def execute(context: ClusterContext, name: str, options: RestoreOptions) -> RunReport:
    """Restores. `PartialFailure` carries the report if only some collections are restored."""
    started = time.monotonic()
    chosen = _chosen(context, name, options)
    name = chosen.name
    targets = [str(task.target) for task in chosen.tasks.tasks]
    what = f"restore of {name!r}"
    left, pace = _leftovers(context, chosen), context.pace.lease
    with hold_targets(context.storage, targets, what, context.run, pace=pace, aftermath=left) as fence:
        context = restoring(context, fence)
        ending = Ending(context, name, chosen.id, chosen.tasks.tasks)
        ending.give_back()
        restore = _Restore(context, _plan(context, chosen), ending, started)
        report = restore.run()
    ending.forget()
    return restore.ended(report)


def _leftovers(context: ClusterContext, chosen: _Chosen) -> Aftermath | None:
    """What a run that stood still left beside what another one restored in its place."""

    def remove(storage: Storage, run: Run) -> None:
        tasks = chosen.tasks.tasks
        ending = Ending(context, chosen.name, chosen.id, tasks).prefix
        for prefix in (ending, *(restore_temp(storage, chosen.name, task.target) for task in tasks)):
            delete_below(storage, prefix, run)
            clean(storage, run, prefix)

    return None if context.limits.restore.keep_temp else remove


# -- planning ----------------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class _Chosen:
    name: str
    options: RestoreOptions
    catalog: Catalog
    committed: Committed
    tasks: Tasks
    cuts: Mapping[str, int]

    @property
    def id(self) -> str:
        return restore_id(self.committed.backup, self.cuts)


def _chosen(context: ClusterContext, name: str, options: RestoreOptions) -> _Chosen:
    """Which collections become which targets; only checks that Milvus and its storage are reachable."""
    catalog = Catalog(context.backup_storage, context.run)
    context.backup_storage.check()
    source = found(context, catalog, name, options)
    backup = source.committed.backup
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
    tasks = with_collections(context, tasks, options)
    return _Chosen(
        name=source.name,
        options=options,
        catalog=catalog,
        committed=source.committed,
        tasks=tasks,
        cuts=source.cuts,
    )


def _plan(context: ClusterContext, chosen: _Chosen) -> RestorePlan:
    backup, tasks = chosen.committed.backup, chosen.tasks
    require_sendable(context.milvus, chosen.name, tasks.tasks, chosen.options)
    checks = TargetChecks(
        context=context,
        name=chosen.name,
        backup_id=backup.id,
        restore_id=chosen.id,
        tasks=tasks.tasks,
        options=chosen.options,
    )
    standings = checks.standings()
    tasks = replace(
        tasks, tasks=tuple(replace(task, beside=standings[task.target].beside) for task in tasks.tasks)
    )
    work = RestoreWork(
        name=chosen.name,
        catalog=chosen.catalog,
        committed=chosen.committed,
        place=chosen.catalog.layout(chosen.name),
        tasks=tasks.tasks,
        options=chosen.options,
        rows=chosen.committed.manifest.rows,
        protection=chosen.committed.manifest.protection,
        cuts=chosen.cuts,
    )
    kind = of_backup(backup.format, chosen.name)
    return RestorePlan(
        name=chosen.name,
        options=chosen.options,
        backup=backup,
        kind=kind,
        tasks=tasks,
        standings=standings,
        format=kind.restore(context, work),
        asked=asked_for(context, chosen.options),
        moments=moments(chosen.committed, tasks.tasks, chosen.options, chosen.cuts),
    )


# -- running -----------------------------------------------------------------------------------------------------------


@frozen
class _Restore:
    """One run that holds the leases of its targets."""

    context: ClusterContext
    plan: RestorePlan
    ending: Ending
    started: float
    _errors: dict[str, MbkError] = field(default_factory=dict, init=False)

    def run(self) -> RunReport:
        plan, run = self.plan, self.context.run
        setup = RestoreSetup(self.context.milvus, run, plan.tasks, plan.options)
        for task in plan.tasks.tasks:
            run.phase("waiting", str(task.target))
        with plan.format.work() as worker:
            setup.create_databases()
            resumed = setup.resume(plan.standings)
            outcomes = self._collections(worker, resumed)
            stats = worker.stats
        return RunReport(
            command="restore",
            name=plan.name,
            id=str(uuid.uuid4()),
            location=f"{self.context.backup_storage.location}/{plan.name}",
            milvus_version=self.context.milvus.version,
            seconds=time.monotonic() - self.started,
            collections=tuple(outcomes),
            transfer=stats,
            notices=tuple(run.notices),
            compared="" if plan.options.meta_only else plan.options.verify,
            todo=left_to_do(plan.tasks.tasks, plan.options, outcomes),
            asked=plan.asked,
        )

    def _collections(self, worker: RestoreWorker, resumed: set[CollectionName]) -> list[CollectionOutcome]:
        """All collections, then users and roles, as grants may name collections; the journals are deleted last."""
        tasks = self.plan.tasks.tasks

        def one(task: RestoreTask) -> CollectionOutcome:
            return self._collection(worker, task, resumed=task.target in resumed)

        workers = self.context.run.budget.collections
        with Pool(workers, self.context.run.cancelled, name="mbk-restore") as pool:
            outcomes = {outcome.target: outcome for outcome in pool.map(one, tasks)}
        self._rbac()
        done = [task for task in tasks if outcomes[str(task.target)].outcome != CollectionState.FAILED]
        self._note_added(done)
        self.ending.note(done)
        for task in done:
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
        if outcome.outcome == CollectionState.WRONG:
            wrong = _wrong_rows(outcome)
            outcome = replace(outcome, error=str(wrong))
            if self.plan.options.fail_fast:
                raise wrong
            self._errors[label] = wrong
        run.emit(CollectionFinished(collection=label, outcome=outcome.outcome, error=outcome.error))
        return self.plan.dated(outcome)

    def _note_added(self, done: Sequence[RestoreTask]) -> None:
        """So that nobody adds the same rows twice without knowing."""
        if not self.plan.options.skip_create or self.plan.options.meta_only:
            return
        added = AddedBackups(self.context, self.plan.backup.id)
        for task in done:
            partitions = {part.partition_name for part in task.record.partition_backups}
            added.note(task.target, self.plan.standings[task.target].present, partitions)

    def _rbac(self) -> None:
        recorded = self.plan.backup.rbac_meta
        if not self.plan.options.rbac or recorded is None:
            return
        self.context.run.phase("rbac")
        for note in self.context.milvus.access.restore(recorded):
            self.context.run.notice("rbac", note)

    def ended(self, report: RunReport) -> RunReport:
        if report.failed:
            if len(report.failed) == len(report.collections):
                if any(item.outcome == CollectionState.WRONG for item in report.failed):
                    raise _all_wrong(report)
                raise self._errors[report.failed[0].target]
            raise PartialFailure(
                "{failed} of {total} collections of backup {backup!r} were not restored",
                code="collections-not-restored",
                failed=len(report.failed),
                total=len(report.collections),
                backup=report.name,
                report=report,
                hint=_LASTING if self._any_lasting() else _AGAIN,
            )
        if report.salvaged:
            raise PartialFailure(
                "{salvaged} of {total} collections of backup {backup!r} are not restored whole",
                code="collections-not-whole",
                salvaged=len(report.salvaged),
                total=len(report.collections),
                backup=report.name,
                report=report,
                hint="the report lists what is lost",
            )
        return report

    def _any_lasting(self) -> bool:
        """Whether the same restore would fail again: what is damaged stays so."""
        return any(isinstance(error, (VerificationFailed, InvalidBackup)) for error in self._errors.values())


def _all_wrong(report: RunReport) -> RowsWrong:
    return RowsWrong(
        "none of {total} collections of backup {backup!r} has the rows that it must have",
        code="collections-wrong",
        total=len(report.collections),
        backup=report.name,
        report=report,
        hint="the report says what is wrong with each; drop them and restore another backup",
    )


def _wrong_rows(outcome: CollectionOutcome) -> VerificationFailed:
    return VerificationFailed(
        "{collection} has {present} rows after the restore; by the backup's own binlogs it must have {expected}",
        code="restored-rows-wrong",
        collection=outcome.target,
        present=outcome.rows_present,
        expected=outcome.rows_expected,
        hint="drop the collection and restore it into another Milvus, or restore another backup",
    )
