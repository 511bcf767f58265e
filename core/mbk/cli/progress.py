"""Listens to a run: notices become warnings; its progress is drawn on a terminal, or told in lines or as JSON."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, fields

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.logs import FILE_ONLY
from mbk.cli.progress_lines import summary
from mbk.model.events import (
    CollectionFinished,
    Event,
    ImportProgressed,
    IndexProgressed,
    LoadProgressed,
    Notice,
    ObjectCopied,
    ObjectsDeleted,
    ObjectVerified,
    PhaseStarted,
    RetryScheduled,
    RunFinished,
    RunStarted,
    WorkExpected,
    WorkPlanned,
)
from mbk.observe.meter import Meter

#: Of what ``--progress json`` prints; docs/reference/output.md tells what changes it.
SCHEMA_VERSION = 1
#: Seconds between two lines where nobody looks on: a log of a night stays short, and shows that the run is alive.
LINES_EVERY = 30.0
#: Seconds between two lines for programs, which draw.
JSON_EVERY = 1.0
_log = logging.getLogger(FILE_ONLY)
_FREQUENT = (
    ObjectCopied,
    ObjectVerified,
    ObjectsDeleted,
    ImportProgressed,
    IndexProgressed,
    LoadProgressed,
    WorkPlanned,
    WorkExpected,
)


class Listener:
    """Counts the events. One event at a time; several threads may call it. Cheap enough for millions of objects.

    ``told`` is called with the name of each phase of the run as the first collection comes to it; ``shows_retries``: each retry
    is told, as on a terminal.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.meter = Meter()
        self.started = time.monotonic()
        self.command = ""
        self.told: Callable[[str], None] | None = None
        self.shows_retries = False
        self._phases: set[str] = set()
        self._quiet = quiet
        self._shown: set[tuple[str, str]] = set()
        self._pending: CollectionFinished | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def __call__(self, event: Event) -> None:
        _record(event)
        self._show_failure(event)
        self.meter(event)
        match event:
            case RunStarted():
                self._begin(event)
            case PhaseStarted() if event.phase != "waiting":
                self._tell(event.phase)
            case Notice():
                self._warn(event.message, event.collection)
            case CollectionFinished() if event.error:
                self._pending = event
            case RetryScheduled() if self.shows_retries:
                self._say(
                    f"mbk: {event.what}: {event.error}; attempt {event.attempt + 1} in {event.delay:.1f} s"
                )

    def close(self) -> None:
        """No more events follow."""
        self._show_failure(None)

    def _begin(self, event: RunStarted) -> None:
        """Another run begins: of several backups each has its own."""
        self.meter = Meter(restores=event.command.startswith("restore"))
        self.command = " ".join(filter(None, (event.command, event.name)))
        self._phases.clear()
        self._tell("connect")

    def _tell(self, phase: str) -> None:
        if self.told is not None and phase not in self._phases:
            self._phases.add(phase)
            self.told(phase)

    def _show_failure(self, event: Event | None) -> None:
        """Shows a collection's failure, unless it also ends the run, which reports it itself."""
        failure, self._pending = self._pending, None
        if (
            failure
            and failure.error
            and not (isinstance(event, RunFinished) and event.error == failure.error)
        ):
            self._warn(failure.error, failure.collection)

    def _warn(self, message: str, collection: str) -> None:
        if (message, collection) not in self._shown and not self._quiet:
            self._shown.add((message, collection))
            named = not collection or message.startswith(collection)
            terminal.warning(message if named else f"{collection}: {message}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            terminal.line(text)


def _record(event: Event) -> None:
    """Writes the event to the log file, if there is one with this level."""
    match event:
        case _ if isinstance(event, _FREQUENT):
            level = logging.DEBUG
        case Notice() | RetryScheduled():
            level = logging.WARNING
        case CollectionFinished(error=str()) | RunFinished(error=str()):
            level = logging.ERROR
        case _:
            level = logging.INFO
    if _log.isEnabledFor(level):
        values = " ".join(f"{item.name}={getattr(event, item.name)!r}" for item in fields(event))
        _log.log(level, "%s %s", event.kind, values)


@contextmanager
def listening(app: App, *, every: float = LINES_EVERY) -> Iterator[Listener]:
    """A listener for one run, whose progress is shown as asked for; ``every``: seconds between two lines of a pipe."""
    listener = Listener(quiet=app.quiet)
    with _shown(app, listener, every):
        yield listener
        listener.close()


def _shown(app: App, listener: Listener, every: float) -> AbstractContextManager[None]:
    if app.progress == "json":
        return _as_json(listener)
    if app.quiet or app.progress == "none":
        return nullcontext()
    if app.progress == "auto" and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        from mbk.cli.drawn import drawn

        return drawn(listener)
    return _in_lines(listener, every)


@contextmanager
def _in_lines(listener: Listener, every: float) -> Iterator[None]:
    """A line for each phase, and one every now and then."""

    def tell(phase: str) -> None:
        terminal.line(f"mbk: {listener.command}: {summary(listener.meter, listener.seconds, phase=phase)}")

    listener.told = tell
    with _every(every, lambda: tell("")):
        yield


@contextmanager
def _as_json(listener: Listener) -> Iterator[None]:
    """An object a line: on each phase, each second, and at the end."""
    lock = threading.Lock()

    def tell(phase: str = "") -> None:
        progress = asdict(listener.meter.progress())
        told = {
            "schema_version": SCHEMA_VERSION,
            "kind": "progress",
            "run": listener.command,
            "seconds": round(listener.seconds, 1),
            **progress,
            "phase": phase or progress["phase"],
        }
        with lock:
            terminal.line(json.dumps(told, ensure_ascii=False))

    listener.told = tell
    try:
        with _every(JSON_EVERY, tell):
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
