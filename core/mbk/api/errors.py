"""Errors as clients see them: a status and a problem (RFC 9457), or a code of the classic API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mbk import errors
from mbk.errors import MbkError
from mbk.jobs.failures import JobsFileUnusable, KeyReused, QueueFull, ScheduleConfigured, WrongState
from mbk.model.jobs import Failure

PROBLEM = "application/problem+json"

#: The first match counts.
_STATUS: tuple[tuple[type[MbkError], int], ...] = (
    (QueueFull, 429),
    (WrongState, 409),
    (ScheduleConfigured, 409),
    (KeyReused, 422),
    (JobsFileUnusable, 500),
    (errors.StorageFull, 507),
    (errors.UsageError, 400),
    (errors.NotFound, 404),
    (errors.AlreadyExists, 409),
    (errors.Busy, 409),
    (errors.InvalidBackup, 409),
    (errors.Unreachable, 503),
    (errors.Interrupted, 503),
    (MbkError, 502),
)
TITLES = {
    400: "Bad request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    408: "Request timeout",
    409: "Conflict",
    413: "Content too large",
    422: "Unprocessable content",
    429: "Too many requests",
    500: "Internal error",
    502: "Milvus or the storage failed",
    503: "Milvus or the storage is unreachable",
    507: "Insufficient storage",
}


def status_of(error: MbkError) -> int:
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def problem(status: int, what: Failure | str) -> dict[str, Any]:
    """The body of a problem."""
    if isinstance(what, str):
        return {
            "type": "about:blank",
            "title": TITLES.get(status, "Error"),
            "status": status,
            "detail": what,
        }
    body: dict[str, Any] = {
        "type": f"urn:mbk:{_dashed(what.kind)}",
        "title": _words(what.kind),
        "status": status,
        "detail": what.message,
        "retryable": what.retryable,
        "code": what.code,
        "exit_code": what.exit_code,
        "facts": dict(what.facts),
    }
    hint = {"hint": what.hint} if what.hint else {}
    return body | hint | ({"errors": [*what.problems]} if what.problems else {})


def problem_of(error: MbkError) -> dict[str, Any]:
    return problem(status_of(error), Failure.of(error))


def status_by_name(kind: str) -> int:
    """The status of an error, by the name of its class."""
    return _STATUS_BY_NAME.get(kind, 500)


_STATUS_BY_NAME: Mapping[str, int] = {
    kind.__name__: next(status for base, status in _STATUS if issubclass(kind, base))
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MbkError)
}


# The codes of the classic API (docs/reference/classic-tool.md#rest-api).
SUCCESS, NOT_SUPPORTED, NO_PERMISSION, FAIL, PARAMETER, NOT_FOUND = 0, 1, 2, 3, 400, 404

_CODES: tuple[tuple[type[MbkError], int], ...] = (
    (errors.Unsupported, NOT_SUPPORTED),
    (errors.AccessError, NO_PERMISSION),
    (errors.UsageError, PARAMETER),
    (errors.NotFound, NOT_FOUND),
    (MbkError, FAIL),
)
_CODE_BY_NAME: Mapping[str, int] = {
    kind.__name__: next(code for base, code in _CODES if issubclass(kind, base))
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MbkError)
}


def code_of(what: MbkError | Failure) -> int:
    if isinstance(what, Failure):
        return _CODE_BY_NAME.get(what.kind, FAIL)
    return next(code for kind, code in _CODES if isinstance(what, kind))


def line(what: Failure) -> str:
    return f"{what.message}: {what.hint}" if what.hint else what.message


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _words(name: str) -> str:
    return _dashed(name).replace("-", " ").capitalize()
