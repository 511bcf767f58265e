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

from mbk.engine.catalog import Catalog
from mbk.engine.conversion import Converter
from mbk.engine.convert import LateConverter
from mbk.engine.failures import concerns_everything
from mbk.engine.import_plan import GroupLimits
from mbk.engine.lease import hold_targets
from mbk.engine.limits import RestoreLimits
from mbk.engine.pool import Pool
from mbk.engine.restore_checks import RestoreChecks, segments_of
from mbk.engine.restore_collection import CollectionRestorer
from mbk.engine.restore_plan import RestorePlan, RestoreTask, make_plan
from mbk.engine.run import Run
from mbk.engine.segment_places import SegmentPlaces, scan
from mbk.engine.slots import Slots
from mbk.engine.snapshot_restore import SnapshotRestorer, require_restorable
from mbk.engine.snapshots import SNAPSHOT, External
from mbk.engine.target_schema import database_properties
from mbk.engine.transfer import Transfer
from mbk.errors import AccessError, MbkError, PartialFailure, Unreachable, Unsupported, UsageError
from mbk.model.backup import DONE, FAILED, CollectionOutcome, RunReport, TransferStats
from mbk.model.events import CollectionFinished
from mbk.model.meta import Backup
from mbk.model.options import RestoreOptions
from mbk.model.selection import CollectionName
from mbk.ports.milvus import Feature, Milvus
from mbk.ports.storage import Storage

PLANNED = "planned"


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
        self._refuse(backup, plan, options)
        self.storage.check()
        with self._alone(name, plan, options):
            return self._carry_out(name, started, catalog, backup, plan, options)

    def _alone(self, name: str, plan: RestorePlan, options: RestoreOptions) -> AbstractContextManager[None]:
        if options.dry_run:
            return nullcontext()
        targets = [str(task.target) for task in plan.tasks]
        return hold_targets(self.storage, targets, f"restore of {name!r}", self.run)

    def _carry_out(
        self,
        name: str,
        started: float,
        catalog: Catalog,
        backup: Backup,
        plan: RestorePlan,
        options: RestoreOptions,
    ) -> RunReport:
        checks = RestoreChecks(self.milvus, self.storage, self.run, backup, plan, options)
        begun = checks.targets(name)
        if backup.format == SNAPSHOT:
            return self._from_snapshots(name, started, catalog, backup, plan, options, begun)
        places = self._scan(catalog, name, plan, options)
        checks.require_fitting(places)
        converter = LateConverter(self.backup, self.storage, self.run, self.limits.transfer)
        if checks.needs_conversion(places):
            converter.require()
        boundaries = checks.boundaries(places)
        if options.dry_run:
            planned = [self._planned(task, places) for task in plan.tasks]
            return self._report(name, started, planned, None)
        rest = self._rest(plan, places, options)
        for task in plan.tasks:
            self.run.phase("waiting", str(task.target))
        with Transfer(self.backup, self.storage, self.run, self.limits.transfer) as transfer:
            self._databases(plan, options)
            resumed = self._take_up(begun)
            here, there = self.storage.location, self.backup.location
            limits = GroupLimits(
                stage_all=not here.readable_by_same_milvus(there),
                merge=True,
                max_segments=self.limits.max_segments,
                max_size=self.limits.max_group_size,
                rest=rest,
                many_l0=Feature.MULTI_L0_IMPORT in self.milvus.features,
                conversion=checks.conversion(),
            )
            restorer = self._restorer(name, catalog, backup, transfer, options, limits, converter)
            outcomes = self._collections(
                lambda task: restorer.restore(
                    task,
                    places.get(task.target, SegmentPlaces()),
                    boundaries.get(task.target),
                    resumed=task.target in resumed,
                ),
                plan,
                options,
            )
            notes = self._rbac(backup, options)
            for task, outcome in zip(plan.tasks, outcomes, strict=True):
                if outcome.outcome == DONE:
                    restorer.conclude(task)
            report = self._report(name, started, outcomes, transfer)
        return self._ended(report, notes)

    def _from_snapshots(
        self,
        name: str,
        started: float,
        catalog: Catalog,
        backup: Backup,
        plan: RestorePlan,
        options: RestoreOptions,
        begun: dict[CollectionName, bool],
    ) -> RunReport:
        restorer = SnapshotRestorer(
            milvus=self.milvus,
            backup=self.backup,
            storage=self.storage,
            place=catalog.layout(name),
            external=External.of(self.backup, self.storage),
            run=self.run,
            options=options,
            name=name,
            backup_id=backup.id,
            rows=catalog.read_own(name).rows,
            times=self.limits.snapshots,
        )
        with Pool(self.limits.collections, self.run.cancelled, name="mbk-scan") as pool:
            scanned = dict(pool.map(lambda task: (task.target, restorer.scan(task)), plan.tasks))
        if options.dry_run:
            planned = [replace(outcome, outcome=PLANNED) for outcome in scanned.values()]
            return self._report(name, started, planned, None)
        self._databases(plan, options)
        self._take_up(begun)
        outcomes = self._collections(lambda task: restorer.restore(task, scanned[task.target]), plan, options)
        notes = self._rbac(backup, options)
        for task, outcome in zip(plan.tasks, outcomes, strict=True):
            if outcome.outcome == DONE:
                restorer.conclude(task)
        return self._ended(self._report(name, started, outcomes, None), notes)

    def _ended(self, report: RunReport, notes: list[str]) -> RunReport:
        for note in notes:
            self.run.notice("rbac", note)
        if report.failed:
            if len(report.failed) == len(report.collections):
                raise self._errors[report.failed[0].target]
            raise PartialFailure(
                f"{len(report.failed)} of {len(report.collections)} collections of {report.name!r} were not restored",
                report=report,
                hint="the others are done; run again with --filter for these",
            )
        return report

    # -- before the first change ---------------------------------------------------------------------------------

    def _refuse(self, backup: Backup, plan: RestorePlan, options: RestoreOptions) -> None:
        if backup.format == SNAPSHOT:
            require_restorable(self.milvus, backup.name, plan.tasks, options, self.run)
        if options.rbac and backup.rbac_meta is None:
            raise UsageError(f"backup {backup.name!r} holds no users and roles", hint="leave --rbac out")

    def _rest(
        self, plan: RestorePlan, places: dict[CollectionName, SegmentPlaces], options: RestoreOptions
    ) -> bool | None:
        """Whether jobs go over REST: True all, None those that gain by it, False none."""
        asked = options.rest_import
        if Feature.REST_IMPORT not in self.milvus.features:
            if asked:
                self.run.notice(
                    "rest-missing",
                    f"Milvus {self.milvus.version} imports over gRPC alone: that is used instead",
                )
            return False
        gains = any(
            sum(map(len, segments_of(task, places.get(task.target, SegmentPlaces())))) > 1
            for task in plan.tasks
        )
        if asked is False or not (asked or gains):
            return False

        def probe() -> object:
            return self.milvus.import_jobs("default", "", rest=True)

        try:
            self.run.retry.call("ask for REST", probe) if asked else probe()
        except Unsupported as error:
            self.run.notice("rest-missing", f"{error.message}: gRPC is used instead")
            return False
        except (Unreachable, AccessError) as error:
            if asked:
                raise
            self.run.notice("rest-unreachable", f"{error.message}: gRPC is used instead")
            return False
        except MbkError:
            pass  # it is there
        return asked

    def _take_up(self, begun: dict[CollectionName, bool]) -> set[CollectionName]:
        """Drops what must be begun anew; returns the targets to go on with."""
        for target, resumable in begun.items():
            if resumable:
                self.run.notice(
                    "resumed", f"{target} was begun by an earlier restore that did not end: going on with it"
                )
            else:
                self.milvus.drop_collection(target.database, target.collection)
        return {target for target, resumable in begun.items() if resumable}

    def _scan(
        self, catalog: Catalog, name: str, plan: RestorePlan, options: RestoreOptions
    ) -> dict[CollectionName, SegmentPlaces]:
        if options.meta_only:
            return {}
        place = catalog.layout(name)
        with Pool(self.limits.collections, self.run.cancelled, name="mbk-scan") as pool:
            return dict(
                pool.map(
                    lambda task: (task.target, scan(self.backup, place, task.record, self.run)), plan.tasks
                )
            )

    # -- the work ------------------------------------------------------------------------------------------------

    def _databases(self, plan: RestorePlan, options: RestoreOptions) -> None:
        present = {item.db_name for item in self.run.retry.call("list databases", self.milvus.databases)}
        for database in plan.databases:
            if database.db_name in present or Feature.DATABASES not in self.milvus.features:
                continue
            properties = database_properties(database, options)
            if properties and Feature.DESCRIBE_DATABASE not in self.milvus.features:
                self.run.notice(
                    "properties-lost",
                    f"database {database.db_name} comes back without its properties, which Milvus "
                    f"{self.milvus.version} does not have",
                )
                properties = []
            self.milvus.create_database(database.db_name, properties)

    def _restorer(
        self,
        name: str,
        catalog: Catalog,
        backup: Backup,
        transfer: Transfer,
        options: RestoreOptions,
        limits: GroupLimits,
        converter: Converter,
    ) -> CollectionRestorer:
        return CollectionRestorer(
            self.milvus,
            self.backup,
            self.storage,
            transfer,
            self.run,
            options,
            limits,
            self.limits.imports,
            Slots(self.limits.import_jobs),
            name,
            backup.id,
            catalog.read_own(name).rows,
            self.limits.keep_temp,
            converter,
        )

    def _collections(
        self, restore: Callable[[RestoreTask], CollectionOutcome], plan: RestorePlan, options: RestoreOptions
    ) -> list[CollectionOutcome]:
        def one(task: RestoreTask) -> CollectionOutcome:
            label = str(task.target)
            try:
                outcome = restore(task)
            except MbkError as error:
                if options.fail_fast or concerns_everything(error):
                    raise
                self._errors[label] = error
                self.run.emit(CollectionFinished(collection=label, outcome=FAILED, error=str(error)))
                return CollectionOutcome(str(task.source), label, FAILED, error=str(error))
            self.run.emit(CollectionFinished(collection=label, outcome=DONE))
            return outcome

        with Pool(self.limits.collections, self.run.cancelled, name="mbk-restore") as pool:
            outcomes = {outcome.target: outcome for outcome in pool.map(one, plan.tasks)}
        return [outcomes[str(task.target)] for task in plan.tasks]

    def _rbac(self, backup: Backup, options: RestoreOptions) -> list[str]:
        """After the collections: grants may name them."""
        if not options.rbac or backup.rbac_meta is None:
            return []
        self.run.phase("rbac")
        return self.milvus.restore_rbac(backup.rbac_meta)

    # -- outcomes ------------------------------------------------------------------------------------------------

    def _planned(self, task: RestoreTask, places: dict[CollectionName, SegmentPlaces]) -> CollectionOutcome:
        found = places.get(task.target, SegmentPlaces())
        segments = {
            segment.segment_id: segment.num_of_rows
            for partition in task.record.partition_backups
            for segment in partition.segment_backups
            if not segment.is_l0
        }
        return CollectionOutcome(
            str(task.source),
            str(task.target),
            PLANNED,
            objects=sum(place.objects for place in found.places.values()),
            size=sum(place.size for place in found.places.values()),
            rows_expected=sum(segments.values()),
        )

    def _report(
        self, name: str, started: float, outcomes: list[CollectionOutcome], transfer: Transfer | None
    ) -> RunReport:
        return RunReport(
            command="restore",
            name=name,
            id=str(uuid.uuid4()),
            location=f"{self.backup.location}/{name}",
            milvus_version=self.milvus.version,
            seconds=time.monotonic() - started,
            collections=tuple(outcomes),
            transfer=transfer.stats if transfer else TransferStats(),
            notices=tuple(self.run.notices),
        )
