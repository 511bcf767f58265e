"""Moments that people name: with a zone, without one, or as a time ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from mbk.errors import UsageError

#: As far as a backup is cut: the clock of Milvus counts milliseconds, and so do its imports.
MILLISECOND = timedelta(milliseconds=1)

_AGO = re.compile(r"(\d{1,9})\s*([smhdw])(?:\s+ago)?", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment_of(value: object, name: str) -> datetime | None:
    """``2026-12-01T05:30:00Z``, the same without a zone, or ``30m`` for half an hour ago; None for none. `UsageError` says what is
    wrong. One without a zone has none afterwards either."""
    if value is None or isinstance(value, datetime):
        return value
    text = value.strip() if isinstance(value, str) else ""
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2].lower()])
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            "{option} {value!r} is neither a moment nor a time ago",
            code="moment-invalid",
            option=name,
            value=value,
            hint="write 2026-12-01T05:30:00Z, or 30m for half an hour ago (s, m, h, d, w)",
        ) from None


def passed(moment: datetime, zone: tzinfo, name: str, now: datetime) -> datetime:
    """The moment in UTC, in whole milliseconds; one without a zone is of ``zone``. `UsageError` for one to come."""
    try:
        located = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (OverflowError, ValueError):
        located = datetime.min.replace(tzinfo=UTC)
    if located > now:
        raise UsageError(
            "{option} {moment} is in the future: the clock of this machine says {now}",
            code="moment-in-future",
            option=name,
            moment=spelled(located),
            now=spelled(now),
            hint="name a moment that has passed, with its zone",
        )
    return located - timedelta(microseconds=located.microsecond % 1000)


def spelled(moment: datetime) -> str:
    """In RFC 3339, UTC, with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
