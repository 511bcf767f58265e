"""The record of objects: every object of a backup with its size and digests, in one file beside the metadata.

See docs/reference/backup-format.md#the-record-of-objects. The file is compressed JSON lines: a heading, then for each
collection a heading of its own and a line for each object. So `zcat` shows it to people, and a reader keeps one collection
in memory at a time.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from types import TracebackType

import msgspec

from mbk.engine.repository.keyed import CHUNK, KeyedObjects, Lines, split
from mbk.engine.repository.spool import SegmentSpool
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
#: The key and the size at the beginning of an object's line, and the number of objects in the heading of a collection.
_OBJECT = re.compile(rb'^\["([^"\\]*(?:\\.[^"\\]*)*)",(\d+)', re.MULTILINE)
#: Lines of objects whose keys are the same but for the last two names, which are those of a field and a log; or any other line.
_STRETCH = re.compile(rb'^(\["[^"\\]*/)[^"\\/]*/[^"\\/]*",.*\n?(?:\1.*\n?)*|^.+\n?', re.MULTILINE)
_SECTION = re.compile(rb'^\{"collection":\d+(?:,"objects":(\d+))?\}$', re.MULTILINE)


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
    end: int
    objects: int


_NOWHERE = _Place(0, 0, 0)


class Record:
    """One record, unpacked on disk; a context manager. Several threads may call it."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._lines = Lines()
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
        self._lines.close()

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

    def of(self, collection: int) -> KeyedObjects:
        """The objects of a collection by key, relative to the backup's prefix; empty if the record has none of it."""
        place = self._places.get(collection, _NOWHERE)
        return KeyedObjects(self._lines, place.start, place.end, self._decoded)

    def each_of(self, collection: int) -> Iterator[ObjectRecord]:
        """The objects of a collection one by one, decoded as they are drawn."""
        place = self._places.get(collection, _NOWHERE)
        return map(self._decoded, self._lines.between(place.start, place.end))

    def _decoded(self, line: bytes) -> ObjectRecord:
        try:
            return decoded(line, ObjectRecord)
        except Undecodable as reason:
            raise damaged(self._where, str(reason)) from reason

    def lines(self) -> Iterator[bytes]:
        """All objects one by one, encoded."""
        for place in self._places.values():
            yield from self._lines.between(place.start, place.end)

    def objects(self) -> Iterator[ObjectRecord]:
        """All objects one by one."""
        for collection in self._places:
            yield from self.each_of(collection)

    def _unpack(self, chunks: Iterable[bytes]) -> None:
        """Writes the lines to disk, and notes where each collection begins."""
        lines = split(inflated(chunks))
        heading = decoded(next(lines, b""), Heading)
        self.location = heading.location
        section, start, seen = Section(), 0, 0
        for line in lines:
            if line.startswith(b"{"):
                self._end(section, start, seen)
                section, start, seen = decoded(line, Section), self._lines.end, 0
                continue
            self._lines.add(line)
            seen += 1
        self._end(section, start, seen)

    def _end(self, section: Section, start: int, seen: int) -> None:
        if seen != section.objects:
            raise damaged(
                self._where, f"{seen} objects of collection {section.collection} instead of {section.objects}"
            )
        if section.collection:
            self._places[section.collection] = _Place(start, self._lines.end, seen)


def stretches(chunks: Iterable[bytes], *, where: str) -> Iterator[bytes]:
    """The lines of the objects as they are written in the file, those of one segment that follow each other in one piece: the
    records of two backups have the same piece for what both name. A million objects take a second.

    `DamagedBackup` at the end if the file is none, or is not whole: what was told before may be true all the same.
    """
    told = seen = 0
    try:
        for piece in stretches_in(inflated(chunks)):
            if piece.startswith(b"["):
                seen += _lines_in(piece)
                yield piece
            elif section := _SECTION.match(piece):
                told += int(section[1] or 0)
    except zlib.error as reason:
        raise damaged(where, str(reason)) from reason
    if seen != told:
        raise damaged(where, f"{seen} objects instead of {told}")


def stretches_in(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """All lines of a text that comes in pieces, cut as `stretches` does."""
    for block in _blocks(chunks):
        for found in _STRETCH.finditer(block):
            yield found[0]


def objects_in(stretch: bytes, *, where: str) -> list[tuple[bytes, bytes]]:
    """Key and size of each object as they are written. `DamagedBackup` if a line is none of an object."""
    found: list[tuple[bytes, bytes]] = _OBJECT.findall(stretch)
    if len(found) != (lines := _lines_in(stretch)):
        raise damaged(where, f"{lines - len(found)} lines are none of an object")
    return found


def _lines_in(piece: bytes) -> int:
    return piece.count(b"\n") + (not piece.endswith(b"\n"))


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in pieces that end with a line."""
    rest = b""
    for chunk in chunks:
        lines, feed, rest = (rest + chunk).rpartition(b"\n")
        yield lines + feed
    yield rest


def damaged(where: str, reason: str) -> DamagedBackup:
    return DamagedBackup(
        "{key} is damaged: {reason}",
        code="record-damaged",
        key=where,
        reason=reason,
        hint="put the file back from a copy of the backup, use another backup, or restore with --salvage",
    )


def inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The bytes of a compressed file. `zlib.error` if it is damaged, or ends early."""
    unpacker = zlib.decompressobj(wbits=GZIP)
    for chunk in chunks:
        data = unpacker.decompress(chunk, CHUNK)
        while data:
            yield data
            data = unpacker.decompress(unpacker.unconsumed_tail, CHUNK)
    yield unpacker.flush()
    if not unpacker.eof:
        raise zlib.error("the file ends early")
