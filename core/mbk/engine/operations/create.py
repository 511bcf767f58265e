"""The use-case `create`: from a running Milvus to a committed backup.

Order (DESIGN.md 6): the name is taken, all collections are described, a line is drawn, and the collections are copied
and verified; the level files follow, and ``full_meta.json`` last. Whatever happens before that leaves an incomplete
backup, which `list` shows, ``create --resume`` completes and `delete` removes.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from mbk.engine.backup.extras import add_zone_keys, read_rbac, rpc_channel, with_index_extras
from mbk.engine.backup.flush import FlushBoundary
from mbk.engine.backup.gc_pause import Lease, pausing
from mbk.engine.backup.inventory import Survey, narrowed, survey, tell_new
from mbk.engine.formats.binlog.backup import LISTING_PATIENCE, CollectionBackup, CollectionWorker, label_of
from mbk.engine.formats.binlog.details import SegmentDetails
from mbk.engine.formats.binlog.discover import refuse_manifests, require_milvus_data
from mbk.engine.formats.outcomes import Outcomes
from mbk.engine.formats.snapshot.backup import BINLOG, SnapshotWorker, chosen_format, refuse_partitions, sweep
from mbk.engine.formats.snapshot.jobs import SNAPSHOT, External
from mbk.engine.operations.limits import BackupLimits
from mbk.engine.repository.adopt import Adopted, adopt
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.commit import BackupFiles
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import CollectionNotFound, MbkError, PartialFailure, UsageError
from mbk.model.manifest import CREATE, OwnMeta, now
from mbk.model.options import CreateOptions, Strategy
from mbk.model.records import BackupExtras
from mbk.model.reports import CollectionOutcome, RunReport, TransferStats, check_name
from mbk.model.selection import CollectionName, Selection
from mbk.model.states import CollectionState
from mbk.ports.metastore import MetaStore
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, FlushAllPoint, SegmentInfo
from mbk.ports.storage import Storage

Infos = Mapping[CollectionName, CollectionInfo]


@dataclass(slots=True)
class Create:
    """One run of `create`. ``tool`` stands in the backup as its maker, ``id`` as its id; empty: a new one.

    ``metastore`` is needed for ``index_extra`` only; ``rpc_channel`` is the name of 2.5's replication channel.
    """

    milvus: Milvus
    source: Storage
    destination: Storage
    run: Run
    limits: BackupLimits
    tool: str
    id: str = ""
    metastore: MetaStore | None = None
    rpc_channel: str = ""

    def execute(self, name: str, options: CreateOptions) -> RunReport:
        """Makes the backup. `PartialFailure` carries the report when some collections are in it and others are not."""
        check_name(name)
        started = time.monotonic()
        options = replace(options, strategy=self._strategy(options))
        catalog = Catalog(self.destination, self.run)
        files = BackupFiles(self.destination, catalog, self.run, name)
        outcomes = Outcomes(self.run)
        self.source.check()
        self.destination.check(create=not options.dry_run)
        with SegmentSpool() as spool, self._alone(name, options):
            partial = files.check_name(resume=options.resume)
            own = OwnMeta(
                tool=self.tool, id=self.id or str(uuid.uuid4()), name=name, started=now(), command=CREATE
            )
            external = self._format(own, catalog, options)
            options = replace(options, format=own.format or BINLOG)
            before = adopt(catalog, name, spool) if partial else Adopted(own, [], None, [])
            selection = _asked_for(options.selection, before)
            held = {CollectionName.parse(backup.outcome.source) for backup in before.collections}
            found = self._survey(selection, held)
            infos = self._describe(found, selection, options, outcomes)
            if options.dry_run:
                planned = [self._plan(info) for info in infos.values()]
                return self._report(name, before.own, started, [*planned, *outcomes.items], TransferStats())
            outcomes.require(list(infos))
            if options.strategy is not Strategy.META_ONLY and external is None:
                require_milvus_data(self.source, self.milvus, list(infos.values()), self.run)
            add_zone_keys(self.milvus, found.databases, self.run)
            if external is not None:
                before.own.snapshots = sorted({*own.snapshots, *map(str, infos)})
            if not partial or external is not None:
                files.take_name(before.own, resume=options.resume)
            boundary = FlushBoundary(self.milvus, self.run, options.strategy)
            if external is None:
                done, stats = self._copy(
                    infos, spool, files, before.own.id, boundary, selection, options, outcomes
                )
            else:
                done, stats = self._export(external, infos, files, before.own, boundary, options, outcomes)
            outcomes.require(done)
            tell_new(self.milvus, selection, held.union(found.names), self.run)
            done = [*before.collections, *done]
            if external is not None:
                sweep(self.destination, files.place, done, self.run)
            elif options.resume or outcomes.has_skipped or any(backup.replaced for backup in done):
                files.sweep(done, {info.id for label, info in infos.items() if str(label) in outcomes.errors})
            self._commit(files, before, found, done, spool, boundary.flushed, options, outcomes)
        all_outcomes = [*(backup.outcome for backup in done), *outcomes.items]
        report = self._report(name, before.own, started, all_outcomes, stats)
        if report.failed:
            raise PartialFailure(
                f"{len(report.failed)} of {len(report.collections)} collections are not in backup {name!r}",
                report=report,
                hint=f"mend them and run: mbk create -n {name} --resume",
            )
        return report

    # -- before anything is written ------------------------------------------------------------------------------

    def _alone(self, name: str, options: CreateOptions) -> AbstractContextManager[None]:
        if options.dry_run:
            return nullcontext()
        return hold(self.destination, name, f"backup of {name!r}", self.run)

    def _strategy(self, options: CreateOptions) -> Strategy:
        if options.strategy is Strategy.BULK_FLUSH and Feature.FLUSH_ALL not in self.milvus.features:
            raise UsageError(
                f"strategy bulk_flush needs Milvus 2.6.11, this one is {self.milvus.version}",
                hint="use --strategy serial_flush",
            )
        if options.index_extra and self.metastore is None:
            raise UsageError(
                "index extras are read from Milvus' etcd, which is not given", hint="set milvus.etcd"
            )
        return options.strategy

    def _format(self, own: OwnMeta, catalog: Catalog, options: CreateOptions) -> External | None:
        """What Milvus writes by when the backup is made of snapshots. ``own`` takes over what a killed run noted."""
        earlier = catalog.read_own(own.name) if options.resume else OwnMeta()
        external = chosen_format(
            self.milvus,
            self.source,
            self.destination,
            options,
            self.run,
            before=earlier.format if earlier.id else None,
        )
        own.format = "" if external is None else SNAPSHOT
        own.snapshots = earlier.snapshots
        return external

    def _survey(self, selection: Selection, held: Set[CollectionName]) -> Survey:
        """What a partial backup holds already is not done again."""
        found = survey(self.milvus, selection, self.run)
        found.names = [name for name in found.names if name not in held]
        found.missing = [name for name in found.missing if name not in held]
        return found

    def _describe(
        self, found: Survey, selection: Selection, options: CreateOptions, outcomes: Outcomes
    ) -> Infos:
        """All collections are described before the first flush. One that is gone is told of and does not stop the rest."""
        for name in found.missing:
            error = CollectionNotFound(f"collection {name} does not exist", hint="check --filter")
            outcomes.fail(str(name), error)
        infos: dict[CollectionName, CollectionInfo] = {}
        with Pool(self.run.budget.collections, self.run.cancelled, name="mbk-describe") as pool:
            described = dict(pool.map(self._described, found.names))
        for name in found.names:
            info = described[name]
            if info is None:
                outcomes.skip(str(name), "dropped during the backup")
            elif info.external:
                self.run.notice("external-collection", f"{name} is left out: its data lies outside of Milvus")
                outcomes.skip(str(name), "external: its data lies outside of Milvus")
            else:
                self._accept(name, info, infos, selection, options, outcomes)
        return infos

    def _described(self, name: CollectionName) -> tuple[CollectionName, CollectionInfo | None]:
        try:
            return name, self.run.retry.call(
                f"describe {name}", self.milvus.inventory.describe, name.database, name.collection
            )
        except CollectionNotFound:
            return name, None

    def _accept(
        self,
        name: CollectionName,
        info: CollectionInfo,
        infos: dict[CollectionName, CollectionInfo],
        selection: Selection,
        options: CreateOptions,
        outcomes: Outcomes,
    ) -> None:
        try:
            info = narrowed(info, selection)
            if options.index_extra and self.metastore is not None:
                info = with_index_extras(self.metastore, info, self.run)
            if not info.partitions:
                outcomes.skip(str(name), "none of its partitions is chosen")
                return
            if options.format == SNAPSHOT:
                refuse_partitions(name, selection)
            elif Feature.SNAPSHOT in self.milvus.features and options.strategy is not Strategy.META_ONLY:
                # Only such servers have segments that the format cannot hold.
                refuse_manifests(self._segments(info), f"a segment of {name}")
        except MbkError as error:
            if options.fail_fast or concerns_everything(error):
                raise
            outcomes.fail(str(name), error)
        else:
            infos[name] = info

    def _plan(self, info: CollectionInfo) -> CollectionOutcome:
        label = label_of(info)
        rows = sum(segment.rows for segment in self._segments(info) if not segment.is_l0)
        return CollectionOutcome(label, label, CollectionState.PLANNED, rows_expected=rows)

    def _segments(self, info: CollectionInfo) -> list[SegmentInfo]:
        return self.run.retry.patiently(
            LISTING_PATIENCE,
            f"list segments of {label_of(info)}",
            self.milvus.segments.persistent,
            info.database,
            info.name,
        )

    # -- the work ------------------------------------------------------------------------------------------------

    def _copy(
        self,
        infos: Infos,
        spool: SegmentSpool,
        files: BackupFiles,
        task: str,
        boundary: FlushBoundary,
        selection: Selection,
        options: CreateOptions,
        outcomes: Outcomes,
    ) -> tuple[list[CollectionBackup], TransferStats]:
        """Draws the line, copies and verifies all collections; with those that are done."""
        with (
            Transfer(
                source=self.source,
                destination=self.destination,
                run=self.run,
                limits=self.limits.transfer,
            ) as transfer,
            Pool(self.run.budget.segments, self.run.cancelled, name="mbk-segment") as segment_pool,
            Pool(self.run.budget.collections, self.run.cancelled, name="mbk-collection") as pool,
            self._gc_pause(options) as pause_gc,
        ):
            for info in infos.values():
                self.run.phase("waiting", label_of(info))
            boundary.begin(list(infos.values()), pool)
            worker = CollectionWorker(
                milvus=self.milvus,
                source=self.source,
                destination=self.destination,
                place=files.place,
                transfer=transfer,
                segment_pool=segment_pool,
                spool=spool,
                run=self.run,
                boundary=boundary,
                details=SegmentDetails(self.milvus, self.run),
                pause_gc=pause_gc,
                selection=selection,
                task=task,
                resume=options.resume,
            )
            done = outcomes.gather(
                worker, list(infos.values()), pool, fail_fast=options.fail_fast, undo=spool.drop
            )
        return done, transfer.stats

    def _gc_pause(
        self, options: CreateOptions
    ) -> AbstractContextManager[Callable[[int], AbstractContextManager[Lease | None]]]:
        wanted = self.limits.pause_gc if options.pause_gc is None else options.pause_gc
        if not wanted or options.strategy is Strategy.META_ONLY:
            return nullcontext(lambda _collection: nullcontext())
        return pausing(self.milvus, self.run, seconds=self.limits.gc_seconds)

    def _export(
        self,
        external: External,
        infos: Infos,
        files: BackupFiles,
        own: OwnMeta,
        boundary: FlushBoundary,
        options: CreateOptions,
        outcomes: Outcomes,
    ) -> tuple[list[CollectionBackup], TransferStats]:
        """As `_copy`, but Milvus itself writes the data."""
        worker = SnapshotWorker(
            milvus=self.milvus,
            destination=self.destination,
            place=files.place,
            external=external,
            run=self.run,
            boundary=boundary,
            task=own.id,
            name=own.name,
            times=self.limits.snapshots,
        )
        with Pool(self.run.budget.collections, self.run.cancelled, name="mbk-collection") as pool:
            worker.drop_left(sorted({*own.snapshots} - {str(name) for name in infos}))
            boundary.begin(list(infos.values()), pool)
            done = outcomes.gather(worker, list(infos.values()), pool, fail_fast=options.fail_fast)
        own.snapshots = sorted(worker.left)
        objects, size = sum(item.outcome.objects for item in done), sum(item.outcome.size for item in done)
        return done, TransferStats({"server": objects}, {"server": size})

    # -- the end -------------------------------------------------------------------------------------------------

    def _commit(
        self,
        files: BackupFiles,
        before: Adopted,
        found: Survey,
        done: Sequence[CollectionBackup],
        spool: SegmentSpool,
        flushed: FlushAllPoint | None,
        options: CreateOptions,
        outcomes: Outcomes,
    ) -> None:
        self.run.phase("commit")
        own = before.own
        databases = {item.db_name: item for item in (*before.databases, *found.databases)}
        backup = BackupExtras(
            id=own.id,
            name=own.name,
            size=sum(item.record.size for item in done),
            milvus_version=self.milvus.version,
            format=own.format,
            database_backups=list(databases.values()),
            rbac_meta=read_rbac(self.milvus, self.run) if options.rbac else before.rbac,
            rpc_channel_info=rpc_channel(self.milvus, self.rpc_channel, self.run),
        )
        if before.collections:
            # No message is true for collections on both sides of two flushes; each has its own checkpoints.
            flushed = None
        if flushed is not None:
            backup.flush_all_msgs_base64 = {
                channel: base64.b64encode(message).decode() for channel, message in flushed.messages.items()
            }
            backup.control_channel_name = flushed.control_channel
            backup.physical_channel_names = list(flushed.physical_channels)
        own.finished = now()
        own.rows = {str(item.record.collection_id): item.rows for item in done if item.rows is not None}
        own.protection = {
            str(item.record.collection_id): item.protection for item in done if item.protection is not None
        }
        files.commit(backup, own, done, spool, outcomes.failed)

    def _report(
        self,
        name: str,
        own: OwnMeta,
        started: float,
        outcomes: list[CollectionOutcome],
        transfer: TransferStats,
    ) -> RunReport:
        return RunReport(
            command="create",
            name=name,
            id=own.id,
            location=f"{self.destination.location}/{name}",
            milvus_version=self.milvus.version,
            seconds=time.monotonic() - started,
            collections=tuple(outcomes),
            transfer=transfer,
            notices=tuple(self.run.notices),
        )


def _asked_for(selection: Selection, before: Adopted) -> Selection:
    """Of a partial backup, what failed is asked for by itself."""
    if before.own.failed and selection.everything:
        return Selection(collections=frozenset(map(CollectionName.parse, before.own.failed)))
    return selection
