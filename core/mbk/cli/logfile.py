"""The log file: for its owner alone, rotated by size, old files removed by count and by age."""

from __future__ import annotations

import os
import stat
import time
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path


class RotatingFile(RotatingFileHandler):
    """Rotates by size. Old files have the time in their name and are removed by count or age; 0 means no limit.

    A new file can be read by its owner alone. Rights that somebody gave to a file are kept when it is rotated.
    """

    _mode = 0o600

    def __init__(self, path: Path, *, max_bytes: int, keep: int, max_age: float) -> None:
        self._keep = keep
        self._max_age = max_age
        super().__init__(path, maxBytes=max_bytes, encoding="utf-8", delay=False)

    def _open(self) -> TextIOWrapper:
        return open(
            self.baseFilename,
            "a",
            encoding=self.encoding,
            errors=self.errors,
            opener=lambda path, flags: os.open(path, flags, self._mode),
        )

    def doRollover(self) -> None:
        if self.stream:
            self.stream.close()
        path = Path(self.baseFilename)
        self._mode = stat.S_IMODE(path.stat().st_mode)
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
