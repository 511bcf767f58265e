"""A directory as a storage."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mbk.errors import (
    BucketNotFound,
    DeleteFailed,
    InvalidKey,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    TransferInterrupted,
    Unsupported,
)
from mbk.ports.storage import Capabilities, Location, MultipartUpload, ObjectInfo, Storage
from mbk_local.errors import translating
from mbk_local.files import CHUNK, Tree, copy_range, is_temporary, open_for_reading, write_all
from mbk_local.parts import LocalUpload

CAPABILITIES = Capabilities(
    server_side_copy=True,
    part_copy=True,
    conditional_write=True,
    multipart=True,
    min_part_size=1,
)


class LocalStorage:
    """A directory and the regular files below it.

    ``root`` may be a symbolic link; below it none is followed: a key that leads through one is `InvalidKey`, and a
    listing passes over it. ``mount`` is the directory as the Milvus process sees it, when that differs.
    """

    def __init__(self, root: str | Path, *, mount: str = "") -> None:
        self._tree = Tree(Path(root).resolve())
        self._location = Location(
            backend="local",
            endpoint="",
            bucket=str(self._tree.root),
            mount=os.path.abspath(mount or root).rstrip("/") + "/",  # noqa: PTH100  Path.absolute keeps ".."
        )

    def __repr__(self) -> str:
        return f"<LocalStorage {self._tree.root}>"

    @property
    def location(self) -> Location:
        return self._location

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    @property
    def tree(self) -> Tree:
        return self._tree

    def check(self, *, create: bool = False) -> None:
        root = self._tree.root
        with translating(root):
            if create and not root.exists():
                root.mkdir(parents=True, exist_ok=True)
            self._tree.require()
            with os.scandir(root) as entries:
                next(entries, None)

    def close(self) -> None:
        """There is nothing to give back."""

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        self._tree.require()
        for entry, key in _entries(self._directory(prefix), prefix):
            if entry.is_dir(follow_symlinks=False):
                if recursive:
                    yield from _walk(Path(entry.path), f"{key}/")
                elif next(_walk(Path(entry.path), f"{key}/"), None):
                    yield ObjectInfo(f"{key}/", 0)
            elif info := _entry_info(entry, key):
                yield info

    def stat(self, key: str) -> ObjectInfo:
        return object_info(key, self._lstat(self.path(key), key))

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        descriptor, size = self.open_object(key)
        try:
            end = size if length is None else min(size, offset + length)
            yield self._chunks(key, descriptor, offset, end)
        finally:
            os.close(descriptor)

    def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        return self._write(key, chunks, size, exclusive=False)

    def write_if_absent(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        with suppress(ObjectNotFound):
            self.stat(key)
            raise ObjectExists(f"{self._subject(key)}: exists")
        return self._write(key, chunks, size, exclusive=True)

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        for key in keys:
            try:
                self._delete(key)
            except MbkError as exc:
                failures[key] = exc.message
        if failures:
            reason = next(iter(failures.values()))
            raise DeleteFailed(f"{len(failures)} objects could not be deleted: {reason}", failures=failures)

    def can_copy_from(self, other: Storage) -> bool:
        return isinstance(other, LocalStorage)

    def copy(self, source: Storage, source_key: str, key: str) -> None:
        source = self.require_local(source)
        path = self.path(key)
        descriptor, size = source.open_object(source_key)
        try:
            with self._tree.replacing(path) as target, translating(self._subject(key)):
                copy_range(descriptor, target, offset=0, length=size)
        finally:
            os.close(descriptor)

    def multipart(self, key: str) -> MultipartUpload:
        return LocalUpload(self, key)

    def clean(self, prefix: str) -> int:
        directory = self._directory(prefix)
        with translating(directory):
            return self._clean(directory)

    # Used by uploads and by other storages that copy from this one.

    def path(self, key: str) -> Path:
        """Where the object of this key is or would be. `InvalidKey` where that is not surely below the root."""
        elements = _elements(key)
        path = self._tree.root
        with translating(self._subject(key)):
            for element in elements:
                path = path / element
                try:
                    mode = path.lstat().st_mode
                except (FileNotFoundError, NotADirectoryError):
                    break
                if stat.S_ISLNK(mode):
                    raise InvalidKey(
                        f"{self._subject(key)}: {path} is a symbolic link", hint="links are not followed"
                    )
        return self._tree.root.joinpath(*elements)

    def open_object(self, key: str) -> tuple[int, int]:
        """A descriptor to read from, to be closed by the caller, and the object's size."""
        path = self.path(key)
        self._lstat(path, key)
        with translating(self._subject(key)):
            descriptor = open_for_reading(path)
            return descriptor, os.fstat(descriptor).st_size

    def require_local(self, source: Storage) -> LocalStorage:
        if isinstance(source, LocalStorage):
            return source
        raise Unsupported(
            f"{self._location}: the kernel copies only between directories, not from {source.location}"
        )

    def _directory(self, prefix: str) -> Path:
        if not prefix:
            return self._tree.root
        if not prefix.endswith("/"):
            raise InvalidKey(f"{prefix!r} is no prefix of keys", hint="a prefix is empty or ends with /")
        return self.path(prefix[:-1])

    def _subject(self, key: str) -> str:
        return f"{self._tree.root}/{key}"

    def _lstat(self, path: Path, key: str) -> os.stat_result:
        with translating(self._subject(key)):
            try:
                found = path.lstat()
            except (FileNotFoundError, NotADirectoryError):
                found = None
        if found is None:
            self._tree.require()
        if found is None or not stat.S_ISREG(found.st_mode):
            raise ObjectNotFound(f"{self._subject(key)}: no such object")
        return found

    def _chunks(self, key: str, descriptor: int, offset: int, end: int) -> Iterator[bytes]:
        if offset < end:
            os.lseek(descriptor, offset, os.SEEK_SET)
        while offset < end:
            with translating(self._subject(key)):
                data = os.read(descriptor, min(CHUNK, end - offset))
            if not data:
                raise TransferInterrupted(f"{self._subject(key)}: became shorter while it was read")
            offset += len(data)
            yield data

    def _write(self, key: str, chunks: Iterable[bytes], size: int | None, *, exclusive: bool) -> ObjectInfo:
        path = self.path(key)
        written = 0
        with self._tree.replacing(path, exclusive=exclusive) as descriptor:
            for chunk in chunks:
                with translating(self._subject(key)):
                    write_all(descriptor, chunk)
                written += len(chunk)
            if size is not None and written != size:
                raise StorageError(f"{self._subject(key)}: {written} bytes came, {size} were promised")
            with translating(self._subject(key)):
                found = os.fstat(descriptor)
        return object_info(key, found)

    def _delete(self, key: str) -> None:
        path = self.path(key)
        try:
            self._lstat(path, key)
            with translating(self._subject(key)):
                path.unlink()
        except (ObjectNotFound, BucketNotFound):
            return
        self._tree.prune(path.parent)

    def _clean(self, directory: Path) -> int:
        removed = 0
        try:
            entries = list(os.scandir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return 0
        for entry in entries:
            path = Path(entry.path)
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_temporary(entry.name):
                shutil.rmtree(path) if is_directory else path.unlink(missing_ok=True)
                removed += 1
            elif is_directory:
                removed += self._clean(path)
        if removed:
            self._tree.prune(directory)
        return removed


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


def _walk(directory: Path, prefix: str) -> Iterator[ObjectInfo]:
    for entry, key in _entries(directory, prefix):
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), f"{key}/")
        elif info := _entry_info(entry, key):
            yield info


def _entries(directory: Path, prefix: str) -> Iterator[tuple[os.DirEntry[str], str]]:
    """The names in a directory that can be part of a key. A directory that vanished meanwhile has none."""
    with translating(directory):
        try:
            entries = os.scandir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return
    with entries:
        while True:
            with translating(directory):
                entry = next(entries, None)
            if entry is None:
                return
            if not is_temporary(entry.name) and _is_text(entry.name):
                yield entry, prefix + entry.name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entry_info(entry: os.DirEntry[str], key: str) -> ObjectInfo | None:
    """None for what is no object: links, sockets, and files that vanished meanwhile."""
    with translating(entry.path):
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
    return object_info(key, found) if stat.S_ISREG(found.st_mode) else None
