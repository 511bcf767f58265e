"""Jobs, as values without I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mbk.errors import ConfigError, Unreachable, known
from mbk.frozen import frozen
from mbk.model.states import CollectionState, JobState


@frozen
class Step:
    """What one collection is at: its phase, and how much of that is done, if somebody tells: import jobs, rows of its indexes,
    percent of loading. ``percent``: of its imports."""

    collection: str
    phase: str
    done: int | None = None
    total: int | None = None
    percent: int | None = None


@frozen(kw_only=True)
class Progress:
    """``percent`` only grows. Totals cover the work known so far; sizes are bytes. ``jobs``: imports that Milvus has done.

    ``rate``: bytes a second, lately; 0 while only Milvus works. ``seconds_left``: until the last byte; None as long as that would
    be a guess. ``steps``: of the collections that are under way.
    """

    percent: int = 0
    phase: str = ""
    objects: int = 0
    objects_total: int = 0
    bytes: int = 0
    bytes_total: int = 0
    retries: int = 0
    collections: int = 0
    collections_total: int = 0
    jobs: int = 0
    jobs_total: int = 0
    rate: int = 0
    seconds_left: int | None = None
    steps: tuple[Step, ...] = ()


@frozen(kw_only=True)
class CollectionProgress:
    """One collection of a job. Times are unix seconds, 0 if unknown. ``moment``: that of what was restored, and ``behind`` its seconds
    before the one that was asked for, as in a report."""

    source: str
    target: str
    state: CollectionState
    percent: int = 0
    objects: int = 0
    bytes: int = 0
    rows_expected: int | None = None
    rows_present: int | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    started: float = 0.0
    finished: float = 0.0
    moment: float = 0.0
    behind: float | None = None


@frozen(kw_only=True)
class Failure:
    """An error as it is reported: ``kind`` is the name of its class in :mod:`mbk.errors`, ``code`` and ``facts`` are its own.

    ``problems``: each that a configuration has.
    """

    kind: str
    message: str
    hint: str | None = None
    retryable: bool = False
    exit_code: int = 1
    code: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Anything but an `MbkError` is a bug: its text is omitted, it may hold a secret."""
        ours = known(error)
        if ours is None:
            return cls(
                kind="InternalError",
                code="internal-error",
                message=f"internal error ({type(error).__name__})",
            )
        error = ours
        return cls(
            kind=type(error).__name__,
            code=error.code,
            message=error.message,
            hint=error.hint,
            retryable=error.retryable or isinstance(error, Unreachable),
            exit_code=error.exit_code,
            facts=error.facts,
            problems=tuple(map(str, error.problems)) if isinstance(error, ConfigError) else (),
        )


@frozen(kw_only=True)
class Job:
    """``name`` is the backup, ``params`` the parameters of the job's kind. Times are unix seconds.

    ``number`` grows from job to job. ``path`` and ``bucket`` replace the configured location of the backups.
    """

    id: str
    number: int = 0
    kind: str
    name: str
    params: Mapping[str, Any]
    path: str = ""
    bucket: str = ""
    state: JobState = JobState.QUEUED
    attempt: int = 1
    created: float = 0.0
    started: float = 0.0
    finished: float = 0.0
    progress: Progress = field(default_factory=Progress)
    collections: tuple[CollectionProgress, ...] = ()
    notices: tuple[str, ...] = ()
    error: Failure | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    #: Values that must not be stored, such as zone keys: lost when the server ends.
    secret: Mapping[str, Any] = field(default_factory=dict, repr=False)
    has_secret: bool = False

    @property
    def is_resumable(self) -> bool:
        """Whether it can be resumed: it ended without success, and its request was not invalid."""
        if self.state not in (JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED, JobState.INTERRUPTED):
            return False
        if self.has_secret and not self.secret:
            return False
        return self.error is None or self.error.kind not in HOPELESS


@frozen(kw_only=True)
class Standing:
    """What is known of a schedule of a server, kept over restarts. Times are unix seconds, 0 if there is none.

    ``handled``: the last occurrence that was begun, skipped, or left to another server. ``step``, ``job`` and ``backup``: what is under way;
    ``step`` is empty if nothing is, and ``elsewhere`` while another server makes the backup. ``began``, ``ended``, ``result`` and ``reason``: of the last run. ``skipped``: how many occurrences
    were skipped since the first, because the run before was not over. ``missed``: the first occurrence that the last run
    made up for. ``asked``: somebody asked for a run at that time. ``id`` and ``timing``: those of the schedule that this was told of.
    """

    handled: float = 0.0
    step: str = ""
    job: str = ""
    backup: str = ""
    began: float = 0.0
    ended: float = 0.0
    result: str = ""
    reason: str = ""
    succeeded: float = 0.0
    skipped: int = 0
    paused: bool = False
    asked: float = 0.0
    missed: float = 0.0
    id: str = ""
    timing: str = ""

    @property
    def is_running(self) -> bool:
        return bool(self.step)


#: Failures that a retry does not fix.
HOPELESS = frozenset(
    {
        "UsageError",
        "InvalidName",
        "BackupExists",
        "BackupNotFound",
        "InvalidBackup",
        "CollectionExists",
        "JobsFileUnusable",
    }
)
