"""What a server holds and a run wants: databases and collections, and their records for the metadata."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from mbk.engine.run import Run
from mbk.errors import NotFound
from mbk.model.meta import CollectionHead, Database, PartitionHead, key_values
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus import CollectionInfo, FlushPoint, Milvus


@dataclass(slots=True)
class Survey:
    """``missing``: collections that were named one by one and are not there."""

    databases: list[Database] = field(default_factory=list)
    names: list[CollectionName] = field(default_factory=list)
    missing: list[CollectionName] = field(default_factory=list)


def survey(milvus: Milvus, selection: Selection, run: Run) -> Survey:
    """Asks the server for its databases and collections; each wanted collection once, sorted by name.

    `NotFound` for a database that was named and is not there: else a typing error would pass for an empty one.
    """
    result = Survey()
    wanted: set[CollectionName] = set()
    for database in run.retry.call("list databases", milvus.databases):
        if not selection.wants_database(database.db_name):
            continue
        result.databases.append(database)
        names = run.retry.call(
            f"list collections of {database.db_name}",
            lambda name=database.db_name: milvus.collections(name),  # type: ignore[misc] # bound at once
        )
        present = {CollectionName(database.db_name, name) for name in names}
        wanted |= {name for name in present if selection.wants(name)}
    there = {database.db_name for database in result.databases}
    if absent := sorted((selection.databases | selection.bare) - there):
        raise NotFound(f"database {absent[0]} does not exist", hint="check --filter")
    result.names = sorted(wanted)
    result.missing = sorted(selection.collections - wanted)
    return result


def collection_record(info: CollectionInfo, *, task: str) -> CollectionHead:
    """A collection's record; properties stand in both places, so that every reader finds them (FORMAT.md 2.3)."""
    properties = {pair.key: pair.value for pair in (*info.schema.properties, *info.properties)}
    info.schema.properties = key_values(properties)
    return CollectionHead(
        id=task,
        collection_id=info.id,
        db_name=info.database,
        collection_name=info.name,
        schema=info.schema,
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
    )


def partition_records(info: CollectionInfo) -> list[PartitionHead]:
    """Every partition, in the server's order, the empty ones too."""
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
