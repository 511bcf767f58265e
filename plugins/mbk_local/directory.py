"""The objects of a directory: which file a key is, and what is told of it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mbk.errors import InvalidKey, Unsupported
from mbk.plugin.conditions import object_missing
from mbk.plugin.keys import fault_of_length, require_key
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
            raise Unsupported(
                "only files of another directory can be copied server side, not {source}",
                code="source-not-a-directory",
                source=source.location,
            )
        return cls(Tree(Path(source.location.bucket)))

    def path(self, key: str) -> Path:
        """Where the object of this key is or would be. `InvalidKey` where that is not surely below the root."""
        require_key(key, self.tree.root, _fault_of(key))
        elements = key.split("/")
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
                        "{path} is a symbolic link",
                        code="symbolic-link",
                        path=path,
                        hint="links are not followed",
                    )
        return self.tree.root.joinpath(*elements)

    def below(self, prefix: str) -> Path:
        if not prefix:
            return self.tree.root
        if not prefix.endswith("/"):
            raise InvalidKey(
                "{prefix!r} is not a valid prefix",
                code="prefix-invalid",
                prefix=prefix,
                hint="a prefix is empty or ends with /",
            )
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
            raise object_missing(key, self.tree.root)
        return found


def object_info(key: str, found: os.stat_result) -> ObjectInfo:
    etag = f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
    return ObjectInfo(key, found.st_size, etag, datetime.fromtimestamp(found.st_mtime, UTC))


def _fault_of(key: str) -> str:
    if fault := fault_of_length(key, CAPABILITIES.max_key_bytes):
        return fault
    if "\0" in key or any(name in ("", ".", "..") or is_temporary(name) for name in key.split("/")):
        return "it is not a path: it contains an empty element, '.', '..', NUL or a temporary name"
    return ""
