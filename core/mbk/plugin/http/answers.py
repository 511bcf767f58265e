"""The head of an answer: its status, its headers, and how its body ends. Nothing in it is trusted."""

from __future__ import annotations

import re
from collections.abc import ItemsView, Iterator, Mapping
from functools import lru_cache

from mbk.frozen import frozen
from mbk.plugin.http.failures import BadAnswer

#: Services answer with less than 4 KiB of headers; one that has more than this has gone astray.
LARGEST_HEAD = 64 * 1024

_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: .*)?")
_LENGTH = re.compile(r"[0-9]{1,19}")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Headers(Mapping[str, str]):
    """The headers of an answer, by names in any case. What came twice is joined by a comma, as HTTP has it."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, str]) -> None:
        self._values = values  # by names in lower case

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def items(self) -> ItemsView[str, str]:
        return self._values.items()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@frozen
class Head:
    """``length`` of the body in bytes, None where it is chunked or ends with the connection."""

    status: int
    headers: Headers
    length: int | None
    chunked: bool
    keeps: bool


def parsed(raw: bytes, *, bodiless: bool) -> Head:
    """Of the bytes before the empty line. ``bodiless``: the answer to a HEAD. Raises `BadAnswer`."""
    text = raw.decode("latin-1")
    line, *fields = text.split("\r\n")
    match = _STATUS.fullmatch(line)
    if match is None:
        raise BadAnswer("the answer is not HTTP/1.1")
    if not text.count("\r") == text.count("\n") == len(fields):
        raise BadAnswer("the answer has a malformed header")
    values: dict[str, str] = {}
    for written in fields:
        name, colon, value = written.partition(":")
        name, value = _lower(name) if colon else "", value.strip(" \t")
        if not name:
            raise BadAnswer("the answer has a malformed header")
        values[name] = f"{values[name]}, {value}" if name in values else value
    status = int(match[2])
    chunked = "transfer-encoding" in values
    if chunked and values["transfer-encoding"].lower() != "chunked":
        raise BadAnswer("the answer has an unknown transfer encoding")
    length = _length(values)
    keeps = match[1] == "1" and "close" not in values.get("connection", "").lower()
    if bodiless or status in (204, 304) or status < 200:
        return Head(status, Headers(values), 0, chunked=False, keeps=keeps)
    if chunked:
        # Which of the two the service meant is its secret: the connection ends with this answer.
        return Head(status, Headers(values), None, chunked=True, keeps=keeps and length is None)
    return Head(status, Headers(values), length, chunked=False, keeps=keeps and length is not None)


@lru_cache(maxsize=256)
def _lower(name: str) -> str:
    """Empty for what is no name. A service has some dozen names: to look one up costs a tenth of looking at it."""
    return name.lower() if _NAME.fullmatch(name) else ""


def _length(values: Mapping[str, str]) -> int | None:
    text = values.get("content-length")
    if text is None:
        return None
    if not _LENGTH.fullmatch(text):
        first, *others = [part.strip() for part in text.split(",")]
        if not _LENGTH.fullmatch(first) or any(other != first for other in others):
            raise BadAnswer("the answer has a malformed Content-Length")
        text = first
    return int(text)
