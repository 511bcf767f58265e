"""The operation `create`: from a running Milvus to a committed backup.

The plan refuses everything that can be refused. Then the run takes the name and the consistency point, copies and
verifies the collections, and writes the level files, with ``full_meta.json`` last. A run that fails before that leaves an
incomplete backup, which `list` shows, ``create --resume`` completes and `delete` removes.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from msgspec import structs

from mbk.engine.backup.extras import read_rbac, rpc_channel, with_index_extras, with_zone_keys
from mbk.engine.backup.flush import ConsistencyPoints
from mbk.engine.backup.inventory import (
    Inventory,
    notice_new,
    require_present,
    take_inventory,
    with_partitions,
)
from mbk.engine.formats.base import BackupFormat, BackupWork, Estimate, Format
from mbk.engine.formats.known import for_backup
from mbk.engine.formats.outcomes import Outcomes
from mbk.engine.operations.resume import as_begun, asked
from mbk.engine.repository.adopt import Adopted, adopt
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.collections import CollectionBackup, label_of
from mbk.engine.repository.commit import BackupFiles, Begun
from mbk.engine.repository.keeping import keeping, require_keeping
from mbk.engine.repository.leftovers import InPool, leftovers
from mbk.engine.repository.pool.index import Indexed, update_index
from mbk.engine.repository.record import stretches_in
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.repository.surroundings import notice_shared_root, require_room
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.fence import Fence
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.messages import notice_bucket_missing
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer.load import together
from mbk.errors import (
    AccessError,
    BucketNotFound,
    CollectionNotFound,
    MbkError,
    MilvusError,
    NotFound,
    PartialFailure,
    StorageError,
    Unreachable,
    UsageError,
)
from mbk.frozen import frozen
from mbk.model.events import WorkExpected
from mbk.model.flows import METADATA, Flow, Requests, Side, requests_of
from mbk.model.labels import labels_of
from mbk.model.manifest import CREATE, SHARED, Manifest, PutInPool, now
from mbk.model.options import CreateOptions, Strategy
from mbk.model.plans import Plan, total
from mbk.model.records import BackupExtras
from mbk.model.reports import CollectionOutcome, RunReport, TransferStats, check_name
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.values import CollectionInfo, Feature, FlushAllPoint


@frozen(kw_only=True)
class CreatePlan:
    """``infos``: descriptions of the collections to back up. ``outcomes``: those of the others, ``errors`` by label. ``present``: collections
    that the backup to be completed already contains."""

    name: str
    id: str
    options: CreateOptions
    selection: Selection
    begun: Begun
    kind: Format
    format: BackupFormat
    inventory: Inventory
    infos: tuple[CollectionInfo, ...]
    outcomes: tuple[CollectionOutcome, ...]
    errors: Mapping[str, MbkError]
    present: frozenset[CollectionName]

    @property
    def is_shared(self) -> bool:
        """Whether its objects go into the pool."""
        return self.format.recorded == SHARED


def plan(context: ClusterContext, name: str, options: CreateOptions) -> CreatePlan:
    """Raises every obstacle that can be known before anything is written."""
    check_name(name)
    _refuse(context, options)
    _require_room(context, name)
    context.storage.check()
    try:
        context.backup_storage.check()
    except BucketNotFound as missing:
        if options.resume:
            raise
        notice_bucket_missing(context.run, missing)
        return _plan(context, name, options, Begun(False, False, Manifest()))
    require_keeping(context.backup_storage, context.run, context.object_lock)
    return _plan(context, name, options, _files(context, name).begun(resume=options.resume))


def execute(context: ClusterContext, name: str, options: CreateOptions) -> RunReport:
    """Makes the backup. `PartialFailure` carries the report if only some collections are in it."""
    started = time.monotonic()
    check_name(name)
    _refuse(context, options)
    _require_room(context, name)
    context.storage.check()
    context.backup_storage.check(create=not options.resume)
    storage, lock, begun_at = context.backup_storage, context.object_lock, datetime.now(UTC)
    require_keeping(storage, context.run, lock)
    shared = InPool()
    left = leftovers(name, shared)
    with hold(
        storage, name, f"backup of {name!r}", context.run, pace=context.pace.lease, aftermath=left
    ) as fence:
        storage = writing_backup(storage, fence, name)
        context = replace(context, backup_storage=keeping(storage, context.run, name, lock, begun_at))
        begun = _files(context, name).begun(resume=options.resume)
        plan = _plan(context, name, options, begun)
        report = _Create(context, plan, started, fence, shared).run()
    if report.failed:
        raise PartialFailure(
            "{failed} of {total} collections are not in backup {backup!r}",
            code="collections-not-backed-up",
            failed=len(report.failed),
            total=len(report.collections),
            backup=name,
            report=report,
            hint="fix the errors, then run: mbk create -n {backup} --resume",
        )
    return report


def preview(context: ClusterContext, plan: CreatePlan) -> Plan:
    """The plan with the current numbers of objects, bytes and rows; reads listings, changes nothing."""

    def one(info: CollectionInfo) -> tuple[str, Estimate]:
        return label_of(info), plan.format.estimate(info)

    with Pool(context.run.budget.collections, context.run.cancelled, name="mbk-estimate") as pool:
        estimates = dict(pool.map(one, plan.infos))
    labels = [label_of(info) for info in plan.infos]
    planned = [estimates[label].planned(label, label) for label in labels]
    unknown = any(item.notes for item in planned)
    flows = together(estimates[label].flow for label in labels)
    return Plan(
        command="create",
        name=plan.name,
        id=plan.id,
        location=f"{context.backup_storage.location}/{plan.name}",
        format=plan.format.recorded or plan.kind.name,
        milvus_version=context.milvus.version,
        resumes=plan.begun.partial or plan.begun.incomplete,
        collections=(*planned, *plan.outcomes),
        objects=total([item.objects for item in planned]),
        size=total([item.size for item in planned]),
        rows=total([item.rows_expected for item in planned]),
        present=sum(item.present for item in estimates.values()),
        present_size=sum(item.present_size for item in estimates.values()),
        flows=flows,
        requests=() if unknown else _requests(flows, planned),
        notices=tuple(context.run.notices),
    )


def _requests(flows: tuple[Flow, ...], planned: Sequence[CollectionOutcome]) -> tuple[Requests, ...]:
    listed: list[tuple[Side, int]] = [("storage", item.objects or 0) for item in planned]
    return requests_of(
        flows,
        listed=[*listed, *(("backups", item.objects or 0) for item in planned)],
        written=[("backups", METADATA)],
    )


# -- planning ----------------------------------------------------------------------------------------------------------


def _files(context: ClusterContext, name: str) -> BackupFiles:
    catalog = Catalog(context.backup_storage, context.run)
    return BackupFiles(context.backup_storage, catalog, context.run, name)


def _plan(context: ClusterContext, name: str, options: CreateOptions, begun: Begun) -> CreatePlan:
    chosen_now = options.selection
    options = as_begun(options, begun.manifest, context.run)
    _refuse(context, options)
    selection = _asked_for(chosen_now, options.selection, begun)
    kind, chosen = for_backup(context, options, selection, before=_format_before(begun))
    present = _present(_files(context, name).catalog, name) if begun.partial else frozenset[CollectionName]()
    inventory = take_inventory(
        context.milvus, selection, context.run, allow_missing=options.allow_missing
    ).without(present)
    outcomes = Outcomes(context.run)
    infos = _Descriptions(context, options, selection, chosen, outcomes).describe(inventory)
    outcomes.require(infos)
    if inventory.missing and not (infos or begun.partial):
        require_present(inventory, context.run, allow_missing=False)
    chosen.refuse(infos)
    return CreatePlan(
        name=name,
        id=_id(context, begun, is_shared=chosen.recorded == SHARED),
        options=options,
        selection=selection,
        begun=begun,
        kind=kind,
        format=chosen,
        inventory=replace(
            inventory, databases=with_zone_keys(context.milvus, inventory.databases, context.run)
        ),
        infos=tuple(infos),
        outcomes=tuple(outcomes.items),
        errors=dict(outcomes.errors),
        present=present,
    )


def _id(context: ClusterContext, begun: Begun, *, is_shared: bool) -> str:
    """What a killed run of a shared backup copied lies below the id that it had."""
    kept = begun.manifest.id if begun.partial or is_shared else ""
    return kept or context.id or str(uuid.uuid4())


def _require_room(context: ClusterContext, name: str) -> None:
    backups, milvus = context.backup_storage.location, context.storage.location
    require_room(name, backups, milvus)
    notice_shared_root(backups, milvus, context.run)


def _refuse(context: ClusterContext, options: CreateOptions) -> None:
    if options.strategy is Strategy.BULK_FLUSH and Feature.FLUSH_ALL not in context.milvus.features:
        raise UsageError(
            "strategy bulk_flush needs Milvus 2.6.11 or newer, this is {version}",
            code="bulk-flush-unsupported",
            version=context.milvus.version,
            hint="use --strategy serial_flush",
        )
    if options.index_extra and context.metastore is None:
        raise UsageError(
            "index extras are read from Milvus' etcd, but milvus.etcd is not set",
            code="etcd-not-configured",
            hint="set milvus.etcd",
        )


def _asked_for(now: Selection, selection: Selection, begun: Begun) -> Selection:
    """For a partial backup, what the begun run selected of the failed collections, unless others are selected now."""
    if begun.partial and now.everything:
        return selection.only(map(CollectionName.parse, begun.manifest.failed))
    return selection


def _format_before(begun: Begun) -> str | None:
    return begun.manifest.format if begun.manifest.id else None


def _present(catalog: Catalog, name: str) -> frozenset[CollectionName]:
    """The collections that a partial backup already contains."""
    records = catalog.read(name).collection_backups
    return frozenset(CollectionName(item.db_name, item.collection_name) for item in records)


@frozen
class _Descriptions:
    """Describes all collections before the first flush. A dropped one is reported and does not stop the rest."""

    context: ClusterContext
    options: CreateOptions
    selection: Selection
    format: BackupFormat
    outcomes: Outcomes

    def describe(self, inventory: Inventory) -> list[CollectionInfo]:
        run = self.context.run
        require_present(inventory, run, allow_missing=self.options.allow_missing)
        with Pool(self.context.run.budget.collections, run.cancelled, name="mbk-describe") as pool:
            described = dict(pool.map(self._described, inventory.names))
        infos = (self._accepted(name, described[name]) for name in inventory.names)
        return [info for info in infos if info is not None]

    def _described(self, name: CollectionName) -> tuple[CollectionName, CollectionInfo | None]:
        try:
            return name, self.context.run.retry.call(
                f"describe {name}", self.context.milvus.inventory.describe, name.database, name.collection
            )
        except CollectionNotFound:
            return name, None

    def _accepted(self, name: CollectionName, info: CollectionInfo | None) -> CollectionInfo | None:
        """The collection with its selected partitions; None if it is not backed up, which is reported."""
        if info is None:
            self.outcomes.skip(str(name), "dropped during the backup")
            return None
        if info.external:
            why = "its data lies outside Milvus"
            self.context.run.notice(
                "external-collection", "{name} is skipped: {reason}", name=name, reason=why
            )
            self.outcomes.skip(str(name), f"external: {why}")
            return None
        try:
            info = with_partitions(
                info, self.selection, self.context.run, allow_missing=self.options.allow_missing
            )
            if self.options.index_extra and self.context.metastore is not None:
                info = with_index_extras(self.context.metastore, info, self.context.run)
            if not info.partitions:
                self.outcomes.skip(str(name), "none of its partitions is selected")
                return None
            self.format.accept(info)
        except NotFound:
            raise  # a name that does not exist: nothing is written yet, and a later run would fail again
        except MbkError as error:
            if self.options.fail_fast or concerns_everything(error):
                raise
            self.outcomes.fail(str(name), error)
            return None
        return info


# -- running -----------------------------------------------------------------------------------------------------------


@frozen
class _Create:
    """One run that holds the lease."""

    context: ClusterContext
    plan: CreatePlan
    started: float
    fence: Fence
    shared: InPool

    def run(self) -> RunReport:
        plan, run, options = self.plan, self.context.run, self.plan.options
        outcomes = Outcomes(run, [*plan.outcomes], {**plan.errors})
        files = replace(_files(self.context, plan.name), pool_id=plan.id if plan.is_shared else "")
        with SegmentSpool() as spool:
            before = Adopted.nothing(self._manifest())
            if plan.begun.partial:
                before = adopt(files.catalog, plan.name, spool)
            labels = plan.format.begun(plan.infos, before.manifest.snapshots)
            manifest = structs.replace(before.manifest, snapshots=[*labels])
            if manifest.origin != self._origin:
                # Nothing is built on a backup of two clusters.
                manifest = structs.replace(manifest, origin="")
            if plan.is_shared:
                self.shared.id = manifest.id
            if not plan.begun.partial or plan.format.by_milvus:
                files.take_name(manifest, resume=options.resume)
            files.take_lock()
            if not (plan.begun.partial or plan.format.by_milvus):
                files.defer()
            points = ConsistencyPoints(self.context.milvus, run, options.strategy)
            with self._left_incomplete(manifest):
                copied, left, stats = self._copied(files, spool, points, before, outcomes)
                outcomes.require(copied)
            notice_new(self.context.milvus, plan.selection, plan.present.union(plan.inventory.names), run)
            done = [*before.collections, *copied]
            stale = options.resume or outcomes.has_skipped or any(item.replaced for item in done)
            if stale or plan.format.by_milvus:
                unfinished = {info.id for info in plan.infos if label_of(info) in outcomes.errors}
                plan.format.sweep(files.data, done, unfinished, spool)
            if options.resume or plan.format.by_milvus:
                files.lock_objects()
            if plan.is_shared:
                files.lock_reused((item.record.collection_id for item in done), spool)
            manifest = structs.replace(manifest, snapshots=sorted(left), failed=outcomes.failed)
            committed = self._commit(files, before, manifest, done, spool, points.flushed)
            if plan.is_shared:
                self._index(committed, done, spool)
        return RunReport(
            command="create",
            name=plan.name,
            id=manifest.id,
            location=f"{self.context.backup_storage.location}/{plan.name}",
            milvus_version=self.context.milvus.version,
            seconds=time.monotonic() - self.started,
            collections=(*(item.outcome for item in done), *outcomes.items),
            transfer=stats,
            notices=tuple(run.notices),
            compared="" if plan.format.by_milvus else plan.options.checksum,
        )

    @contextmanager
    def _left_incomplete(self, manifest: Manifest) -> Iterator[None]:
        """Hours of copies may be there when a service fails: its error says what to mend, not that they are of use."""
        try:
            yield
        except (Unreachable, AccessError, StorageError, MilvusError):
            name = self.plan.name
            self.context.run.notice(
                "left-incomplete",
                "backup {backup!r} is not complete; once the cause of the error is mended, {remedy}",
                backup=name,
                remedy=manifest.remedy(name),
            )
            raise

    @property
    def _origin(self) -> str:
        return str(self.context.storage.location) if self.plan.is_shared else ""

    def _manifest(self) -> Manifest:
        """The manifest of a new backup; an incomplete one's record of snapshots in Milvus is kept."""
        plan = self.plan
        return Manifest(
            tool=self.context.tool,
            id=plan.id,
            name=plan.name,
            started=now(),
            command=CREATE,
            format=plan.format.recorded,
            snapshots=plan.begun.manifest.snapshots,
            origin=self._origin,
            asked=asked(plan.options),
            labels=dict(labels_of({**plan.begun.manifest.labels, **plan.options.labels}, "labels")),
        )

    def _index(self, manifest: Manifest, done: Sequence[CollectionBackup], spool: SegmentSpool) -> None:
        chunks = (chunk for item in done for chunk in spool.read_objects(item.record.collection_id))
        update_index(
            self.context.backup_storage,
            self.context.run,
            added=Indexed.of(manifest, manifest.name),
            stretches=stretches_in(chunks),
        )

    def _copied(
        self,
        files: BackupFiles,
        spool: SegmentSpool,
        points: ConsistencyPoints,
        before: Adopted,
        outcomes: Outcomes,
    ) -> tuple[list[CollectionBackup], tuple[str, ...], TransferStats]:
        """Takes the consistency point, copies and verifies all collections; returns the finished ones."""
        plan, run = self.plan, self.context.run
        for info in plan.infos:
            run.phase("waiting", label_of(info))
        with Pool(self.context.run.budget.collections, run.cancelled, name="mbk-collection") as pool:
            work = BackupWork(
                infos=plan.infos,
                id=before.manifest.id,
                name=plan.name,
                place=files.data,
                fence=self.fence,
                points=points,
                spool=spool,
                pool=pool,
                before=before.manifest.snapshots,
                resume=plan.options.resume,
            )
            self._expect(pool)
            with plan.format.work(work) as worker:
                done = outcomes.gather(
                    worker, plan.infos, pool, fail_fast=plan.options.fail_fast, undo=spool.drop
                )
            return done, worker.left, worker.stats

    def _expect(self, pool: Pool) -> None:
        """Tells about how much there is of all collections before the first byte of any is copied."""
        run = self.context.run
        run.phase("inventory")

        def one(info: CollectionInfo) -> None:
            try:
                told = self.plan.format.expect(info)
            except MbkError as error:
                if concerns_everything(error):
                    raise
                return  # its own turn shows what is wrong
            run.emit(WorkExpected(collection=label_of(info), objects=told.objects, size=told.size))

        pool.run(one, self.plan.infos)

    def _commit(
        self,
        files: BackupFiles,
        before: Adopted,
        manifest: Manifest,
        done: Sequence[CollectionBackup],
        spool: SegmentSpool,
        flushed: FlushAllPoint | None,
    ) -> Manifest:
        plan, run = self.plan, self.context.run
        run.phase("commit")
        databases = {item.db_name: item for item in (*before.databases, *plan.inventory.databases)}
        # With collections of two flushes neither message is true for all; each collection has its checkpoints.
        flushed = None if before.collections else flushed
        extras = BackupExtras(
            id=manifest.id,
            name=manifest.name,
            size=sum(item.record.size for item in done),
            milvus_version=self.context.milvus.version,
            format=manifest.format,
            database_backups=list(databases.values()),
            rbac_meta=read_rbac(self.context.milvus, run) if plan.options.rbac else before.rbac,
            rpc_channel_info=rpc_channel(self.context.milvus, self.context.rpc_channel, run),
            flush_all_msgs_base64=_messages(flushed),
            control_channel_name=flushed.control_channel if flushed else "",
            physical_channel_names=list(flushed.physical_channels) if flushed else [],
        )
        rows = {str(item.record.collection_id): item.rows for item in done if item.rows is not None}
        protection = {
            str(item.record.collection_id): item.protection for item in done if item.protection is not None
        }
        manifest = structs.replace(manifest, finished=now(), rows=rows, protection=protection)
        if plan.is_shared:
            manifest = structs.replace(manifest, added=_added(before.manifest, done))
            self.shared.finished = manifest.finished
        return files.commit(
            extras,
            manifest,
            [(item.record, item.partitions) for item in done],
            spool,
            # The classic tool reads no shared backup, and mbk reads none of these files.
            level_files=plan.kind.level_files and not plan.is_shared,
            is_first=not plan.options.resume,
            before=before.manifest if before.collections else None,
        )


def _added(before: Manifest, done: Sequence[CollectionBackup]) -> PutInPool:
    """What all runs of the backup put into the pool."""
    parts = [before.added or PutInPool(), *(item.added for item in done)]
    return PutInPool(objects=sum(part.objects for part in parts), size=sum(part.size for part in parts))


def _messages(flushed: FlushAllPoint | None) -> dict[str, str]:
    if flushed is None:
        return {}
    return {channel: base64.b64encode(message).decode() for channel, message in flushed.messages.items()}
