"""Running import jobs: starting as many as allowed, polling them, and believing only what was counted."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from mbk.engine.import_plan import ImportGroup
from mbk.engine.journal import JournalFile
from mbk.engine.run import Run
from mbk.errors import ImportFailed, MbkError, MilvusError, Unreachable, VerificationFailed
from mbk.model.events import ImportProgressed
from mbk.ports.milvus import ImportPhase, ImportRequest, ImportState, Milvus

FIRST_POLL = 0.2
LAST_POLL = 3.0
#: After so many seconds without any progress the user is told, once in a while.
SILENCE = 600.0
#: So long an abandoned job is waited for, in seconds.
SETTLE = 60.0


@dataclass(slots=True)
class _Job:
    group: ImportGroup
    id: str
    percent: int = 0
    moved: float = 0.0


class Importer:
    """Imports the groups of one collection. ``slots`` bounds the jobs in flight over all collections."""

    def __init__(
        self,
        milvus: Milvus,
        journal: JournalFile,
        run: Run,
        slots: threading.BoundedSemaphore,
        *,
        label: str,
        cut: bool,
    ) -> None:
        """``cut``: the jobs leave out what is younger than the backup."""
        self._milvus = milvus
        self._journal = journal
        self._run = run
        self._slots = slots
        self._label = label
        self._cut = cut
        #: Whether Milvus still works on a job that was given up.
        self.left_running = False

    def run_all(self, groups: list[ImportGroup], request: Callable[[ImportGroup], ImportRequest]) -> int:
        """Imports all groups and returns how many rows the server says it took; the first failure is raised."""
        notes = self._journal.journal.jobs
        done = {group.key for group in groups if self._journal.is_done(group.key)}
        rows = sum(notes[key].rows for key in done)
        waiting = deque(group for group in groups if group.key not in done)
        running: list[_Job] = []
        pause = FIRST_POLL
        try:
            while waiting or running:
                while waiting and self._slots.acquire(blocking=not running):
                    running.append(self._start(waiting.popleft(), request))
                    pause = FIRST_POLL
                self._run.sleep(pause)
                pause = min(LAST_POLL, pause * 1.3)
                for job in list(running):
                    state = self._poll(job)
                    if state.phase is ImportPhase.COMPLETED:
                        running.remove(job)
                        self._slots.release()
                        rows += self._finish(job, state)
        except BaseException:
            self._settle(running)
            raise
        finally:
            for _ in running:
                self._slots.release()
        return rows

    def _settle(self, jobs: list[_Job]) -> None:
        """Lets given-up jobs come to their end. Milvus cannot cancel them, and a collection that is dropped under a
        running job can keep later imports waiting for ever (seen on 2.3.5)."""
        if not jobs:
            return
        self._run.notice(
            "imports-ending", f"waiting for {len(jobs)} import jobs that Milvus has begun", self._label
        )
        deadline = time.monotonic() + SETTLE
        try:
            while any(self._milvus.import_state(job.id).phase is ImportPhase.RUNNING for job in jobs):
                if time.monotonic() > deadline:
                    self.left_running = True
                    return
                time.sleep(FIRST_POLL)
        except ImportFailed:
            pass  # the server has forgotten it
        except MbkError:
            self.left_running = True

    def _start(self, group: ImportGroup, request: Callable[[ImportGroup], ImportRequest]) -> _Job:
        note = self._journal.journal.jobs.get(group.key)
        if note is not None and note.job and self._is_alive(note.job):
            return _Job(group, note.job, moved=time.monotonic())
        try:
            self._journal.note(group.key, "")
            job = self._run.retry.call(
                f"start import into {self._label}", lambda: self._begin(request(group))
            )
            self._journal.note(group.key, job)
        except BaseException as error:
            self._slots.release()
            if isinstance(error, MilvusError):
                # The server answered: it did not begin.
                self._journal.withdraw(group.key)
            raise
        return _Job(group, job, moved=time.monotonic())

    def _begin(self, request: ImportRequest) -> str:
        try:
            return self._milvus.start_import(request)
        except Unreachable as error:
            # The server may have begun all the same: once more would bring the rows twice.
            error.retryable = False
            raise

    def _is_alive(self, job: str) -> bool:
        """Whether a job of an earlier run can still be waited for; a failed one left no rows and is begun again."""
        try:
            return self._milvus.import_state(job).phase is not ImportPhase.FAILED
        except ImportFailed:
            return False

    def _poll(self, job: _Job) -> ImportState:
        state = self._run.retry.call(
            f"ask for import job {job.id}", lambda: self._milvus.import_state(job.id)
        )
        if state.phase is ImportPhase.FAILED:
            raise ImportFailed(
                f"import into {self._label} failed: {state.reason or 'the server gave no reason'}",
                hint=f"the segments are {', '.join(str(item.segment_id) for item in job.group.segments[:3])} …",
            )
        now = time.monotonic()
        if state.percent > job.percent:
            job.percent, job.moved = state.percent, now
            self._run.emit(
                ImportProgressed(collection=self._label, job=job.id, percent=state.percent, rows=state.rows)
            )
        elif now - job.moved > SILENCE:
            job.moved = now
            self._run.notice(
                "import-stalled", f"{self._label}: import job {job.id} has not moved for {SILENCE:.0f} s"
            )
        return state

    def _finish(self, job: _Job, state: ImportState) -> int:
        """A job that found nothing to read says "completed" as well: a wrong directory must not pass for an empty one."""
        group = job.group
        if not group.has_deletes and not self._cut and state.rows != group.rows:
            raise VerificationFailed(
                f"import into {self._label} is complete with {state.rows} rows of {group.rows}",
                hint="does Milvus read the storage that mbk wrote to?",
            )
        if group.rows and not state.rows:
            self._run.notice(
                "import-empty",
                f"{self._label}: an import took none of {group.rows} rows; were all of them deleted or too young?",
            )
        self._journal.note(group.key, job.id, done=True, rows=state.rows)
        self._run.emit(ImportProgressed(collection=self._label, job=job.id, percent=100, rows=state.rows))
        return state.rows
