"""Restoring one collection: stage, create, index, import, compare, replay."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mbk.engine.failures import concerns_everything
from mbk.engine.import_plan import GroupLimits, ImportGroup, stages
from mbk.engine.imports import Importer
from mbk.engine.journal import JournalFile
from mbk.engine.positions import timestamp
from mbk.engine.restore_plan import RestoreTask
from mbk.engine.run import Run
from mbk.engine.segment_places import SegmentPlaces
from mbk.engine.staging import Staging
from mbk.engine.target_schema import target_indexes, target_properties, target_schema, target_shards
from mbk.engine.transfer import Transfer
from mbk.errors import MbkError, MilvusError, UsageError
from mbk.model.backup import DONE, CollectionOutcome
from mbk.model.meta import LOADED, as_dict
from mbk.model.options import RestoreOptions
from mbk.ports.milvus import ImportRequest, Milvus
from mbk.ports.storage import Storage

INDEX_POLL = 0.5
LOAD_POLL = 0.5
TTL = "collection.ttl.seconds"


@dataclass(frozen=True, slots=True)
class CollectionRestorer:
    """Restores collections one by one; several threads may use it at once. ``rows``: what the backup counted exactly."""

    milvus: Milvus
    backup: Storage
    storage: Storage
    transfer: Transfer
    run: Run
    options: RestoreOptions
    limits: GroupLimits
    slots: threading.BoundedSemaphore
    name: str
    backup_id: str
    rows: dict[str, int]
    keep_temp: bool

    def restore(self, task: RestoreTask, found: SegmentPlaces, *, resumed: bool) -> CollectionOutcome:
        """``resumed``: the target exists and was begun by an earlier run of this restore."""
        started = time.monotonic()
        groups = [] if self.options.meta_only else stages(task.record, found, self.limits)
        if self.options.truncate:
            for group in (group for stage in groups for group in stage):
                self._boundary(task, group)
        staging, journal = self._aside(task)
        journal.load(backup_id=self.backup_id, target=str(task.target))
        if not resumed:
            journal.reset()
        try:
            rows = self._fill(task, groups, staging, journal, resumed=resumed)
            outcome = self._compare(task, groups, rows, started)
        except BaseException:
            if journal.has_rows_in_place:
                self.run.notice(
                    "half-added",
                    f"{task.target} holds a part of the backup's rows: run the same restore again to add the rest",
                    str(task.target),
                )
            elif not journal.is_needed:
                self._forget(staging, journal)
            raise
        if not self.keep_temp:
            staging.clean_copies()
        notes = self._finish(task)
        return replace(outcome, notes=(*outcome.notes, *notes), seconds=time.monotonic() - started)

    def conclude(self, task: RestoreTask) -> None:
        """To be called when the whole restore is over: until then a journal tells a later run that this one is done."""
        self._forget(*self._aside(task))

    def _forget(self, staging: Staging, journal: JournalFile) -> None:
        if self.keep_temp:
            journal.forget()
        else:
            staging.clean()

    def _aside(self, task: RestoreTask) -> tuple[Staging, JournalFile]:
        staging = Staging(
            self.backup, self.storage, self.transfer, self.run, name=self.name, target=task.target
        )
        return staging, JournalFile(self.storage, staging.prefix, self.run)

    def _fill(
        self,
        task: RestoreTask,
        groups: list[list[ImportGroup]],
        staging: Staging,
        journal: JournalFile,
        *,
        resumed: bool,
    ) -> int:
        """Everything up to the last row. When it fails, a collection that this run made is taken away again."""
        label = str(task.target)
        self._stage(label, groups, staging, journal)
        made = resumed and journal.journal.created
        importer = Importer(
            self.milvus, journal, self.run, self.slots, label=label, cut=self.options.truncate
        )
        try:
            if not resumed:
                made = self._create(task, journal)
            self.run.phase("import", label)
            return sum(importer.run_all(stage, self._request(task, staging)) for stage in groups)
        except BaseException:
            if made:
                self._undo(task, journal, left_running=importer.left_running)
            raise

    def _stage(
        self, label: str, groups: list[list[ImportGroup]], staging: Staging, journal: JournalFile
    ) -> None:
        flat = [group for stage in groups for group in stage]
        staged = [group for group in flat if group.staged and not journal.is_done(group.key)]
        if staged:
            self.run.phase("stage", label)
        for group in staged:
            staging.stage(group)

    # -- the target ----------------------------------------------------------------------------------------------

    def _create(self, task: RestoreTask, journal: JournalFile) -> bool:
        database, name = task.target.database, task.target.collection
        options = self.options
        if not options.skip_create:
            self.run.phase("create", str(task.target))
            if options.drop_existing and self.milvus.has_collection(database, name):
                self.milvus.drop_collection(database, name)
            journal.begin(collection_id=0, created=True)
            schema = target_schema(task, options)
            self.run.retry.call(
                f"create {task.target}",
                lambda: self.milvus.create_collection(
                    database,
                    schema,
                    shards=target_shards(task, options),
                    consistency_level=task.record.consistency_level,
                    partitions=_partition_count(task),
                    properties=target_properties(task, options),
                ),
            )
        made = not options.skip_create
        try:
            self._equip(task, journal, made=made)
        except BaseException:
            if made:
                self._undo(task, journal)
            raise
        return made

    def _equip(self, task: RestoreTask, journal: JournalFile, *, made: bool) -> None:
        """Indexes and partitions; then it is noted whose collection this is, so that a later run can go on with it."""
        database, name = task.target.database, task.target.collection
        info = self.milvus.describe(database, name)
        if self.options.drop_index:
            for index in info.indexes:
                self.milvus.drop_index(database, name, index)
        if self.options.rebuild_index:
            for index in target_indexes(task, self.options):
                self.run.retry.call(
                    f"create index {index.index_name} of {task.target}",
                    lambda index=index: self.milvus.create_index(database, name, index),  # type: ignore[misc] # bound at once
                )
        present = {partition.name for partition in info.partitions}
        for partition in task.record.partition_backups:
            if partition.partition_name not in present:
                self.run.retry.call(
                    f"create partition {partition.partition_name} of {task.target}",
                    lambda at=partition.partition_name: self.milvus.create_partition(database, name, at),  # type: ignore[misc] # bound at once
                )
        journal.begin(collection_id=info.id, created=made)

    def _undo(self, task: RestoreTask, journal: JournalFile, *, left_running: bool = False) -> None:
        """Nothing half restored stays visible, unless Milvus is still at it; an interrupted run still gets to do this."""
        why = "Milvus still imports into it"
        if not left_running:
            try:
                self.milvus.drop_collection(task.target.database, task.target.collection)
            except MbkError as error:
                why = f"it could not be dropped, {error}"
            else:
                return
        journal.is_needed = True
        self.run.notice(
            "half-restored",
            f"{task.target} is incomplete, run the same restore again: {why}",
            str(task.target),
        )

    # -- the data ------------------------------------------------------------------------------------------------

    def _request(self, task: RestoreTask, staging: Staging) -> Callable[[ImportGroup], ImportRequest]:
        def request(group: ImportGroup) -> ImportRequest:
            return ImportRequest(
                database=task.target.database,
                collection=task.target.collection,
                partition=group.partition,
                files=(staging.paths(group),),
                l0=group.l0,
                end_ts=self._boundary(task, group) if self.options.truncate else 0,
                storage_version=group.storage_version,
                ezk=task.ezk,
            )

        return request

    def _boundary(self, task: RestoreTask, group: ImportGroup) -> int:
        """The hybrid timestamp of the flush on the group's channel."""
        checkpoints = task.record.channel_checkpoints
        channel = group.v_channel or (next(iter(checkpoints)) if len(checkpoints) == 1 else "")
        if channel not in checkpoints:
            raise UsageError(
                f"{task.source} cannot be cut at the backup's time: the backup does not say which segment "
                "belongs to which channel",
                hint="restore without truncate_binlog_by_ts",
            )
        return timestamp(checkpoints[channel])

    def _compare(
        self, task: RestoreTask, groups: list[list[ImportGroup]], rows: int, started: float
    ) -> CollectionOutcome:
        """Rows expected against rows present: those of the segments, or the live ones that the backup counted.

        Each job without deletes was checked to the row when it ended. The count of live rows was the same before the
        flush and after the copying, but as many may have come as went in between: a difference is told, no error.
        """
        flat = [group for stage in groups for group in stage]
        stored = sum(group.rows for group in flat)
        deletes = any(group.has_deletes for group in flat)
        counted = None if task.partial else self.rows.get(str(task.record.collection_id))
        has_ttl = TTL in as_dict(task.record.properties)
        # What L0 segments delete is applied when rows are read, so no import counts it.
        later = any(group.l0 for group in flat)
        known = not deletes or (counted is not None and not later)
        exact = not self.options.truncate and not has_ttl and known
        expected = counted if deletes and exact and counted is not None else stored
        present = None if self.options.meta_only else rows
        notes: tuple[str, ...] = ()
        if not exact and not self.options.meta_only:
            notes = ("rows expected is an upper bound: deleted rows are not known",)
        elif present is not None and present != expected:
            notes = (f"{expected} rows were counted when it was backed up: was it being written to?",)
            self.run.notice("rows-differ", f"{task.target} has {present} rows; {notes[0]}", str(task.target))
        return CollectionOutcome(
            str(task.source),
            str(task.target),
            DONE,
            objects=sum(place.objects for group in flat for place in group.places),
            size=sum(group.size for group in flat),
            rows_expected=None if self.options.meta_only else expected,
            rows_present=present,
            seconds=time.monotonic() - started,
            notes=notes,
        )

    # -- afterwards ----------------------------------------------------------------------------------------------

    def _finish(self, task: RestoreTask) -> list[str]:
        """Index, aliases and load state. The data is there by now: what fails here is told and takes nothing back."""
        steps: list[tuple[str, Callable[[RestoreTask], None]]] = []
        if self.options.rebuild_index and self.options.wait_index:
            steps.append(("index", self._wait_for_indexes))
        if self.options.aliases:
            steps.append(("aliases", self._create_aliases))
        if self.options.load and task.record.load_state == LOADED:
            steps.append(("load", self._load))
        notes = []
        for phase, step in steps:
            self.run.phase(phase, str(task.target))
            try:
                step(task)
            except MbkError as error:
                if concerns_everything(error):
                    raise
                notes.append(f"{phase}: {error.message}")
                self.run.notice(f"{phase}-failed", f"{task.target}: {error}", str(task.target))
        return notes

    def _wait_for_indexes(self, task: RestoreTask) -> None:
        while True:
            states = self.run.retry.call(
                f"ask for the indexes of {task.target}",
                lambda: self.milvus.index_states(task.target.database, task.target.collection),
            )
            failed = next((state for state in states if state.failed), None)
            if failed is not None:
                raise MilvusError(f"index {failed.name} of {task.target} failed: {failed.failed}")
            if all(state.finished for state in states):
                return
            self.run.sleep(INDEX_POLL)

    def _create_aliases(self, task: RestoreTask) -> None:
        for alias in task.record.aliases:
            self.milvus.create_alias(task.target.database, task.target.collection, alias)

    def _load(self, task: RestoreTask) -> None:
        database, name = task.target.database, task.target.collection
        loaded = [part.partition_name for part in task.record.partition_backups if part.load_state == LOADED]
        whole = len(loaded) == len(task.record.partition_backups)
        self.milvus.load(database, name, partitions=() if whole else loaded)
        while self.milvus.load_progress(database, name) < 100:
            self.run.sleep(LOAD_POLL)


def _partition_count(task: RestoreTask) -> int:
    schema = task.record.schema
    keyed = schema is not None and any(field.is_partition_key for field in schema.fields)
    return len(task.record.partition_backups) if keyed else 0
