"""Which backups stay and which go, by rules: a pure decision, made before anything is deleted.

Only complete backups count for the rules, so that one that lacks something never takes the place of a good one. Times are
those at which backups were begun.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo

from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.labels import LabelTest
from mbk.model.rates import time_zone
from mbk.model.reports import BackupSummary
from mbk.model.states import BackupState

#: Younger than this an incomplete or partial backup may still be worked on, or be completed in the morning.
GRACE = timedelta(days=1)

_SPAN = re.compile(r"(\d{1,6})\s*([hdwmy])", re.IGNORECASE)
#: Days of a unit; months and years as long as they can be, so that nothing goes early.
_DAYS = {"h": 1 / 24, "d": 1, "w": 7, "m": 31, "y": 366}

#: The period of each rule, as the beginning of its text: of the backups in one period the newest stays.
_PERIODS: Mapping[str, Callable[[datetime], str]] = {
    "hourly": lambda when: f"{when:%Y-%m-%dT%H%z}",
    "daily": lambda when: f"{when:%Y-%m-%d}",
    "weekly": lambda when: f"{when:%G-W%V}",
    "monthly": lambda when: f"{when:%Y-%m}",
    "yearly": lambda when: f"{when:%Y}",
}


@frozen(kw_only=True)
class Rules:
    """How many stay: the newest ``last``, the newest of each of so many hours, days and so on that have any.

    ``within``: all that are not older than that. ``labels``: all that have one of these. ``zone``: where a day begins.
    """

    last: int = 0
    within: timedelta = timedelta()
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    labels: tuple[LabelTest, ...] = ()
    zone: tzinfo = UTC

    @property
    def keep_nothing(self) -> bool:
        periods = any(getattr(self, period) for period in _PERIODS)
        return not (self.last or self.within or self.labels or periods)


@frozen(kw_only=True)
class Decision:
    """``reasons``: why it stays, or why it goes."""

    backup: BackupSummary
    goes: bool
    reasons: tuple[str, ...]


def span_of(value: object, name: str) -> timedelta:
    """``12h``, ``30d``, ``8w``, ``6m`` (months) or ``2y``; None for none."""
    if value is None:
        return timedelta()
    if isinstance(value, timedelta) and value >= timedelta():
        return value
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise UsageError(
            "{option} {value!r} is no span of time",
            code="span-invalid",
            option=name,
            value=value,
            hint="write 12h, 30d, 8w, 6m (months) or 2y",
        )
    return timedelta(days=int(match[1]) * _DAYS[match[2].lower()])


def end_of(value: object, name: str) -> datetime | None:
    """``2027-06-30``, in UTC unless it says otherwise, or ``90d`` from now; None for never. Returned in UTC, and to come."""
    if value is None:
        return None
    now = datetime.now(UTC)
    try:
        moment = utc(_moment_of(value, now, name))
    except (ValueError, OverflowError):
        raise UsageError(
            "{option} {value!r} is neither a date nor a span of time",
            code="end-invalid",
            option=name,
            value=value,
            hint="write 2027-06-30, or 90d",
        ) from None
    if moment <= now:
        raise UsageError(
            "{option} {value} has passed",
            code="end-passed",
            option=name,
            value=str(value),
            hint="name a time to come, such as 90d from now",
        )
    return moment


def _moment_of(value: object, now: datetime, name: str) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _SPAN.fullmatch(value.strip()):
        return now + span_of(value, name)
    return datetime.fromisoformat(str(value))


#: Younger objects may be of a run that died a moment ago and is run again.
GRACE = timedelta(days=1)


def grace_of(value: object, name: str) -> timedelta:
    """As `span_of`; none given is a day."""
    return GRACE if value is None or value == "" else span_of(value, name)


def utc(moment: datetime) -> datetime:
    """The same moment in UTC, which one without a zone is in. `OverflowError` at the ends of time."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def zone_of(value: str, name: str) -> tzinfo:
    """``Europe/Berlin``, as the IANA database names them; empty for UTC."""
    if not value:
        return UTC
    try:
        return time_zone(value)
    except ValueError as wrong:
        raise UsageError(
            "{option}: {reason}", code="option-unreadable", option=name, reason=str(wrong)
        ) from None


def decide(backups: Iterable[BackupSummary], rules: Rules, now: datetime) -> tuple[Decision, ...]:
    """The newest first, those of an unknown time last. Ages are counted from the newest complete backup, or from ``now`` if that
    is earlier: a clock that jumped ahead makes nothing old."""
    every = sorted(backups, key=lambda item: item.name)
    dated = [_Dated(when, item) for item in every if (when := begun(item))]
    dated.sort(key=_order, reverse=True)
    whole = [item for item in dated if is_whole(item.backup)]
    today = min(now, whole[0].when) if whole else now
    kept = _kept(whole, rules, today)
    decided = [
        _decision(item, kept.get(item.backup.name, ()), rules, today, any_whole=bool(whole)) for item in dated
    ]
    unknown = [_stays(item, "nobody knows when it was made") for item in every if begun(item) is None]
    return (*decided, *unknown)


def begun(backup: BackupSummary) -> datetime | None:
    """The storage's clock corrects one that was ahead. A copy was begun with its source, and written later."""
    if backup.created is None or backup.written is None:
        return backup.created
    return min(backup.created, backup.written)


def is_whole(backup: BackupSummary) -> bool:
    """Whether it may take the place of another one: complete, and not known to be damaged."""
    return backup.state is BackupState.COMPLETE and not (backup.verified and backup.verified.findings)


@frozen
class _Dated:
    when: datetime
    backup: BackupSummary


def _order(item: _Dated) -> tuple[datetime, datetime, str]:
    """Of backups of one second the one that ended last is the newest."""
    return item.when, item.backup.finished or item.when, item.backup.name


def _kept(whole: Sequence[_Dated], rules: Rules, today: datetime) -> Mapping[str, tuple[str, ...]]:
    """Why each of the complete backups stays that does, by name."""
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for item in whole[: rules.last]:
        reasons[item.backup.name].append("last")
    for period, text in _PERIODS.items():
        for item in _newest_of_each(whole, text, rules.zone, getattr(rules, period)):
            reasons[item.backup.name].append(period)
    for item in whole:
        if rules.within and today - item.when <= rules.within:
            reasons[item.backup.name].append("within")
    verified = [item for item in whole if item.backup.verified]
    for items, why in ((whole, "newest complete"), (verified, "newest verified")):
        if items:
            reasons[items[0].backup.name].append(why)
    return {name: tuple(texts) for name, texts in reasons.items()}


def _newest_of_each(
    whole: Sequence[_Dated], period: Callable[[datetime], str], zone: tzinfo, most: int
) -> Iterator[_Dated]:
    seen: set[str] = set()
    for item in whole:
        text = period(item.when.astimezone(zone))
        if text in seen:
            continue
        if len(seen) == most:
            return
        seen.add(text)
        yield item


def _decision(
    item: _Dated, kept: tuple[str, ...], rules: Rules, today: datetime, *, any_whole: bool
) -> Decision:
    backup = item.backup
    pinned = ("pinned",) if backup.pin and backup.pin.holds(today) else ()
    labels = tuple(f"label {test}" for test in rules.labels if test.of(backup.labels))
    locked = (str(backup.locked),) if backup.locked and backup.locked.holds(today) else ()
    if reasons := (*pinned, *locked, *labels, *kept):
        return Decision(backup=backup, goes=False, reasons=reasons)
    if is_whole(backup):
        return Decision(backup=backup, goes=True, reasons=("no rule keeps it",))
    if backup.state is BackupState.UNREADABLE:
        return _stays(backup, "it cannot be read")
    what = "damaged" if backup.state is BackupState.COMPLETE else str(backup.state)
    if not any_whole:
        return _stays(backup, f"{what}, but there is no complete one")
    if today - item.when < GRACE:
        return _stays(backup, f"{what}, but no complete one is a day newer")
    return Decision(backup=backup, goes=True, reasons=(f"{what}, and a complete one is newer",))


def _stays(backup: BackupSummary, why: str) -> Decision:
    return Decision(backup=backup, goes=False, reasons=(why,))
