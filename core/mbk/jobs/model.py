"""What a job is: values without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """``partial``: some collections are done, others failed. ``interrupted``: the server stopped or died meanwhile."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def is_over(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """``percent`` only grows. Totals are what is known so far; sizes are bytes."""

    percent: int = 0
    phase: str = ""
    objects: int = 0
    objects_total: int = 0
    bytes: int = 0
    bytes_total: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One collection. ``state``: ``running``, ``done``, ``failed`` or ``skipped``; moments are unix seconds, 0 unknown."""

    source: str
    target: str
    state: str
    percent: int = 0
    objects: int = 0
    bytes: int = 0
    rows_expected: int | None = None
    rows_present: int | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    started: float = 0.0
    finished: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error as it is told: ``kind`` is the name of its class in :mod:`mbk.errors`."""

    kind: str
    message: str
    hint: str | None = None
    retryable: bool = False
    exit_code: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """``name`` is the backup, ``params`` what was asked in the words of the job's kind. Moments are unix seconds.

    ``number`` grows from job to job. ``path`` and ``bucket`` replace the configured place of the backups.
    """

    id: str
    number: int = 0
    kind: str
    name: str
    params: Mapping[str, Any]
    path: str = ""
    bucket: str = ""
    state: State = State.QUEUED
    attempt: int = 1
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    progress: Progress = field(default_factory=Progress)
    collections: tuple[Outcome, ...] = ()
    notices: tuple[str, ...] = ()
    error: Failure | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    #: What must not be written down, such as zone keys: gone when the server ends.
    secret: Mapping[str, Any] = field(default_factory=dict, repr=False)
    has_secret: bool = False

    @property
    def is_resumable(self) -> bool:
        """Whether going on with it makes sense: it is over, not done, and was not wrong in itself."""
        if self.state not in (State.PARTIAL, State.FAILED, State.CANCELLED, State.INTERRUPTED):
            return False
        if self.has_secret and not self.secret:
            return False
        return self.error is None or self.error.kind not in HOPELESS


#: Failures that asking again does not mend.
HOPELESS = frozenset(
    {"UsageError", "InvalidName", "BackupExists", "BackupNotFound", "InvalidBackup", "CollectionExists"}
)
