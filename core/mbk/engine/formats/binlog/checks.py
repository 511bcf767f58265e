"""Checks of a backup's binlogs before a restore changes anything: whether this Milvus can import them, how they must be
converted, and where they are truncated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mbk.engine.formats.binlog.conversion import Conversion
from mbk.engine.formats.binlog.places import SegmentPlaces
from mbk.engine.formats.binlog.versions import PACKED
from mbk.engine.repository.timeline import ConsistencyPoint, consistency_point
from mbk.engine.restore.plan import RestoreTask
from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.manifest import Protection
from mbk.model.options import RestoreOptions
from mbk.model.records import Backup, SegmentHead
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature

Places = Mapping[CollectionName, SegmentPlaces]

_VERSION = re.compile(r"v?(\d+)\.(\d+)")


@frozen(kw_only=True)
class DataChecks:
    """``places``: where the segments of each target are; empty if only definitions are restored. ``protection`` and
    ``cuts`` as in `RestoreWork`."""

    milvus: Milvus
    backup: Backup
    tasks: Sequence[RestoreTask]
    options: RestoreOptions
    places: Places
    protection: Mapping[str, Protection]
    cuts: Mapping[str, int]

    def problems(self) -> Iterator[str]:
        """The data that this server cannot import."""
        for task in self.tasks:
            data, l0 = self._segments(task)
            versions = {segment.storage_version for segment in (*data, *l0)}
            if unknown := sorted(version for version in versions if version > PACKED):
                yield f"{task.source}: segments of storage version {unknown[0]}, which binlog backups do not support"

    def conversion(self, *, cut: bool) -> Conversion:
        """What must be converted wherever it occurs in the backup's segments. ``cut``: at consistency points, too.

        Imports honour the end timestamp for L0 segments since milvus PR 43747 (August 2025), so certainly on servers where
        several L0 segments can share a job (2.6.5). 2.4 and later may write deltas with several columns.
        """
        features = self.milvus.features
        conversion = Conversion.NONE
        if Feature.L0_IMPORT not in features:
            conversion |= Conversion.FOLD_L0
            if Feature.L0_SEGMENTS not in features and not self._made_before(2, 4):
                conversion |= Conversion.PLAIN_DELTAS
        elif cut and Feature.MULTI_L0_IMPORT not in features:
            conversion |= Conversion.CUT_L0
        if Feature.DELETE_TIMES not in features:
            conversion |= Conversion.APPLY_DELETES
        if Feature.PACKED_SEGMENTS not in features:
            conversion |= Conversion.UNPACK
            if not self._made_before(2, 6):
                conversion |= Conversion.PLAIN_DELTAS
        return conversion

    def needs(self, required: Conversion) -> bool:
        """Whether a segment must be converted, or may have to: the form of deltas is known only once they are read."""
        of_deltas = Conversion.PLAIN_DELTAS | Conversion.APPLY_DELETES
        points = self.points() if Conversion.CUT_L0 in required else {}
        for task in self.tasks:
            located = self.places.get(task.target, SegmentPlaces())
            data, l0 = segments_of(task, located)
            if l0 and required & ~(Conversion.UNPACK | Conversion.CUT_L0):
                return True
            point = points.get(task.target)
            if point is not None and any(point.may_cut(segment.segment_id) for segment in l0):
                return True
            if Conversion.UNPACK in required and any(segment.storage_version == PACKED for segment in data):
                return True
            if required & of_deltas and any(located.places[item.segment_id].delta for item in data):
                return True
        return False

    def _made_before(self, major: int, minor: int) -> bool:
        version = _VERSION.match(self.backup.milvus_version)
        return version is not None and (int(version[1]), int(version[2])) < (major, minor)

    def points(self) -> dict[CollectionName, ConsistencyPoint]:
        """The consistency point at which each target is cut: by default where mbk recorded one, with ``truncate`` all.

        `UsageError` names every collection that cannot be truncated exactly.
        """
        if self.options.no_cut or self.options.meta_only:
            return {}
        recorded = {task.target: point for task in self.tasks if (point := self._recorded(task))}
        if not self.options.truncate:
            return recorded
        points = {
            task.target: recorded.get(task.target) or consistency_point(task.record, self.backup)
            for task in self.tasks
        }
        problems = [
            f"{task.source}: {reason}"
            for task in self.tasks
            if (reason := _untruncatable(*self._segments(task), points[task.target]))
        ]
        if problems:
            raise UsageError(
                "backup {backup!r} cannot be truncated at its consistency point: {reason}",
                code="truncation-impossible",
                backup=self.backup.name,
                reason="; ".join(problems),
                hint="restore without --at-backup-time (truncateBinlogByTs)",
            )
        return points

    def _recorded(self, task: RestoreTask) -> ConsistencyPoint | None:
        number = str(task.record.collection_id)
        if number in self.cuts:
            return ConsistencyPoint({}, common=self.cuts[number], earlier=True)
        known = self.protection.get(number)
        if known is None or not known.point:
            return None
        return ConsistencyPoint({}, common=known.point, late=frozenset(known.late))

    def _segments(self, task: RestoreTask) -> tuple[list[SegmentHead], list[SegmentHead]]:
        return segments_of(task, self.places.get(task.target, SegmentPlaces()))


def segments_of(task: RestoreTask, found: SegmentPlaces) -> tuple[list[SegmentHead], list[SegmentHead]]:
    """The segments that have objects: those with rows, and those with only deletes."""
    listed: Iterable[SegmentHead] = (
        *(segment for partition in task.record.partition_backups for segment in partition.segment_backups),
        *task.record.l0_segments,
    )
    present = [segment for segment in listed if segment.segment_id in found.places]
    data = [segment for segment in present if found.places[segment.segment_id].insert]
    return data, [segment for segment in present if not found.places[segment.segment_id].insert]


def _untruncatable(data: list[SegmentHead], l0: list[SegmentHead], point: ConsistencyPoint) -> str:
    """Why a collection cannot be truncated exactly; ``""`` if it can."""
    if not (data or l0):
        return ""
    if not point.common and not point.channels:
        return "the backup does not record when its channels were flushed"
    for segment in (*data, *l0):
        if point.of(segment.v_channel) is None:
            if segment.v_channel:
                return f"channel {segment.v_channel} of segment {segment.segment_id} has no flush time"
            return (
                f"its {len(point.channels)} channels were flushed at different times, and the backup does not record "
                f"the channel of segment {segment.segment_id}"
            )
    return ""
