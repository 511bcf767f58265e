"""The use-case `create`: from a running Milvus to a committed backup.

Order (DESIGN.md 6): the name is taken, all collections are described, then each is flushed, copied and verified;
the level files follow, and ``full_meta.json`` last. Whatever happens before that leaves an incomplete backup, which
`list` shows, ``create --resume`` completes and `delete` removes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from mbk.engine import metafiles
from mbk.engine.adopt import Adopted, adopt
from mbk.engine.backup_collection import CollectionBackup, CollectionWorker
from mbk.engine.catalog import Catalog
from mbk.engine.discover import require_milvus_data
from mbk.engine.failures import concerns_everything
from mbk.engine.gc_pause import gc_paused
from mbk.engine.lease import hold
from mbk.engine.limits import BackupLimits
from mbk.engine.pool import Pool
from mbk.engine.run import Run
from mbk.engine.spool import SegmentSpool
from mbk.engine.survey import Survey, survey
from mbk.engine.transfer import Transfer
from mbk.errors import (
    BackupExists,
    CollectionNotFound,
    MbkError,
    ObjectExists,
    PartialFailure,
    Unsupported,
    UsageError,
)
from mbk.model import layout
from mbk.model.backup import DONE, FAILED, SKIPPED, CollectionOutcome, RunReport, TransferStats, check_name
from mbk.model.events import CollectionFinished
from mbk.model.layout import BackupLayout
from mbk.model.meta import BackupExtras, Rbac
from mbk.model.options import CreateOptions, Strategy
from mbk.model.own import OwnMeta
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus import CollectionInfo, Feature, Milvus
from mbk.ports.storage import Storage

PLANNED = "planned"
#: More segments at once than this only queue up before the copiers.
MAX_SEGMENTS = 16


@dataclass(slots=True)
class Create:
    """One run of `create`. ``tool`` stands in the backup as its maker, ``id`` as its id; empty: a new one."""

    milvus: Milvus
    source: Storage
    destination: Storage
    run: Run
    limits: BackupLimits
    tool: str
    id: str = ""

    def execute(self, name: str, options: CreateOptions) -> RunReport:
        """Makes the backup. `PartialFailure` carries the report when some collections are in it and others are not."""
        check_name(name)
        started = time.monotonic()
        strategy = self._strategy(options)
        catalog = Catalog(self.destination, self.run)
        self.source.check()
        self.destination.check(create=not options.dry_run)
        with SegmentSpool() as spool, self._alone(name, options):
            partial = self._check_name(catalog, name, options)
            own = OwnMeta(tool=self.tool, id=self.id or str(uuid.uuid4()), name=name, started=_now())
            before = adopt(catalog, name, spool) if partial else Adopted(own, [], None, [])
            found = self._survey(options.selection, before)
            infos, outcomes = self._describe(found)
            if options.dry_run:
                planned = [self._plan(info) for info in infos.values()]
                return self._report(name, before.own, started, [*planned, *outcomes], TransferStats())
            self._raise_if_all_failed(outcomes, list(infos))
            if strategy is not Strategy.META_ONLY:
                require_milvus_data(self.source, self.milvus, list(infos.values()), self.run)
            if not partial:
                self._take_name(catalog, before.own, options)
            place = catalog.layout(name)
            done, failures, stats = self._copy(infos, spool, place, before.own.id, strategy, options)
            outcomes += failures
            self._raise_if_all_failed(outcomes, done)
            done = [*before.collections, *done]
            self._sweep_if_needed(catalog, name, done, infos, outcomes, options)
            self._commit(catalog, before, found, done, spool, options, outcomes)
        outcomes = [*(backup.outcome for backup in done), *outcomes]
        report = self._report(name, before.own, started, outcomes, stats)
        if report.failed:
            raise PartialFailure(
                f"{len(report.failed)} of {len(report.collections)} collections are not in backup {name!r}",
                report=report,
                hint=f"mend them and run: mbk create -n {name} --resume",
            )
        return report

    _errors: dict[str, MbkError] = field(default_factory=dict, init=False)

    # -- before anything is written ------------------------------------------------------------------------------

    def _alone(self, name: str, options: CreateOptions) -> AbstractContextManager[None]:
        if options.dry_run:
            return nullcontext()
        return hold(self.destination, name, f"backup of {name!r}", self.run)

    def _strategy(self, options: CreateOptions) -> Strategy:
        if options.format not in ("auto", "binlog"):
            raise UsageError(
                f"format {options.format!r} needs Milvus 3.0, this one is {self.milvus.version}",
                hint="use --format binlog",
            )
        if options.strategy is Strategy.BULK_FLUSH and Feature.FLUSH_ALL not in self.milvus.features:
            raise UsageError(
                f"strategy bulk_flush needs Milvus 2.6.11, this one is {self.milvus.version}",
                hint="use --strategy serial_flush",
            )
        return Strategy.SERIAL_FLUSH if options.strategy is Strategy.AUTO else options.strategy

    def _check_name(self, catalog: Catalog, name: str, options: CreateOptions) -> bool:
        """`BackupExists` for a name that is taken; True for a partial backup that this run is to complete."""
        found = catalog.find(name)
        if found.is_committed and not (options.resume and catalog.read_own(name).failed):
            raise BackupExists(
                f"backup {name!r} exists in {self.destination.location}",
                hint="choose another name or delete it",
            )
        if not options.resume and catalog.is_taken(name):
            raise BackupExists(
                f"backup {name!r} exists in {self.destination.location} and is incomplete",
                hint=f"finish it: mbk create -n {name} --resume, or remove it: mbk delete -n {name}",
            )
        return found.is_committed

    def _survey(self, selection: Selection, before: Adopted) -> Survey:
        """Of a partial backup, what failed is asked for by itself, and what it holds is not done again."""
        if before.own.failed and selection.everything:
            selection = Selection(collections=frozenset(map(CollectionName.parse, before.own.failed)))
        found = survey(self.milvus, selection, self.run)
        held = {CollectionName.parse(backup.outcome.source) for backup in before.collections}
        found.names = [name for name in found.names if name not in held]
        found.missing = [name for name in found.missing if name not in held]
        return found

    def _take_name(self, catalog: Catalog, own: OwnMeta, options: CreateOptions) -> None:
        """Our own file is the first object of a backup: from then on the name is taken.

        Of two runs that take one name at once, the storage lets one win, where it can.
        """
        place = catalog.layout(own.name)
        if options.resume:
            self.destination.clean(place.prefix)
            catalog.write_own(own.name, own)
            return
        key = place.meta(layout.OWN_META)
        data = msgspec.json.encode(own)
        if self.destination.capabilities.conditional_write:
            try:
                self.destination.write_if_absent(key, [data], size=len(data))
                return
            except ObjectExists as exc:
                raise BackupExists(
                    f"backup {own.name!r} was begun by another run just now", hint="choose another name"
                ) from exc
            except Unsupported:
                pass  # a profile promises what this very server does not keep
        catalog.write(key, lambda: [data])

    def _describe(
        self, found: Survey
    ) -> tuple[dict[CollectionName, CollectionInfo], list[CollectionOutcome]]:
        """All collections are described before the first flush. One that is gone is told of and does not stop the rest."""
        outcomes = []
        for name in found.missing:
            error = CollectionNotFound(f"collection {name} does not exist", hint="check --filter")
            outcomes.append(self._fail(str(name), error))
        infos: dict[CollectionName, CollectionInfo] = {}

        def one(name: CollectionName) -> tuple[CollectionName, CollectionInfo | None]:
            try:
                return name, self.run.retry.call(
                    f"describe {name}", lambda: self.milvus.describe(name.database, name.collection)
                )
            except CollectionNotFound:
                return name, None

        with Pool(self.limits.collections, self.run.cancelled, name="mbk-describe") as pool:
            described = dict(pool.map(one, found.names))
        for name in found.names:
            info = described[name]
            if info is None:
                outcomes.append(self._skip(str(name), "dropped during the backup"))
            else:
                infos[name] = info
        return infos, outcomes

    def _plan(self, info: CollectionInfo) -> CollectionOutcome:
        label = f"{info.database}.{info.name}"
        segments = self.milvus.segments(info.database, info.name)
        rows = sum(segment.rows for segment in segments if not segment.is_l0)
        return CollectionOutcome(label, label, PLANNED, rows_expected=rows)

    # -- the work ------------------------------------------------------------------------------------------------

    def _copy(
        self,
        infos: Mapping[CollectionName, CollectionInfo],
        spool: SegmentSpool,
        place: BackupLayout,
        task: str,
        strategy: Strategy,
        options: CreateOptions,
    ) -> tuple[list[CollectionBackup], list[CollectionOutcome], TransferStats]:
        """Flushes, copies and verifies all collections; with those that are done, those that are not."""
        segments = min(self.limits.segments, MAX_SEGMENTS)
        with (
            Transfer(self.source, self.destination, self.run, self.limits.transfer) as transfer,
            Pool(segments, self.run.cancelled, name="mbk-segment") as segment_pool,
            self._gc_pause(options, strategy),
        ):
            worker = CollectionWorker(
                self.milvus,
                self.source,
                self.destination,
                place,
                transfer,
                segment_pool,
                spool,
                self.run,
                strategy,
                task,
                options.resume,
            )
            done, failures = self._collections(worker, list(infos.values()), options)
        return done, failures, transfer.stats

    @contextmanager
    def _gc_pause(self, options: CreateOptions, strategy: Strategy) -> Iterator[None]:
        wanted = self.limits.pause_gc if options.pause_gc is None else options.pause_gc
        if not wanted or strategy is Strategy.META_ONLY:
            yield
            return
        with gc_paused(self.milvus, self.run, seconds=self.limits.gc_seconds):
            yield

    def _collections(
        self, worker: CollectionWorker, infos: list[CollectionInfo], options: CreateOptions
    ) -> tuple[list[CollectionBackup], list[CollectionOutcome]]:
        def one(info: CollectionInfo) -> CollectionBackup | CollectionOutcome:
            label = f"{info.database}.{info.name}"
            try:
                backup = worker.back_up(info)
            except CollectionNotFound:
                worker.spool.drop(info.id)
                return self._skip(label, "dropped during the backup")
            except MbkError as error:
                if options.fail_fast or concerns_everything(error):
                    raise
                worker.spool.drop(info.id)
                return self._fail(label, error)
            self.run.emit(CollectionFinished(collection=label, outcome=DONE))
            return backup

        with Pool(self.limits.collections, self.run.cancelled, name="mbk-collection") as pool:
            results = list(pool.map(one, infos))
        order = {info.id: index for index, info in enumerate(infos)}
        done = [item for item in results if isinstance(item, CollectionBackup)]
        done.sort(key=lambda backup: order[backup.record.collection_id])
        return done, [item for item in results if isinstance(item, CollectionOutcome)]

    def _sweep_if_needed(
        self,
        catalog: Catalog,
        name: str,
        done: list[CollectionBackup],
        infos: Mapping[CollectionName, CollectionInfo],
        outcomes: list[CollectionOutcome],
        options: CreateOptions,
    ) -> None:
        unfinished = {info.id for label, info in infos.items() if str(label) in self._errors}
        skipped = any(item.outcome == SKIPPED for item in outcomes)
        if options.resume or skipped or any(backup.replaced for backup in done):
            self._sweep(catalog, name, done, unfinished)

    def _sweep(self, catalog: Catalog, name: str, done: list[CollectionBackup], unfinished: set[int]) -> None:
        """Removes what was copied of segments that Milvus has replaced since, and of collections that are gone.

        What was copied of ``unfinished`` collections stays for the run that completes them.
        """
        kept = {(backup.record.collection_id, segment) for backup in done for segment in backup.segments}
        place = catalog.layout(name)
        stale = []
        for entry in self.destination.list(place.data_prefix):
            _, collection, *rest = entry.key.removeprefix(place.data_prefix).split("/")
            segment = rest[-3 if layout.INSERT_LOG in entry.key else -2]
            if int(collection) not in unfinished and (int(collection), int(segment)) not in kept:
                stale.append(entry.key)
        if stale:
            self.run.retry.call(f"delete {stale[0]}", lambda: self.destination.delete(stale))

    def _commit(
        self,
        catalog: Catalog,
        before: Adopted,
        found: Survey,
        done: list[CollectionBackup],
        spool: SegmentSpool,
        options: CreateOptions,
        outcomes: list[CollectionOutcome],
    ) -> None:
        """Writes the metadata, ``full_meta.json`` last.

        Where a partial backup is being completed, what failed before counts as failed until the new tree is there.
        """
        self.run.phase("commit")
        own, name = before.own, before.own.name
        place = catalog.layout(name)
        databases = {item.db_name: item for item in (*before.databases, *found.databases)}
        backup = BackupExtras(
            id=own.id,
            name=name,
            size=sum(item.record.size for item in done),
            milvus_version=self.milvus.version,
            database_backups=list(databases.values()),
            rbac_meta=self._rbac() if options.rbac else before.rbac,
        )
        own.finished = _now()
        own.rows = {str(item.record.collection_id): item.rows for item in done if item.rows is not None}
        failed = {item.source: item.error or "" for item in outcomes if item.outcome == FAILED}
        own.failed = before.own.failed | failed
        parts = [(item.record, item.partitions) for item in done]
        catalog.write_own(name, own)
        catalog.write(place.meta(layout.BACKUP_META), lambda: metafiles.encode_backup_head(backup))
        catalog.write(place.meta(layout.COLLECTION_META), lambda: metafiles.encode_collections(parts))
        catalog.write(place.meta(layout.PARTITION_META), lambda: metafiles.encode_partitions(parts))
        catalog.write(place.meta(layout.SEGMENT_META), lambda: metafiles.encode_segments(parts, spool))
        self.run.check_cancelled()
        catalog.write(place.meta(layout.FULL_META), lambda: metafiles.encode_full(backup, parts, spool))
        if own.failed != failed:
            own.failed = failed
            catalog.write_own(name, own)

    def _rbac(self) -> Rbac:
        rbac = self.run.retry.call("read RBAC", self.milvus.read_rbac)
        if Feature.RBAC_BACKUP not in self.milvus.features:
            self.run.notice(
                "rbac-no-passwords",
                f"{len(rbac.users)} users, {len(rbac.roles)} roles and {len(rbac.grants)} grants are backed up, but "
                f"Milvus {self.milvus.version} does not give passwords: a restore leaves users out",
            )
        return rbac

    # -- outcomes ------------------------------------------------------------------------------------------------

    def _raise_if_all_failed(self, outcomes: list[CollectionOutcome], done: Sequence[object]) -> None:
        first = next((item for item in outcomes if item.outcome == FAILED), None)
        if first is not None and not done:
            raise self._errors[first.source]

    def _fail(self, label: str, error: MbkError) -> CollectionOutcome:
        self._errors[label] = error
        self.run.emit(CollectionFinished(collection=label, outcome=FAILED, error=str(error)))
        return CollectionOutcome(label, label, FAILED, error=str(error))

    def _skip(self, label: str, why: str) -> CollectionOutcome:
        self.run.emit(CollectionFinished(collection=label, outcome=SKIPPED, error=why))
        return CollectionOutcome(label, label, SKIPPED, notes=(why,))

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


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
