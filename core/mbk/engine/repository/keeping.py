"""How a storage is made to keep a backup: `backup.objectLock`, for every run that makes one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from mbk.engine.repository import locks
from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.locked import LockedStorage, Locks, lock_until, locking, locks_of, require_locks
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, DeleteFailed, Unsupported
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.model.locking import BackupLock, LockMode, ObjectLock
from mbk.ports.storage import PLAIN, Retention, Storage, WriteOptions


def require_keeping(storage: Storage, run: Run, asked: ObjectLock | None) -> None:
    """`Unsupported` if a lock is ``asked`` for, and this storage cannot lock anything."""
    if asked is not None:
        require_locks(storage, run)


def keeping(
    storage: Storage, run: Run, name: str, asked: ObjectLock | None, begun: datetime, *, again: bool = False
) -> Storage:
    """What locks all that a run puts into backup ``name``, if that is wanted; never for less time than a run before it.

    ``again``: the backup is complete already. Then its lock is ended by nothing but time, and is not begun anew.
    """
    if asked is None:
        return storage
    catalog = Catalog(storage, run)
    retention = Retention(mode=asked.mode, until=asked.until(begun))
    before = catalog.lock(catalog.find(name))
    if before is not None and before.until is not None:
        if again and not before.holds(datetime.now(UTC)):
            return storage
        if again or before.until > retention.until:
            retention = replace(retention, until=before.until)
    return LockedStorage(storage, Locks(catalog.layout(name), retention))


def keeping_as_told(storage: Storage, place: BackupLayout, told: BackupLock | None) -> Storage:
    """What locks all that a run puts back into a backup, as that tells of its lock; one that is over locks nothing."""
    if told is None or told.until is None or not told.holds(datetime.now(UTC)):
        return storage
    if "retention" not in storage.capabilities.write_options:
        return storage
    mode: LockMode = "compliance" if told.mode == "compliance" else "governance"
    return LockedStorage(storage, Locks(place, Retention(mode=mode, until=told.until)))


@contextmanager
def locked_ones_stay(storage: Storage) -> Iterator[None]:
    """Deleting records of older commits: the storage may keep them, too. Nobody reads a record that no manifest names."""
    try:
        yield
    except (AccessError, DeleteFailed):
        if locks_of(storage) is None:
            raise


@frozen
class Keeping:
    """Of the backup at ``place``. Without a lock on ``storage``, which `keeping` makes, nothing is done."""

    storage: Storage
    run: Run
    place: BackupLayout

    @property
    def lock(self) -> Retention | None:
        found = locks_of(self.storage)
        return found.retention if found else None

    def kept(self, options: WriteOptions = PLAIN) -> WriteOptions:
        """The options for a file that is written for the last time."""
        return replace(options, retention=self.lock) if self.lock else options

    def take(self) -> None:
        """Writes until when the storage keeps the backup.

        `Unsupported` if the storage took the lock and tells none: some drop what they do not know.
        """
        if self.lock is None:
            return
        key, data = self.place.meta(layout.LOCKED), locks.encoded(self.lock)
        Catalog(self.storage, self.run).write(key, lambda: [data], options=self.kept())
        try:
            found = locking(self.storage).locked(key)
        except AccessError as refusal:
            self.run.notice(
                "object-lock-unproven",
                "that {storage} locks what it is given was not looked at: {reason}",
                storage=self.storage.location,
                reason=refusal.message,
            )
            return
        if found is None or not found.covers(self.lock):
            raise Unsupported(
                "{storage} ignored the lock of {key}, and would keep nothing",
                code="object-lock-ignored",
                storage=self.storage.location,
                key=key,
                hint="remove objectLock from the configuration, or use a storage with object lock",
            )

    def objects(self, keys: Iterable[str]) -> None:
        """Locks objects that were there before the run."""
        if self.lock is not None:
            self.run.phase("lock")
            lock_until(self.storage, self.run, keys, self.lock)

    def files(self) -> None:
        """Locks the files of a backup that is complete. Those that belong to no commit are written again and again."""
        found = Catalog(self.storage, self.run).find(self.place.name).files
        self.objects(item.key for name, item in found.items() if name not in layout.BESIDE)
