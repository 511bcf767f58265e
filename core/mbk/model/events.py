"""What happens during a run, as frozen values. The engine reports only through these.

Every event has ``kind``, a stable dotted name for machines. Sizes are bytes, durations seconds.
Events are delivered one at a time, in an order that makes sense for each collection, from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from mbk.frozen import frozen
from mbk.model.states import CollectionState


@frozen(kw_only=True)
class Event:
    kind: ClassVar[str] = "event"


@frozen(kw_only=True)
class RunStarted(Event):
    """``command`` is ``create``, ``restore``, ``delete`` …; ``name`` the backup."""

    kind: ClassVar[str] = "run.started"
    command: str
    name: str


@frozen(kw_only=True)
class RunFinished(Event):
    """``error`` is None, or one line that says why the run failed."""

    kind: ClassVar[str] = "run.finished"
    command: str
    name: str
    seconds: float
    error: str | None = None


@frozen(kw_only=True)
class PhaseStarted(Event):
    """A named phase of the work on one collection (or on everything, ``collection`` empty): flush, copy, import …"""

    kind: ClassVar[str] = "phase.started"
    phase: str
    collection: str = ""


@frozen(kw_only=True)
class WorkPlanned(Event):
    """More work was planned: ``objects`` and ``size`` add to the totals of the progress."""

    kind: ClassVar[str] = "work.planned"
    collection: str
    objects: int
    size: int


@frozen(kw_only=True)
class WorkExpected(Event):
    """About what one collection takes altogether (``collection`` empty: everything), as far as it is known by now.

    It replaces what was told of it before. `WorkPlanned` tells it exactly, piece by piece, and may come to more. ``jobs``:
    imports that Milvus is given. None: nobody knows yet.
    """

    kind: ClassVar[str] = "work.expected"
    collection: str
    objects: int | None = None
    size: int | None = None
    jobs: int = 0


@frozen(kw_only=True)
class ObjectCopied(Event):
    """``how`` is ``server`` (server-side copy), ``stream`` (through this process), ``convert`` (written in another form),
    ``kept`` (copied by an earlier run) or ``reused`` (an earlier backup has it)."""

    kind: ClassVar[str] = "object.copied"
    collection: str
    key: str
    size: int
    how: str


@frozen(kw_only=True)
class ObjectVerified(Event):
    """An object of a backup was read and checked; ``key`` is relative to the backup's prefix."""

    kind: ClassVar[str] = "object.verified"
    collection: str
    key: str
    size: int


@frozen(kw_only=True)
class ImportProgressed(Event):
    """An import job made progress; ``percent`` only grows, 100 when it is done. ``rows`` as reported by the server.

    ``failed``: it came to nothing, and other jobs take over its segments.
    """

    kind: ClassVar[str] = "import.progressed"
    collection: str
    job: str
    percent: int
    rows: int = 0
    failed: bool = False


@frozen(kw_only=True)
class IndexProgressed(Event):
    """``rows`` of ``total`` are indexed, over all indexes of the collection, as reported by the server."""

    kind: ClassVar[str] = "index.progressed"
    collection: str
    rows: int
    total: int


@frozen(kw_only=True)
class LoadProgressed(Event):
    """A collection is being loaded; 100 when it is."""

    kind: ClassVar[str] = "load.progressed"
    collection: str
    percent: int


@frozen(kw_only=True)
class ObjectsDeleted(Event):
    """So many objects of a backup were deleted."""

    kind: ClassVar[str] = "objects.deleted"
    objects: int


@frozen(kw_only=True)
class CollectionFinished(Event):
    """``outcome`` as in the report."""

    kind: ClassVar[str] = "collection.finished"
    collection: str
    outcome: CollectionState
    error: str | None = None


@frozen(kw_only=True)
class RetryScheduled(Event):
    """Attempt ``attempt`` (from 1) failed with a retryable error; the next one follows after ``delay`` seconds."""

    kind: ClassVar[str] = "retry.scheduled"
    what: str
    attempt: int
    delay: float
    error: str


@frozen(kw_only=True)
class Notice(Event):
    """Something the user should know that does not stop the run. ``code`` and the names of ``facts`` are stable, for
    programs and tests."""

    kind: ClassVar[str] = "notice"
    code: str
    message: str
    collection: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
