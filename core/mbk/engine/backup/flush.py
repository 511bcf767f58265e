"""How the consistency point is taken: by one flush of all collections, by one of each, or by none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mbk.engine.backup.point import FLUSH_PATIENCE, PointTaker, covered, ids, late_segments
from mbk.engine.repository.collections import add_flush_point
from mbk.engine.repository.timeline import moment, position
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.errors import MilvusError, NotFound, Unsupported
from mbk.frozen import frozen
from mbk.model.layout import physical_channel
from mbk.model.manifest import ALL, NONE, OWN, Protection
from mbk.model.options import Strategy
from mbk.model.records import CollectionHead
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, FlushAllPoint, FlushPoint, SegmentInfo


@frozen
class Taken:
    """One collection's consistency point. ``rows`` were counted before the flush, None if they could not be.

    ``segments`` were listed right after the flush; None where they were not asked for.
    """

    protection: Protection
    rows: int | None = None
    segments: tuple[SegmentInfo, ...] | None = None


@dataclass(slots=True)
class ConsistencyPoints:
    """Takes the consistency points of one run. Several threads may use it once `begin` has returned."""

    milvus: Milvus
    run: Run
    strategy: Strategy
    #: The flush of all collections, if there was one.
    flushed: FlushAllPoint | None = None
    _rows: dict[int, int | None] = field(default_factory=dict)
    #: Collection id -> the segments before and after the flush of all.
    _before: dict[int, tuple[SegmentInfo, ...]] = field(default_factory=dict)
    _clock: int = 0
    _after: dict[int, tuple[SegmentInfo, ...]] = field(default_factory=dict)

    def begin(self, infos: Sequence[CollectionInfo], pool: Pool, *, listing: bool = False) -> None:
        """Takes a common point of all collections now, if the strategy has one. ``listing``: segments are listed, too."""
        common = self.strategy is Strategy.BULK_FLUSH or (
            self.strategy is Strategy.AUTO and Feature.FLUSH_ALL in self.milvus.features
        )
        if not common or not infos:
            return
        self._rows = dict(pool.map(lambda info: (info.id, self.count(info)), infos))
        if listing:
            self._before = self._listed(infos, pool)
            self._clock = self._taker.clock()
        self.run.phase("flush")
        try:
            self.flushed = self.run.retry.patiently(
                FLUSH_PATIENCE, "flush all collections", self.milvus.points.flush_all, sleep=self.run.sleep
            )
        except Unsupported as error:
            if self.strategy is not Strategy.AUTO:
                raise
            self.run.notice(
                "flush-all-unsupported",
                "flushing collections one by one, without a common consistency point: {reason}",
                reason=error.message,
            )
            return
        if listing:
            self._after = self._listed(infos, pool)

    def take(self, info: CollectionInfo, record: CollectionHead) -> Taken:
        """The collection's point, taken now unless a flush of all gave it; it is recorded in ``record``."""
        if self.strategy is Strategy.SKIP_FLUSH:
            # Rows that are not flushed would be counted but not copied.
            return Taken(Protection(boundary=NONE))
        if self.flushed is not None and (stamps := _stamps(info, self.flushed)):
            return Taken(self._common(record, stamps), self._rows.get(info.id))
        began = self._begin_flush(info)
        rows = self.count(info)
        return Taken(self._own(record, self._taker.flush(info), began), rows)

    def take_listed(self, info: CollectionInfo, record: CollectionHead, *, again: bool = False) -> Taken:
        """As `take`, and the segments that hold everything up to the point, so that a restore can cut there.

        ``again``: the segments of an earlier point can no longer be copied: a new one is taken.
        """
        if self.strategy is Strategy.SKIP_FLUSH:
            return Taken(Protection(boundary=NONE), segments=self._taker.listed(info))
        if not again and (common := self._listed_common(info, record)) is not None:
            return common
        began = self._begin_flush(info)
        own = self._taker.take(info)
        protection = self._own(record, own.flush, began)
        if own.point:
            protection = Protection(boundary=OWN, at=moment(own.point), point=own.point, late=own.late)
        return Taken(protection, own.rows, own.segments)

    def count(self, info: CollectionInfo) -> int | None:
        """The live rows, only to compare with after a restore, so a server that cannot count them is no problem."""
        return self._taker.count(info)

    @property
    def _taker(self) -> PointTaker:
        return PointTaker(self.milvus, self.run)

    def _listed(self, infos: Sequence[CollectionInfo], pool: Pool) -> dict[int, tuple[SegmentInfo, ...]]:
        """Collections that cannot be listed are left out: each fails, or not, in its own turn."""

        def one(info: CollectionInfo) -> tuple[int, tuple[SegmentInfo, ...] | None]:
            try:
                return info.id, self._taker.listed(info)
            except (MilvusError, NotFound):
                return info.id, None

        return {number: found for number, found in pool.map(one, infos) if found is not None}

    def _listed_common(self, info: CollectionInfo, record: CollectionHead) -> Taken | None:
        """The point of the flush of all; None if a compaction ended meanwhile, which may have applied newer deletes."""
        before, segments = self._before.get(info.id), self._after.get(info.id)
        if self.flushed is None or before is None or segments is None:
            return None
        stamps = _stamps(info, self.flushed)
        if not stamps or not ids(item for item in before if not item.is_l0) <= ids(segments):
            return None
        self._common(record, stamps)
        point = covered(self._clock, min(self.flushed.timestamps.values()))
        protection = Protection(
            boundary=ALL, at=moment(point), point=point, late=late_segments(before, segments)
        )
        return Taken(protection, self._rows.get(info.id), segments)

    def _common(self, record: CollectionHead, stamps: dict[str, int]) -> Protection:
        record.channel_checkpoints = {
            channel: position(channel, timestamp) for channel, timestamp in stamps.items()
        }
        record.backup_timestamp = max(stamps.values())
        return Protection(boundary=ALL, at=moment(record.backup_timestamp))

    def _begin_flush(self, info: CollectionInfo) -> str:
        """Returns the time, for servers that tell none."""
        self.run.phase("flush", f"{info.database}.{info.name}")
        if Feature.FLUSHES_DELETES not in self.milvus.features:
            self.run.notice(
                "deletes-not-flushed",
                "Milvus {version} does not persist deletes on flush: rows deleted shortly before the backup may reappear",
                version=self.milvus.version,
            )
        return datetime.now(UTC).isoformat(timespec="milliseconds")

    def _own(self, record: CollectionHead, point: FlushPoint, began: str) -> Protection:
        add_flush_point(record, point)
        at = moment(record.backup_timestamp) if record.backup_timestamp else began
        return Protection(boundary=OWN, at=at)


def _stamps(info: CollectionInfo, point: FlushAllPoint) -> dict[str, int]:
    """Virtual channel -> hybrid timestamp of the point; empty if the flush did not reach every channel."""
    stamps = {
        channel: point.timestamps.get(physical_channel(channel), 0) for channel in info.virtual_channels
    }
    return stamps if all(stamps.values()) else {}
