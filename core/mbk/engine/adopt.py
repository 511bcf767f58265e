"""What a partial backup already holds, taken over whole by the run that completes it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from msgspec import field

from mbk.engine import metafiles
from mbk.engine.backup_collection import CollectionBackup
from mbk.engine.catalog import Catalog
from mbk.engine.metafiles import head
from mbk.engine.spool import SegmentSpool
from mbk.model.backup import DONE, CollectionOutcome
from mbk.model.layout import FULL_META
from mbk.model.meta import BackupExtras, CollectionHead, Database, PartitionHead, Rbac, Segment
from mbk.model.own import OwnMeta


class _Partition(PartitionHead):
    segment_backups: list[Segment] = field(default_factory=list)


class _Collection(CollectionHead):
    partition_backups: list[_Partition] = field(default_factory=list)
    l0_segments: list[Segment] = field(default_factory=list)


class _Backup(BackupExtras):
    """Collections stay encoded, so that the segments of only one are held at a time."""

    collection_backups: list[msgspec.Raw] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Adopted:
    own: OwnMeta
    databases: list[Database]
    rbac: Rbac | None
    collections: list[CollectionBackup]


def adopt(catalog: Catalog, name: str, spool: SegmentSpool) -> Adopted:
    """Reads a committed backup of ours with its file lists; the segments go into the spool."""
    own = catalog.read_own(name)
    where = catalog.layout(name).meta(FULL_META)
    backup = metafiles.decode(catalog.read_file(where), _Backup, where=where)
    collections = []
    for raw in backup.collection_backups:
        collection = metafiles.decode(bytes(raw), _Collection, where=where)
        collections.append(_adopted(collection, own, spool))
    return Adopted(own, backup.database_backups, backup.rbac_meta, collections)


def _adopted(collection: _Collection, own: OwnMeta, spool: SegmentSpool) -> CollectionBackup:
    label = f"{collection.db_name}.{collection.collection_name}"
    rows = own.rows.get(str(collection.collection_id))
    outcome = CollectionOutcome(
        label, label, DONE, size=collection.size, rows_expected=rows, notes=("was in the backup already",)
    )
    result = CollectionBackup(
        head(collection, CollectionHead),
        [head(partition, PartitionHead) for partition in collection.partition_backups],
        outcome,
        rows,
        own.protection.get(str(collection.collection_id)),
    )
    parts = (
        *(partition.segment_backups for partition in collection.partition_backups),
        collection.l0_segments,
    )
    for segment in (segment for segments in parts for segment in segments):
        spool.add(segment)
        result.segments.add(segment.segment_id)
    return result
