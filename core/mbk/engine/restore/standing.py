"""How a target stands before its restore: what is there, and what an earlier run of the same restore left."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from mbk.engine.restore.journal import JournalFile, restore_temp
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext
from mbk.errors import CollectionExists, UsageError
from mbk.frozen import frozen
from mbk.model.options import RestoreOptions
from mbk.model.selection import CollectionName
from mbk.ports.milvus.values import CollectionInfo, Feature

#: Longest name of a collection in Milvus.
LONGEST = 255


def beside(backup_id: str, target: CollectionName) -> str:
    """The name under which what replaces ``target`` is restored. The same in every run of this restore."""
    return _name("new", backup_id, target)


def aside(backup_id: str, target: CollectionName) -> str:
    """The name under which the replaced collection waits until it is dropped."""
    return _name("old", backup_id, target)


def _name(role: str, backup_id: str, target: CollectionName) -> str:
    text = "\0".join((backup_id, target.database, target.collection))
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"_mbk_{role}_{digest}_{target.collection}"[:LONGEST]


def existing(
    context: ClusterContext, targets: Iterable[CollectionName]
) -> dict[CollectionName, CollectionInfo]:
    """Those of the targets that exist, also as an alias: then the description has another name."""
    milvus, run = context.milvus, context.run
    databases = {item.db_name for item in run.retry.call("list databases", milvus.inventory.databases)}
    found = {}
    for target in targets:
        if target.database in databases and run.retry.call(
            f"look for {target}", milvus.inventory.has_collection, target.database, target.collection
        ):
            found[target] = run.retry.call(
                f"describe {target}", milvus.inventory.describe, target.database, target.collection
            )
    return found


@frozen(kw_only=True)
class Standing:
    """``present``: the id of the collection under the name, 0 for none. ``begun``: by an earlier run of this restore, and ``resumable``: what it made can be completed.

    ``beside``: the name under which the collection is made, empty for its own. ``replaced``: the collection that is
    dropped at the end, as the user asked. ``moved``: the collection that gets the target's name first, as an earlier run was
    killed when it had taken the name from one and not yet given it to the other.
    """

    present: int = 0
    begun: bool = False
    resumable: bool = False
    beside: str = ""
    replaced: CollectionInfo | None = None
    moved: CollectionInfo | None = None


@frozen
class Standings:
    """``present``: the targets that exist."""

    context: ClusterContext
    name: str
    backup_id: str
    options: RestoreOptions
    present: Mapping[CollectionName, CollectionInfo]
    _left: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        storage = self.context.storage
        level = self.context.run.retry.call(
            f"list {storage.location.root}", storage.list_level, storage.location.root
        )
        self._left.update(level.prefixes)

    def of(self, task: RestoreTask) -> Standing:
        present = self.present.get(task.target)
        return replace(self._of(task, present), present=present.id if present else 0)

    def _of(self, task: RestoreTask, present: CollectionInfo | None) -> Standing:
        prefix = restore_temp(self.context.storage, self.name, task.target)
        journal = JournalFile(self.context.storage, prefix, self.context.run)
        looked = present is not None or prefix in self._left
        if looked and journal.load(backup_id=self.backup_id, target=str(task.target)):
            if journal.journal.beside:
                return self._exchanging(task, journal, prefix)
            if present is not None:
                resumable = self._was_begun(task, journal, prefix, present)
                if resumable is not None:
                    return Standing(begun=True, resumable=resumable)
        return self._fresh(task, present)

    def _fresh(self, task: RestoreTask, present: CollectionInfo | None) -> Standing:
        if present is None or not self.options.drop_existing:
            return Standing()
        if Feature.RENAME not in self.context.milvus.features:
            return Standing(replaced=present)
        for name in (beside(self.backup_id, task.target), aside(self.backup_id, task.target)):
            if self._there(task, name) is not None:
                raise self._taken(task, name)
        return Standing(beside=beside(self.backup_id, task.target), replaced=present)

    def _was_begun(
        self, task: RestoreTask, journal: JournalFile, prefix: str, present: CollectionInfo
    ) -> bool | None:
        """None: not started by this restore. False: started by it, but its content is unknown."""
        left = journal.journal
        if journal.is_unclear and not left.created:
            raise UsageError(
                "an earlier restore into {collection} was killed while starting an import: rows may be duplicated",
                code="import-start-unknown",
                collection=task.target,
                prefix=prefix,
                location=self.context.storage.location,
                hint="check the rows, delete {prefix} from {location}, then run again",
            )
        if left.collection_id not in (0, present.id) or not (left.created or left.collection_id):
            return None
        return bool(left.collection_id) and not journal.is_unclear

    # -- an exchange that did not end ----------------------------------------------------------------------------

    def _exchanging(self, task: RestoreTask, journal: JournalFile, prefix: str) -> Standing:
        left, present = journal.journal, self.present.get(task.target)
        if not self.options.drop_existing:
            raise UsageError(
                "an earlier restore that replaces {collection} did not finish",
                code="replacement-unfinished",
                collection=task.target,
                name=left.beside,
                prefix=prefix,
                location=self.context.storage.location,
                hint="run it again with --drop_exist_collection; "
                "or give it up: drop collection {name} and delete {prefix} from {location}",
            )
        new, old = self._there(task, left.beside), self._there(task, left.aside)
        if left.collection_id and present is not None and present.id == left.collection_id:
            return Standing(begun=True, resumable=True)
        if old is not None and (old.id != left.replaces or present is not None):
            raise self._taken(task, left.aside)
        if new is not None and left.collection_id not in (0, new.id):
            raise self._taken(task, left.beside)
        resumable = new is not None and bool(left.collection_id) and not journal.is_unclear
        if old is not None and resumable:
            return Standing(begun=True, resumable=True, moved=new)
        replaced = present or old
        return Standing(
            begun=new is not None,
            resumable=resumable,
            beside="" if new is None and replaced is None else left.beside,
            replaced=replaced,
            moved=old,
        )

    def _there(self, task: RestoreTask, name: str) -> CollectionInfo | None:
        target = CollectionName(task.target.database, name)
        return existing(self.context, [target]).get(target) if name else None

    def _taken(self, task: RestoreTask, name: str) -> CollectionExists:
        return CollectionExists(
            "the name {name}, which replacing {collection} needs for a while, is taken",
            code="temporary-name-taken",
            name=f"{task.target.database}.{name}",
            collection=task.target,
            hint="look what {name} is, then drop or rename it",
        )
