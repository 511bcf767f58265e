"""Restoring one collection: stage, create, index, import, compare, replay."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from mbk.engine.formats.binlog.checks import Places
from mbk.engine.formats.binlog.contents import Contents, Reading
from mbk.engine.formats.binlog.conversion import Conversion, Converter, folding
from mbk.engine.formats.binlog.expected import TTL, Expected, Expecting, located, losses, lost_rows
from mbk.engine.formats.binlog.import_plan import GroupLimits, ImportGroup, never, resumed_group, stages
from mbk.engine.formats.binlog.imports import ImportAbandoned, Importer
from mbk.engine.formats.binlog.late import require_converter
from mbk.engine.formats.binlog.places import Place, SegmentPlaces
from mbk.engine.formats.binlog.slots import Slots
from mbk.engine.formats.binlog.staging import Staging
from mbk.engine.repository.timeline import ConsistencyPoint
from mbk.engine.restore.exchange import Exchange
from mbk.engine.restore.finish import Finish
from mbk.engine.restore.journal import JournalFile
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.restore.target import Target, TargetKept
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import InvalidBackup, MilvusUnavailable, Unsupported, VerificationFailed
from mbk.frozen import frozen
from mbk.model.options import RestoreOptions
from mbk.model.records import SegmentHead, as_dict
from mbk.model.reports import CollectionOutcome, TransferStats
from mbk.model.selection import CollectionName
from mbk.model.states import CollectionState
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import Feature, ImportRequest

#: The code of the refusal of a server that could import L0 segments.
L0_DISABLED = "l0-import-disabled"


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
    contents: Contents

    def cuts(self, group: ImportGroup) -> bool:
        """Whether the group may hold rows or deletes that are newer than the consistency point."""
        located = zip(group.segments, group.places, strict=True)
        folds = self.point is not None and bool(group.folded)
        return folds or any(self.cuts_in(segment.segment_id, place) for segment, place in located)

    @property
    def counts_fit(self) -> bool:
        """Whether what a query counted during the backup can be compared: it counted at the recorded point, or nothing is cut."""
        return self.point is None or (bool(self.point.common) and not self.point.earlier)

    def cuts_in(self, segment: int, place: Place) -> bool:
        """Whether a segment may: rows only if it was not persistent at the point, its own delta logs in any case."""
        if self.point is None:
            return False
        return self.point.may_cut(segment) or bool(place.insert and place.delta)


@frozen
class CollectionRestorer:
    """Restores one collection a call; several threads may call it.

    ``restore_id``: that of the journal. ``rows``: exact row counts of the backup. ``points``: where a target is truncated; newer rows and deletes are excluded.
    """

    context: ClusterContext
    transfer: Transfer
    options: RestoreOptions
    limits: GroupLimits
    slots: Slots
    name: str
    restore_id: str
    rows: Mapping[str, int]
    places: Places
    points: Mapping[CollectionName, ConsistencyPoint]
    reading: Reading
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
        contents = self.reading.of(task.record.collection_id, found)
        if self.options.salvage:
            found = found.without(contents.damaged(found.places.items()))
        elif self.options.skip_create or (self.options.drop_existing and not task.beside):
            # What is there already must not be changed for a backup that cannot be restored.
            contents.require(found.places.items())
        staging, journal = self._aside(task, contents)
        target = Target(self.milvus, self.run, self.options, task, journal)
        limits = replace(
            self.limits,
            by_channel=point is not None and not point.is_one,
            may_cut=point.may_cut if point is not None else never,
        )
        work = _Restoration(task, found, point, staging, journal, target, limits, contents)
        journal.load(backup_id=self.restore_id, target=str(task.target))
        exchange = Exchange(self.context, task, journal, self.restore_id)
        if not resumed:
            journal.reset()
        elif not task.beside:
            exchange.finish()
        try:
            try:
                expected = self._expected(work)
            except BaseException as error:
                if resumed and journal.journal.created:
                    target.undo(error)
                raise
            try:
                self._fill(work, resumed=resumed)
            finally:
                target.load_again()
            outcome = self._compare(work, expected)
        except TargetKept as kept:
            self._tell_unchecked(task, kept.cause)
            raise kept.cause from kept.cause.__cause__
        except BaseException as error:
            self._tell_unchecked(task, error)
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
        if task.beside:
            outcome = self._replace(work, outcome, expected, exchange)
        else:
            outcome = self._conclude(work, outcome, expected)
        return replace(outcome, seconds=time.monotonic() - started)

    def _replace(
        self, work: _Restoration, outcome: CollectionOutcome, expected: Expected, exchange: Exchange
    ) -> CollectionOutcome:
        """Completes the collection and puts it in the place of the one that is there, which stays if that fails."""
        with exchange.undoing(work.target, lambda: self._forget(work.staging, work.journal)):
            outcome = self._conclude(work, outcome, expected)
            if outcome.outcome == CollectionState.WRONG:
                raise VerificationFailed(
                    "{collection} stays as it was: what would replace it has {present} rows, and by the backup's own "
                    "binlogs it must have {expected}",
                    code="replacement-wrong",
                    collection=outcome.target,
                    present=outcome.rows_present,
                    expected=outcome.rows_expected,
                    hint="restore into another Milvus, or restore another backup",
                )
            exchange.make()
        exchange.finish()
        notes = self._finish.add_aliases(replace(work.task, beside=""))
        return replace(outcome, notes=(*outcome.notes, *notes))

    def conclude(self, task: RestoreTask) -> None:
        """Call it when the whole restore is done: until then the journal tells a later run that this task is."""
        contents = self.reading.of(task.record.collection_id, SegmentPlaces())
        self._forget(*self._aside(task, contents))

    def _tell_unchecked(self, task: RestoreTask, error: BaseException) -> None:
        """A server that dies of a damaged file must not be given it again."""
        if isinstance(error, MilvusUnavailable) and not self.reading.compares:
            self.run.notice(
                "contents-unchecked",
                "{collection}: nobody has compared the contents of this backup; if Milvus stopped because of them, restore with "
                "--verify contents, which finds damaged files first",
                str(task.target),
            )

    def _forget(self, staging: Staging, journal: JournalFile) -> None:
        if self.keep_temp:
            journal.forget()
        else:
            staging.clean()

    def _aside(self, task: RestoreTask, contents: Contents) -> tuple[Staging, JournalFile]:
        staging = Staging(
            backup=self.context.backup_storage,
            storage=self.context.storage,
            transfer=self.transfer,
            run=self.run,
            name=self.name,
            target=task.target,
            contents=contents,
            converter=self.converter,
            # Since 2.4, import v2 makes segments of rows and not of directories; L0 segments came with it.
            combine=Feature.L0_SEGMENTS not in self.milvus.features,
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
            except Unsupported as error:
                if error.code != L0_DISABLED or self.options.skip_create:
                    raise
                require_converter()
                self.run.notice(
                    "l0-folded",
                    "{collection}: restarting the restore: this Milvus does not import L0 segments, so their deletes are "
                    "written to the data segments",
                    str(work.task.target),
                )
                work.journal.reset()
                resumed = False
                work.limits = replace(work.limits, conversion=folding(work.limits.conversion))
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
        groups = stages(task.record, replace(work.found, places=left), work.limits)
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
            cut=work.cuts,
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
            else:
                work.contents.require(group.located)
            return ImportRequest(
                database=work.task.target.database,
                collection=work.task.made.collection,
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
        return self._end_of(work, group.v_channel) if work.cuts(group) else 0

    def _end_of(self, work: _Restoration, v_channel: str) -> int:
        """The hybrid timestamp at which a channel is truncated; 0: not at all."""
        if work.point is None:
            return 0
        end = work.point.of(v_channel)
        if end is None:
            raise InvalidBackup(
                "{collection}: the backup does not record the consistency point of channel {channel!r}",
                code="consistency-point-missing",
                collection=work.task.source,
                channel=v_channel,
                hint="restore without --at-backup-time (truncateBinlogByTs)",
            )
        return end

    # -- what came of it -----------------------------------------------------------------------------------------

    def _expected(self, work: _Restoration) -> Expected:
        if self.options.meta_only:
            return Expected(imported=0)
        expecting = Expecting(
            run=self.run,
            options=self.options,
            counted=self.rows if work.counts_fit else {},
            cuts_exactly=Feature.HYBRID_END_TS in self.milvus.features
            or (work.point is not None and bool(work.point.common)),
        )
        cut = {number for number, place in work.found.places.items() if work.cuts_in(number, place)}

        def end(segment: SegmentHead) -> int:
            return self._end_of(work, segment.v_channel) if segment.segment_id in cut else 0

        return expecting.of(work.task, work.found, work.contents, end if cut else None)

    def _compare(self, work: _Restoration, expected: Expected) -> CollectionOutcome:
        """Compares the rows that the jobs imported with those that they had to.

        Each job without deletes was checked to the row when it ended. If the exact number is not known, a difference is a
        notice: what a query counted while the backup was made may have changed meanwhile.
        """
        task, found, present = work.task, work.found, work.journal.rows
        data, l0 = located(task, found)
        places = [place for _, place in (*data, *l0)]
        outcome = CollectionOutcome(
            str(task.source),
            str(task.target),
            CollectionState.SALVAGED if found.lost else CollectionState.DONE,
            objects=sum(place.objects for place in places),
            size=sum(place.size for place in places),
            notes=tuple(losses(task, found)),
        )
        if self.options.meta_only:
            return outcome
        notes = (expected.note,) if expected.note else ()
        state = outcome.outcome
        # Whether deletes are folded may have turned out amid the restore.
        wanted = expected.jobs(folded=Conversion.FOLD_L0 in work.limits.conversion)
        if present != wanted and not expected.note:
            if expected.exact:
                state = CollectionState.WRONG
            else:
                notes = (self._finish.rows_differ(task, present=present, expected=wanted),)
        return replace(
            outcome,
            outcome=state,
            rows_expected=wanted + lost_rows(task, found),
            rows_present=present,
            notes=(*outcome.notes, *notes),
        )

    @property
    def _finish(self) -> Finish:
        return Finish(self.milvus, self.run, self.options, self.context.pace)

    def _conclude(
        self, work: _Restoration, outcome: CollectionOutcome, expected: Expected
    ) -> CollectionOutcome:
        """Restores indexes and load state as requested; a loaded collection can then be counted, deletes included."""
        task = work.task
        finish = self._finish
        outcome = replace(
            outcome, notes=(*outcome.notes, *dict.fromkeys(work.target.notes), *finish.run_all(task))
        )
        counted = None if task.partial or work.found.lost else self.rows.get(str(task.record.collection_id))
        wanted = expected.live if expected.exact or expected.live is not None else counted
        if not work.counts_fit and not expected.exact:
            wanted = None
        if wanted is None or TTL in as_dict(task.record.properties):
            return outcome
        if not work.journal.journal.created or self.options.meta_only:
            return outcome
        live = finish.live_rows(task)
        if live is None:
            return outcome
        lost = lost_rows(task, work.found)
        notes = tuple(note for note in outcome.notes if note != expected.note)
        outcome = replace(outcome, rows_expected=wanted + lost, rows_present=live, notes=notes)
        if live == wanted:
            return outcome
        if expected.exact:
            return replace(outcome, outcome=CollectionState.WRONG)
        differ = finish.rows_differ(task, present=live, expected=wanted)
        return replace(outcome, notes=(differ, *notes))
