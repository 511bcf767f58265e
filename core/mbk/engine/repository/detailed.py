"""The metadata of a backup with the file lists of its segments, one collection at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import field

from mbk.engine.repository import codec as metafiles
from mbk.engine.repository.catalog import Catalog
from mbk.errors import InvalidBackup
from mbk.model.layout import FULL_META
from mbk.model.records import (
    BackupExtras,
    Collection,
    CollectionHead,
    Partition,
    PartitionHead,
    Record,
    Segment,
)


class DetailedPartition(PartitionHead):
    segment_backups: list[Segment] = field(default_factory=list)


class DetailedCollection(CollectionHead):
    partition_backups: list[DetailedPartition] = field(default_factory=list)
    l0_segments: list[Segment] = field(default_factory=list)

    def segments(self) -> Iterator[Segment]:
        for partition in self.partition_backups:
            yield from partition.segment_backups
        yield from self.l0_segments


class _Backup(BackupExtras):
    """Collections stay encoded, so that the segments of only one are in memory at a time."""

    collection_backups: list[msgspec.Raw] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Detailed:
    """``extras`` is the root without its collections."""

    extras: BackupExtras
    encoded: list[msgspec.Raw]
    where: str

    def collections(self) -> Iterator[DetailedCollection]:
        """All collections, each decoded when it is reached."""
        for raw in self.encoded:
            yield metafiles.decode(bytes(raw), DetailedCollection, where=self.where)


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
