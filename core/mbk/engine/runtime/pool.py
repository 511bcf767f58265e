"""Bounded parallel work: fed lazily, cancelled by the first error, always joined."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

from mbk.engine.runtime.failures import cancelled

T = TypeVar("T")
R = TypeVar("R")


class Pool:
    """Worker threads that several threads may share. A worker must not submit to its own pool."""

    def __init__(self, workers: int, cancelled: threading.Event, *, name: str = "mbk") -> None:
        self.workers = workers
        self._cancelled = cancelled
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=name)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Waits for running work; drops what is queued."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results as they complete. ``items`` is consumed only as fast as the workers need it.

        The first error stops the consumption, waits for running work, and is raised. A cancelled run raises
        `Interrupted` in the same way. If the caller's thread is interrupted, or abandons the iterator, running work is
        waited for as well: none of it continues in the background.
        """
        stop = threading.Event()

        def guarded(item: T) -> R:
            if stop.is_set() or self._cancelled.is_set():
                raise cancelled()
            return function(item)

        pending: set[Future[R]] = set()
        source = iter(items)
        exhausted = False
        try:
            while pending or not exhausted:
                while not exhausted and len(pending) < 2 * self.workers:
                    try:
                        item = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    pending.add(self._executor.submit(guarded, item))
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except (KeyboardInterrupt, SystemExit):
            self._cancelled.set()
            raise
        finally:
            stop.set()
            for future in pending:
                future.cancel()
            wait(pending)

    def run(self, function: Callable[[T], object], items: Iterable[T]) -> None:
        for _ in self.map(function, items):
            pass
