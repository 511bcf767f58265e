"""The kinds of jobs. A new kind is one entry here: its parameters, and what it does with a session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from mbk.errors import BackupExists, BackupNotFound, UsageError
from mbk.jobs.params import BackupParams, CopyParams, DeleteParams, Params, RestoreParams, SecondaryParams
from mbk.model.events import Event
from mbk.model.jobs import Job
from mbk.model.reports import RunReport, check_name, default_name
from mbk.model.states import BackupState, CollectionState
from mbk.session import Session

P = TypeVar("P", bound=Params)


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt of a job. ``job`` is as the attempt before left it; ``resume``: there was one."""

    session: Session
    job: Job
    on_event: Callable[[Event], None]
    cancelled: threading.Event
    resume: bool


@dataclass(frozen=True, slots=True)
class Done:
    """``report`` where the collections have outcomes; ``result`` is told as it is."""

    report: RunReport | None
    result: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """``check`` refuses what can be seen to be wrong before the job is filed, and returns the backup's name."""

    name: str
    summary: str
    params: type[Params]
    check: Callable[[Any], str]
    run: Callable[[Work, Any], Done]
    writes_backup: bool = True
    secret: tuple[str, ...] = ()


def _backup_check(params: BackupParams) -> str:
    params.options(resume=False)
    return check_name(params.name or default_name())


def _backup(work: Work, params: BackupParams) -> Done:
    """Going on: with what this job has begun, and with nothing that somebody else has."""
    name, resume = work.job.name, False
    if work.resume:
        with suppress(BackupNotFound):
            found = work.session.get(name)
            if found.get("id") != work.job.id:
                raise BackupExists(
                    f"backup {name!r} was made by somebody else meanwhile", hint="use another name"
                )
            if found["state"] == BackupState.COMPLETE:
                return Done(None, {"size": found.get("size", 0)})
            resume = True
    report = work.session.create(
        name,
        params.options(resume=resume),
        on_event=work.on_event,
        cancelled=work.cancelled,
        id=work.job.id,
    )
    return Done(report, {})


def _restore_check(params: RestoreParams) -> str:
    params.options()
    return params.backup


def _restore(work: Work, params: RestoreParams) -> Done:
    """Going on: what an attempt has finished is left alone; what it has begun, the engine goes on with."""
    over = [item for item in work.job.collections if item.state == CollectionState.DONE]
    rest = [item.target for item in work.job.collections if item.state != CollectionState.DONE]
    partial = work.resume and work.job.error is not None and work.job.error.kind == "PartialFailure"
    only = ",".join(rest) if partial and over else ""
    report = work.session.restore(
        params.backup, params.options(only=only), on_event=work.on_event, cancelled=work.cancelled
    )
    return Done(report, {})


def _secondary(work: Work, params: SecondaryParams) -> Done:
    report = work.session.restore_secondary(
        params.backup,
        source=params.source_cluster,
        target=params.target_cluster,
        on_event=work.on_event,
        cancelled=work.cancelled,
    )
    return Done(report, {})


def _copy_check(params: CopyParams) -> str:
    if not params.to_path and not params.to_bucket:
        raise UsageError("where to?", hint="name to_path or to_bucket")
    return params.backup


def _copy(work: Work, params: CopyParams) -> Done:
    report = work.session.copy(
        params.backup,
        path=params.to_path,
        bucket=params.to_bucket,
        on_event=work.on_event,
        cancelled=work.cancelled,
    )
    return Done(report, {})


def _delete(work: Work, params: DeleteParams) -> Done:
    try:
        objects = work.session.delete(params.backup, on_event=work.on_event, cancelled=work.cancelled)
    except BackupNotFound:
        if not work.resume:
            raise
        objects = 0
    return Done(None, {"deleted_objects": objects})


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("backup", "backs up databases and collections", BackupParams, _backup_check, _backup),
        Kind(
            "restore",
            "restores a backup",
            RestoreParams,
            _restore_check,
            _restore,
            writes_backup=False,
            secret=("ezk_mapping",),
        ),
        Kind(
            "secondary",
            "makes a standby cluster of a backup",
            SecondaryParams,
            lambda params: str(params.backup),
            _secondary,
            writes_backup=False,
        ),
        Kind(
            "copy",
            "copies a backup to another path or bucket",
            CopyParams,
            _copy_check,
            _copy,
            writes_backup=False,
        ),
        Kind(
            "delete",
            "deletes a backup, also an incomplete one",
            DeleteParams,
            lambda p: str(p.backup),
            _delete,
        ),
    )
}
