"""The use-case `restore`: from a committed backup into a running Milvus.

Everything that can be found wrong is looked for before the first change: names, existing targets, missing objects,
unreachable storages, schemas that the server cannot represent. A collection whose data could not be brought back
whole is taken away again when this restore had made it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

from mbk.engine.formats.binlog.conversion import Conversion
from mbk.engine.formats.binlog.import_plan import GroupLimits
from mbk.engine.formats.binlog.late import LateConverter, require_converter
from mbk.engine.formats.binlog.places import SegmentPlaces, scan
from mbk.engine.formats.binlog.restore import CollectionRestorer
from mbk.engine.formats.binlog.slots import Slots
from mbk.engine.formats.snapshot.jobs import SNAPSHOT, External
from mbk.engine.formats.snapshot.restore import SnapshotRestorer, require_restorable
from mbk.engine.operations.limits import RestoreLimits
from mbk.engine.repository.catalog import Catalog
from mbk.engine.restore.checks import Places, RestoreChecks, segments_of
from mbk.engine.restore.plan import RestorePlan, RestoreTask, make_plan
from mbk.engine.restore.setup import RestoreSetup
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.lease import hold_targets
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import MbkError, PartialFailure, UsageError
from mbk.model.events import CollectionFinished
from mbk.model.options import RestoreOptions
from mbk.model.records import Backup
from mbk.model.reports import CollectionOutcome, RunReport, TransferStats
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature
from mbk.ports.storage import Storage


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be restored out of which backup; ``started`` by the monotonic clock."""

    name: str
    options: RestoreOptions
    catalog: Catalog
    backup: Backup
    plan: RestorePlan
    started: float


@dataclass(slots=True)
class Restore:
    """One run of `restore`. ``storage`` is Milvus' own, ``backup`` where the backup lies."""

    milvus: Milvus
    storage: Storage
    backup: Storage
    run: Run
    limits: RestoreLimits
    _errors: dict[str, MbkError] = field(default_factory=dict, init=False)

    def execute(self, name: str, options: RestoreOptions) -> RunReport:
        """Restores. `PartialFailure` carries the report when some collections are back and others are not."""
        started = time.monotonic()
        catalog = Catalog(self.backup, self.run)
        self.backup.check()
        backup = catalog.read(name)
        plan = make_plan(backup, options)
        for line in plan.notices:
            self.run.notice("filter-fits-nothing", line)
        order = _Order(name, options, catalog, backup, plan, started)
        self._refuse(order)
        self.storage.check()
        with self._alone(order):
            checks = RestoreChecks(self.milvus, self.storage, self.run, backup, plan, options)
            begun = checks.targets(name)
            if backup.format == SNAPSHOT:
                return self._from_snapshots(order, begun)
            return self._from_binlogs(order, begun, checks)

    def _refuse(self, order: _Order) -> None:
        backup, options = order.backup, order.options
        if backup.format == SNAPSHOT:
            require_restorable(self.milvus, backup.name, order.plan.tasks, options, self.run)
        if options.rbac and backup.rbac_meta is None:
            raise UsageError(f"backup {backup.name!r} holds no users and roles", hint="leave --rbac out")

    def _alone(self, order: _Order) -> AbstractContextManager[None]:
        if order.options.dry_run:
            return nullcontext()
        targets = [str(task.target) for task in order.plan.tasks]
        return hold_targets(self.storage, targets, f"restore of {order.name!r}", self.run)

    # -- out of binlogs ------------------------------------------------------------------------------------------

    def _from_binlogs(
        self, order: _Order, begun: dict[CollectionName, bool], checks: RestoreChecks
    ) -> RunReport:
        plan = order.plan
        places = self._scan(order)
        checks.require_fitting(places)
        if checks.needs_conversion(places):
            require_converter()
        boundaries = checks.boundaries(places)
        if order.options.dry_run:
            return self._report(order, [_planned(task, places) for task in plan.tasks])
        setup = RestoreSetup(self.milvus, self.run, plan, order.options)
        limits = self._group_limits(setup.rest(places), checks.conversion())
        for task in plan.tasks:
            self.run.phase("waiting", str(task.target))
        with Transfer(
            source=self.backup, destination=self.storage, run=self.run, limits=self.limits.transfer
        ) as transfer:
            setup.create_databases()
            resumed = setup.take_up(begun)
            restorer = CollectionRestorer(
                self.milvus,
                self.backup,
                self.storage,
                transfer,
                self.run,
                order.options,
                limits,
                self.limits.imports,
                Slots(self.limits.import_jobs),
                order.name,
                order.backup.id,
                order.catalog.read_own(order.name).rows,
                self.limits.keep_temp,
                LateConverter(backup=self.backup, storage=self.storage, run=self.run, transfer=transfer),
            )

            def restore(task: RestoreTask) -> CollectionOutcome:
                found = places.get(task.target, SegmentPlaces())
                return restorer.restore(
                    task, found, boundaries.get(task.target), resumed=task.target in resumed
                )

            outcomes = self._collections(order, restore, restorer.conclude)
        return self._ended(self._report(order, outcomes, transfer.stats))

    def _scan(self, order: _Order) -> dict[CollectionName, SegmentPlaces]:
        if order.options.meta_only:
            return {}
        place = order.catalog.layout(order.name)

        def one(task: RestoreTask) -> tuple[CollectionName, SegmentPlaces]:
            return task.target, scan(self.backup, place, task.record, self.run)

        with Pool(self.run.budget.collections, self.run.cancelled, name="mbk-scan") as pool:
            return dict(pool.map(one, order.plan.tasks))

    def _group_limits(self, rest: bool | None, conversion: Conversion) -> GroupLimits:
        here, there = self.storage.location, self.backup.location
        return GroupLimits(
            stage_all=not here.readable_by_same_milvus(there),
            merge=True,
            max_segments=self.limits.max_segments,
            max_size=self.limits.max_group_size,
            rest=rest,
            many_l0=Feature.MULTI_L0_IMPORT in self.milvus.features,
            conversion=conversion,
        )

    # -- out of snapshots ----------------------------------------------------------------------------------------

    def _from_snapshots(self, order: _Order, begun: dict[CollectionName, bool]) -> RunReport:
        restorer = SnapshotRestorer(
            milvus=self.milvus,
            backup=self.backup,
            storage=self.storage,
            place=order.catalog.layout(order.name),
            external=External.of(self.backup, self.storage),
            run=self.run,
            options=order.options,
            name=order.name,
            backup_id=order.backup.id,
            rows=order.catalog.read_own(order.name).rows,
            times=self.limits.snapshots,
        )
        with Pool(self.run.budget.collections, self.run.cancelled, name="mbk-scan") as pool:
            scanned = dict(pool.map(lambda task: (task.target, restorer.scan(task)), order.plan.tasks))
        if order.options.dry_run:
            return self._report(
                order,
                [replace(scanned[task.target], outcome=CollectionState.PLANNED) for task in order.plan.tasks],
            )
        setup = RestoreSetup(self.milvus, self.run, order.plan, order.options)
        setup.create_databases()
        setup.take_up(begun)
        outcomes = self._collections(
            order, lambda task: restorer.restore(task, scanned[task.target]), restorer.conclude
        )
        return self._ended(self._report(order, outcomes))

    # -- either way ----------------------------------------------------------------------------------------------

    def _collections(
        self,
        order: _Order,
        restore: Callable[[RestoreTask], CollectionOutcome],
        conclude: Callable[[RestoreTask], None],
    ) -> list[CollectionOutcome]:
        """All of them, then users and roles, as grants may name collections; last is forgotten how far it had come."""

        def one(task: RestoreTask) -> CollectionOutcome:
            label = str(task.target)
            try:
                outcome = restore(task)
            except MbkError as error:
                if order.options.fail_fast or concerns_everything(error):
                    raise
                self._errors[label] = error
                self.run.emit(
                    CollectionFinished(collection=label, outcome=CollectionState.FAILED, error=str(error))
                )
                return CollectionOutcome(str(task.source), label, CollectionState.FAILED, error=str(error))
            self.run.emit(CollectionFinished(collection=label, outcome=CollectionState.DONE))
            return outcome

        with Pool(self.run.budget.collections, self.run.cancelled, name="mbk-restore") as pool:
            outcomes = {outcome.target: outcome for outcome in pool.map(one, order.plan.tasks)}
        self._rbac(order)
        for task in order.plan.tasks:
            if outcomes[str(task.target)].outcome == CollectionState.DONE:
                conclude(task)
        return [outcomes[str(task.target)] for task in order.plan.tasks]

    def _rbac(self, order: _Order) -> None:
        if not order.options.rbac or order.backup.rbac_meta is None:
            return
        self.run.phase("rbac")
        for note in self.milvus.access.restore(order.backup.rbac_meta):
            self.run.notice("rbac", note)

    def _report(
        self, order: _Order, outcomes: list[CollectionOutcome], transfer: TransferStats | None = None
    ) -> RunReport:
        return RunReport(
            command="restore",
            name=order.name,
            id=str(uuid.uuid4()),
            location=f"{self.backup.location}/{order.name}",
            milvus_version=self.milvus.version,
            seconds=time.monotonic() - order.started,
            collections=tuple(outcomes),
            transfer=transfer or TransferStats(),
            notices=tuple(self.run.notices),
        )

    def _ended(self, report: RunReport) -> RunReport:
        if report.failed:
            if len(report.failed) == len(report.collections):
                raise self._errors[report.failed[0].target]
            raise PartialFailure(
                f"{len(report.failed)} of {len(report.collections)} collections of {report.name!r} were not restored",
                report=report,
                hint="the others are done; run again with --filter for these",
            )
        return report


def _planned(task: RestoreTask, places: Places) -> CollectionOutcome:
    found = places.get(task.target, SegmentPlaces())
    data, _ = segments_of(task, found)
    return CollectionOutcome(
        str(task.source),
        str(task.target),
        CollectionState.PLANNED,
        objects=sum(place.objects for place in found.places.values()),
        size=sum(place.size for place in found.places.values()),
        rows_expected=sum({segment.segment_id: segment.num_of_rows for segment in data}.values()),
    )
