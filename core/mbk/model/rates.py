"""How fast a run may be: requests a second, and bytes a second by the time of day. Read from text, and written back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from mbk.frozen import frozen

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

#: The word for no limit. A zero is refused: to some it means none, to others that nothing may pass.
UNLIMITED = "unlimited"
DAY = 24 * 60

#: As sizes are written everywhere: powers of 1024, with or without the ``i``.
_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
#: Providers of lines count bits, in powers of 1000.
_BITS = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,6})?)"
_BYTE_RATE = re.compile(rf"{_NUMBER}\s*([KMGT]?)(?:i?B)?(?:/s)?", re.IGNORECASE)
_BIT_RATE = re.compile(rf"{_NUMBER}\s*([KMGT])bit(?:/s)?", re.IGNORECASE)
_REQUEST_RATE = re.compile(rf"{_NUMBER}\s*(?:/\s*(s|min))?", re.IGNORECASE)
_TIME = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_SPAN = re.compile(r"(\S+?)\s*-\s*(\S+)\s+(.+)")
_EXPECTED = "a rate such as 50MiB/s, 400Mbit/s or unlimited"


@frozen
class RequestRate:
    """At most so many requests a second to each storage; None: as many as it likes."""

    limit: float | None

    @classmethod
    def parse(cls, text: str) -> RequestRate:
        """``200``, ``200/s``, ``3000/min`` or ``unlimited``. Raises `ValueError`, which says what was expected."""
        if text.strip().lower() == UNLIMITED:
            return cls(None)
        match = _REQUEST_RATE.fullmatch(text.strip())
        if match is None or not float(match[1]):
            raise ValueError(f"expected requests a second such as 200, 3000/min or unlimited, not {text!r}")
        return cls(float(match[1]) / (60 if (match[2] or "s").lower() == "min" else 1))

    def __str__(self) -> str:
        return UNLIMITED if self.limit is None else f"{self.limit:g}/s"


@frozen
class Window:
    """From ``start`` to before ``end``, in minutes after midnight, over midnight where the end is not later.

    ``limit`` in bytes a second, None for none.
    """

    start: int
    end: int
    limit: int | None

    def has(self, minute: int) -> bool:
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end

    def __str__(self) -> str:
        return f"{_clock(self.start)}-{_clock(self.end)} {_written(self.limit)}"


@frozen
class Bandwidth:
    """The bytes a second that may be read, and that may be written: ``otherwise``, but in a window what that one says.

    None is no limit. ``zone``: the time zone of the windows; empty: the machine's own.
    """

    otherwise: int | None = None
    windows: tuple[Window, ...] = ()
    zone: str = ""

    @classmethod
    def parse(cls, text: str) -> Bandwidth:
        """``50MiB/s``, or several separated by ``;``: ``08:00-18:00 50MiB/s; 200MiB/s``. Raises `ValueError`."""
        return cls.of([item for item in text.split(";") if item.strip()])

    @classmethod
    def of(cls, items: Iterable[object]) -> Bandwidth:
        """Of texts, and of mappings with ``from``, ``to`` and ``limit``; one without hours is for all others."""
        windows: list[Window] = []
        always: list[int | None] = []
        for item in items:
            hours, limit = _of_mapping(item) if isinstance(item, Mapping) else _of_text(str(item))
            if hours is None:
                always.append(byte_rate(limit))
            else:
                windows.append(Window(*hours, byte_rate(limit)))
        if len(always) > 1:
            raise ValueError("more than one limit without hours")
        if not windows and not always:
            raise ValueError(f"expected {_EXPECTED}")
        _require_apart(windows)
        return cls(always[0] if always else None, tuple(sorted(windows, key=lambda window: window.start)))

    def at(self, moment: datetime) -> int | None:
        """The limit at this moment (with a zone)."""
        if not self.windows:
            return self.otherwise
        local = moment.astimezone(time_zone(self.zone) if self.zone else None)
        minute = local.hour * 60 + local.minute
        return next((window.limit for window in self.windows if window.has(minute)), self.otherwise)

    @property
    def is_unlimited(self) -> bool:
        return self.otherwise is None and all(window.limit is None for window in self.windows)

    def shared(self, among: int) -> Bandwidth:
        """The part of one of so many."""
        windows = tuple(replace(window, limit=_part(window.limit, among)) for window in self.windows)
        return replace(self, otherwise=_part(self.otherwise, among), windows=windows)

    def __str__(self) -> str:
        always = [_written(self.otherwise)] if self.otherwise is not None or not self.windows else []
        return "; ".join([*map(str, self.windows), *always])


def byte_rate(text: str) -> int | None:
    """Bytes a second; None for ``unlimited``. Raises `ValueError`."""
    text = text.strip()
    if text.lower() == UNLIMITED:
        return None
    found = 0
    if match := _BYTE_RATE.fullmatch(text):
        found = int(float(match[1]) * _BYTES[match[2].upper()])
    elif match := _BIT_RATE.fullmatch(text):
        found = int(float(match[1]) * _BITS[match[2].upper()] / 8)
    if not found:
        raise ValueError(f"expected {_EXPECTED}, not {text!r}")
    return found


@cache
def time_zone(name: str) -> ZoneInfo:
    """Raises `ValueError` for a name that this machine does not know."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise ValueError(f"expected a time zone such as Europe/Berlin or UTC, not {name!r}") from exc


def _of_text(text: str) -> tuple[tuple[int, int] | None, str]:
    match = _SPAN.fullmatch(text.strip())
    return (None, text) if match is None else (_hours(match[1], match[2]), match[3])


def _of_mapping(item: Mapping[object, object]) -> tuple[tuple[int, int] | None, str]:
    given = {str(key).lower(): str(value) for key, value in item.items()}
    if unknown := given.keys() - {"from", "to", "limit"}:
        raise ValueError(f"expected from, to and limit, not {min(unknown)!r}")
    if "limit" not in given or ("from" in given) != ("to" in given):
        raise ValueError("expected from, to and limit, or only limit")
    return (_hours(given["from"], given["to"]) if "from" in given else None), given["limit"]


def _hours(start: str, end: str) -> tuple[int, int]:
    first, last = _minute(start), _minute(end)
    if first % DAY == last % DAY:
        raise ValueError(f"{start}-{end} has no hours; a limit without hours holds all day")
    return first % DAY, last % DAY


def _minute(text: str) -> int:
    match = _TIME.fullmatch(text.strip())
    if match is None or int(match[1]) * 60 + int(match[2]) > DAY:
        raise ValueError(f"expected a time of day such as 08:00, not {text!r}")
    return int(match[1]) * 60 + int(match[2])


def _require_apart(windows: Iterable[Window]) -> None:
    taken: dict[int, Window] = {}
    for window in windows:
        for minute in filter(window.has, range(DAY)):
            if minute in taken:
                raise ValueError(f"{taken[minute]} and {window} overlap")
            taken[minute] = window


def _part(limit: int | None, among: int) -> int | None:
    return None if limit is None else max(1, limit // among)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _written(limit: int | None) -> str:
    if limit is None:
        return UNLIMITED
    unit = next((unit for unit in ("G", "M", "K") if limit % _BYTES[unit] == 0), "")
    return f"{limit // _BYTES[unit]}{unit}iB/s" if unit else f"{limit}B/s"
