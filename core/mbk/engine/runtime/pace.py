"""How often a run asks, and how long it waits: seconds, in one value, so that tests need not wait for real servers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from mbk.engine.runtime.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasePace:
    """``beat``: pause between renewals; ``expiry``: so long unchanged, a lease counts as left behind (several beats).

    ``settle``: so long somebody else's write may take to show. ``poll``: pause between looks at another's lease.
    ``abandoned``: nobody comes back for a lease that was not renewed for so long.
    """

    beat: float = 8.0
    expiry: float = 30.0
    settle: float = 0.2
    poll: float = 0.5
    abandoned: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPace:
    """How patient a run is with snapshots that Milvus exports or restores.

    ``first``: before a job is asked for the first time, as small collections are done by then. After ``notice`` without
    progress the user is told, after ``patience`` the job is given up. ``settle``: so long a given-up job is waited for;
    ``drop``: so long Milvus may refuse to drop what it still reads.
    """

    first: float = 0.1
    poll: float = 3.0
    notice: float = 600.0
    patience: float = 7200.0
    settle: float = 60.0
    drop: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportPace:
    """How patient a restore is with import jobs.

    ``first`` and ``last``: the shortest and the longest pause between two looks at them. After ``notice`` without any
    progress the user is told, after ``patience`` a job is given up: Milvus may be busy for long with the index of one
    big segment. ``settle``: so long given-up jobs are waited for. ``look``: the pause before a job whose answer was lost
    is looked for again. ``attempts``: how often the same segment is tried. ``restarts``: how often a collection is
    started over because of jobs that were given up.
    """

    first: float = 0.2
    last: float = 3.0
    notice: float = 600.0
    patience: float = 7200.0
    settle: float = 60.0
    look: float = 2.0
    attempts: int = 2
    restarts: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """``listing``: before segments are listed a second time, as compaction replaced some; each further listing waits as
    much longer. ``index`` and ``load``: pauses between questions after a restore. ``standby``: between questions to a
    standby, which may not know a job or a collection for ``standby_patience`` after it was announced. ``retry``: how often, and how soon, a call that failed is tried again.
    """

    listing: float = 0.5
    index: float = 0.5
    load: float = 0.5
    standby: float = 1.0
    standby_patience: float = 60.0
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    lease: LeasePace = field(default_factory=LeasePace)
    imports: ImportPace = field(default_factory=ImportPace)
    snapshots: SnapshotPace = field(default_factory=SnapshotPace)
