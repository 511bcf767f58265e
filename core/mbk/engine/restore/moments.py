"""Which backup a restore of a moment takes, where it is cut, and which moment that really is.

How it is decided, and why that is exact: docs/how-to/restore-a-point-in-time.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import UTC, datetime

from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.timeline import consistency_point, hybrid_of, time_of
from mbk.engine.restore.plan import RestoreTask, make_plan, nothing_selected
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.run import Run
from mbk.errors import BackupNotFound, InvalidBackup, NotFound, UsageError
from mbk.frozen import frozen
from mbk.model.manifest import NONE, Protection
from mbk.model.moments import spelled
from mbk.model.options import RestoreOptions
from mbk.model.records import Collection
from mbk.model.reports import BackupSummary
from mbk.model.retention import begun, is_whole
from mbk.model.states import BackupState
from mbk.ports.storage import Location

_NAMED_AT_MOST = 3
_SNAPSHOT = "snapshot"


@frozen(kw_only=True)
class Reach:
    """Up to when a backup has a collection. ``point``: the moment that its rows and deletes are of; None if they are of no exact
    one: all until ``since`` are there, and some until ``until``. ``cause``: why no earlier moment can be cut out of it."""

    point: datetime | None
    since: datetime | None
    until: datetime | None
    cause: str = ""

    @property
    def end(self) -> datetime | None:
        """Nothing in it is newer, once it is cut at its point."""
        return self.point or self.until

    def contains(self, asked: datetime) -> bool:
        """Whether it can be cut at an earlier moment."""
        since = self.point or self.since
        return not self.cause and since is not None and since >= asked

    @property
    def words(self) -> str:
        if self.point:
            return f"of {spelled(self.point)}"
        if self.since and self.until and self.since < self.until:
            return f"of some moment between {spelled(self.since)} and {spelled(self.until)}"
        return f"not newer than {spelled(self.until)}" if self.until else "of an unknown moment"


@frozen(kw_only=True)
class Candidate:
    """A backup that has what is to be restored; ``reaches`` by collection id."""

    summary: BackupSummary
    committed: Committed
    tasks: Sequence[RestoreTask]
    reaches: Mapping[int, Reach]

    @property
    def name(self) -> str:
        return self.summary.name

    def beyond(self, asked: datetime) -> list[RestoreTask]:
        """The collections with newer data, or with data of an unknown time."""
        return [task for task in self.tasks if _is_beyond(self.reach(task), asked)]

    def reach(self, task: RestoreTask) -> Reach:
        return self.reaches[task.record.collection_id]

    def record(self, number: int) -> Collection | None:
        records = self.committed.backup.collection_backups
        return next((item for item in records if item.collection_id == number), None)

    def protection(self, number: int) -> Protection:
        return self.committed.manifest.protection.get(str(number), Protection())


@frozen(kw_only=True)
class Found:
    """The backup to restore. ``cuts``: collection id -> the hybrid timestamp to cut it at, if not at its own point."""

    name: str
    committed: Committed
    cuts: Mapping[str, int] = field(default_factory=dict)


def found(context: Context, catalog: Catalog, name: str, options: RestoreOptions) -> Found:
    """The named backup, or the one that comes nearest to the moment that is asked for.

    Raises what `Catalog.committed` and `make_plan` raise, `BackupNotFound` if no backup is that old, and `UsageError` if the named
    one does not contain the moment.
    """
    asked = asked_for(context, options)
    if asked is None:
        return Found(name=name, committed=catalog.committed(name, salvage=options.salvage))
    if options.at is not None and options.at.tzinfo is None:
        context.run.notice(
            "moment-without-zone",
            "{moment} has no zone, and is taken for {utc}",
            moment=options.at.isoformat(),
            utc=spelled(asked),
        )
    search = _Search(catalog, context.run, context.backup_storage.location, options, asked)
    chosen = search.named(name) if name else search.nearest()
    cuts = {str(task.record.collection_id): hybrid_of(asked) for task in chosen.beyond(asked)}
    return Found(name=chosen.name, committed=chosen.committed, cuts=cuts)


def asked_for(context: Context, options: RestoreOptions) -> datetime | None:
    """The moment that is asked for, in UTC; None for that of the named backup."""
    return options.moment(context.retention.zone)


def moments(
    committed: Committed, tasks: Iterable[RestoreTask], options: RestoreOptions, cuts: Mapping[str, int]
) -> dict[str, datetime]:
    """Target -> the moment that it is restored as of, by Milvus' clock. Those of no exact moment are left out."""
    if options.meta_only or options.no_cut:
        return {}
    exact = {}
    for task in tasks:
        number = str(task.record.collection_id)
        point = time_of(cuts[number]) if number in cuts else _point(committed, task.record)
        if point is not None:
            exact[str(task.target)] = point
    return exact


# -- one backup --------------------------------------------------------------------------------------------------------


def _candidate(catalog: Catalog, summary: BackupSummary, options: RestoreOptions) -> Candidate:
    """Raises what `make_plan` raises if the backup lacks what is to be restored."""
    committed = catalog.committed(summary.name, salvage=options.salvage)
    planned = make_plan(committed.backup, options)
    if planned.unmatched:
        raise nothing_selected(committed.backup, planned.unmatched)
    tasks = () if options.meta_only else planned.tasks
    until = summary.finished or summary.written
    reaches = {task.record.collection_id: _reach(committed, task.record, until) for task in tasks}
    return Candidate(summary=summary, committed=committed, tasks=tasks, reaches=reaches)


def _reach(committed: Committed, record: Collection, until: datetime | None) -> Reach:
    if _is_unflushed(committed, record):
        return Reach(point=None, since=None, until=None, cause="it was backed up without a flush")
    point = _point(committed, record)
    if committed.backup.format == _SNAPSHOT:
        return Reach(
            point=point, since=point, until=until, cause="it is a snapshot, which Milvus restores whole"
        )
    if point:
        return Reach(point=point, since=point, until=point)
    stamps = consistency_point(record, committed.backup).channels.values()
    if not stamps:
        return Reach(point=None, since=None, until=until, cause="it does not record when it was flushed")
    return Reach(point=None, since=time_of(min(stamps)), until=until)


def _point(committed: Committed, record: Collection) -> datetime | None:
    """The moment that a collection in a backup is of, if that is an exact one."""
    known = committed.manifest.protection.get(str(record.collection_id))
    if committed.backup.format == _SNAPSHOT:
        stamp = 0 if _is_unflushed(committed, record) else record.backup_timestamp
    else:
        stamp = known.point if known else 0
    return time_of(stamp) if stamp else None


def _is_unflushed(committed: Committed, record: Collection) -> bool:
    """Whether mbk backed it up without a flush, or without its data."""
    manifest = committed.manifest
    known = manifest.protection.get(str(record.collection_id))
    return known.boundary == NONE if known else bool(manifest.tool)


def _is_beyond(reach: Reach, asked: datetime) -> bool:
    return reach.end is None or reach.end > asked


def _require_reached(chosen: Candidate, asked: datetime) -> None:
    """`UsageError` if the named backup does not contain the moment."""
    for task in chosen.tasks:
        reach, created = chosen.reach(task), _created(task.record)
        if not _is_beyond(reach, asked):
            if reach.end != asked:
                raise UsageError(
                    "backup {backup!r} ends before {moment}: {collection} in it is {reach}",
                    code="moment-after-backup",
                    backup=chosen.name,
                    collection=task.source,
                    moment=spelled(asked),
                    reach=reach.words,
                    hint="name a moment that it contains, or leave out the name to get the backup that comes nearest",
                )
        elif not reach.contains(asked):
            raise UsageError(
                "backup {backup!r} cannot be cut at {moment}: {collection} in it is {reach}{cause}",
                code="moment-not-cuttable",
                backup=chosen.name,
                collection=task.source,
                moment=spelled(asked),
                reach=reach.words,
                cause=f", and {reach.cause}" if reach.cause else "",
                hint="leave out the name to get the backup that comes nearest, or --at to restore this one as it is",
            )
        elif created and created > asked:
            raise UsageError(
                "{collection} did not exist at {moment}: it was created at {created}",
                code="moment-before-collection",
                collection=task.source,
                moment=spelled(asked),
                created=spelled(created),
                hint="leave it out with --source-exclude, or name a later moment",
            )


def _created(record: Collection) -> datetime | None:
    """When Milvus created it; other tools may have recorded nothing."""
    return time_of(record.created_timestamp) if record.created_timestamp else None


def _labels(tasks: Sequence[RestoreTask]) -> str:
    names = [str(task.source) for task in tasks]
    return ", ".join(names[:_NAMED_AT_MOST]) + (" …" if len(names) > _NAMED_AT_MOST else "")


# -- of all backups ----------------------------------------------------------------------------------------------------


@frozen
class _Search:
    """Looks for the backup that comes nearest to a moment, the newest first."""

    catalog: Catalog
    run: Run
    location: Location
    options: RestoreOptions
    asked: datetime
    _looked: dict[str, Candidate | None] = field(default_factory=dict)
    _lacking: list[NotFound] = field(default_factory=list)

    def nearest(self) -> Candidate:
        listed = [*self._listed()]
        dated = [item for item in listed if begun(item)]
        whole = [item for item in dated if is_whole(item)]
        first = next((number for number, item in enumerate(whole) if self._is_older(item)), len(whole))
        # The first one that was begun later may reach back to the moment.
        for number in range(max(first - 1, 0), len(whole)):
            chosen = self._look(whole[number])
            if chosen is not None and self._fits(chosen, older := whole[number + 1 :]):
                self._tell(chosen, dated, [item for item in listed if not begun(item)])
                self._tell_lacking(chosen, older)
                return chosen
        raise self._none(whole)

    def named(self, name: str) -> Candidate:
        """The named backup. It is cut where the user says, whether all that was there at the moment still is or not."""
        if self.options.labels:
            raise UsageError(
                "labels choose a backup, and {backup!r} is named",
                code="labels-beside-name",
                backup=name,
                hint="leave out the name or the labels",
            )
        summary = self.catalog.summary(name) or BackupSummary(name, BackupState.UNREADABLE)
        chosen = _candidate(self.catalog, summary, self.options)
        _require_reached(chosen, self.asked)
        beyond = chosen.beyond(self.asked)
        if beyond and not self._fits(chosen, self._older(summary)):
            self.run.notice(
                "cut-uncertain",
                "{collections}: cut at {moment}, before the consistency point: rows that were deleted or replaced in between are "
                "only there if Milvus had not removed them from its files yet",
                collections=_labels(beyond),
                moment=spelled(self.asked),
            )
        return chosen

    def _listed(self) -> Iterable[BackupSummary]:
        """The newest first, those of an unknown time last."""
        labelled = (
            item
            for item in self.catalog.summaries()
            if all(test.of(item.labels) for test in self.options.labels)
        )
        return sorted(labelled, key=_order, reverse=True)

    def _older(self, summary: BackupSummary) -> Sequence[BackupSummary]:
        return [item for item in self._listed() if is_whole(item) and _order(item) < _order(summary)]

    def _is_older(self, summary: BackupSummary) -> bool:
        when = begun(summary)
        return when is not None and when <= self.asked

    def _look(self, summary: BackupSummary) -> Candidate | None:
        """None if it cannot be used; the run is told why, unless it only lacks what is to be restored."""
        name = summary.name
        if name not in self._looked:
            self._looked[name] = None
            try:
                found = _candidate(self.catalog, summary, self.options)
                if found.committed.backup.collection_backups:
                    self._looked[name] = found
                else:  # all were dropped while it was made: to restore it would restore nothing, and succeed
                    self._skip(name, "no collection is in it")
            except (InvalidBackup, BackupNotFound) as error:
                self._skip(name, error.message)
            except NotFound as error:
                self._lacking.append(error)
        return self._looked[name]

    def _first(self, summaries: Iterable[BackupSummary]) -> Candidate | None:
        """The first one that can be used."""
        return next(filter(None, map(self._look, summaries)), None)

    def _skip(self, name: str, reason: str) -> None:
        self.run.notice(
            "moment-skipped", "backup {backup!r} is not looked at: {reason}", backup=name, reason=reason
        )

    def _fits(self, chosen: Candidate, older: Sequence[BackupSummary]) -> bool:
        """Whether everything that was there at the moment is in it, up to the point of each of its collections."""
        if not chosen.tasks:
            return self._is_older(chosen.summary)
        beyond = chosen.beyond(self.asked)
        if not beyond:
            return True
        if any(chosen.reach(task).point is None or chosen.reach(task).cause for task in beyond):
            return False
        before = self._first(older)
        return before is not None and all(
            _covers(before, chosen, task.record.collection_id, self.asked) for task in beyond
        )

    def _tell(
        self, chosen: Candidate, dated: Sequence[BackupSummary], undated: Sequence[BackupSummary]
    ) -> None:
        """What was left out that might have come nearer, and what is not exact of what was chosen."""
        newer = dated[: next(number for number, item in enumerate(dated) if item.name == chosen.name)]
        for item in (*newer, *undated):
            if not is_whole(item) and (self._is_older(item) or not begun(item)):
                self._skip(item.name, _unfit(item))
        for task in chosen.tasks:
            reach = chosen.reach(task)
            if reach.point is None:
                self.run.notice(
                    "moment-inexact",
                    "{collection} is {reach}: backup {backup!r} has no exact consistency point",
                    collection=str(task.source),
                    reach=reach.words,
                    backup=chosen.name,
                )

    def _tell_lacking(self, chosen: Candidate, older: Sequence[BackupSummary]) -> None:
        """A collection that was dropped while the chosen backup was made may have been there at the moment."""
        before = self._first(older)
        if before is None:
            return
        there = {task.source for task in chosen.tasks}
        lacking = [task for task in before.tasks if task.source not in there]
        if lacking:
            self.run.notice(
                "moment-lacking",
                "{collections}: in backup {before!r}, but not in {backup!r}, which comes nearer to the moment: dropped before or while it "
                "was made, or not selected; --source-filter restores what was there before",
                collections=_labels(lacking),
                before=before.name,
                backup=chosen.name,
            )

    def _none(self, whole: Sequence[BackupSummary]) -> NotFound:
        """Why there is no backup, and what the earliest one is of."""
        earliest = self._first(reversed(whole))
        if earliest is None:
            return self._lacking[0] if self._lacking else self._nothing()
        ends = [reach for reach in earliest.reaches.values() if reach.end]
        words = max(ends, key=lambda reach: reach.end or self.asked).words if ends else "of an unknown moment"
        return BackupNotFound(
            "no backup in {location} is from {moment} or before; the earliest is {backup!r}, {reach}",
            code="no-backup-at-moment",
            location=self.location,
            moment=spelled(self.asked),
            backup=earliest.name,
            reach=words,
            hint="name a later moment, or restore that one with -n {backup}",
        )

    def _nothing(self) -> NotFound:
        return BackupNotFound(
            "there is no complete backup in {location}{labelled}",
            code="no-backup-at-all",
            location=self.location,
            labelled=f" with the label {', '.join(map(str, self.options.labels))}"
            if self.options.labels
            else "",
            hint="see `mbk list`",
        )


def _order(summary: BackupSummary) -> tuple[datetime, datetime, str]:
    """As those of a prune: of backups of one second the one that ended last is the newest."""
    when = begun(summary) or datetime.min.replace(tzinfo=UTC)
    return when, summary.finished or when, summary.name


def _unfit(summary: BackupSummary) -> str:
    if summary.state is BackupState.COMPLETE:
        return "its last verification found it damaged"
    return f"it is {summary.state}" + (f": {summary.reason}" if summary.reason else "")


def _covers(before: Candidate, chosen: Candidate, number: int, asked: datetime) -> bool:
    """Whether a collection in ``chosen`` can be cut at a moment between the points of both without a doubt.

    Only a compaction removes rows from the files, and it replaces segments. If all segments of the older backup are in the newer
    one, none of them was replaced; and if all others hold what was growing until the newer one's own flush, none of those was.
    """
    older, newer = before.record(number), chosen.record(number)
    if older is None or newer is None or not _is_same(older, newer):
        return False
    known, knows = before.protection(number), chosen.protection(number)
    if not known.point or time_of(known.point) > asked:
        return False
    if before.committed.manifest.origin != chosen.committed.manifest.origin:
        return False
    old, new = set(_data_segments(older)), set(_data_segments(newer))
    return old <= new and new - old <= {*knows.late}


def _is_same(older: Collection, newer: Collection) -> bool:
    return (older.created_timestamp, older.virtual_channel_names) == (
        newer.created_timestamp,
        newer.virtual_channel_names,
    )


def _data_segments(record: Collection) -> Iterator[int]:
    for partition in record.partition_backups:
        yield from (item.segment_id for item in partition.segment_backups if not item.is_l0)
