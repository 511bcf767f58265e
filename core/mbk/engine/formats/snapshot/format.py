"""Snapshot backups: Milvus itself exports and restores the files; mbk says where, waits, and verifies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager

from mbk.engine.formats.base import (
    BackupFormat,
    BackupWork,
    Clusters,
    Compaction,
    Estimate,
    RestoreWork,
    StandbyRestore,
)
from mbk.engine.formats.snapshot.backup import SnapshotWorker, sweep
from mbk.engine.formats.snapshot.jobs import SNAPSHOT, External
from mbk.engine.formats.snapshot.kinds import any_manifests
from mbk.engine.formats.snapshot.recorded import require_recorded
from mbk.engine.formats.snapshot.restore import SnapshotRestorer, require_restorable
from mbk.engine.formats.snapshot.verifying import SnapshotVerifying
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.collections import CollectionBackup, label_of
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.context import ClusterContext, Context
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer.probe import ask
from mbk.errors import InvalidBackup, Unsupported, UsageError
from mbk.frozen import frozen
from mbk.model.layout import BackupLayout
from mbk.model.options import CreateOptions, Strategy
from mbk.model.records import Backup
from mbk.model.reports import CheckResult, CollectionOutcome
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature
from mbk.ports.storage import ObjectInfo, Storage


class SnapshotFormat:
    """Written and read by Milvus itself, from 3.0 on; also for segments that the binlog format does not support."""

    name = SNAPSHOT
    recorded = frozenset({SNAPSHOT})
    level_files = False

    def backup(
        self, context: ClusterContext, options: CreateOptions, selection: Selection, *, before: str | None
    ) -> BackupFormat | None:
        """``auto`` uses snapshots where segments are of a kind that the binlog format does not support."""
        requested = options.format == SNAPSHOT or before in self.recorded
        if requested:
            _require_possible(context, options, before)
        if options.strategy is Strategy.META_ONLY:
            return None
        if not requested and not _is_needed(context, options, selection, before):
            return None
        if options.incremental:
            raise UsageError(
                "snapshots share no objects: Milvus writes each of them as a whole",
                code="snapshot-incremental",
                hint="leave out --incremental" + ("" if requested else ", or back up with --format binlog"),
            )
        try:
            external = External.of(context.backup_storage, context.storage)
        except Unsupported as error:
            if requested:
                raise
            context.run.notice(
                "no-snapshot", "copying binlogs instead of snapshots: {reason}", reason=error.message
            )
            return None
        if context.limits.backup.incremental and options.incremental is None:
            context.run.notice(
                "snapshots-whole",
                "backup.layout is shared, but snapshots share no objects: this backup has its own",
            )
        return SnapshotBackupRun(context, external, selection, full=options.checksum == "full")

    def restore(self, context: ClusterContext, work: RestoreWork) -> SnapshotRestore:
        require_restorable(context.milvus, work.backup.name, work.tasks, work.options, context.run)
        restorer = SnapshotRestorer(
            context=context,
            place=work.place,
            external=External.of(context.backup_storage, context.storage),
            options=work.options,
            name=work.name,
            restore_id=work.id,
            rows=work.rows,
        )
        with Pool(context.run.budget.collections, context.run.cancelled, name="mbk-scan") as pool:
            scanned = dict(pool.map(lambda task: (task.target, restorer.scan(task)), work.tasks))
        require_recorded(context, work)
        return SnapshotRestore(restorer, scanned)

    def checks(self, milvus: Milvus, storage: Storage, backup_storage: Storage) -> Iterator[CheckResult]:
        """How Milvus reaches the backup storage, on servers where `create` may make snapshots."""
        if milvus.features >= {Feature.SNAPSHOT, Feature.MANIFEST_SEGMENTS}:
            yield ask(
                "snapshots",
                lambda: (
                    f"Milvus writes them to "
                    f"{External.of(backup_storage, storage).uri(backup_storage.location.root)}"
                ),
                optional="backups copy binlogs instead",
            )

    def verifying(self) -> SnapshotVerifying:
        return SnapshotVerifying()

    def require_movable(self, name: str) -> None:
        raise InvalidBackup(
            "backup {backup!r} consists of snapshots, which only work where they were written",
            code="snapshot-not-movable",
            backup=name,
            hint="back up again with --format binlog",
        )

    def belongings(self, context: Context, catalog: Catalog, committed: Committed) -> Iterator[ObjectInfo]:
        self.require_movable(committed.stored.layout.name)
        yield from ()

    def compact(self, context: Context, catalog: Catalog, name: str, *, full: bool) -> Compaction:
        raise UsageError(
            "backup {backup!r} consists of snapshots, which have no L0 segments",
            code="snapshot-without-l0",
            backup=name,
            hint="restore it as it is",
        )

    def standby(
        self,
        context: ClusterContext,
        catalog: Catalog,
        backup: Backup,
        clusters: Clusters,
    ) -> StandbyRestore:
        raise UsageError(
            "backup {backup!r} consists of snapshots, which cannot seed a standby",
            code="snapshot-cannot-seed-standby",
            backup=backup.name,
            hint="back up again with --format binlog --strategy bulk_flush --backup_index_extra",
        )


@frozen
class SnapshotBackupRun:
    context: ClusterContext
    external: External
    selection: Selection
    full: bool = False
    recorded: str = SNAPSHOT
    by_milvus: bool = True

    def accept(self, info: CollectionInfo) -> None:
        name = CollectionName(info.database, info.name)
        if self.selection.narrows(name):
            raise UsageError(
                "a snapshot always contains all partitions of {collection}",
                code="snapshot-partitions",
                collection=name,
                hint="select the whole collection, or use --format binlog",
            )

    def refuse(self, infos: Sequence[CollectionInfo]) -> None:
        """Nothing to check: Milvus reads its own data, wherever it is."""

    def estimate(self, info: CollectionInfo) -> Estimate:
        what = f"list segments of {label_of(info)}"
        milvus = self.context.milvus
        segments = self.context.run.retry.call(what, milvus.segments.persistent, info.database, info.name)
        return Estimate(rows=sum(segment.rows for segment in segments if not segment.is_l0))

    def expect(self, info: CollectionInfo) -> Estimate:
        """Only Milvus knows what it will export."""
        return Estimate()

    def begun(self, infos: Sequence[CollectionInfo], before: Collection[str]) -> tuple[str, ...]:
        return tuple(sorted({*before, *map(label_of, infos)}))

    @contextmanager
    def work(self, work: BackupWork) -> Iterator[SnapshotWorker]:
        worker = SnapshotWorker(
            context=self.context,
            place=work.place,
            external=self.external,
            points=work.points,
            spool=work.spool,
            task=work.id,
            name=work.name,
            full=self.full,
        )
        worker.drop_left(sorted({*work.before} - {label_of(info) for info in work.infos}))
        work.points.begin(work.infos, work.pool)
        yield worker

    def sweep(
        self,
        place: BackupLayout,
        done: Sequence[CollectionBackup],
        unfinished: Set[int],
        spool: SegmentSpool,
    ) -> None:
        sweep(self.context.backup_storage, place, done, self.context.run)


@frozen
class SnapshotRestore:
    restorer: SnapshotRestorer
    scanned: Mapping[CollectionName, CollectionOutcome]

    def estimate(self, target: CollectionName) -> Estimate:
        scanned = self.scanned[target]
        return Estimate(objects=scanned.objects, size=scanned.size, rows=scanned.rows_expected)

    @contextmanager
    def work(self) -> Iterator[SnapshotRestorer]:
        yield self.restorer.with_scanned(self.scanned)


def _is_needed(
    context: ClusterContext, options: CreateOptions, selection: Selection, before: str | None
) -> bool:
    able = context.milvus.features >= {Feature.SNAPSHOT, Feature.MANIFEST_SEGMENTS}
    return options.format == "auto" and before is None and able and any_manifests(context, selection)


def _require_possible(context: ClusterContext, options: CreateOptions, before: str | None) -> None:
    if options.strategy is Strategy.META_ONLY and before is None:
        raise UsageError(
            "a snapshot always contains data, strategy meta_only copies none",
            code="snapshot-without-data",
            hint="leave out --format snapshot or --strategy meta_only",
        )
    if Feature.SNAPSHOT not in context.milvus.features:
        raise UsageError(
            "format snapshot needs Milvus 3.0 or newer, this is {version}",
            code="snapshot-unsupported",
            version=context.milvus.version,
            hint="use --format binlog",
        )
