"""How often a run polls and how long it waits, in seconds: one value, so that tests need not wait."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from datetime import timedelta

from mbk.engine.runtime.retry import RetryPolicy
from mbk.frozen import frozen

#: How much later than it happened the end of something is noticed, as a part of the time that it took.
_LATE = 0.05


def growing(first: float, last: float) -> Iterator[float]:
    """Pauses between polls, in seconds: of short work the end is noticed at once, and long work is asked for rarely."""
    pause = min(first, last)
    while True:
        yield pause
        pause = min(last, pause * (1 + _LATE))


@frozen(kw_only=True)
class LeasePace:
    """``beat``: pause between renewals; ``expiry``: a lease unchanged for this long counts as abandoned (several beats).

    ``settle``: how long another run's write may take to become visible. ``handover``: pause before a lease that was
    silent is believed to be taken over, longer than one write of its holder takes. ``poll``: pause between looks at
    another run's lease. ``abandoned``: a lease not renewed for this long is deleted.
    """

    beat: float = 8.0
    expiry: float = 30.0
    settle: float = 0.2
    handover: float = 1.0
    poll: float = 0.5
    abandoned: timedelta = timedelta(days=1)


@frozen(kw_only=True)
class SnapshotPace:
    """How patient a run is with snapshots that Milvus exports or restores.

    ``first``: pause before the first poll of a job, enough for small collections. After ``notice`` without progress there
    is a notice, after ``patience`` the job is given up. ``settle``: how long to wait for a given-up job to end; ``drop``:
    how long Milvus may refuse to drop a snapshot that it still reads.
    """

    first: float = 0.1
    poll: float = 3.0
    notice: float = 600.0
    patience: float = 7200.0
    settle: float = 60.0
    drop: float = 10.0


@frozen(kw_only=True)
class ImportPace:
    """How patient a restore is with import jobs.

    ``first`` and ``last``: the shortest and the longest pause between polls. After ``notice`` without progress there is a
    notice, after ``patience`` a job is given up: Milvus may index one big segment for a long time. ``settle``: how long
    to wait for given-up jobs to end. ``look``: pause before searching again for a job whose response was lost.
    ``attempts``: tries per segment. ``restarts``: how often a collection is started over because of given-up jobs.
    """

    first: float = 0.2
    last: float = 3.0
    notice: float = 600.0
    patience: float = 7200.0
    settle: float = 60.0
    look: float = 2.0
    attempts: int = 2
    restarts: int = 2


@frozen(kw_only=True)
class Pace:
    """``listing``: pause before segments are listed again because compaction replaced some; each further one is longer by
    as much. ``first``, ``index`` and ``load``: the shortest, and the longest pauses between polls after a restore. ``drain``: what queries of a loaded collection get
    to end before it is dropped: they take milliseconds, and seconds on a busy machine. ``standby``: between polls of a standby, which
    may not know a job or a collection for ``standby_patience`` after it was announced. ``progress``: between two records of
    how far a verification has come. ``retry``: how often, and how
    soon, a failed call is retried.
    """

    listing: float = 0.5
    first: float = 0.05
    index: float = 0.5
    load: float = 0.5
    drain: float = 5.0
    standby: float = 1.0
    standby_patience: float = 60.0
    progress: float = 30.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    lease: LeasePace = field(default_factory=LeasePace)
    imports: ImportPace = field(default_factory=ImportPace)
    snapshots: SnapshotPace = field(default_factory=SnapshotPace)
