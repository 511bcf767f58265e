"""A directory as a storage."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mbk.errors import BucketNotFound, MbkError, ObjectNotFound, TransferInterrupted
from mbk.plugin.conditions import delete_failed, object_exists, require_options, wrong_size
from mbk.ports.storage import (
    PLAIN,
    Capabilities,
    Level,
    Location,
    MultipartUpload,
    ObjectInfo,
    Receipt,
    Storage,
    WriteOptions,
)
from mbk_local.directory import BACKEND, CAPABILITIES, Directory, object_info
from mbk_local.errors import translating
from mbk_local.files import CHUNK, Tree, copy_range, is_temporary, write_all
from mbk_local.parts import LocalUpload


class LocalStorage:
    """A directory and the regular files below it.

    ``root`` may be a symbolic link; below it none is followed: a key that leads through one is `InvalidKey`, and a
    listing passes over it. ``mount`` is the directory as the Milvus process sees it, when that differs.
    """

    def __init__(self, root: str | Path, *, mount: str = "") -> None:
        self._tree = Tree(Path(root).resolve())
        self._directory = Directory(self._tree)
        self._location = Location(
            backend=BACKEND,
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

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self._tree.require()
        for info in _walk(self._directory.below(prefix), prefix):
            if info.key > start_after:
                yield info

    def list_level(self, prefix: str = "") -> Level:
        self._tree.require()
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        for entry, key in _entries(self._directory.below(prefix), prefix):
            if not entry.is_dir(follow_symlinks=False):
                objects += [info] if (info := _entry_info(entry, key)) else []
            elif next(_walk(Path(entry.path), f"{key}/"), None):
                prefixes.append(f"{key}/")
        return Level(objects=tuple(objects), prefixes=tuple(prefixes))

    def stat(self, key: str) -> ObjectInfo:
        return self._directory.stat(key)

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        descriptor, size = self._directory.open_object(key)
        try:
            end = size if length is None else min(size, offset + length)
            yield self._chunks(key, descriptor, offset, end)
        finally:
            os.close(descriptor)

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require_plain(options)
        return self._write(key, chunks, size, exclusive=False)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require_plain(options)
        with suppress(ObjectNotFound):
            self.stat(key)
            raise object_exists(key, self._tree.root)
        return self._write(key, chunks, size, exclusive=True)

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        for key in keys:
            try:
                self._delete(key)
            except MbkError as exc:
                failures[key] = exc.message
        if failures:
            raise delete_failed(failures, self._tree.root)

    def can_copy_from(self, other: Storage) -> bool:
        return other.location.backend == BACKEND

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        self._require_plain(options)
        origin = Directory.of(source)
        path = self._directory.path(key)
        descriptor, size = origin.open_object(source_key)
        try:
            subject = self._directory.subject(key)
            with self._tree.replacing(path) as target, translating(subject):
                copy_range(descriptor, target, offset=0, length=size)
                made = object_info(key, os.fstat(target))
        finally:
            os.close(descriptor)
        return Receipt(size=made.size, etag=made.etag, modified=made.modified)

    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> MultipartUpload:
        self._require_plain(options)
        return LocalUpload(self._directory, key)

    def clean(self, prefix: str) -> int:
        directory = self._directory.below(prefix)
        with translating(directory):
            return self._clean(directory)

    def _require_plain(self, options: WriteOptions) -> None:
        require_options(options, CAPABILITIES, self._location)

    def _chunks(self, key: str, descriptor: int, offset: int, end: int) -> Iterator[bytes]:
        if offset < end:
            os.lseek(descriptor, offset, os.SEEK_SET)
        while offset < end:
            with translating(self._directory.subject(key)):
                data = os.read(descriptor, min(CHUNK, end - offset))
            if not data:
                raise TransferInterrupted(
                    "{path} was truncated while it was being read",
                    code="file-truncated",
                    path=self._directory.subject(key),
                )
            offset += len(data)
            yield data

    def _write(self, key: str, chunks: Iterable[bytes], size: int | None, *, exclusive: bool) -> ObjectInfo:
        path = self._directory.path(key)
        written = 0
        with self._tree.replacing(path, exclusive=exclusive) as descriptor:
            for chunk in chunks:
                with translating(self._directory.subject(key)):
                    write_all(descriptor, chunk)
                written += len(chunk)
            if size is not None and written != size:
                reason = f"{written} bytes arrived, {size} were announced"
                raise wrong_size(key, self._tree.root, reason)
            with translating(self._directory.subject(key)):
                found = os.fstat(descriptor)
        return object_info(key, found)

    def _delete(self, key: str) -> None:
        path = self._directory.path(key)
        try:
            self._directory.lstat(path, key)
            with translating(self._directory.subject(key)):
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
