"""Seeds a standby cluster from a backup, ids included (docs/reference/milvus-protocol.md#replication).

A standby refuses calls that write and takes only messages of its source's log. So the collections are written to its log
as the source's log would have them, up to the flush that is the backup's consistency point; replication continues from
there. The messages of one backup are always the same, in the same order: the same command resumes a run that was killed,
and what the standby has received is not sent again.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import ParamSpec

from mbk.engine.formats.base import Clusters, Estimate
from mbk.engine.formats.binlog.contents import Reading
from mbk.engine.formats.binlog.import_plan import GroupLimits, ImportGroup, stages
from mbk.engine.formats.binlog.inventory import opened, surveyed
from mbk.engine.formats.binlog.places import SegmentPlaces
from mbk.engine.formats.binlog.staging import Staging
from mbk.engine.formats.binlog.standby_checks import database_ids, refuse
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.timeline import flush_ticks
from mbk.engine.restore.journal import JournalFile
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.limits import RestoreLimits
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import AlreadyExists, ImportFailed, VerificationFailed
from mbk.frozen import frozen
from mbk.model.events import CollectionFinished, ImportProgressed, WorkExpected
from mbk.model.layout import RESTORE_TEMP, physical_channel
from mbk.model.records import ALL_PARTITIONS, DEFAULT_DATABASE, NOT_LOADED, Backup, Collection
from mbk.model.reports import CollectionOutcome, TransferStats
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import ImportPhase, ImportState
from mbk.ports.replicate import Replication
from mbk.ports.storage import Storage

P = ParamSpec("P")


@frozen
class _Job:
    """One import job of segments that belong together. ``id`` is derived from what it imports."""

    id: int
    collection: Collection
    partition: int
    groups: tuple[ImportGroup, ...]

    @property
    def rows(self) -> int:
        return sum(group.rows for group in self.groups)


@dataclass(slots=True, kw_only=True)
class BinlogStandby:
    """One run, for one thread. ``resumed``: an earlier run was interrupted, and this one continues it."""

    context: ClusterContext
    catalog: Catalog
    committed: Committed
    backup: Backup
    clusters: Clusters
    found: Mapping[int, SegmentPlaces]
    journal: JournalFile
    resumed: bool
    _staging: dict[int, Staging] = field(default_factory=dict, init=False)
    _rows: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int), init=False)

    @classmethod
    def of(
        cls, context: ClusterContext, catalog: Catalog, backup: Backup, clusters: Clusters
    ) -> BinlogStandby:
        """`UsageError` if the backup lacks what a standby needs, `AlreadyExists` if the target has received messages or
        has a collection of the backup already. Changes nothing."""
        refuse(backup, context.milvus, clusters.source, clusters.target)
        context.storage.check()
        aside = f"{context.storage.location.root}{RESTORE_TEMP}{backup.name}-secondary/"
        journal = JournalFile(context.storage, aside, context.run)
        resumed = journal.load(backup_id=backup.id, target=f"{clusters.source} {clusters.target}")
        committed = catalog.committed(backup.name)
        made = cls(
            context=context,
            committed=committed,
            catalog=catalog,
            backup=backup,
            clusters=clusters,
            found=surveyed(context.backup_storage, context.run, catalog, committed),
            journal=journal,
            resumed=resumed,
        )
        if not resumed:
            with closing(clusters.open(backup.control_channel_name)) as replication:
                made._refuse_used(backup, replication, clusters.target)
        return made

    @property
    def run(self) -> Run:
        return self.context.run

    @property
    def milvus(self) -> Milvus:
        return self.context.milvus

    @property
    def storage(self) -> Storage:
        return self.context.storage

    @property
    def limits(self) -> RestoreLimits:
        return self.context.limits.restore

    def estimate(self) -> dict[CollectionName, Estimate]:
        return {
            _name(record): Estimate(
                objects=sum(place.objects for place in self.found[record.collection_id].places.values()),
                size=sum(place.size for place in self.found[record.collection_id].places.values()),
                rows=_row_count(record),
            )
            for record in self.backup.collection_backups
        }

    def execute(self) -> tuple[list[CollectionOutcome], TransferStats]:
        context, backup = self.context, self.backup
        with (
            closing(self.clusters.open(backup.control_channel_name)) as replication,
            opened(self.catalog, self.committed, context.backup_storage.location) as inventory,
            Pool(context.run.budget.readers, context.run.cancelled, name="mbk-verify") as pool,
            Transfer(
                source=context.backup_storage,
                destination=context.storage,
                run=context.run,
                limits=context.limits.transfer,
            ) as transfer,
        ):
            reading = Reading(storage=context.backup_storage, run=context.run, inventory=inventory, pool=pool)
            waves = self._stage(backup, transfer, reading)
            self.journal.begin(collection_id=0, created=True)
            self._definitions(backup, replication)
            for wave in waves:
                self._import(backup, wave, replication)
            self._conclude(backup, replication)
            stats = transfer.stats
        self._await_collections(backup)
        for staging in self._staging.values():
            staging.clean()
        self.journal.forget()
        return [*self._outcomes(backup)], stats

    # -- before the first message --------------------------------------------------------------------------------

    def _refuse_used(self, backup: Backup, replication: Replication, target: str) -> None:
        """A standby that has received messages can no longer be seeded from a backup."""
        topology = self.run.retry.call("get the replicate configuration", replication.topology)
        for channel in topology.get(target, ()):
            tick = self.run.retry.call(f"get the checkpoint of {channel}", replication.checkpoint, channel)
            if tick:
                raise AlreadyExists(
                    "cluster {cluster} has already received messages on {channel} (up to {tick})",
                    code="standby-not-fresh",
                    cluster=target,
                    channel=channel,
                    tick=tick,
                    hint="use a new standby cluster",
                )
        for record in backup.collection_backups:
            name = _name(record)
            if self.milvus.inventory.has_collection(name.database, name.collection):
                raise AlreadyExists(
                    "collection {collection} already exists in cluster {cluster}",
                    code="standby-collection-exists",
                    cluster=target,
                    collection=name,
                    hint="use a new standby cluster",
                )

    def _stage(self, backup: Backup, transfer: Transfer, reading: Reading) -> list[list[_Job]]:
        """Compares everything with the backup's record, and copies it to where the standby can read it, before any message
        is sent. Returns waves of jobs, in order."""
        self.run.phase("stage")
        waves: list[list[_Job]] = []
        limits = GroupLimits(
            stage_all=not self.storage.location.readable_by_same_milvus(self.context.backup_storage.location),
            merge=False,
            max_segments=self.limits.max_segments,
            max_size=self.limits.max_group_size,
            by_channel=True,
        )
        staged = {
            record.collection_id: stages(record, self.found[record.collection_id], limits)
            for record in backup.collection_backups
        }
        for record in backup.collection_backups:
            self._tell_expected(backup, record, staged[record.collection_id])
        for record in backup.collection_backups:
            found = self.found[record.collection_id]
            contents = reading.of(record.collection_id, found)
            staging = Staging(
                backup=self.context.backup_storage,
                storage=self.storage,
                transfer=transfer,
                run=self.run,
                name=backup.name,
                target=_name(record),
                contents=contents,
            )
            self._staging[record.collection_id] = staging
            for number, stage in enumerate(staged[record.collection_id]):
                for group in stage:
                    if group.staged:
                        staging.stage(group)
                    else:
                        contents.require(group.located)
                while len(waves) <= number:
                    waves.append([])
                waves[number] += _jobs(backup, record, stage, self.limits.max_segments)
        return waves

    def _tell_expected(self, backup: Backup, record: Collection, stages: list[list[ImportGroup]]) -> None:
        """What is staged, and how many jobs the standby is given."""
        places = [place for stage in stages for group in stage if group.staged for place in group.places]
        self.run.emit(
            WorkExpected(
                collection=str(_name(record)),
                objects=sum(place.objects for place in places),
                size=sum(place.size for place in places),
                jobs=sum(
                    1 for stage in stages for _ in _jobs(backup, record, stage, self.limits.max_segments)
                ),
            )
        )

    # -- messages ------------------------------------------------------------------------------------------------

    def _send(self, what: str, send: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        self.run.check_cancelled()
        self.run.retry.call(what, send, *args, **kwargs)

    def _definitions(self, backup: Backup, replication: Replication) -> None:
        self.run.phase("create")
        ids = database_ids(backup)
        for database in backup.database_backups:
            if database.db_name != DEFAULT_DATABASE:
                self._send(f"create database {database.db_name}", replication.create_database, database)
        for record in backup.collection_backups:
            name, database_id = _name(record), ids[_name(record).database]
            self._send(f"create {name}", replication.create_collection, record, database_id)
            for index in record.index_infos:
                self._send(
                    f"create index {index.index_name} of {name}",
                    replication.create_index,
                    record,
                    database_id,
                    index,
                )

    def _import(self, backup: Backup, jobs: list[_Job], replication: Replication) -> None:
        """Starts the jobs of one wave, and commits each in turn once it has read everything."""
        self.run.phase("import")
        ticks = flush_ticks(backup)
        for job in jobs:
            self._send(
                f"start import {job.id} into {_name(job.collection)}",
                self._announce,
                job,
                replication,
                ticks,
            )
        for job in jobs:
            waits = self._await(job, ImportPhase.UNCOMMITTED).phase is ImportPhase.UNCOMMITTED
            self._send(
                f"commit import {job.id} into {_name(job.collection)}",
                replication.commit_import,
                job.collection,
                job=job.id,
                needed=waits,
            )
        for job in jobs:
            state = self._await(job, ImportPhase.COMPLETED)
            self._rows[job.collection.collection_id] += state.rows

    def _announce(self, job: _Job, replication: Replication, ticks: dict[str, int]) -> None:
        first, staging = job.groups[0], self._staging[job.collection.collection_id]
        options = {
            "skip_disk_quota_check": "true",
            "auto_commit": "false",
            "l0_import" if first.l0 else "backup": "true",
            "end_ts": str(ticks[physical_channel(first.v_channel)]),
        }
        if first.storage_version:
            options["storage_version"] = str(first.storage_version)
        replication.start_import(
            job.collection,
            job=job.id,
            partition=job.partition,
            files=[staging.paths(group) for group in job.groups],
            options=options,
        )

    def _await(self, job: _Job, awaited: ImportPhase) -> ImportState:
        label, unknown_since = str(_name(job.collection)), None
        while True:
            try:
                state = self.run.retry.call(
                    f"get the state of import job {job.id}",
                    self.milvus.imports.state,
                    str(job.id),
                    database=_name(job.collection).database,
                    rest=True,
                )
            except ImportFailed:
                unknown_since = unknown_since or time.monotonic()
                if time.monotonic() - unknown_since > self.context.pace.standby_patience:
                    raise
            else:
                if state.phase is ImportPhase.FAILED:
                    raise ImportFailed(
                        "import job {job} into {collection} failed: {reason}",
                        code="standby-import-failed",
                        job=job.id,
                        collection=label,
                        reason=state.reason or "the server gave no reason",
                        hint="fix the cause, then run the same command again to resume",
                    )
                self.run.emit(
                    ImportProgressed(
                        collection=label, job=str(job.id), percent=state.percent, rows=state.rows
                    )
                )
                if state.phase in (awaited, ImportPhase.COMPLETED):
                    return state
            self.run.sleep(self.context.pace.standby)

    def _conclude(self, backup: Backup, replication: Replication) -> None:
        """Load states, users, and last the source's own flush message, after which replication continues."""
        self.run.phase("conclude")
        ids = database_ids(backup)
        for record in backup.collection_backups:
            if record.load_state not in ("", NOT_LOADED):
                self._send(f"load {_name(record)}", replication.load, record, ids[_name(record).database])
        if (rbac := backup.rbac_meta) is not None:
            present = self.run.retry.call("read RBAC", self.milvus.access.read)
            self._send("restore users and roles", replication.restore_rbac, rbac, present)
        for channel, message in sorted(backup.flush_all_msgs_base64.items()):
            self._send(
                f"forward the flush of {channel}", replication.forward, channel, base64.b64decode(message)
            )

    # -- afterwards ----------------------------------------------------------------------------------------------

    def _await_collections(self, backup: Backup) -> None:
        deadline = time.monotonic() + self.context.pace.standby_patience
        for record in backup.collection_backups:
            name = _name(record)
            while not self.milvus.inventory.has_collection(name.database, name.collection):
                if time.monotonic() > deadline:
                    raise VerificationFailed(
                        "collection {collection} does not appear in the standby",
                        code="standby-collection-missing",
                        collection=name,
                        hint="see the logs of the standby",
                    )
                self.run.sleep(self.context.pace.standby)
            self.run.emit(CollectionFinished(collection=str(name), outcome=CollectionState.DONE))

    def _outcomes(self, backup: Backup) -> Iterator[CollectionOutcome]:
        for record in backup.collection_backups:
            yield CollectionOutcome(
                str(_name(record)),
                str(_name(record)),
                CollectionState.DONE,
                size=record.size,
                rows_expected=_row_count(record),
                rows_present=self._rows[record.collection_id],
                notes=("expected rows are an upper bound: rows newer than the flush are excluded",),
            )


def _name(record: Collection) -> CollectionName:
    return CollectionName(record.db_name or DEFAULT_DATABASE, record.collection_name)


def _row_count(record: Collection) -> int:
    segments = [segment for part in record.partition_backups for segment in part.segment_backups]
    return sum(segment.num_of_rows for segment in segments if not segment.is_l0)


def _jobs(backup: Backup, record: Collection, stage: list[ImportGroup], most: int) -> Iterator[_Job]:
    """The jobs of a stage: groups of the same partition, channel and storage version share a job."""
    alike: defaultdict[tuple[int, str, int], list[ImportGroup]] = defaultdict(list)
    for group in stage:
        partition = group.segments[0].partition_id if group.partition else ALL_PARTITIONS
        alike[partition, group.v_channel, group.storage_version].append(group)
    for (partition, _, _), groups in sorted(alike.items(), key=lambda pair: pair[0]):
        for start in range(0, len(groups), most):
            chosen = tuple(groups[start : start + most])
            yield _Job(_job_id(backup, record, chosen), record, partition, chosen)


def _job_id(backup: Backup, record: Collection, groups: tuple[ImportGroup, ...]) -> int:
    """A positive 63-bit number, the same in every run of this restore."""
    text = f"{backup.id} {record.collection_id} {' '.join(group.key for group in groups)}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
