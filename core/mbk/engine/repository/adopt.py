"""What a partial backup already contains, taken over by the run that completes it."""

from __future__ import annotations

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.codec import head
from mbk.engine.repository.collections import CollectionBackup
from mbk.engine.repository.detailed import DetailedCollection, read_detailed
from mbk.engine.repository.spool import SegmentSpool
from mbk.frozen import frozen
from mbk.model.manifest import Manifest
from mbk.model.records import CollectionHead, Database, PartitionHead, Rbac
from mbk.model.reports import CollectionOutcome
from mbk.model.states import CollectionState


@frozen
class Adopted:
    """``manifest``: the one with which the run that completes the backup starts."""

    manifest: Manifest
    databases: list[Database]
    rbac: Rbac | None
    collections: list[CollectionBackup]

    @classmethod
    def nothing(cls, manifest: Manifest) -> Adopted:
        """For a new backup."""
        return cls(manifest, [], None, [])


def adopt(catalog: Catalog, name: str, spool: SegmentSpool) -> Adopted:
    """Reads a committed backup made by mbk with its file lists; the segments go into the spool."""
    committed = catalog.committed(name)
    manifest = committed.manifest
    backup = read_detailed(catalog, name)
    collections = [_adopted(collection, manifest, spool) for collection in backup.collections()]
    record = catalog.open_record(committed)
    if record is not None:
        with record:
            for item in collections:
                number = item.record.collection_id
                spool.add_objects(number, record.each_of(number))
    return Adopted(manifest, backup.extras.database_backups, backup.extras.rbac_meta, collections)


def _adopted(collection: DetailedCollection, manifest: Manifest, spool: SegmentSpool) -> CollectionBackup:
    label = f"{collection.db_name}.{collection.collection_name}"
    rows = manifest.rows.get(str(collection.collection_id))
    outcome = CollectionOutcome(
        label,
        label,
        CollectionState.DONE,
        size=collection.size,
        rows_expected=rows,
        notes=("already in the backup",),
    )
    result = CollectionBackup(
        head(collection, CollectionHead),
        [head(partition, PartitionHead) for partition in collection.partition_backups],
        outcome,
        rows,
        manifest.protection.get(str(collection.collection_id)),
    )
    for segment in collection.segments():
        spool.add(segment, ())
        result.segments.add(segment.segment_id)
    return result
