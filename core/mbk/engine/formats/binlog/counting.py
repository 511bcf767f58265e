"""Counts the rows that the segments of a backup must become, by their own keys, times and deletes.

Imports pyarrow: import this module when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mbk.binlog.arrow import pc
from mbk.binlog.deletes import Deletes, hits, newest
from mbk.binlog.deltas import TS
from mbk.engine.formats.binlog.places import Place
from mbk.engine.formats.binlog.rows import Source, primary_key
from mbk.engine.runtime.pool import Pool
from mbk.frozen import frozen
from mbk.model.records import ALL_PARTITIONS, CollectionSchema, SegmentHead

#: Segments whose keys are read at once: decoding holds the interpreter lock, and each keeps its keys in memory.
READ = 4

Located = tuple[SegmentHead, Place]


@frozen
class Rows:
    """``imported``: without those that a delete log of their own segment deletes; ``live``: without those of L0 segments, too."""

    imported: int = 0
    live: int = 0


@frozen(kw_only=True)
class RowCount:
    """Of one collection. ``end``: the hybrid timestamp of a segment after which nothing counts, 0: no limit."""

    source: Source
    schema: CollectionSchema | None
    label: str
    data: Sequence[Located]
    l0: Sequence[Located]
    end: Callable[[SegmentHead], int]

    def rows(self) -> Rows:
        """Reads two fields of the segments that a delete or a limit may concern.

        `InvalidBackup` for binlogs that are damaged or of an unknown form, `UsageError` for those that Milvus encrypted.
        """
        partitions: dict[int, list[Located]] = {}
        for located in self.data:
            partitions.setdefault(located[0].partition_id, []).append(located)
        imported = live = 0
        with Pool(READ, self.source.run.cancelled, name="mbk-count") as pool:
            for partition, segments in partitions.items():
                counted = self._of_partition(partition, segments, pool)
                imported += sum(rows.imported for rows in counted)
                live += sum(rows.live for rows in counted)
        return Rows(imported, live)

    def _of_partition(self, partition: int, segments: list[Located], pool: Pool) -> list[Rows]:
        above = [pair for pair in self.l0 if pair[0].partition_id in (partition, ALL_PARTITIONS)]
        deletes = Deletes(lambda: self._tables(above)) if above else None

        def one(located: Located) -> Rows:
            return self._of(*located, deletes)

        # The first one reads the deletes that the others share.
        return [one(segments[0]), *pool.map(one, segments[1:])]

    def _of(self, segment: SegmentHead, place: Place, above: Deletes | None) -> Rows:
        end = self.end(segment)
        if not (end or place.delta or above):
            return Rows(segment.num_of_rows, segment.num_of_rows)
        keys, times = self.source.keys_and_times(segment, place, primary_key(self.schema, self.label))
        own = newest(self._tables([(segment, place)]), kind=keys.type)
        left = pc.invert(hits(keys, times, own))
        if end:
            left = pc.and_(left, pc.less_equal(times, end))
        imported = _count(left)
        if above is not None:
            left = pc.and_(left, pc.invert(hits(keys, times, above.matching(keys))))
        return Rows(imported, _count(left))

    def _tables(self, located: Sequence[Located]) -> Iterator[Any]:
        for segment, place in located:
            end = self.end(segment)
            for table in self.source.deletes(place):
                yield table.filter(pc.less_equal(table.column(TS), end)) if end else table


def _count(left: Any) -> int:
    return int(pc.sum(left).as_py() or 0)
