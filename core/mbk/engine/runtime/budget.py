"""What one run may use at once, and the room that is shared by what uses much of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mbk.engine.runtime.failures import cancelled
from mbk.ports.storage import MIB

#: The classic default. A server-side copy is a request that waits: at 80 ms each, 128 at once made 380 a second, 32 made
#: 270; without latency 128 are as fast as 32. So it is with small objects that pass through the process.
COPIES = 128
#: As many small segments a second as can be had when each request takes 30 ms: 16 made 68, 32 made 98, 128 made 87.
SEGMENTS = 32
#: Bytes that all objects which pass through the process hold together. One of 12 MiB was measured to hold 27: twenty of
#: them are more than enough to keep the interpreter busy, and the process stays below 700 MiB.
MEMORY = 512 * MIB
#: Large enough that a part is copied for longer than its request takes, small enough to copy many parts at once.
PART_SIZE = 64 * MIB
#: Metadata files that are read at once. They are small, and they are decoded by one thread at a time.
READERS = 8
#: Seconds between two looks whether a run that waits for room was cancelled.
LOOK = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One value a run, from which pools and transfers take their sizes. Sizes of objects and ``memory`` in bytes.

    ``copies``: objects copied at once. ``parts``: parts of large objects copied at once, over all objects.
    ``part_size``: how large a part is, as far as the storage's limits allow. ``memory``: what objects that pass through
    this process hold together. ``collections`` and ``segments``: worked on at once. ``readers``: metadata files read, and
    batches of keys deleted, at once.
    """

    copies: int = COPIES
    parts: int = COPIES
    part_size: int = PART_SIZE
    memory: int = MEMORY
    collections: int = 4
    segments: int = SEGMENTS
    readers: int = READERS


class Room:
    """A number of bytes that several threads share. A thread that has taken some must not take more before it gave back."""

    def __init__(self, size: int, cancelled: threading.Event) -> None:
        self.size = size
        #: Whether anybody had to wait for another's bytes.
        self.was_short = False
        #: How many held some at once, at most.
        self.most = 0
        self._holders = 0
        self._left = size
        self._cancelled = cancelled
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits until ``amount`` is left; more than there is in all is given when nobody else holds any.

        Raises `Interrupted` when the run is cancelled meanwhile.
        """
        amount = min(amount, self.size)
        with self._freed:
            while self._left < amount:
                self.was_short = True
                if self._cancelled.is_set():
                    raise cancelled()
                self._freed.wait(LOOK)
            self._left -= amount
            self._holders += 1
            self.most = max(self.most, self._holders)
        try:
            yield
        finally:
            with self._freed:
                self._left += amount
                self._holders -= 1
                self._freed.notify_all()
