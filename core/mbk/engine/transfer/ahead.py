"""A large object read in several ranges at once, and given out in order: one connection alone is slower than most networks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager

from mbk.engine.runtime.run import Run
from mbk.ports.storage import MIB, Reader

#: Large enough that reading it takes longer than its request, and what most storages cut a streamed object into.
RANGE = 8 * MIB
#: Ranges of one object on their way or waiting for their turn: with `RANGE` they hold 32 MiB, whatever the object's size.
AT_ONCE = 4
#: The memory of one object that is read ahead.
HELD = AT_ONCE * RANGE
#: Threads of one pair of storages, whatever the number of its objects in flight.
THREADS = 16


class Ahead:
    """Reads ahead of whoever takes the bytes, in ranges of ``length`` bytes. Several threads may call it; its own threads
    are made with the first object."""

    def __init__(self, storage: Reader, run: Run, *, length: int = RANGE) -> None:
        self._storage = storage
        self._run = run
        self._length = length
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Ends the threads; a later object makes new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        """The object's bytes in order; a range that breaks is read again.

        Raises what the storage raises once the retries are used up, and `Interrupted`. Nothing is read any more once it
        has ended or was closed. Of an object that is longer than ``size`` some of the bytes past it are given, too.
        """
        waiting: deque[Future[list[bytes]]] = deque()
        pool = self._threads()
        try:
            for offset in range(0, size, self._length):
                waiting.append(pool.submit(self._read, key, offset, is_last=offset + self._length >= size))
                if len(waiting) == AT_ONCE:
                    yield from waiting[0].result()
                    waiting.popleft()
            while waiting:
                yield from waiting[0].result()
                waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()
            wait(waiting)

    def _read(self, key: str, offset: int, *, is_last: bool) -> list[bytes]:
        """The last range is read to the object's end, so that a longer object is noticed, but no more than a range."""

        def open_at(done: int) -> AbstractContextManager[Iterator[bytes]]:
            return self._storage.read(
                key, offset=offset + done, length=None if is_last else self._length - done
            )

        found, count = list[bytes](), 0
        for chunk in self._run.retry.stream(f"read {key}", open_at):
            self._run.check_cancelled()
            found.append(chunk)
            count += len(chunk)
            if count > self._length:
                break
        return found

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mbk-ahead")
            return self._pool
