"""Where a backup really keeps each segment.

Directories are taken from a listing instead of being computed: over ten releases, writers added group elements or not
and built keys in different ways (docs/reference/backup-format.md#older-backups). One listing a collection covers them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from mbk.engine.formats.binlog.known import (
    Checklist,
    Known,
    Spot,
    delta_spot,
    insert_spot,
    segments_in,
    spot_of,
)
from mbk.engine.formats.differences import Differences
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.same import Vouch, vouched
from mbk.errors import InvalidBackup
from mbk.model.layout import INSERT_LOG
from mbk.model.objects import ObjectRecord
from mbk.model.records import Collection
from mbk.ports.storage import ObjectInfo, Storage


@dataclass(slots=True)
class Place:
    """A segment's directories in the backup, each ending with ``/``, ``""`` if there is none; sizes in bytes.

    ``beside``: further ones with delete logs, which several backups have put into the pool.
    """

    insert: str = ""
    delta: str = ""
    objects: int = 0
    size: int = 0
    beside: tuple[str, ...] = ()

    @property
    def deltas(self) -> tuple[str, ...]:
        return (self.delta, *self.beside) if self.delta else ()

    @property
    def parent(self) -> str:
        """The directory to give to Milvus, which lists it one level deep and takes each entry for a segment."""
        return self.insert[: self.insert.rstrip("/").rfind("/") + 1]

    @property
    def delta_parents(self) -> tuple[str, ...]:
        return tuple(delta[: delta.rstrip("/").rfind("/") + 1] for delta in self.deltas)

    def add_delta(self, directory: str) -> None:
        if not self.delta:
            self.delta = directory
        elif directory != self.delta and directory not in self.beside:
            self.beside += (directory,)


@dataclass(slots=True)
class SegmentPlaces:
    """Segment id -> place, and the entries directly below each directory that may be given to Milvus.

    ``extra``: keys that do not belong to the backup, and ``foreign`` all directories above them: Milvus must not be given
    such a directory. In the pool only those of the backup's own segments are kept. ``unsure``: segments with an object whose contents nobody vouches for. ``lost``: segments that are
    not whole -> why; they have no place.
    """

    places: dict[int, Place] = field(default_factory=dict)
    siblings: dict[str, set[str]] = field(default_factory=dict)
    extra: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    unsure: set[int] = field(default_factory=set)
    lost: dict[int, str] = field(default_factory=dict)
    differences: Differences = field(default_factory=Differences)

    def without(self, lost: dict[int, str]) -> SegmentPlaces:
        """Without these segments, which are not whole."""
        places = {number: place for number, place in self.places.items() if number not in lost}
        return replace(self, places=places, lost={**self.lost, **lost})


def scan(
    storage: Storage, prefixes: tuple[str, ...], collection: Collection, run: Run, known: Known
) -> SegmentPlaces:
    """Lists a collection's data as a stream and compares it with what is ``known`` of the whole collection.

    ``collection`` may have fewer partitions: differences are only those of its own segments. `InvalidBackup` if a segment
    that has rows has no objects and nobody tells which it had.
    """
    inserts = tuple(prefix for prefix in prefixes if prefix.split("/")[-3] == INSERT_LOG)

    def read(entries: Iterator[ObjectInfo]) -> SegmentPlaces:
        survey = _Survey(known, frozenset(item.segment_id for item in segments_in(collection)))
        for entry in entries:
            survey.add(entry, is_insert=entry.key.startswith(inserts))
        return survey.result()

    found = listing.consume(storage, run, read, *prefixes)
    if not found.differences.is_damaged:
        _require(collection, found, storage)
    return found


@dataclass(slots=True)
class _Survey:
    """The listing of one collection, object by object. ``wanted``: the segments whose differences count."""

    known: Known
    wanted: frozenset[int]
    found: SegmentPlaces = field(default_factory=SegmentPlaces)
    checklist: Checklist = field(init=False)

    def __post_init__(self) -> None:
        self.checklist = self.known.checklist()

    def add(self, entry: ObjectInfo, *, is_insert: bool) -> None:
        spot = insert_spot(entry.key) if is_insert else delta_spot(entry.key)
        name = self.known.name(entry.key, spot) if spot else ""
        record = self.checklist.meet(name) if spot else None
        if spot is None or (record is None and not self.known.is_free(spot)):
            self._add_extra(entry.key, spot)
            return
        if record is not None:
            self._compare(record, entry, spot)
        place = self.found.places.setdefault(spot.segment, Place())
        place.objects += 1
        place.size += entry.size
        if is_insert:
            self._add_insert(place, spot)
        else:
            place.add_delta(spot.directory)

    def result(self) -> SegmentPlaces:
        differences = self.found.differences
        for name in self.checklist.left():
            spot = spot_of(name)
            if spot is not None and spot.segment not in self.known.segments:
                differences.unlisted.add(name)
                self.found.lost.setdefault(spot.segment, "the metadata does not list it")
            elif spot is not None and spot.segment in self.wanted:
                differences.missing.add(name)
                self.found.lost.setdefault(spot.segment, f"{name} is missing")
        return self.found

    def _compare(self, record: ObjectRecord, entry: ObjectInfo, spot: Spot) -> None:
        differences, lost = self.found.differences, self.found.lost
        if self.known.recorded and spot.segment not in self.known.segments:
            differences.unlisted.add(record.key)
            lost.setdefault(spot.segment, "the metadata does not list it")
        elif spot.segment not in self.wanted:
            return
        # Some old writers list no sizes.
        elif entry.size != record.size and (record.size or self.known.recorded):
            differences.resized.add(record.key)
            lost.setdefault(spot.segment, f"{record.key} has {entry.size} bytes instead of {record.size}")
        elif self.known.recorded:
            vouch = vouched(record, entry, here=self.known.here)
            if vouch is Vouch.CHANGED:
                differences.rewritten.add(record.key)
                lost.setdefault(spot.segment, f"{record.key} has other contents")
            elif vouch is Vouch.UNKNOWN:
                self.found.unsure.add(spot.segment)

    def _add_insert(self, place: Place, spot: Spot) -> None:
        if place.insert not in ("", spot.directory):
            raise InvalidBackup(
                "segment {segment} is stored twice: in {first} and {second}",
                code="segment-duplicated",
                segment=spot.segment,
                first=place.insert,
                second=spot.directory,
                hint="delete the copy that does not belong to the backup",
            )
        place.insert = spot.directory
        siblings = self.found.siblings
        siblings.setdefault(place.parent, set()).add(str(spot.segment))
        # The directory of a group counts as a foreign entry for segments beside it.
        above, _, group = place.parent.rstrip("/").rpartition("/")
        siblings.setdefault(f"{above}/", set()).add(group)

    def _add_extra(self, key: str, spot: Spot | None) -> None:
        if not self.known.shared:
            self.found.differences.extra.add(key)
        elif spot is not None and spot.segment not in self.known.segments:
            # Another backup's segment. It has a directory of its own, so that the one above is no segment's of this backup.
            self.found.foreign.add(spot.directory[: spot.directory.rstrip("/").rfind("/") + 1])
            return
        self.found.extra.add(key)
        above = key
        while (above := above.rpartition("/")[0]) and f"{above}/" not in self.found.foreign:
            self.found.foreign.add(f"{above}/")


def unrecognised(key: str) -> InvalidBackup:
    return InvalidBackup(
        "unrecognised binlog path {key} in the backup",
        code="binlog-path-unrecognised",
        key=key,
        hint="delete the object if it does not belong to the backup",
    )


def _require(collection: Collection, found: SegmentPlaces, storage: Storage) -> None:
    for partition in collection.partition_backups:
        for segment in partition.segment_backups:
            place = found.places.get(segment.segment_id, Place())
            # Before tools supported L0 segments, they recorded them as segments without insert logs
            # (docs/reference/backup-format.md#older-backups).
            only_deletes = place.delta and place.size == segment.size
            if segment.num_of_rows and not segment.is_l0 and not place.insert and not only_deletes:
                raise InvalidBackup(
                    "{location} has no data of segment {segment} of {collection} ({rows} rows)",
                    code="segment-data-missing",
                    segment=segment.segment_id,
                    rows=segment.num_of_rows,
                    location=storage.location,
                    collection=f"{collection.db_name}.{collection.collection_name}",
                    hint="were objects deleted, or only part of the backup moved?",
                )
