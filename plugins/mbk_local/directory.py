"""The objects of a directory: which file a key is, and what is told of it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mbk.errors import InvalidKey, ObjectNotFound, Unsupported
from mbk.ports.storage import Capabilities, ObjectInfo, Storage
from mbk_local.errors import translating
from mbk_local.files import Tree, is_temporary, open_for_reading

BACKEND = "local"
CAPABILITIES = Capabilities(
    server_side_copy=True,
    part_copy=True,
    conditional_write=True,
    multipart=True,
    min_part_size=1,
)


@dataclass(frozen=True, slots=True)
class Directory:
    """Regular files below a root. No symbolic link below it is followed."""

    tree: Tree

    @classmethod
    def of(cls, source: Storage) -> Directory:
        """The directory that another storage, however it is wrapped, says that it is; `Unsupported` where it is none."""
        if source.location.backend != BACKEND:
            raise Unsupported(f"the kernel copies only between directories, not from {source.location}")
        return cls(Tree(Path(source.location.bucket)))

    def path(self, key: str) -> Path:
        """Where the object of this key is or would be. `InvalidKey` where that is not surely below the root."""
        elements = _elements(key)
        path = self.tree.root
        with translating(self.subject(key)):
            for element in elements:
                path = path / element
                try:
                    mode = path.lstat().st_mode
                except (FileNotFoundError, NotADirectoryError):
                    break
                if stat.S_ISLNK(mode):
                    raise InvalidKey(
                        f"{self.subject(key)}: {path} is a symbolic link", hint="links are not followed"
                    )
        return self.tree.root.joinpath(*elements)

    def below(self, prefix: str) -> Path:
        if not prefix:
            return self.tree.root
        if not prefix.endswith("/"):
            raise InvalidKey(f"{prefix!r} is no prefix of keys", hint="a prefix is empty or ends with /")
        return self.path(prefix[:-1])

    def subject(self, key: str) -> str:
        return f"{self.tree.root}/{key}"

    def stat(self, key: str) -> ObjectInfo:
        return object_info(key, self.lstat(self.path(key), key))

    def open_object(self, key: str) -> tuple[int, int]:
        """A descriptor to read from, to be closed by the caller, and the object's size."""
        path = self.path(key)
        self.lstat(path, key)
        with translating(self.subject(key)):
            descriptor = open_for_reading(path)
            return descriptor, os.fstat(descriptor).st_size

    def lstat(self, path: Path, key: str) -> os.stat_result:
        with translating(self.subject(key)):
            try:
                found = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                found = None
        if found is None:
            self.tree.require()
        if found is None or not stat.S_ISREG(found.st_mode):
            raise ObjectNotFound(f"{self.subject(key)}: no such object")
        return found


def object_info(key: str, found: os.stat_result) -> ObjectInfo:
    etag = f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
    return ObjectInfo(key, found.st_size, etag, datetime.fromtimestamp(found.st_mtime, UTC))


def _elements(key: str) -> list[str]:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidKey(f"{key!a}: the key is no valid text") from None
    elements = key.split("/")
    if length > CAPABILITIES.max_key_bytes:
        raise InvalidKey(f"{key[:40]!r}…: the key is longer than {CAPABILITIES.max_key_bytes} bytes")
    if "\0" in key or any(element in ("", ".", "..") or is_temporary(element) for element in elements):
        raise InvalidKey(f"{key!r}: the key cannot be a path", hint="no empty element, '.', '..' or NUL")
    return elements
