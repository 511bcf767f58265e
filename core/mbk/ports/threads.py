"""Threads for work that is done several at a time where the system gives them, and one after the other where not."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

from mbk.ports.waiting import carried

T = TypeVar("T")


class Threads:
    """At most ``most`` threads, each made when there is work for it. Thread-safe.

    Where the system gives no further one, as in a container with a limit, those that are there do the work; without any
    it is whoever gives it.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        # The threads know only the queue: those that nobody closes end with the last who could use them.
        self._finish = weakref.finalize(self, _end, self._queue)

    def submit(self, function: Callable[[], T]) -> Future[T]:
        """Waits inside of it as here: see `mbk.ports.waiting`."""
        future = Future[T]()
        work = carried(lambda: _fulfil(future, function))
        with self._lock:
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                self._grow()
            if self._threads:
                self._queue.put(work)
                return future
        work()
        return future

    def close(self) -> None:
        """Waits for what was given; later work makes new threads."""
        with self._lock:
            ended, finish = self._threads, self._finish
            self._begin()
        finish()
        for thread in ended:
            thread.join()

    def _grow(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=_serve, args=(self._queue, self._idle), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._most = len(self._threads)
        else:
            self._threads.append(thread)


def _serve(queue: SimpleQueue[Callable[[], object] | None], idle: threading.Semaphore) -> None:
    while (work := queue.get()) is not None:
        work()
        # Or the last work, and whoever gave it, would stay until the next.
        del work
        idle.release()
    _end(queue)


def _end(queue: SimpleQueue[Callable[[], object] | None]) -> None:
    """Each thread of the queue ends, and tells the next."""
    queue.put(None)


def _fulfil(future: Future[T], function: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001  whatever it is, whoever waits raises it
        future.set_exception(error)
