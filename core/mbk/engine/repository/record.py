"""The record of objects: every object of a backup with its size and digests, in one file beside the metadata.

See docs/reference/backup-format.md#the-record-of-objects. The file is compressed JSON lines: a heading, then for each
collection a heading of its own and a line for each object. So `zcat` shows it to people, and a reader keeps one collection
in memory at a time.
"""

from __future__ import annotations

import tempfile
import threading
import zlib
from array import array
from collections.abc import ItemsView, Iterable, Iterator, Mapping, ValuesView
from types import TracebackType

import msgspec

from mbk.engine.repository.spool import IN_MEMORY, SegmentSpool
from mbk.engine.runtime.decoding import Undecodable, decoded
from mbk.errors import DamagedBackup
from mbk.frozen import frozen
from mbk.model.objects import ObjectRecord
from mbk.model.records import Record as Line
from mbk.ports.storage import Location

#: Level 1 takes 1.1 s for a million objects and 34 bytes an object; level 6 takes 3.1 s and saves 3 bytes of these: the
#: digests, most of the file, cannot be compressed.
LEVEL = 1
#: zlib's number for a gzip file with the largest window.
GZIP = 31
#: Decompressed at a time.
CHUNK = 1024 * 1024
#: A place of a table of objects: more numbers than a backup has objects, and above them 24 bits of the hash of the key, which
#: spare all but one in 16 million looks at a wrong object.
_NUMBER = (1 << 40) - 1
_BITS = (1 << 64) - 1


class Heading(Line):
    """The first line. ``location``: where the objects were when their etags were told."""

    version: int = 1
    location: str = ""


class Section(Line):
    """Before the objects of a collection."""

    collection: int = 0
    objects: int = 0


def encode_record(location: str, collections: Iterable[int], spool: SegmentSpool) -> Iterator[bytes]:
    """The file, compressed; the same bytes each time it is encoded."""
    packer = zlib.compressobj(LEVEL, wbits=GZIP)
    for line in _lines(location, collections, spool):
        if packed := packer.compress(line):
            yield packed
    yield packer.flush()


def _lines(location: str, collections: Iterable[int], spool: SegmentSpool) -> Iterator[bytes]:
    yield msgspec.json.encode({"version": 1, "location": location}) + b"\n"
    for collection in collections:
        heading = Section(collection=collection, objects=spool.count(collection))
        yield msgspec.json.encode(heading) + b"\n"
        yield from spool.read_objects(collection)


@frozen
class _Place:
    start: int
    length: int
    objects: int


class Record:
    """One record, unpacked on disk; a context manager. Several threads may call it."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self._lock = threading.Lock()
        self._places: dict[int, _Place] = {}
        self.location = ""

    @classmethod
    def unpacked(cls, chunks: Iterable[bytes], *, where: str) -> Record:
        """From the bytes of the file. `DamagedBackup` if it is none."""
        record = cls(where)
        try:
            record._unpack(chunks)
        except (zlib.error, Undecodable) as reason:
            record.close()
            raise damaged(where, str(reason)) from reason
        except BaseException:
            record.close()
            raise
        return record

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def count(self) -> int:
        """The number of objects."""
        return sum(place.objects for place in self._places.values())

    def is_here(self, location: Location, name: str) -> bool:
        """Whether etags can be compared with those of backup ``name`` in ``location``. Those of a file system tell when a file
        was written, not that its bytes are still the same."""
        return not location.mount and self.location == f"{location}/{name}"

    @property
    def collections(self) -> tuple[int, ...]:
        return tuple(self._places)

    def of(self, collection: int) -> RecordedObjects:
        """The objects of a collection by key, relative to the backup's prefix; empty if the record has none of it."""
        return RecordedObjects(self, collection)

    def each_of(self, collection: int) -> Iterator[ObjectRecord]:
        """The objects of a collection one by one, decoded as they are drawn."""
        return map(self._decoded, self.lines(collection))

    def lines(self, collection: int) -> Iterator[bytes]:
        """The objects of a collection as they are recorded, a line each."""
        place = self._places.get(collection)
        return _split(self._chunks(place)) if place is not None else iter(())

    def at(self, start: int, length: int) -> ObjectRecord:
        """The object whose line is there."""
        with self._lock:
            self._file.seek(start)
            line = self._file.read(length)
        return self._decoded(line)

    def begins(self, collection: int) -> int:
        """Where the lines of a collection begin."""
        place = self._places.get(collection)
        return place.start if place is not None else 0

    def _decoded(self, line: bytes) -> ObjectRecord:
        try:
            return decoded(line, ObjectRecord)
        except Undecodable as reason:
            raise damaged(self._where, str(reason)) from reason

    def objects(self) -> Iterator[ObjectRecord]:
        """All objects one by one."""
        for collection in self._places:
            yield from self.each_of(collection)

    def _chunks(self, place: _Place) -> Iterator[bytes]:
        end = place.start + place.length
        for start in range(place.start, end, CHUNK):
            with self._lock:
                self._file.seek(start)
                chunk = self._file.read(min(CHUNK, end - start))
            yield chunk

    def _unpack(self, chunks: Iterable[bytes]) -> None:
        """Writes the lines to disk, and notes where each collection begins."""
        lines = _split(_inflated(chunks))
        heading = decoded(next(lines, b""), Heading)
        self.location = heading.location
        section, start, end, seen = Section(), 0, 0, 0
        for line in lines:
            if line.startswith(b"{"):
                self._end(section, start, end, seen)
                section, start, seen = decoded(line, Section), end, 0
                continue
            self._file.write(line + b"\n")
            end, seen = end + len(line) + 1, seen + 1
        self._end(section, start, end, seen)

    def _end(self, section: Section, start: int, end: int, seen: int) -> None:
        if seen != section.objects:
            raise damaged(
                self._where, f"{seen} objects of collection {section.collection} instead of {section.objects}"
            )
        if section.collection:
            self._places[section.collection] = _Place(start, end - start, seen)


class RecordedObjects(Mapping[str, ObjectRecord]):
    """The objects of one collection by key, each decoded when it is asked for, as long as the record is open.

    A million of them as objects would take 600 MiB; this takes 24 bytes for each. Several threads may call it.
    """

    def __init__(self, record: Record, collection: int) -> None:
        self._record = record
        self._collection = collection
        #: Where each line begins, and where the last one ends.
        self._starts = array("Q", [record.begins(collection)])
        for line in record.lines(collection):
            self._starts.append(self._starts[-1] + len(line) + 1)
        # Open addressing: at least half of the table is free, so that few of its places have to be looked at.
        self._mask = (1 << (2 * len(self._starts)).bit_length()) - 1
        self._table = array("Q", bytes(8 * (self._mask + 1)))
        #: Lines whose key comes again: the last one counts.
        self._outdated: set[int] = set()
        for number, entry in enumerate(record.each_of(collection)):
            place, tag, before = self._found(entry.key)
            if before is not None:
                self._outdated.add(self._number(place))
            self._table[place] = tag | (number + 1)

    def __len__(self) -> int:
        return self.numbers - len(self._outdated)

    def __iter__(self) -> Iterator[str]:
        return (entry.key for entry in self.entries())

    def __getitem__(self, key: str) -> ObjectRecord:
        _, _, entry = self._found(key)
        if entry is None:
            raise KeyError(key)
        return entry

    def values(self) -> ValuesView[ObjectRecord]:
        return _Values(self)

    def items(self) -> ItemsView[str, ObjectRecord]:
        return _Items(self)

    def entries(self) -> Iterator[ObjectRecord]:
        return (entry for _, entry in self.numbered())

    def checklist(self) -> RecordedChecklist:
        return RecordedChecklist(self)

    def find(self, key: str) -> tuple[int, ObjectRecord] | None:
        """An object and its number, which is less than `numbers`."""
        place, _, entry = self._found(key)
        return None if entry is None else (self._number(place), entry)

    @property
    def numbers(self) -> int:
        return len(self._starts) - 1

    def numbered(self) -> Iterator[tuple[int, ObjectRecord]]:
        for number, entry in enumerate(self._record.each_of(self._collection)):
            if number not in self._outdated:
                yield number, entry

    def _found(self, key: str) -> tuple[int, int, ObjectRecord | None]:
        """The place of a key in the table, the bits of its hash that are kept there, and its object, if there is one."""
        bits = hash(key) & _BITS
        place, tag = bits & self._mask, bits & ~_NUMBER
        while there := self._table[place]:
            if there & ~_NUMBER == tag:
                number = self._number(place)
                start, end = self._starts[number : number + 2]
                entry = self._record.at(start, end - start)
                if entry.key == key:
                    return place, tag, entry
            place = place + 1 & self._mask
        return place, tag, None

    def _number(self, place: int) -> int:
        return (self._table[place] & _NUMBER) - 1


class RecordedChecklist:
    """Recorded objects that are met one by one, with a byte for each; of one thread."""

    def __init__(self, objects: RecordedObjects) -> None:
        self._objects = objects
        self._met = bytearray(objects.numbers)

    def meet(self, key: str) -> ObjectRecord | None:
        found = self._objects.find(key)
        if found is None:
            return None
        number, entry = found
        self._met[number] = 1
        return entry

    def left(self) -> Iterator[str]:
        """The keys of those that were not met."""
        return (entry.key for number, entry in self._objects.numbered() if not self._met[number])


class _Values(ValuesView[ObjectRecord]):
    _mapping: RecordedObjects

    def __iter__(self) -> Iterator[ObjectRecord]:
        return self._mapping.entries()


class _Items(ItemsView[str, ObjectRecord]):
    _mapping: RecordedObjects

    def __iter__(self) -> Iterator[tuple[str, ObjectRecord]]:
        return ((entry.key, entry) for entry in self._mapping.entries())


def damaged(where: str, reason: str) -> DamagedBackup:
    return DamagedBackup(
        "{key} is damaged: {reason}",
        code="record-damaged",
        key=where,
        reason=reason,
        hint="put the file back from a copy of the backup, use another backup, or restore with --salvage",
    )


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=GZIP)
    for chunk in chunks:
        data = unpacker.decompress(chunk, CHUNK)
        while data:
            yield data
            data = unpacker.decompress(unpacker.unconsumed_tail, CHUNK)
    yield unpacker.flush()
    if not unpacker.eof:
        raise zlib.error("the file ends early")


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest
