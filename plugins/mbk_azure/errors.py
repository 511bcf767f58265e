"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import requests
import urllib3.exceptions as http
from azure.core import exceptions as sdk  # noqa: TID253  loaded only with an opened storage

from mbk.errors import (
    AuthenticationFailed,
    MbkError,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageUnavailable,
    TransferInterrupted,
    Unreachable,
    Unsupported,
)
from mbk.plugin import http as own
from mbk.plugin.failures import Translation, WireError, is_lasting, kind_of_class, one_line, words_of_system
from mbk.plugin.refusals import Refused
from mbk_azure.codes import BY_CODE, HINTS

#: What is translated. Anything else, such as an exception of the caller's own iterable, is not ours to touch.
FOREIGN = (Refused, sdk.AzureError, requests.RequestException, http.HTTPError, OSError, ValueError)

#: By the SDK's exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[MbkError]] = {
    sdk.ServiceRequestError: StorageUnavailable,
    sdk.ServiceResponseError: StorageUnavailable,
    sdk.ClientAuthenticationError: AuthenticationFailed,
    sdk.IncompleteReadError: TransferInterrupted,
    sdk.DecodeError: TransferInterrupted,
    sdk.StreamClosedError: TransferInterrupted,
    http.HTTPError: StorageUnavailable,
    requests.RequestException: StorageUnavailable,
    OSError: StorageUnavailable,
}

_SIGNATURE = re.compile(r"(?i)\b(sig=)[^&\s'\"<>]+")


def code_of(exc: BaseException | None) -> str:
    """The service's code, or the HTTP status where it said none, or the exception's name."""
    if isinstance(exc, Refused):
        return exc.name
    if isinstance(exc, sdk.HttpResponseError):
        code = getattr(exc, "error_code", None) or _header(exc) or status_of(exc)
        if code:
            return str(code.value if isinstance(code, Enum) else code)
    return type(exc).__name__


def status_of(exc: BaseException) -> int:
    """Of the answer, 0 where there was none."""
    return exc.status if isinstance(exc, Refused) else int(getattr(exc, "status_code", None) or 0)


def masked(text: str) -> str:
    """The text without the signatures of shared access signatures."""
    return _SIGNATURE.sub(r"\1***", text)


def scrub(exc: BaseException) -> None:
    """Masks the signatures in the texts of an exception and of all that it was made from.

    The HTTP library puts the whole URL into the text of an error, and there the signature is a part of it.
    """
    waiting: list[Any] = [exc]
    seen: set[int] = set()
    while waiting:
        error = waiting.pop()
        if not isinstance(error, BaseException) or id(error) in seen:
            continue
        seen.add(id(error))
        waiting += [error.__cause__, error.__context__, *error.args, *vars(error).values()]
        error.args = tuple(masked(arg) if isinstance(arg, str) else arg for arg in error.args)
        for name, value in vars(error).items():
            if isinstance(value, str):
                setattr(error, name, masked(value))


def _header(exc: sdk.HttpResponseError) -> str | None:
    headers = getattr(exc.response, "headers", None) or {}
    code: str | None = headers.get("x-ms-error-code")
    return code


def _kind(exc: BaseException) -> type[MbkError]:
    code, status = code_of(exc), status_of(exc)
    if code == "CannotVerifyCopySource":
        return _of_source(status)
    # Azurite's way to say that a signature is wrong.
    if code == "AuthorizationFailure" and "failed to authenticate" in str(exc):
        return AuthenticationFailed
    if code in BY_CODE:
        return BY_CODE[code]
    if status >= 300:
        return BY_CODE.get(str(status)) or (StorageUnavailable if status >= 500 else StorageError)
    if isinstance(exc, own.SendingFailed | own.Misconfigured):
        return own.kind_of(exc)
    if is_lasting(exc):
        return Unreachable
    if type(exc) is sdk.HttpResponseError and isinstance(exc.inner_exception, Exception):
        return _kind(exc.inner_exception)
    return kind_of_class(exc, BY_CLASS)


def _of_source(status: int) -> type[MbkError]:
    """The service passes on the status that it met when it asked for the source."""
    if status == 404:
        return ObjectNotFound
    if status in (401, 403):
        return PermissionDenied
    return BY_CODE.get(str(status)) or (StorageUnavailable if status >= 500 else Unsupported)


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short, without request ids and the URL."""
    if isinstance(exc, Refused):
        text = str(exc)
    elif isinstance(exc, own.SendingFailed | own.Misconfigured):
        text = own.reason_of(exc)
    elif isinstance(exc, sdk.HttpResponseError):
        first = str(exc.message).strip().partition("\n")[0]
        code = code_of(exc)
        text = f"{first} ({code})" if not first.endswith(code) else first
    elif isinstance(exc, sdk.ServiceResponseError):
        text = "the connection was closed, or no answer came"
    elif isinstance(exc, sdk.ServiceRequestError):
        text = words_of_system(exc.inner_exception) or str(exc)
    else:
        text = str(exc)
    return one_line(masked(text))


def _hint(exc: BaseException) -> str | None:
    if isinstance(exc, own.NoProxy | own.Misconfigured):
        return own.HINTS[type(exc).__name__]
    if isinstance(exc, sdk.ServiceRequestError | own.NotConnected):
        return "check the account's name, the address and the port"
    return HINTS.get(code_of(exc)) or (
        HINTS["chain"] if isinstance(exc, sdk.ClientAuthenticationError) else None
    )


class _Masking(Translation):
    """Takes signatures out of the texts of what is raised, also of what an error of ours was raised from."""

    @contextmanager
    def guard(
        self, place: object, doing: str, key: str | None = None, *, streaming: bool = False
    ) -> Iterator[None]:
        with Translation.guard(self, place, doing, key, streaming=streaming):
            try:
                yield
            except (*FOREIGN, WireError) as exc:
                scrub(exc)
                raise


TRANSLATION = _Masking(foreign=FOREIGN, kind_of=_kind, reason_of=reason, hint_of=_hint)
translate = TRANSLATION.error
