"""What ``/api/v2`` takes and answers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mbk.api.errors import problem, status_by_name
from mbk.model.jobs import Job
from mbk.model.reports import BackupSummary
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
    errors: list[str] | None = Field(None, description="what is wrong with a request, each with its place")


class ProgressBody(_Body):
    """``percent`` only grows; totals are what is known so far; sizes in bytes."""

    percent: int
    phase: str
    objects: int
    objects_total: int
    bytes: int
    bytes_total: int
    retries: int


class CollectionBody(_Body):
    """What became of one collection: ``running``, ``done``, ``failed`` or ``skipped``."""

    source: str
    target: str
    state: str
    percent: int
    objects: int
    bytes: int
    rows_expected: int | None
    rows_present: int | None
    error: str | None
    notes: list[str]


class JobBody(_Body):
    id: str
    kind: str
    backup: str = Field(description="the backup's name")
    state: JobState
    attempt: int
    resumable: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: ProgressBody
    collections: list[CollectionBody]
    notices: list[str]
    error: Problem | None
    params: dict[str, Any]
    result: dict[str, Any]


class JobPage(_Body):
    items: list[JobBody]
    next_cursor: str | None = Field(description="ask again with cursor=; null: this was the last page")


class BackupBody(_Body):
    """``state``: ``complete``, ``partial``, ``incomplete`` or ``unreadable``, with the reason."""

    name: str
    id: str
    state: str
    size: int
    milvus_version: str
    format: str
    created_at: datetime | None
    reason: str
    labels: dict[str, str]


class BackupPage(_Body):
    items: list[BackupBody]
    next_cursor: str | None


class PartitionBody(_Body):
    name: str
    id: int
    size: int
    segments: int
    rows: int


class IndexBody(_Body):
    field: str
    name: str
    type: str
    params: dict[str, str]


class BackupCollection(_Body):
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


class BackupDetail(BackupBody):
    collections: list[BackupCollection]
    databases: list[str]
    failed: dict[str, str] = Field(description="collections that are not in it, and why")


def job_body(job: Job) -> JobBody:
    # Not asdict: it copies what may be thousands of collections twice.
    return JobBody(
        id=job.id,
        kind=job.kind,
        backup=job.name,
        state=job.state,
        attempt=job.attempt,
        resumable=job.is_resumable,
        created_at=_moment(job.created),
        started_at=_known(job.started),
        finished_at=_known(job.finished),
        progress=ProgressBody.model_validate(job.progress, from_attributes=True),
        collections=[
            CollectionBody.model_validate(
                {name: getattr(item, name) for name in CollectionBody.model_fields} | {"notes": [*item.notes]}
            )
            for item in job.collections
        ],
        notices=[*job.notices],
        error=Problem.model_validate(problem(status_by_name(job.error.kind), job.error))
        if job.error
        else None,
        params=dict(job.params) | ({"ezk_mapping": "***"} if job.has_secret else {}),
        result=dict(job.result),
    )


def backup_body(summary: BackupSummary) -> BackupBody:
    return BackupBody(
        name=summary.name,
        id=summary.id,
        state=summary.state,
        size=summary.size,
        milvus_version=summary.milvus_version,
        format=summary.format,
        created_at=summary.created,
        reason=summary.reason,
        labels=dict(getattr(summary, "labels", None) or {}),
    )


def backup_detail(view: Mapping[str, Any]) -> BackupDetail:
    """From the library's view of a backup with ``detail``; of an incomplete one there is little to tell."""
    return BackupDetail(
        name=view["name"],
        id=view.get("id", ""),
        state=view.get("state", ""),
        size=view.get("size", 0),
        milvus_version=view.get("milvus_version", ""),
        format=view.get("format", ""),
        created_at=_parsed(view.get("started", "")),
        reason="" if view.get("state") != BackupState.INCOMPLETE else "it was never committed",
        labels=dict(view.get("labels") or {}),
        collections=[_collection(item) for item in view.get("collection_backups") or ()],
        databases=[item.get("db_name", "") for item in view.get("database_backups") or ()],
        failed=dict(view.get("failed") or {}),
    )


def _collection(item: Mapping[str, Any]) -> BackupCollection:
    schema = item.get("schema") or {}
    return BackupCollection(
        database=item.get("db_name") or "default",
        name=item.get("collection_name", ""),
        id=item.get("collection_id", 0),
        size=item.get("size", 0),
        shards=item.get("shards_num", 0),
        load_state=item.get("load_state", ""),
        aliases=item.get("aliases") or [],
        fields=[found.get("name", "") for found in schema.get("fields") or ()],
        indexes=[_index(found) for found in item.get("index_infos") or ()],
        partitions=[_partition(found) for found in item.get("partition_backups") or ()],
    )


def _index(item: Mapping[str, Any]) -> IndexBody:
    params = item.get("params") or {}
    return IndexBody(
        field=item.get("field_name", ""),
        name=item.get("index_name", ""),
        type=item.get("index_type") or params.get("index_type", ""),
        params={str(key): str(value) for key, value in params.items()},
    )


def _partition(item: Mapping[str, Any]) -> PartitionBody:
    segments = item.get("segment_backups") or ()
    return PartitionBody(
        name=item.get("partition_name", ""),
        id=item.get("partition_id", 0),
        size=item.get("size", 0),
        segments=len(segments),
        rows=sum(found.get("num_of_rows", 0) for found in segments if not found.get("is_l0")),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _known(seconds: float) -> datetime | None:
    return _moment(seconds) if seconds else None


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
