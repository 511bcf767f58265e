"""A directory as a storage."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import xxhash

from mbk.errors import BucketNotFound, MbkError, ObjectNotFound
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
from mbk_local.copying import CHUNK, add_to, copy_range, write_all
from mbk_local.deferral import Deferrals, syncs_together
from mbk_local.directory import BACKEND, CAPABILITIES, Directory, object_info, receipt
from mbk_local.errors import translated, translating
from mbk_local.files import Tree, open_for_reading
from mbk_local.locks import is_left_behind
from mbk_local.names import MARKER, is_plain, is_reserved, is_temporary
from mbk_local.parts import LocalUpload
from mbk_local.reading import Reading
from mbk_local.removing import Removal

_OWNER_ALONE, _OTHERS = 0o600, 0o077


def _keep_others_out(descriptor: int) -> None:
    if sys.platform != "win32":
        os.fchmod(descriptor, _OWNER_ALONE)


class LocalStorage:
    """A directory and the regular files below it.

    ``root`` may be a symbolic link; below it none is followed: a key that leads through one is `InvalidKey`, and a
    listing passes over it. ``mount`` is the directory as the Milvus process sees it, when that differs. ``can_defer``:
    whether the file system can make all files durable by one call.
    """

    def __init__(
        self, root: str | Path, *, mount: str = "", can_defer: Callable[[Path], bool] = syncs_together
    ) -> None:
        self._tree = Tree(Path(root).resolve())
        self._directory = Directory(self._tree)
        self._deferrals = Deferrals(self._tree, can_defer)
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
        self._deferrals.close()

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self._tree.require()
        above, slash, start = prefix.rpartition("/")
        below = above + slash
        found = _walk(self._directory.place(below), below, start)
        yield from (info for info in found if info.key > start_after) if start_after else found

    def list_level(self, prefix: str = "") -> Level:
        self._tree.require()
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        for entry, key in _entries(self._directory.place(prefix), prefix):
            if not entry.is_dir(follow_symlinks=False):
                objects += [info] if (info := _entry_info(entry, key)) else []
            elif _holds_any(entry.path):
                prefixes.append(f"{key}/")
        return Level(objects=tuple(objects), prefixes=tuple(prefixes))

    def directories(self, prefix: str = "") -> Sequence[str]:
        """See `mbk.ports.storage.Browsable`."""
        self._tree.require()
        entries = _entries(self._directory.place(prefix), prefix)
        return [f"{key}/" for entry, key in entries if entry.is_dir(follow_symlinks=False)]

    def glance(self, prefix: str, names: Container[str]) -> tuple[Sequence[ObjectInfo], Mapping[str, bytes]]:
        """See `mbk.ports.storage.Browsable`."""
        self._tree.require()
        return glance(self._directory.place(prefix), prefix, names)

    def stat(self, key: str) -> ObjectInfo:
        return self._directory.stat(key)

    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Reading:
        return Reading(self._directory, key, offset, length)

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require_plain(options)
        return self._write(key, chunks, size, exclusive=False, private=options.private)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require_plain(options)
        with suppress(ObjectNotFound):
            self.stat(key)
            raise object_exists(key, self._tree.root)
        return self._write(key, chunks, size, exclusive=True, private=options.private)

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        with Removal(self._tree.root) as removal:
            for key in keys:
                try:
                    if not removal.remove(self._directory.elements(key)):
                        self._delete(key)
                except MbkError as exc:
                    failures[key] = exc.message
        if failures:
            raise delete_failed(failures, self._tree.root)

    def can_copy_from(self, other: Storage) -> bool:
        return other.location.backend == BACKEND

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        self._require_plain(options)
        descriptor, size = Directory.of(source).open_object(source_key)
        try:
            subject, durable = self._directory.subject(key), not self._deferrals.cover(key)
            with self._directory.new(key, durable=durable) as target, translating(subject):
                if not os.fstat(descriptor).st_mode & _OTHERS:
                    _keep_others_out(target)
                copy_range(descriptor, target, offset=0, length=size)
                digest = xxhash.xxh3_128()
                add_to(digest, descriptor, size)
                made = os.fstat(target)
        finally:
            os.close(descriptor)
        return receipt(made, digest)

    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> MultipartUpload:
        self._require_plain(options)
        return LocalUpload(self._directory, key, durable=not self._deferrals.cover(key))

    def clean(self, prefix: str) -> int:
        directory = self._directory.below(prefix)
        with translating(directory):
            return self._clean(directory)

    def unfinished(self, prefix: str) -> Iterator[str]:
        """See `mbk.ports.storage.Unfinished`."""
        directory = self._directory.below(prefix)
        with translating(directory):
            left = [*self._left(directory)]
        yield from (f"{prefix}{path.relative_to(directory).as_posix()}" for path in left)

    def tidy(self, prefix: str) -> int:
        """See `mbk.ports.storage.Tidying`."""
        directory = self._directory.below(prefix)
        with translating(directory):
            return self._clean(directory, is_left_behind)

    def defer(self, prefix: str) -> None:
        """See `mbk.ports.storage.Deferring`."""
        directory = self._directory.below(prefix)
        with translating(directory):
            self._deferrals.begin(prefix, directory)

    def settle(self, prefix: str) -> None:
        """See `mbk.ports.storage.Deferring`."""
        directory = self._directory.below(prefix)
        with translating(directory):
            self._deferrals.settle(prefix, directory)

    def _require_plain(self, options: WriteOptions) -> None:
        require_options(options, CAPABILITIES, self._location)

    def _write(
        self, key: str, chunks: Iterable[bytes], size: int | None, *, exclusive: bool, private: bool
    ) -> ObjectInfo:
        durable, written = not self._deferrals.cover(key), 0
        with self._directory.new(key, exclusive=exclusive, durable=durable) as descriptor:
            if private:
                _keep_others_out(descriptor)
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

    def _left(self, directory: Path) -> Iterator[Path]:
        try:
            entries = list(os.scandir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if is_temporary(entry.name):
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                yield from self._left(Path(entry.path))

    def _clean(self, directory: Path, chosen: Callable[[Path], bool] = lambda _: True) -> int:
        removed = 0
        try:
            entries = list(os.scandir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return 0
        if any(entry.name == MARKER and not chosen(Path(entry.path)) for entry in entries):
            return 0  # its writer is at work, and locks nothing else below
        for entry in entries:
            path = Path(entry.path)
            is_directory = entry.is_dir(follow_symlinks=False)
            if is_temporary(entry.name):
                # Who wrote it may have ended in this moment, well or not.
                with suppress(FileNotFoundError):
                    if chosen(path):
                        shutil.rmtree(path) if is_directory else path.unlink()
                        removed += 1
            elif entry.name == MARKER:
                with suppress(FileNotFoundError):
                    removed += self._deferrals.clean(path)
            elif is_directory:
                removed += self._clean(path, chosen)
        if removed:
            self._tree.prune(directory)
        return removed


def glance(
    directory: str, prefix: str, names: Container[str]
) -> tuple[Sequence[ObjectInfo], Mapping[str, bytes]]:
    """See `mbk.ports.storage.Browsable`. ``directory`` is that of the prefix."""
    objects: list[ObjectInfo] = []
    contents: dict[str, bytes] = {}
    for entry, key in _entries(directory, prefix):
        if info := _entry_info(entry, key):
            objects.append(info)
            if entry.name in names and info.size <= CHUNK:
                with suppress(OSError):
                    contents[entry.name] = _whole(entry.path, info.size)
    return objects, contents


def _whole(path: str, size: int) -> bytes:
    """Raises `OSError`, also if the file is no longer of this size."""
    descriptor = open_for_reading(path)
    try:
        data = os.read(descriptor, size + 1)
    finally:
        os.close(descriptor)
    if len(data) != size:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return data


def _walk(directory: str, prefix: str, start: str) -> Iterator[ObjectInfo]:
    """Of what begins with ``start`` in the directory. One directory is open on each level, and none is read ahead."""
    levels = [_entries(directory, prefix, start)]
    while levels:
        for entry, key in levels[-1]:
            if entry.is_dir(follow_symlinks=False):
                levels.append(_entries(entry.path, f"{key}/"))
                break
            if info := _entry_info(entry, key):
                yield info
        else:
            levels.pop()


def _holds_any(directory: str) -> bool:
    """Whether any object lies below; what the directory itself tells is enough, no file is looked at."""
    return any(
        _holds_any(entry.path)
        if entry.is_dir(follow_symlinks=False)
        else entry.is_file(follow_symlinks=False)
        for entry, _ in _entries(directory, "")
    )


def _entries(directory: str, prefix: str, start: str = "") -> Iterator[tuple[os.DirEntry[str], str]]:
    """The names in a directory that can be part of a key, of those that begin with ``start``. A directory that vanished
    meanwhile has none."""
    with translating(directory):
        try:
            entries = os.scandir(directory)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                name = entry.name
                if name.startswith(start) and (is_plain(name) or (not is_reserved(name) and _is_text(name))):
                    yield entry, prefix + name


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entry_info(entry: os.DirEntry[str], key: str) -> ObjectInfo | None:
    """None for what is no object: links, sockets, and files that vanished meanwhile."""
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translated(error, entry.path) from error
    return object_info(key, found) if stat.S_ISREG(found.st_mode) else None
