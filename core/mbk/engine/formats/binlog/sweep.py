"""Deletes binlogs in a backup that belong to none of its segments."""

from __future__ import annotations

from collections.abc import Sequence, Set

from mbk.engine.repository.collections import CollectionBackup
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
    data = place.data_prefix

    def is_stale(entry: ObjectInfo) -> bool:
        copied = layout.copied_segment(entry.key.removeprefix(data))
        return copied is not None and copied[0] not in unfinished and copied not in kept

    stale = listing.consume(
        storage, run, lambda entries: [entry.key for entry in entries if is_stale(entry)], data
    )
    if stale:
        run.retry.call(f"delete {stale[0]}", storage.delete, stale)
