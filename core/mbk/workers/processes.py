"""Workers on this machine: one process for each core, which the interpreter's lock does not hold up.

They are fresh interpreters (never forks of a process with threads), and start while the run does other things. None
outlives the run, however it ends.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, Generic, TypeVar

from mbk.engine.runtime.executor import Job
from mbk.engine.runtime.failures import cancelled
from mbk.engine.runtime.run import Run
from mbk.engine.runtime.threads import started
from mbk.errors import MbkError
from mbk.frozen import frozen
from mbk.ports.storage import Storage, StorageRef
from mbk.workers.messages import Cancel, Close, Logged, Refused, Start, Work, Worked

Batch = TypeVar("Batch")
Done = TypeVar("Done")

#: Batches that each process has: as many as its threads are worth, and the next ones at hand.
AHEAD = 8
#: How often a batch is given to another process because one died with it. One that kills them all is to blame itself.
TRIES = 3
#: Seconds between two looks at whether the run was cancelled.
LOOK = 0.25
#: Seconds that a process gets to end by itself: a request on its way, and an upload to abort.
GRACE = 10.0

log = logging.getLogger(__name__)


class _Lost(Exception):
    """The process ended with work in hand."""


@frozen
class Processes:
    """An `Executor`: ``count`` processes. ``references`` knows what opens a storage elsewhere."""

    count: int
    references: Callable[[Storage], StorageRef | None]

    def reference(self, storage: Storage) -> StorageRef | None:
        return self.references(storage)

    def require(self) -> None:
        """They are started when they are needed, and there is nothing to reach."""

    def start(self, job: Callable[[int], Job[Batch, Done]], run: Run) -> ProcessWorkers[Batch, Done]:
        return ProcessWorkers(job(self.count), self.count, run)


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ProcessWorkers(Generic[Batch, Done]):
    """See :class:`mbk.engine.runtime.executor.Workers`."""

    def __init__(self, job: Job[Batch, Done], count: int, run: Run) -> None:
        self.width = AHEAD * count
        self._start = Start(pickle.dumps(job), logging.getLogger("mbk").getEffectiveLevel())
        self._run = run
        self._lock = threading.Lock()
        self._processes = [Process(self._start) for _ in range(count)]

    @property
    def pids(self) -> tuple[int, ...]:
        with self._lock:
            return tuple(process.pid for process in self._processes)

    def do(self, batch: Batch) -> Done:
        for _ in range(TRIES):
            with self._least_busy() as process:
                try:
                    done: Done = process.do(batch, self._run)
                except _Lost:
                    self._replace(process)
                else:
                    return done
        raise MbkError(
            "{count} worker processes in turn ended with the same objects in hand",
            code="workers-lost",
            count=TRIES,
            hint="is there enough memory for them? set transfer.workers lower, or transfer.executor to threads",
        )

    def close(self) -> None:
        with self._lock:
            processes, self._processes = self._processes, []
        for process in processes:
            process.close()
        deadline = time.monotonic() + GRACE
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))

    @contextmanager
    def _least_busy(self) -> Iterator[Process]:
        with self._lock:
            process = min(self._processes, key=lambda one: one.busy)
            process.busy += 1
        try:
            yield process
        finally:
            with self._lock:
                process.busy -= 1

    def _replace(self, lost: Process) -> None:
        with self._lock:
            if lost not in self._processes:
                return
            self._processes[self._processes.index(lost)] = Process(self._start)
        self._run.notice(
            "worker-lost",
            "worker process {pid} ended ({reason}); what it had in hand is done again by another",
            pid=lost.pid,
            reason=lost.wait(GRACE),
        )


class Process:
    """One worker process, from its start on. Several threads may call it. ``busy``: its user's own count."""

    def __init__(self, start: Start) -> None:
        self.busy = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: dict[int, Future[Any]] = {}
        self._refused: MbkError | None = None
        self._ended = False
        self._popen = _spawned()
        self._reader = threading.Thread(target=self._read, name="mbk-worker", daemon=True)
        try:
            started(self._reader)
        except MbkError:
            self._popen.kill()
            self._popen.wait()
            raise
        with suppress(_Lost):
            self._send(start)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def do(self, batch: Any, run: Run) -> Any:
        """Raises `_Lost`, the error of a process that cannot do the job, and `Interrupted` if the run is cancelled."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if self._refused is not None:
                raise self._refused.final()
            if self._ended:
                raise _Lost
            self._waiting[number] = future
        self._send(Work(number, batch))
        while not run.cancelled.is_set():
            with suppress(TimeoutError):
                return future.result(LOOK)
        self._stop(future)
        raise cancelled()

    def close(self) -> None:
        """It ends once nothing is left to do; `wait` sees to it."""
        with suppress(_Lost):
            self._send(Close())

    def wait(self, seconds: float) -> str:
        """Why it ended; one that has not after so many seconds is killed. What it was doing may be done again."""
        try:
            code = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            code = self._popen.wait()
        self._reader.join()
        for pipe in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _stop(self, future: Future[Any]) -> None:
        with suppress(_Lost):
            self._send(Cancel())
        try:
            future.exception(GRACE)
        except TimeoutError:
            self._popen.kill()

    def _send(self, message: object) -> None:
        pipe = self._popen.stdin
        data = pickle.dumps(message)
        try:
            with self._sending:
                if pipe is not None:
                    pipe.write(data)
                    pipe.flush()
        except (OSError, ValueError) as error:
            raise _Lost from error

    def _read(self) -> None:
        pipe = self._popen.stdout
        try:
            while pipe is not None:
                self._received(pickle.load(pipe))
        except (EOFError, OSError, ValueError, pickle.UnpicklingError):
            pass  # it ended, perhaps amid a message
        with self._lock:
            self._ended = True
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(_Lost())

    def _received(self, message: object) -> None:
        match message:
            case Worked(number, done):
                with self._lock:
                    future = self._waiting.pop(number)
                future.set_result(done)
            case Refused(error):
                with self._lock:
                    self._refused = error
                    waiting, self._waiting = self._waiting, {}
                for future in waiting.values():
                    future.set_exception(error.final())
            case Logged(name, level, text):
                logger = logging.getLogger(name)
                if logger.isEnabledFor(level):
                    logger.log(level, "%s", text)


def _spawned() -> subprocess.Popen[bytes]:
    try:
        # A group of its own: Ctrl-C in a terminal reaches the run, which decides.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "mbk.workers.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            process_group=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    except OSError as error:
        raise MbkError(
            "cannot start a worker process: {reason}",
            code="no-worker-process",
            reason=error.strerror or error,
            hint="set transfer.workers lower, or transfer.executor to threads",
        ) from error
