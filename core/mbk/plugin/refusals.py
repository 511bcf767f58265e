"""Errors that a service tells in its answers, for plugins that read answers themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape

from mbk.errors import (
    AuthenticationFailed,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin import http
from mbk.plugin.failures import one_line
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


#: What a plugin translates that sends by `mbk.plugin.http` and reads answers itself.
FOREIGN: tuple[type[BaseException], ...] = (*http.FOREIGN, Refused)

#: By what `code_of` tells.
HINTS: Mapping[str, str] = {
    **http.HINTS,
    "TooManyRedirects": "set the address and the region of the bucket",
}


def code_of(exc: BaseException) -> str:
    """The service's code, or the status where the answer had none, or the exception's name."""
    return exc.name if isinstance(exc, Refused) else type(exc).__name__


def reason_of(exc: BaseException) -> str:
    """What went wrong, on one line and short."""
    return one_line(str(exc) if isinstance(exc, Refused) else http.reason_of(exc))


def kind_of(
    exc: BaseException,
    by_code: Mapping[str, type[MbkError]],
    by_status: Mapping[int, type[MbkError]] = BY_STATUS,
) -> type[MbkError]:
    """By the service's code, else by the status. An error may come with the status of a success, when the service had begun
    to answer."""
    if not isinstance(exc, Refused):
        return http.kind_of(exc)
    kind = by_code.get(exc.name) or by_status.get(exc.status)
    return kind or (StorageUnavailable if exc.status >= 500 or exc.status == 200 else StorageError)
