"""Runs jobs on a bounded number of threads: queue, cancel, resume, and recovery after the server stopped."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import msgspec

from mbk.errors import (
    AccessError,
    Busy,
    DamageFound,
    Interrupted,
    MbkError,
    NotFound,
    PartialFailure,
    RowsWrong,
    StorageError,
    Unreachable,
)
from mbk.jobs.failures import JobNotFound, KeyReused, QueueFull, WrongState
from mbk.jobs.kinds import KINDS, Done, Kind, Work, done_with, verification
from mbk.jobs.params import Params
from mbk.jobs.progress import outcomes
from mbk.jobs.sessions import Sessions
from mbk.jobs.store import Store
from mbk.model.events import CollectionFinished, Event, Notice, PhaseStarted
from mbk.model.jobs import CollectionProgress, Failure, Job, Progress
from mbk.model.reports import RunReport, VerifyReport
from mbk.model.states import JobState
from mbk.observe.meter import Meter

log = logging.getLogger(__name__)
#: Seconds between two records of a running job's progress: as often as a person watching it can use.
BEAT = 1.0


class Observer(Protocol):
    """Watches jobs. Its exceptions are logged and change nothing."""

    def started(self, job: Job) -> None: ...

    def event(self, job: Job, event: Event) -> None: ...

    def finished(self, job: Job) -> None: ...


@dataclass(slots=True)
class Active:
    """A queued or running job. ``verdict``: its final state if it is stopped from outside."""

    job: Job
    resume: bool
    meter: Meter
    cancelled: threading.Event = field(default_factory=threading.Event)
    over: Future[Job] = field(default_factory=Future)
    verdict: JobState | None = None
    recorded: float = 0.0

    def view(self) -> Job:
        if self.job.state is not JobState.RUNNING:
            return self.job
        return replace(
            self.job,
            progress=self.meter.progress(),
            collections=self.meter.collections(),
            notices=self.meter.notices(),
        )


class Runner:
    """Several threads may call its methods."""

    def __init__(
        self,
        store: Store,
        sessions: Sessions,
        *,
        concurrency: int = 2,
        queue: int = 100,
        keep_days: int = 30,
        kinds: Mapping[str, Kind] = KINDS,
        observers: Sequence[Observer] = (),
    ) -> None:
        self.store = store
        self.sessions = sessions
        self.kinds = kinds
        self.observers = observers
        self.on_change: Callable[[], None] = lambda: None
        self._concurrency, self._queue, self._keep = concurrency, queue, keep_days * 86_400.0
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="mbk-job")
        self._lock = threading.RLock()
        self._active: dict[str, Active] = {}
        self._secrets: dict[str, Mapping[str, Any]] = {}
        self._stopping = False

    # -- the server's life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Takes over the jobs of an earlier server: running ones become interrupted, queued ones are queued again."""
        self._forget()
        for job in self.store.running():
            state = job.state if job.state.is_over else JobState.INTERRUPTED
            self._close(replace(job, state=state, finished=time.time()))
        for job in self.store.waiting():
            if job.state.is_over:  # its record is damaged
                self._close(job)
            elif job.has_secret:
                self._close(replace(job, state=JobState.INTERRUPTED, finished=time.time()))
            else:
                with self._lock:
                    self._launch(job, resume=job.attempt > 1)

    def begin_stop(self) -> None:
        """Running jobs are interrupted; queued ones stay queued for the next server."""
        with self._lock:
            self._stopping = True
            active = list(self._active.values())
        for item in active:
            item.verdict = item.verdict or JobState.INTERRUPTED
            item.cancelled.set()
            if item.job.state is JobState.QUEUED and not item.over.done():
                item.over.set_result(item.job)

    def stop(self) -> None:
        self.begin_stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    # -- what clients ask for ------------------------------------------------------------------------------------

    def submit(
        self, params: Params, *, id: str = "", key: str = "", digest: str = "", replaces: bool = False
    ) -> tuple[Job, bool]:
        """Stores and queues a job. Given the key of an earlier request, it returns that request's job and True.

        ``id``: the job's, unless another job has it; with ``replaces`` a job that has ended gives it away, and is forgotten.

        Raises `UsageError` for invalid parameters, `KeyReused`, `QueueFull`, `Busy` if another job uses the backup, and
        `BackupExists` for a new one whose name is taken.
        """
        kind = self.kinds[params.operation.job]
        name = kind.check(params)
        params = params.settled()
        for place in params.places:
            self.sessions.check_place(*place)
        path, bucket = self.sessions.normal(params.path, params.bucket)
        secret = params.model_dump(include=set(kind.secret), exclude_defaults=True)
        if not (key and self.store.by_key(key)):
            self._refuse_taken(params, name, path, bucket)
        with self._lock:
            if key and (earlier := self.store.by_key(key)):
                return self._replayed(*earlier, digest), True
            if replaces and id and id not in self._active:
                self.store.remove(id)
            job = Job(
                id=id if id and self.store.get(id) is None else str(uuid.uuid4()),
                kind=kind.name,
                name=name,
                params=params.model_dump(mode="json", exclude=set(kind.secret), exclude_defaults=True),
                path=path,
                bucket=bucket,
                created=time.time(),
                secret=secret,
                has_secret=bool(secret),
            )
            self._refuse(job)
            job = self.store.add(job, key=key, digest=digest)
            self._secrets[job.id] = secret
            self._launch(job, resume=False)
        return job, False

    def get(self, id: str) -> Job:
        """The job as it is now. Raises `JobNotFound`."""
        with self._lock:
            active = self._active.get(id)
        if active is not None:
            return active.view()
        job = self.store.get(id)
        if job is None:
            raise JobNotFound(
                "job {job!r} does not exist",
                code="job-missing",
                job=id,
                hint="finished jobs are removed after server.jobs.keepDays",
            )
        return replace(job, secret=self._secrets.get(id, {}))

    def current(self, job: Job) -> Job:
        """A stored job, as it is now."""
        with self._lock:
            active = self._active.get(job.id)
        return active.view() if active else replace(job, secret=self._secrets.get(job.id, {}))

    def over(self, id: str) -> Future[Job]:
        """Resolves to the job when it has ended, or when the server stops before it was started."""
        with self._lock:
            if active := self._active.get(id):
                return active.over
        done: Future[Job] = Future()
        done.set_result(self.get(id))
        return done

    def cancel(self, id: str) -> Job:
        """Cancels a queued job at once, and lets a running one stop cleanly. Raises `JobNotFound`, `WrongState`."""
        with self._lock:
            active = self._active.get(id)
            if active is None:
                job = self.get(id)
                if job.state is JobState.CANCELLED:
                    return job
                raise WrongState(
                    "job {job} has already ended: {state}", code="job-ended", job=id, state=job.state
                )
            active.verdict = JobState.CANCELLED
            active.cancelled.set()
            if active.job.state is JobState.QUEUED:
                self._finish(active, replace(active.job, state=JobState.CANCELLED, finished=time.time()))
            return active.view()

    def resume(self, id: str) -> Job:
        """Queues a job that ended without success again. Raises `JobNotFound`, `WrongState`, `QueueFull` or `Busy`."""
        with self._lock:
            job = self.get(id)
            if not job.is_resumable:
                raise _not_resumable(job)
            self._refuse(job)
            job = replace(job, state=JobState.QUEUED, attempt=job.attempt + 1, finished=0.0)
            self.store.save(job)
            self._launch(job, resume=True)
            return job

    @property
    def is_full(self) -> bool:
        with self._lock:
            return len(self._active) >= self._concurrency + self._queue

    # -- inside --------------------------------------------------------------------------------------------------

    def _replayed(self, digest: str, id: str, requested: str) -> Job:
        if digest != requested:
            raise KeyReused(
                "this Idempotency-Key was used for a different request",
                code="idempotency-key-reused",
                hint="use a new key",
            )
        return self.get(id)

    def _refuse_taken(self, params: Params, name: str, path: str, bucket: str) -> None:
        """A client that polls for a backup by its name would be told of the old one. What else is wrong, the job tells."""
        if params.operation.name_of_backup != "optional":
            return
        with self._lock:
            if any(item.job.name == name for item in self._active.values()):
                return
        with suppress(Unreachable, AccessError, NotFound, StorageError):
            self.sessions.refuse_existing(name, path=path, bucket=bucket)

    def _refuse(self, job: Job) -> None:
        """Only one job at a time writes a backup; the lease in the storage excludes other processes, and jobs without a name."""
        if self._stopping:
            raise Busy(
                "the server is stopping",
                code="server-stopping",
                hint="submit the job again after its restart",
            )
        if self.is_full:
            raise QueueFull(
                "the queue is full: {jobs} jobs are running or queued",
                code="job-queue-full",
                jobs=len(self._active),
                hint="try again later",
            )
        writes = self.kinds[job.kind].writes_backup
        for other in self._active.values():
            same = (other.job.name, other.job.path, other.job.bucket) == (job.name, job.path, job.bucket)
            if job.name and same and (writes or self.kinds[other.job.kind].writes_backup):
                raise Busy(
                    "job {job} ({kind}) is using backup {backup!r}",
                    code="backup-in-use",
                    job=other.job.id,
                    kind=other.job.kind,
                    backup=job.name,
                    hint="wait until it has finished",
                )

    def _launch(self, job: Job, *, resume: bool) -> None:
        meter = Meter(job.progress.percent, restores=job.kind == "restore")
        active = self._active[job.id] = Active(job, resume, meter)
        self._publish(job, "state", {"state": job.state, "attempt": job.attempt})
        try:
            self._pool.submit(self._run, active)
        except RuntimeError as exc:  # no further thread
            self._finish(
                active, replace(job, state=JobState.FAILED, error=Failure.of(exc), finished=time.time())
            )

    def _run(self, active: Active) -> None:
        with self._lock:
            if active.job.id not in self._active or (self._stopping and active.job.state is JobState.QUEUED):
                return
            before = active.job
            active.job = replace(before, state=JobState.RUNNING, started=time.time(), error=None)
            self._write(lambda: self.store.save(active.job))
        self._publish(active.job, "state", {"state": JobState.RUNNING, "attempt": active.job.attempt})
        self._observe("started", active.job)
        _log(logging.INFO, active.job, f"runs, attempt {before.attempt}")
        ended = self._attempt(active, before)
        with self._lock:
            self._finish(active, ended)
        self._forget()

    def _attempt(self, active: Active, before: Job) -> Job:
        """Makes one attempt and returns the job as it is afterwards. Raises nothing."""
        kind, job = self.kinds[before.kind], active.job
        try:
            secret = self._secrets.get(job.id, {})
            params = kind.params.model_validate({**job.params, "kind": job.kind, **secret})
            with self.sessions.opened(path=job.path, bucket=job.bucket) as session:
                listener = _listener(self, active)
                work = Work(session, before, listener, active.cancelled, active.resume)
                done = kind.run(work, params)
        except PartialFailure as exc:
            ended = replace(
                _ended(active, done_with(exc.report)), state=JobState.PARTIAL, error=Failure.of(exc)
            )
        except DamageFound as exc:
            found = verification(exc.report) if isinstance(exc.report, VerifyReport) else {}
            ended = replace(_ended(active, Done(None, found)), state=JobState.FAILED, error=Failure.of(exc))
        except RowsWrong as exc:
            report = exc.report if isinstance(exc.report, RunReport) else None
            ended = replace(_ended(active, Done(report, {})), state=JobState.FAILED, error=Failure.of(exc))
        except Interrupted as exc:
            state = active.verdict or JobState.INTERRUPTED
            ended = replace(_ended(active), state=state, error=Failure.of(exc))
        except Exception as exc:
            reason = Failure.of(exc)
            if reason.kind == "InternalError":
                log.error("job %s: internal error", job.id, exc_info=exc)
            ended = replace(_ended(active), state=active.verdict or JobState.FAILED, error=reason)
        else:
            progress = replace(active.meter.progress(), percent=100, steps=())
            ended = replace(_ended(active, done), state=JobState.SUCCEEDED, progress=progress)
        return replace(ended, finished=time.time())

    def _finish(self, active: Active, job: Job) -> None:
        active.job = job
        self._close(job)
        self._active.pop(job.id, None)
        if not active.over.done():
            active.over.set_result(job)

    def _close(self, job: Job) -> None:
        self._write(lambda: self.store.save(job))
        data = {"state": job.state, "attempt": job.attempt}
        self._publish(job, "state", data | ({"error": job.error.message} if job.error else {}))
        if job.state is JobState.SUCCEEDED:
            self._secrets.pop(job.id, None)
        self._observe("finished", job)
        level = logging.INFO if job.state is JobState.SUCCEEDED else logging.WARNING
        why = f": {job.error.message}" if job.error else ""
        _log(level, job, f"is {job.state}{why}")

    def record(self, active: Active, event: Event) -> None:
        """Stores what clients and the next server need to know; progress at most every `BEAT` seconds."""
        published = _published(event)
        if published is not None:
            self._publish(active.job, *published)
        now = time.monotonic()
        if now - active.recorded >= BEAT:
            active.recorded = now
            view = active.view()
            self._write(lambda: self.store.save(view))
            self._publish(view, "progress", asdict(view.progress))

    def observe(self, job: Job, event: Event) -> None:
        self._observe("event", job, event)

    def _observe(self, what: str, *args: object) -> None:
        for observer in self.observers:
            try:
                getattr(observer, what)(*args)
            except Exception:
                log.exception("%s failed while watching a job", type(observer).__name__)

    def _publish(self, job: Job, kind: str, data: Mapping[str, Any]) -> None:
        self._write(lambda: self.store.add_event(job, kind, data))
        self.on_change()

    @staticmethod
    def _write(write: Callable[[], object]) -> None:
        """A job continues, and its clients learn of its end, even if nothing can be stored any more."""
        try:
            write()
        except MbkError as error:
            log.error("%s", error)

    def _forget(self) -> None:
        if self._keep:
            self._write(lambda: self.store.forget(before=time.time() - self._keep))


def _not_resumable(job: Job) -> WrongState:
    if job.has_secret and not job.secret:
        return WrongState(
            "job {job} cannot be resumed: its zone keys are not stored",
            code="job-secrets-lost",
            job=job.id,
            hint="submit it again with its zone keys",
        )
    return WrongState(
        "job {job} cannot be resumed: it is {state}", code="job-not-resumable", job=job.id, state=job.state
    )


def _log(level: int, job: Job, what: str) -> None:
    facts = {"job": job.id, "kind": job.kind, "backup": job.name, "state": job.state, "attempt": job.attempt}
    facts |= {"code": job.error.code, "exit_code": job.error.exit_code} if job.error else {}
    about = f"{job.kind} of {job.name!r}" if job.name else job.kind
    log.log(level, "job %s (%s) %s", job.id, about, what, extra={"facts": facts})


def _listener(runner: Runner, active: Active) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        active.meter(event)
        runner.record(active, event)
        runner.observe(active.job, event)

    return listen


def _published(event: Event) -> tuple[str, dict[str, Any]] | None:
    match event:
        case PhaseStarted() if event.phase != "waiting":
            return "phase", {"phase": event.phase, "collection": event.collection}
        case CollectionFinished():
            return "collection", {
                "collection": event.collection,
                "outcome": event.outcome,
                "error": event.error,
            }
        case Notice():
            return "notice", {
                "code": event.code,
                "message": event.message,
                "collection": event.collection,
            }
    return None


def _ended(active: Active, done: Done | None = None) -> Job:
    """The running job with the outcome of its attempt."""
    view = active.view()
    collections: tuple[CollectionProgress, ...] = view.collections
    result: dict[str, Any] = {}
    if done is not None and done.report is not None:
        report = done.report
        collections = outcomes(report, collections)
        result = {
            "location": report.location,
            "milvus_version": report.milvus_version,
            "seconds": round(report.seconds, 3),
            "size": report.size,
            "transfer": msgspec.to_builtins(report.transfer),
            "compared": report.compared,
            "todo": msgspec.to_builtins(report.todo),
        }
    progress: Progress = view.progress
    return replace(
        view, collections=collections, progress=progress, result=result | dict(done.result if done else {})
    )
