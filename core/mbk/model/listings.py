"""What a listing of a storage shows, and which backups a listing of them shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.reports import BackupSummary

SortKey = Literal["name", "created", "duration", "collections", "rows", "size"]

_AGE = re.compile(r"(\d{1,6})\s*([mhdw])", re.IGNORECASE)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_NUMBERS: Mapping[str, Callable[[BackupSummary], float | None]] = {
    "created": lambda item: item.created.timestamp() if item.created else None,
    "duration": lambda item: item.seconds,
    "collections": lambda item: item.collection_count,
    "rows": lambda item: item.rows,
    "size": lambda item: item.size,
}


def moment_since(text: str, now: datetime) -> datetime:
    """``36h``, ``7d`` or ``2w`` before now, or a date, which is in UTC unless it says otherwise. Raises `UsageError`."""
    try:
        if match := _AGE.fullmatch(text.strip()):
            return now - timedelta(**{_UNITS[match[2].lower()]: int(match[1])})
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise UsageError(
            "--since {since!r} is neither an age nor a date",
            code="since-invalid",
            since=text,
            hint="write 36h, 7d or 2w, or a date such as 2026-11-30",
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def sorted_by(key: str, backups: Iterable[BackupSummary]) -> list[BackupSummary]:
    """By name, or by a number: the largest first, the unknown last."""
    named = sorted(backups, key=lambda item: item.name)
    if key == "name":
        return named
    number = _NUMBERS[key]

    def rank(item: BackupSummary) -> tuple[bool, float]:
        value = number(item)
        return value is None, -(value or 0)

    return sorted(named, key=rank)


@frozen(kw_only=True)
class Entry:
    """An object, or a directory: the common beginning of objects' keys, which ends with ``/``.

    ``name`` is relative to what is listed. ``size`` in bytes and ``modified`` (UTC) are None where they are not known: of
    directories unless their objects are counted, ``objects``. ``etag`` and ``storage_class`` as the service tells them.
    """

    name: str
    size: int | None = None
    modified: datetime | None = None
    objects: int | None = None
    etag: str = ""
    storage_class: str = ""

    @property
    def is_directory(self) -> bool:
        return self.objects is not None or self.size is None
