"""The consistency point of one collection's binlogs: a time up to which every row and delete is in the listed segments.

The argument, for each way of flushing, is in docs/explanation/consistency.md#why-nothing-is-lost.
"""

from __future__ import annotations

from collections.abc import Iterable

from mbk.engine.repository.timeline import MILLISECOND, whole_milliseconds
from mbk.engine.runtime.run import Run
from mbk.errors import MbkError
from mbk.frozen import frozen
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, FlushPoint, SegmentInfo

#: Attempts to flush. By default Milvus allows one flush of a collection in ten seconds
#: (milvus: configs/milvus.yaml, quotaAndLimits.flushRate.collection.max 0.1): another client may have just used it.
FLUSH_PATIENCE = 20
#: Attempts at the list of segments: it fails while it names a segment that a compaction is replacing.
LISTING_PATIENCE = 20
#: Attempts at a point: a compaction may replace segments between the point and the list.
ATTEMPTS = 12
#: Seconds after which no row is under way any more, where neither a query nor the flush can tell (2.2, collections that are
#: not loaded). A row is under way for milliseconds.
SETTLED = 1.0
#: Seconds between two looks at a clock.
TICK = 0.005


@frozen(kw_only=True)
class ListedPoint:
    """A point of one collection and its segments, listed after the flush.

    ``point``: hybrid timestamp, 0 if the server tells no time. ``before``: the segments that were persistent before the
    point. ``rows`` were counted between the point and the flush, None if they could not be.
    """

    point: int
    before: tuple[SegmentInfo, ...]
    flush: FlushPoint
    segments: tuple[SegmentInfo, ...]
    rows: int | None = None

    def is_clean(self, *, l0: bool) -> bool:
        """Whether no compaction has applied a delete newer than the point to a listed segment: none of the segments that
        it would have replaced is gone.

        ``l0``: deletes reach data segments only when an L0 segment is compacted. Such a server may replace a segment by a
        sorted copy as soon as it is flushed, which applies none of them.
        """
        listed = ids(self.segments)
        known = ids(item for item in self.before if not item.is_l0)
        if not known <= self.flush.persistent <= listed:
            return False
        return self.flush.sealed <= listed or (l0 and ids(self.before) <= listed)

    @property
    def late(self) -> list[int]:
        return late_segments(self.before, self.segments)


def covered(point: int, flushed: int) -> int:
    """The point, unless the flush has an earlier time, or there was no clock to read."""
    return point if 0 < point <= flushed else whole_milliseconds(flushed)


def ids(segments: Iterable[SegmentInfo]) -> frozenset[int]:
    return frozenset(segment.id for segment in segments)


def late_segments(before: Iterable[SegmentInfo], segments: Iterable[SegmentInfo]) -> list[int]:
    """The segments that may hold newer rows, or be newer L0 segments: those that were not persistent before the point."""
    return sorted(ids(segments) - ids(before))


@frozen
class PointTaker:
    """Takes points. It keeps nothing: several threads may use it. ``attempts``: how often a compaction may interfere."""

    milvus: Milvus
    run: Run
    attempts: int = ATTEMPTS

    def take(self, info: CollectionInfo) -> ListedPoint:
        """Flushes and waits. Raises what the server raises; a point that compactions spoiled every time is a notice."""
        for _ in range(self.attempts):
            taken = self._once(info)
            if not taken.point or taken.is_clean(l0=Feature.L0_SEGMENTS in self.milvus.features):
                return taken
            self.run.check_cancelled()
        self.run.notice(
            "point-uncertain",
            "{collection}: Milvus compacted segments during each of {attempts} flushes: rows that were replaced or deleted "
            "during the backup may be missing",
            collection=_label(info),
            attempts=self.attempts,
        )
        return taken

    def listed(self, info: CollectionInfo) -> tuple[SegmentInfo, ...]:
        """The persistent segments, as Milvus lists them now."""
        segments = self.run.retry.patiently(
            LISTING_PATIENCE,
            f"list segments of {_label(info)}",
            self.milvus.segments.persistent,
            info.database,
            info.name,
        )
        return tuple(segments)

    def flush(self, info: CollectionInfo) -> FlushPoint:
        return self.run.retry.patiently(
            FLUSH_PATIENCE,
            f"flush {_label(info)}",
            self.milvus.points.flush,
            info.database,
            info.name,
            sleep=self.run.sleep,
        )

    def count(self, info: CollectionInfo) -> int | None:
        """The live rows, by a strongly consistent query: it waits until everything acknowledged before is in a segment.

        None if the server cannot count them: that is no problem.
        """
        try:
            return self.milvus.rows.count(info.database, info.name)
        except MbkError:
            return None

    def clock(self) -> int:
        """A whole millisecond, not before now, that the clock of the server has reached on return; 0 if it has none.

        The clock stands still for up to 50 milliseconds and only counts (milvus: internal/tso), so the millisecond before
        would be older than what was acknowledged just now.
        """
        now = self._now()
        if not now:
            return 0
        point = whole_milliseconds(now - 1) + MILLISECOND
        while now < point:
            self.run.sleep(TICK)
            now = self._now()
        return point

    def _now(self) -> int:
        return self.run.retry.call("read the clock of Milvus", self.milvus.points.now)

    def _once(self, info: CollectionInfo) -> ListedPoint:
        before = self.listed(info)
        point = self.clock()
        rows = self.count(info)
        if Feature.STREAMING not in self.milvus.features and rows is None and point:
            # Nothing has shown yet that the rows up to the point have their segments.
            first = self.flush(info)
            self.run.sleep(0 if first.timestamp else SETTLED)
        flush = self.flush(info)
        return ListedPoint(
            point=covered(point, flush.timestamp or point),
            before=before,
            flush=flush,
            segments=self.listed(info),
            rows=rows,
        )


def _label(info: CollectionInfo) -> str:
    return f"{info.database}.{info.name}"
