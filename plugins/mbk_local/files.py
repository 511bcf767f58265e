"""Files: made under a temporary name, filled by the kernel where it can, durable, and their directories tidied."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from mbk.errors import BucketNotFound, InvalidKey, ObjectExists, StorageError
from mbk_local.errors import ONE_NAME, translating

CHUNK = 1024 * 1024
#: Concurrent deletes may take a directory away as often as this between its making and the first file in it.
_ATTEMPTS = 1000
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_TEMPORARY = re.compile(r"\.mbk-[0-9a-f]{32}\.tmp")
# The pair of files, the file system or a container's seccomp rules cannot; plain reading and writing can.
_NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
_NO_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def temporary_name() -> str:
    return f".mbk-{uuid4().hex}.tmp"


def is_temporary(name: str) -> bool:
    return _TEMPORARY.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Tree:
    """The directory that everything stays in. The root itself is neither made nor removed here."""

    root: Path

    def require(self) -> None:
        if not self.root.is_dir():
            raise BucketNotFound(
                "directory {directory} does not exist",
                code="directory-missing",
                directory=self.root,
                hint="create it, or correct rootPath",
            )

    @contextmanager
    def replacing(self, path: Path, *, exclusive: bool = False) -> Iterator[int]:
        """A descriptor of a new file that is at ``path`` once the context is left, whole, or never.

        Durable before it is visible: the file's bytes are on the disk before its name, and its name (and the
        directories made for it) before this returns. ``exclusive`` raises `ObjectExists` instead of replacing.
        """
        with translating(path):
            descriptor, temporary = self._new_beside(path)
        try:
            try:
                yield descriptor
                with translating(path):
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            with translating(path):
                _publish(temporary, path, exclusive=exclusive)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            self.prune(path.parent)
            raise

    def new_directory_beside(self, path: Path) -> Path:
        """A temporary directory that is removed by the caller, or by `Storage.clean` when that was killed."""
        for _ in range(_ATTEMPTS):
            self._make(path.parent)
            directory = path.with_name(temporary_name())
            with suppress(FileNotFoundError):
                directory.mkdir()
                return directory
        raise _removed(path.parent)

    def prune(self, directory: Path) -> None:
        """Removes the directory and those above it as long as they are empty."""
        with suppress(OSError):
            while directory != self.root and directory.is_relative_to(self.root):
                directory.rmdir()
                directory = directory.parent

    def _new_beside(self, path: Path) -> tuple[int, Path]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
        for _ in range(_ATTEMPTS):
            self._make(path.parent)
            temporary = path.with_name(temporary_name())
            with suppress(FileNotFoundError):
                return os.open(temporary, flags, 0o666), temporary
        raise _removed(path.parent)

    def _make(self, directory: Path) -> None:
        """Makes the directory and those above it. Another process may remove them at any moment: callers retry."""
        if directory == self.root:
            return self.require()
        try:
            directory.mkdir()
        except FileExistsError:
            if _is_no_directory(directory):
                raise InvalidKey(
                    "{path} is an object, and cannot be a directory too",
                    code="object-in-the-way",
                    path=directory,
                    hint=ONE_NAME,
                ) from None
        except FileNotFoundError:
            self._make(directory.parent)
            with suppress(FileNotFoundError):
                self._make_below(directory)
        else:
            sync_directory(directory.parent)
        return None

    def _make_below(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def _removed(directory: Path) -> StorageError:
    return StorageError(
        "directory {directory} was removed each time it was created",
        code="directory-removed",
        directory=directory,
    )


def _is_no_directory(path: Path) -> bool:
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _publish(temporary: Path, path: Path, *, exclusive: bool) -> None:
    if not exclusive:
        temporary.replace(path)
    else:
        try:
            _link(temporary, path)
        except FileExistsError as exc:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from exc
            raise ObjectExists("{path} already exists", code="file-exists", path=path) from exc
    sync_directory(path.parent)


def _link(temporary: Path, path: Path) -> None:
    """A rename that fails where the name exists. Shares and FUSE file systems without hard links need two steps."""
    try:
        os.link(temporary, path)
    except OSError as exc:
        if exc.errno not in _NO_LINK:
            raise
        # The name is taken by an empty file, for the moment until the rename.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o666))
        temporary.replace(path)
    else:
        temporary.unlink()


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable; Windows has no such call and file systems may refuse it."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(descriptor)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def copy_range(source: int, target: int, *, offset: int, length: int) -> None:
    """Appends ``length`` bytes from ``offset`` of one open file to another, by the kernel where it can.

    copy_file_range shares the blocks (reflink) on file systems that can, so no other call is tried before it.
    """
    end = offset + length
    while offset < end:
        done = _kernel_copy(source, target, offset, end - offset)
        if not done:
            break
        offset += done
    while offset < end:
        os.lseek(source, offset, os.SEEK_SET)
        data = os.read(source, min(CHUNK, end - offset))
        if not data:
            raise StorageError("the source was truncated while it was being copied", code="source-truncated")
        write_all(target, data)
        offset += len(data)


def _kernel_copy(source: int, target: int, offset: int, length: int) -> int:
    """How many bytes the kernel copied; 0 when it cannot."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, min(length, 1 << 30), offset_src=offset)
    except OSError as exc:
        if exc.errno in _NO_KERNEL_COPY:
            return 0
        raise


def open_for_reading(path: Path) -> int:
    return os.open(path, os.O_RDONLY | _NOFOLLOW | _BINARY)
