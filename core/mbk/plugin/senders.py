"""Sending the parts of a large object several at a time, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from functools import partial
from threading import Event

from mbk.plugin.wire import Data
from mbk.ports.threads import Threads
from mbk.ports.waiting import Ask, asked, asking

#: Parts of one object on their way at once. With the one that is being gathered, and for a moment joined, an object in
#: flight holds at most six parts and one chunk of its source: 48 MiB and a chunk, for objects below 78 GiB.
AT_ONCE = 4
#: Threads of one storage, whatever the number of its objects in flight: more only contend for the interpreter lock.
THREADS = 16


class Senders:
    """The threads that send parts, made with the first large object. Thread-safe."""

    def __init__(self) -> None:
        self._threads = Threads(THREADS, "mbk-parts")

    def send(self, put_part: Callable[[int, Data], None], pieces: Iterable[Data]) -> None:
        """Calls ``put_part`` for each piece, numbered from 1. Raises the first error; nothing is on its way afterwards.

        What the iterable raises passes through unchanged. A part stays in `waiting` until it has ended, so that Ctrl-C
        amid it is no reason to leave it on its way; one that waits for a silent service is then given up.
        """
        waiting: deque[Future[None]] = deque()
        given_up = Event()
        before = asking(_until(given_up, asked()))
        try:
            for number, piece in enumerate(pieces, start=1):
                if len(waiting) == AT_ONCE:
                    waiting[0].result()
                    waiting.popleft()
                waiting.append(self._threads.submit(partial(put_part, number, piece)))
            while waiting:
                waiting[0].result()
                waiting.popleft()
        finally:
            asking(before)
            given_up.set()
            for future in waiting:
                future.cancel()
            wait(waiting)

    def close(self) -> None:
        """Ends the threads; a later object makes new ones."""
        self._threads.close()


class _GivenUp(Exception):
    """Another part failed, so nobody wants this one."""


def _until(given_up: Event, ask: Ask) -> Ask:
    def asked_by_part(since: float) -> None:
        if given_up.is_set():
            raise _GivenUp
        ask(since)

    return asked_by_part
