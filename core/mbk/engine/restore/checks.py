"""Checks before the first change of a restore, for every format: targets, earlier runs, unsupported definitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from mbk.engine.restore.added import AddedBackups
from mbk.engine.restore.likeness import ARRAY, differences
from mbk.engine.restore.plan import RestorePlan, RestoreTask, require_apart
from mbk.engine.restore.schema import target_indexes, target_schema, target_shards
from mbk.engine.restore.standing import Standing, Standings, existing
from mbk.engine.runtime.context import ClusterContext
from mbk.errors import (
    AlreadyExists,
    CollectionExists,
    CollectionNotFound,
    InvalidBackup,
    MbkError,
    Unsupported,
    UsageError,
)
from mbk.frozen import frozen
from mbk.model.options import RestoreOptions
from mbk.model.records import DEFAULT_DATABASE
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature


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


def require_sendable(
    milvus: Milvus, name: str, tasks: Sequence[RestoreTask], options: RestoreOptions
) -> None:
    """`InvalidBackup` for definitions that no Milvus can be asked for: damaged, or made up."""
    problems = []
    for task in tasks:
        found = milvus.definitions.unsendable(
            target_schema(task, options),
            shards=target_shards(task, options),
            consistency_level=task.record.consistency_level,
            partitions=len(task.record.partition_backups),
            replicas=task.record.replica_number,
            indexes=target_indexes(task, options),
        )
        problems += [f"{task.source}: {problem}" for problem in found]
    if problems:
        raise InvalidBackup(
            "the definitions in backup {backup!r} are damaged: {problems}",
            code="definitions-damaged",
            backup=name,
            problems="; ".join(problems),
            hint="exclude these collections with --filter, or use another backup",
        )


def require_elements(name: str, tasks: Iterable[RestoreTask]) -> None:
    """`InvalidBackup` for arrays whose elements have no type: tools that did not know arrays yet recorded none, and nothing
    in the columns tells it.
    """
    lacking = [
        f"{task.source}.{field.name}"
        for task in tasks
        for field in (task.record.schema.fields if task.record.schema else ())
        if field.data_type == ARRAY and not field.element_type
    ]
    if lacking:
        raise InvalidBackup(
            "backup {backup!r} lacks the type of the elements of {fields}: the tool that made it did not know arrays yet",
            code="element-types-missing",
            backup=name,
            fields=", ".join(lacking),
            hint="create the collection as it was, and restore into it with --skip_create_collection",
        )


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


def with_collections(context: ClusterContext, plan: RestorePlan, options: RestoreOptions) -> RestorePlan:
    """The plan with collections for targets: an alias is replaced by what it stands for, if the user says so.

    `AlreadyExists` names every target that is an alias otherwise, `UsageError` two targets that are one collection.
    """
    present = existing(context, [task.target for task in plan.tasks])
    real = {
        target: CollectionName(target.database, info.name)
        for target, info in present.items()
        if info.name != target.collection
    }
    if not real:
        return plan
    if not options.follow_alias:
        said = [f"{alias} is an alias of {collection}" for alias, collection in sorted(real.items())]
        adding = options.skip_create or options.drop_existing
        raise AlreadyExists(
            "the target is no collection: {aliases}",
            code="target-is-alias",
            aliases=", ".join(said),
            hint="restore into the collection itself with --follow_alias, or under another name with -s SUFFIX"
            if adding
            else "restore under another name with -s SUFFIX",
        )
    tasks = tuple(replace(task, target=real.get(task.target, task.target)) for task in plan.tasks)
    require_apart(tasks)
    for alias, collection in sorted(real.items()):
        context.run.notice(
            "alias-followed",
            "{alias} is an alias: restoring into {target}",
            alias=alias,
            target=collection,
        )
    return replace(plan, tasks=tasks)


@frozen(kw_only=True)
class TargetChecks:
    """The targets of one restore of backup ``name``, whose id is ``backup_id``; ``restore_id``: that of its journals."""

    context: ClusterContext
    name: str
    backup_id: str
    restore_id: str
    tasks: Sequence[RestoreTask]
    options: RestoreOptions

    def standings(self) -> dict[CollectionName, Standing]:
        """How each target stands. Raises for targets that must not exist but do, must exist but do not, or cannot take
        the rows."""
        options = self.options
        present = existing(self.context, [task.target for task in self.tasks])
        if options.skip_create:
            self._require_all(present)
        found = Standings(self.context, self.name, self.restore_id, options, present)
        standings = {task.target: found.of(task) for task in self.tasks}
        begun = {target for target, standing in standings.items() if standing.begun}
        taken = sorted(present.keys() - begun)
        if taken and not options.skip_create and not options.drop_existing:
            raise CollectionExists(
                "target collections already exist: {collections}",
                code="target-exists",
                collections=", ".join(str(target) for target in taken),
                hint="restore under other names with -s SUFFIX, or replace them with --drop_exist_collection",
            )
        if options.drop_existing:
            self._require_whole(present)
            self._say_how(standings)
        if options.skip_create:
            self._require_alike(present)
            self._require_new(present, begun)
        return standings

    def _require_all(self, present: Mapping[CollectionName, CollectionInfo]) -> None:
        if missing := sorted({task.target for task in self.tasks} - present.keys()):
            raise CollectionNotFound(
                "target collection {collection} does not exist",
                code="target-missing",
                collection=missing[0],
                hint="leave out --skip_create_collection",
            )

    # -- replacing -----------------------------------------------------------------------------------------------

    def _require_whole(self, present: Mapping[CollectionName, CollectionInfo]) -> None:
        """A collection is not replaced by some of its partitions: the others would be lost."""
        if parts := [task for task in self.tasks if task.partial and task.target in present]:
            names = ", ".join(sorted(part.partition_name for part in parts[0].record.partition_backups))
            raise UsageError(
                "{collection} would be replaced by its partitions {partitions} alone, and lose all others",
                code="replaced-in-part",
                collection=parts[0].target,
                partitions=names,
                hint="restore the whole collection, or these partitions under another name with -s SUFFIX, "
                "or add them to the collection with --skip_create_collection",
            )

    def _say_how(self, standings: Mapping[CollectionName, Standing]) -> None:
        """Without renaming the old collection has to go before the new one can come."""
        gone = [target for target, standing in standings.items() if standing.replaced and not standing.beside]
        if gone and Feature.RENAME not in self.context.milvus.features:
            self.context.run.notice(
                "replaced-in-place",
                "Milvus {version} cannot rename collections: {collections} will be dropped before being restored, "
                "and are lost if that fails",
                version=self.context.milvus.version,
                collections=", ".join(map(str, sorted(gone))),
            )

    # -- adding --------------------------------------------------------------------------------------------------

    def _require_alike(self, present: Mapping[CollectionName, CollectionInfo]) -> None:
        """Imports go by field id: a target with another schema gets wrong values, or fails amid the import."""
        fills = Feature.FILLS_COLUMNS in self.context.milvus.features
        problems = []
        for task in self.tasks:
            names = [part.partition_name for part in task.record.partition_backups]
            found = differences(target_schema(task, self.options), names, present[task.target], fills=fills)
            if found:
                problems.append(f"{task.target} ({'; '.join(found)})")
        if problems:
            raise UsageError(
                "the schema of the target is not that of the backup: {differences}",
                code="target-schema-differs",
                differences=", ".join(problems),
                hint="restore under another name with -s SUFFIX",
            )

    def _require_new(
        self, present: Mapping[CollectionName, CollectionInfo], begun: set[CollectionName]
    ) -> None:
        """Milvus takes the same rows as often as it gets them."""
        if self.options.meta_only:
            return
        added = AddedBackups(self.context, self.backup_id)
        for task in self.tasks:
            info = present[task.target]
            if task.target in begun:
                continue
            before = added.of(task.target, info.id)
            again = {part.partition_name for part in task.record.partition_backups} & {*before.partitions}
            if again and not self.options.append:
                raise AlreadyExists(
                    "backup {backup!r} was already added to {collection}, at {at}",
                    code="already-added",
                    backup=self.name,
                    collection=task.target,
                    at=before.at,
                    hint="with --append all its rows are added once more",
                )
            if rows := self._rows(task.target):
                self.context.run.notice(
                    "rows-present",
                    "{collection} has {rows} rows, and those of the backup will be added to them",
                    str(task.target),
                    rows=rows,
                )

    def _rows(self, target: CollectionName) -> int:
        """As a query counts them, else those that are persistent; 0 where neither can be told."""
        milvus = self.context.milvus
        try:
            counted = milvus.rows.count(target.database, target.collection)
            if counted is not None:
                return counted
            segments = milvus.segments.persistent(target.database, target.collection)
        except MbkError:
            return 0
        return sum(segment.rows for segment in segments if not segment.is_l0)
