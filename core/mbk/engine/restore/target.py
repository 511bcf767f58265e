"""The target collection: creating it with indexes and partitions, dropping it again, releasing and loading it."""

from __future__ import annotations

from dataclasses import field

from mbk.engine.restore.journal import JournalFile
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.restore.schema import target_indexes, target_properties, target_schema, target_shards
from mbk.engine.runtime.run import Run
from mbk.errors import AlreadyExists, CollectionNotFound, MbkError, MilvusError, RateLimited
from mbk.frozen import frozen
from mbk.model.manifest import Loaded
from mbk.model.options import RestoreOptions
from mbk.model.records import LOADED, NOT_LOADED
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature

#: Servers limit the rate of definition changes, so that creating may take many attempts.
PATIENCE = 20


class TargetKept(BaseException):
    """A failed restore could not drop its target, which keeps part of its rows: its journal must stay, too, so that a
    later run can resume. ``cause``: why the restore failed."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


@frozen
class Target:
    """The target of one task, for one thread. The journal records whose it is, so that a later run can resume."""

    milvus: Milvus
    run: Run
    options: RestoreOptions
    task: RestoreTask
    journal: JournalFile
    #: What could not be created, for the report.
    notes: list[str] = field(default_factory=list)

    def create(self) -> bool:
        """True if it was created; with ``skip_create`` it only gets indexes and partitions."""
        task, options = self.task, self.options
        if options.skip_create:
            self._add_indexes_and_partitions(created=False)
            return False
        self.run.phase("create", str(task.target))
        self.make_room()
        self.journal.begin(collection_id=0, created=True, beside=task.beside)
        schema = target_schema(task, options)
        try:
            self.run.retry.patiently(
                PATIENCE,
                f"create {task.target}",
                self.milvus.definitions.create_collection,
                task.made.database,
                schema,
                shards=target_shards(task, options),
                consistency_level=task.record.consistency_level,
                partitions=_partition_count(task),
                properties=target_properties(task, options),
            )
            self._add_indexes_and_partitions(created=True)
        except AlreadyExists:
            raise  # created by another client
        except BaseException as error:
            self.undo(error)
            raise
        return True

    def make_room(self) -> None:
        """Drops what is to be replaced, where the server cannot rename it."""
        task, features = self.task, self.milvus.features
        if not self.options.drop_existing or task.beside or Feature.RENAME in features:
            return
        database, name = task.target.database, task.target.collection
        if self.milvus.inventory.has_collection(database, name):
            self.milvus.definitions.drop_collection(database, name)

    def _add_indexes_and_partitions(self, *, created: bool) -> None:
        """Adds indexes and partitions, then records in the journal whose collection this is."""
        task = self.task
        database, name = task.made.database, task.made.collection
        info = self.milvus.inventory.describe(database, name)
        if self.options.drop_index:
            for index in info.indexes:
                self.milvus.definitions.drop_index(database, name, index)
        if self.options.rebuild_index:
            self._create_indexes()
        present = {partition.name for partition in info.partitions}
        for partition in task.record.partition_backups:
            if partition.partition_name not in present:
                self.run.retry.patiently(
                    PATIENCE,
                    f"create partition {partition.partition_name} of {task.target}",
                    self.milvus.definitions.create_partition,
                    database,
                    name,
                    partition.partition_name,
                )
        self.journal.begin(collection_id=info.id, created=created, beside=task.beside)

    def _create_indexes(self) -> None:
        """An index that this server refuses is a notice; the rows are restored without it."""
        for index in target_indexes(self.task, self.options):
            name = index.index_name or index.field_name
            try:
                self.run.retry.patiently(
                    PATIENCE,
                    f"create index {name} of {self.task.target}",
                    self.milvus.definitions.create_index,
                    self.task.made.database,
                    self.task.made.collection,
                    index,
                )
            except RateLimited:
                raise
            except MilvusError as error:
                self.notes.append(f"index {name}: {error.message}")
                self.run.notice(
                    "index-refused",
                    "index {index} of {collection} was not created: {reason}; --use_auto_index lets Milvus choose one",
                    str(self.task.target),
                    index=name,
                    reason=error.message,
                )

    @property
    def ends_jobs_when_dropped(self) -> bool:
        """Since import v2, which came with L0 segments, jobs of a dropped collection fail."""
        return Feature.L0_SEGMENTS in self.milvus.features

    def undo(self, error: BaseException, *, left_running: bool = False) -> None:
        """Drops a partly restored target, unless Milvus is still importing into it; also in an interrupted run.

        Raises `TargetKept` of ``error``, why the restore failed, if the target has to stay.
        """
        why = "Milvus is still importing into it"
        if not left_running or self.ends_jobs_when_dropped:
            try:
                self.milvus.definitions.drop_collection(self.task.made.database, self.task.made.collection)
            except CollectionNotFound:
                return
            except MbkError as refusal:
                why = f"it could not be dropped: {refusal}"
            else:
                return
        self.run.notice(
            "half-restored",
            "{collection} is incomplete, run the same restore again: {reason}",
            str(self.task.target),
            reason=why,
        )
        raise TargetKept(error) from error

    # -- deletes go into released collections only -----------------------------------------------------------------

    def release(self) -> None:
        database, name = self.task.made.database, self.task.made.collection
        info = self.milvus.inventory.describe(database, name)
        if info.load_state in ("", NOT_LOADED):
            return
        partitions = [part for part, state in info.partition_load_states.items() if state == LOADED]
        whole = info.load_state == LOADED and len(partitions) in (0, len(info.partitions))
        self.journal.release(
            Loaded(replicas=max(1, info.replicas), partitions=[] if whole else sorted(partitions))
        )
        self.run.notice(
            "released",
            "{collection} is released while deletes are imported, and loaded again afterwards",
            str(self.task.target),
        )
        self.run.retry.call(f"release {self.task.target}", self.milvus.definitions.release, database, name)

    def load_again(self) -> None:
        """A failure undoes nothing and is a notice."""
        loaded = self.journal.journal.released
        if loaded is None:
            return
        database, name = self.task.made.database, self.task.made.collection
        try:
            self.milvus.definitions.load(
                database, name, partitions=loaded.partitions, replicas=loaded.replicas
            )
        except MbkError as error:
            self.run.notice(
                "not-loaded",
                "{collection} is no longer loaded: {reason}",
                str(self.task.target),
                reason=error,
            )
        else:
            self.journal.release(None)


def _partition_count(task: RestoreTask) -> int:
    schema = task.record.schema
    keyed = schema is not None and any(field.is_partition_key for field in schema.fields)
    return len(task.record.partition_backups) if keyed else 0
