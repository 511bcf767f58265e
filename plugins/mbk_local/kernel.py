"""Calls of Linux that Python has no functions for: one of them does what else takes a look at each directory of a path.

They fail without a reason: the caller then goes the long way, which works on every system and finds out what is wrong.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

#: The kernel's number of openat2 on every architecture that Python is built for.
_OPENAT2 = 437
#: RESOLVE_NO_SYMLINKS: no link is followed, wherever it is on the way.
_NO_LINKS = 0x04
#: AT_FDCWD: paths are whole, so the working directory does not matter.
_HERE = -100
#: RENAME_NOREPLACE.
_FREE_ONLY = 1


class _How(ctypes.Structure):
    """``struct open_how``."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_CLOSED = getattr(os, "O_CLOEXEC", 0)
#: A pipe that lies there must not be waited for.
_READ = _How(os.O_RDONLY | _CLOSED | getattr(os, "O_NONBLOCK", 0), 0, _NO_LINKS)
_CREATE = _How(os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOSED, 0o666, _NO_LINKS)


def open_to_read(path: str) -> int:
    """A descriptor of whatever is at the path, if no link leads there; negative where it could not be opened so."""
    return called("syscall", _OPENAT2, _HERE, os.fsencode(path), ctypes.byref(_READ), ctypes.sizeof(_How))


def open_new(path: str) -> int:
    """A descriptor to write a new file with, if no link leads there; negative where it could not be made so."""
    return called("syscall", _OPENAT2, _HERE, os.fsencode(path), ctypes.byref(_CREATE), ctypes.sizeof(_How))


def rename_to_free(path: str, name: str) -> bool:
    """Renames the file if nothing has that name; False where it has, or where this cannot be done."""
    return called("renameat2", _HERE, os.fsencode(path), _HERE, os.fsencode(name), _FREE_ONLY) == 0


def called(name: str, *arguments: Any) -> int:
    """What the library of C answers; negative where it has no such call."""
    call = getattr(_LIBC, name, None)
    return -1 if call is None else int(call(*arguments))
