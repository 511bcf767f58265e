"""Which collections of a backup become which collections of the target. No I/O.

See docs/reference/classic-tool.md#restore-options.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace

import msgspec

from mbk.engine.runtime.messages import did_you_mean, near_collection, partitions_not_selectable
from mbk.errors import CollectionNotFound, InvalidBackup, InvalidName, NotFound, UsageError
from mbk.frozen import frozen
from mbk.model.declared import near
from mbk.model.mapping import CollectionMapping, DatabaseMapping
from mbk.model.options import RestoreOptions
from mbk.model.records import DEFAULT_DATABASE, Backup, Collection, Database
from mbk.model.selection import CollectionName

_NAMED_AT_MOST = 10
#: What Milvus accepts as a name (its ``validateName`` in ``internal/proxy/util.go``).
_MILVUS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,254}")


@frozen
class RestoreTask:
    """One collection to restore: its record, its name in the backup, its name in the target, its zone key.

    ``shards`` 0 and ``description`` None: as in the backup. ``partial``: the record has only the selected partitions.
    ``beside``: the name under which the collection is made until it takes the place of the one that is there.
    """

    record: Collection
    source: CollectionName
    target: CollectionName
    ezk: str = field(default="", repr=False)
    shards: int = 0
    description: str | None = None
    partial: bool = False
    beside: str = ""

    @property
    def made(self) -> CollectionName:
        """Where the rows go. Everything that people see, and every lock, is about ``target``."""
        return CollectionName(self.target.database, self.beside or self.target.collection)


@frozen
class RestorePlan:
    """``databases`` have their target names; those that exist already are left alone.

    ``unmatched``: filter items that match nothing. ``unrenamed``: names to replace that are not in the backup.
    """

    databases: tuple[Database, ...]
    tasks: tuple[RestoreTask, ...]
    unmatched: tuple[str, ...] = ()
    unrenamed: tuple[str, ...] = ()


def make_plan(backup: Backup, options: RestoreOptions) -> RestorePlan:
    """Applies the selections and the renaming, or the mapping.

    Raises `CollectionNotFound` for a collection that was named but does not exist, `NotFound` for such a database or
    partition and if nothing is selected, `InvalidName` for a new name that Milvus would refuse, `UsageError` if two
    collections would become one, or one that is not renamed would replace another.
    """
    offered = [*(_mapped(backup, options) if options.mapping else _renamed(backup, options))]
    tasks = [
        selected
        for task in offered
        if options.source_selection.wants(task.source) and options.selection.wants(task.target)
        if (selected := _with_partitions(task, options)).record.partition_backups or not selected.partial
    ]
    pairs = [*_database_pairs(backup, options)]
    _require_named(tasks, offered, backup, options)
    _require_databases(offered, pairs, backup, options)
    require_apart(tasks)
    databases = _databases(pairs, options, tasks)
    for task in tasks:
        _check_name(task.source.database, task.target.database, "database")
        _check_name(task.source.collection, task.target.collection, "collection")
    unmatched = _unmatched(offered, pairs, options)
    unrenamed = tuple(_unrenamed(backup, options, offered))
    if unrenamed and options.drop_existing:
        raise UsageError(
            "rename {item} matches no collection of backup {backup!r}",
            code="rename-unmatched",
            item=unrenamed[0],
            backup=backup.name,
            collections=_names(backup),
            hint="what was meant would be replaced under its old name; the backup contains {collections}",
        )
    if not tasks and not databases and not _takes_all(options):
        raise nothing_selected(backup, unmatched)
    return RestorePlan(
        tuple(database for database in databases if database.db_name != DEFAULT_DATABASE),
        tuple(tasks),
        tuple(unmatched),
        unrenamed,
    )


def require_apart(tasks: Iterable[RestoreTask]) -> None:
    """`UsageError` if two collections would become one."""
    counts = Counter(task.target for task in tasks)
    for target, count in counts.items():
        if count > 1:
            raise UsageError(
                "{count} collections would be restored as {collection}",
                code="targets-collide",
                count=count,
                collection=target,
                hint="rename each to a name of its own",
            )


def nothing_selected(backup: Backup, unmatched: Sequence[str]) -> NotFound:
    """``unmatched``: the items of the filter that match nothing."""
    if unmatched:
        return NotFound(
            "filter {items} matches no collection of backup {backup!r}",
            code="backup-filter-unmatched",
            items=", ".join(unmatched),
            backup=backup.name,
            collections=_names(backup),
            hint="the backup contains {collections}",
        )
    return NotFound(
        "no collection of backup {backup!r} is selected",
        code="nothing-selected-to-restore",
        backup=backup.name,
        collections=_names(backup),
        hint="the backup contains {collections}",
    )


# -- what becomes what -------------------------------------------------------------------------------------------------


def _task(backup: Backup, record: Collection, options: RestoreOptions) -> RestoreTask:
    if record.schema is None:
        raise InvalidBackup(
            "collection {collection} in the backup has no schema",
            code="schema-missing",
            collection=record.collection_name,
        )
    source = CollectionName(record.db_name or DEFAULT_DATABASE, record.collection_name)
    ezk = next((item.ezk for item in backup.database_backups if item.db_name == source.database), "")
    return RestoreTask(record, source, source, options.ezk_mapping.get(ezk, ezk))


def _renamed(backup: Backup, options: RestoreOptions) -> Iterator[RestoreTask]:
    for record in backup.collection_backups:
        task = _task(backup, record, options)
        yield replace(task, target=options.renaming.collection(task.source))


def _unrenamed(backup: Backup, options: RestoreOptions, offered: Iterable[RestoreTask]) -> Iterator[str]:
    """Names to replace that are not there: a misspelt one leaves a collection under its old name."""
    sources = {task.source for task in offered}
    yield from (str(name) for name in options.renaming.collections if name not in sources)
    databases = _sources(backup)
    yield from (f"{name}.*" for name in options.renaming.databases if name not in databases)


def _mapped(backup: Backup, options: RestoreOptions) -> Iterator[RestoreTask]:
    """One task for each entry of the mapping; a source may have several."""
    tasks = {
        task.source: task for task in (_task(backup, item, options) for item in backup.collection_backups)
    }
    sources = _sources(backup)
    for mapping in options.mapping:
        if mapping.source not in sources:
            raise NotFound(
                "the plan maps database {database}, which is not in backup {backup!r}",
                code="mapped-database-missing",
                database=mapping.source,
                backup=backup.name,
                databases=", ".join(sorted(sources)),
                hint="the backup contains {databases}",
            )
        for entry in mapping.collections or _all_of(mapping, tasks):
            source = CollectionName(mapping.source, entry.source)
            if source not in tasks:
                raise CollectionNotFound(
                    "the plan maps collection {collection}, which is not in backup {backup!r}",
                    code="mapped-collection-missing",
                    collection=source,
                    backup=backup.name,
                    collections=_names(backup),
                    hint="the backup contains {collections}",
                )
            yield replace(
                tasks[source],
                target=CollectionName(mapping.target, entry.target),
                shards=entry.shards,
                description=entry.description,
            )


def _all_of(mapping: DatabaseMapping, sources: Iterable[CollectionName]) -> list[CollectionMapping]:
    names = [name.collection for name in sources if name.database == mapping.source]
    return [CollectionMapping(source=name, target=name) for name in names]


def _with_partitions(task: RestoreTask, options: RestoreOptions) -> RestoreTask:
    """Only the selected partitions; deletes of all partitions stay, as they may concern these."""
    chosen = ((options.source_selection, task.source), (options.selection, task.target))
    if not any(selection.narrows(name) for selection, name in chosen):
        return task
    if task.record.schema is not None and any(item.is_partition_key for item in task.record.schema.fields):
        if not any(name in selection.named for selection, name in chosen):
            return replace(
                task, record=msgspec.structs.replace(task.record, partition_backups=[]), partial=True
            )
        raise partitions_not_selectable(task.source)
    present = {partition.partition_name for partition in task.record.partition_backups}
    for selection, name in chosen:
        if absent := sorted(selection.named_partitions(name) - present):
            raise NotFound(
                "{collection} has no partition {partition} in the backup",
                code="backup-partition-missing",
                collection=name,
                partition=absent[0],
                partitions=", ".join(sorted(present)[:_NAMED_AT_MOST]),
                hint="the backup contains {partitions}",
            )
    kept = [
        partition
        for partition in task.record.partition_backups
        if all(selection.wants_partition(name, partition.partition_name) for selection, name in chosen)
    ]
    return replace(task, record=msgspec.structs.replace(task.record, partition_backups=kept), partial=True)


_WHICH_NAMES: Mapping[str, str] = {
    "--filter": "{flag} takes names after renaming",
    "--source-filter": "{flag} takes names of the backup",
}

# -- what must be there ------------------------------------------------------------------------------------------------


def _require_named(
    tasks: list[RestoreTask], offered: list[RestoreTask], backup: Backup, options: RestoreOptions
) -> None:
    for flag, chosen, there, known in (
        (
            "--filter",
            options.selection,
            {task.target for task in tasks},
            {task.target for task in offered},
        ),
        (
            "--source-filter",
            options.source_selection,
            {task.source for task in tasks},
            {task.source for task in offered},
        ),
    ):
        if missing := sorted(chosen.named - there):
            raise CollectionNotFound(
                "backup {backup!r} has no collection {collection}",
                code="backup-collection-missing",
                backup=backup.name,
                collection=missing[0],
                collections=_names(backup),
                near=did_you_mean(near_collection(missing[0], known)),
                flag=flag,
                hint="{near}" + _WHICH_NAMES[flag] + "; the backup contains {collections}",
            )


def _require_databases(
    offered: list[RestoreTask],
    pairs: list[tuple[Database, Database]],
    backup: Backup,
    options: RestoreOptions,
) -> None:
    """A database may be empty, but one that is not in the backup is a typing error."""
    targets = {target.db_name for _, target in pairs} | {task.target.database for task in offered}
    sources = _sources(backup)
    for flag, chosen, existing in (
        ("--filter", options.selection, targets),
        ("--source-filter", options.source_selection, sources),
    ):
        if absent := sorted(chosen.named_databases - existing):
            raise NotFound(
                "backup {backup!r} has no database {database}",
                code="backup-database-missing",
                backup=backup.name,
                database=absent[0],
                databases=", ".join(sorted(sources)),
                near=did_you_mean(near(absent[0], existing)),
                flag=flag,
                hint="{near}" + _WHICH_NAMES[flag] + "; the backup contains {databases}",
            )


def _check_name(source: str, target: str, kind: str) -> None:
    """An unchanged name needs no check: a Milvus has accepted it."""
    if target != source and not _MILVUS_NAME.fullmatch(target):
        raise InvalidName(
            "{name!r} is not a valid {type} name",
            code="target-name-invalid",
            name=target,
            type=kind,
            hint="use at most 255 letters, digits and _, not starting with a digit",
        )


def _unmatched(
    offered: list[RestoreTask], pairs: list[tuple[Database, Database]], options: RestoreOptions
) -> list[str]:
    return [
        *options.source_selection.idle(
            (source.db_name for source, _ in pairs), [task.source for task in offered]
        ),
        *options.selection.idle((target.db_name for _, target in pairs), [task.target for task in offered]),
    ]


def _takes_all(options: RestoreOptions) -> bool:
    return options.selection.everything and options.source_selection.everything


def _sources(backup: Backup) -> set[str]:
    records = {item.db_name or DEFAULT_DATABASE for item in backup.collection_backups}
    return records | {item.db_name for item in backup.database_backups}


def _names(backup: Backup) -> str:
    names = sorted(
        f"{item.db_name or DEFAULT_DATABASE}.{item.collection_name}" for item in backup.collection_backups
    )
    return ", ".join(names[:_NAMED_AT_MOST]) or "none"


# -- databases ---------------------------------------------------------------------------------------------------------


def _database_pairs(backup: Backup, options: RestoreOptions) -> Iterator[tuple[Database, Database]]:
    """Each database of the backup with each of its targets."""
    for database in backup.database_backups:
        if not options.mapping:
            name = options.renaming.database(database.db_name)
            yield database, Database(db_name=name, properties=database.properties)
        for mapping in options.mapping:
            if mapping.source == database.db_name:
                properties = database.properties if mapping.properties else []
                yield database, Database(db_name=mapping.target, properties=properties)


def _databases(
    pairs: list[tuple[Database, Database]], options: RestoreOptions, tasks: list[RestoreTask]
) -> list[Database]:
    """Selected databases, and databases of selected collections."""
    needed = {task.target.database for task in tasks}
    result: dict[str, Database] = {}
    for source, target in pairs:
        itself = options.source_selection.wants_empty(source.db_name) and options.selection.wants_empty(
            target.db_name
        )
        if itself or target.db_name in needed:
            _check_name(source.db_name, target.db_name, "database")
            result.setdefault(target.db_name, target)
    for name in needed:
        result.setdefault(name, Database(db_name=name))
    return list(result.values())
