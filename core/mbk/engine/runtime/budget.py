"""How much one run may use at a time, and the memory that its copies share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from typing import Self

from mbk.engine.runtime.failures import cancelled
from mbk.frozen import frozen
from mbk.model.rates import Bandwidth
from mbk.ports.storage import MIB

#: The classic default. A server-side copy mostly waits for the response: at 80 ms each, 128 at once reached 380 per
#: second, 32 reached 270; without latency 128 are as fast as 32. The same holds for small streamed objects.
COPIES = 128
#: The best throughput for small segments when each request takes 30 ms: 16 reached 68 per second, 32 reached 98, 128
#: reached 87.
SEGMENTS = 32
#: Bytes that all streamed objects may use together. One of 12 MiB was measured to use 27 MiB: twenty of them are more
#: than enough to keep the interpreter busy, and the process stays below 700 MiB.
MEMORY = 512 * MIB
#: Large enough that copying a part takes longer than its request, small enough to copy many parts at once.
PART_SIZE = 64 * MIB
#: Metadata files read at once. They are small, and one thread at a time decodes them.
READERS = 8
#: Seconds between checks for cancellation while waiting for memory.
LOOK = 0.5


@frozen(kw_only=True)
class Budget:
    """The limits of one run, from which pools and transfers take their sizes. Object sizes and ``memory`` in bytes.

    A plain value: it can be sent to other processes. ``copies``: objects copied at once, and requests in flight at one
    storage; ``adaptive``: at most so many, and fewer where a storage refuses some. ``parts``: parts of large objects copied at once, over all objects.
    ``part_size``: the size of a part, within the storage's limits. ``memory``: what all streamed objects may use
    together. ``collections`` and ``segments``: processed at once. ``readers``: metadata files read, and batches of keys
    deleted, at once.
    ``max_rate``: requests a second to each storage, None for any number. ``max_bandwidth``: bytes a second that pass
    through the process, those read and those written each.
    """

    copies: int = COPIES
    parts: int = COPIES
    part_size: int = PART_SIZE
    memory: int = MEMORY
    collections: int = 4
    segments: int = SEGMENTS
    readers: int = READERS
    adaptive: bool = True
    max_rate: float | None = None
    max_bandwidth: Bandwidth = field(default_factory=Bandwidth)

    def shared(self, among: int) -> Self:
        """The part of one of so many processes that work on the run at once: all of them together stay within it.

        Of requests in flight, threads and bytes a second each gets one at least.
        """
        return replace(
            self,
            copies=max(1, self.copies // among),
            parts=max(1, self.parts // among),
            memory=self.memory // among,
            max_rate=None if self.max_rate is None else self.max_rate / among,
            max_bandwidth=self.max_bandwidth.shared(among),
        )


class Room:
    """A number of bytes that several threads share. A thread must return what it has taken before it takes more."""

    def __init__(self, size: int, cancelled: threading.Event) -> None:
        self.size = size
        #: Whether any thread had to wait for bytes that another one held.
        self.was_short = False
        #: The largest number of threads that held bytes at once.
        self.most = 0
        self._holders = 0
        self._left = size
        self._cancelled = cancelled
        self._freed = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Waits until ``amount`` is free; an amount above the total is granted once no other thread holds any.

        Raises `Interrupted` if the run is cancelled meanwhile.
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
