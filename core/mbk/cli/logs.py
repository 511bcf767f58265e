"""Logging as the configuration says: lines on standard error, and a file only when one is named."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mbk.cli import terminal

if TYPE_CHECKING:
    from mbk.config.schema import LogSettings

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "panic": logging.CRITICAL,
    "fatal": logging.CRITICAL,
}
#: The logger of what the terminal shows in a way of its own, or not at all: events, tracebacks. For the file alone.
FILE_ONLY = "mbk.run"
MIB = 1024 * 1024
DAY = 24 * 3600
# Without a file its records go nowhere, rather than to logging's own last resort.
logging.getLogger(FILE_ONLY).addHandler(logging.NullHandler())
#: What `configure` put on the root logger, so that the next call takes it off again.
_installed: list[logging.Handler] = []
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class ConsoleHandler(logging.Handler):
    """One line a record, never a traceback, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == FILE_ONLY:
            return
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        terminal.line(f"{moment} {record.levelname.lower()}: {record.getMessage()}")


def configure(settings: LogSettings, *, quiet: bool = False) -> None:
    """Sends records of mbk at the chosen level, and the warnings of other libraries, where the settings say."""
    root = logging.getLogger()
    while _installed:
        handler = _installed.pop()
        root.removeHandler(handler)
        handler.close()
    level = LEVELS[settings.level]
    logging.getLogger("mbk").setLevel(level)
    root.setLevel(max(level, logging.WARNING))
    # Without any handler logging would print warnings by itself.
    console = ConsoleHandler(logging.ERROR if quiet else level) if settings.console else logging.NullHandler()
    for handler in (console, *_files(settings)):
        root.addHandler(handler)
        _installed.append(handler)


def _files(settings: LogSettings) -> Iterator[logging.Handler]:
    if not settings.file:
        return
    from mbk.cli.logfile import RotatingFile

    path = Path(settings.file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFile(
            path,
            max_bytes=settings.max_size_mib * MIB,
            keep=settings.max_backups,
            max_age=settings.max_days * DAY,
        )
    except OSError as exc:
        terminal.warning(f"no log file: {path}: {exc.strerror or exc}")
        return
    handler.setFormatter(logging.Formatter(_FORMAT))
    yield handler
