"""Some of the rows that a restored collection must have. Imports pyarrow: import this module lazily."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mbk.binlog.arrow import pa, pc
from mbk.binlog.deltas import PK
from mbk.engine.formats.binlog.places import Place
from mbk.engine.formats.binlog.rows import Source, primary_key
from mbk.engine.formats.binlog.versions import MANIFEST
from mbk.engine.repository.detailed import DetailedCollection, as_collection
from mbk.engine.repository.timeline import ConsistencyPoint, consistency_point
from mbk.model.records import Backup, SegmentHead

#: Segments that rows are taken from.
SEGMENTS = 5

Key = int | str


@dataclass(slots=True)
class KeySample:
    """Keys of rows that no delete log names and that are not newer than the consistency point."""

    source: Source
    collection: DetailedCollection
    backup: Backup
    places: Mapping[int, Place]

    def keys(self, count: int) -> tuple[str, list[Key]]:
        """The name of the primary key, and about ``count`` of its values."""
        key = primary_key(self.collection.schema, self.collection.label)
        segments = self._segments()
        if not segments:
            return key.name, []
        # Any rows will do, but the same ones each time: a drill that fails can be repeated.
        chance = random.Random(self.collection.collection_id)
        point = consistency_point(as_collection(self.collection), self.backup)
        chosen: list[Any] = []
        for segment in segments:
            keys, times = self.source.keys_and_times(segment, self.places[segment.segment_id], key)
            keys = keys.filter(_within(times, point, segment))
            places = chance.sample(range(len(keys)), min(len(keys), -(-count // len(segments))))
            chosen.append(keys.take(pa.array(sorted(places), pa.int64())))
        left = pc.unique(
            pa.concat_arrays([chunk for one in chosen for chunk in one.chunks] or [pa.array([])])
        )
        return key.name, self._without_deleted(left).to_pylist()

    def _segments(self) -> list[SegmentHead]:
        data = [
            segment
            for segment in self.collection.segments()
            if not segment.is_l0
            and segment.num_of_rows
            and segment.storage_version < MANIFEST
            and segment.segment_id in self.places
            and self.places[segment.segment_id].insert
        ]
        step = max(1, len(data) // SEGMENTS)
        return [*data[::step][:SEGMENTS]]

    def _without_deleted(self, keys: Any) -> Any:
        for table in self._deletes():
            deleted = pc.cast(table.column(PK), keys.type)
            keys = keys.filter(pc.invert(pc.is_in(keys, value_set=deleted.combine_chunks())))
        return keys

    def _deletes(self) -> Iterator[Any]:
        for place in self.places.values():
            if place.delta:
                yield from self.source.deletes(place)


def _within(times: Any, point: ConsistencyPoint, segment: SegmentHead) -> Any:
    """Which rows are in the backup's state: a restore may leave newer ones out."""
    limit = point.of(segment.v_channel)
    if limit is None and point.channels:
        limit = min(point.channels.values())
    return pc.less_equal(times, limit if limit is not None else 2**63 - 1)
