"""The use-case `restore`: from a committed backup into a running Milvus.

Everything that can be found wrong is looked for before the first change: names, existing targets, missing objects,
unreachable storages, schemas that the server cannot represent. A collection whose data could not be brought back
whole is taken away again when this restore had made it.
"""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from mbk.engine.catalog import Catalog
from mbk.engine.failures import concerns_everything
from mbk.engine.import_plan import GroupLimits
from mbk.engine.journal import JournalFile
from mbk.engine.lease import hold_targets
from mbk.engine.limits import RestoreLimits
from mbk.engine.pool import Pool
from mbk.engine.restore_collection import CollectionRestorer
from mbk.engine.restore_plan import RestorePlan, RestoreTask, make_plan
from mbk.engine.run import Run
from mbk.engine.segment_places import SegmentPlaces, scan
from mbk.engine.staging import Staging
from mbk.engine.target_schema import target_schema
from mbk.engine.transfer import Transfer
from mbk.errors import (
    CollectionExists,
    CollectionNotFound,
    MbkError,
    PartialFailure,
    Unsupported,
    UsageError,
)
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
        begun = self._check_targets(name, backup, plan, options)
        places = self._scan(catalog, name, plan, options)
        self._refuse_deletes(plan, places)
        if options.dry_run:
            planned = [self._planned(task, places) for task in plan.tasks]
            return self._report(name, started, planned, None)
        for task in plan.tasks:
            self.run.phase("waiting", str(task.target))
        with Transfer(self.backup, self.storage, self.run, self.limits.transfer) as transfer:
            self._databases(plan)
            resumed = self._take_up(begun)
            restorer = self._restorer(name, catalog, backup, transfer, options)
            outcomes = self._collections(restorer, plan, places, resumed, options)
            notes = self._rbac(backup, options)
            for task, outcome in zip(plan.tasks, outcomes, strict=True):
                if outcome.outcome == DONE:
                    restorer.conclude(task)
            report = self._report(name, started, outcomes, transfer)
        for note in notes:
            self.run.notice("rbac", note)
        if report.failed:
            if len(report.failed) == len(report.collections):
                raise self._errors[report.failed[0].target]
            raise PartialFailure(
                f"{len(report.failed)} of {len(report.collections)} collections of {name!r} were not restored",
                report=report,
                hint="the others are done; run again with --filter for these",
            )
        return report

    # -- before the first change ---------------------------------------------------------------------------------

    def _refuse(self, backup: Backup, plan: RestorePlan, options: RestoreOptions) -> None:
        if backup.format == "snapshot":
            raise UsageError(
                f"backup {backup.name!r} is a snapshot and needs Milvus 3.0, this one is {self.milvus.version}"
            )
        if any(task.target.database != "default" for task in plan.tasks) and (
            Feature.DATABASES not in self.milvus.features
        ):
            raise UsageError(
                f"Milvus {self.milvus.version} has no databases", hint="rename the collections into default"
            )
        if options.rbac and backup.rbac_meta is None:
            raise UsageError(f"backup {backup.name!r} holds no users and roles", hint="leave --rbac out")
        if not options.skip_create:
            for task in plan.tasks:
                self.milvus.check_schema(target_schema(task, options))

    def _check_targets(
        self, name: str, backup: Backup, plan: RestorePlan, options: RestoreOptions
    ) -> dict[CollectionName, bool]:
        """Returns the targets that an earlier run of this restore began and did not end: True where it can be gone on with."""
        databases = {item.db_name for item in self.run.retry.call("list databases", self.milvus.databases)}
        existing = {
            task.target
            for task in plan.tasks
            if task.target.database in databases
            and self.milvus.has_collection(task.target.database, task.target.collection)
        }
        missing = sorted({task.target for task in plan.tasks} - existing)
        if options.skip_create and missing:
            raise CollectionNotFound(
                f"target collection {missing[0]} does not exist", hint="leave --skip_create_collection out"
            )
        found = {target: self._was_begun(name, backup, target) for target in sorted(existing)}
        begun = {target: resumable for target, resumable in found.items() if resumable is not None}
        if not options.skip_create and not options.drop_existing and existing - begun.keys():
            names = ", ".join(str(target) for target in sorted(existing - begun.keys()))
            raise CollectionExists(
                f"target collection exists: {names}",
                hint="restore beside it with -s SUFFIX, or replace it with --drop_exist_collection",
            )
        return begun

    def _was_begun(self, name: str, backup: Backup, target: CollectionName) -> bool | None:
        """None: not by this restore. False: it is ours, but nobody can tell what is in it."""
        prefix = Staging.prefix_of(self.storage, name, target)
        journal = JournalFile(self.storage, prefix, self.run)
        if not journal.load(backup_id=backup.id, target=str(target)):
            return None
        found = journal.journal
        unclear = any(not note.job for note in found.jobs.values())
        if unclear and not found.created:
            raise UsageError(
                f"an earlier restore into {target} was killed while it started an import: rows may be there twice",
                hint=f"check the rows, remove {prefix} from {self.storage.location}, then run again",
            )
        info = self.milvus.describe(target.database, target.collection)
        if found.collection_id not in (0, info.id) or not (found.created or found.collection_id):
            return None
        return bool(found.collection_id) and not unclear

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

    def _refuse_deletes(self, plan: RestorePlan, places: dict[CollectionName, SegmentPlaces]) -> None:
        if Feature.L0_SEGMENTS in self.milvus.features:
            return
        for task in plan.tasks:
            found = places.get(task.target, SegmentPlaces()).places
            if any(segment.segment_id in found for segment in task.record.l0_segments) or any(
                segment.segment_id in found and not found[segment.segment_id].insert
                for partition in task.record.partition_backups
                for segment in partition.segment_backups
            ):
                raise Unsupported(
                    f"{task.source} has deletes in L0 segments, which Milvus {self.milvus.version} cannot import",
                    hint="restore into Milvus 2.4 or newer",
                )

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

    def _databases(self, plan: RestorePlan) -> None:
        present = {item.db_name for item in self.run.retry.call("list databases", self.milvus.databases)}
        for database in plan.databases:
            if database.db_name not in present and Feature.DATABASES in self.milvus.features:
                self.milvus.create_database(database.db_name, database.properties)

    def _restorer(
        self, name: str, catalog: Catalog, backup: Backup, transfer: Transfer, options: RestoreOptions
    ) -> CollectionRestorer:
        here, there = self.storage.location, self.backup.location
        many = Feature.REST_IMPORT in self.milvus.features and options.rest_import
        return CollectionRestorer(
            self.milvus,
            self.backup,
            self.storage,
            transfer,
            self.run,
            options,
            GroupLimits(
                stage_all=not here.readable_by_same_milvus(there),
                merge=not many,
                max_segments=self.limits.max_segments,
                max_size=self.limits.max_group_size,
                by_channel=options.truncate,
            ),
            threading.BoundedSemaphore(self.limits.import_jobs),
            name,
            backup.id,
            catalog.read_own(name).rows,
            self.limits.keep_temp,
        )

    def _collections(
        self,
        restorer: CollectionRestorer,
        plan: RestorePlan,
        places: dict[CollectionName, SegmentPlaces],
        resumed: set[CollectionName],
        options: RestoreOptions,
    ) -> list[CollectionOutcome]:
        def one(task: RestoreTask) -> CollectionOutcome:
            label = str(task.target)
            found = places.get(task.target, SegmentPlaces())
            try:
                outcome = restorer.restore(task, found, resumed=task.target in resumed)
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
