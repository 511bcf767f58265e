"""Files: made under a temporary name, durable, and their directories tidied."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mbk.errors import BucketNotFound, InvalidKey, ObjectExists, StorageError
from mbk_local.errors import ONE_NAME, translating
from mbk_local.locks import kept, taken
from mbk_local.names import temporary_name

#: Concurrent deletes may take a directory away as often as this between its making and the first file in it.
_ATTEMPTS = 1000
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NO_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Tree:
    """The directory that everything stays in. The root itself is neither made nor removed here."""

    root: Path

    def require(self) -> None:
        if not os.path.isdir(self.root):  # noqa: PTH112 - before each request: Path.is_dir takes twice as long
            raise BucketNotFound(
                "directory {directory} does not exist",
                code="directory-missing",
                directory=self.root,
                hint="create it, or correct rootPath",
            )

    @contextmanager
    def replacing(self, path: Path, *, exclusive: bool = False, durable: bool = True) -> Iterator[int]:
        """A descriptor of a new file that is at ``path`` once the context is left, whole, or never.

        ``durable`` before it is visible: the file's bytes are on the disk before its name, and its name (and the
        directories made for it) before this returns. ``exclusive`` raises `ObjectExists` instead of replacing.
        """
        with translating(path):
            descriptor, temporary = self._new_beside(path, durable=durable)
        with kept(descriptor):
            try:
                try:
                    yield descriptor
                    if durable:
                        with translating(path):
                            os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                with translating(path):
                    _publish(temporary, path, exclusive=exclusive)
                    if durable:
                        sync_directory(path.parent)
            except BaseException:
                with suppress(OSError):
                    temporary.unlink()
                self.prune(path.parent)
                raise

    def new_directory_beside(self, path: Path, *, durable: bool = True) -> Path:
        """A temporary directory that is removed by the caller, or by `Storage.clean` when that was killed."""
        for _ in range(_ATTEMPTS):
            self.make(path.parent, durable=durable)
            directory = path.with_name(temporary_name())
            with suppress(FileNotFoundError):
                directory.mkdir()
                return directory
        raise _removed(path.parent)

    def make(self, directory: Path, *, durable: bool = True) -> None:
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
            return None
        except FileNotFoundError:
            self.make(directory.parent, durable=durable)
            with suppress(FileNotFoundError):
                directory.mkdir(exist_ok=True)
        if durable:
            sync_directory(directory.parent)
        return None

    def prune(self, directory: Path) -> None:
        """Removes the directory and those above it as long as they are empty."""
        with suppress(OSError):
            while directory != self.root and directory.is_relative_to(self.root):
                directory.rmdir()
                directory = directory.parent

    def _new_beside(self, path: Path, *, durable: bool) -> tuple[int, Path]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
        parent = path.parent
        for _ in range(_ATTEMPTS):
            temporary = parent / temporary_name()
            try:
                descriptor = os.open(temporary, flags, 0o666)
            except (FileNotFoundError, NotADirectoryError):
                self.make(parent, durable=durable)
                continue
            if taken(descriptor, temporary):
                return descriptor, temporary
            os.close(descriptor)
        raise _removed(parent)


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


def open_for_reading(path: str | Path) -> int:
    return os.open(path, os.O_RDONLY | _NOFOLLOW | _BINARY)
