"""Parsers: from the text of one setting to its value.

Files are read as text (``password: 0123`` stays four characters), so a parser gets the same string from a file, the
environment or ``--set``. It returns None if an empty text means *not set*, and raises `ValueError` with a message that
completes ``<key>: ...`` and never contains the value of a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from mbk.errors import UsageError
from mbk.frozen import frozen
from mbk.model.labels import tests_of
from mbk.model.rates import Bandwidth, RequestRate
from mbk.model.rates import time_zone as known_zone
from mbk.model.retention import span_of

#: A text, or a list of texts or of small sections.
Raw = str | tuple[str | Mapping[str, str], ...]
Parser = Callable[[str], Any]

_TRUE = frozenset({"true", "t", "yes", "on", "1"})
_FALSE = frozenset({"false", "f", "no", "off", "0"})
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def text(raw: str) -> str:
    """Any text; empty means *none*, which is a value: nothing is inherited then."""
    return raw


def file(raw: str) -> str:
    """A path; ``~`` at its beginning is the home directory: no shell has read what stands in a file."""
    return os.path.expanduser(raw)  # noqa: PTH111 - Path would drop a slash at the end


def hook(raw: str) -> str:
    """A URL, or a command line: either may contain a token."""
    return raw


def word(raw: str) -> str | None:
    """Text; empty counts as unset."""
    return raw.strip() or None


def lower(raw: str) -> str | None:
    return raw.strip().lower() or None


def host(raw: str) -> str | None:
    """A host name or address, without scheme and port."""
    value = raw.strip().rstrip("/")
    if "://" in value:
        raise ValueError(f"expected a host name without a scheme, not {masked_url(value)!r}")
    if re.fullmatch(r"[^:\[\]]+:\d+", value):
        raise ValueError(f"expected a host name without a port, not {value!r}")
    return value or None


def url(raw: str) -> str | None:
    """An absolute http or https URL, without the slash at its end."""
    value = raw.strip().rstrip("/")
    if value and not re.match(r"https?://[^/\s]+", value, re.IGNORECASE):
        raise ValueError(f"expected an absolute http:// or https:// URL, not {masked_url(value)!r}")
    return value or None


def integer(raw: str) -> int | None:
    value = raw.strip()
    if not value:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        raise ValueError(f"expected a whole number, not {raw!r}")
    return int(value)


def port(raw: str) -> int | None:
    value = integer(raw)
    if value is not None and not 1 <= value <= 65535:
        raise ValueError(f"expected a port from 1 to 65535, not {value}")
    return value


def boolean(raw: str) -> bool | None:
    value = raw.strip().lower()
    if value in _TRUE or value in _FALSE:
        return value in _TRUE
    if value:
        raise ValueError(f"expected true or false, not {raw!r}")
    return None


def size(raw: str) -> int | None:
    """Bytes: ``2G``, ``512MB``, ``1GiB`` or a plain number; units are powers of 1024, as in the Go tool."""
    value = raw.strip()
    if not value:
        return None
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([KMGT]?)(?:i?B)?", value, re.IGNORECASE)
    if match is None:
        raise ValueError(f"expected a size such as 2G or 512M, not {raw!r}")
    number = float(match[1]) if "." in match[1] else int(match[1])
    return int(number * _UNITS[match[2].upper()])


def request_rate(raw: str) -> RequestRate | None:
    """Requests a second: ``200``, ``3000/min``, ``unlimited``."""
    return RequestRate.parse(raw) if raw.strip() else None


def time_zone(raw: str) -> str | None:
    """A name of the tz database; empty: the machine's own."""
    return known_zone(raw.strip()).key if raw.strip() else None


@frozen
class Bandwidths:
    """Bytes a second: one rate, several with their hours separated by ``;``, or a list of either or of sections."""

    def __call__(self, raw: str) -> Bandwidth | None:
        return Bandwidth.parse(raw) if raw.strip() else None

    def many(self, items: list[str | Mapping[str, str]]) -> Bandwidth | None:
        return Bandwidth.of(items) if items else None


@frozen
class Listing:
    """A YAML list or a comma-separated text."""

    def __call__(self, raw: str) -> tuple[str, ...] | None:
        return self.many([*raw.split(",")])

    def many(self, items: list[str | Mapping[str, str]]) -> tuple[str, ...] | None:
        if not all(isinstance(item, str) for item in items):
            raise ValueError("expected a list of plain values")
        return tuple(text for item in items if (text := str(item).strip())) or None


@frozen
class Labels(Listing):
    """Labels of backups, as ``KEY`` or ``KEY=VALUE``."""

    def many(self, items: list[str | Mapping[str, str]]) -> tuple[str, ...] | None:
        found = Listing.many(self, items)
        _as_value_error(tests_of, found)
        return found


def span(raw: str) -> str | None:
    """A span of time: ``12h``, ``30d``, ``8w``, ``6m`` (months), ``2y``."""
    value = raw.strip() or None
    _as_value_error(span_of, value)
    return value


def _as_value_error(read: Callable[[Any, str], object], value: object) -> None:
    try:
        read(value, "")
    except UsageError as wrong:
        raise ValueError(f"{wrong.message.lstrip(': ')}; {wrong.hint}") from None


@frozen
class Choice:
    """One of a dialect's own words, each for a value. The first word of a value is the one to write."""

    words: Mapping[str, Any]

    def __call__(self, raw: str) -> Any:
        value = raw.strip()
        if not value:
            return None
        for word_, meaning in self.words.items():
            if word_.lower() == value.lower():
                return meaning
        raise ValueError(f"expected {or_list(self.words)}, not {raw!r}")

    def word(self, value: Any) -> str:
        return next((word_ for word_, meaning in self.words.items() if meaning == value), str(value))


def parse(parser: Parser, raw: Raw) -> Any:
    """Applies ``parser`` to a layer's value: a text, or a list of them."""
    if isinstance(raw, str):
        return parser(raw)
    if isinstance(parser, (Listing, Bandwidths)):
        return parser.many(list(raw))
    raise ValueError("expected a single value, not a list")


def masked_url(value: str) -> str:
    """``value`` without what URLs may contain of secrets: user and password, also without a scheme, and the query."""
    masked = re.sub(r"//[^/@\s]*@|(?<![^\s,])[^/@\s,:]+:[^/@\s]*@", _masked_login, value)
    return re.sub(r"(?<=\?)[^#\s]+", "***", masked) if "//" in value else masked


def _masked_login(found: re.Match[str]) -> str:
    return "//***@" if found[0].startswith("//") else "***@"


def masked_command(value: str) -> str:
    """A URL as `masked_url`; of a command line the program alone, as anything that follows may be a token."""
    if value.startswith(("http://", "https://")):
        return masked_url(value)
    program, _, arguments = value.strip().partition(" ")
    return f"{program} ***" if arguments else program


def or_list(words: Mapping[str, Any] | tuple[str, ...]) -> str:
    names = list(words)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " or " + names[-1]
