"""A storage that locks what a run puts into a backup, and locks for what was there before."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace

from mbk.engine.runtime.layer import Layer, reach
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, Unsupported
from mbk.frozen import frozen
from mbk.model.layout import BackupLayout, pool_prefix
from mbk.ports.storage import (
    PLAIN,
    Locking,
    MultipartUpload,
    ObjectInfo,
    Receipt,
    Retention,
    Storage,
    WriteOptions,
    ability,
)


@frozen
class Locks:
    """Which keys are locked, and until when: the objects of the backup, and what its run puts into the pool.

    The files of a backup are locked by whoever commits them, for until then they are written more than once.
    """

    place: BackupLayout
    retention: Retention

    def of(self, key: str) -> bool:
        place = self.place
        if key.startswith(place.prefix):
            return not key.startswith(place.meta_prefix)
        pool = pool_prefix(place.root)
        return key.startswith(pool) and key[len(pool) :].partition("/")[2].startswith("binlogs/")

    def added_to(self, options: WriteOptions, key: str) -> WriteOptions:
        return replace(options, retention=self.retention) if self.of(key) else options


class LockedStorage(Layer):
    """See :class:`mbk.ports.storage.Storage`. A lock in the request that makes an object takes no further request."""

    def __init__(self, wrapped: Storage, locks: Locks) -> None:
        super().__init__(wrapped)
        self.locks = locks

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return super().write(key, chunks, size=size, options=self.locks.added_to(options, key))

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return super().write_if_absent(key, chunks, size=size, options=self.locks.added_to(options, key))

    def multipart(
        self, key: str, *, options: WriteOptions = PLAIN
    ) -> AbstractContextManager[MultipartUpload]:
        return super().multipart(key, options=self.locks.added_to(options, key))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return super().copy(source, source_key, key, options=self.locks.added_to(options, key))


def locks_of(storage: Storage) -> Locks | None:
    """How what a run makes in this storage is locked; makes no request."""
    layer = ability(storage, LockedStorage)
    return layer.locks if layer else None


def locking(storage: Storage) -> Locking:
    """`Unsupported` for a storage that cannot lock objects."""
    found = reach(storage, Locking)
    if found is None or "retention" not in storage.capabilities.write_options:
        raise _unable(storage, "its kind of storage has no locks, or none that mbk knows")
    return found


def require_locks(storage: Storage, run: Run) -> Locking:
    """`Unsupported` if nothing in this storage can be locked. Where that may not be asked, the first write tells."""
    ask = locking(storage)
    try:
        ask.require_locks()
    except Unsupported as refusal:
        raise _unable(storage, str(refusal.facts.get("reason", refusal.message))) from refusal
    except AccessError as refusal:
        run.notice(
            "object-lock-unasked",
            "nobody knows yet whether {storage} can lock objects: {reason}",
            storage=storage.location,
            reason=refusal.message,
        )
    return ask


def _unable(storage: Storage, reason: str) -> Unsupported:
    return Unsupported(
        "objectLock is set, but {storage} cannot lock objects: {reason}",
        code="object-lock-unsupported",
        storage=storage.location,
        reason=reason,
        hint="remove objectLock from the configuration, or use a bucket that was made with object lock",
    )


def lock_until(storage: Storage, run: Run, keys: Iterable[str], retention: Retention) -> int:
    """Locks objects that are there already; returns how many. One that is locked for longer stays so: it may be called again.

    One request an object, several at a time. Raises what the storage raises, `ObjectNotFound` for one that is gone.
    """
    ask = locking(storage)
    with Pool(run.budget.copies, run.cancelled, name="mbk-lock") as pool:
        return sum(1 for _ in pool.map(lambda key: ask.lock(key, retention), keys))
