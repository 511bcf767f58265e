"""The objects of a directory: which file a key is, and what is told of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import xxhash

from mbk.errors import InvalidKey, Unsupported
from mbk.plugin.conditions import object_missing
from mbk.plugin.keys import fault_of_length, require_key
from mbk.ports.storage import Capabilities, ObjectInfo, Receipt, Storage
from mbk_local.errors import translated, translating
from mbk_local.files import Tree, open_for_reading, publish, symbolic_link
from mbk_local.kernel import open_to_read
from mbk_local.locks import kept
from mbk_local.names import OURS, is_reserved

BACKEND = "local"
#: One thread removes neighbouring files together; as many as object stores take in one request.
DELETE_BATCH = 1000
#: Of no file: they are the directory itself or the one above it.
_NO_NAMES = frozenset({"", ".", ".."})
CAPABILITIES = Capabilities(
    server_side_copy=True,
    part_copy=True,
    conditional_write=True,
    multipart=True,
    partial_prefixes=True,
    min_part_size=1,
    delete_batch=DELETE_BATCH,
)


@dataclass(frozen=True, slots=True)
class Directory:
    """Regular files below a root. No symbolic link below it is followed."""

    tree: Tree

    @staticmethod
    def of(source: Storage) -> Directory:
        """The directory that another storage, however it is wrapped, says that it is; `Unsupported` where it is none."""
        if source.location.backend != BACKEND:
            raise Unsupported(
                "only files of another directory can be copied server side, not {source}",
                code="source-not-a-directory",
                source=source.location,
            )
        return _directory(source.location.bucket)

    def elements(self, key: str) -> list[str]:
        """The names on the way to the object of this key, its own last. `InvalidKey` where it is no path below the root."""
        names = key.split("/")
        if why := _fault_of(key, names):
            require_key(key, self.tree.root, why)
        return names

    def path(self, key: str) -> Path:
        """Where the object of this key is or would be. `InvalidKey` where that is not surely below the root."""
        self._looked_up(key)
        return self.tree.root / key

    def _looked_up(self, key: str) -> os.stat_result | None:
        """What is at the path of the key; None where nothing is. `InvalidKey` where that is not surely below the root."""
        path, found = str(self.tree.root), None
        for element in self.elements(key):
            path = f"{path}/{element}"
            try:
                found = os.lstat(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise translated(error, self.subject(key)) from error
            if stat.S_ISLNK(found.st_mode):
                raise symbolic_link(path)
        return found

    def below(self, prefix: str) -> Path:
        return Path(self.place(prefix))

    def place(self, prefix: str) -> str:
        """The directory of a prefix, which need not exist. `InvalidKey` where that is not surely below the root."""
        if not prefix:
            return str(self.tree.root)
        if not prefix.endswith("/"):
            raise InvalidKey(
                "{prefix!r} is not a valid prefix",
                code="prefix-invalid",
                prefix=prefix,
                hint="a prefix is empty or ends with /",
            )
        self._looked_up(prefix[:-1])
        return self.subject(prefix[:-1])

    def subject(self, key: str) -> str:
        return f"{self.tree.root}/{key}"

    def stat(self, key: str) -> ObjectInfo:
        return object_info(key, self._regular(key, self._looked_up(key)))

    def open_object(self, key: str) -> tuple[int, int]:
        """A descriptor to read from, to be closed by the caller, and the object's size."""
        self.elements(key)
        path = self.subject(key)
        descriptor = open_to_read(path)
        if descriptor >= 0:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                return descriptor, found.st_size
            os.close(descriptor)
        self._regular(key, self._looked_up(key))
        with translating(path):
            descriptor = open_for_reading(path)
            return descriptor, os.fstat(descriptor).st_size

    def new(self, key: str, *, exclusive: bool = False, durable: bool = True) -> NewFile:
        """A file to be made there. `InvalidKey` as `path`."""
        self.elements(key)
        return NewFile(self, key, exclusive=exclusive, durable=durable)

    def lstat(self, path: Path, key: str) -> os.stat_result:
        with translating(self.subject(key)):
            try:
                found = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                found = None
        return self._regular(key, found)

    def _regular(self, key: str, found: os.stat_result | None) -> os.stat_result:
        if found is None:
            self.tree.require()
        if found is None or not stat.S_ISREG(found.st_mode):
            raise object_missing(key, self.tree.root)
        return found


class NewFile:
    """A new file, open to be written while the context lasts: whole at its key once it is left, or never there.

    ``durable`` before it is visible: the file's bytes are on the disk before its name, and its name (and the directories
    made for it) before the context is left. ``exclusive`` raises `ObjectExists` instead of replacing.

    A class, for each copy makes one, and a generator costs thrice as much.
    """

    __slots__ = (
        "_descriptor",
        "_directory",
        "_durable",
        "_exclusive",
        "_key",
        "_lock",
        "_path",
        "_temporary",
    )

    def __init__(self, directory: Directory, key: str, *, exclusive: bool, durable: bool) -> None:
        self._directory = directory
        self._key = key
        self._path = directory.subject(key)
        self._exclusive = exclusive
        self._durable = durable
        self._lock = -1

    def __enter__(self) -> int:
        with translating(self._path):
            self._descriptor, self._temporary = self._directory.tree.new_beside(
                self._path, self._require, durable=self._durable
            )
        if self._durable:
            self._lock = kept(self._descriptor)
        return self._descriptor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._end(is_whole=error is None)
        except BaseException:
            self._remove()
            raise
        finally:
            if self._lock >= 0:
                os.close(self._lock)
        if error is not None:
            self._remove()

    def _end(self, *, is_whole: bool) -> None:
        with translating(self._path):
            try:
                if is_whole and self._durable:
                    os.fsync(self._descriptor)
            finally:
                os.close(self._descriptor)
            if is_whole:
                publish(
                    self._temporary,
                    self._path,
                    self._require,
                    exclusive=self._exclusive,
                    durable=self._durable,
                )

    def _remove(self) -> None:
        with suppress(OSError):
            os.unlink(self._temporary)  # noqa: PTH108 - the name is text
        self._directory.tree.prune(Path(self._path).parent)

    def _require(self) -> None:
        self._directory.path(self._key)


@lru_cache(maxsize=16)
def _directory(root: str) -> Directory:
    return Directory(Tree(Path(root)))


def object_info(key: str, found: os.stat_result, digest: xxhash.xxh3_128 | None = None) -> ObjectInfo:
    """``digest``: of the whole file, where its bytes were read."""
    return ObjectInfo(key, found.st_size, _etag(found), _modified(found), _checksums(digest))


def receipt(found: os.stat_result, digest: xxhash.xxh3_128) -> Receipt:
    """As `object_info`, of a file that was just made."""
    return Receipt(
        size=found.st_size, etag=_etag(found), modified=_modified(found), checksums=_checksums(digest)
    )


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"


def _modified(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)


def _checksums(digest: xxhash.xxh3_128 | None) -> dict[str, str]:
    return {} if digest is None else {"xxh128": digest.hexdigest()}


def _fault_of(key: str, names: Sequence[str]) -> str:
    if fault := fault_of_length(key, CAPABILITIES.max_key_bytes):
        return fault
    if "\0" in key or not _NO_NAMES.isdisjoint(names) or (OURS in key and any(map(is_reserved, names))):
        return "it is not a path: it contains an empty element, '.', '..', NUL or a reserved name"
    return ""
