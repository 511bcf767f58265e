"""Backing up one collection as a snapshot that Milvus itself exports (FORMAT.md 6.2).

The snapshot holds its files against compaction and garbage collection for as long as it is there, and nothing else
would drop it: it is dropped whatever happens. Which collections may have one is written into ``mbk.json`` first, so that
a run that completes a killed one finds what that left in Milvus.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mbk.engine.backup.flush import FlushBoundary, moment
from mbk.engine.formats.binlog.backup import CollectionBackup, label_of
from mbk.engine.formats.snapshot.jobs import (
    SNAPSHOT,
    External,
    SnapshotJob,
    bundle_of,
    export_root,
    require_bundle,
)
from mbk.engine.operations.limits import JobTimes
from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import CollectionNotFound, ImportFailed, MbkError, Unsupported, UsageError
from mbk.model.events import ObjectCopied, WorkPlanned
from mbk.model.layout import BackupLayout
from mbk.model.manifest import NONE, OWN, Protection
from mbk.model.options import CreateOptions, Strategy
from mbk.model.records import SnapshotBackup
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, SnapshotState
from mbk.ports.storage import Storage

BINLOG = "binlog"
#: Of the names of our snapshots; the backup's name follows.
PREFIX = "mbk_"


def chosen_format(
    milvus: Milvus,
    source: Storage,
    destination: Storage,
    options: CreateOptions,
    run: Run,
    *,
    before: str | None,
) -> External | None:
    """What snapshots are exported by; None: the backup holds binlogs.

    ``auto`` takes snapshots where segments can be of a kind that binlogs cannot hold. ``before`` is the format of the
    backup that is being completed, which stays. Raises `UsageError` and `Unsupported`.
    """
    _require(milvus, options, before)
    by_default = Feature.SNAPSHOT in milvus.features and Feature.MANIFEST_SEGMENTS in milvus.features
    if before is not None:
        wanted = before == SNAPSHOT
    else:
        wanted = options.format == SNAPSHOT or (options.format == "auto" and by_default)
    if not wanted or options.strategy is Strategy.META_ONLY:
        return None
    try:
        return External.of(destination, source)
    except Unsupported as error:
        if options.format == SNAPSHOT or before is not None:
            raise
        run.notice("no-snapshot", f"binlogs are copied instead of snapshots: {error.message}")
        return None


def _require(milvus: Milvus, options: CreateOptions, before: str | None) -> None:
    if options.format not in ("auto", BINLOG, SNAPSHOT):
        raise UsageError(f"format {options.format!r} is unknown", hint="use auto, binlog or snapshot")
    if before is not None and options.format not in ("auto", before or BINLOG):
        raise UsageError(
            f"the backup was begun as {before or BINLOG} and cannot go on as {options.format}",
            hint="leave --format out",
        )
    if SNAPSHOT not in (options.format, before):
        return
    if options.strategy is Strategy.META_ONLY and before is None:
        raise UsageError("a snapshot is never without data", hint="leave --format snapshot or meta_only out")
    if Feature.SNAPSHOT not in milvus.features:
        raise UsageError(
            f"format snapshot needs a Milvus that exports snapshots (3.0), this one is {milvus.version}",
            hint="use --format binlog",
        )


def refuse_partitions(name: CollectionName, selection: Selection) -> None:
    if selection.narrows(name):
        raise UsageError(
            f"a snapshot holds all partitions of {name}",
            hint="choose the whole collection, or --format binlog",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotWorker:
    """Backs up collections one by one; several threads may use it at once. ``name`` is the backup's.

    ``left`` gathers the collections whose snapshot Milvus would not drop.
    """

    milvus: Milvus
    destination: Storage
    place: BackupLayout
    external: External
    run: Run
    boundary: FlushBoundary
    task: str
    name: str
    times: JobTimes = field(default_factory=JobTimes)
    left: list[str] = field(default_factory=list)

    @property
    def snapshot(self) -> str:
        return f"{PREFIX}{self.name}"

    def back_up(self, info: CollectionInfo) -> CollectionBackup:
        started = time.monotonic()
        label = label_of(info)
        backup = CollectionBackup.begun(info, task=self.task)
        line = self.boundary.draw(info, backup.record)
        state = self._exported(info, backup, label)
        objects = self._verified(backup, label, state)
        at = moment(backup.record.backup_timestamp) if line.protection.boundary != NONE else ""
        # One flush over all is no boundary here: the snapshot was made after it.
        backup.protection = Protection(boundary=OWN if at else NONE, at=at, gc_paused=True)
        if line.rows is not None:
            backup.rows = line.rows if line.rows == self.boundary.count(info) else None
        backup.end(objects=objects, seconds=time.monotonic() - started)
        return backup

    def drop_left(self, labels: Iterable[str]) -> None:
        """Drops what an earlier run of this backup left in Milvus."""
        for name in map(CollectionName.parse, labels):
            self._drop_or_tell(name.database, name.collection)

    def _exported(self, info: CollectionInfo, backup: CollectionBackup, label: str) -> SnapshotState:
        self.run.phase("snapshot", label)
        self._drop_dead(info, label)
        # One of that name would be taken as it is, and be as old as the run that left it.
        self._drop(info.database, info.name)
        try:
            backup.record.backup_timestamp = self.run.retry.call(
                f"make a snapshot of {label}",
                self.milvus.snapshots.create,
                info.database,
                info.name,
                self.snapshot,
                description=self._purpose(self.name),
            )
            return self._export(info, label)
        finally:
            self._drop_or_tell(info.database, info.name)

    def _export(self, info: CollectionInfo, label: str) -> SnapshotState:
        self.run.phase("copy", label)
        uri = self.external.uri(bundle_of(self.place))
        job = self.run.retry.call(
            f"export the snapshot of {label}",
            self.milvus.snapshots.export,
            info.database,
            info.name,
            self.snapshot,
            uri=uri,
            spec=self.external.spec,
        )
        export = SnapshotJob(
            self.run,
            label,
            "snapshot export",
            job,
            lambda: self.milvus.snapshots.export_state(job),
            self.times,
        )
        try:
            return export.wait()
        except BaseException as error:
            if not isinstance(error, ImportFailed):
                self.run.notice("export-ending", f"waiting for the export of {label} to end in Milvus", label)
            export.settle()
            raise

    def _verified(self, backup: CollectionBackup, label: str, state: SnapshotState) -> int:
        path = self.external.metadata_path(state.metadata_uri, self.place)
        bundle = SnapshotBackup(metadata_path=path, total_files=state.files, total_bytes=state.size)
        found = require_bundle(self.destination, self.place, bundle, label, self.run)
        size = sum(entry.size for entry in found)
        backup.record.snapshot_backup = bundle
        backup.record.size = state.size or size
        self.run.emit(WorkPlanned(collection=label, objects=len(found), size=size))
        for entry in found:
            self.run.emit(ObjectCopied(collection=label, key=entry.key, size=entry.size, how="server"))
        return len(found)

    def _purpose(self, name: str) -> str:
        return f"made by mbk for {self.destination.location}/{name}"

    def _drop_dead(self, info: CollectionInfo, label: str) -> None:
        """Drops what a killed run left whose backup was deleted since, which needs no Milvus: nobody else would.

        It must say that it was made for a backup at this very place, and nothing of that name may lie here: a run takes
        its name before it makes a snapshot.
        """
        catalog = Catalog(self.destination, self.run)
        try:
            found = self.run.retry.call(
                f"list the snapshots of {label}",
                self.milvus.snapshots.find,
                info.database,
                info.name,
                prefix=PREFIX,
            )
            for snapshot, description in found.items():
                name = snapshot.removeprefix(PREFIX)
                if name == self.name or description != self._purpose(name) or catalog.is_taken(name):
                    continue
                self.milvus.snapshots.drop(info.database, info.name, snapshot)
                self.run.notice(
                    "snapshot-dropped",
                    f"{label}: dropped snapshot {snapshot}, which a killed run left; its backup is deleted",
                    label,
                )
        except MbkError as error:
            if concerns_everything(error):
                raise
            self.run.notice("snapshots-unsure", f"{label}: old snapshots may be left: {error.message}", label)

    def _drop_or_tell(self, database: str, collection: str) -> None:
        """What is left holds files in Milvus until somebody drops it: it is told, and noted in the backup."""
        label = f"{database}.{collection}"
        try:
            self._drop(database, collection)
        except MbkError as error:
            self.left.append(label)
            self.run.notice(
                "snapshot-left",
                f"{label}: Milvus keeps snapshot {self.snapshot}, which holds its files: {error.message}",
                label,
            )

    def _drop(self, database: str, collection: str) -> None:
        """Works also when the run is cancelled. Milvus refuses for as long as it reads the snapshot itself."""
        deadline = time.monotonic() + self.times.drop
        while True:
            try:
                self.milvus.snapshots.drop(database, collection, self.snapshot)
            except CollectionNotFound:
                return  # it went with its collection
            except MbkError as error:
                if concerns_everything(error) or time.monotonic() > deadline:
                    raise
                time.sleep(min(self.times.poll, 1.0))
            else:
                return


def sweep(storage: Storage, place: BackupLayout, done: Sequence[CollectionBackup], run: Run) -> None:
    """Removes what exports wrote that did not end, or that a later one took the place of."""
    paths = [item.record.snapshot_backup.metadata_path for item in done if item.record.snapshot_backup]
    kept = tuple(export_root(place, path) for path in paths)
    bundle = f"{bundle_of(place)}/"
    stale = [entry.key for entry in listing.objects(storage, run, bundle) if not entry.key.startswith(kept)]
    if stale:
        run.retry.call(f"delete {stale[0]}", storage.delete, stale)
