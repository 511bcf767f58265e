"""Deletes binlogs in a backup that belong to none of its segments, or that a shared backup put into the pool and does not name."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set

from mbk.engine.repository.collections import CollectionBackup
from mbk.engine.repository.keyed import split
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.ports.storage import ObjectInfo, Storage


def sweep(
    storage: Storage, place: BackupLayout, done: Sequence[CollectionBackup], unfinished: Set[int], run: Run
) -> None:
    """Deletes copies of segments that Milvus replaced during the backup, and of collections that were dropped.

    Copies of ``unfinished`` collections stay for the run that completes them, and so does what is no copied log.
    """
    kept = {(backup.record.collection_id, segment) for backup in done for segment in backup.segments}
    _sweep(storage, place, unfinished, lambda copied, _: copied in kept, run)


def sweep_pool(
    storage: Storage,
    place: BackupLayout,
    done: Sequence[CollectionBackup],
    unfinished: Set[int],
    spool: SegmentSpool,
    run: Run,
) -> None:
    """As `sweep`, below the id of a shared backup: also what a killed run copied and the backup has from an earlier one now.

    No other backup names any of that, as no committed one did.
    """
    # Of a million keys only the hashes: of two that are alike, one object too many stays.
    start, own = len(place.prefix) + 2 - len(place.root), f'["{place.name}/'.encode()
    kept = {
        hash(line[start : line.index(b'"', start)])
        for backup in done
        for line in split(spool.read_objects(backup.record.collection_id))
        if line.startswith(own)
    }
    below = len(place.prefix)
    _sweep(storage, place, unfinished, lambda _, key: hash(key[below:].encode()) in kept, run)


def _sweep(
    storage: Storage,
    place: BackupLayout,
    unfinished: Set[int],
    is_kept: Callable[[tuple[int, int], str], bool],
    run: Run,
) -> None:
    data = place.data_prefix

    def is_stale(entry: ObjectInfo) -> bool:
        copied = layout.copied_segment(entry.key.removeprefix(data))
        return copied is not None and copied[0] not in unfinished and not is_kept(copied, entry.key)

    stale = listing.consume(
        storage, run, lambda entries: [entry.key for entry in entries if is_stale(entry)], data
    )
    if stale:
        run.retry.call(f"delete {stale[0]}", storage.delete, stale)
