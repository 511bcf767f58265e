"""The limit of import jobs that a restore may run at once, over all its collections."""

from __future__ import annotations

import threading
import time


class Slots:
    """The job limit, and the time when any job last made progress: jobs queue in the server. Several threads may call it."""

    def __init__(self, jobs: int) -> None:
        self._free = threading.BoundedSemaphore(jobs)
        self.moved = time.monotonic()

    def acquire(self, *, blocking: bool) -> bool:
        return self._free.acquire(blocking=blocking)

    def release(self) -> None:
        self._free.release()

    def touch(self) -> None:
        self.moved = time.monotonic()
