"""Ids and timestamps as the root coordinator gives them out: unique, growing, and larger than 2**53."""

from __future__ import annotations

import threading
import time

LOGICAL_BITS = 18


class Clock:
    """The timestamp oracle: hybrid timestamps, milliseconds << 18 | a counter; each larger than the one before.

    Ids come out of the same numbers, as with Milvus, so that all of a server's ids have equally many digits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_time = 0
        self._last_id = (time.time_ns() // 1_000_000) << LOGICAL_BITS

    def now(self) -> int:
        return self.block(1)

    def block(self, count: int) -> int:
        """The first of ``count`` timestamps in a row."""
        with self._lock:
            first = max((time.time_ns() // 1_000_000) << LOGICAL_BITS, self._last_time + 1)
            self._last_time = first + count - 1
            return first

    def new_id(self) -> int:
        return self.new_ids(1)

    def new_ids(self, count: int) -> int:
        """The first of ``count`` ids in a row."""
        with self._lock:
            first = self._last_id + 1
            self._last_id += count
            return first


def milliseconds(hybrid: int) -> int:
    return hybrid >> LOGICAL_BITS


def hybrid(milliseconds: int) -> int:
    return milliseconds << LOGICAL_BITS
