"""How the progress of a run is shown: drawn on a terminal, in lines, or as JSON."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.listener import Listener
from mbk.cli.progress_lines import summary

#: Seconds between two lines where nobody looks on: a log of a night stays short, and shows that the run is alive.
LINES_EVERY = 30.0
#: The phases in which a run is refused, if it is, and the seconds that nobody minds waiting without a word.
PREPARING = frozenset({"connect", "plan"})
MOMENT = 2.0
#: Seconds between two lines for programs, which draw.
JSON_EVERY = 1.0


@contextmanager
def listening(app: App, *, warns: bool = True, every: float = LINES_EVERY) -> Iterator[Listener]:
    """A listener for one run, whose progress is shown as asked for. ``warns``: of notices and failures; ``every``: seconds between
    two lines of a pipe."""
    listener = Listener(quiet=app.quiet or not warns)
    with _shown(app, listener, every):
        yield listener
        listener.close()


def _shown(app: App, listener: Listener, every: float) -> AbstractContextManager[None]:
    if app.progress == "json":
        return _as_json(listener, JSON_EVERY)
    if app.quiet or app.progress == "none":
        return nullcontext()
    if app.log_format == "json":
        return _as_json(listener, every)
    if app.progress == "auto" and sys.stderr.isatty() and not terminal.is_dumb():
        from mbk.cli.drawn import drawn

        return drawn(listener)
    return _in_lines(listener, every, at_once=app.progress == "plain")


@contextmanager
def _in_lines(listener: Listener, every: float, *, at_once: bool) -> Iterator[None]:
    """A line for each phase, and one every now and then. ``at_once``: also for what only takes a moment before the work begins."""
    lines = _Lines(listener, every, at_once)
    listener.told = lines.begin
    with _every(min(every, MOMENT), lines.look):
        yield


class _Lines:
    def __init__(self, listener: Listener, every: float, at_once: bool) -> None:
        self._listener, self._seconds, self._at_once = listener, every, at_once
        self._waiting = ""
        self._last = time.monotonic()

    def begin(self, phase: str) -> None:
        """What is refused before the work begins is one line, the reason, unless somebody had to wait for it."""
        self._waiting = phase if phase in PREPARING and not self._at_once else ""
        if not self._waiting:
            self._tell(phase)

    def look(self) -> None:
        if self._waiting or time.monotonic() - self._last >= self._seconds:
            phase, self._waiting = self._waiting, ""
            self._tell(phase)

    def _tell(self, phase: str) -> None:
        self._last = time.monotonic()
        listener = self._listener
        command = f"{listener.command}: " if listener.command else ""
        terminal.line(f"mbk: {command}{summary(listener.meter, listener.seconds, phase=phase)}")


@contextmanager
def _as_json(listener: Listener, every: float) -> Iterator[None]:
    """An object a line: on each phase, every now and then, and at the end."""
    lock = threading.Lock()

    def tell(phase: str = "") -> None:
        progress = asdict(listener.meter.progress())
        told = {
            "run": listener.command,
            "seconds": round(listener.seconds, 1),
            **progress,
            "phase": phase or progress["phase"],
        }
        with lock:
            terminal.record("progress", **told)

    listener.told = tell
    try:
        with _every(every, tell):
            yield
    finally:
        tell()


@contextmanager
def _every(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Calls it again and again in a thread of its own; where none can be had, only the phases are told."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, name="mbk-progress", daemon=True)
    with suppress(RuntimeError):
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()
