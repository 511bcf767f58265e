"""Restoring collections from the snapshots in a backup, which Milvus itself reads.

See docs/reference/milvus-protocol.md#snapshots.

Schema, partitions, indexes and rows are restored unchanged: options that would change them are refused before the first
change. Properties and parameters to skip are deleted afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import partial

from mbk.engine.formats.snapshot.jobs import External, SnapshotJob, require_bundle
from mbk.engine.restore.exchange import Exchange
from mbk.engine.restore.finish import Finish
from mbk.engine.restore.journal import JournalFile, restore_temp
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.restore.target import Target, TargetKept
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.run import Run
from mbk.errors import AlreadyExists, InvalidBackup, MbkError, Unreachable, UsageError
from mbk.frozen import frozen
from mbk.model.layout import BackupLayout
from mbk.model.options import RestoreOptions
from mbk.model.records import KeyValue, SnapshotBackup
from mbk.model.reports import CollectionOutcome, TransferStats
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature

#: The property through which Milvus changes a description (milvus: pkg/common/common.go, CollectionDescription).
DESCRIPTION = "collection.description"


def require_restorable(
    milvus: Milvus, name: str, tasks: Sequence[RestoreTask], options: RestoreOptions, run: Run
) -> None:
    """`UsageError` names every requested option that snapshots do not support."""
    if Feature.SNAPSHOT not in milvus.features:
        raise UsageError(
            "backup {backup!r} consists of snapshots and needs Milvus 3.0 or newer, this is {version}",
            code="snapshot-restore-unsupported",
            backup=name,
            version=milvus.version,
        )
    if refused := list(dict.fromkeys(_refused(tasks, options))):
        raise UsageError(
            "backup {backup!r} consists of snapshots, which cannot be restored with {options}",
            code="snapshot-options-unsupported",
            backup=name,
            options=", ".join(refused),
            hint="leave these out",
        )
    if options.auto_index or options.drop_index:
        run.notice("snapshot-indexes", "the indexes are restored from the snapshots, unchanged")


def _refused(tasks: Sequence[RestoreTask], options: RestoreOptions) -> Iterator[str]:
    if options.skip_create:
        yield "skip_create_collection"
    if options.meta_only:
        yield "meta_only"
    if options.truncate:
        yield "--at-backup-time"
    if options.ezk_mapping:
        yield "an ezk mapping"
    for task in tasks:
        shards = task.record.shards_num
        if task.partial:
            yield f"single partitions of {task.source}"
        if task.shards not in (0, shards) or (options.max_shards and shards > options.max_shards):
            yield f"a number of shards other than the {shards} of {task.source}"


@frozen(kw_only=True)
class SnapshotRestorer:
    """Restores one collection per call; several threads may call it.

    The journals are in Milvus' own storage. ``rows``: exact row counts of the backup. ``scanned``: what there is to
    restore into each target, once scanned.
    """

    context: ClusterContext
    place: BackupLayout
    external: External
    options: RestoreOptions
    name: str
    restore_id: str
    rows: Mapping[str, int]
    scanned: Mapping[CollectionName, CollectionOutcome] = field(default_factory=dict)

    @property
    def milvus(self) -> Milvus:
        return self.context.milvus

    @property
    def run(self) -> Run:
        return self.context.run

    @property
    def stats(self) -> TransferStats:
        """Milvus reads everything itself."""
        return TransferStats()

    def with_scanned(self, scanned: Mapping[CollectionName, CollectionOutcome]) -> SnapshotRestorer:
        return replace(self, scanned=scanned)

    def scan(self, task: RestoreTask) -> CollectionOutcome:
        """What there is to restore; `VerificationFailed` if the bundle is incomplete. Changes nothing."""
        files = require_bundle(
            self.context.backup_storage, self.place, _bundle(task), str(task.source), self.run
        )
        return CollectionOutcome(
            str(task.source),
            str(task.target),
            CollectionState.DONE,
            objects=len(files),
            size=sum(entry.size for entry in files),
            rows_expected=self.rows.get(str(task.record.collection_id)),
        )

    def restore(self, task: RestoreTask, *, resumed: bool) -> CollectionOutcome:
        started = time.monotonic()
        scanned, journal = self.scanned[task.target], self._journal(task)
        journal.load(backup_id=self.restore_id, target=str(task.target))
        target = Target(self.milvus, self.run, self.options, task, journal)
        exchange = Exchange(self.context, task, journal, self.restore_id)
        if not resumed:
            journal.reset()
            try:
                self._make(task, target, journal)
            except TargetKept as kept:
                raise kept.cause from kept.cause.__cause__
            except BaseException:
                journal.forget()
                raise
        elif not task.beside:
            exchange.finish()
        outcome = self._replace(task, target, exchange) if task.beside else self._completed(task, scanned)
        return replace(outcome, seconds=time.monotonic() - started)

    def _replace(self, task: RestoreTask, target: Target, exchange: Exchange) -> CollectionOutcome:
        """Puts the collection in the place of the one that is there, which stays if that fails."""
        with exchange.undoing(target, exchange.journal.forget):
            outcome = self._completed(task, self.scanned[task.target])
            exchange.make()
        exchange.finish()
        finish = Finish(self.milvus, self.run, self.options, self.context.pace)
        return replace(outcome, notes=(*outcome.notes, *finish.add_aliases(replace(task, beside=""))))

    def _completed(self, task: RestoreTask, scanned: CollectionOutcome) -> CollectionOutcome:
        info = self.milvus.inventory.describe(task.made.database, task.made.collection)
        # The indexes come with the snapshot, requested or not.
        finish = Finish(
            self.milvus,
            self.run,
            replace(self.options, rebuild_index=bool(info.indexes)),
            self.context.pace,
        )
        notes = (*self._changed(task, info), *finish.run_all(task))
        present = finish.live_rows(task)
        if present is not None and scanned.rows_expected not in (None, present):
            notes = (*notes, finish.rows_differ(task, present=present, expected=scanned.rows_expected))
        return replace(scanned, rows_present=present, notes=notes)

    def conclude(self, task: RestoreTask) -> None:
        """Call it when the whole restore is done: until then the journal tells a later run whose the target is."""
        self._journal(task).forget()

    def _journal(self, task: RestoreTask) -> JournalFile:
        return JournalFile(
            self.context.storage, restore_temp(self.context.storage, self.name, task.target), self.run
        )

    def _make(self, task: RestoreTask, target: Target, journal: JournalFile) -> None:
        """Creates the target; drops it again if that fails, as a failed job leaves it behind."""
        label = str(task.target)
        self.run.phase("create", label)
        target.make_room()
        journal.begin(collection_id=0, created=True, beside=task.beside)
        uri = self.external.uri(f"{self.place.prefix}{_bundle(task).metadata_path}")
        running: SnapshotJob | None = None
        try:
            job = self.run.retry.call(f"restore the snapshot of {label}", self._start, task, uri)
            running = SnapshotJob(
                self.run,
                label,
                "snapshot restore",
                job,
                lambda: self.milvus.snapshots.restore_state(job),
                self.context.pace.snapshots,
            )
            self.run.phase("import", label)
            running.wait()
            made = self.milvus.inventory.describe(task.made.database, task.made.collection)
            journal.begin(collection_id=made.id, created=True, beside=task.beside)
        except AlreadyExists:
            raise  # created by another client
        except BaseException as error:
            target.undo(error, left_running=running is not None and not running.settle())
            raise

    def _start(self, task: RestoreTask, uri: str) -> str:
        try:
            return self.milvus.snapshots.restore(
                task.made.database, task.made.collection, uri=uri, spec=self.external.spec
            )
        except Unreachable as error:
            # Milvus may have started it all the same: another attempt would find the name taken by this very target.
            raise error.final() from error.__cause__

    # -- afterwards ------------------------------------------------------------------------------------------------

    def _changed(self, task: RestoreTask, info: CollectionInfo) -> list[str]:
        """The rows are restored by now: a failure here is a notice and undoes nothing."""
        notes = []
        for what, change in self._changes(task, info):
            try:
                self.run.retry.call(f"{what} of {task.target}", change)
            except MbkError as error:
                notes.append(f"{what}: {error.message}")
                self.run.notice(
                    "not-changed",
                    "{collection}: could not {change}: {reason}",
                    str(task.target),
                    change=what,
                    reason=error,
                )
        return notes

    def _changes(self, task: RestoreTask, info: CollectionInfo) -> Iterator[tuple[str, Callable[[], None]]]:
        database, name, milvus = info.database, info.name, self.milvus
        skipped = self.options.skip_params

        def present(kinds: tuple[str, ...], keys: Iterator[str]) -> list[str]:
            listed = frozenset[str]().union(*(skipped.get(kind, frozenset()) for kind in kinds))
            return sorted(listed.intersection(keys))

        if keys := present(("collectionProperties",), (pair.key for pair in info.properties)):
            yield (
                "delete properties",
                lambda: milvus.definitions.alter_collection(database, name, delete_keys=keys),
            )
        for item in info.schema.fields:
            params = (pair.key for pair in (*item.type_params, *item.index_params))
            if dropped := present(("fieldTypeParams", "fieldIndexParams"), params):
                yield (
                    f"delete parameters of field {item.name}",
                    partial(milvus.definitions.alter_field, database, name, item.name, delete_keys=dropped),
                )
        for index in info.indexes:
            if dropped := present(("indexParams",), iter(index.params)):
                yield (
                    f"delete parameters of index {index.index_name}",
                    partial(
                        milvus.definitions.alter_index, database, name, index.index_name, delete_keys=dropped
                    ),
                )
        if task.description is not None:
            described = KeyValue(key=DESCRIPTION, value=task.description)
            yield (
                "change the description",
                lambda: milvus.definitions.alter_collection(database, name, properties=[described]),
            )


def _bundle(task: RestoreTask) -> SnapshotBackup:
    if task.record.snapshot_backup is None or "snapshots/" not in task.record.snapshot_backup.metadata_path:
        raise InvalidBackup(
            "collection {collection} in the backup has no snapshot",
            code="snapshot-missing",
            collection=task.source,
        )
    return task.record.snapshot_backup
