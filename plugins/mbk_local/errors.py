"""What the operating system says, in mbk's words. The one place where an `OSError` is translated."""

from __future__ import annotations

import errno
import os
from types import TracebackType

from mbk import errors as ours

_FULL = "free some space there, or raise the quota"
_RIGHTS = "give the user that runs mbk read and write access"
_NAME = "use a shorter or simpler name"
ONE_NAME = "a file system cannot hold an object and objects below it under one name"
_SHARE = "check that the disk or the network share is still there"
_BUSY = "lower the concurrency, or raise the limit (ulimit -n)"

MEANINGS: dict[str, tuple[type[ours.MbkError], str]] = {
    "ENOENT": (ours.ObjectNotFound, ""),
    "ENOSPC": (ours.StorageFull, _FULL),
    "EDQUOT": (ours.StorageFull, _FULL),
    "EFBIG": (ours.StorageFull, "the file system or a limit (ulimit -f) allows no file of this size"),
    "EACCES": (ours.PermissionDenied, _RIGHTS),
    "EPERM": (ours.PermissionDenied, _RIGHTS),
    "EROFS": (ours.PermissionDenied, "the file system is mounted read-only"),
    "ENAMETOOLONG": (ours.InvalidKey, _NAME),
    "EILSEQ": (ours.InvalidKey, _NAME),
    "ELOOP": (ours.InvalidKey, "symbolic links are not followed"),
    "EISDIR": (ours.InvalidKey, ONE_NAME),
    "ENOTDIR": (ours.InvalidKey, ONE_NAME),
    "EMFILE": (ours.Throttled, _BUSY),
    "ENFILE": (ours.Throttled, _BUSY),
    "EBUSY": (ours.Throttled, _BUSY),
    "EAGAIN": (ours.Throttled, _BUSY),
    "EIO": (ours.StorageUnavailable, _SHARE),
    "ENXIO": (ours.StorageUnavailable, _SHARE),
    "ENODEV": (ours.StorageUnavailable, _SHARE),
    "ESTALE": (ours.StorageUnavailable, _SHARE),
    "ENOTCONN": (ours.StorageUnavailable, _SHARE),
    "ETIMEDOUT": (ours.StorageUnavailable, _SHARE),
    "EHOSTDOWN": (ours.StorageUnavailable, _SHARE),
    "EHOSTUNREACH": (ours.StorageUnavailable, _SHARE),
    "EREMOTEIO": (ours.StorageUnavailable, _SHARE),
}


def translated(error: OSError, subject: str) -> ours.MbkError:
    kind, hint = MEANINGS.get(errno.errorcode.get(error.errno or 0, ""), (ours.StorageError, ""))
    reason = os.strerror(error.errno) if error.errno else str(error)
    return kind(
        "{path}: {reason}", hint=hint or None, path=subject, reason=f"{reason[:1].lower()}{reason[1:]}"
    )


class translating:
    """Around calls of the operating system only, never around a caller's code, whose errors are its own.

    A class, for each copy passes through several, and a generator costs thrice as much.
    """

    __slots__ = ("_subject",)

    def __init__(self, subject: object) -> None:
        self._subject = subject

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, ours.MbkError):
            raise translated(error, str(self._subject)) from error
