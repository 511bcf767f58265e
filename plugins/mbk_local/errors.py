"""What the operating system says, in mbk's words. The one place where an `OSError` is translated."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mbk.errors import (
    InvalidKey,
    MbkError,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    Throttled,
)

_FULL = "free some space there, or raise the quota"
_RIGHTS = "give the user that runs mbk read and write access"
_NAME = "use a shorter or simpler name"
ONE_NAME = "a file system cannot hold an object and objects below it under one name"
_SHARE = "check that the disk or the network share is still there"
_BUSY = "lower the concurrency, or raise the limit (ulimit -n)"

MEANINGS: dict[str, tuple[type[MbkError], str]] = {
    "ENOENT": (ObjectNotFound, ""),
    "ENOSPC": (StorageFull, _FULL),
    "EDQUOT": (StorageFull, _FULL),
    "EFBIG": (StorageFull, "the file system or a limit (ulimit -f) allows no file of this size"),
    "EACCES": (PermissionDenied, _RIGHTS),
    "EPERM": (PermissionDenied, _RIGHTS),
    "EROFS": (PermissionDenied, "the file system is mounted read-only"),
    "ENAMETOOLONG": (InvalidKey, _NAME),
    "EILSEQ": (InvalidKey, _NAME),
    "ELOOP": (InvalidKey, "symbolic links are not followed"),
    "EISDIR": (InvalidKey, ONE_NAME),
    "ENOTDIR": (InvalidKey, ONE_NAME),
    "EMFILE": (Throttled, _BUSY),
    "ENFILE": (Throttled, _BUSY),
    "EBUSY": (Throttled, _BUSY),
    "EAGAIN": (Throttled, _BUSY),
    "EIO": (StorageUnavailable, _SHARE),
    "ENXIO": (StorageUnavailable, _SHARE),
    "ENODEV": (StorageUnavailable, _SHARE),
    "ESTALE": (StorageUnavailable, _SHARE),
    "ENOTCONN": (StorageUnavailable, _SHARE),
    "ETIMEDOUT": (StorageUnavailable, _SHARE),
    "EHOSTDOWN": (StorageUnavailable, _SHARE),
    "EHOSTUNREACH": (StorageUnavailable, _SHARE),
    "EREMOTEIO": (StorageUnavailable, _SHARE),
}


def translated(error: OSError, subject: str) -> MbkError:
    kind, hint = MEANINGS.get(errno.errorcode.get(error.errno or 0, ""), (StorageError, ""))
    reason = os.strerror(error.errno) if error.errno else str(error)
    return kind(
        "{path}: {reason}", hint=hint or None, path=subject, reason=f"{reason[:1].lower()}{reason[1:]}"
    )


@contextmanager
def translating(subject: object) -> Iterator[None]:
    """Around calls of the operating system only, never around a caller's code, whose errors are its own."""
    try:
        yield
    except MbkError:
        raise
    except OSError as exc:
        raise translated(exc, str(subject)) from exc
