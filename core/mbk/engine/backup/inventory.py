"""What a server holds and a run wants: databases and collections, and their records for the metadata."""

from __future__ import annotations

import base64
from collections.abc import Set
from dataclasses import dataclass, field, replace

from msgspec.structs import replace as replace_fields

from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted, MbkError, NotFound, UsageError
from mbk.model.records import CollectionHead, Database, PartitionHead, key_values
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, FlushPoint


@dataclass(slots=True)
class Survey:
    """``missing``: collections that were named one by one and are not there. ``idle``: filter items that fit nothing."""

    databases: list[Database] = field(default_factory=list)
    names: list[CollectionName] = field(default_factory=list)
    missing: list[CollectionName] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)


def survey(milvus: Milvus, selection: Selection, run: Run) -> Survey:
    """Asks the server for its databases and collections; each wanted collection once, sorted by name.

    `NotFound` for a database that was named and is not there: else a typing error would pass for an empty one; and
    when a filter leaves nothing at all. A glob that fits nothing is told.
    """
    result = Survey()
    present: set[CollectionName] = set()
    candidates = [
        database
        for database in run.retry.call("list databases", milvus.inventory.databases)
        if selection.wants_database(database.db_name)
    ]
    there = {database.db_name for database in candidates}
    if absent := sorted(selection.named_databases - there):
        raise NotFound(f"database {absent[0]} does not exist", hint="check --filter")
    for database in candidates:
        names = run.retry.call(
            f"list collections of {database.db_name}", milvus.inventory.collections, database.db_name
        )
        found = {CollectionName(database.db_name, name) for name in names}
        wanted = sorted(name for name in found if selection.wants(name))
        present |= found
        result.names += wanted
        if wanted or selection.wants_empty(database.db_name):
            result.databases.append(database)
    result.names.sort()
    result.missing = sorted(selection.named - present)
    result.idle = selection.idle(there, present)
    _tell_idle(result, selection, run)
    return result


def _tell_idle(found: Survey, selection: Selection, run: Run) -> None:
    if not (found.databases or found.missing or selection.everything):
        what = f": {', '.join(found.idle)} fits nothing" if found.idle else ""
        raise NotFound(f"nothing is chosen to back up{what}", hint="check --filter and --exclude")
    for item in found.idle:
        run.notice("filter-fits-nothing", f"filter item {item} fits nothing that is there")


def tell_new(milvus: Milvus, selection: Selection, known: Set[CollectionName], run: Run) -> None:
    """Collections made during the run are not in the backup; the user may think that they are."""
    try:
        now = survey(milvus, selection, run)
    except Interrupted:
        raise
    except MbkError:
        return  # what is copied is worth more than this news
    for name in now.names:
        if name not in known:
            run.notice("collection-created", f"{name} was made during the backup and is not in it")


def narrowed(info: CollectionInfo, selection: Selection) -> CollectionInfo:
    """The collection with its chosen partitions only; perhaps none, where globs fit none.

    `NotFound` for a partition that was named and is not there. Where Milvus itself deals the rows out, `UsageError` for
    a collection that was named, and no partition for others.
    """
    name = CollectionName(info.database, info.name)
    if not selection.narrows(name):
        return info
    if any(item.is_partition_key for item in info.schema.fields):
        if name not in selection.named:
            return replace(info, partitions=())
        raise UsageError(
            f"{name} has a partition key: Milvus itself deals its rows out to partitions",
            hint="choose the whole collection",
        )
    if absent := sorted(selection.named_partitions(name) - {part.name for part in info.partitions}):
        raise NotFound(f"{name} has no partition {absent[0]}", hint="check --filter")
    chosen = tuple(part for part in info.partitions if selection.wants_partition(name, part.name))
    return replace(info, partitions=chosen)


def collection_record(info: CollectionInfo, *, task: str) -> CollectionHead:
    """A collection's record; properties stand in both places, so that every reader finds them (FORMAT.md 2.3)."""
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
