"""What signals do to a run. Imports nothing that takes time: a signal may come as soon as the process has begun."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select
from types import FrameType

INTERRUPTED = 130
#: Seconds in which the main thread notices a signal, if it does by itself.
_NOTICED = 0.1
_under_way = False


@contextmanager
def orderly_stop(*, then: Callable[[], None] | None = None) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or hang-up stops the run cleanly; the second only says so; the third exits at once.

    A signal that was ignored when mbk was started (``nohup``, a shell's background job) stays ignored. ``then``: ends the
    process at once, which ends with the run: a signal may come until it is gone; without it the caller gets its own handlers
    back. Within another one it does nothing.
    """
    global _under_way
    if _under_way:
        yield
        return
    # The interpreter itself writes one byte per signal, whichever thread the kernel delivers it to: while one signal is
    # pending for the main thread, the next goes to another, and the main thread, waiting for its workers, is not woken.
    counter, signalled = os.pipe()
    os.set_blocking(signalled, False)
    raised = over = False
    guard = threading.Lock()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal raised
        if not raised:
            raised = True
            raise KeyboardInterrupt

    def rouse(number: int) -> bool:
        """The kernel may have given the signal to another thread, or to the main one between its last look and its going to
        sleep: without this the run would go on to its end."""
        with guard:
            if raised or over or not hasattr(signal, "pthread_kill"):
                return False
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            return True

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    try:
        before = {number: signal.getsignal(number) for number in numbers}
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
        signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    except ValueError:  # not the main thread: a program that calls main() keeps its own handlers
        before = {}
    watcher = threading.Thread(
        target=_watch, args=(counter, rouse, lambda: then if over else None), name="mbk-signals", daemon=True
    )
    # Without it, where no thread can be had, the first signal stops the run all the same.
    with suppress(RuntimeError):
        watcher.start()
    _under_way = bool(before)
    try:
        yield
    finally:
        _under_way = False
        with guard:
            over = True
        if then:
            # The interpreter waits for its threads, in which the watcher still serves, and forgets all handlers but this at the end.
            raised = True
            if before:
                # Again: an event loop may have had its own.
                signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
            atexit.register(
                _ignore, [number for number, handler in before.items() if handler is not signal.SIG_IGN]
            )
        else:
            for number, handler in before.items():
                signal.signal(number, handler)
            if before:
                signal.set_wakeup_fd(-1)
            os.close(signalled)
            if watcher.ident is not None:
                watcher.join()
            os.close(counter)


def _ignore(numbers: list[int]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _watch(
    counter: int, rouse: Callable[[int], bool], leave: Callable[[], Callable[[], None] | None]
) -> None:
    """Reads one byte per signal until the other end is closed; the third signal ends the process.

    ``rouse`` sends the main thread the first one again, unless it has noticed it: False then. ``leave``: what
    the next one does, whichever it is, after the run.
    """
    count = first = ours = 0
    unnoticed = False
    while True:
        if not select([counter], [], [], _NOTICED if unnoticed else None)[0]:
            unnoticed = rouse(first)
            ours += unnoticed
            continue
        number = os.read(counter, 1)
        if not number:
            return
        if ours:  # nobody sent this one
            ours -= 1
            continue
        count += 1
        if end := leave():
            end()
        elif count == 1:
            first, unnoticed = number[0], True
        elif count == 2:
            os.write(2, b"mbk: still stopping cleanly; interrupt once more to exit at once\n")
        else:
            # An exception would wait for the threads, and they for a stalled server.
            # Not through a buffered stream: another thread may be in the middle of a write.
            shown = b"\x1b[?25h" if os.isatty(2) else b""  # a progress bar hides the cursor
            os.write(2, shown + b"mbk: interrupted\n")
            os._exit(INTERRUPTED)
