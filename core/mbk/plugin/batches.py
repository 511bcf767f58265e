"""Many requests in one, as some services take them: HTTP in the parts of a ``multipart/mixed`` body."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TypeAlias

from mbk.frozen import frozen
from mbk.plugin.http import Answer

#: Status and body of one answer.
Said: TypeAlias = tuple[int, str]

_STATUS = re.compile(rb"^HTTP/1\.[01] ([0-9]{3})", re.MULTILINE)
_BOUNDARY = re.compile(r'boundary="?([^";]+)')


@frozen
class Call:
    """One request without a body; ``target`` is encoded."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)


def batch_of(calls: Sequence[Call], boundary: str) -> bytes:
    """The body of a request with ``Content-Type: multipart/mixed; boundary=…``."""
    lines: list[str] = []
    for number, call in enumerate(calls):
        lines += [f"--{boundary}", "Content-Type: application/http", "Content-Transfer-Encoding: binary"]
        lines += [f"Content-ID: {number}", "", f"{call.method} {call.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in call.headers.items()]
        lines += ["", ""]
    return "\r\n".join([*lines, f"--{boundary}--", ""]).encode()


def answers_of(answer: Answer) -> list[Said]:
    """Of a batch, in the order of its calls; those that can be read, where the body is none of a batch."""
    match = _BOUNDARY.search(answer.headers.get("Content-Type", ""))
    if match is None:
        return []
    parts = answer.content.split(b"--" + match[1].encode())
    return [_said(part, status) for part in parts if (status := _STATUS.search(part))]


def _said(part: bytes, status: re.Match[bytes]) -> Said:
    body = part[status.end() :].replace(b"\r\n", b"\n").partition(b"\n\n")[2]
    return int(status[1]), body.decode(errors="replace").strip()
