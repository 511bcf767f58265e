"""Restoring one collection: stage, create, index, import, compare, replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mbk.engine.formats.binlog.checks import Places
from mbk.engine.formats.binlog.conversion import Converter
from mbk.engine.formats.binlog.import_plan import GroupLimits, ImportGroup, resumed_group, stages
from mbk.engine.formats.binlog.imports import ImportAbandoned, Importer
from mbk.engine.formats.binlog.places import Place, SegmentPlaces
from mbk.engine.formats.binlog.slots import Slots
from mbk.engine.formats.binlog.staging import Staging
from mbk.engine.repository.timeline import ConsistencyPoint
from mbk.engine.restore.finish import Finish
from mbk.engine.restore.journal import JournalFile
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.restore.target import Target, TargetKept
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import InvalidBackup
from mbk.model.options import RestoreOptions
from mbk.model.records import SegmentHead, as_dict
from mbk.model.reports import CollectionOutcome, TransferStats
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import ImportRequest

TTL = "collection.ttl.seconds"


@dataclass(slots=True)
class _Restoration:
    """One task in progress."""

    task: RestoreTask
    found: SegmentPlaces
    point: ConsistencyPoint | None
    staging: Staging
    journal: JournalFile
    target: Target
    limits: GroupLimits


@dataclass(frozen=True, slots=True)
class CollectionRestorer:
    """Restores one collection a call; several threads may call it.

    ``rows``: exact row counts of the backup. ``points``: where a target is truncated; newer rows and deletes are excluded.
    """

    context: ClusterContext
    transfer: Transfer
    options: RestoreOptions
    limits: GroupLimits
    slots: Slots
    name: str
    backup_id: str
    rows: Mapping[str, int]
    places: Places
    points: Mapping[CollectionName, ConsistencyPoint]
    converter: Converter | None = None

    @property
    def milvus(self) -> Milvus:
        return self.context.milvus

    @property
    def run(self) -> Run:
        return self.context.run

    @property
    def stats(self) -> TransferStats:
        return self.transfer.stats

    @property
    def keep_temp(self) -> bool:
        return self.context.limits.restore.keep_temp

    def restore(self, task: RestoreTask, *, resumed: bool) -> CollectionOutcome:
        """``resumed``: the target exists and an earlier run started to restore it."""
        started = time.monotonic()
        found, point = self.places.get(task.target, SegmentPlaces()), self.points.get(task.target)
        staging, journal = self._aside(task)
        target = Target(self.milvus, self.run, self.options, task, journal)
        limits = replace(self.limits, by_channel=point is not None and not point.is_one)
        work = _Restoration(task, found, point, staging, journal, target, limits)
        journal.load(backup_id=self.backup_id, target=str(task.target))
        if not resumed:
            journal.reset()
        try:
            try:
                self._fill(work, resumed=resumed)
            finally:
                target.load_again()
            outcome = self._compare(task, found, journal.rows)
        except TargetKept as kept:
            raise kept.cause from kept.cause.__cause__
        except BaseException:
            if journal.has_rows_in_place:
                self.run.notice(
                    "half-added",
                    "{collection} contains only part of the backup: run the same restore again to add the rest",
                    str(task.target),
                )
            else:
                self._forget(staging, journal)
            raise
        if not self.keep_temp:
            staging.clean_copies()
        return replace(self._conclude(work, outcome), seconds=time.monotonic() - started)

    def conclude(self, task: RestoreTask) -> None:
        """Call it when the whole restore is done: until then the journal tells a later run that this task is."""
        self._forget(*self._aside(task))

    def _forget(self, staging: Staging, journal: JournalFile) -> None:
        if self.keep_temp:
            journal.forget()
        else:
            staging.clean()

    def _aside(self, task: RestoreTask) -> tuple[Staging, JournalFile]:
        staging = Staging(
            backup=self.context.backup_storage,
            storage=self.context.storage,
            transfer=self.transfer,
            run=self.run,
            name=self.name,
            target=task.target,
            converter=self.converter,
        )
        return staging, JournalFile(self.context.storage, staging.prefix, self.run)

    # -- the data ------------------------------------------------------------------------------------------------

    def _fill(self, work: _Restoration, *, resumed: bool) -> None:
        """Everything up to the last row. If that fails, a collection that this run created is dropped again.

        If a job may still be running that nobody can wait for, the collection is started over with smaller jobs.
        """
        for left in range(self.context.pace.imports.restarts, -1, -1):
            try:
                self._fill_once(work, resumed=resumed)
            except TargetKept as kept:
                if isinstance(kept.cause, ImportAbandoned):
                    raise TargetKept(kept.cause.cause) from kept.cause
                raise
            except ImportAbandoned as error:
                made = not self.options.skip_create
                if not (made and work.target.ends_jobs_when_dropped and left):
                    raise error.cause from error
                self.run.notice(
                    "begun-anew",
                    "{collection}: restarting the restore: {reason}",
                    str(work.task.target),
                    reason=error.message,
                )
                work.journal.reset()
                resumed = False
                if error.segments:
                    work.limits = replace(work.limits, max_segments=max(1, error.segments // 2))
            else:
                return

    def _fill_once(self, work: _Restoration, *, resumed: bool) -> None:
        task, journal = work.task, work.journal
        under_way = [
            (resumed_group(key, note.segments, task.record, work.found), note.job)
            for key, note in journal.under_way.items()
        ]
        taken = journal.segments
        left = {number: place for number, place in work.found.places.items() if number not in taken}
        groups = stages(task.record, SegmentPlaces(left, work.found.siblings), work.limits)
        staged = [group for stage in groups for group in stage if group.staged]
        if staged:
            self.run.phase("stage", str(task.target))
        for group in staged:
            self._stage(work, group)
        made = (resumed and journal.journal.created) or (not resumed and work.target.create())
        importer = Importer(
            self.milvus,
            journal,
            self.run,
            self.slots,
            self.context.pace.imports,
            target=task.target,
            cut=work.point is not None,
            droppable=made and work.target.ends_jobs_when_dropped,
        )
        try:
            self.run.phase("import", str(task.target))
            request = self._request(work)
            importer.run_all([], request, under_way=under_way)
            for stage in groups:
                if stage[0].l0 and not made:
                    work.target.release()
                importer.run_all(stage, request)
        except BaseException as error:
            if made:
                work.target.undo(error, left_running=importer.left_running)
            raise

    def _stage(self, work: _Restoration, group: ImportGroup) -> None:
        work.staging.stage(group, schema=work.task.record.schema, end_ts=self._end(work, group))

    def _request(self, work: _Restoration) -> Callable[[ImportGroup], ImportRequest]:
        def request(group: ImportGroup) -> ImportRequest:
            if group.staged:
                self._stage(work, group)
            return ImportRequest(
                database=work.task.target.database,
                collection=work.task.target.collection,
                partition=group.partition,
                files=work.staging.files(group),
                l0=group.l0,
                end_ts=self._end(work, group),
                storage_version=group.sent_version,
                ezk=work.task.ezk,
                rest=group.rest,
            )

        return request

    def _end(self, work: _Restoration, group: ImportGroup) -> int:
        """The hybrid timestamp at which the group's channel is truncated; 0: not at all."""
        if work.point is None:
            return 0
        end = work.point.of(group.v_channel)
        if end is None:
            raise InvalidBackup(
                "{collection}: the backup does not record the consistency point of segments {segments}",
                code="consistency-point-missing",
                collection=work.task.source,
                segments=group,
                hint="restore without --at-backup-time (truncateBinlogByTs)",
            )
        return end

    # -- what came of it -----------------------------------------------------------------------------------------

    def _compare(self, task: RestoreTask, found: SegmentPlaces, rows: int) -> CollectionOutcome:
        """Compares expected with present rows: those of the segments, or the live ones that the backup counted.

        Each job without deletes was checked to the row when it ended. The count of live rows was the same before the
        flush and after copying, but inserts and deletes may have cancelled out: a difference is a notice, not an error.
        """
        data, l0 = _located(task, found)
        stored = sum(segment.num_of_rows for segment, _ in data)
        deletes = bool(l0) or any(place.delta for _, place in data)
        counted = None if task.partial else self.rows.get(str(task.record.collection_id))
        has_ttl = TTL in as_dict(task.record.properties)
        # The deletes of L0 segments are applied when rows are read, so no import counts them.
        countable = not deletes or (counted is not None and not l0)
        exact = not self.options.truncate and not has_ttl and countable
        expected = counted if deletes and exact and counted is not None else stored
        present = None if self.options.meta_only else rows
        notes: tuple[str, ...] = ()
        if not exact and not self.options.meta_only:
            notes = ("expected rows are an upper bound: the number of deleted rows is unknown",)
        elif present is not None and present != expected:
            notes = (self._finish.rows_differ(task, present=present, expected=expected),)
        places = [place for _, place in (*data, *l0)]
        return CollectionOutcome(
            str(task.source),
            str(task.target),
            CollectionState.DONE,
            objects=sum(place.objects for place in places),
            size=sum(place.size for place in places),
            rows_expected=None if self.options.meta_only else expected,
            rows_present=present,
            notes=notes,
        )

    @property
    def _finish(self) -> Finish:
        return Finish(self.milvus, self.run, self.options, self.context.pace)

    def _conclude(self, work: _Restoration, outcome: CollectionOutcome) -> CollectionOutcome:
        """Restores indexes and load state as requested; a loaded collection can then be counted, deletes included."""
        task = work.task
        finish = self._finish
        notes = (*outcome.notes, *dict.fromkeys(work.target.notes), *finish.run_all(task))
        counted = None if task.partial else self.rows.get(str(task.record.collection_id))
        exact = (
            counted is not None and not self.options.truncate and TTL not in as_dict(task.record.properties)
        )
        if not exact or not work.journal.journal.created or self.options.meta_only:
            return replace(outcome, notes=notes)
        live = finish.live_rows(task)
        if live is None:
            return replace(outcome, notes=notes)
        fresh = tuple(note for note in notes if note not in outcome.notes)
        if live != counted and counted is not None:
            fresh = (finish.rows_differ(task, present=live, expected=counted), *fresh)
        return replace(outcome, rows_expected=counted, rows_present=live, notes=fresh)


def _located(
    task: RestoreTask, found: SegmentPlaces
) -> tuple[list[tuple[SegmentHead, Place]], list[tuple[SegmentHead, Place]]]:
    """The segments with rows, and those with only deletes; each once."""
    unique = {
        segment.segment_id: segment
        for segments in (
            *(partition.segment_backups for partition in task.record.partition_backups),
            task.record.l0_segments,
        )
        for segment in segments
        if segment.segment_id in found.places
    }
    located = [(segment, found.places[number]) for number, segment in unique.items()]
    return [pair for pair in located if pair[1].insert], [pair for pair in located if not pair[1].insert]
