"""One collection of a backup in progress: its records for the metadata, and its outcome."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as replace_fields

from mbk.model.manifest import Protection, PutInPool
from mbk.model.records import CollectionHead, PartitionHead, key_values
from mbk.model.reports import CollectionOutcome
from mbk.model.states import CollectionState
from mbk.ports.milvus.values import CollectionInfo, FlushPoint


@dataclass(slots=True)
class CollectionBackup:
    """One collection in the backup. ``rows`` is an exact count, or None without one.

    ``protection`` is None if unknown. ``replaced``: Milvus replaced segments meanwhile, so objects of the old ones may be
    in the backup. ``added``: what a shared backup put into the pool.
    """

    record: CollectionHead
    partitions: list[PartitionHead]
    outcome: CollectionOutcome
    rows: int | None = None
    protection: Protection | None = None
    segments: set[int] = field(default_factory=set)
    replaced: bool = False
    added: PutInPool = field(default_factory=PutInPool)

    @classmethod
    def begun(cls, info: CollectionInfo, *, task: str) -> CollectionBackup:
        label = label_of(info)
        return cls(
            collection_record(info, task=task),
            partition_records(info),
            CollectionOutcome(label, label, CollectionState.DONE),
        )

    def end(self, *, objects: int, seconds: float) -> None:
        """Completes the outcome."""
        self.outcome = replace(
            self.outcome,
            objects=objects,
            size=self.record.size,
            rows_expected=self.rows,
            seconds=seconds,
        )


def label_of(info: CollectionInfo) -> str:
    return f"{info.database}.{info.name}"


def collection_record(info: CollectionInfo, *, task: str) -> CollectionHead:
    """The record of a collection; properties are in both places, so that every reader finds them.

    See docs/reference/backup-format.md#collection.
    """
    properties = {pair.key: pair.value for pair in (*info.schema.properties, *info.properties)}
    return CollectionHead(
        id=task,
        collection_id=info.id,
        db_name=info.database,
        collection_name=info.name,
        schema=replace_fields(info.schema, properties=key_values(properties)),
        shards_num=info.shards,
        consistency_level=info.consistency_level,
        has_index=bool(info.indexes),
        index_infos=list(info.indexes),
        load_state=info.load_state,
        properties=key_values(properties),
        db_id=info.database_id,
        created_timestamp=info.created_timestamp,
        virtual_channel_names=list(info.virtual_channels),
        physical_channel_names=list(info.physical_channels),
        aliases=list(info.aliases),
        replica_number=info.replicas,
        resource_groups=list(info.resource_groups),
        update_timestamp=info.update_timestamp,
    )


def partition_records(info: CollectionInfo) -> list[PartitionHead]:
    """Every partition, including empty ones, in the server's order."""
    return [
        PartitionHead(
            partition_id=partition.id,
            partition_name=partition.name,
            collection_id=info.id,
            load_state=info.partition_load_states.get(partition.name, info.load_state),
        )
        for partition in info.partitions
    ]


def add_flush_point(record: CollectionHead, point: FlushPoint) -> None:
    record.channel_checkpoints = {
        channel: base64.b64encode(position).decode() for channel, position in point.checkpoints.items()
    }
    record.backup_timestamp = max(point.timestamps.values(), default=0)
    record.backup_physical_timestamp = point.seal_seconds
