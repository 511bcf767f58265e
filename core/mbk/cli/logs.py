"""Logging as the configuration says: lines on standard error, and a file only when one is named."""

from __future__ import annotations

import logging
import time
from logging.handlers import RotatingFileHandler
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
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class ConsoleHandler(logging.Handler):
    """One line a record, never a traceback, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == FILE_ONLY:
            return
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        terminal.line(f"{moment} {record.levelname.lower()}: {record.getMessage()}")


class RotatingFile(RotatingFileHandler):
    """Rotates by size; old files carry the time in their name and go by count or by age. 0 means no limit."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int, max_age: float) -> None:
        self._keep = keep
        self._max_age = max_age
        super().__init__(path, maxBytes=max_bytes, encoding="utf-8", delay=False)

    def doRollover(self) -> None:
        if self.stream:
            self.stream.close()
        path = Path(self.baseFilename)
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(now))
        path.rename(path.with_name(f"{path.stem}-{stamp}.{int(now * 1000) % 1000:03}{path.suffix}"))
        self.stream = self._open()
        self._prune(path, now)

    def _prune(self, path: Path, now: float) -> None:
        old = sorted(path.parent.glob(f"{path.stem}-*T*{path.suffix}"), reverse=True)
        for place, file in enumerate(old):
            beyond = self._keep and place >= self._keep
            if beyond or (self._max_age and now - file.stat().st_mtime > self._max_age):
                file.unlink(missing_ok=True)


def configure(settings: LogSettings, *, quiet: bool = False) -> None:
    """Sends records of mbk at the chosen level, and the warnings of other libraries, where the settings say."""
    root = logging.getLogger()
    for handler in [
        handler for handler in root.handlers if isinstance(handler, ConsoleHandler | RotatingFile)
    ]:
        root.removeHandler(handler)
        handler.close()
    level = LEVELS[settings.level]
    logging.getLogger("mbk").setLevel(level)
    root.setLevel(max(level, logging.WARNING))
    # Without any handler logging would print warnings by itself.
    root.addHandler(
        ConsoleHandler(logging.ERROR if quiet else level) if settings.console else logging.NullHandler()
    )
    if settings.file:
        _add_file(root, settings)


def _add_file(root: logging.Logger, settings: LogSettings) -> None:
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
    root.addHandler(handler)
