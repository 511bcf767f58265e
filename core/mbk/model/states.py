"""The states of backups, collections and jobs. Their values appear in JSON, files and REST responses."""

from __future__ import annotations

from enum import StrEnum


class BackupState(StrEnum):
    """``PARTIAL``: committed, but some collections failed. ``INCOMPLETE``: never committed."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    INCOMPLETE = "incomplete"
    UNREADABLE = "unreadable"

    @property
    def is_restorable(self) -> bool:
        return self in (BackupState.COMPLETE, BackupState.PARTIAL)


class CollectionState(StrEnum):
    """``PLANNED`` in the report of a dry run; ``RUNNING`` only during a job."""

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class JobState(StrEnum):
    """``PARTIAL``: some collections are done, others failed. ``INTERRUPTED``: the server stopped or died during the job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_over(self) -> bool:
        return self not in (JobState.QUEUED, JobState.RUNNING)
