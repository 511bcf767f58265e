"""What a server holds and a run wants: databases and collections, and their records for the metadata."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted, MbkError, NotFound, UsageError
from mbk.model.records import Database
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """``missing``: collections that were named one by one and are not there. ``idle``: filter items that match nothing."""

    databases: Sequence[Database] = ()
    names: Sequence[CollectionName] = ()
    missing: Sequence[CollectionName] = ()
    idle: Sequence[str] = ()

    def without(self, held: Set[CollectionName]) -> Inventory:
        """Without the collections that are backed up already."""
        return replace(
            self,
            names=[name for name in self.names if name not in held],
            missing=[name for name in self.missing if name not in held],
        )


def take_inventory(milvus: Milvus, selection: Selection, run: Run) -> Inventory:
    """Asks the server for its databases and collections; each wanted collection once, sorted by name.

    `NotFound` for a database that was named and is not there: else a typing error would pass for an empty one; and
    when a filter leaves nothing at all. A glob that matches nothing is told.
    """
    candidates = [
        database
        for database in run.retry.call("list databases", milvus.inventory.databases)
        if selection.wants_database(database.db_name)
    ]
    there = {database.db_name for database in candidates}
    if absent := sorted(selection.named_databases - there):
        raise NotFound(
            "database {absent} does not exist",
            code="database-does-exist",
            absent=absent[0],
            hint="check --filter",
        )
    present: set[CollectionName] = set()
    databases: list[Database] = []
    names: list[CollectionName] = []
    for database in candidates:
        what = f"list collections of {database.db_name}"
        listed = run.retry.call(what, milvus.inventory.collections, database.db_name)
        found = {CollectionName(database.db_name, name) for name in listed}
        wanted = [name for name in found if selection.wants(name)]
        present |= found
        names += wanted
        if wanted or selection.wants_empty(database.db_name):
            databases.append(database)
    result = Inventory(
        databases=databases,
        names=sorted(names),
        missing=sorted(selection.named - present),
        idle=selection.idle(there, present),
    )
    _tell_idle(result, selection, run)
    return result


def _tell_idle(found: Inventory, selection: Selection, run: Run) -> None:
    if not (found.databases or found.missing or selection.everything):
        what = f": {', '.join(found.idle)} fits nothing" if found.idle else ""
        raise NotFound(
            "nothing is chosen to back up{what}",
            code="nothing-chosen-back-up",
            what=what,
            hint="check --filter and --exclude",
        )
    for item in found.idle:
        run.notice("filter-fits-nothing", "filter item {item} fits nothing that is there", item=item)


def tell_new(milvus: Milvus, selection: Selection, known: Set[CollectionName], run: Run) -> None:
    """Collections made during the run are not in the backup; the user may think that they are."""
    try:
        now = take_inventory(milvus, selection, run)
    except Interrupted:
        raise
    except MbkError:
        return  # what is copied is worth more than this news
    for name in now.names:
        if name not in known:
            run.notice("collection-created", "{name} was made during the backup and is not in it", name=name)


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
            "{name} has a partition key: Milvus itself deals its rows out to partitions",
            code="partition-key-milvus-itself",
            name=name,
            hint="choose the whole collection",
        )
    if absent := sorted(selection.named_partitions(name) - {part.name for part in info.partitions}):
        raise NotFound(
            "{name} has no partition {absent}",
            code="partition",
            name=name,
            absent=absent[0],
            hint="check --filter",
        )
    chosen = tuple(part for part in info.partitions if selection.wants_partition(name, part.name))
    return replace(info, partitions=chosen)
