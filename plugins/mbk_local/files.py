"""Files: made under a temporary name, durable, and their directories tidied."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mbk.errors import BucketNotFound, InvalidKey, ObjectExists, StorageError
from mbk_local.errors import ONE_NAME
from mbk_local.kernel import open_new, rename_to_free
from mbk_local.locks import taken
from mbk_local.names import temporary_name

#: Concurrent deletes may take a directory away as often as this between its making and the first file in it.
_ATTEMPTS = 1000
#: Directories that are remembered, 150 bytes each: those of the segments that are being copied.
_KNOWN = 4096
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _BINARY
_NO_LINK = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Tree:
    """The directory that everything stays in. The root itself is neither made nor removed here.

    ``known``: directories that were there, and were no links, when they were last looked at.
    """

    root: Path
    known: set[str] = field(default_factory=set, compare=False)

    def require(self) -> None:
        if not os.path.isdir(self.root):  # noqa: PTH112 - before each request: Path.is_dir takes twice as long
            raise BucketNotFound(
                "directory {directory} does not exist",
                code="directory-missing",
                directory=self.root,
                hint="create it, or correct rootPath",
            )

    def new_directory_beside(self, path: Path, *, durable: bool = True) -> Path:
        """A temporary directory that is removed by the caller, or by `Storage.clean` when that was killed."""
        for _ in range(_ATTEMPTS):
            self.make(str(path.parent), durable=durable)
            directory = path.with_name(temporary_name())
            try:
                directory.mkdir()
            except FileNotFoundError:
                self.require()
                self.known.clear()
            else:
                return directory
        raise _removed(str(path.parent))

    def make(self, directory: str, *, durable: bool = True) -> None:
        """Makes the directory and those above it, from the uppermost on: none is made through a link.

        Another process may remove them at any moment: callers retry, and find out whether the root is there.
        """
        if directory in self.known or directory == str(self.root):
            return
        above = directory.rpartition("/")[0]
        self.make(above, durable=durable)
        with suppress(FileNotFoundError):
            if _made(directory) and durable:
                sync_directory(above)
        if len(self.known) >= _KNOWN:
            self.known.clear()
        self.known.add(directory)

    def prune(self, directory: Path) -> None:
        """Removes the directory and those above it as long as they are empty."""
        with suppress(OSError):
            while directory != self.root and directory.is_relative_to(self.root):
                directory.rmdir()
                directory = directory.parent

    def new_beside(
        self, path: str, require: Callable[[], object], *, durable: bool = True
    ) -> tuple[int, str]:
        """A descriptor of a new file, and its name. One that is to be ``durable`` is locked (:mod:`mbk_local.locks`).

        ``require``: raises where a link leads to the path.
        """
        parent = path.rpartition("/")[0]
        for _ in range(_ATTEMPTS):
            temporary = f"{parent}/{temporary_name()}"
            self.make(parent, durable=durable)
            descriptor = open_new(temporary)
            if descriptor < 0:
                require()
                try:
                    descriptor = os.open(temporary, _NEW, 0o666)
                except (FileNotFoundError, NotADirectoryError):
                    self.require()
                    self.known.clear()
                    continue
            if not durable or taken(descriptor, temporary):
                return descriptor, temporary
            os.close(descriptor)
        raise _removed(parent)


def _removed(directory: str) -> StorageError:
    return StorageError(
        "directory {directory} was removed each time it was created",
        code="directory-removed",
        directory=directory,
    )


def _made(directory: str) -> bool:
    """Whether the directory had to be made. `InvalidKey` if something else has its name."""
    try:
        os.mkdir(directory)  # noqa: PTH102 - for each new directory of a backup: a path takes thrice as long
    except FileExistsError:
        _require_directory(directory)
        return False
    return True


def _require_directory(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise symbolic_link(path)
    if not stat.S_ISDIR(mode):
        raise InvalidKey(
            "{path} is an object, and cannot be a directory too",
            code="object-in-the-way",
            path=path,
            hint=ONE_NAME,
        )


def symbolic_link(path: str) -> InvalidKey:
    return InvalidKey(
        "{path} is a symbolic link", code="symbolic-link", path=path, hint="links are not followed"
    )


def publish(
    temporary: str, path: str, require: Callable[[], object], *, exclusive: bool, durable: bool
) -> None:
    """Gives a temporary file its name. ``require`` as in `Tree.new_beside`; ``durable``: the name is."""
    if exclusive:
        _publish_new(temporary, path)
    elif not rename_to_free(temporary, path):
        require()
        os.replace(temporary, path)  # noqa: PTH105 - as in `_made`
    if durable:
        sync_directory(path.rpartition("/")[0])


def _publish_new(temporary: str, path: str) -> None:
    try:
        _link(temporary, path)
    except FileExistsError as exc:
        if os.path.isdir(path):  # noqa: PTH112 - as in `_made`
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from exc
        raise ObjectExists("{path} already exists", code="file-exists", path=path) from exc


def _link(temporary: str, path: str) -> None:
    """A rename that fails where the name exists. Shares and FUSE file systems without hard links need two steps."""
    try:
        os.link(temporary, path)
    except OSError as exc:
        if exc.errno not in _NO_LINK:
            raise
        # The name is taken by an empty file, for the moment until the rename.
        os.close(os.open(path, _NEW, 0o666))
        os.replace(temporary, path)  # noqa: PTH105 - as in `_made`
    else:
        os.unlink(temporary)  # noqa: PTH108 - as in `_made`


def sync_directory(directory: str | Path) -> None:
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
