"""Objects by key, a million of them in little memory: their lines lie on disk, and a table tells where each begins."""

from __future__ import annotations

import tempfile
import threading
from array import array
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, ValuesView
from typing import Self

import msgspec

from mbk.engine.repository.spool import IN_MEMORY
from mbk.engine.runtime.decoding import decoded
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import ObjectInfo

#: Read at a time.
CHUNK = 1024 * 1024
#: A place of a table of objects: more numbers than a backup has objects, and above them 24 bits of the hash of the key, which
#: spare all but one in 16 million looks at a wrong object.
_NUMBER = (1 << 40) - 1
_BITS = (1 << 64) - 1


class Lines:
    """Lines on disk, each followed by a line feed. One thread adds them; then several may read."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed by `close`
        self._lock = threading.Lock()
        #: In bytes.
        self.end = 0

    def close(self) -> None:
        self._file.close()

    def add(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self.end += len(line) + 1

    def between(self, start: int, end: int) -> Iterator[bytes]:
        return split(self._chunks(start, end))

    def at(self, start: int, end: int) -> bytes:
        with self._lock:
            self._file.seek(start)
            return self._file.read(end - start)

    def _chunks(self, start: int, end: int) -> Iterator[bytes]:
        for begin in range(start, end, CHUNK):
            yield self.at(begin, min(begin + CHUNK, end))


def split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text that comes in pieces."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


class KeyedObjects(Mapping[str, ObjectRecord]):
    """The objects of a range of lines by key, each decoded when it is asked for, as long as the lines are open.

    A million of them as objects would take 600 MiB; this takes 24 bytes for each. Several threads may call it.
    """

    def __init__(self, lines: Lines, start: int, end: int, decode: Callable[[bytes], ObjectRecord]) -> None:
        self._lines, self._decode = lines, decode
        #: Where each line begins, and where the last one ends.
        self._starts = array("Q", [start])
        for line in lines.between(start, end):
            self._starts.append(self._starts[-1] + len(line) + 1)
        # Open addressing: at least half of the table is free, so that few of its places have to be looked at.
        self._mask = (1 << (2 * len(self._starts)).bit_length()) - 1
        self._table = array("Q", bytes(8 * (self._mask + 1)))
        #: Lines whose key comes again: the last one counts.
        self._outdated: set[int] = set()
        for number, entry in enumerate(self._all()):
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

    def checklist(self) -> KeyedChecklist:
        return KeyedChecklist(self)

    def find(self, key: str) -> tuple[int, ObjectRecord] | None:
        """An object and its number, which is less than `numbers`."""
        place, _, entry = self._found(key)
        return None if entry is None else (self._number(place), entry)

    @property
    def numbers(self) -> int:
        return len(self._starts) - 1

    def numbered(self) -> Iterator[tuple[int, ObjectRecord]]:
        for number, entry in enumerate(self._all()):
            if number not in self._outdated:
                yield number, entry

    def _all(self) -> Iterator[ObjectRecord]:
        return map(self._decode, self._lines.between(self._starts[0], self._starts[-1]))

    def _found(self, key: str) -> tuple[int, int, ObjectRecord | None]:
        """The place of a key in the table, the bits of its hash that are kept there, and its object, if there is one."""
        bits = hash(key) & _BITS
        place, tag = bits & self._mask, bits & ~_NUMBER
        while there := self._table[place]:
            if there & ~_NUMBER == tag:
                number = self._number(place)
                start, end = self._starts[number : number + 2]
                entry = self._decode(self._lines.at(start, end))
                if entry.key == key:
                    return place, tag, entry
            place = place + 1 & self._mask
        return place, tag, None

    def _number(self, place: int) -> int:
        return (self._table[place] & _NUMBER) - 1


class KeyedChecklist:
    """Objects that are met one by one, with a byte for each; of one thread."""

    def __init__(self, objects: KeyedObjects) -> None:
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
    _mapping: KeyedObjects

    def __iter__(self) -> Iterator[ObjectRecord]:
        return self._mapping.entries()


class _Items(ItemsView[str, ObjectRecord]):
    _mapping: KeyedObjects

    def __iter__(self) -> Iterator[tuple[str, ObjectRecord]]:
        return ((entry.key, entry) for entry in self._mapping.entries())


class ListedObjects(Mapping[str, ObjectInfo]):
    """A listing by key, each entry made anew when it is asked for; a context manager. Several threads may call it.

    It keeps what tells whether the bytes are the same: size, etag and checksums.
    """

    def __init__(self, entries: Iterable[ObjectInfo], *, below: int = 0) -> None:
        """``below``: characters that are cut off the front of each key that is asked for."""
        self._lines = Lines()
        self._head = ""
        try:
            for entry in entries:
                self._head = self._head or entry.key[:below]
                self._lines.add(msgspec.json.encode(_line(entry, below)))
        except BaseException:
            self._lines.close()
            raise
        self._objects = KeyedObjects(self._lines, 0, self._lines.end, _decoded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[str]:
        return iter(self._objects)

    def __getitem__(self, key: str) -> ObjectInfo:
        return self.told(self._objects[key])

    def checklist(self) -> KeyedChecklist:
        return self._objects.checklist()

    def told(self, entry: ObjectRecord) -> ObjectInfo:
        """What the listing told of an object that the checklist has met."""
        return ObjectInfo(
            self._head + entry.key, entry.size, etag=entry.etag or None, checksums=entry.digests
        )


def _line(entry: ObjectInfo, below: int) -> ObjectRecord:
    return ObjectRecord(entry.key[below:], entry.size, entry.etag or "", {**entry.checksums})


def _decoded(line: bytes) -> ObjectRecord:
    return decoded(line, ObjectRecord)
