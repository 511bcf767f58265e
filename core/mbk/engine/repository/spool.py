"""Segments and objects of a running backup, encoded and kept on disk: a million of them do not belong in memory."""

from __future__ import annotations

import tempfile
import threading
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec

from mbk.model.objects import ObjectRecord
from mbk.model.records import Segment

K = TypeVar("K")

#: A shelf stays in memory up to this many bytes.
IN_MEMORY = 8 * 1024 * 1024
#: Objects encoded at once: some 100 KiB, and all of most segments.
AT_ONCE = 500
#: Bytes read at once.
CHUNK = 1024 * 1024


class Shelf(Generic[K]):
    """Bytes by key, in the order of arrival. A context manager. Several threads may call it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed by `__exit__`
        self._end = 0
        #: Start and length of each run of bytes that arrived one after the other.
        self._places: defaultdict[K, array[int]] = defaultdict(lambda: array("Q"))
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, key: K, data: bytes) -> None:
        with self._lock:
            self._file.seek(self._end)
            self._file.write(data)
            places = self._places[key]
            if places and places[-2] + places[-1] == self._end:
                places[-1] += len(data)
            else:
                places.extend((self._end, len(data)))
            self._end += len(data)

    def keys(self) -> list[K]:
        with self._lock:
            return [*self._places]

    def drop(self, key: K) -> None:
        with self._lock:
            self._places.pop(key, None)

    def read(self, key: K) -> Iterator[bytes]:
        """The bytes of a key, cut anywhere."""
        places = self._places.get(key, array("Q"))
        for index in range(0, len(places), 2):
            start, end = places[index], places[index] + places[index + 1]
            for offset in range(start, end, CHUNK):
                with self._lock:
                    self._file.seek(offset)
                    data = self._file.read(min(CHUNK, end - offset))
                yield data


class SegmentSpool:
    """Segments by (collection id, partition id), and all objects by collection id. Several threads may call it."""

    def __init__(self) -> None:
        self._segments: Shelf[tuple[int, int]] = Shelf()
        self._objects: Shelf[int] = Shelf()
        self._counts: defaultdict[int, int] = defaultdict(int)
        self._rows: defaultdict[int, int] = defaultdict(int)
        self._lock = threading.Lock()

    def __enter__(self) -> SegmentSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._segments.__exit__(kind, error, trace)
        self._objects.__exit__(kind, error, trace)

    def add(self, segment: Segment, objects: Iterable[ObjectRecord]) -> None:
        """``objects``: every object of the segment in the backup."""
        place = segment.collection_id, segment.partition_id
        self._segments.add(place, b"," + msgspec.json.encode(segment))
        self.add_objects(segment.collection_id, objects)
        with self._lock:
            self._rows[segment.collection_id] += 0 if segment.is_l0 else segment.num_of_rows

    def add_objects(self, collection: int, objects: Iterable[ObjectRecord]) -> None:
        entries = iter(objects)
        while lines := [msgspec.json.encode(entry) for entry in islice(entries, AT_ONCE)]:
            self._objects.add(collection, b"\n".join(lines) + b"\n")
            with self._lock:
                self._counts[collection] += len(lines)

    def drop(self, collection: int) -> None:
        """Forgets a collection: its backup failed or starts again."""
        for key in self._segments.keys():  # noqa: SIM118 - a shelf is no mapping
            if key[0] == collection:
                self._segments.drop(key)
        self._objects.drop(collection)
        with self._lock:
            self._counts.pop(collection, None)
            self._rows.pop(collection, None)

    def read(self, collection: int, partition: int) -> Iterator[bytes]:
        """Encoded segments, each after a comma; the pieces are cut anywhere."""
        return self._segments.read((collection, partition))

    def read_objects(self, collection: int) -> Iterator[bytes]:
        """Encoded objects, each followed by a line feed; the pieces are cut anywhere."""
        return self._objects.read(collection)

    def count(self, collection: int) -> int:
        """The number of objects of a collection."""
        with self._lock:
            return self._counts.get(collection, 0)

    def rows(self, collection: int) -> int:
        """The rows of its data segments, before deletes."""
        with self._lock:
            return self._rows.get(collection, 0)
