"""Segments of a running backup, encoded and kept on disk: a million binlogs do not belong in memory."""

from __future__ import annotations

import tempfile
import threading
from array import array
from collections import defaultdict
from collections.abc import Iterator
from types import TracebackType

import msgspec

from mbk.model.records import Segment

#: The spool stays in memory up to this many bytes.
IN_MEMORY = 8 * 1024 * 1024


class SegmentSpool:
    """Encoded segments by (collection id, partition id), in the order of arrival. Several threads may call it."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - closed by `__exit__`
        self._end = 0
        self._places: defaultdict[tuple[int, int], array[int]] = defaultdict(lambda: array("Q"))
        self._lock = threading.Lock()

    def __enter__(self) -> SegmentSpool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, segment: Segment) -> None:
        encoded = msgspec.json.encode(segment)
        with self._lock:
            self._file.seek(self._end)
            self._file.write(encoded)
            self._places[segment.collection_id, segment.partition_id].extend((self._end, len(encoded)))
            self._end += len(encoded)

    def drop(self, collection: int) -> None:
        """Forgets a collection: its backup failed or starts again."""
        with self._lock:
            for key in [key for key in self._places if key[0] == collection]:
                del self._places[key]

    def read(self, collection: int, partition: int) -> Iterator[bytes]:
        places = self._places.get((collection, partition), array("Q"))
        for index in range(0, len(places), 2):
            with self._lock:
                self._file.seek(places[index])
                encoded = self._file.read(places[index + 1])
            yield encoded
