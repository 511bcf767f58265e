"""The schedules of a server: those of its configuration, and those that it or another one of its root was given over REST."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mbk.errors import MbkError, UsageError
from mbk.frozen import frozen
from mbk.jobs.failures import KeyReused, ScheduleConfigured, ScheduleExists, ScheduleNotFound
from mbk.jobs.schedule import Schedule, Surroundings, checked_name, of_settings
from mbk.jobs.sessions import Sessions

if TYPE_CHECKING:
    from mbk.engine.repository.scheduled import Known, Scheduled
    from mbk.engine.runtime.run import Run
    from mbk.ports.storage import Storage

log = logging.getLogger(__name__)
#: Each is looked at every second while something runs, and a job each is more than any queue holds.
MOST = 200


@frozen
class _View:
    """What is known of the root at ``moment``, in seconds of a clock that never jumps. ``unfit``: why some cannot be run here."""

    read: Known
    schedules: Mapping[str, Schedule]
    unfit: Mapping[str, UsageError]
    moment: float


class Definitions:
    """Several threads may call it. A schedule of the configuration hides one of the same name in the root."""

    def __init__(
        self, sessions: Sessions, configured: Mapping[str, Schedule], around: Surroundings | None = None
    ) -> None:
        self._sessions = sessions
        self._configured = configured
        self._around = around or Surroundings()
        self._lock = threading.Lock()
        self._view = _View({}, {}, {}, float("-inf"))
        self._hindrance = ""
        #: Set when the server stops: nobody waits for a storage any more.
        self.stopped = threading.Event()

    # -- reading ---------------------------------------------------------------------------------------------------

    @property
    def known(self) -> Mapping[str, Schedule]:
        """As they were read last."""
        return {**self._view.schedules, **self._configured}

    def get(self, name: str) -> Schedule:
        """`ScheduleNotFound`, or `UsageError` for one that this server cannot run."""
        found = self.known.get(name)
        if found is None and (wrong := self._view.unfit.get(name)) is not None:
            raise wrong
        if found is None:
            raise _missing(name)
        return found

    def refresh(self, age: float = 0.0) -> None:
        """Reads them again unless that was done less than ``age`` seconds ago. If they cannot be read, they stay as they were, which
        is told once."""
        from mbk.engine.repository import scheduled

        with self._lock:
            if time.monotonic() - self._view.moment < age:
                return
            try:
                with self._root() as (storage, run):
                    self._see(scheduled.read(storage, run))
                self._hindrance = ""
            except MbkError as error:
                self._view = replace(self._view, moment=time.monotonic())
                if self._hindrance != error.message and not self.stopped.is_set():
                    log.warning("schedules that were made over REST cannot be read: %s", error.message)
                self._hindrance = error.message

    # -- changing --------------------------------------------------------------------------------------------------

    def create(self, name: str, given: Mapping[str, Any], *, key: str = "") -> tuple[Schedule, bool]:
        """Makes a schedule. Given the key of an earlier request, it returns what that one made and True.

        `UsageError` for what cannot be, `ScheduleExists`, `ScheduleConfigured`, `KeyReused`, and what the storage raises.
        """
        plain = self._checked(name, given)
        key, digest = _digest(key) if key else "", _digest([name, plain])
        replayed = False

        def edit(known: Known) -> Known:
            nonlocal replayed
            earlier = next((item for item in known.items() if key and item[1].key == key), None)
            replayed = earlier is not None
            if earlier is not None:
                return _replayed(known, earlier[1], digest)
            if name in known:
                raise ScheduleExists(
                    "schedule {schedule!r} already exists",
                    code="schedule-exists",
                    schedule=name,
                    hint="choose another name, or replace it with PUT",
                )
            return {**known, name: _made(plain, key=key, digest=digest)}

        self._change(edit)
        return self.get(name), replayed

    def replace(self, name: str, given: Mapping[str, Any]) -> tuple[Schedule, bool]:
        """Replaces a schedule, or makes it: True. What is known of its runs stays. Raises as `create`."""
        plain = self._checked(name, given)
        is_new = False

        def edit(known: Known) -> Known:
            nonlocal is_new
            is_new = name not in known
            return {**known, name: _made(plain) if is_new else _changed(known[name], given=plain)}

        self._change(edit)
        return self.get(name), is_new

    def pause(self, name: str, *, paused: bool) -> None:
        """For all servers of the root."""
        self._change(lambda known: {**known, name: _changed(_found(known, name), paused=paused)})

    def delete(self, name: str) -> None:
        """`ScheduleNotFound`, `ScheduleConfigured`, and what the storage raises."""
        self._refuse_configured(name)

        def edit(known: Known) -> Known:
            _found(known, name)
            return {other: item for other, item in known.items() if other != name}

        self._change(edit)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _checked(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """As it is kept: with the time zone of this server, whose configuration the others may not have."""
        checked_name(name)
        self._refuse_configured(name)
        schedule = self._made_of(name, given, self._around)
        return {**given, "time_zone": str(schedule.zone)}

    def _made_of(self, name: str, given: Mapping[str, Any], around: Surroundings) -> Schedule:
        schedule = of_settings(name, given, around)
        for place in schedule.places:
            self._sessions.check_place(*place)
        return schedule

    def _refuse_configured(self, name: str) -> None:
        if name in self._configured:
            raise ScheduleConfigured(
                "schedule {schedule!r} is in the configuration of the server",
                code="schedule-configured",
                schedule=name,
                hint="change it there, below schedules.{schedule}, and restart the server",
            )

    def _change(self, edit: Callable[[Known], Known]) -> None:
        from mbk.engine.repository import scheduled

        with self._lock, self._root() as (storage, run):
            pace = self._sessions.reader.pace.lease
            self._see(scheduled.change(storage, run, _bounded(edit), settle=pace.settle))

    @contextmanager
    def _root(self) -> Iterator[tuple[Storage, Run]]:
        from mbk.engine.runtime.retried import retried
        from mbk.engine.runtime.run import Run

        with self._sessions.reading() as session:
            run = Run(session.registry.emit, policy=session.pace.retry, cancelled=self.stopped)
            yield retried(session.backup_storage, run, side="backup_storage"), run

    def _see(self, known: Known) -> None:
        if known == self._view.read:
            self._view = replace(self._view, moment=time.monotonic())
            return
        schedules, unfit = dict[str, Schedule](), dict[str, UsageError]()
        # Better a backup that nobody is told of than none.
        there = replace(self._around, targets=None)
        for name, item in known.items():
            try:
                schedules[name] = _with_state(self._made_of(name, item.given, there), item)
            except UsageError as error:
                unfit[name] = error
                if name not in self._view.unfit:
                    log.warning("schedule %s cannot be run by this server: %s", name, error.message)
        for name in schedules.keys() & self._configured.keys() - self._view.schedules.keys():
            log.warning("schedule %s of the configuration hides the one that was made over REST", name)
        self._view = _View(known, schedules, unfit, time.monotonic())


def _with_state(schedule: Schedule, item: Scheduled) -> Schedule:
    return replace(schedule, id=item.id, paused=item.paused)


def _made(given: dict[str, Any], *, key: str = "", digest: str = "") -> Scheduled:
    from mbk.engine.repository.scheduled import Scheduled

    return Scheduled(id=uuid.uuid4().hex, key=key, digest=digest, given=given)


def _changed(item: Scheduled, **changes: Any) -> Scheduled:
    import msgspec

    return msgspec.structs.replace(item, **changes)


def _found(known: Known, name: str) -> Scheduled:
    if name not in known:
        raise _missing(name)
    return known[name]


def _replayed(known: Known, earlier: Scheduled, digest: str) -> Known:
    if earlier.digest != digest:
        raise KeyReused(
            "this Idempotency-Key was used for a different request",
            code="idempotency-key-reused",
            hint="use a new key",
        )
    return known


def _bounded(edit: Callable[[Known], Known]) -> Callable[[Known], Known]:
    def bounded(known: Known) -> Known:
        after = edit(known)
        if len(after) > max(MOST, len(known)):
            raise UsageError(
                "there are {most} schedules already, as many as servers of one root may have",
                code="schedules-too-many",
                most=MOST,
                hint="delete one, or let one do the work of several",
            )
        return after

    return bounded


def _missing(name: str) -> ScheduleNotFound:
    return ScheduleNotFound(
        "schedule {schedule!r} does not exist",
        code="schedule-missing",
        schedule=name,
        hint="make it with POST /api/v2/schedules/{schedule}, or below schedules in the configuration of the server",
    )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
