"""Errors that a service tells in its answers, for plugins that read answers themselves."""

from __future__ import annotations

import re
from html import unescape

from mbk.errors import (
    AuthenticationFailed,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageFull,
    Throttled,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.http import Answer

#: By the status, where a service says no more: the answer to a HEAD has no body. 408 is a balancer's, of a slow request.
BY_STATUS: dict[int, type[MbkError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: ObjectNotFound,
    405: Unsupported,
    408: TransferInterrupted,
    412: ObjectExists,
    429: Throttled,
    501: Unsupported,
    507: StorageFull,
}

_ELEMENT = re.compile(r"<(Code|Message)>([^<]*)<")


class Refused(Exception):
    """An answer that is none of success. ``code`` and ``message`` are the service's own words, empty where it has none."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(status, code, message)
        self.status = status
        self.code = code
        self.message = message

    @property
    def name(self) -> str:
        """The code, or the status where there is none: a HEAD has no body."""
        return self.code or str(self.status)

    def __str__(self) -> str:
        return f"{self.message or 'no reason given'} ({self.name})"


def refused(answer: Answer) -> Refused:
    """Of an XML document of an error, as far as it can be read."""
    said = dict(_ELEMENT.findall(answer.content.decode(errors="replace")))
    return Refused(answer.status, unescape(said.get("Code", "")), unescape(said.get("Message", "")))
