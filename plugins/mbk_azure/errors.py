"""Every failure of the service and of the way to it, as one of :mod:`mbk.errors`. Those of the SDK: `mbk_azure.sdk_errors`."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from mbk.errors import (
    AuthenticationFailed,
    MbkError,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageUnavailable,
    Unsupported,
)
from mbk.plugin import http
from mbk.plugin.failures import Translation, one_line
from mbk.plugin.refusals import FOREIGN as FOREIGN
from mbk.plugin.refusals import Refused
from mbk_azure.codes import BY_CODE, HINTS

_SIGNATURE = re.compile(r"(?i)\b(sig=)[^&\s'\"<>]+")


def masked(text: str) -> str:
    """The text without the signatures of shared access signatures."""
    return _SIGNATURE.sub(r"\1***", text)


def refused_of(exc: BaseException) -> Refused | None:
    """What the service answered, which the SDK's ``HttpResponseError`` has in attributes; None where it did not."""
    if isinstance(exc, Refused):
        return exc
    status = int(getattr(exc, "status_code", None) or 0)
    code: Any = getattr(exc, "error_code", None) or _header(exc)
    if not (status or code):
        return None
    message = str(getattr(exc, "message", "")).strip().partition("\n")[0]
    return Refused(status, str(code.value if isinstance(code, Enum) else code or ""), masked(message))


def _header(exc: BaseException) -> str | None:
    headers = getattr(getattr(exc, "response", None), "headers", None) or {}
    code: str | None = headers.get("x-ms-error-code")
    return code


def code_of(exc: BaseException) -> str:
    """The service's code, or the HTTP status where it said none, or the exception's name."""
    said = refused_of(exc)
    return type(exc).__name__ if said is None else said.name


def kind_of(exc: BaseException) -> type[MbkError]:
    said = refused_of(exc)
    if said is None:
        return http.kind_of(exc)
    if said.name == "CannotVerifyCopySource":
        return _of_source(said.status)
    # Azurite's way to say that a signature is wrong.
    if said.name == "AuthorizationFailure" and "failed to authenticate" in said.message:
        return AuthenticationFailed
    kind = BY_CODE.get(said.name) or BY_CODE.get(str(said.status))
    return kind or (StorageUnavailable if said.status >= 500 else StorageError)


def _of_source(status: int) -> type[MbkError]:
    """The service passes on the status that it met when it asked for the source."""
    if status == 404:
        return ObjectNotFound
    if status in (401, 403):
        return PermissionDenied
    return BY_CODE.get(str(status)) or (StorageUnavailable if status >= 500 else Unsupported)


def reason_of(exc: BaseException) -> str:
    """What went wrong, on one line and short, without request ids and the URL."""
    said = refused_of(exc)
    return one_line(http.reason_of(exc) if said is None else str(said))


def hint_of(exc: BaseException) -> str | None:
    if isinstance(exc, http.NoProxy | http.Misconfigured):
        return http.HINTS[type(exc).__name__]
    if isinstance(exc, http.NotConnected):
        return "check the account's name, the address and the port"
    return HINTS.get(code_of(exc))


TRANSLATION = Translation(foreign=FOREIGN, kind_of=kind_of, reason_of=reason_of, hint_of=hint_of)
