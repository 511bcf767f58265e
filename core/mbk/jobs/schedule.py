"""Schedules: what a server does by itself, and when. Pure: nothing here asks a clock or starts a job."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from mbk.config.schedules import NAME, NAME_HINT
from mbk.config.targets import NAME as TARGET
from mbk.errors import Problem, UsageError
from mbk.frozen import frozen
from mbk.jobs.params import made
from mbk.model.addresses import Address
from mbk.model.jobs import Standing
from mbk.model.reports import is_valid_name
from mbk.model.retention import zone_of

#: The label that a schedule gives its backups, so that its prune looks at no others.
LABEL = "schedule"
#: The jobs of one run, in their order. What deletes comes last, and only after all else went well.
BACKUP, VERIFY, COPY, PRUNE = "backup", "verify", "copy", "prune"
TEMPLATE = "{schedule}_{time}"
_TEMPLATE = re.compile(r"(?:\w|\{schedule\}|\{time\})+")
STEPS = (BACKUP, VERIFY, COPY, PRUNE)
#: The key that says what a step does.
_KEYS = {BACKUP: "create", VERIFY: "verify", COPY: "copy", PRUNE: "keep"}
#: All keys of a schedule, as the REST API spells them.
KEYS = ("cron", "time_zone", "backup_name", "create", "verify", "copy", "keep", "notify")
#: What somebody may be told of: the end of a run, an occurrence that came while one was under way, those that no server was there for.
SUCCESS, FAILURE, SKIPPED, MISSED = "success", "failure", "skipped", "missed"
EVENTS = (SUCCESS, FAILURE, SKIPPED, MISSED)
#: Seconds after which an occurrence that has not begun was missed: several looks of a server whose clock was set.
LATE = 60.0
#: Five fields with every minute of an hour in the first need less.
_LONGEST_CRON = 256


@frozen(kw_only=True)
class Surroundings:
    """What the configuration of a server has for its schedules. ``zone``: of those that name none. ``profiles``: which they may copy to.
    ``targets``: whom they may tell; None: that is not looked at."""

    zone: str = ""
    profiles: Collection[str] = ()
    targets: Collection[str] | None = ()


@frozen(kw_only=True)
class Schedule:
    """``cron``: five fields, in ``zone``. ``backup_name`` has ``{schedule}`` and ``{time}`` filled in. ``create``, ``copy`` and ``keep``: parameters of the jobs as
    in `/api/v2/jobs`; no ``copy`` or ``keep``, no such job. ``verify``: a depth, or empty. ``notify``: of which event which targets are told.

    ``id``: of one that was made over REST, empty for one of the configuration. ``paused``: for all servers that share its root.
    """

    name: str
    cron: str
    zone: tzinfo = UTC
    backup_name: str = TEMPLATE
    create: Mapping[str, Any] = field(default_factory=dict)
    verify: str = ""
    copy: Mapping[str, Any] = field(default_factory=dict)
    keep: Mapping[str, Any] = field(default_factory=dict)
    notify: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    id: str = ""
    paused: bool = False

    @property
    def timing(self) -> str:
        """Of what its occurrences are made. A pause belongs to it: what is missed meanwhile is not made up."""
        return f"{self.cron} {self.zone}{' paused' if self.paused else ''}"

    @property
    def steps(self) -> tuple[str, ...]:
        wanted = {BACKUP: True, VERIFY: bool(self.verify), COPY: bool(self.copy), PRUNE: bool(self.keep)}
        return tuple(step for step in STEPS if wanted[step])

    def after(self, step: str) -> str:
        """The step that follows; empty after the last one."""
        rest = self.steps[self.steps.index(step) + 1 :] if step in self.steps else ()
        return rest[0] if rest else ""

    def backup_of(self, occurrence: datetime) -> str:
        """The same on every server, so that its name decides which of several makes it."""
        time = occurrence.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        return self.backup_name.format(schedule=self.name, time=time)

    def parameters(self, step: str, backup: str) -> dict[str, Any]:
        """Those of the job of a step."""
        if step == BACKUP:
            labels = {LABEL: self.name, **self.create.get("labels", {})}
            return {**self.create, "name": backup, "labels": labels}
        if step == VERIFY:
            return {"backup": backup, "depth": self.verify}
        if step == COPY:
            return {"backup": backup, **self.copy}
        more = self.keep.get("labels") or []
        chosen = [f"{LABEL}={self.name}", *more] if isinstance(more, list | tuple) else more
        return {**self.keep, "labels": chosen}

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every path and bucket that its jobs name."""
        backup = self.backup_of(datetime(2026, 1, 1, tzinfo=UTC))
        return [place for step in self.steps for place in made(step, self.parameters(step, backup)).places]

    def latest(self, now: datetime) -> datetime:
        """The newest occurrence that is not after ``now``."""
        # To the second, and the search excludes its start. Added in UTC: in a zone a sum forgets which of two equal hours it is in.
        start = (now.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)).astimezone(self.zone)
        return _occurrences(self.cron, start, reverse=True)

    def following(self, now: datetime) -> datetime:
        """The next occurrence after ``now``."""
        return _occurrences(self.cron, now.astimezone(self.zone), reverse=False)


def seen(schedule: Schedule, standing: Standing | None, now: datetime) -> Standing:
    """A schedule that was never seen, or not with this timing, begins with the next occurrence. A clock that was ahead does not
    stop it: what lies in the future was handled by that clock alone."""
    if standing is None or standing.id != schedule.id:
        return Standing(handled=now.timestamp(), id=schedule.id, timing=schedule.timing)
    # A record of an older mbk has no timing.
    is_same = standing.timing in ("", schedule.timing)
    handled = min(standing.handled, now.timestamp()) if is_same else now.timestamp()
    return replace(standing, handled=handled, timing=schedule.timing)


def due(schedule: Schedule, standing: Standing, now: datetime) -> datetime | None:
    """The occurrence that is to be run or skipped now: of several that were missed the newest one alone."""
    if standing.asked:
        return datetime.fromtimestamp(standing.asked, UTC)
    if standing.paused or schedule.paused:
        return None
    latest = schedule.latest(now)
    return latest if latest.timestamp() > standing.handled else None


def missed(schedule: Schedule, standing: Standing, occurrence: datetime, now: datetime) -> float:
    """The first occurrence, in unix seconds, that a run of this one makes up for; 0 if it makes up for none."""
    if standing.asked:
        return 0.0
    first = schedule.following(datetime.fromtimestamp(standing.handled, UTC)).timestamp()
    is_late = now.timestamp() - occurrence.timestamp() > LATE
    return first if first < occurrence.timestamp() or is_late else 0.0


def of_settings(name: str, given: Mapping[str, Any], around: Surroundings) -> Schedule:
    """From the configuration or the REST API. `UsageError`, whose fact ``key`` is the key below the schedule, for what cannot be."""
    values = dict(given)
    schedule = Schedule(
        name=checked_name(name),
        cron=_cron(values.pop("cron", "")),
        zone=_zone(values.pop("time_zone", "") or around.zone),
        backup_name=_template(name, values.pop("backup_name", "") or TEMPLATE),
        create=_section(values, "create"),
        verify=str(values.pop("verify", "") or ""),
        copy=_section(values, "copy"),
        keep=_section(values, "keep"),
        notify=_notify(_section(values, "notify"), around.targets),
    )
    if unknown := next(iter(values), ""):
        raise _wrong(unknown, "is not known", f"use one of {', '.join(KEYS)}")
    _refuse_own(schedule)
    for step in schedule.steps:
        _check(schedule, step, around)
    return schedule


def all_of(
    settings: Mapping[str, Mapping[str, Any]], around: Surroundings
) -> tuple[dict[str, Schedule], list[Problem]]:
    """Every schedule that can be, and a problem for each that cannot, in the user's keys."""
    schedules, problems = {}, []
    for name, given in settings.items():
        try:
            schedules[name] = of_settings(name, given, around)
        except UsageError as error:
            key = _as_in_the_file(str(error.facts.get("key", "")))
            problems.append(Problem(f"schedules.{name}.{key}", str(error.facts.get("reason")), error.hint))
    return schedules, problems


def checked_name(name: str) -> str:
    """The name, if a schedule can have it. `UsageError` otherwise."""
    if not NAME.fullmatch(name):
        raise _wrong("name", f"{name!r} is not a valid name of a schedule", NAME_HINT)
    return name


def _check(schedule: Schedule, step: str, around: Surroundings) -> None:
    key = _KEYS[step]
    backup = schedule.backup_of(datetime(2026, 1, 1, tzinfo=UTC))
    try:
        made(step, schedule.parameters(step, backup)).check()
    except UsageError as error:
        raise _wrong(key, error.message, error.hint) from error
    profile = Address.parse(str(schedule.copy.get("to", ""))).profile
    if step == COPY and profile and profile not in around.profiles:
        known = ", ".join(around.profiles) or "none"
        raise _wrong(
            key,
            f"there is no profile {profile!r}",
            f"add it to the configuration of the server; it has {known}",
        )


def _refuse_own(schedule: Schedule) -> None:
    """What each run sets itself: with another name or label its prune would look at the backups of others."""
    if "name" in schedule.create:
        raise _wrong("create", "name is made for each run", "say with backup_name how")
    if "backup" in schedule.copy:
        raise _wrong("copy", "backup is that of the run", "leave it out")
    labels = schedule.create.get("labels")
    if isinstance(labels, Mapping) and LABEL in labels:
        raise _wrong("create", f"the label {LABEL!r} is given by the schedule itself", "use another one")


def _as_in_the_file(key: str) -> str:
    """``time_zone`` is ``timeZone`` in a file."""
    first, *more = key.split("_")
    return first + "".join(word.capitalize() for word in more)


def _notify(given: Mapping[str, Any], targets: Collection[str] | None) -> Mapping[str, tuple[str, ...]]:
    """What is no name is not repeated: it may be a URL with a token."""
    told = dict[str, tuple[str, ...]]()
    for event, names in given.items():
        if event not in EVENTS:
            raise _wrong("notify", f"{event!r} is no event", f"use {', '.join(EVENTS)}")
        listed = [names] if isinstance(names, str) else names
        if not isinstance(listed, list | tuple) or not all(map(_is_target, listed)):
            hint = "put URLs and commands below notifications in the configuration of the server, and their names here"
            raise _wrong("notify", f"{event} is neither the name of a target nor a list of such", hint)
        listed = [name.lower() for name in listed]
        for name in listed:
            if targets is not None and name not in targets:
                known = ", ".join(targets) or "none"
                hint = f"add it below notifications in the configuration of the server; it has {known}"
                raise _wrong("notify", f"{event}: there is no target {name!r}", hint)
        if listed:
            told[event] = tuple(dict.fromkeys(listed))
    return told


def _is_target(name: object) -> bool:
    return isinstance(name, str) and TARGET.fullmatch(name.lower()) is not None


def _section(values: dict[str, Any], key: str) -> Mapping[str, Any]:
    found = values.pop(key, None)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise _wrong(key, "expected a section with keys below it", None)
    return found


def _cron(text: object) -> str:
    from cronsim import CronSim, CronSimError

    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST_CRON:
        raise _wrong(
            "cron",
            "is missing" if not text else "is no cron expression",
            "write five fields, such as '30 2 * * *' for every night at 02:30",
        )
    try:
        if len(text.split()) != 5:
            raise CronSimError("expected five fields")
        next(CronSim(text, datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as wrong:
        reason = str(wrong)[:1].lower() + str(wrong)[1:] if str(wrong) else "no day of any year fits it"
        hint = "minute, hour, day of the month, month, day of the week: '30 2 * * *' is every night at 02:30"
        raise _wrong("cron", f"{text!r} is no cron expression: {reason}", hint) from wrong
    return text


def _zone(text: object) -> tzinfo:
    try:
        return zone_of(str(text), "time_zone")
    except UsageError as wrong:
        raise _wrong("time_zone", str(wrong.facts.get("reason")), wrong.hint) from wrong


def _template(name: str, text: object) -> str:
    """Only the two fields as they are: a width could make a name of gigabytes."""
    is_plain = isinstance(text, str) and _TEMPLATE.fullmatch(text) and "{time}" in text
    if not is_plain or not is_valid_name(str(text).format(schedule=name, time="20260101T000000Z")):
        hint = "use {schedule}_{time}, with letters, digits and _"
        raise _wrong("backup_name", f"{text!r} makes no valid name", hint)
    return str(text)


def _wrong(key: str, reason: str, hint: str | None) -> UsageError:
    return UsageError("{key}: {reason}", code="schedule-invalid", key=key, reason=reason, hint=hint)


def _occurrences(cron: str, start: datetime, *, reverse: bool) -> datetime:
    from cronsim import CronSim

    return next(CronSim(cron, start, reverse=reverse))
