"""Headers of requests and answers, for services that tell of objects in them: by the same names, but for a prefix."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

from mbk.errors import StorageError, StorageUnavailable
from mbk.plugin.wire import WireError, bare
from mbk.ports.storage import ObjectInfo, Receipt

#: The kinds of checksums that `info_of` and `receipt_of` read.
CHECKSUMS = frozenset({"crc64ecma"})
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: number for number, name in enumerate(_NAMES, start=1)}


_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")


@lru_cache(maxsize=2)
def http_date(second: int) -> str:
    """The value of a Date header, by the time since 1970; the same in every locale."""
    now = time.gmtime(second)
    day, month = _DAYS[now.tm_wday], _NAMES[now.tm_mon - 1]
    return (
        f"{day}, {now.tm_mday:02} {month} {now.tm_year} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"
    )


def byte_range(offset: int, length: int | None) -> str:
    """The value of a Range header, empty for the whole object. ``length`` None: to the end."""
    if not offset and length is None:
        return ""
    return f"bytes={offset}-{'' if length is None else offset + length - 1}"


def require_range(asked: str, told: str | None, length: int | None) -> int | None:
    """Holds the Content-Range of an answer, and the length of its body, against a `byte_range`; an object may end before.

    The length, which a range tells where the body announces none. `WireError` where they are of other bytes.
    """
    if not asked:
        return length
    found = _length_of_range(asked, told or "")
    if found is None or length not in (None, found):
        raise WireError(StorageError, "the service ignored the range", code="range-ignored")
    return found


def size_in_range(told: str | None) -> int | None:
    """Of the whole object, by the Content-Range of an answer; None where it tells none."""
    found = _CONTENT_RANGE.fullmatch(told or "")
    return int(found[3]) if found and found[3] != "*" else None


def _length_of_range(asked: str, told: str) -> int | None:
    """None where it is another range than was asked for."""
    found = _CONTENT_RANGE.fullmatch(told)
    if found is None:
        return None
    offset, _, end = asked.removeprefix("bytes=").partition("-")
    first, last = int(found[1]), int(found[2])
    ends = [*([int(end)] if end else []), *([int(found[3]) - 1] if found[3] != "*" else [])]
    is_it = first == int(offset) and last == min(ends, default=last)
    return last - first + 1 if is_it else None


def required(answer: Mapping[str, Any], member: str) -> Any:
    """A header or an element that an answer must have; `WireError` where it is missing or empty."""
    value = answer.get(member)
    if value is None or value == "":
        raise WireError(
            StorageUnavailable, "the answer has no {member}", code="member-missing", member=member
        )
    return value


def moment(text: str | None) -> datetime | None:
    """A time of a header: ``Mon, 30 Nov 2026 15:42:18 GMT``, which a listing has a thousand of; None for none.

    Other forms are left to the library, which takes ten times as long.
    """
    if not text:
        return None
    try:
        day, month, year, clock, zone = text[5:].split(" ")
        hour, minute, second = clock.split(":")
        if zone == "GMT":
            return datetime(
                int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=UTC
            )
    except (ValueError, KeyError):
        pass
    return parsedate_to_datetime(text)


def info_of(key: str, headers: Mapping[str, str], prefix: str, *, size: Callable[[], int]) -> ObjectInfo:
    """Of the answer to a HEAD. ``headers`` ignore case; ``prefix`` is that of the vendor's own ones, ``x-acme-``.

    ``size`` finds it where the answer tells no length, as behind some proxies.
    """
    length = headers.get("Content-Length")
    return ObjectInfo(
        key,
        int(length) if length else size(),
        bare(headers.get("ETag")),
        moment(headers.get("Last-Modified")),
        _checksums(headers, prefix),
        class_of(headers.get(f"{prefix}storage-class")),
    )


def receipt_of(headers: Mapping[str, str], prefix: str) -> Receipt:
    """As `info_of`, of the answer to a write."""
    return Receipt(etag=bare(headers.get("ETag")), checksums=_checksums(headers, prefix))


def class_of(name: str | None) -> str:
    """A listing names the class that a bucket has by default, some stats leave it out: told alike, it is left out."""
    return "" if not name or name.upper() == "STANDARD" else name


def _checksums(headers: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The services tell the CRC as a decimal number."""
    crc = headers.get(f"{prefix}hash-crc64ecma") or ""
    return {"crc64ecma": f"{int(crc):016x}"} if crc.isdecimal() else {}
