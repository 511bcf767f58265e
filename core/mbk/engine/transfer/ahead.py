"""A large object read in several ranges at once, and given out in order: one connection alone is slower than most networks."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager
from functools import partial

from mbk.engine.runtime.run import Run
from mbk.ports.storage import MIB, Reader
from mbk.ports.threads import Threads

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
        self._threads = Threads(THREADS, "mbk-ahead")

    def close(self) -> None:
        """Ends the threads; a later object makes new ones."""
        self._threads.close()

    def chunks(self, key: str, size: int) -> Iterator[bytes]:
        """The object's bytes in order; a range that breaks is read again.

        Raises what the storage raises once the retries are used up, and `Interrupted`. Nothing is read any more once it
        has ended or was closed. Of an object that is longer than ``size`` some of the bytes past it are given, too.
        """
        waiting: deque[Future[list[bytes]]] = deque()
        try:
            for offset in range(0, size, self._length):
                is_last = offset + self._length >= size
                waiting.append(self._threads.submit(partial(self._read, key, offset, is_last=is_last)))
                if len(waiting) == AT_ONCE:
                    yield from waiting[0].result()
                    waiting.popleft()
            while waiting:
                yield from waiting[0].result()
                waiting.popleft()
        except (KeyboardInterrupt, SystemExit):
            self._run.cancelled.set()
            raise
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
