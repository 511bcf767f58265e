"""The import jobs that a restore may have in flight, over all its collections."""

from __future__ import annotations

import threading
import time


class Slots:
    """A bound, and the time when any of the jobs last moved: in the server they wait for each other. Thread-safe."""

    def __init__(self, jobs: int) -> None:
        self._free = threading.BoundedSemaphore(jobs)
        self.moved = time.monotonic()

    def acquire(self, *, blocking: bool) -> bool:
        return self._free.acquire(blocking=blocking)

    def release(self) -> None:
        self._free.release()

    def touch(self) -> None:
        self.moved = time.monotonic()
