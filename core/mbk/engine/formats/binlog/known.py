"""Which objects a collection of a backup consists of: by the backup's record, or by the lists of files in its metadata.

A record tells every object with its digests. Backups without one (the classic tool's, older ones of mbk) list the files of
each segment with their sizes, under the keys that they had in Milvus; where a segment lists none, what lies in its
directories is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import Protocol

from mbk.engine.repository.detailed import DetailedCollection
from mbk.engine.repository.keyed import KeyedObjects
from mbk.frozen import frozen
from mbk.model.layout import DELTA_LOG, INSERT_LOG
from mbk.model.objects import ObjectRecord
from mbk.model.records import Binlog, Collection, Segment, SegmentHead


@frozen
class Spot:
    """Where an object lies: ``directory`` is its segment's, ends with ``/``; ``name`` identifies it in every layout."""

    directory: str
    segment: int
    name: str


def insert_spot(key: str) -> Spot | None:
    """Of an insert log, ``{segment}/{field}/{log}`` at its end; None for any other key."""
    directory, *ends = key.rsplit("/", 2)
    segment = directory.rpartition("/")[2]
    if len(ends) != 2 or not all(part.isdecimal() for part in (segment, *ends)):
        return None
    return Spot(f"{directory}/", int(segment), _insert_name(int(segment), *map(int, ends)))


def delta_spot(key: str) -> Spot | None:
    """Of a delta log, ``{segment}/{log}`` at its end; None for any other key."""
    directory, _, log = key.rpartition("/")
    segment = directory.rpartition("/")[2]
    if not (segment.isdecimal() and log.isdecimal()):
        return None
    return Spot(f"{directory}/", int(segment), _delta_name(int(segment), int(log)))


def spot_of(name: str) -> Spot | None:
    """Of a key relative to the backup's prefix, or to the pool, or of a name."""
    return (insert_spot if INSERT_LOG in name.split("/")[:3] else delta_spot)(name)


def _insert_name(segment: int, number: int, log: int) -> str:
    return f"{INSERT_LOG}/{segment}/{number}/{log}"


def _delta_name(segment: int, log: int) -> str:
    return f"{DELTA_LOG}/{segment}/{log}"


class Checklist(Protocol):
    """Objects that are met one by one."""

    def meet(self, name: str) -> ObjectRecord | None:
        """The object of this name, which has now been met."""

    def left(self) -> Iterator[str]:
        """The names of those that were not met."""


@frozen
class _Checklist:
    objects: Mapping[str, ObjectRecord]
    met: set[str] = field(default_factory=set)

    def meet(self, name: str) -> ObjectRecord | None:
        self.met.add(name)
        return self.objects.get(name)

    def left(self) -> Iterator[str]:
        return (name for name in self.objects if name not in self.met)


@frozen(kw_only=True)
class Known:
    """The objects of one collection. ``prefix``: the backup's, or the pool's of a ``shared`` one, which has neighbours there.

    ``objects``: by key relative to the prefix if ``recorded``, otherwise by the name of their `Spot`. ``here``: the record
    was made where the backup lies now. ``segments``: all in the metadata. ``free_inserts`` and ``free_deltas``: the
    segments that list no insert logs, or no delta logs.
    """

    prefix: str
    objects: Mapping[str, ObjectRecord] = field(default_factory=dict)
    recorded: bool = False
    here: bool = False
    shared: bool = False
    segments: frozenset[int] = frozenset()
    free_inserts: frozenset[int] = frozenset()
    free_deltas: frozenset[int] = frozenset()

    def name(self, key: str, spot: Spot) -> str:
        """The key of ``objects`` that stands for an object of the bucket."""
        return key.removeprefix(self.prefix) if self.recorded else spot.name

    def checklist(self) -> Checklist:
        """The objects, to find out which of them a listing does not have."""
        objects = self.objects
        return objects.checklist() if isinstance(objects, KeyedObjects) else _Checklist(objects)

    def is_free(self, spot: Spot) -> bool:
        free = self.free_inserts if spot.name.startswith(INSERT_LOG) else self.free_deltas
        return spot.segment in free


def recorded_objects(
    prefix: str,
    collection: Collection,
    objects: Mapping[str, ObjectRecord],
    *,
    here: bool,
    shared: bool = False,
) -> Known:
    """By the backup's record."""
    numbers = frozenset(segment.segment_id for segment in segments_in(collection))
    return Known(prefix=prefix, objects=objects, recorded=True, here=here, shared=shared, segments=numbers)


def listed_objects(prefix: str, segments: Iterable[SegmentHead]) -> Known:
    """By the lists in the metadata; the files of a segment without any are its own."""
    objects: dict[str, ObjectRecord] = {}
    numbers: set[int] = set()
    free_inserts: set[int] = set()
    free_deltas: set[int] = set()
    for segment in segments:
        inserts, deltas = _lists(segment)
        numbers.add(segment.segment_id)
        if not inserts and not segment.is_l0:
            free_inserts.add(segment.segment_id)
        if not inserts and not deltas:
            free_deltas.add(segment.segment_id)
        objects |= inserts
        objects |= deltas
    return Known(
        prefix=prefix,
        objects=objects,
        segments=frozenset(numbers),
        free_inserts=frozenset(free_inserts),
        free_deltas=frozenset(free_deltas),
    )


def segments_in(collection: Collection | DetailedCollection) -> Iterator[SegmentHead]:
    for partition in collection.partition_backups:
        yield from partition.segment_backups
    yield from collection.l0_segments


def _lists(segment: SegmentHead) -> tuple[dict[str, ObjectRecord], dict[str, ObjectRecord]]:
    """The insert logs and the delta logs that a segment lists. A file without an id: its list says nothing."""
    if not isinstance(segment, Segment):
        return {}, {}
    number = segment.segment_id
    inserts = {
        _insert_name(number, group.field_id, log_id(log)): log
        for group in segment.binlogs
        for log in group.binlogs
    }
    # Old writers put the log's id into the field of a delta log.
    deltas = {_delta_name(number, log_id(log)): log for group in segment.deltalogs for log in group.binlogs}
    if not all(log_id(log) for log in (*inserts.values(), *deltas.values())):
        return {}, {}
    return _as_records(inserts.items()), _as_records(deltas.items())


def _as_records(logs: Iterable[tuple[str, Binlog]]) -> dict[str, ObjectRecord]:
    return {name: ObjectRecord(name, log.log_size) for name, log in logs}


def log_id(log: Binlog) -> int:
    """Old writers recorded only the path (docs/reference/backup-format.md#older-backups); 0 if there is none."""
    name = log.log_path.rpartition("/")[2]
    return log.log_id or (int(name) if name.isdecimal() else 0)
