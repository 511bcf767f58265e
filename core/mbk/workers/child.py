"""A worker process of this machine: ``python -m mbk.workers.child``, started by `mbk.workers.processes` alone.

It ends when its standard input does, at whatever point: a run that was killed leaves no process.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, BinaryIO

from mbk.engine.runtime.executor import Bench
from mbk.errors import MbkError, known
from mbk.workers.messages import Cancel, Close, Logged, Refused, Start, Work, Worked

#: Batches at once. Each waits for the threads of the bench, which are as many as the run's budget allows.
BATCHES = 64


class Outbox(logging.Handler):
    """Sends messages, one at a time; records of the log are messages, too."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._sending = threading.Lock()

    def send(self, message: object) -> None:
        data = pickle.dumps(message)
        with self._sending:
            self._file.write(data)
            self._file.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self.send(Logged(record.name, record.levelno, record.getMessage()))


def main() -> None:
    # Ctrl-C is the run's to decide on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox, outbox = _pipes()
    try:
        _serve(inbox, outbox)
    except (EOFError, OSError, MbkError):
        pass  # the run has ended, or was told why this process is of no use
    finally:
        # Nothing that a library or an unfinished call does at the end of an interpreter is worth waiting for.
        os._exit(0)


def _pipes() -> tuple[BinaryIO, Outbox]:
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the messages.
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    return inbox, Outbox(outbox)


def _serve(inbox: BinaryIO, outbox: Outbox) -> None:
    start: Start = pickle.load(inbox)
    logging.getLogger().addHandler(outbox)
    logging.getLogger("mbk").setLevel(start.level)
    threads = ThreadPoolExecutor(BATCHES, thread_name_prefix="mbk-batch")
    try:
        bench = threads.submit(_open, start, outbox)
    except RuntimeError as error:
        outbox.send(Refused(known(error) or _unusable(error)))
        raise
    while True:
        match pickle.load(inbox):
            case Work(number, batch):
                with suppress(RuntimeError):  # no further thread: one that is there takes it
                    threads.submit(_work, bench, number, batch, outbox)
            case Cancel():
                bench.result().cancel()
            case Close():
                bench.result().close()
                return


def _open(start: Start, outbox: Outbox) -> Bench[Any, Any]:
    try:
        job = pickle.loads(start.job)
        bench: Bench[Any, Any] = job.open()
    except MbkError as error:
        outbox.send(Refused(error))
        raise
    except Exception as error:
        outbox.send(Refused(_unusable(error)))
        raise
    return bench


def _work(bench: Future[Bench[Any, Any]], number: int, batch: Any, outbox: Outbox) -> None:
    outbox.send(Worked(number, bench.result().do(batch)))


def _unusable(error: Exception) -> MbkError:
    return MbkError(
        "a worker process cannot start: {kind}: {reason}",
        code="worker-cannot-start",
        kind=type(error).__name__,
        reason=error,
    )


if __name__ == "__main__":
    main()
