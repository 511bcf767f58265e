"""Sending the parts of a large object several at a time, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock

from mbk.plugin.wire import Data

#: Parts of one object on their way at once. With the one that is being gathered, and for a moment joined, an object in
#: flight holds at most six parts and one chunk of its source: 48 MiB and a chunk, for objects below 78 GiB.
AT_ONCE = 4
#: Threads of one storage, whatever the number of its objects in flight: more only contend for the interpreter lock.
THREADS = 16


class Senders:
    """The threads that send parts, made with the first large object. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None

    def send(self, put_part: Callable[[int, Data], None], pieces: Iterable[Data]) -> None:
        """Calls ``put_part`` for each piece, numbered from 1. Raises the first error; nothing is on its way afterwards.

        What the iterable raises passes through unchanged. A part stays in `waiting` until it has ended, so that Ctrl-C
        amid it is no reason to leave it on its way.
        """
        pool = self._threads()
        waiting: deque[Future[None]] = deque()
        try:
            for number, piece in enumerate(pieces, start=1):
                if len(waiting) == AT_ONCE:
                    waiting[0].result()
                    waiting.popleft()
                waiting.append(pool.submit(put_part, number, piece))
            while waiting:
                waiting[0].result()
                waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()
            wait(waiting)

    def close(self) -> None:
        """Ends the threads; a later object makes new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="mbk-parts")
            return self._pool
