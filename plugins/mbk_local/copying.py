"""Copying from one open file to another: by the kernel, which shares blocks where it can, else by reading and writing.

What a pair of files can do is found by trying: it depends on both file systems, the kernel and a container's rules.
"""

from __future__ import annotations

import errno
import os
import sys
import threading

import xxhash

from mbk.errors import StorageError

CHUNK = 1024 * 1024
#: Read and hashed at a time: no more than the second cache of a core holds.
_HASHED = 256 * 1024
#: The pair of files, the file system or a container's seccomp rules cannot; the next way may.
_REFUSED = {
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EBADF,
    errno.ETXTBSY,
}
#: One call does not stand still longer than a moment, and no call takes 2 GiB or more.
_AT_ONCE = 1 << 30


def copy_range(source: int, target: int, *, offset: int, length: int) -> None:
    """Appends ``length`` bytes from ``offset`` of one open file to another. Each way goes on where the one before ended.

    On XFS, Btrfs and some shares the first way shares blocks: no bytes move. A kernel may copy fewer bytes than it was asked to, and some answer 0 in the middle of a file.
    """
    end = offset + length
    for way in (_copied, _sent, _written):
        while offset < end and (done := way(source, target, offset, min(end - offset, _AT_ONCE))):
            offset += done
    if offset < end:
        raise _truncated()


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def add_to(digest: xxhash.xxh3_128, descriptor: int, length: int) -> None:
    """Hashes the first ``length`` bytes of an open file.

    After a copy they come out of the page cache: 1 GiB took 0.15 s, and blocks that are shared stay shared.
    """
    done = 0
    while done < length:
        data = _read(descriptor, done, length - done)
        if not data:
            raise _truncated()
        digest.update(data)
        done += len(data)


class _Buffer(threading.local):
    """Of one thread: memory that is in the cache of its core, and need not be asked of the system again for each file."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(_HASHED))


_buffer = _Buffer()


def _read(descriptor: int, offset: int, length: int) -> bytes | memoryview:
    """Some of so many bytes, which are there until the next call of this thread; none at the end of the file."""
    if not hasattr(os, "preadv"):
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.read(descriptor, min(_HASHED, length))
    memory = _buffer.memory[:length]
    return memory[: os.preadv(descriptor, [memory], offset)]


def _copied(source: int, target: int, offset: int, length: int) -> int:
    """How many bytes the kernel copied or shared; 0 if it cannot, as between many pairs of file systems."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, length, offset_src=offset)
    except OSError as exc:
        return _refused(exc)


def _sent(source: int, target: int, offset: int, length: int) -> int:
    """Between any two files, out of the page cache, without a detour through this process."""
    if sys.platform != "linux":  # elsewhere only to a socket
        return 0
    try:
        return os.sendfile(target, source, offset, length)
    except OSError as exc:
        return _refused(exc)


def _written(source: int, target: int, offset: int, length: int) -> int:
    os.lseek(source, offset, os.SEEK_SET)
    data = os.read(source, min(CHUNK, length))
    write_all(target, data)
    return len(data)


def _refused(error: OSError) -> bool:
    """False, which is also 0: try the next way. Raises what is a failure and no refusal."""
    if error.errno not in _REFUSED:
        raise error
    return False


def _truncated() -> StorageError:
    return StorageError("the source was truncated while it was being copied", code="source-truncated")
