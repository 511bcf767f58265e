"""Logging as configured: lines on standard error, and a file if one is named."""

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
#: The logger for what the terminal shows in another form, or not at all (events, tracebacks): for the file only.
FILE_ONLY = "mbk.run"
MIB = 1024 * 1024
DAY = 24 * 3600
# Without a file its records are dropped, instead of going to logging's last-resort handler.
logging.getLogger(FILE_ONLY).addHandler(logging.NullHandler())
#: The handlers that `configure` added to the root logger, for the next call to remove.
_installed: list[logging.Handler] = []
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class ConsoleHandler(logging.Handler):
    """One line per record, never a traceback, above a progress bar if there is one.

    What a vendor's SDK says of a failure is raised as well, and one line tells that: only at ``debug`` is it shown.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == FILE_ONLY or not (self.level <= logging.DEBUG or _is_own(record)):
            return
        if terminal.is_json():
            terminal.log(record.levelname.lower(), record.getMessage(), record.created, **_more(record))
            return
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        terminal.line(f"{moment} {record.levelname.lower()}: {record.getMessage()}")


class JsonFormatter(logging.Formatter):
    """An object a line, as on standard error; a traceback is in ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        broken = {"exception": self.formatException(record.exc_info)} if record.exc_info else {}
        level, text = record.levelname.lower(), record.getMessage()
        return terminal.log_line(level, text, record.created, **_more(record), **broken)


def _more(record: logging.LogRecord) -> dict[str, object]:
    """``facts``: what `extra` of the record named so."""
    facts = getattr(record, "facts", None)
    return {"logger": record.name, **({"facts": facts} if facts else {})}


def _is_own(record: logging.LogRecord) -> bool:
    """Of mbk, its plugins (``mbk_...``), or the server that it runs."""
    return record.name.startswith(("mbk", "uvicorn"))


def configure(settings: LogSettings, *, quiet: bool = False) -> None:
    """Sends mbk's records of the chosen level, and other libraries' warnings, where the settings say.

    The console gets those warnings at ``debug`` only. The lines of the file are JSON objects where those of the console are.
    """
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
        terminal.warning(f"cannot write the log file {path}: {exc.strerror or exc}")
        return
    handler.setFormatter(JsonFormatter() if terminal.is_json() else logging.Formatter(_FORMAT))
    yield handler
