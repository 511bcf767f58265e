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


class LeftoverKind(StrEnum):
    """What belongs to no backup and to no run. ``POOL``: objects that no backup names; ``DELETED``: what deleted backups had to leave
    there; ``UPLOADS``: unfinished ones; ``RESTORE``: temporary copies and journals in Milvus' storage; ``BACKUP``: what an
    interrupted create or delete left; ``LEASE``: of a run that is dead.
    """

    POOL = "pool"
    DELETED = "deleted"
    UPLOADS = "uploads"
    RESTORE = "restore"
    BACKUP = "backup"
    LEASE = "lease"


class CollectionState(StrEnum):
    """``PLANNED`` in the report of a dry run; ``RUNNING`` only during a job.

    Of a restore: ``SALVAGED`` has all that is whole of a damaged backup, ``WRONG`` not the number of rows that it must have.
    """

    PLANNED = "planned"
    RUNNING = "running"
    DONE = "done"
    SALVAGED = "salvaged"
    WRONG = "wrong"
    FAILED = "failed"
    SKIPPED = "skipped"

    @property
    def has_ended(self) -> bool:
        """Whether all was done, though not all may be as it must be."""
        return self in (CollectionState.DONE, CollectionState.SALVAGED, CollectionState.WRONG)


class Depth(StrEnum):
    """How deep `verify` looks: names and sizes; what services tell of the bytes; every byte; a restore."""

    LISTING = "listing"
    DIGESTS = "digests"
    CONTENTS = "contents"
    DRILL = "drill"


class FindingKind(StrEnum):
    """What is wrong with an object of a backup, or with the backup.

    ``RESIZED``: it has another size than recorded; ``CHANGED``: the service tells another digest; ``DAMAGED``: the bytes read
    have another digest. ``UNPARSABLE``: it is no file of Milvus; ``INCONSISTENT``: it contradicts the metadata or its
    segment's other objects. ``UNREADABLE``: the storage does not hand it out. ``METADATA``: a file of the metadata is lost or
    damaged. ``NOT_RESTORED``: a drill could not restore it, or its rows differ.
    """

    MISSING = "missing"
    EXTRA = "extra"
    RESIZED = "resized"
    CHANGED = "changed"
    DAMAGED = "damaged"
    UNPARSABLE = "unparsable"
    INCONSISTENT = "inconsistent"
    UNREADABLE = "unreadable"
    METADATA = "metadata"
    NOT_RESTORED = "not restored"


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
