"""Runs the schedules of a server: a thread that looks what is due, and gives the runner one job after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mbk.errors import BackupExists, Busy, MbkError, NotFound
from mbk.frozen import frozen
from mbk.jobs.definitions import Definitions
from mbk.jobs.failures import JobNotFound, QueueFull
from mbk.jobs.params import made
from mbk.jobs.runner import Runner
from mbk.jobs.schedule import BACKUP, FAILURE, MISSED, SKIPPED, SUCCESS, Schedule, due, missed, seen
from mbk.model.jobs import Standing
from mbk.model.states import BackupState, JobState

log = logging.getLogger(__name__)
#: Seconds between two looks while something runs, and at most between two others: a clock that jumps is noticed after that.
LOOK, PATIENCE = 1.0, 20.0
#: Seconds for which clients are told what was read from the root last: a page that asks all the time costs few requests.
FRESH = 1.0
#: A job that the end of a server interrupted is resumed so often; one that ends servers must not do so for ever.
ATTEMPTS = 3
#: Another server makes the backup: the step of a run that waits for that, and its result.
ELSEWHERE = "elsewhere"
#: Seconds that another server gets to end a backup; one of a large cluster takes hours.
ELSEWHERE_SECONDS = 24 * 3600
#: What a job fails with if another server made the backup, or is about to.
_TAKEN = frozenset({BackupExists.__name__, Busy.__name__})


@frozen(kw_only=True)
class ScheduleState:
    """A schedule as it is now. ``following``: unix seconds of its next occurrence, 0 while it is paused."""

    schedule: Schedule
    standing: Standing
    following: float

    @property
    def is_paused(self) -> bool:
        return self.standing.paused or self.schedule.paused


class Scheduler:
    """Several threads may call it. ``clock``: unix seconds. ``tell``: gets the news of a schedule, and for whom they are."""

    def __init__(
        self,
        runner: Runner,
        definitions: Definitions,
        *,
        clock: Callable[[], float] = time.time,
        tell: Callable[[Mapping[str, Any], Collection[str]], None] | None = None,
    ) -> None:
        self._runner = runner
        self._definitions = definitions
        self._clock = clock
        self._tell = tell
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        #: By name, what keeps a schedule from going on, which is told once.
        self._hindrances: dict[str, str] = {}

    # -- the server's life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Once the runner has taken over the jobs of an earlier server."""
        self._thread = threading.Thread(target=self._loop, name="mbk-schedules", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """What is under way is interrupted by the runner, and goes on with the next server."""
        self._stopped.set()
        self._definitions.stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    # -- what clients ask for ------------------------------------------------------------------------------------

    def refresh(self, name: str = "") -> None:
        """Learns what other servers of the root were given meanwhile. ``name``: of the schedule that is asked for, which may be a
        moment old."""
        is_known = not name or name in self._definitions.known
        self._definitions.refresh(FRESH if is_known else 0.0)

    def states(self) -> list[ScheduleState]:
        """By name, as far as this server knows."""
        return [self._state(schedule) for _, schedule in sorted(self._definitions.known.items())]

    def state(self, name: str) -> ScheduleState:
        """`ScheduleNotFound` if there is none of this name, `UsageError` if this server cannot run it."""
        return self._state(self._definitions.get(name))

    def create(self, name: str, given: Mapping[str, Any], *, key: str = "") -> tuple[ScheduleState, bool]:
        """As `Definitions.create`."""
        schedule, replayed = self._definitions.create(name, given, key=key)
        self._woken.set()
        return self._state(schedule), replayed

    def replace(self, name: str, given: Mapping[str, Any]) -> tuple[ScheduleState, bool]:
        """As `Definitions.replace`. What runs goes on as it began, as far as its job is concerned."""
        schedule, is_new = self._definitions.replace(name, given)
        self._woken.set()
        return self._state(schedule), is_new

    def delete(self, name: str) -> None:
        """As `Definitions.delete`. The job that runs goes on, and no other follows it."""
        self._definitions.delete(name)

    def run(self, name: str) -> ScheduleState:
        """Runs it at once, paused or not. `Busy` if it runs already."""
        self.refresh(name)
        with self._lock:
            standing = self.state(name).standing
            if standing.is_running:
                raise Busy(
                    "schedule {schedule!r} is running: {step} of backup {backup!r}",
                    code="schedule-running",
                    schedule=name,
                    step=standing.step,
                    backup=standing.backup,
                    hint="wait until it has finished",
                )
            moment = self._now()
            if self._definitions.get(name).backup_of(moment) == standing.backup:
                moment += timedelta(seconds=1)  # the name tells the second, and that one is taken
            self._save(name, replace(standing, asked=moment.timestamp()))
        self._woken.set()
        return self.state(name)

    def pause(self, name: str, *, paused: bool) -> ScheduleState:
        """What runs goes on. What is missed meanwhile is not made up."""
        self.refresh(name)
        if self._definitions.get(name).id:
            self._definitions.pause(name, paused=paused)
            self._woken.set()
            return self.state(name)
        with self._lock:
            standing = self.state(name).standing
            if paused != standing.paused:
                handled = standing.handled if paused else self._clock()
                self._save(name, replace(standing, paused=paused, handled=handled))
        self._woken.set()
        return self.state(name)

    # -- looking -------------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Does what is to be done now; returns whether anything is under way."""
        running = False
        self._definitions.refresh(PATIENCE)
        for schedule in self._definitions.known.values():
            try:
                with self._lock:
                    running = self._advance(schedule) or running
                self._hindrances.pop(schedule.name, None)
            except MbkError as error:
                if self._hindrances.get(schedule.name) != error.message:
                    log.warning("schedule %s: %s", schedule.name, error.message)
                self._hindrances[schedule.name] = error.message
                running = True  # soon again
        return running

    def _loop(self) -> None:
        while not self._stopped.is_set():
            try:
                running = self.look()
            except Exception:
                log.exception("schedules: internal error")
                running = False
            self._woken.wait(LOOK if running else PATIENCE if self._is_far else LOOK)
            self._woken.clear()

    @property
    def _is_far(self) -> bool:
        """Whether nothing is due before the next look."""
        now = self._now()
        return all(
            item.following(now).timestamp() - now.timestamp() > PATIENCE
            for item in self._definitions.known.values()
        )

    def _advance(self, schedule: Schedule) -> bool:
        now = self._now()
        known = self._runner.store.standing(schedule.name)
        standing = seen(schedule, known, now)
        if standing != known:
            self._save(schedule.name, standing)
        occurrence = due(schedule, standing, now)
        if standing.is_running:
            # A clock that steps back brings the occurrence again that is under way.
            if occurrence is not None and schedule.backup_of(occurrence) != standing.backup:
                standing = self._skipped(schedule, standing, occurrence)
            return self._follow(schedule, standing).is_running
        if occurrence is None:
            return False
        self._definitions.refresh(LOOK)
        if self._definitions.known.get(schedule.name) != schedule:
            return True  # somebody has just changed it: the next look sees that
        return self._begin(schedule, standing, occurrence).is_running

    def _skipped(self, schedule: Schedule, standing: Standing, occurrence: datetime) -> Standing:
        log.warning(
            "schedule %s: the run of %s is skipped, %s of backup %s is not over yet",
            schedule.name,
            occurrence.isoformat(timespec="seconds"),
            standing.step,
            standing.backup,
        )
        standing = replace(standing, handled=occurrence.timestamp(), skipped=standing.skipped + 1)
        self._save(schedule.name, standing)
        if standing.step != ELSEWHERE:  # the server that makes the backup tells it
            self._told(schedule, standing, SKIPPED, occurrence=occurrence.timestamp())
        return standing

    def _begin(self, schedule: Schedule, standing: Standing, occurrence: datetime) -> Standing:
        standing = replace(
            standing,
            handled=max(standing.handled, occurrence.timestamp()),
            backup=schedule.backup_of(occurrence),
            began=self._clock(),
            ended=0.0,
            asked=0.0,
            missed=missed(schedule, standing, occurrence, self._now()),
        )
        begun = self._submit(schedule, standing, BACKUP)
        if begun.missed:
            log.warning(
                "schedule %s: missed since %s; backup %s makes up for it",
                schedule.name,
                _text(begun.missed),
                begun.backup,
            )
        return begun

    def _submit(self, schedule: Schedule, standing: Standing, step: str) -> Standing:
        """The key of the job is that of the occurrence: killed before this is stored, the next server finds the job."""
        params = made(step, schedule.parameters(step, standing.backup))
        key = f"schedule/{schedule.name}/{standing.backup}/{step}"
        try:
            job, _ = self._runner.submit(params, key=key, digest=key)
        except (QueueFull, Busy):
            raise  # the next look tries again
        except BackupExists as taken:
            return self._if_elsewhere(schedule, standing, taken.message)
        except MbkError as error:
            return self._end(schedule, standing, JobState.FAILED, error.message)
        return self._save(schedule.name, replace(standing, step=step, job=job.id))

    def _follow(self, schedule: Schedule, standing: Standing) -> Standing:
        if standing.step == ELSEWHERE:
            return self._if_elsewhere(schedule, standing, "another server makes it")
        try:
            job = self._runner.get(standing.job)
        except JobNotFound:
            return self._end(schedule, standing, JobState.FAILED, "its job is no longer there")
        if not job.state.is_over:
            return standing
        if job.state is JobState.INTERRUPTED and job.is_resumable and job.attempt < ATTEMPTS:
            self._runner.resume(job.id)
            return standing
        if job.state is JobState.SUCCEEDED:
            step = schedule.after(standing.step)
            if step:
                return self._submit(schedule, standing, step)
            return self._end(schedule, standing, JobState.SUCCEEDED, "")
        failure = job.error
        if standing.step == BACKUP and failure is not None and failure.kind in _TAKEN:
            return self._if_elsewhere(schedule, standing, failure.message)
        reason = f"{standing.step}: {failure.message}" if failure is not None else standing.step
        return self._end(schedule, standing, str(job.state), reason)

    def _if_elsewhere(self, schedule: Schedule, standing: Standing, reason: str) -> Standing:
        """Another server makes the backup, or has made it: it counts once it is complete, and not at all if it never is."""
        state = self._state_of(standing.backup)
        if state in (BackupState.COMPLETE, BackupState.PARTIAL):
            return self._end(schedule, standing, ELSEWHERE, reason)
        if self._clock() - standing.began > ELSEWHERE_SECONDS:
            return self._end(schedule, standing, JobState.FAILED, f"another server did not end it: {reason}")
        return (
            standing if standing.is_running else self._save(schedule.name, replace(standing, step=ELSEWHERE))
        )

    def _state_of(self, backup: str) -> BackupState | None:
        with self._runner.sessions.reading() as session, suppress(NotFound):
            return session.get(backup).state
        return None

    def _end(self, schedule: Schedule, standing: Standing, result: str, reason: str) -> Standing:
        ended = self._clock()
        succeeded = ended if result in (JobState.SUCCEEDED, ELSEWHERE) else standing.succeeded
        level = logging.INFO if succeeded == ended else logging.ERROR
        log.log(
            level,
            "schedule %s: backup %s: %s%s",
            schedule.name,
            standing.backup,
            result,
            f": {reason}" if reason else "",
        )
        standing = replace(
            standing, step="", job="", ended=ended, result=str(result), reason=reason, succeeded=succeeded
        )
        self._save(schedule.name, standing)
        if result != ELSEWHERE:
            if standing.missed:
                self._told(schedule, standing, MISSED, occurrence=standing.missed)
            self._told(schedule, standing, SUCCESS if result == JobState.SUCCEEDED else FAILURE)
        return standing

    def _told(self, schedule: Schedule, standing: Standing, event: str, *, occurrence: float = 0.0) -> None:
        """Once what it is about is stored: a server that is killed in between tells nobody, rather than twice."""
        targets = schedule.notify.get(event, ())
        if self._tell is None or not targets:
            return
        is_over = not standing.is_running
        news = {
            "schedule": schedule.name,
            "event": event,
            "backup": standing.backup,
            "occurrence": _text(occurrence) if occurrence else None,
            "began": _text(standing.began),
            "seconds": round(standing.ended - standing.began, 3) if is_over else None,
            "result": standing.result if is_over else None,
            "reason": standing.reason or None if is_over else None,
        }
        self._tell(news, targets)

    # -- inside --------------------------------------------------------------------------------------------------

    def _state(self, schedule: Schedule) -> ScheduleState:
        now = self._now()
        standing = seen(schedule, self._runner.store.standing(schedule.name), now)
        following = schedule.following(now).timestamp()
        state = ScheduleState(schedule=schedule, standing=standing, following=following)
        return replace(state, following=0.0) if state.is_paused else state

    def _save(self, name: str, standing: Standing) -> Standing:
        self._runner.store.save_standing(name, standing)
        return standing

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
