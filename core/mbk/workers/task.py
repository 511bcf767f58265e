"""What a worker of a Dask cluster does: one task is one batch of a run.

The worker opens the run's storages with the first batch and keeps them until the run ends. It notices by itself when
nobody wants a task any more: the run was cancelled, or its process is gone.
"""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Any

from mbk.about import __version__
from mbk.engine.runtime.executor import Bench
from mbk.errors import MbkError
from mbk.frozen import frozen

#: Seconds between two looks at whether a task is still wanted.
LOOK = 0.5
#: Seconds after which the storages of a run that never said goodbye are closed, once another run comes.
IDLE = 600.0


@frozen
class Ticket:
    """One batch, with the job it belongs to: pickled, so that a worker of another version need not read them.

    They carry secrets, and are in no representation: Dask logs and shows those of a task's arguments.
    """

    version: str
    id: str
    job: bytes = field(repr=False)
    batch: bytes = field(repr=False)


@frozen
class Answer:
    """``done`` is what the bench made of the batch; ``refusal`` says why ``worker`` can do none."""

    worker: str
    done: Any = field(default=None, repr=False)
    refusal: MbkError | None = None


def work(ticket: Ticket) -> Answer:
    """Called by Dask in one of the worker's threads. Raises nothing: Dask would log it, with the arguments."""
    from distributed import get_worker

    worker = get_worker()
    if ticket.version != __version__:
        return Answer(worker.address, refusal=_other_version(ticket.version))
    try:
        with _BENCHES.used(ticket) as held, _watched(worker, worker.get_current_task(), held):
            return Answer(worker.address, done=held.opened(ticket.job).do(pickle.loads(ticket.batch)))
    except MbkError as error:
        return Answer(worker.address, refusal=error)
    except Exception as error:  # noqa: BLE001 - it ends this run, not the worker; its text may be anything
        return Answer(worker.address, refusal=_bug(error))


def busy(id: str) -> int:
    """Batches of a run that this worker is doing right now."""
    return _BENCHES.busy(id)


def forget(id: str) -> None:
    """The run has ended: closes what was opened for it, in the background."""
    _BENCHES.forget(id)


class _Held:
    """The bench of one run in this worker."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.users = 0
        self.used = time.monotonic()
        self._bench: Bench[Any, Any] | None = None
        self._opening = threading.Lock()
        self._is_cancelled = False

    def opened(self, job: bytes) -> Bench[Any, Any]:
        with self._opening:
            if self._bench is None:
                self._bench = pickle.loads(job).open()
            if self._is_cancelled:
                self._bench.cancel()
            return self._bench

    def cancel(self) -> None:
        with self._opening:
            self._is_cancelled = True
            if self._bench is not None:
                self._bench.cancel()

    def close(self) -> None:
        with self._opening:
            if self._bench is not None:
                self._bench.close()


class _Benches:
    """By the id of their run. Several threads may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, _Held] = {}
        self._forgotten: set[_Held] = set()

    @contextmanager
    def used(self, ticket: Ticket) -> Iterator[_Held]:
        self._forget_idle()
        with self._lock:
            held = self._held.setdefault(ticket.id, _Held(ticket.id))
            held.users += 1
        try:
            yield held
        finally:
            with self._lock:
                held.users -= 1
                held.used = time.monotonic()
            self._close_forgotten()

    def busy(self, id: str) -> int:
        with self._lock:
            return sum(held.users for held in (*self._held.values(), *self._forgotten) if held.id == id)

    def forget(self, id: str) -> None:
        with self._lock:
            held = self._held.pop(id, None)
            if held is None:
                return
            self._forgotten.add(held)
        held.cancel()
        threading.Thread(target=self._close_forgotten, daemon=True).start()

    def _forget_idle(self) -> None:
        now = time.monotonic()
        with self._lock:
            idle = [id for id, held in self._held.items() if not held.users and now - held.used > IDLE]
        for id in idle:
            self.forget(id)

    def _close_forgotten(self) -> None:
        with self._lock:
            ended = {held for held in self._forgotten if not held.users}
            self._forgotten -= ended
        for held in ended:
            held.close()


_BENCHES = _Benches()


@contextmanager
def _watched(worker: Any, task: Any, held: _Held) -> Iterator[None]:
    """Ends the batch soon if the scheduler tells the worker that its task is not wanted any more."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK):
            state = worker.state.tasks.get(task)
            if state is None or state.state == "cancelled":
                _BENCHES.forget(held.id)
                return

    thread = threading.Thread(target=watch, name="mbk-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _other_version(wanted: str) -> MbkError:
    return MbkError(
        "it has mbk {there}, the run mbk {here}",
        code="worker-version",
        there=__version__,
        here=wanted,
        hint="install the same version in the image of the workers",
    )


def _bug(error: Exception) -> MbkError:
    return MbkError(
        "it cannot read the job: {kind}",
        code="worker-unreadable-job",
        kind=type(error).__name__,
        hint="install the same version and the same plugins in the image of the workers",
    )
