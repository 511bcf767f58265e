"""Which collections of a backup become which collections of the target (FORMAT.md 3.1, 3.2). Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mbk.errors import CollectionNotFound, InvalidBackup, NotFound, UsageError
from mbk.model.meta import DEFAULT_DATABASE, Backup, Collection, Database
from mbk.model.options import RestoreOptions
from mbk.model.selection import CollectionName


@dataclass(frozen=True, slots=True)
class RestoreTask:
    """One collection to restore: its record, its name in the backup, its name in the target, its zone key."""

    record: Collection
    source: CollectionName
    target: CollectionName
    ezk: str = ""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """``databases`` carry their target names; those that exist already are left alone."""

    databases: tuple[Database, ...]
    tasks: tuple[RestoreTask, ...]


def make_plan(backup: Backup, options: RestoreOptions) -> RestorePlan:
    """Applies the selections and the renaming.

    Raises `CollectionNotFound` for a name that was asked for one by one and is not there, `NotFound` for such a
    database, `UsageError` when two collections would become one.
    """
    tasks = [
        task
        for record in backup.collection_backups
        if options.source_selection.wants((task := _task(backup, record, options)).source)
        and options.selection.wants(task.target)
    ]
    _require_named(tasks, backup, options)
    _require_databases(backup, options)
    counts = Counter(task.target for task in tasks)
    for target, count in counts.items():
        if count > 1:
            raise UsageError(f"{count} collections would be restored as {target}", hint="rename each of them")
    return RestorePlan(tuple(_databases(backup, options, tasks)), tuple(tasks))


def _task(backup: Backup, record: Collection, options: RestoreOptions) -> RestoreTask:
    if record.schema is None:
        raise InvalidBackup(f"collection {record.collection_name!r} of the backup has no schema")
    source = CollectionName(record.db_name or DEFAULT_DATABASE, record.collection_name)
    ezk = next((item.ezk for item in backup.database_backups if item.db_name == source.database), "")
    return RestoreTask(record, source, options.renaming.collection(source), options.ezk_mapping.get(ezk, ezk))


def _require_named(tasks: list[RestoreTask], backup: Backup, options: RestoreOptions) -> None:
    missing = [
        *(options.selection.collections - {task.target for task in tasks}),
        *(options.source_selection.collections - {task.source for task in tasks}),
    ]
    if missing:
        known = ", ".join(
            sorted(
                f"{item.db_name or DEFAULT_DATABASE}.{item.collection_name}"
                for item in backup.collection_backups
            )[:10]
        )
        raise CollectionNotFound(
            f"backup {backup.name!r} gives no collection {sorted(missing)[0]}",
            hint=f"--filter means the names after renaming; the backup holds {known or 'none'}",
        )


def _require_databases(backup: Backup, options: RestoreOptions) -> None:
    """A database may be empty, but one that the backup does not know is a typing error."""
    sources = {item.db_name for item in backup.database_backups}
    sources |= {item.db_name or DEFAULT_DATABASE for item in backup.collection_backups}
    targets = {options.renaming.database(name) for name in sources}
    targets |= {name.database for name in options.renaming.collections.values()}
    for chosen, known in ((options.selection, targets), (options.source_selection, sources)):
        if absent := sorted((chosen.databases | chosen.bare) - known):
            raise NotFound(
                f"backup {backup.name!r} gives no database {absent[0]}",
                hint=f"--filter means the names after renaming; the backup holds {', '.join(sorted(sources))}",
            )


def _databases(backup: Backup, options: RestoreOptions, tasks: list[RestoreTask]) -> list[Database]:
    wanted: dict[str, Database] = {}
    for database in backup.database_backups:
        target = options.renaming.database(database.db_name)
        if options.source_selection.wants_database(database.db_name) and options.selection.wants_database(
            target
        ):
            wanted[target] = Database(db_name=target, properties=database.properties)
    for task in tasks:
        wanted.setdefault(task.target.database, Database(db_name=task.target.database))
    wanted.pop(DEFAULT_DATABASE, None)
    return list(wanted.values())
