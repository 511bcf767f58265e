"""The backups in a storage: listing and deleting them, reading and writing their metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TypeVar

import msgspec

from mbk.engine.repository import codec as metafiles
from mbk.engine.runtime.messages import unknown_format
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import BackupExists, BackupNotFound, InvalidBackup, MbkError, ObjectNotFound, UsageError
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.model.manifest import Manifest
from mbk.model.records import Backup, BackupHead, Record
from mbk.model.reports import BackupSummary
from mbk.model.states import BackupState
from mbk.ports.storage import MIB, Deleter, Level, Location, ObjectInfo, Storage

T = TypeVar("T", bound=Record)


LEVEL_FILES = frozenset(
    {layout.BACKUP_META, layout.COLLECTION_META, layout.PARTITION_META, layout.SEGMENT_META}
)
#: Other names are refused, as the classic tool does.
KNOWN_FORMATS = frozenset({"", "binlog", "snapshot"})
#: Metadata files up to this size are buffered, so that their size is known and one request writes them.
SMALL = 8 * MIB


@dataclass(frozen=True, slots=True)
class Stored:
    """What exists under a name: the metadata files with their sizes, and whether there is any data."""

    layout: BackupLayout
    files: dict[str, int]
    has_data: bool

    @property
    def is_backup(self) -> bool:
        return self.has_data or bool(self.files.keys() & {*LEVEL_FILES, layout.FULL_META, layout.MANIFEST})

    @property
    def is_committed(self) -> bool:
        """Old tools wrote only the level files; a backup by mbk with only these was killed during the commit."""
        by_levels = self.files.keys() >= LEVEL_FILES and layout.MANIFEST not in self.files
        return layout.FULL_META in self.files or by_levels


def backup_exists(name: str, location: Location, *, hint: str) -> BackupExists:
    return BackupExists(
        "backup {backup!r} already exists in {location}",
        code="backup-exists",
        backup=name,
        location=location,
        hint=hint,
    )


class Catalog:
    """All backups below the root of one storage. It has no state: several threads may call it.

    Its calls raise what the storage raises once the run's retries are used up.
    """

    def __init__(self, storage: Storage, run: Run) -> None:
        self._storage = storage
        self._run = run

    def layout(self, name: str) -> BackupLayout:
        if not _is_possible(name):
            raise UsageError(
                "{name!r} is not a valid backup name",
                code="backup-name-impossible",
                name=name,
                hint="see `mbk list`",
            )
        return BackupLayout(self._storage.location.root, name)

    def find(self, name: str) -> Stored:
        """What exists of a backup, possibly nothing. Two or three list requests whatever its size."""
        place = self.layout(name)
        below = {*self._level(place.prefix).prefixes}
        files: dict[str, int] = {}
        if place.meta_prefix in below:
            objects = self._level(place.meta_prefix).objects
            files = {item.key.removeprefix(place.meta_prefix): item.size for item in objects}
        return Stored(place, files, not below.isdisjoint({place.data_prefix, f"{place.prefix}bundle/"}))

    def require(self, name: str) -> Stored:
        """What exists under the name, committed or not; `BackupNotFound` if that is not a backup."""
        stored = self.find(name)
        if not stored.is_backup:
            raise BackupNotFound(
                "backup {backup!r} does not exist in {location}",
                code="backup-missing",
                backup=name,
                location=self._storage.location,
                hint="see `mbk list`",
            )
        return stored

    def is_taken(self, name: str) -> bool:
        """Whether any object exists under the name, as the classic tool checks it."""
        return bool(self._level(self.layout(name).prefix))

    def read(self, name: str) -> Backup:
        """The metadata of a committed backup.

        Raises `BackupNotFound`, and `InvalidBackup` for one that was never committed, is damaged, or has an unknown format.
        """
        stored = self.require(name)
        if not stored.is_committed:
            raise InvalidBackup(
                "backup {backup!r} is incomplete",
                code="backup-incomplete",
                backup=name,
                hint=self.read_manifest(name).remedy(name),
            )
        prefix = stored.layout.meta_prefix
        if layout.FULL_META in stored.files:
            where = f"{prefix}{layout.FULL_META}"
            backup = metafiles.decode_full(self.read_file(where), where=where)
        else:
            backup = metafiles.decode_levels(lambda file: self.read_file(f"{prefix}{file}"), where=prefix)
        if backup.format not in KNOWN_FORMATS:
            raise unknown_format(name, backup.format)
        return backup

    def read_manifest(self, name: str) -> Manifest:
        """The manifest; an empty one if the backup was made by another tool or the file is damaged."""
        where = self.layout(name).meta(layout.MANIFEST)
        try:
            return metafiles.decode(self.read_file(where), Manifest, where=where)
        except (ObjectNotFound, InvalidBackup):
            return Manifest()

    def summaries(self) -> Iterator[BackupSummary]:
        """All backups by name, including incomplete and unreadable ones. Reads two small files of each."""
        root = self._storage.location.root
        below = {prefix.removeprefix(root)[:-1] for prefix in self._level(root).prefixes}
        names = sorted(filter(_is_possible, below))
        with Pool(self._run.budget.readers, self._run.cancelled, name="mbk-list") as pool:
            summaries = dict(pool.map(lambda name: (name, self._summary(name)), names))
        yield from (summary for name in names if (summary := summaries[name]) is not None)

    def _summary(self, name: str) -> BackupSummary | None:
        stored = self.find(name)
        if not stored.is_backup:
            return None
        manifest = self.read_manifest(name) if layout.MANIFEST in stored.files else Manifest()
        created = _moment(manifest.started)
        if not stored.is_committed:
            return BackupSummary(
                name,
                BackupState.INCOMPLETE,
                created=created,
                reason=f"{manifest.remedy(name)}, or delete it",
            )
        try:
            where = stored.layout.meta(
                layout.BACKUP_META if layout.BACKUP_META in stored.files else layout.FULL_META
            )
            head = metafiles.decode(self.read_file(where), BackupHead, where=where)
        except MbkError as error:
            return BackupSummary(name, BackupState.UNREADABLE, created=created, reason=error.message)
        return BackupSummary(
            name,
            BackupState.PARTIAL if manifest.failed else BackupState.COMPLETE,
            size=head.size,
            milvus_version=head.milvus_version,
            id=head.id,
            format=head.format,
            created=created,
            reason="; ".join(f"{collection}: {why}" for collection, why in manifest.failed.items()),
        )

    def meta_size(self, name: str) -> int:
        return sum(self.find(name).files.values())

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, key: str, chunks: Callable[[], Iterable[bytes]]) -> None:
        """Writes one metadata file, streaming a large one. ``chunks`` is called again for every attempt."""

        def once() -> None:
            buffer = bytearray()
            source = iter(chunks())
            for chunk in source:
                buffer += chunk
                if len(buffer) > SMALL:
                    self._storage.write(key, _chain(bytes(buffer), source))
                    return
            self._storage.write(key, [bytes(buffer)], size=len(buffer))

        self._run.retry.call(f"write {key}", once)

    def write_manifest(self, name: str, manifest: Manifest) -> None:
        self.write(self.layout(name).meta(layout.MANIFEST), lambda: [msgspec.json.encode(manifest)])

    def delete(self, name: str) -> int:
        """Deletes a backup, complete or not; returns the number of deleted objects. `BackupNotFound` if there is none.

        The commit mark is deleted first: a run that is killed leaves an incomplete backup.
        """
        stored = self.require(name)
        first = [
            stored.layout.meta(file)
            for file in (layout.FULL_META, layout.BACKUP_META)
            if file in stored.files
        ]
        if first:
            self._run.retry.call(f"delete {first[0]}", self._storage.delete, first)
        return len(first) + self.delete_below(stored.layout.prefix)

    def delete_below(self, prefix: str) -> int:
        """Deletes every object below a prefix, and remains of killed processes; returns the number of objects."""
        count = delete_below(self._storage, prefix, self._run)
        self._storage.clean(prefix)
        return count

    # -- reading -------------------------------------------------------------------------------------------------

    def _level(self, prefix: str) -> Level:
        return listing.level(self._storage, self._run, prefix)

    def read_file(self, key: str) -> bytearray:
        """One metadata file; `ObjectNotFound` if it is missing."""

        def once() -> bytearray:
            # Joining chunks would keep a large file in memory twice.
            data = bytearray()
            with self._storage.read(key) as chunks:
                for chunk in chunks:
                    data += chunk
            return data

        return self._run.retry.call(f"read {key}", once)


def delete_below(storage: Storage, prefix: str, run: Run) -> int:
    """Deletes every object below a prefix in batches; refuses an empty prefix."""
    if not prefix.strip("/"):
        raise UsageError(
            "refusing to delete everything in the bucket",
            code="prefix-empty",
            hint="name a backup",
        )
    count = 0

    length = max(storage.capabilities.delete_batch, 100)

    def delete_all(entries: Iterator[ObjectInfo]) -> None:
        nonlocal count
        for size in pool.map(lambda keys: _delete(storage, keys, run), _batches(entries, length)):
            count += size

    with Pool(run.budget.readers, run.cancelled, name="mbk-delete") as pool:
        listing.consume(storage, run, delete_all, prefix)
    return count


def _batches(entries: Iterator[ObjectInfo], length: int) -> Iterator[list[str]]:
    while batch := [entry.key for entry in islice(entries, length)]:
        yield batch


def _delete(storage: Deleter, keys: list[str], run: Run) -> int:
    run.retry.call(f"delete {keys[0]} and {len(keys) - 1} more", storage.delete, keys)
    return len(keys)


def _chain(buffered: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield buffered
    yield from rest


def _is_possible(name: str) -> bool:
    """Whether a directory of this name can be a backup: not a path, not a name for another directory."""
    return name not in ("", ".", "..") and "/" not in name


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
