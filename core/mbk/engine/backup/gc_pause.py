"""Pausing Milvus' garbage collection while segments are copied.

See docs/reference/milvus-protocol.md#management-port.

A pause is a lease: it is renewed during the work and always given back, also on Ctrl-C. If the process is killed, Milvus
ends it by itself. A pause that Milvus refuses is a notice, never an error.

Servers before 2.6.8 pause for all collections, newer ones for one collection with a ticket for each lease. A new lease
does not end the older one there: the older ticket is given back as soon as there is a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from mbk.engine.runtime.run import Run
from mbk.engine.runtime.threads import started
from mbk.errors import MbkError, Unsupported
from mbk.ports.milvus.roles import GcPause
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature

#: A failed renewal is retried after this fraction of a lease; a regular one comes after half of it.
AGAIN = 8
#: After this many refusals in a row no further collection is tried: a port that never answers costs seconds each time.
REFUSALS = 3


class Lease:
    """One pause. It is true while it has lasted without a gap since it was requested."""

    def __init__(self, gc: GcPause, run: Run, seconds: int, collection_id: int | None) -> None:
        self._gc = gc
        self._run = run
        self._seconds = seconds
        self._collection = collection_id
        self._ended = threading.Event()
        self._ticket: str | None = None
        self._until = 0.0
        self._unbroken = False

    def __bool__(self) -> bool:
        return self._unbroken

    def begin(self) -> bool:
        """Starts the pause; True if it must be kept and given back."""
        self._ticket = self._pause()
        self._until = time.monotonic() + self._seconds
        self._unbroken = self._ticket is not None
        return self._unbroken

    def keep(self) -> None:
        """Renews until `end`."""
        pause = self._seconds / 2
        while not self._ended.wait(pause):
            pause = self._seconds / (2 if self._renew() else AGAIN)

    def end(self) -> None:
        self._ended.set()

    def give_back(self) -> None:
        if self._ticket is not None:
            self._resume(self._ticket)

    def _renew(self) -> bool:
        again = self._pause()
        now = time.monotonic()
        if now > self._until:
            self._unbroken = False
        if again is None:
            return False
        older, self._ticket, self._until = self._ticket, again, now + self._seconds
        if older and older != again:
            self._resume(older)
        return True

    def _pause(self) -> str | None:
        try:
            return self._gc.pause(self._seconds, collection_id=self._collection)
        except Unsupported as error:
            self._run.notice(
                "gc-pause-unsupported",
                "garbage collection is not paused: {reason}; objects that Milvus removes meanwhile will be missing",
                reason=error.message,
            )
        except MbkError as error:
            self._run.notice("gc-pause-failed", "garbage collection is not paused: {reason}", reason=error)
        return None

    def _resume(self, ticket: str) -> None:
        try:
            self._gc.resume(ticket)
        except MbkError as error:
            self._run.notice(
                "gc-resume-failed",
                "garbage collection stays paused until the pause expires: {reason}",
                reason=error,
            )


@contextmanager
def gc_paused(gc: GcPause, run: Run, *, seconds: int, collection_id: int | None = None) -> Iterator[Lease]:
    """Pauses during the block, for one collection or the whole cluster; ``seconds``: the length of one lease."""
    lease = Lease(gc, run, seconds, collection_id)
    renewer = threading.Thread(target=lease.keep, name="mbk-gc-pause", daemon=True)
    try:
        if lease.begin():
            started(renewer)
        yield lease
    finally:
        lease.end()
        if renewer.ident is not None:
            renewer.join()
        lease.give_back()


@contextmanager
def pausing(
    milvus: Milvus, run: Run, *, seconds: int
) -> Iterator[Callable[[int], AbstractContextManager[Lease | None]]]:
    """How to pause garbage collection for one collection; for all at once where the server offers nothing finer."""
    if Feature.COLLECTION_GC_PAUSE not in milvus.features:
        with gc_paused(milvus.gc, run, seconds=seconds) as lease:
            yield lambda _collection: nullcontext(lease)
        return
    refused = 0

    @contextmanager
    def one(collection: int) -> Iterator[Lease | None]:
        nonlocal refused
        if refused >= REFUSALS:
            yield None
            return
        with gc_paused(milvus.gc, run, seconds=seconds, collection_id=collection) as lease:
            refused = 0 if lease else refused + 1
            yield lease

    yield one
