"""The kinds of jobs: the operations a job can run, and what a resumed job does differently."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec

from mbk.errors import BackupExists, BackupNotFound
from mbk.frozen import frozen
from mbk.jobs.params import PARAMS, Params
from mbk.model.declared import Options
from mbk.model.events import Event
from mbk.model.jobs import Job
from mbk.model.operations import Operation
from mbk.model.options import RestoreOptions
from mbk.model.reports import (
    DeletionReport,
    GcReport,
    PruneReport,
    RunReport,
    UndeleteReport,
    VerifyReport,
    check_name,
    default_name,
)
from mbk.model.selection import CollectionName, Selection
from mbk.model.states import BackupState
from mbk.session import Session

#: Findings in the result of a job.
FINDINGS = 1000


@frozen
class Work:
    """One attempt of a job. ``job`` is as the previous attempt left it; ``resume``: there was one."""

    session: Session
    job: Job
    on_event: Callable[[Event], None]
    cancelled: threading.Event
    resume: bool

    def run(self, operation: Operation, options: Options) -> Done:
        """Runs the operation on the job's backup."""
        report = self.session.run(
            operation.name,
            self.job.name,
            options,
            on_event=self.on_event,
            cancelled=self.cancelled,
            id=self.job.id,
        )
        return done_with(report)


@frozen
class Done:
    """``report`` if the collections have outcomes; ``result`` is passed on as it is."""

    report: RunReport | None
    result: Mapping[str, Any]


@frozen
class Kind:
    """``run`` makes one attempt, the first or a later one."""

    params: type[Params]
    run: Callable[[Work, Params], Done]

    @property
    def name(self) -> str:
        return self.params.operation.job

    @property
    def writes_backup(self) -> bool:
        """Whether the job changes the backup, and does not only read it."""
        return "backup" in self.params.operation.writes

    @property
    def secret(self) -> tuple[str, ...]:
        """The parameters that are kept in memory only."""
        declared = self.params.operation.options.declared()
        return tuple(item.rest_name or "" for item in declared if item.option.secret)

    def check(self, params: Params) -> str:
        """Refuses invalid or forbidden parameters before the job is stored, and returns the backup's name."""
        params.check()
        if params.operation.name_of_backup == "optional":
            return check_name(params.backup_name or default_name())
        return params.backup_name


def done_with(report: object) -> Done:
    """What a report is to a job."""
    if isinstance(report, DeletionReport | GcReport | PruneReport | UndeleteReport):
        return Done(None, msgspec.to_builtins(report))
    if isinstance(report, VerifyReport):
        return Done(None, verification(report))
    if not isinstance(report, RunReport):
        return Done(None, {})
    return Done(report, {"backup": report.name} if report.asked else {})


def verification(report: VerifyReport) -> dict[str, Any]:
    """A report as the result of a job: with the first findings, which may be many."""
    plain: dict[str, Any] = msgspec.to_builtins(report)
    return {**plain, "findings": plain["findings"][:FINDINGS], "is_whole": report.is_whole}


def _plain(work: Work, params: Params) -> Done:
    return work.run(params.operation, params.options())


def _backup(work: Work, params: Params) -> Done:
    """Resumes only the backup that this job started, never one from another run."""
    name, resume = work.job.name, False
    if work.resume:
        with suppress(BackupNotFound):
            backup = work.session.get(name)
            if backup.id != work.job.id:
                raise BackupExists(
                    "backup {name!r} was created by another run",
                    code="backup-from-another-run",
                    name=name,
                    hint="use another name",
                )
            if backup.state is BackupState.COMPLETE:
                return Done(None, {"size": backup.size})
            resume = True
    return work.run(params.operation, params.options(resume=resume))


def _restore(work: Work, params: Params) -> Done:
    """Resumes without the collections that an earlier attempt finished; the engine completes those it started."""
    failed = work.resume and work.job.error is not None and work.job.error.kind == "PartialFailure"
    states = {CollectionName.parse(item.target): item.state for item in work.job.collections if failed}
    done = frozenset(name for name, state in states.items() if state.has_ended)
    options = params.options()
    if not done or done == states.keys() or not isinstance(options, RestoreOptions):
        return work.run(params.operation, options)
    rest = options.selection.excluding(Selection(collections=done))
    return work.run(params.operation, replace(options, selection=rest))


def _delete(work: Work, params: Params) -> Done:
    try:
        return _plain(work, params)
    except BackupNotFound:
        if not work.resume:
            raise
        return done_with(DeletionReport(work.job.name, 0))


_RUNS: Mapping[str, Callable[[Work, Params], Done]] = {
    "backup": _backup,
    "restore": _restore,
    "delete": _delete,
}
KINDS: Mapping[str, Kind] = {name: Kind(params, _RUNS.get(name, _plain)) for name, params in PARAMS.items()}
