"""How the consistency point is taken: by one flush of all collections, by one of each, or by none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from mbk.engine.repository.collections import add_flush_point
from mbk.engine.repository.timeline import moment, position
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.errors import MbkError, Unsupported
from mbk.model.layout import physical_channel
from mbk.model.manifest import ALL, NONE, OWN, Protection
from mbk.model.options import Strategy
from mbk.model.records import CollectionHead
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, FlushAllPoint

#: Attempts to flush. By default Milvus allows one flush of a collection in ten seconds
#: (milvus: configs/milvus.yaml, quotaAndLimits.flushRate.collection.max 0.1): another client may have just used it.
FLUSH_PATIENCE = 20


@dataclass(frozen=True, slots=True)
class Taken:
    """One collection's consistency point. ``rows`` were counted before it was taken, None if they could not be."""

    protection: Protection
    rows: int | None = None


@dataclass(slots=True)
class ConsistencyPoints:
    """Takes the consistency points of one run. Several threads may use it once `begin` has returned."""

    milvus: Milvus
    run: Run
    strategy: Strategy
    #: The flush of all collections, if there was one.
    flushed: FlushAllPoint | None = None
    _rows: dict[int, int | None] = field(default_factory=dict)

    def begin(self, infos: Sequence[CollectionInfo], pool: Pool) -> None:
        """Takes a common point of all collections now, if the strategy has one."""
        common = self.strategy is Strategy.BULK_FLUSH or (
            self.strategy is Strategy.AUTO and Feature.FLUSH_ALL in self.milvus.features
        )
        if not common or not infos:
            return
        self._rows = dict(pool.map(lambda info: (info.id, self.count(info)), infos))
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

    def take(self, info: CollectionInfo, record: CollectionHead) -> Taken:
        """The collection's point, taken now unless a flush of all gave it; it is recorded in ``record``."""
        if self.strategy is Strategy.SKIP_FLUSH:
            # Rows that are not flushed would be counted but not copied.
            return Taken(Protection(boundary=NONE))
        if self.flushed is not None and (stamps := _stamps(info, self.flushed)):
            record.channel_checkpoints = {
                channel: position(channel, timestamp) for channel, timestamp in stamps.items()
            }
            record.backup_timestamp = max(stamps.values())
            return Taken(
                Protection(boundary=ALL, at=moment(record.backup_timestamp)), self._rows.get(info.id)
            )
        return self._flush(info, record)

    def _flush(self, info: CollectionInfo, record: CollectionHead) -> Taken:
        label = f"{info.database}.{info.name}"
        rows = self.count(info)
        self.run.phase("flush", label)
        if Feature.FLUSHES_DELETES not in self.milvus.features:
            self.run.notice(
                "deletes-not-flushed",
                "Milvus {version} does not persist deletes on flush: rows deleted shortly before the backup may reappear",
                version=self.milvus.version,
            )
        began = datetime.now(UTC).isoformat(timespec="milliseconds")
        point = self.run.retry.patiently(
            FLUSH_PATIENCE,
            f"flush {label}",
            self.milvus.points.flush,
            info.database,
            info.name,
            sleep=self.run.sleep,
        )
        add_flush_point(record, point)
        at = moment(record.backup_timestamp) if record.backup_timestamp else began
        return Taken(Protection(boundary=OWN, at=at), rows)

    def count(self, info: CollectionInfo) -> int | None:
        """The live rows, only to compare with after a restore, so a server that cannot count them is no problem."""
        try:
            return self.milvus.rows.count(info.database, info.name)
        except MbkError:
            return None


def _stamps(info: CollectionInfo, point: FlushAllPoint) -> dict[str, int]:
    """Virtual channel -> hybrid timestamp of the point; empty if the flush did not reach every channel."""
    stamps = {
        channel: point.timestamps.get(physical_channel(channel), 0) for channel in info.virtual_channels
    }
    return stamps if all(stamps.values()) else {}
