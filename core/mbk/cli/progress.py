"""Listens to a run: notices become warnings; on a terminal a bar shows bytes, objects, rate and time left."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields
from typing import TYPE_CHECKING

from mbk.cli import terminal
from mbk.cli.app import App
from mbk.cli.logs import FILE_ONLY
from mbk.model.events import (
    CollectionFinished,
    Event,
    ImportProgressed,
    Notice,
    ObjectCopied,
    ObjectVerified,
    PhaseStarted,
    RetryScheduled,
    RunFinished,
    WorkPlanned,
)

if TYPE_CHECKING:
    from rich.progress import Progress

_REFRESH_SECONDS = 0.1
_log = logging.getLogger(FILE_ONLY)


class Listener:
    """Counts the events. One event at a time; several threads may call it. Cheap enough for millions of objects."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.objects = self.bytes = self.total_objects = self.total_bytes = 0
        self.label = ""
        self.imports: dict[str, int] = {}
        self.bar: Bar | None = None
        self._quiet = quiet
        self._shown: set[tuple[str, str]] = set()
        self._pending: CollectionFinished | None = None

    def __call__(self, event: Event) -> None:
        _record(event)
        self._show_failure(event)
        match event:
            case ObjectCopied() | ObjectVerified():
                self.objects += 1
                self.bytes += event.size
            case WorkPlanned():
                self.total_objects += event.objects
                self.total_bytes += event.size
            case ImportProgressed():
                self.imports[event.job] = event.percent
                self.label = f"import {event.collection}"
            case PhaseStarted():
                self.label = f"{event.phase} {event.collection}".rstrip()
            case Notice():
                self._warn(event.message, event.collection)
            case CollectionFinished() if event.error:
                self._pending = event
            case RetryScheduled() if self.bar:
                self._say(
                    f"mbk: {event.what}: {event.error}; attempt {event.attempt + 1} in {event.delay:.1f} s"
                )
        if self.bar:
            self.bar.refresh(self)

    def close(self) -> None:
        """No more events follow."""
        self._show_failure(None)

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
        case ObjectCopied() | ObjectVerified() | ImportProgressed() | WorkPlanned():
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


class Bar:
    """The bars on the screen: one for bytes, one for imports once there are any."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._copy = progress.add_task("", total=None, objects="")
        self._import = progress.add_task("import", total=None, objects="", visible=False)
        self._due = 0.0

    def refresh(self, seen: Listener) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _REFRESH_SECONDS
        self._progress.update(
            self._copy,
            description=seen.label,
            total=seen.total_bytes or None,
            completed=seen.bytes,
            objects=f"{seen.objects}/{seen.total_objects} objects" if seen.total_objects else "",
        )
        if seen.imports:
            finished = sum(percent >= 100 for percent in seen.imports.values())
            self._progress.update(
                self._import,
                visible=True,
                total=100 * len(seen.imports),
                completed=sum(seen.imports.values()),
                objects=f"{finished}/{len(seen.imports)} jobs",
            )


@contextmanager
def listening(app: App) -> Iterator[Listener]:
    """A listener for one run, with a bar when standard error is a terminal."""
    listener = Listener(quiet=app.quiet)
    with nullcontext() if app.quiet or not sys.stderr.isatty() else _drawn(listener):
        yield listener
        listener.close()


@contextmanager
def _drawn(listener: Listener) -> Iterator[None]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[objects]}"),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        listener.bar = Bar(progress)
        with terminal.through(
            lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
        ):
            yield
    listener.bar = None
