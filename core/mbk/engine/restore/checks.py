"""Checks before the first change of a restore, for every format: targets, earlier runs, unsupported definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mbk.engine.restore.journal import JournalFile, restore_temp
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.restore.schema import target_schema
from mbk.engine.runtime.context import ClusterContext
from mbk.errors import CollectionExists, CollectionNotFound, Unsupported, UsageError
from mbk.model.options import RestoreOptions
from mbk.model.records import DEFAULT_DATABASE
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature


def definition_problems(
    milvus: Milvus, tasks: Sequence[RestoreTask], options: RestoreOptions
) -> Iterator[str]:
    """What this server does not support in the collections' definitions."""
    features = milvus.features
    named = sorted({task.target.database for task in tasks} - {DEFAULT_DATABASE})
    if named and Feature.DATABASES not in features:
        yield f"databases ({', '.join(named)})"
    for task in tasks:
        # Encryption at rest came with packed segments, in 2.6.
        if task.ezk and Feature.PACKED_SEGMENTS not in features:
            yield f"encryption at rest ({task.source})"
        if options.skip_create:
            continue
        if problems := milvus.definitions.schema_problems(target_schema(task, options)):
            yield f"{task.source} ({', '.join(problems)})"


def require_fitting(milvus: Milvus, problems: Iterable[str]) -> None:
    """`Unsupported` with everything that this server does not support."""
    problems = list(dict.fromkeys(problems))
    if problems:
        hint = "restore into a newer Milvus, or exclude these with --filter"
        if any(problem.startswith("databases") for problem in problems):
            hint = "rename the collections into the database default"
        raise Unsupported(
            "Milvus {version} does not support {problems}",
            code="definitions-unsupported",
            version=milvus.version,
            problems="; ".join(problems),
            hint=hint,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetChecks:
    """The targets of one restore of backup ``name``, whose id is ``backup_id``."""

    context: ClusterContext
    name: str
    backup_id: str
    tasks: Sequence[RestoreTask]
    options: RestoreOptions

    def begun(self) -> dict[CollectionName, bool]:
        """Targets that an earlier run of this restore started but did not finish: True if it can be resumed.

        Raises for targets that must not exist but do, or must exist but do not.
        """
        options, existing = self.options, self._existing()
        missing = sorted({task.target for task in self.tasks} - existing)
        if options.skip_create and missing:
            raise CollectionNotFound(
                "target collection {collection} does not exist",
                code="target-missing",
                collection=missing[0],
                hint="leave out --skip_create_collection",
            )
        states = {target: self._was_begun(target) for target in sorted(existing)}
        begun = {target: resumable for target, resumable in states.items() if resumable is not None}
        if not options.skip_create and not options.drop_existing and existing - begun.keys():
            raise CollectionExists(
                "target collections already exist: {collections}",
                code="target-exists",
                collections=", ".join(str(target) for target in sorted(existing - begun.keys())),
                hint="restore under other names with -s SUFFIX, or replace them with --drop_exist_collection",
            )
        return begun

    def replaced(self, begun: Iterable[CollectionName]) -> list[CollectionName]:
        """Targets that exist and are dropped, as the user asked."""
        return sorted(self._existing() - {*begun}) if self.options.drop_existing else []

    def _existing(self) -> set[CollectionName]:
        milvus, run = self.context.milvus, self.context.run
        databases = {item.db_name for item in run.retry.call("list databases", milvus.inventory.databases)}
        return {
            task.target
            for task in self.tasks
            if task.target.database in databases
            and run.retry.call(
                f"look for {task.target}",
                milvus.inventory.has_collection,
                task.target.database,
                task.target.collection,
            )
        }

    def _was_begun(self, target: CollectionName) -> bool | None:
        """None: not started by this restore. False: started by it, but its content is unknown."""
        storage = self.context.storage
        prefix = restore_temp(storage, self.name, target)
        journal = JournalFile(storage, prefix, self.context.run)
        if not journal.load(backup_id=self.backup_id, target=str(target)):
            return None
        left = journal.journal
        if journal.is_unclear and not left.created:
            raise UsageError(
                "an earlier restore into {collection} was killed while starting an import: rows may be duplicated",
                code="import-start-unknown",
                collection=target,
                prefix=prefix,
                location=storage.location,
                hint="check the rows, delete {prefix} from {location}, then run again",
            )
        info = self.context.run.retry.call(
            f"describe {target}", self.context.milvus.inventory.describe, target.database, target.collection
        )
        if left.collection_id not in (0, info.id) or not (left.created or left.collection_id):
            return None
        return bool(left.collection_id) and not journal.is_unclear
