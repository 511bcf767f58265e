"""Deleting a backup: what belongs to it and nothing else, in an order in which a killed run leaves it recognisable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice

from msgspec import structs

from mbk.engine.repository import codec, locks, pins
from mbk.engine.repository.catalog import LEVEL_FILES, Catalog, Stored
from mbk.engine.repository.surroundings import require_no_milvus
from mbk.engine.runtime.layer import reach
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import (
    AccessError,
    BackupNotFound,
    DeleteFailed,
    Interrupted,
    InvalidBackup,
    LeaseLost,
    MbkError,
    ObjectNotFound,
    StorageError,
    StorageFull,
    Unsupported,
)
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.events import ObjectsDeleted, WorkExpected
from mbk.model.layout import BackupLayout
from mbk.model.manifest import DELETE, SHARED, Manifest, now
from mbk.model.records import BackupHead
from mbk.ports.storage import Location, ObjectInfo, ObjectVersion, Storage, Versioned

#: The files that tell id and format of a backup, beside its manifest.
HEADED = (layout.BACKUP_META, layout.FULL_META)
#: Objects that are named in a message.
NAMED = 5
#: As many as the services take in one request.
VERSIONS_AT_ONCE = 1000


@dataclass(slots=True)
class Found:
    """What lies below a backup's prefix. ``size`` in bytes; ``own`` and ``others`` are keys of some of the objects.

    ``others`` do not belong to the backup. ``shared``: it has objects in the pool, which are not among these.
    """

    objects: int = 0
    versions: int = 0
    size: int = 0
    strangers: int = 0
    own: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    shared: bool = False


@frozen
class _Backup:
    """``files``: the names of its metadata files. ``belongs``: whether a key, relative to the prefix, is one of its own."""

    place: BackupLayout
    files: frozenset[str]
    belongs: Callable[[str], bool]
    #: None without one, or where it cannot be read.
    manifest: Manifest | None = None

    @property
    def is_shared(self) -> bool:
        """Whether it has objects in the pool."""
        return self.manifest is not None and self.manifest.format == SHARED

    @property
    def owns(self) -> Callable[[str], bool]:
        """Whether a key below the prefix is one of its own. To be asked for once, for it is asked of every object."""
        start, belongs = len(self.place.prefix), self.belongs
        return lambda key: belongs(key[start:])

    def keys(self, *files: str) -> list[str]:
        """Of those of the metadata files that are there."""
        return [self.place.meta(file) for file in files if file in self.files]


class Remover:
    """Deletes the backups of one storage. Its calls raise what the storage raises once the run's retries are used up.

    An object below the prefix belongs to the backup if mbk or the classic tool gives such a name to one; others stay. With
    ``remnants`` copied logs without any metadata are a backup, too: an interrupted `create` of the classic tool left them.
    Nothing is deleted where the prefix contains ``milvus``, the place of Milvus' own data; None if it is not known.
    With ``versions`` old versions of its objects are deleted, too, also of a backup that was deleted before.
    """

    def __init__(
        self,
        storage: Storage,
        catalog: Catalog,
        run: Run,
        *,
        milvus: Location | None,
        remnants: bool = False,
        versions: bool = False,
    ) -> None:
        self._storage = storage
        self._catalog = catalog
        self._run = run
        self._milvus = milvus
        self._remnants = remnants
        self._versions = versions

    def look(self, name: str) -> Found:
        """What would be deleted, and what not. `BackupNotFound` if that is no backup."""
        return self._look(self._backup(name))

    def remove(self, name: str) -> Found:
        """Deletes the backup, complete or not, and looks afterwards. `DeleteFailed` names what is still there.

        ``objects``, ``size`` and ``versions`` of the result were deleted. `Unsupported` if old versions are to be deleted and the
        storage tells none. The commit mark goes first, and nothing else before it is gone: a run that
        is killed leaves an incomplete backup, whose manifest tells what to do. What tells that it is one goes last. Of a shared
        backup a tombstone stays, which `mbk.engine.repository.pool.collection.collect` removes with the objects.
        """
        backup = self._backup(name)
        place = backup.place
        if self._versions:
            next(self._old(backup), None)  # refused, if at all, before anything is deleted
        self._run.phase("delete")
        self._run.emit(WorkExpected(collection="", objects=_recorded(backup)))
        buried = self._bury(backup)
        last = self._last(backup)
        marks = [key for key in backup.keys(layout.FULL_META, layout.BACKUP_META) if key not in last]
        self._delete(marks)
        self._require_gone(name, [key for key in marks if self._catalog.exists(key)])
        if not buried:
            self._bury(backup)  # there is room for it now
        meta, owns, gone = place.meta_prefix, backup.owns, Found(objects=len(marks))
        self._delete_all(place.prefix, lambda key: owns(key) and not key.startswith(meta), gone)
        self._delete_all(meta, lambda key: owns(key) and key not in last, gone)
        self._catalog.clean(place.prefix)
        left = self._look(backup, besides=last)
        self._require_gone(name, left.own, left.objects)
        self._delete(last)
        self._require_gone(name, [key for key in last if self._catalog.exists(key)])
        if left.strangers:
            self._run.notice(
                "others-left",
                "{count} objects below {prefix} do not belong to backup {backup!r} and stay: {keys}",
                count=left.strangers,
                prefix=place.prefix,
                backup=name,
                keys=some(left.others, left.strangers),
            )
        left.objects, left.size = gone.objects + len(last), gone.size
        left.shared = backup.is_shared
        left.versions = self._delete_versions(backup)
        return left

    def _bury(self, backup: _Backup) -> bool:
        """Writes the tombstones of a shared backup; False if there is no room for them now."""
        manifest, place = backup.manifest, backup.place
        if manifest is None or not backup.is_shared:
            return True
        tombs = {
            layout.removed(place.root, manifest.id, file): file
            for file in filter(layout.is_record, backup.files)
        }
        try:
            for tomb, file in tombs.items():
                where = place.meta(file)
                self._catalog.write(tomb, partial(self._catalog.stream, where))
            if not tombs or layout.FULL_META not in backup.files:
                # What a run that never came to its end put there is recorded nowhere.
                self._catalog.write(layout.removed(place.root, manifest.id), lambda: [])
        except StorageFull:
            return False
        except ObjectNotFound:
            pass  # the record went with an earlier attempt, and after its tombstone
        return True

    # -- what there is ---------------------------------------------------------------------------------------------

    def _backup(self, name: str) -> _Backup:
        """`BackupPinned` or `BackupLocked` for one that is to stay."""
        found = self._found(name)
        if layout.PINNED in found.files:
            pin = self._catalog.pin(self._catalog.find(name))
            if pin is not None and pin.holds(datetime.now(UTC)):
                raise pins.refused(name, pin)
        if layout.LOCKED in found.files:
            lock = self._catalog.lock(self._catalog.find(name))
            if lock is not None and lock.holds(datetime.now(UTC)):
                raise locks.refused(name, lock)
        require_no_milvus(name, self._storage.location, self._milvus)
        return found

    def _found(self, name: str) -> _Backup:
        try:
            stored = self._catalog.require(name)
            return _Backup(
                stored.layout, frozenset(stored.files), layout.is_own, self._manifest(name, stored)
            )
        except BackupNotFound:
            deleted = _Backup(self._catalog.layout(name), frozenset(), layout.is_own)
            if self._versions and any(map(self._is_mark, self._old(deleted))):
                return deleted
            remnants = _Backup(self._catalog.layout(name), frozenset(), layout.is_data)
            if not (self._remnants and self._look(remnants).objects):
                raise
            return remnants

    def _manifest(self, name: str, stored: Stored) -> Manifest | None:
        if layout.MANIFEST in stored.files:
            with suppress(InvalidBackup, StorageError, AccessError):
                return self._catalog.read_manifest(name)
        if not any(map(layout.is_record, stored.files)):
            return None  # no backup by mbk, or none that could have objects in the pool
        for where in (stored.layout.meta(file) for file in HEADED if file in stored.files):
            with suppress(InvalidBackup, StorageError, AccessError):
                head = codec.decode(self._catalog.read_file(where), BackupHead, where=where)
                return Manifest(id=head.id, name=name, format=SHARED) if head.format == SHARED else None
        self._run.notice(
            "pool-unknown",
            "nothing that can be read tells whether backup {backup!r} has objects in the pool: if it was an incremental one, they "
            "stay there until mbk gc",
            backup=name,
        )
        return None

    def _is_mark(self, version: ObjectVersion) -> bool:
        """Whether it tells that there was a backup."""
        return version.key.endswith(
            tuple(f"/meta/{file}" for file in (layout.MANIFEST, *LEVEL_FILES, layout.FULL_META))
        )

    def _versioned(self) -> Versioned:
        versioned = reach(self._storage, Versioned)
        if versioned is None:
            raise Unsupported(
                "{storage} keeps no old versions",
                code="no-versions",
                storage=self._storage.location,
                hint="leave out --versions",
            )
        return versioned

    def _old(self, backup: _Backup) -> Iterator[ObjectVersion]:
        for version in self._versioned().versions(backup.place.prefix):
            if not version.is_current and backup.owns(version.key):
                yield version

    def _delete_versions(self, backup: _Backup) -> int:
        """Deletes the old versions, if that is wanted, and tells otherwise that there are some; returns how many."""
        what = f"list the versions below {backup.place.prefix}"
        if not self._versions:
            with suppress(Unsupported, AccessError):
                if self._run.retry.call(what, lambda: next(self._old(backup), None)) is not None:
                    self._run.notice(
                        "versions-remain",
                        "the bucket keeps old versions of the objects of backup {backup!r}: mbk delete -n {backup} --versions "
                        "removes them",
                        backup=backup.place.name,
                    )
            return 0
        old = self._run.retry.call(what, lambda: [*self._old(backup)])
        versioned = self._versioned()
        for start in range(0, len(old), VERSIONS_AT_ONCE):
            batch = old[start : start + VERSIONS_AT_ONCE]
            self._run.check_cancelled()
            versioned.delete_versions(batch)
        return len(old)

    def _look(self, backup: _Backup, *, besides: Sequence[str] = ()) -> Found:
        owns = backup.owns

        def look(entries: Iterator[ObjectInfo]) -> Found:
            found = Found()
            for entry in entries:
                if entry.key in besides:
                    continue
                if owns(entry.key):
                    found.objects, found.size, keys = found.objects + 1, found.size + entry.size, found.own
                else:
                    found.strangers, keys = found.strangers + 1, found.others
                if len(keys) < NAMED:
                    keys.append(entry.key)
            return found

        return listing.consume(self._storage, self._run, look, backup.place.prefix)

    def _last(self, backup: _Backup) -> list[str]:
        """What still tells that it is a backup when everything else is gone. If there is nothing, it is written.

        The manifest tells from now on that the backup is being deleted; it belongs to its commit all the same.
        """
        levels = (layout.COLLECTION_META, layout.PARTITION_META, layout.SEGMENT_META)
        last = backup.keys(layout.MANIFEST) or backup.keys(*levels)
        if backup.manifest is not None:
            self._announce(backup, structs.replace(backup.manifest, command=DELETE))
        if last or not backup.files:
            return last
        announced = self._announce(backup, Manifest(name=backup.place.name, started=now(), command=DELETE))
        return [backup.place.meta(layout.MANIFEST)] if announced else []

    def _announce(self, backup: _Backup, manifest: Manifest) -> bool:
        try:
            self._catalog.write_manifest(backup.place.name, manifest)
        except (Interrupted, LeaseLost):
            raise
        except MbkError:
            return False  # on a full disk nothing can be written, and deleting is what helps
        return True

    # -- deleting --------------------------------------------------------------------------------------------------

    def _delete_all(self, prefix: str, chosen: Callable[[str], bool], gone: Found) -> None:
        """Deletes the chosen objects below a prefix in batches, and counts them."""
        length = max(self._storage.capabilities.delete_batch, 100)

        def delete(entries: Iterator[ObjectInfo]) -> None:
            found = (entry for entry in entries if chosen(entry.key))
            batches = iter(lambda: [*islice(found, length)], [])
            for objects, size in pool.map(self._delete_some, batches):
                gone.objects, gone.size = gone.objects + objects, gone.size + size

        with Pool(self._run.budget.readers, self._run.cancelled, name="mbk-delete") as pool:
            listing.consume(self._storage, self._run, delete, prefix)

    def _delete_some(self, entries: Sequence[ObjectInfo]) -> tuple[int, int]:
        return self._delete([entry.key for entry in entries]), sum(entry.size for entry in entries)

    def _delete(self, keys: Sequence[str]) -> int:
        if keys:
            self._run.retry.call(f"delete {some(keys[:1], len(keys))}", self._storage.delete, keys)
            self._run.emit(ObjectsDeleted(objects=len(keys)))
        return len(keys)

    def _require_gone(self, name: str, keys: Sequence[str], count: int | None = None) -> None:
        if not keys:
            return
        number = len(keys) if count is None else count
        raise DeleteFailed(
            "{count} objects of backup {backup!r} are still there: {keys}",
            code="objects-left",
            failures=dict.fromkeys(keys, "still there"),
            count=number,
            backup=name,
            keys=some(keys, number),
            hint="the storage confirmed the deletion without deleting, or another run writes there; run it again",
        )


def _recorded(backup: _Backup) -> int | None:
    """How many objects it has below its prefix; None where that is not recorded."""
    totals = None if backup.manifest is None else backup.manifest.totals
    if totals is None:
        return None
    return len(backup.files) + (0 if backup.is_shared else totals.objects)


def some(keys: Sequence[str], count: int) -> str:
    """Keys for a message, of ``count`` in all."""
    named = ", ".join(keys[:NAMED])
    return f"{named} and {count - len(keys[:NAMED])} more" if count > len(keys[:NAMED]) else named
