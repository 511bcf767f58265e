"""What is looked at in a backup's binlogs before a restore's first change: whether this Milvus can take them, what must
be changed on the way, and where they are cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mbk.engine.formats.binlog.conversion import Conversion
from mbk.engine.formats.binlog.places import SegmentPlaces
from mbk.engine.formats.binlog.versions import PACKED
from mbk.engine.repository.timeline import ConsistencyPoint, consistency_point
from mbk.engine.restore.plan import RestoreTask
from mbk.errors import UsageError
from mbk.model.options import RestoreOptions
from mbk.model.records import Backup, SegmentHead
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature

Places = Mapping[CollectionName, SegmentPlaces]

_LINE = re.compile(r"v?(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataChecks:
    """``places``: where the segments of each target lie; empty where only definitions are restored."""

    milvus: Milvus
    backup: Backup
    tasks: Sequence[RestoreTask]
    options: RestoreOptions
    places: Places

    def problems(self) -> Iterator[str]:
        """What of the data this server cannot take in."""
        for task in self.tasks:
            data, l0 = self._segments(task)
            versions = {segment.storage_version for segment in (*data, *l0)}
            if unknown := sorted(version for version in versions if version > PACKED):
                yield f"{task.source}: segments of storage version {unknown[0]}, which only snapshots carry"

    def conversion(self) -> Conversion:
        """What of the backup's segments must be changed wherever it is met.

        Imports leave out young deletes of L0 segments since milvus PR 43747 (August 2025), hence certainly where several
        of them share a job (2.6.5). Deltas of several columns are what 2.4 and later may write.
        """
        features = self.milvus.features
        wanted = Conversion.NONE
        if Feature.L0_SEGMENTS not in features:
            wanted |= Conversion.FOLD_L0
            if not self._made_before(2, 4):
                wanted |= Conversion.PLAIN_DELTAS
        elif self.options.truncate and Feature.MULTI_L0_IMPORT not in features:
            wanted |= Conversion.CUT_L0
        if Feature.DELETE_TIMES not in features:
            wanted |= Conversion.APPLY_DELETES
        if Feature.PACKED_SEGMENTS not in features:
            wanted |= Conversion.UNPACK
            if not self._made_before(2, 6):
                wanted |= Conversion.PLAIN_DELTAS
        return wanted

    def needs_conversion(self) -> bool:
        """Whether a segment must be changed, or may have to: the form of deltas shows when they are read."""
        asked = self.conversion()
        of_deltas = Conversion.PLAIN_DELTAS | Conversion.APPLY_DELETES
        for task in self.tasks:
            found = self.places.get(task.target, SegmentPlaces())
            data, l0 = segments_of(task, found)
            if l0 and asked & ~Conversion.UNPACK:
                return True
            if Conversion.UNPACK in asked and any(segment.storage_version == PACKED for segment in data):
                return True
            if asked & of_deltas and any(found.places[item.segment_id].delta for item in data):
                return True
        return False

    def _made_before(self, major: int, minor: int) -> bool:
        found = _LINE.match(self.backup.milvus_version)
        return found is not None and (int(found[1]), int(found[2])) < (major, minor)

    def points(self) -> dict[CollectionName, ConsistencyPoint]:
        """Where each collection is cut; empty when nothing is. `UsageError` names all that cannot be cut exactly."""
        if not self.options.truncate or self.options.meta_only:
            return {}
        found = {task.target: consistency_point(task.record, self.backup) for task in self.tasks}
        problems = [
            f"{task.source}: {reason}"
            for task in self.tasks
            if (reason := _uncut(*self._segments(task), found[task.target]))
        ]
        if problems:
            raise UsageError(
                "backup {backup!r} cannot be cut at its time: {names}",
                code="backup-cannot-cut-time",
                backup=self.backup.name,
                names="; ".join(problems),
                hint="leave --at-backup-time (truncateBinlogByTs) out",
            )
        return found

    def _segments(self, task: RestoreTask) -> tuple[list[SegmentHead], list[SegmentHead]]:
        return segments_of(task, self.places.get(task.target, SegmentPlaces()))


def segments_of(task: RestoreTask, found: SegmentPlaces) -> tuple[list[SegmentHead], list[SegmentHead]]:
    """The segments that have objects: those with rows, and those with deletes alone."""
    listed: Iterable[SegmentHead] = (
        *(segment for partition in task.record.partition_backups for segment in partition.segment_backups),
        *task.record.l0_segments,
    )
    present = [segment for segment in listed if segment.segment_id in found.places]
    data = [segment for segment in present if found.places[segment.segment_id].insert]
    return data, [segment for segment in present if not found.places[segment.segment_id].insert]


def _uncut(data: list[SegmentHead], l0: list[SegmentHead], point: ConsistencyPoint) -> str:
    """Why a collection cannot be cut exactly, ``""`` where it can."""
    if not (data or l0):
        return ""
    if not point.channels:
        return "the backup does not say when its channels were flushed"
    for segment in (*data, *l0):
        if point.of(segment.v_channel) is None:
            if segment.v_channel:
                return f"channel {segment.v_channel} of segment {segment.segment_id} has no flush time"
            return (
                f"its {len(point.channels)} channels were flushed at different times, and the backup does not say "
                f"which of them segment {segment.segment_id} belongs to"
            )
    return ""
