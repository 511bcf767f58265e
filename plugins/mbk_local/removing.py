"""Removing many files: one walk down the tree, in which neighbouring keys share the directories above them."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from mbk_local.errors import translating
from mbk_local.files import sync_directory

#: Windows has no calls relative to an open directory.
_SUPPORTED = {os.open, os.stat, os.unlink, os.rmdir} <= os.supports_dir_fd
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
#: Open directories of one walk. Keys of Milvus have ten elements; a process may open 1,024 files by default.
_DEPTH = 24


@dataclass(slots=True)
class _Level:
    """An open directory. ``lost``: a file in it was removed; ``changed``: anything was, so it may be empty."""

    name: str
    descriptor: int
    lost: bool = False
    changed: bool = False


class Removal:
    """Removes files below a root, and the directories that this empties. A context manager, for one thread.

    Each directory is opened once, relative to the one above it and never through a link, and is left when a key below another
    one follows. One that stays has lost its files for good then, even if the machine stops: what is removed first (the mark of a
    complete backup) does not come back without what was removed after it.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._levels: list[_Level] = []
        #: The path of the last of them; None before it is reached.
        self._path: Sequence[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(0)

    def remove(self, names: Sequence[str]) -> bool:
        """Removes the regular file at this path; False if there is none, or it cannot be removed in this way."""
        if not _SUPPORTED or len(names) > _DEPTH:
            return False
        *directories, name = names
        if directories != self._path:
            self._path = None
            self._leave(self._shared(directories))
        try:
            here = self._enter(directories)
            self._path = directories
            found = os.stat(name, dir_fd=here.descriptor, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                return False
            os.unlink(name, dir_fd=here.descriptor)
        except OSError:
            return False  # the caller asks again by the whole path, and learns why
        here.lost = here.changed = True
        return True

    def _shared(self, directories: Sequence[str]) -> int:
        """How many of the open directories, the root included, are on the way."""
        count = min(len(self._levels), 1)
        for level, name in zip(self._levels[1:], directories, strict=False):
            if level.name != name:
                break
            count += 1
        return count

    def _enter(self, directories: Sequence[str]) -> _Level:
        if not self._levels:
            self._levels.append(_Level("", os.open(self._root, os.O_RDONLY)))
        for name in directories[len(self._levels) - 1 :]:
            above = self._levels[-1].descriptor
            self._levels.append(_Level(name, os.open(name, _DIRECTORY, dir_fd=above)))
        return self._levels[-1]

    def _leave(self, count: int) -> None:
        """Closes all but the first ``count`` directories."""
        try:
            while len(self._levels) > count:
                self._close()
        finally:
            while len(self._levels) > count:
                os.close(self._levels.pop().descriptor)

    def _close(self) -> None:
        level = self._levels.pop()
        os.close(level.descriptor)
        if level.changed and self._levels:
            with suppress(OSError):
                os.rmdir(level.name, dir_fd=self._levels[-1].descriptor)
                self._levels[-1].changed = True
                return
        if level.lost:
            path = self._root.joinpath(*(above.name for above in self._levels), level.name)
            with translating(path):
                sync_directory(path)
