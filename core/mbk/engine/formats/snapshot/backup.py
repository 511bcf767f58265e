"""Backing up one collection as a snapshot that Milvus itself exports (docs/reference/milvus-protocol.md#snapshots).

A snapshot protects its files from compaction and garbage collection as long as it exists, and nothing else would drop it:
so it is dropped in any case. ``mbk.json`` lists the collections that may have one first, so that a run that completes a
killed one finds what that left in Milvus.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import field

from mbk.engine.backup.flush import ConsistencyPoints
from mbk.engine.formats.snapshot.jobs import (
    External,
    SnapshotJob,
    bundle_of,
    export_root,
    require_bundle,
)
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.collections import CollectionBackup, label_of
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.repository.timeline import moment
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.digests import OWN as XXH128
from mbk.engine.transfer.digests import sure
from mbk.engine.transfer.items import recorded
from mbk.engine.transfer.proof import digest_of
from mbk.errors import CollectionNotFound, ImportFailed, MbkError
from mbk.frozen import frozen
from mbk.model.events import ObjectCopied, WorkPlanned
from mbk.model.layout import BackupLayout
from mbk.model.manifest import NONE, OWN, Protection
from mbk.model.objects import ObjectRecord
from mbk.model.records import SnapshotBackup
from mbk.model.reports import TransferStats
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, SnapshotState
from mbk.ports.storage import ObjectInfo, Storage

#: Prefix of the snapshots' names; the backup's name follows.
PREFIX = "mbk_"


@frozen(kw_only=True)
class SnapshotWorker:
    """Backs up one collection per call; several threads may call it. ``name`` is the backup's. ``full``: every file is read,
    so that its digest is recorded.

    ``left``: collections whose snapshot Milvus did not drop.
    """

    context: ClusterContext
    place: BackupLayout
    external: External
    points: ConsistencyPoints
    spool: SegmentSpool
    task: str
    name: str
    full: bool = False
    _left: list[str] = field(default_factory=list)
    _counted: list[tuple[int, int]] = field(default_factory=list)

    @property
    def milvus(self) -> Milvus:
        return self.context.milvus

    @property
    def run(self) -> Run:
        return self.context.run

    @property
    def left(self) -> tuple[str, ...]:
        return tuple(sorted(self._left))

    @property
    def stats(self) -> TransferStats:
        """Milvus has written all objects itself."""
        objects, size = sum(pair[0] for pair in self._counted), sum(pair[1] for pair in self._counted)
        return TransferStats({"server": objects}, {"server": size})

    @property
    def snapshot(self) -> str:
        return f"{PREFIX}{self.name}"

    def back_up(self, info: CollectionInfo) -> CollectionBackup:
        started = time.monotonic()
        label = label_of(info)
        backup = CollectionBackup.begun(info, task=self.task)
        taken = self.points.take(info, backup.record)
        state = self._exported(info, backup, label)
        objects = self._verified(backup, label, state)
        at = moment(backup.record.backup_timestamp) if taken.protection.boundary != NONE else ""
        # A flush of all collections is not the consistency point here: the snapshot was made after it.
        backup.protection = Protection(boundary=OWN if at else NONE, at=at, gc_paused=True)
        if taken.rows is not None:
            backup.rows = taken.rows if taken.rows == self.points.count(info) else None
        self._counted.append((objects, backup.record.size))
        backup.end(objects=objects, seconds=time.monotonic() - started)
        return backup

    def drop_left(self, labels: Iterable[str]) -> None:
        """Drops what an earlier run of this backup left in Milvus."""
        for name in map(CollectionName.parse, labels):
            self._drop_or_notice(name.database, name.collection)

    def _exported(self, info: CollectionInfo, backup: CollectionBackup, label: str) -> SnapshotState:
        self.run.phase("snapshot", label)
        self._drop_orphaned(info, label)
        # An existing snapshot of that name would be reused, and be as old as the run that left it.
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
            self._drop_or_notice(info.database, info.name)

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
            self.context.pace.snapshots,
        )
        try:
            return export.wait()
        except BaseException as error:
            if not isinstance(error, ImportFailed):
                self.run.notice(
                    "export-ending", "waiting for Milvus to finish the export of {collection}", label
                )
            export.settle()
            raise

    def _verified(self, backup: CollectionBackup, label: str, state: SnapshotState) -> int:
        path = self.external.metadata_path(state.metadata_uri, self.place)
        bundle = SnapshotBackup(metadata_path=path, total_files=state.files, total_bytes=state.size)
        files = require_bundle(self.context.backup_storage, self.place, bundle, label, self.run)
        size = sum(entry.size for entry in files)
        backup.record.snapshot_backup = bundle
        backup.record.size = state.size or size
        self.spool.add_objects(backup.record.collection_id, self._recorded(files))
        self.run.emit(WorkPlanned(collection=label, objects=len(files), size=size))
        for entry in files:
            self.run.emit(ObjectCopied(collection=label, key=entry.key, size=entry.size, how="server"))
        return len(files)

    def _recorded(self, files: Iterable[ObjectInfo]) -> list[ObjectRecord]:
        """Milvus itself wrote the files: nobody knows digests of their source, so that what is recorded is as they are now."""
        storage, run = self.context.backup_storage, self.run

        def one(entry: ObjectInfo) -> ObjectRecord:
            digests = {**sure(entry)}
            if self.full:
                digests[XXH128] = digest_of(storage, entry.key, XXH128, run)
            return recorded(entry, below=self.place.prefix, digests=digests)

        if self.full:
            with Pool(run.budget.copies, run.cancelled, name="mbk-checksum") as pool:
                return [*pool.map(one, files)]
        entries = [one(entry) for entry in files]
        if not all(entry.digests for entry in entries):
            run.notice(
                "snapshots-unread",
                "{location} tells no digests of the files that Milvus wrote there, so that only their sizes and etags are "
                "recorded; --checksum full reads them",
                location=storage.location,
            )
        return entries

    def _purpose(self, name: str) -> str:
        return f"made by mbk for {self.context.backup_storage.location}/{name}"

    def _drop_orphaned(self, info: CollectionInfo, label: str) -> None:
        """Drops snapshots of killed runs whose backups were deleted since: nothing else would, as `delete` needs no Milvus.

        Only those whose description names a backup in this location, where nothing of that name exists any more: a run
        takes its name before it makes a snapshot.
        """
        catalog = Catalog(self.context.backup_storage, self.run)
        try:
            snapshots = self.run.retry.call(
                f"list the snapshots of {label}",
                self.milvus.snapshots.find,
                info.database,
                info.name,
                prefix=PREFIX,
            )
            for snapshot, description in snapshots.items():
                name = snapshot.removeprefix(PREFIX)
                if name == self.name or description != self._purpose(name) or catalog.is_taken(name):
                    continue
                self.milvus.snapshots.drop(info.database, info.name, snapshot)
                self.run.notice(
                    "snapshot-dropped",
                    "{collection}: dropped snapshot {snapshot}, left by a killed run whose backup has been deleted",
                    label,
                    snapshot=snapshot,
                )
        except MbkError as error:
            if concerns_everything(error):
                raise
            self.run.notice(
                "snapshots-unsure",
                "{collection}: snapshots of killed runs may remain: {reason}",
                label,
                reason=error.message,
            )

    def _drop_or_notice(self, database: str, collection: str) -> None:
        """A snapshot that stays keeps files in Milvus until it is dropped: it is a notice, and recorded in the backup."""
        label = f"{database}.{collection}"
        try:
            self._drop(database, collection)
        except MbkError as error:
            self._left.append(label)
            self.run.notice(
                "snapshot-left",
                "{collection}: Milvus keeps snapshot {snapshot} and its files: {reason}",
                label,
                snapshot=self.snapshot,
                reason=error.message,
            )

    def _drop(self, database: str, collection: str) -> None:
        """Works also in a cancelled run. Milvus refuses while it reads the snapshot itself."""
        deadline = time.monotonic() + self.context.pace.snapshots.drop
        while True:
            try:
                self.milvus.snapshots.drop(database, collection, self.snapshot)
            except CollectionNotFound:
                return  # dropped with its collection
            except MbkError as error:
                if concerns_everything(error) or time.monotonic() > deadline:
                    raise
                time.sleep(min(self.context.pace.snapshots.poll, 1.0))
            else:
                return


def sweep(storage: Storage, place: BackupLayout, done: Sequence[CollectionBackup], run: Run) -> None:
    """Removes files of exports that did not finish or that a later one replaced."""
    paths = [item.record.snapshot_backup.metadata_path for item in done if item.record.snapshot_backup]
    kept = tuple(export_root(place, path) for path in paths)
    bundle = f"{bundle_of(place)}/"
    stale = [entry.key for entry in listing.objects(storage, run, bundle) if not entry.key.startswith(kept)]
    if stale:
        run.retry.call(f"delete {stale[0]}", storage.delete, stale)
