"""Runs import jobs: starts as many as allowed, polls them, and trusts only row counts.

Server behaviour, with its source: jobs cannot be cancelled, but since import v2 (2.4) the jobs of a dropped collection
fail ("collection %d dropped": milvus ``internal/datacoord/import_checker.go``). A failed job leaves no rows, so its
segments can be retried. At most 1024 unfinished jobs are accepted. See docs/reference/milvus-protocol.md#import-jobs.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mbk.engine.formats.binlog.import_plan import ImportGroup, halves
from mbk.engine.formats.binlog.slots import Slots
from mbk.engine.restore.journal import JournalFile
from mbk.engine.runtime.pace import ImportPace, growing
from mbk.engine.runtime.run import Run
from mbk.errors import (
    AccessError,
    ImportFailed,
    Interrupted,
    MbkError,
    MilvusError,
    RateLimited,
    Unreachable,
    VerificationFailed,
)
from mbk.frozen import frozen
from mbk.model.events import ImportProgressed
from mbk.model.selection import CollectionName
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import ImportPhase, ImportRequest, ImportState

#: How often we look for a job whose response was lost: the server may list it with a delay.
LOOKS = 3

_FULL = re.compile(r"number of jobs has reached the limit", re.I)
_IDS = re.compile(r"\b[0-9a-f]*\d[0-9a-f]*\b")


class ImportAbandoned(ImportFailed):
    """A job may still be running that nobody can wait for: only a new collection is certain to have no extra rows.

    ``cause`` is raised to the user if the collection cannot be created again; ``segments``: the size of the job, 0 if
    that was not the reason.
    """

    def __init__(self, cause: MbkError, segments: int = 0) -> None:
        super().__init__(cause.message, code=cause.code, hint=cause.hint)
        self.cause = cause
        self.segments = segments


@dataclass(slots=True)
class _Family:
    """The halves of a failed job. If both fail for the same reason, it may not lie in a segment."""

    reasons: list[str] = field(default_factory=list)


@frozen
class _Work:
    group: ImportGroup
    attempt: int = 1
    family: _Family = field(default_factory=_Family)


@dataclass(slots=True)
class _Job:
    work: _Work
    id: str
    moved: float
    reported: float
    progress: tuple[int, int] = (0, 0)
    has_slot: bool = True

    @property
    def group(self) -> ImportGroup:
        return self.work.group


class Importer:
    """Imports the groups of one collection, in one thread. ``slots`` limits the running jobs of all collections.

    ``cut`` says whether a job excludes what is newer than the backup. ``droppable``: the collection can be dropped, which ends its
    jobs.
    """

    def __init__(
        self,
        milvus: Milvus,
        journal: JournalFile,
        run: Run,
        slots: Slots,
        pace: ImportPace,
        *,
        target: CollectionName,
        cut: Callable[[ImportGroup], bool],
        droppable: bool = False,
    ) -> None:
        self._milvus = milvus
        self._journal = journal
        self._run = run
        self._slots = slots
        self._pace = pace
        self._target = target
        self._label = str(target)
        self._cut = cut
        self._droppable = droppable
        self._waiting: deque[_Work] = deque()
        self._put_off: list[_Work] = []
        self._running: list[_Job] = []
        self._others: set[str] | None = None
        self._own = {note.job for note in journal.journal.jobs.values()}
        self._refused: float | None = None
        #: Whether Milvus is still running a job that we no longer wait for.
        self.left_running = False

    def run_all(
        self,
        groups: Sequence[ImportGroup],
        request: Callable[[ImportGroup], ImportRequest],
        *,
        under_way: Sequence[tuple[ImportGroup, str]] = (),
    ) -> None:
        """Imports all groups; ``under_way`` are jobs of an earlier run that we only wait for.

        Row counts go to the journal. Raises the first failure that retrying does not solve.
        """
        self._waiting.extend(_Work(group) for group in groups)
        self._running += [self._job(_Work(group), job, has_slot=False) for group, job in under_way]
        pauses = growing(self._pace.first, self._pace.last)
        try:
            while self._waiting or self._running or self._put_off:
                if not (self._waiting or self._running):
                    self._waiting.extend(self._put_off)
                    self._put_off.clear()
                if self._start_some(request):
                    pauses = growing(self._pace.first, self._pace.last)
                self._run.sleep(next(pauses))
                for job in list(self._running):
                    self._look_after(job)
        except BaseException:
            if not self._droppable:
                self._settle()
            raise
        finally:
            while self._running:
                self._let_go(self._running[0])
            self._waiting.clear()
            self._put_off.clear()

    # -- starting ------------------------------------------------------------------------------------------------

    def _start_some(self, request: Callable[[ImportGroup], ImportRequest]) -> bool:
        started = False
        while self._waiting and self._slots.acquire(blocking=not self._running):
            work = self._waiting.popleft()
            try:
                job = self._start(work.group, request)
            except BaseException:
                self._slots.release()
                raise
            if job is None:
                self._slots.release()
                self._waiting.appendleft(work)
                return started
            self._running.append(self._job(work, job))
            started = True
        return started

    def _job(self, work: _Work, job: str, *, has_slot: bool = True) -> _Job:
        self._own.add(job)
        now = time.monotonic()
        return _Job(work, job, now, now, has_slot=has_slot)

    def _start(self, group: ImportGroup, request: Callable[[ImportGroup], ImportRequest]) -> str | None:
        """The job's id, or None if the server accepts no more jobs for now."""
        asked = request(group)
        if self._others is None:
            self._others = self._listed(asked)
        self._note(group, "")
        try:
            job = self._begin(group, asked)
        except MbkError as error:
            if not isinstance(error, (Unreachable, Interrupted, ImportAbandoned)):
                # The server answered, so no job was started.
                self._journal.withdraw(group.key)
            if self._is_full(error):
                return None
            raise
        self._refused = None
        self._note(group, job)
        return job

    def _note(self, group: ImportGroup, job: str, *, done: bool = False, rows: int = 0) -> None:
        """For L0 segments Milvus counts deletes, not ``rows``."""
        segments = [segment.segment_id for segment in group.segments]
        self._journal.note(group.key, job, segments=segments, done=done, rows=0 if group.l0 else rows)

    def _is_full(self, error: MbkError) -> bool:
        """Whether to wait until the server accepts jobs again; the retries have waited a short time already."""
        if not (isinstance(error, RateLimited) or _FULL.search(error.message)):
            return False
        now = time.monotonic()
        self._refused = self._refused or now
        if now - self._refused > self._pace.patience:
            return False
        self._run.notice(
            "imports-refused",
            "{collection}: waiting for Milvus to accept more import jobs: {reason}",
            collection=self._label,
            reason=error.message,
        )
        return True

    def _begin(self, group: ImportGroup, request: ImportRequest) -> str:
        """Starts the job exactly once: after a lost response we look for the job before retrying."""

        def once() -> str:
            try:
                return self._milvus.imports.start(request)
            except Unreachable as error:
                raise error.final() from error.__cause__

        for attempt in range(1, self._pace.attempts + 1):
            try:
                return self._run.retry.call(f"start import into {self._label}", once)
            except Unreachable as error:
                if found := self._appeared(request, error):
                    return found
                if attempt == self._pace.attempts:
                    self._journal.withdraw(group.key)
                    raise
        raise AssertionError("at least one attempt is made")

    def _appeared(self, request: ImportRequest, error: Unreachable) -> str:
        """The job that was started although its response was lost, ``""`` if there is none. Raises if that is uncertain."""
        for look in range(LOOKS):
            if look:
                self._run.sleep(self._pace.look)
            try:
                listed = self._listed(request)
            except Unreachable:
                raise error from None
            if listed is None or self._others is None:
                raise ImportAbandoned(error)
            fresh = listed - self._others - self._own
            if len(fresh) > 1:
                raise ImportAbandoned(error)
            if fresh:
                self._run.notice(
                    "import-found",
                    "{collection}: the response to an import request was lost, but its job was found",
                    collection=self._label,
                )
                return fresh.pop()
        return ""

    def _listed(self, request: ImportRequest) -> set[str] | None:
        """The ids of the collection's jobs, None if the server does not list them."""
        try:
            jobs = self._run.retry.call(
                f"list the import jobs of {self._label}",
                self._milvus.imports.jobs,
                request.database,
                request.collection,
                rest=request.rest,
            )
        except (MilvusError, AccessError):
            return None
        return None if jobs is None else set(jobs)

    # -- looking after them --------------------------------------------------------------------------------------

    def _look_after(self, job: _Job) -> None:
        state = self._run.retry.call(
            f"get the state of import job {job.id}",
            self._milvus.imports.state,
            job.id,
            database=self._target.database,
        )
        if state.phase is ImportPhase.COMPLETED:
            self._let_go(job)
            self._finish(job, state)
        elif state.phase is ImportPhase.FAILED:
            self._let_go(job)
            self._journal.withdraw(job.group.key)
            self._run.emit(ImportProgressed(collection=self._label, job=job.id, percent=0, failed=True))
            self._try_again(job.work, state.reason or "the server gave no reason")
        else:
            self._watch(job, state)

    def _let_go(self, job: _Job) -> None:
        self._running.remove(job)
        if job.has_slot:
            self._slots.release()

    def _watch(self, job: _Job, state: ImportState) -> None:
        now = time.monotonic()
        progress = (state.percent, state.rows)
        if progress > job.progress:
            job.progress, job.moved = progress, now
            self._slots.touch()
            self._run.emit(
                ImportProgressed(collection=self._label, job=job.id, percent=state.percent, rows=state.rows)
            )
            return
        # Jobs queue in the server: one without progress has not stalled while others make progress.
        still = now - max(job.moved, self._slots.moved)
        waits = ", waiting for a commit" if state.phase is ImportPhase.UNCOMMITTED else ""
        if still > self._pace.patience:
            cause = ImportFailed(
                "import job {job} into {collection} has made no progress for {seconds:.0f} s ({percent} %{waits})",
                code="import-no-progress",
                job=job.id,
                collection=self._label,
                percent=state.percent,
                waits=waits,
                seconds=still,
                segments=job.group,
                hint="see the logs of Milvus' data nodes; segments: {segments}",
            )
            self._let_go(job)
            self.left_running = True
            raise ImportAbandoned(cause, len(job.group.segments))
        if min(still, now - job.reported) > self._pace.notice:
            job.reported = now
            self._run.notice(
                "import-stalled",
                "{collection}: import job {job} is not progressing ({percent} %{waits})",
                self._label,
                job=job.id,
                percent=state.percent,
                waits=waits,
            )

    def _try_again(self, work: _Work, reason: str) -> None:
        """A failed job leaves no rows: we retry its halves, and a single segment once more, and then name it.

        If both halves fail for the same reason, the second is deferred: it need not be split if the first leads to a
        segment.
        """
        group = work.group
        # Ids in the text differ from job to job.
        alike = _IDS.sub("", reason)
        both = alike in work.family.reasons
        work.family.reasons.append(alike)
        if len(group.segments) > 1:
            self._run.notice(
                "import-split",
                "{collection}: an import of {segments} segments failed, retrying in two halves: {reason}",
                self._label,
                segments=len(group.segments),
                reason=reason,
            )
            family = _Family()
            parts = [_Work(half, family=family) for half in halves(group)]
            if both:
                self._put_off += parts
            else:
                self._waiting.extendleft(reversed(parts))
        elif work.attempt < self._pace.attempts:
            self._run.notice(
                "import-retried",
                "{collection}: retrying the import of segment {segment}: {reason}",
                self._label,
                segment=group,
                reason=reason,
            )
            self._waiting.appendleft(replace(work, attempt=work.attempt + 1, family=_Family()))
        else:
            raise ImportFailed(
                "import of segment {segment} into {collection} failed: {reason}",
                code="import-failed",
                collection=self._label,
                reason=reason,
                segment=group,
            )

    def _finish(self, job: _Job, state: ImportState) -> None:
        """A job that found no files also ends as "completed": a wrong directory must not be taken for an empty one."""
        group = job.group
        self._slots.touch()
        exact = not group.has_deletes and not self._cut(group)
        if (state.rows > group.rows and not group.l0) or (exact and state.rows != group.rows):
            raise VerificationFailed(
                "import into {collection} loaded {present} of {expected} rows",
                code="import-rows-differ",
                collection=self._label,
                present=state.rows,
                expected=group.rows,
                hint="check that Milvus uses the storage that mbk writes to (bucketName, rootPath)",
            )
        if group.rows and not state.rows:
            self._run.notice(
                "import-empty",
                "{collection}: import loaded 0 of {rows} rows; were they all deleted, or newer than the backup?",
                collection=self._label,
                rows=group.rows,
            )
        self._note(group, job.id, done=True, rows=state.rows)
        self._run.emit(ImportProgressed(collection=self._label, job=job.id, percent=100, rows=state.rows))

    # -- giving up -----------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Waits for abandoned jobs to end: before 2.4, dropping a collection under a running job can block later imports
        forever (seen on 2.3.5)."""
        if not self._running:
            return
        self._run.notice(
            "imports-ending",
            "{collection}: waiting for {jobs} running import jobs to end",
            self._label,
            jobs=len(self._running),
        )
        deadline = time.monotonic() + self._pace.settle
        try:
            while any(self._is_at_work(job) for job in self._running):
                if time.monotonic() > deadline:
                    self.left_running = True
                    return
                time.sleep(self._pace.first)
        except MbkError:
            self.left_running = True

    def _is_at_work(self, job: _Job) -> bool:
        try:
            state = self._milvus.imports.state(job.id, database=self._target.database)
        except ImportFailed:
            return False  # the server has forgotten it
        return state.phase in (ImportPhase.RUNNING, ImportPhase.UNCOMMITTED)
