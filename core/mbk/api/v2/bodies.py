"""The bodies of ``/api/v2``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mbk.api.errors import problem, status_by_name
from mbk.jobs.kinds import KINDS
from mbk.jobs.scheduler import ScheduleState
from mbk.model.contents import BackupInfo
from mbk.model.jobs import CollectionProgress, Job, Standing
from mbk.model.locking import BackupLock
from mbk.model.plans import total
from mbk.model.reports import BackupSummary, Pin, Verification
from mbk.model.states import BackupState, JobState


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 9457. ``type`` is ``urn:mbk:`` and the name of the error, or ``about:blank``."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    retryable: bool | None = None
    code: str | None = Field(None, description="a stable name of the condition")
    exit_code: int | None = Field(None, description="that of the command line")
    facts: dict[str, Any] | None = Field(None, description="what the sentences are made of, by stable names")
    errors: list[str] | None = Field(
        None, description="the problems of a request or of the configuration, each with its place"
    )


class StepBody(_Body):
    """One collection that is under way: jobs of ``import``, rows of ``index``, percent of ``load``; null where nobody tells."""

    collection: str
    phase: str
    done: int | None
    total: int | None
    percent: int | None = Field(description="of its imports")


class ProgressBody(_Body):
    """``percent`` never decreases; totals cover what is known so far; sizes are in bytes."""

    percent: int
    phase: str
    objects: int
    objects_total: int
    bytes: int
    bytes_total: int
    retries: int
    collections: int = Field(default=0, description="that have ended")
    collections_total: int = 0
    jobs: int = Field(default=0, description="imports that Milvus has done")
    jobs_total: int = 0
    rate: int = Field(default=0, description="bytes a second, lately; 0 while only Milvus works")
    seconds_left: int | None = Field(default=None, description="null as long as it would be a guess")
    steps: list[StepBody] = Field(default=[], description="of the collections that are under way")


class CollectionBody(_Body):
    """One collection. ``state``: ``running``, and what its ``outcome`` in a report is once it has ended; ``size`` so far."""

    source: str
    target: str
    state: str
    percent: int
    objects: int
    size: int
    rows_expected: int | None
    rows_present: int | None
    error: str | None
    notes: list[str]
    moment: datetime | None = Field(
        default=None, description="what a restored collection is of; null where that is no exact moment"
    )
    behind: float | None = Field(
        default=None, description="seconds that it is before the moment that was asked for"
    )


class JobBody(_Body):
    id: str
    kind: str
    backup: str = Field(description="the backup's name; empty for a prune, and where a moment finds it")
    state: JobState
    attempt: int
    resumable: bool
    created: datetime
    started: datetime | None
    finished: datetime | None
    progress: ProgressBody
    collections: list[CollectionBody]
    notices: list[str]
    error: Problem | None
    params: dict[str, Any]
    result: dict[str, Any]


class JobPage(_Body):
    items: list[JobBody]
    next_cursor: str | None = Field(description="pass it as cursor=; null: this is the last page")


class VerificationBody(_Body):
    """The last verification: ``depth`` is ``listing``, ``digests``, ``contents`` or ``drill``."""

    at: datetime
    depth: str
    findings: int
    sample: int = Field(description="percent of the contents that were read")


class PinBody(_Body):
    """What keeps a backup from being deleted; it may be over."""

    until: datetime | None = Field(description="null: until it is unpinned")
    reason: str


class LockBody(_Body):
    """Until when the storage keeps the objects of a backup; it may be over."""

    mode: str
    until: datetime | None = Field(description="null: the backup does not tell")


class BackupBody(_Body):
    """``state``: ``complete``, ``partial``, ``incomplete`` or ``unreadable``, with the reason."""

    name: str
    id: str
    state: str
    size: int | None = Field(description="in bytes; null where it is not known, as of an incomplete backup")
    milvus_version: str
    format: str
    created: datetime | None
    finished: datetime | None = None
    collection_count: int | None = None
    rows: int | None = Field(default=None, description="before deletes, where they were not counted")
    reason: str
    labels: dict[str, str]
    pin: PinBody | None = None
    locked: LockBody | None = None
    added: int | None = Field(default=None, description="bytes that a shared backup put into the pool")
    frees: int | None = Field(default=None, description="bytes that deleting a shared backup would free")
    verified: VerificationBody | None = None


class BackupPage(_Body):
    items: list[BackupBody]
    next_cursor: str | None


class _FromValue(_Body):
    """Read from the value of the same name in :mod:`mbk.model.contents`."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class PartitionBody(_FromValue):
    name: str
    id: int
    size: int
    segments: int
    rows: int


class IndexBody(_FromValue):
    field: str
    name: str
    type: str
    params: dict[str, str]


class BackupCollection(_FromValue):
    database: str
    name: str
    id: int
    size: int
    shards: int
    load_state: str
    aliases: list[str]
    fields: list[str]
    indexes: list[IndexBody]
    partitions: list[PartitionBody]
    rows: int | None = Field(description="before deletes")
    segments: int | None


class BackupDetail(BackupBody):
    collections: list[BackupCollection]
    databases: list[str]
    failed: dict[str, str] = Field(description="collections that are not in the backup, and why")


class ScheduledRun(_Body):
    """A run of a schedule. ``result``: that of its jobs, or ``elsewhere`` if another server made the backup; null while it runs."""

    backup: str
    began: datetime
    ended: datetime | None
    seconds: float | None
    result: str | None
    reason: str | None = Field(description="why it did not succeed")
    missed: datetime | None = Field(description="the first of the occurrences that it made up for")


class ScheduleSpec(_Body):
    """What a schedule does, as in the configuration. ``create``, ``copy`` and ``keep``: parameters of jobs of kind ``backup``, ``copy`` and
    ``prune``."""

    cron: str = Field(max_length=256, description="minute, hour, day of the month, month, day of the week")
    time_zone: str = Field(
        default="", max_length=64, description="of the expression; empty: as configured, or UTC"
    )
    backup_name: str = Field(
        default="", max_length=128, description="with {schedule} and {time}; empty: {schedule}_{time}"
    )
    create: dict[str, Any] = {}
    verify: str = Field(
        default="",
        max_length=64,
        description="listing, digests or contents; empty: nothing is verified",
    )
    copying: dict[str, Any] = Field(default={}, alias="copy", description="empty: nothing is copied")
    keep: dict[str, Any] = Field(default={}, description="empty: nothing is deleted")
    notify: dict[str, str | list[str]] = Field(
        default={},
        description="names of targets of the configuration, by event: success, failure, skipped, missed",
    )


class ScheduleBody(_Body):
    """A schedule. ``step``: the kind of ``job`` that is under way, ``elsewhere`` while another server makes the backup, null if nothing
    is."""

    name: str
    configured: bool = Field(description="it is in the configuration, where alone it can be changed")
    cron: str
    time_zone: str
    backup_name: str
    create: dict[str, Any]
    verify: str
    copying: dict[str, Any] = Field(alias="copy")
    keep: dict[str, Any]
    notify: dict[str, list[str]]
    steps: list[str] = Field(description="the kinds of its jobs, in their order")
    paused: bool
    step: str | None
    job: str | None
    next: datetime | None = Field(description="null while it is paused")
    last: ScheduledRun | None
    last_success: datetime | None
    skipped: int = Field(description="runs that were skipped, because the one before was not over")


class SchedulePage(_Body):
    items: list[ScheduleBody]


def job_body(job: Job) -> JobBody:
    # Not asdict: it copies what may be thousands of collections twice.
    return JobBody(
        id=job.id,
        kind=job.kind,
        backup=job.name,
        state=job.state,
        attempt=job.attempt,
        resumable=job.is_resumable,
        created=_moment(job.created),
        started=_moment_if_any(job.started),
        finished=_moment_if_any(job.finished),
        progress=ProgressBody.model_validate(job.progress, from_attributes=True),
        collections=[*map(_collection, job.collections)],
        notices=[*job.notices],
        error=Problem.model_validate(problem(status_by_name(job.error.kind), job.error))
        if job.error
        else None,
        params=dict(job.params) | (dict.fromkeys(KINDS[job.kind].secret, "***") if job.has_secret else {}),
        result=dict(job.result),
    )


def _collection(item: CollectionProgress) -> CollectionBody:
    return CollectionBody(
        source=item.source,
        target=item.target,
        state=item.state,
        percent=item.percent,
        objects=item.objects,
        size=item.bytes,
        rows_expected=item.rows_expected,
        rows_present=item.rows_present,
        error=item.error,
        notes=[*item.notes],
        moment=_moment_if_any(item.moment),
        behind=item.behind,
    )


def schedule_body(state: ScheduleState) -> ScheduleBody:
    schedule, standing = state.schedule, state.standing
    return ScheduleBody(
        name=schedule.name,
        configured=not schedule.id,
        cron=schedule.cron,
        time_zone=str(schedule.zone),
        backup_name=schedule.backup_name,
        create={**schedule.create},
        verify=schedule.verify,
        copy={**schedule.copy},
        keep={**schedule.keep},
        notify={event: [*names] for event, names in schedule.notify.items()},
        steps=[*schedule.steps],
        paused=state.is_paused,
        step=standing.step or None,
        job=standing.job or None,
        next=_moment_if_any(state.following),
        last=_last_run(standing) if standing.began else None,
        last_success=_moment_if_any(standing.succeeded),
        skipped=standing.skipped,
    )


def _last_run(standing: Standing) -> ScheduledRun:
    ended = standing.ended
    return ScheduledRun(
        backup=standing.backup,
        began=_moment(standing.began),
        ended=_moment_if_any(ended),
        seconds=round(ended - standing.began, 3) if ended else None,
        result=standing.result if ended else None,
        reason=standing.reason or None if ended else None,
        missed=_moment_if_any(standing.missed),
    )


def backup_body(summary: BackupSummary) -> BackupBody:
    return BackupBody(
        name=summary.name,
        id=summary.id,
        state=summary.state,
        size=summary.size,
        milvus_version=summary.milvus_version,
        format=summary.format,
        created=summary.created,
        finished=summary.finished,
        collection_count=summary.collection_count,
        rows=summary.rows,
        reason=summary.reason,
        labels=dict(summary.labels),
        pin=_pin(summary.pin),
        locked=_lock(summary.locked),
        added=summary.added,
        frees=summary.frees,
        verified=_verification(summary.verified),
    )


def backup_detail(info: BackupInfo) -> BackupDetail:
    """From what the library returns with ``detail``; an incomplete backup has little to show."""
    return BackupDetail(
        name=info.name,
        id=info.id,
        state=info.state,
        size=info.size,
        milvus_version=info.milvus_version,
        format=info.format,
        created=info.created,
        finished=info.finished,
        collection_count=None if info.state is BackupState.INCOMPLETE else len(info.collections),
        rows=total([item.rows for item in info.collections]),
        reason="the backup is incomplete" if info.state is BackupState.INCOMPLETE else "",
        labels=dict(info.labels),
        pin=_pin(info.pin),
        locked=_lock(info.locked),
        added=info.added,
        frees=info.frees,
        verified=_verification(info.verified),
        collections=[BackupCollection.model_validate(item) for item in info.collections],
        databases=[*info.databases],
        failed=dict(info.failed),
    )


def _pin(pin: Pin | None) -> PinBody | None:
    return PinBody(until=pin.until, reason=pin.reason) if pin else None


def _lock(lock: BackupLock | None) -> LockBody | None:
    return LockBody(mode=lock.mode, until=lock.until) if lock else None


def _verification(last: Verification | None) -> VerificationBody | None:
    if last is None:
        return None
    return VerificationBody(at=last.at, depth=last.depth, findings=last.findings, sample=last.sample)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_if_any(seconds: float) -> datetime | None:
    return _moment(seconds) if seconds else None
