"""Whether the process that writes a temporary file is still there: the kernel's lock on the open file says so.

The lock ends with the process, however it ends. Windows has no such lock, and some shares have none either: there a
temporary file counts as left behind once it is a day old.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

#: In seconds. No write takes as long.
_OLD = 24 * 60 * 60.0
#: A look at a lock takes microseconds: a second in all is enough also where the machine is busy.
_TRIES, _PAUSE = 100, 0.01


def taken(descriptor: int, path: str) -> bool:
    """Locks a new file. False if it has been removed meanwhile, by `is_left_behind`'s caller: make another one."""
    if sys.platform == "win32":
        return True
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116 - for each new file
    except FileNotFoundError:
        return False


def locked(descriptor: int) -> None:
    """Locks a file that this process writes, if nobody else does; who only looks at the lock has it for a moment."""
    if sys.platform == "win32":
        return
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        except OSError:
            return
        else:
            return


def kept(descriptor: int) -> int:
    """Another descriptor that keeps the open file's lock when the first one is closed; negative where there is none."""
    if sys.platform != "win32":
        with suppress(OSError):  # no descriptor left: the lock ends a moment early
            return os.dup(descriptor)
    return -1


def is_left_behind(path: Path, *, old: float = _OLD) -> bool:
    """Whether nobody writes the temporary file or directory any more. Without locks: whether it is ``old`` seconds old."""
    found = path.lstat()
    if sys.platform != "win32" and not path.is_dir():
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass
        else:
            return True
        finally:
            os.close(descriptor)
    return time.time() - found.st_mtime > old
