"""The operation `prune`: deletes the backups that no rule keeps. What goes is decided from what a listing tells, before anything is
deleted; each backup is looked at again, alone and under its lease, before it goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.pool.collection import Freed, collect
from mbk.engine.repository.removal import Found, Remover
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import hold
from mbk.errors import BackupNotFound, Busy, DeleteFailed, LeaseLost, MbkError, PartialFailure, UsageError
from mbk.frozen import frozen
from mbk.model.options import PruneOptions
from mbk.model.plans import Plan
from mbk.model.reports import PrunedBackup, PruneReport
from mbk.model.retention import Decision, Rules, decide

#: Values of `PrunedBackup.outcome`.
PLANNED, KEPT, DELETED, FAILED = "planned", "kept", "deleted", "failed"


@frozen(kw_only=True)
class PrunePlan:
    decisions: tuple[Decision, ...]

    @property
    def going(self) -> tuple[Decision, ...]:
        """The oldest first: whoever stops it has lost the least."""
        return tuple(item for item in reversed(self.decisions) if item.goes)


def plan(context: Context, _: str, options: PruneOptions, *, at: datetime | None = None) -> PrunePlan:
    """`UsageError` without a rule. ``at``: now, if it is not given."""
    rules = _rules(context, options)
    context.backup_storage.check()
    found = Catalog(context.backup_storage, context.run).summaries()
    chosen = [item for item in found if all(test.of(item.labels) for test in options.labels)]
    decided = decide(chosen, rules, at or datetime.now(UTC))
    return PrunePlan(decisions=tuple(_agreed(item, options) for item in decided))


def _agreed(decision: Decision, options: PruneOptions) -> Decision:
    """What was not shown to whoever was asked stays."""
    if not decision.goes or options.only is None or decision.backup.name in options.only:
        return decision
    return replace(decision, goes=False, reasons=("nobody agreed that it goes",))


def _rules(context: Context, options: PruneOptions) -> Rules:
    rules = options.rules(context.retention)
    if rules.keep_nothing:
        raise UsageError(
            "no rule says which backups stay",
            code="retention-without-rules",
            hint="give at least one, such as --keep-daily 7, or write it below retention in the configuration",
        )
    return rules


def preview(context: Context, plan: PrunePlan) -> Plan:
    """What goes, and what stays and why."""
    going = [item.backup for item in plan.going]
    return Plan(
        command="prune",
        name="",
        location=str(context.backup_storage.location),
        size=sum(item.size or 0 for item in going),
        removes=tuple(f"backup {item.name}" for item in going),
        backups=tuple(_told(item, PLANNED if item.goes else KEPT) for item in plan.decisions),
        notices=tuple(context.run.notices),
    )


def execute(context: Context, name: str, options: PruneOptions, *, at: datetime | None = None) -> PruneReport:
    """One backup that cannot be deleted does not keep the others: `PartialFailure` then, with the report."""
    started = time.monotonic()
    made = plan(context, name, options, at=at)
    outcomes = {item.backup.name: _told(item, KEPT) for item in made.decisions if not item.goes}
    total = Found()
    for decision in made.going:
        told, removed = _deleted(context, decision, options)
        outcomes[told.name] = told
        if removed is not None:
            _add(total, removed)
    left = _collect(context, total)
    backups = tuple(outcomes[item.backup.name] for item in made.decisions)
    report = PruneReport(
        location=str(context.backup_storage.location),
        backups=backups,
        freed=total.size,
        deleted_objects=total.objects,
        deleted_versions=total.versions,
        seconds=time.monotonic() - started,
        notices=tuple(context.run.notices),
    )
    _require_done(report, left)
    return report


def _add(total: Found, removed: Found) -> None:
    total.objects += removed.objects
    total.size += removed.size
    total.versions += removed.versions
    total.shared |= removed.shared


def _collect(context: Context, total: Found) -> DeleteFailed | None:
    """Once for all that went, also by an earlier run that was stopped: each record that stays is read once. Returns what the
    storage kept."""
    freed = Freed()
    try:
        collect(context.backup_storage, context.run, pace=context.pace.lease, freed=freed)
    except DeleteFailed as error:
        return error
    finally:
        total.objects += freed.objects
        total.size += freed.size
    return None


def _deleted(
    context: Context, decision: Decision, options: PruneOptions
) -> tuple[PrunedBackup, Found | None]:
    """What became of one that goes, and what was deleted."""
    name, run = decision.backup.name, context.run
    run.check_cancelled()
    try:
        with hold(
            context.backup_storage,
            name,
            f"pruning backup {name!r}",
            run,
            pace=context.pace.lease,
            deletes=True,
        ) as fence:
            storage = writing_backup(context.backup_storage, fence, name)
            catalog = Catalog(storage, run)
            found = catalog.summary(name)
            if found is None:
                return _gone(decision), None
            if found != decision.backup:
                return _told(decision, KEPT, because="it was changed meanwhile"), None
            remover = Remover(storage, catalog, run, milvus=context.milvus_place, versions=options.versions)
            return _told(decision, DELETED), remover.remove(name)
    except LeaseLost:
        raise
    except Busy as busy:
        return _told(decision, KEPT, because=busy.message), None
    except BackupNotFound:
        return _gone(decision), None
    except MbkError as error:
        if concerns_everything(error):
            raise
        return _told(decision, FAILED, error=error.message), None


def _gone(decision: Decision) -> PrunedBackup:
    """One that somebody else deleted since the decision; this run freed nothing."""
    return replace(_told(decision, DELETED, because="another run deleted it"), size=None)


def _told(decision: Decision, outcome: str, *, because: str = "", error: str | None = None) -> PrunedBackup:
    backup = decision.backup
    return PrunedBackup(
        name=backup.name,
        outcome=outcome,
        reasons=(because,) if because else decision.reasons,
        state=backup.state,
        created=backup.created,
        size=backup.size,
        error=error,
    )


def _require_done(report: PruneReport, left: DeleteFailed | None) -> None:
    failed: Sequence[PrunedBackup] = [item for item in report.backups if item.outcome == FAILED]
    if failed:
        raise PartialFailure(
            "{count} backups that should go are still there: {backups}",
            code="prune-partial",
            report=report,
            count=len(failed),
            backups="; ".join(f"{item.name}: {item.error}" for item in failed),
            hint="run it again",
        )
    if left is not None:
        raise PartialFailure(
            "the backups that should go are gone, but {reason}",
            code="prune-left",
            report=report,
            reason=left.message,
            hint="once the reason is gone, run mbk gc",
        )
