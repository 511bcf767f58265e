"""The operation `verify`: whether a backup is what was backed up, in four depths. Reads, and keeps only its result.

It needs no lease: nothing that a run writes into a committed backup changes what is in it. A backup that was deleted or
completed meanwhile is noticed before anything is said about it.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import msgspec

from mbk.engine.formats.known import of_backup
from mbk.engine.formats.verifying import Verifying
from mbk.engine.operations.drill import Drill
from mbk.engine.operations.inspection import Inspected, Inspection, present
from mbk.engine.operations.progress import Progress
from mbk.engine.repository import verified
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.commit import BackupFiles
from mbk.engine.repository.detailed import DetailedCollection, detailed_collections
from mbk.engine.repository.pool.damage import KINDS, concerned, tell_damaged
from mbk.engine.repository.pool.twofold import tell_classic
from mbk.engine.repository.record import Record
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.context import ClusterContext, Context
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import hold
from mbk.engine.transfer.load import reading, together
from mbk.errors import Busy, DamageFound, Interrupted, InvalidBackup, MbkError, UsageError
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.events import WorkExpected
from mbk.model.flows import Flow, requests_of
from mbk.model.manifest import StoredFinding, VerifiedResult, VerifyProgress
from mbk.model.objects import ObjectRecord
from mbk.model.options import VerifyOptions
from mbk.model.plans import Plan, total
from mbk.model.records import DEFAULT_DATABASE
from mbk.model.reports import CollectionOutcome, Finding, VerifiedCollection, VerifyReport
from mbk.model.states import CollectionState, Depth, FindingKind

#: Findings in a report, and in the backup: a lost bucket has a million of them.
REPORTED, STORED = 10_000, 100
#: What these say is not that the backup is damaged.
_NO_DAMAGE = frozenset({"backup-incomplete", "backup-format-unknown"})
_SALVAGE = "restore what is whole with --salvage, and use another backup for the rest"
#: Of a shared backup.
_HEAL = "back the collections up again with --incremental, which copies these objects anew where Milvus still has them"
_REMOVE = "the backup can be restored; remove these objects if nothing needs them"


@frozen(kw_only=True)
class Subject:
    """A committed backup that is verified. ``mark`` changes with every change of what is in it."""

    name: str
    catalog: Catalog
    committed: Committed
    record: Record | None
    verifying: Verifying

    @property
    def mark(self) -> str:
        return self.committed.manifest.commit or self.committed.backup.id

    def collections(self) -> Iterator[DetailedCollection]:
        return detailed_collections(self.catalog, self.committed)


@frozen(kw_only=True)
class VerifyPlan:
    """``planned``: what each collection must have. ``read``: what is read of all; ``asked``: how many objects are asked about."""

    name: str
    id: str
    milvus_version: str
    planned: tuple[CollectionOutcome, ...]
    read: tuple[Flow, ...]
    asked: int


def plan(context: Context, name: str, options: VerifyOptions) -> VerifyPlan:
    """Reads the metadata; raises what is wrong with it."""
    with _opened(context, name, options) as subject:
        planned, read = list[CollectionOutcome](), list[Flow]()
        for collection in subject.collections():
            expected = _expected(context, subject, collection)
            planned.append(_planned(collection, expected))
            if options.depth is Depth.CONTENTS:
                read.append(_sampled(subject, expected, options.sample))
        backup = subject.committed.backup
        return VerifyPlan(
            name=name,
            id=backup.id,
            milvus_version=backup.milvus_version,
            planned=tuple(planned),
            read=together(read),
            asked=sum(item.objects or 0 for item in planned) if options.depth is Depth.DIGESTS else 0,
        )


def preview(context: Context, plan: VerifyPlan) -> Plan:
    return Plan(
        command="verify",
        name=plan.name,
        id=plan.id,
        location=f"{context.backup_storage.location}/{plan.name}",
        milvus_version=plan.milvus_version,
        collections=plan.planned,
        objects=total([item.objects for item in plan.planned]),
        size=total([item.size for item in plan.planned]),
        flows=plan.read,
        requests=requests_of(
            plan.read,
            listed=[("backups", item.objects or 0) for item in plan.planned],
            asked=[("backups", plan.asked)],
            written=[("backups", 1)],
        ),
        notices=tuple(context.run.notices),
    )


def execute(
    context: Context, name: str, options: VerifyOptions, *, at: datetime | None = None
) -> VerifyReport:
    """Returns the report if nothing is wrong; `DamageFound` carries it otherwise. ``at``: now, if it is not given."""
    at = (at or datetime.now(UTC)).replace(microsecond=0)
    result = _Verification(context, name, options, at).run()
    if result.found:
        raise DamageFound(
            "backup {backup!r} is not what was backed up: {found} findings, the first: {finding}",
            code="backup-damaged",
            backup=name,
            found=result.found,
            finding=sentence(result.findings[0]),
            report=result,
            hint=_advice(result),
        )
    return result


def _advice(report: VerifyReport) -> str | None:
    """What helps against all of it. The detail of a finding about the metadata says so itself."""
    kinds = {finding.kind for finding in report.findings}
    if kinds == {FindingKind.EXTRA}:
        return _REMOVE
    if FindingKind.METADATA in kinds:
        return None
    return f"{_HEAL}; {_SALVAGE}" if report.concerns else _SALVAGE


def sentence(finding: Finding) -> str:
    """One line: ``missing binlogs/insert_log/…: it is not there``."""
    return f"{finding.kind} {finding.key or finding.collection}".rstrip() + f": {finding.detail}"


@contextmanager
def _opened(context: Context, name: str, options: VerifyOptions) -> Iterator[Subject]:
    context.backup_storage.check()
    catalog = Catalog(context.backup_storage, context.run)
    committed = catalog.committed(name)
    tell_classic(context.backup_storage, context.run, committed)
    with ExitStack() as stack:
        opened = catalog.open_record(committed)
        if opened is not None:
            stack.enter_context(opened)
        if options.record:
            _refuse_recording(committed, has_record=opened is not None)
        yield Subject(
            name=name,
            catalog=catalog,
            committed=committed,
            record=opened,
            verifying=of_backup(committed.backup.format, name).verifying(),
        )


def _refuse_recording(committed: Committed, *, has_record: bool) -> None:
    name = committed.stored.layout.name
    if has_record:
        raise UsageError(
            "backup {backup!r} has a record of its objects already",
            code="record-exists",
            backup=name,
            hint="compare the objects with it: mbk verify -n {backup} --depth contents",
        )
    if layout.FULL_META not in committed.stored.files:
        raise UsageError(
            "backup {backup!r} was made by a tool that wrote no full_meta.json, so it cannot get a record",
            code="record-without-full-meta",
            backup=name,
            hint="restore it and back the collections up again",
        )


def _expected(context: Context, subject: Subject, collection: DetailedCollection) -> Collection[ObjectRecord]:
    """By the record, or for a backup without one by its metadata and what is there."""
    if subject.record is not None:
        return subject.record.of(collection.collection_id).values()
    with present(context, subject.verifying, subject.committed, None, collection) as there:
        return subject.verifying.listed(collection, there)[0].values()


def _sampled(subject: Subject, expected: Collection[ObjectRecord], percent: int) -> Flow:
    """Which objects a sample has depends on the day; how many it has does not."""
    below = subject.committed.below
    whole = reading(((below + entry.key, entry.size) for entry in expected), "backups")
    return replace(whole, objects=whole.objects * percent // 100, size=whole.size * percent // 100)


def _planned(collection: DetailedCollection, expected: Collection[ObjectRecord]) -> CollectionOutcome:
    label = collection.label
    return CollectionOutcome(
        label,
        label,
        CollectionState.PLANNED,
        objects=len(expected),
        size=sum(entry.size for entry in expected) or collection.size,
        rows_expected=collection.rows,
    )


# -- running -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Verification:
    context: Context
    name: str
    options: VerifyOptions
    at: datetime
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    damaged: dict[str, FindingKind] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    _recorded: bool = False

    def run(self) -> VerifyReport:
        context, run = self.context, self.context.run
        run.phase("metadata")
        try:
            with _opened(context, self.name, self.options) as subject:
                return self._verified(subject)
        except InvalidBackup as error:
            if error.code in _NO_DAMAGE:
                raise
            self._add([Finding(FindingKind.METADATA, str(error), str(error.facts.get("key", "")))])
        return self._report()

    def _verified(self, subject: Subject) -> VerifyReport:
        collections, resumed = self._collections(subject)
        if self.options.depth is Depth.DRILL:
            collections = self._drilled(subject, collections)
        if self.found and not self._recorded:
            self._require_unchanged(subject)
        self._tell_pool(subject)
        report = self._report(subject, collections, resumed=resumed)
        return replace(report, stored=self._stored(subject, report), notices=tuple(self.context.run.notices))

    def _tell_pool(self, subject: Subject) -> None:
        """What is damaged concerns all backups that have it, and later ones do not build on it."""
        context, record = self.context, subject.record
        if record is None or not subject.committed.is_shared:
            return
        keys = {item.key for item in self.findings if item.key and item.kind is not FindingKind.EXTRA}
        named = concerned(subject.catalog, context.run, keys) if keys else {}
        self.findings = [replace(item, concerns=named.get(item.key, ())) for item in self.findings]
        proven = self.options.depth is Depth.CONTENTS and self.options.sample == 100
        try:
            tell_damaged(
                context.backup_storage,
                context.run,
                record,
                self.damaged,
                proven=proven,
                at=self.at.isoformat(),
            )
        except Interrupted:
            raise
        except MbkError as error:
            context.run.notice(
                "damage-not-stored",
                "new backups are not kept from building on damaged objects: {reason}",
                reason=error.message,
            )

    def _collections(self, subject: Subject) -> tuple[list[VerifiedCollection], bool]:
        context, options = self.context, self.options
        with ExitStack() as stack:
            spool = stack.enter_context(SegmentSpool()) if options.record else None
            progress = Progress.of(context, subject.catalog, self.name, self._wanted(subject), kept=not spool)
            inspection = Inspection(
                context=context,
                committed=subject.committed,
                record=subject.record,
                verifying=subject.verifying,
                depth=options.depth,
                progress=progress,
                spool=spool,
            )
            self._tell_expected(subject)
            with progress:
                done = [self._seen(item, subject) for item in inspection.of(subject.collections())]
                self._add(inspection.strays({item.id for item in done}))
            if spool is not None and not self._is_damaged:
                self._record(subject, spool)
            return [item.result for item in done], progress.resumed

    def _tell_expected(self, subject: Subject) -> None:
        """All collections, with the bytes that are read of them, before the first."""
        share = self.options.sample if self.options.depth is Depth.CONTENTS else 0
        for item in subject.committed.backup.collection_backups:
            label = f"{item.db_name or DEFAULT_DATABASE}.{item.collection_name}"
            self.context.run.emit(WorkExpected(collection=label, size=item.size * share // 100))

    def _record(self, subject: Subject, spool: SegmentSpool) -> None:
        context = self.context
        what = f"recording the objects of backup {self.name!r}"
        with hold(context.backup_storage, self.name, what, context.run, pace=context.pace.lease) as fence:
            self._require_unchanged(subject)
            storage = writing_backup(context.backup_storage, fence, self.name)
            files = BackupFiles(storage, Catalog(storage, context.run), context.run, self.name)
            files.add_record(subject.committed, spool)
        self._recorded = True

    def _seen(self, item: Inspected, subject: Subject) -> Inspected:
        self._add(item.findings)
        if subject.committed.is_shared:
            self.damaged |= {one.key: one.kind for one in item.findings if one.kind in KINDS}
        return replace(item, findings=())

    def _drilled(self, subject: Subject, collections: list[VerifiedCollection]) -> list[VerifiedCollection]:
        """Damaged data is kept from the server."""
        if not isinstance(self.context, ClusterContext):
            raise UsageError("a drill needs a Milvus", code="drill-without-milvus")
        if self.found:
            self.context.run.notice(
                "drill-left-out", "nothing was restored for the drill, because the backup is damaged"
            )
            return collections
        drilled = Drill(
            context=self.context,
            name=subject.name,
            committed=subject.committed,
            record=subject.record,
            verifying=subject.verifying,
        ).run(subject.collections())
        self._add(drilled.findings)
        return [replace(item, restored=drilled.rows.get(item.name)) for item in collections]

    # -- what it comes to ----------------------------------------------------------------------------------------

    @property
    def _is_damaged(self) -> bool:
        """Whether anything that belongs to the backup is not whole."""
        return any(item.kind is not FindingKind.EXTRA for item in self.findings)

    def _add(self, findings: Sequence[Finding]) -> None:
        self.found += len(findings)
        self.findings += findings[: max(0, REPORTED - len(self.findings))]

    def _require_unchanged(self, subject: Subject) -> None:
        """What was read may be a mixture if another run has completed the backup. `BackupNotFound` if it was deleted."""
        try:
            now = subject.catalog.committed(self.name)
        except InvalidBackup:
            return  # that is a finding, too
        if (now.manifest.commit or now.backup.id) != subject.mark:
            raise Busy(
                "backup {backup!r} was changed by another run while it was verified",
                code="backup-changed-meanwhile",
                backup=self.name,
                hint="run it again",
            )

    def _report(
        self,
        subject: Subject | None = None,
        collections: Sequence[VerifiedCollection] = (),
        *,
        resumed: bool = False,
    ) -> VerifyReport:
        counted = [replace(item, findings=self._of(item.name)) for item in collections]
        return VerifyReport(
            name=self.name,
            id=subject.committed.backup.id if subject else "",
            location=f"{self.context.backup_storage.location}/{self.name}",
            depth=self.options.depth,
            recorded=subject is not None and subject.record is not None,
            at=self.at,
            seconds=time.monotonic() - self.started,
            collections=tuple(counted),
            findings=tuple(self.findings),
            found=self.found,
            sample=self.options.sample,
            resumed=resumed,
            concerns=tuple(sorted({name for item in self.findings for name in item.concerns})),
            notices=tuple(self.context.run.notices),
        )

    def _of(self, collection: str) -> int:
        return sum(item.collection == collection for item in self.findings)

    # -- what is kept --------------------------------------------------------------------------------------------

    def _wanted(self, subject: Subject) -> VerifyProgress:
        return VerifyProgress(
            subject=subject.mark,
            at=self.at.isoformat(),
            depth=self.options.depth,
            sample=self.options.sample,
            day=self.at.toordinal(),
        )

    def _stored(self, subject: Subject, report: VerifyReport) -> bool:
        """Whoever may only read verifies all the same."""
        catalog = subject.catalog
        try:
            mark = catalog.committed(self.name).manifest.commit if self._recorded else subject.mark
            known = verified.with_result(catalog.verified(self.name, mark), self._result(report))
            catalog.write_beside(self.name, layout.VERIFIED, msgspec.json.encode(known))
        except Interrupted:
            raise
        except MbkError as error:
            self.context.run.notice(
                "result-not-stored",
                "the result is not kept in the backup: {reason}",
                reason=error.message,
            )
            return False
        return True

    def _result(self, report: VerifyReport) -> VerifiedResult:
        return VerifiedResult(
            at=report.at.isoformat(),
            depth=report.depth,
            sample=report.sample,
            objects=sum(item.objects for item in report.collections),
            size=sum(item.size for item in report.collections),
            read_size=sum(item.read_size for item in report.collections),
            found=report.found,
            findings=[
                StoredFinding(kind=item.kind, key=item.key, collection=item.collection, detail=item.detail)
                for item in report.findings[:STORED]
            ],
            tool=self.context.tool,
        )
