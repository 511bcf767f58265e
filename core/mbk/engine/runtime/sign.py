"""Signs of life: what proves to another process of the same machine that a run has ended.

A host name, the number of a process namespace, a process id, even the id of a boot may be alike on two machines, or
become so when one is cloned. A sign is a file in the local directory for temporary files, named by the random token of
the lease, and locked by the process for as long as it lives. Only where the file exists, was made in this boot by this
user, and is locked by nobody, the process is dead. No file proves nothing: the run may be anywhere.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from mbk.frozen import frozen

try:
    import fcntl
except ImportError:  # Windows: no signs, and so no proofs
    fcntl = None  # type: ignore[assignment]  # mypy sees the module of its own platform only

_TOKEN = re.compile(r"[0-9a-f]{32}")
_NAME = re.compile(r"mbk-run-([0-9a-f]{32})\.lock")
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@frozen
class Sign:
    """The sign of one run of this process, as long as the descriptor is open."""

    path: Path
    descriptor: int

    @classmethod
    def show(cls, token: str) -> Sign | None:
        """None where this machine has no means for it: then others wait until the lease no longer changes."""
        boot = _boot()
        if fcntl is None or not boot:
            return None
        _tidy()
        try:
            path = _path(token)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            sign = cls(path, os.open(path, flags, 0o600))
        except OSError:
            return None
        try:
            fcntl.flock(sign.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(sign.descriptor, boot)
        except OSError:
            sign.withdraw()
            return None
        return sign

    def withdraw(self) -> None:
        """The run has ended, and its lease with it."""
        with suppress(OSError):
            self.path.unlink()
        self.leave()

    def leave(self) -> None:
        """The run has ended, but its lease may still be there: the file stays, unlocked, and proves that."""
        with suppress(OSError):
            os.close(self.descriptor)


def is_dead(token: str) -> bool:
    """Whether the process whose sign this is has certainly ended."""
    boot = _boot()
    if fcntl is None or not boot or not _TOKEN.fullmatch(token):
        return False
    try:
        descriptor = os.open(_path(token), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_uid != os.geteuid() or os.read(descriptor, 100) != boot:
            return False
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(descriptor)


def forget(token: str) -> None:
    """Removes the sign of a dead process."""
    if is_dead(token):
        with suppress(OSError):
            _path(token).unlink()


@cache
def _tidy() -> None:
    """Removes the signs of dead processes that nobody asked for in a day; once a process, as it reads a whole directory."""
    before = time.time() - 86_400
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and entry.stat(follow_symlinks=False).st_mtime < before:
                forget(match[1])


def _path(token: str) -> Path:
    return Path(tempfile.gettempdir()) / f"mbk-run-{token}.lock"


def _boot() -> bytes:
    """Told apart from other boots of this machine and of others; empty where the system has no such id."""
    try:
        return _BOOT.read_bytes().strip()
    except OSError:
        return b""
