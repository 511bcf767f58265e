"""Bounded parallel work: fed lazily, cancelled by the first error, always joined.

A future for each item, with its locks, costs more than copying a small object: so the workers take items from a queue,
and the caller is woken only when there is something for it to do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar

from mbk.engine.runtime.failures import cancelled

T = TypeVar("T")
R = TypeVar("R")


class Pool:
    """Worker threads that several threads may share. A worker must not give work to its own pool.

    ``useful``: how many can do something now, where that may be fewer than ``workers``; further ones begin once it grows.
    """

    def __init__(
        self,
        workers: int,
        cancelled: threading.Event,
        *,
        name: str = "mbk",
        useful: Callable[[], int] | None = None,
    ) -> None:
        self.workers = workers
        self._useful = useful
        self._cancelled = cancelled
        self._name = name
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False
        self._offered: deque[_Work[Any, Any]] = deque()
        self._changed = threading.Condition()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Waits for running work; drops what is queued."""
        with self._changed:
            self._closed = True
            for work in self._offered:
                work.fail(cancelled())
            self._idle = 0
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Results as they complete. ``items`` is consumed only as fast as the workers need it.

        The first error stops the consumption, waits for running work, and is raised. A cancelled run raises
        `Interrupted` in the same way. If the caller's thread is interrupted, or abandons the iterator, running work is
        waited for as well: none of it continues in the background.
        """
        return self._results(function, items, window=2 * self.workers, wake=1)

    def run(self, function: Callable[[T], object], items: Iterable[T]) -> None:
        """As `map`, without the results."""
        for _ in self._results(function, items, window=2 * self.workers, wake=self.workers):
            pass

    def gather(self, function: Callable[[T], R], items: Collection[T]) -> list[R]:
        """As `map`: all results, as they completed. The caller sleeps until the last."""
        return [*self._results(function, items, window=len(items), wake=len(items))]

    def _results(
        self, function: Callable[[T], R], items: Iterable[T], *, window: int, wake: int
    ) -> Iterator[R]:
        """``window``: items drawn and not yet given back as results. ``wake``: how many results wake the caller."""
        work = _Work(function, self._cancelled, self._widen)
        source, drawn = iter(items), 0
        try:
            while True:
                for item in islice(source, window - drawn):
                    drawn += 1
                    work.queue.append(item)
                    if len(work.queue) == 1:  # drawing may be slow: nobody waits for the next item
                        self._offer(work)
                self._offer(work)
                if not drawn:
                    return
                if not self._threads and work.entered():
                    work.drain()
                work.wait(min(wake, drawn))
                while work.results:
                    drawn -= 1
                    yield work.results.popleft()
        except (KeyboardInterrupt, SystemExit):
            self._cancelled.set()
            raise
        finally:
            work.end()

    def _offer(self, work: _Work[T, R]) -> None:
        """Lets as many workers as there are items take of them."""
        with self._changed:
            queued = len(work.queue)
            if self._closed and queued:
                raise RuntimeError(f"the pool {self._name} is closed")
            if queued and not work.offered:
                work.offered = True
                self._offered.append(work)
            # Whoever was told counts as busy from here on, so that the next offer finds somebody else.
            woken = min(queued, self._idle)
            self._idle -= woken
            self._changed.notify(woken)
            for _ in range(min(queued - woken, self._lacking())):
                if not self._start():
                    break
            if work.offered and not self._threads:
                self._offered.remove(work)
                work.offered = False

    def _lacking(self) -> int:
        workers = self.workers if self._useful is None else min(self.workers, self._useful())
        return workers - len(self._threads)

    def _widen(self) -> None:
        """Starts one more where more have become useful; called by those that work, while there is more to do."""
        if self._useful is None or len(self._threads) >= self.workers:
            return
        with self._changed:
            if not self._closed and not self._idle and self._lacking() > 0:
                self._start()

    def _start(self) -> bool:
        """False where the system gives no further thread, as in a container with a limit: those that are there do the work,
        and without any whoever gives it.
        """
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self.workers = max(1, len(self._threads))
            return False
        self._threads.append(thread)
        return True

    def _serve(self) -> None:
        while self._served():
            pass

    def _served(self) -> bool:
        """Works until a queue is empty; False once the pool is closed."""
        work = self._next()
        if work is not None:
            work.drain()
        return work is not None

    def _next(self) -> _Work[Any, Any] | None:
        with self._changed:
            while True:
                while self._offered and not self._offered[0].entered():
                    self._offered.popleft().offered = False
                if self._offered:
                    # The next worker begins with the next caller: services limit the requests to one prefix, and what
                    # a caller gives out, such as a segment, has one.
                    self._offered.rotate(-1)
                    return self._offered[-1]
                if self._closed:
                    return None
                self._idle += 1
                self._changed.wait()


class _Work(Generic[T, R]):
    """One call of `Pool.map`: a queue that its caller fills and the workers empty."""

    def __init__(
        self, function: Callable[[T], R], cancelled: threading.Event, widen: Callable[[], None]
    ) -> None:
        self.queue: deque[T] = deque()
        self.results: deque[R] = deque()
        #: Whether the pool's workers look here.
        self.offered = False
        self._function = function
        self._cancelled = cancelled
        self._widen = widen
        self._error: BaseException | None = None
        self._ended = False
        self._running = 0
        #: With so many results the caller, which waits, is woken; 0 while it does not wait.
        self._wanted = 0
        self._changed = threading.Condition()

    def entered(self) -> bool:
        """Counts a worker that is about to `drain`; False if there is nothing to do."""
        with self._changed:
            here = bool(self.queue)
            self._running += here
            return here

    def drain(self) -> None:
        try:
            while (item := self._item()) is not None:
                if self.queue:
                    self._widen()
                self.results.append(self._function(item[0]))
                if 0 < self._wanted <= len(self.results):
                    self._tell()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the caller raises it
            self.fail(error)
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def _item(self) -> tuple[T] | None:
        if self._ended or self._error is not None:
            return None
        try:
            item = self.queue.popleft()
        except IndexError:
            return None
        if self._cancelled.is_set():
            raise cancelled()
        return (item,)

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify()

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify()

    def wait(self, count: int) -> None:
        """Until there are so many results. Raises the first error of a worker."""
        with self._changed:
            self._wanted = count
            while len(self.results) < count and self._error is None:
                self._changed.wait()
            self._wanted = 0
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Begins nothing more, and waits for what runs."""
        with self._changed:
            self._ended = True
            self.queue.clear()
            while self._running:
                self._changed.wait()
