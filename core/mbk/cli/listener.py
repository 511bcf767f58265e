"""Listens to a run: counts what happens, and prints notices as warnings."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import fields

from mbk.cli import terminal
from mbk.cli.logs import FILE_ONLY
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
                self._warn(event.message, event.collection, code=event.code, facts=dict(event.facts))
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

    def _warn(self, message: str, collection: str, **values: object) -> None:
        if (message, collection) not in self._shown and not self._quiet:
            self._shown.add((message, collection))
            if terminal.is_json():
                terminal.warning(message, collection=collection, **values)
                return
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
        facts = {item.name: getattr(event, item.name) for item in fields(event)}
        values = " ".join(f"{name}={value!r}" for name, value in facts.items())
        _log.log(level, "%s %s", event.kind, values, extra={"facts": {"event": event.kind, **facts}})
