"""The metadata of a backup with the file lists of its segments, one collection at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import field

from mbk.engine.repository import codec as metafiles
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.errors import InvalidBackup
from mbk.frozen import frozen
from mbk.model.layout import FULL_META, SEGMENT_META
from mbk.model.records import (
    DEFAULT_DATABASE,
    BackupExtras,
    Collection,
    CollectionHead,
    Partition,
    PartitionHead,
    Record,
    Segment,
    SegmentHead,
)


class DetailedPartition(PartitionHead):
    segment_backups: list[Segment] = field(default_factory=list)


class DetailedCollection(CollectionHead):
    partition_backups: list[DetailedPartition] = field(default_factory=list)
    l0_segments: list[Segment] = field(default_factory=list)

    @property
    def label(self) -> str:
        """``db.coll``."""
        return f"{self.db_name or DEFAULT_DATABASE}.{self.collection_name}"

    @property
    def rows(self) -> int:
        """Those of its data segments, before deletes."""
        return sum(segment.num_of_rows for segment in self.segments() if not segment.is_l0)

    def segments(self) -> Iterator[Segment]:
        for partition in self.partition_backups:
            yield from partition.segment_backups
        yield from self.l0_segments


class _Numbered(Record):
    collection_id: int = 0


class _Backup(BackupExtras):
    """Collections stay encoded, so that the segments of only one are in memory at a time."""

    collection_backups: list[msgspec.Raw] = field(default_factory=list)


@frozen
class Detailed:
    """``extras`` is the root without its collections."""

    extras: BackupExtras
    encoded: list[msgspec.Raw]
    where: str

    def by_id(self) -> dict[int, msgspec.Raw]:
        """The collections by their ids, still encoded; `decoded` makes one of them usable."""
        return {metafiles.decode(raw, _Numbered, where=self.where).collection_id: raw for raw in self.encoded}

    def decoded(self, raw: msgspec.Raw) -> DetailedCollection:
        return metafiles.decode(raw, DetailedCollection, where=self.where)

    def collections(self) -> Iterator[DetailedCollection]:
        """All collections, each decoded when it is reached."""
        for raw in self.encoded:
            yield metafiles.decode(raw, DetailedCollection, where=self.where)


def read_detailed(catalog: Catalog, name: str) -> Detailed:
    """`InvalidBackup` also for an old backup without ``full_meta.json``."""
    place = catalog.layout(name)
    where = place.meta(FULL_META)
    if FULL_META not in catalog.find(name).files:
        raise InvalidBackup(
            "{key} is missing",
            code="full-meta-missing",
            key=where,
            hint="restore the backup and back the collections up again",
        )
    backup = metafiles.decode(catalog.read_file(where), _Backup, where=where)
    return Detailed(metafiles.head(backup, BackupExtras), backup.collection_backups, where)


def detailed_collections(catalog: Catalog, committed: Committed) -> Iterator[DetailedCollection]:
    """All collections of a committed backup; in an old one without ``full_meta.json`` segments have no file lists."""
    if FULL_META in committed.stored.files:
        yield from read_detailed(catalog, committed.stored.layout.name).collections()
        return
    for collection in committed.backup.collection_backups:
        yield DetailedCollection(
            **_fields(collection, CollectionHead),
            partition_backups=[
                DetailedPartition(
                    **_fields(partition, PartitionHead),
                    segment_backups=_without_lists(partition.segment_backups),
                )
                for partition in collection.partition_backups
            ],
            l0_segments=_without_lists(collection.l0_segments),
        )


def _without_lists(segments: list[SegmentHead]) -> list[Segment]:
    return [Segment(**_fields(segment, SegmentHead)) for segment in segments]


def read_segments(catalog: Catalog, name: str) -> dict[int, list[Segment]]:
    """The segments with their file lists of an old backup that has only level files, by collection."""
    where = catalog.layout(name).meta(SEGMENT_META)
    found: defaultdict[int, list[Segment]] = defaultdict(list)
    for raw in metafiles.decode(catalog.read_file(where), metafiles.Infos, where=where).infos:
        segment = metafiles.decode(raw, Segment, where=where)
        found[segment.collection_id].append(segment)
    return dict(found)


def as_collection(record: DetailedCollection) -> Collection:
    """The same collection as a restore sees it; its segments still have their file lists."""
    partitions = [
        Partition(**_fields(part, PartitionHead), segment_backups=[*part.segment_backups])
        for part in record.partition_backups
    ]
    return Collection(
        **_fields(record, CollectionHead), partition_backups=partitions, l0_segments=[*record.l0_segments]
    )


def _fields(record: Record, kind: type[Record]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in kind.__struct_fields__}
