"""Where a backup really keeps each segment.

Directories are taken from a listing instead of being computed: over ten releases, writers added group elements or not
and built keys in different ways (docs/reference/backup-format.md#older-backups). One listing a collection covers them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import InvalidBackup
from mbk.model.layout import BackupLayout
from mbk.model.records import Collection
from mbk.ports.storage import ObjectInfo, Storage


@dataclass(slots=True)
class Place:
    """A segment's directories in the backup, each ending with ``/``, ``""`` if there is none; sizes in bytes."""

    insert: str = ""
    delta: str = ""
    objects: int = 0
    size: int = 0

    @property
    def parent(self) -> str:
        """The directory to give to Milvus, which lists it one level deep and takes each entry for a segment."""
        return self.insert[: self.insert.rstrip("/").rfind("/") + 1]

    @property
    def delta_parent(self) -> str:
        return self.delta[: self.delta.rstrip("/").rfind("/") + 1]


@dataclass(slots=True)
class SegmentPlaces:
    """Segment id -> place, and the entries directly below each directory that may be given to Milvus."""

    places: dict[int, Place] = field(default_factory=dict)
    siblings: dict[str, set[str]] = field(default_factory=dict)


def scan(storage: Storage, layout: BackupLayout, collection: Collection, run: Run) -> SegmentPlaces:
    """Lists a collection's data as a stream. `InvalidBackup` if a segment that has rows has no objects."""
    inserts, deltas = layout.collection_prefixes(collection.collection_id)

    def read(entries: Iterator[ObjectInfo]) -> SegmentPlaces:
        result = SegmentPlaces()
        for entry in entries:
            add = _add_insert if entry.key.startswith(inserts) else _add_delta
            add(result, entry)
        return result

    found = listing.consume(storage, run, read, inserts, deltas)
    _require(collection, found, storage)
    return found


def _add_insert(found: SegmentPlaces, entry: ObjectInfo) -> None:
    directory, segment = _directory(entry.key, below=2)
    place = found.places.setdefault(segment, Place())
    if place.insert not in ("", directory):
        raise InvalidBackup(
            "segment {segment} is stored twice: in {first} and {second}",
            code="segment-duplicated",
            segment=segment,
            first=place.insert,
            second=directory,
            hint="delete the copy that does not belong to the backup",
        )
    place.insert = directory
    place.objects += 1
    place.size += entry.size
    found.siblings.setdefault(place.parent, set()).add(str(segment))
    # The directory of a group counts as a foreign entry for segments beside it.
    above, _, group = place.parent.rstrip("/").rpartition("/")
    found.siblings.setdefault(f"{above}/", set()).add(group)


def _add_delta(found: SegmentPlaces, entry: ObjectInfo) -> None:
    directory, segment = _directory(entry.key, below=1)
    place = found.places.setdefault(segment, Place())
    place.delta = directory
    place.objects += 1
    place.size += entry.size


def _directory(key: str, *, below: int) -> tuple[str, int]:
    """The segment's directory and id: the element that has ``below`` elements below it in an object's key."""
    parts = key.split("/")
    try:
        return "/".join(parts[:-below]) + "/", int(parts[-below - 1])
    except (ValueError, IndexError):
        raise unrecognised(key) from None


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
