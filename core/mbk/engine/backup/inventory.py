"""The databases and collections of a server that a run selects."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

from mbk.engine.runtime.messages import (
    did_you_mean,
    near_collection,
    notice_unmatched,
    partitions_not_selectable,
)
from mbk.engine.runtime.run import Run
from mbk.errors import CollectionNotFound, Interrupted, MbkError, NotFound
from mbk.frozen import frozen
from mbk.model.declared import near
from mbk.model.records import Database
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo

CHECK_FILTER = "{near}check --filter; with --allow-missing what does not exist is left out"


@frozen(kw_only=True)
class Inventory:
    """``missing``: collections that were named but do not exist. ``idle``: filter items that match nothing.

    ``near``: the question whether another one was meant by the first that is missing.
    """

    databases: Sequence[Database] = ()
    names: Sequence[CollectionName] = ()
    missing: Sequence[CollectionName] = ()
    idle: Sequence[str] = ()
    near: str = ""

    def without(self, present: Set[CollectionName]) -> Inventory:
        """Without the collections that the backup already contains."""
        return replace(
            self,
            names=[name for name in self.names if name not in present],
            missing=[name for name in self.missing if name not in present],
        )


def take_inventory(
    milvus: Milvus, selection: Selection, run: Run, *, allow_missing: bool = False
) -> Inventory:
    """The server's databases and selected collections, each once, sorted by name.

    `NotFound` for a database that was named but does not exist, which would otherwise pass for an empty one; and if the
    filter selects nothing. A glob that matches nothing is a notice; with ``allow_missing`` so is a missing database.
    """
    listed_databases = run.retry.call("list databases", milvus.inventory.databases)
    every = [database.db_name for database in listed_databases]
    candidates = [database for database in listed_databases if selection.wants_database(database.db_name)]
    existing = {database.db_name for database in candidates}
    for absent in sorted(selection.named_databases - existing):
        missing = NotFound(
            "database {database} does not exist",
            code="database-missing",
            database=absent,
            near=did_you_mean(near(absent, every)),
            hint=CHECK_FILTER,
        )
        if not allow_missing:
            raise missing
        _notice_left_out(run, missing)
    present: set[CollectionName] = set()
    databases: list[Database] = []
    names: list[CollectionName] = []
    for database in candidates:
        what = f"list collections of {database.db_name}"
        listed = run.retry.call(what, milvus.inventory.collections, database.db_name)
        collections = {CollectionName(database.db_name, name) for name in listed}
        selected = [name for name in collections if selection.wants(name)]
        present |= collections
        names += selected
        if selected or selection.wants_empty(database.db_name):
            databases.append(database)
    absent_names = sorted(selection.named - present)
    result = Inventory(
        databases=databases,
        names=sorted(names),
        missing=absent_names,
        idle=selection.idle(existing, present),
        near=did_you_mean(near_collection(absent_names[0], present, every)) if absent_names else "",
    )
    _report_idle(result, selection, run)
    return result


def _report_idle(inventory: Inventory, selection: Selection, run: Run) -> None:
    if not (inventory.databases or inventory.missing or selection.everything):
        if not inventory.idle:
            raise NotFound(
                "no collection is selected", code="nothing-selected", hint="check --filter and --exclude"
            )
        raise NotFound(
            "filter {items} matches no collection",
            code="filter-unmatched",
            items=", ".join(inventory.idle),
            hint="check --filter",
        )
    for item in inventory.idle:
        notice_unmatched(run, "filter", item)


def notice_new(milvus: Milvus, selection: Selection, present: Set[CollectionName], run: Run) -> None:
    """Collections created during the run are not in the backup, although the user may think so."""
    try:
        now = take_inventory(milvus, selection, run)
    except Interrupted:
        raise
    except MbkError:
        return  # not worth failing the backup
    for name in now.names:
        if name not in present:
            run.notice(
                "collection-created", "{name} was created during the backup and is not in it", name=name
            )


def require_present(inventory: Inventory, run: Run, *, allow_missing: bool) -> None:
    """`CollectionNotFound` names all collections that were named and do not exist; with ``allow_missing`` a notice does."""
    if not inventory.missing:
        return
    names = ", ".join(map(str, inventory.missing))
    if len(inventory.missing) == 1:
        missing = CollectionNotFound(
            "collection {name} does not exist",
            code="collection-missing",
            name=names,
            near=inventory.near,
            hint=CHECK_FILTER,
        )
    else:
        missing = CollectionNotFound(
            "these collections do not exist: {names}",
            code="collections-missing",
            names=names,
            near=inventory.near,
            hint=CHECK_FILTER,
        )
    if not allow_missing:
        raise missing
    _notice_left_out(run, missing)


def _notice_left_out(run: Run, missing: NotFound) -> None:
    run.notice("left-out", "{reason}: left out", reason=missing.message)


def with_partitions(
    info: CollectionInfo, selection: Selection, run: Run, *, allow_missing: bool = False
) -> CollectionInfo:
    """The collection with its selected partitions only; possibly none, if globs match none.

    `NotFound` for a partition that was named but does not exist; with ``allow_missing`` a notice. With a partition key: `UsageError` for a collection that
    was named, and no partitions for others.
    """
    name = CollectionName(info.database, info.name)
    if not selection.narrows(name):
        return info
    if any(item.is_partition_key for item in info.schema.fields):
        if name not in selection.named:
            return replace(info, partitions=())
        raise partitions_not_selectable(name)
    partitions = {part.name for part in info.partitions}
    for absent in sorted(selection.named_partitions(name) - partitions):
        missing = NotFound(
            "{collection} has no partition {partition}",
            code="partition-missing",
            collection=name,
            partition=absent,
            near=did_you_mean(near(absent, partitions)),
            hint=CHECK_FILTER,
        )
        if not allow_missing:
            raise missing
        _notice_left_out(run, missing)
    chosen = tuple(part for part in info.partitions if selection.wants_partition(name, part.name))
    return replace(info, partitions=chosen)
