"""Every failure of the SDK, as one of :mod:`mbk.errors`; those of the service are `mbk_azure.errors`', whoever sent the request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
import urllib3.exceptions as urllib3
from azure.core import exceptions as sdk  # noqa: TID253  loaded only where the SDK is used

from mbk.errors import (
    AuthenticationFailed,
    MbkError,
    StorageUnavailable,
    TransferInterrupted,
    Unreachable,
)
from mbk.plugin import http
from mbk.plugin.failures import Translation, WireError, is_lasting, kind_of_class, one_line, words_of_system
from mbk_azure.codes import HINTS
from mbk_azure.errors import FOREIGN as FOREIGN_ANYWAY
from mbk_azure.errors import hint_of, kind_of, masked, refused_of
from mbk_azure.errors import reason_of as reason_of_answer

#: As `mbk_azure.errors.FOREIGN`, with the SDK's own.
FOREIGN = (*FOREIGN_ANYWAY, sdk.AzureError, requests.RequestException, urllib3.HTTPError)

_TOLD: tuple[type[BaseException], ...] = (*FOREIGN, WireError)

#: By the SDK's exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[MbkError]] = {
    sdk.ServiceRequestError: StorageUnavailable,
    sdk.ServiceResponseError: StorageUnavailable,
    sdk.ClientAuthenticationError: AuthenticationFailed,
    sdk.IncompleteReadError: TransferInterrupted,
    sdk.DecodeError: TransferInterrupted,
    sdk.StreamClosedError: TransferInterrupted,
    urllib3.HTTPError: StorageUnavailable,
    requests.RequestException: StorageUnavailable,
    OSError: StorageUnavailable,
}


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


def _kind(exc: BaseException) -> type[MbkError]:
    if refused_of(exc) is not None or isinstance(exc, http.SendingFailed | http.Misconfigured):
        return kind_of(exc)
    if is_lasting(exc):
        return Unreachable
    if type(exc) is sdk.HttpResponseError and isinstance(exc.inner_exception, Exception):
        return _kind(exc.inner_exception)
    return kind_of_class(exc, BY_CLASS)


def reason_of(exc: BaseException) -> str:
    """What went wrong, on one line and short, without request ids and the URL."""
    if refused_of(exc) is not None or isinstance(exc, http.SendingFailed | http.Misconfigured):
        return reason_of_answer(exc)
    if isinstance(exc, sdk.ServiceResponseError):
        text = "the connection was closed, or no answer came"
    elif isinstance(exc, sdk.ServiceRequestError):
        text = words_of_system(exc.inner_exception) or str(exc)
    else:
        text = str(exc)
    return one_line(masked(text))


def _hint(exc: BaseException) -> str | None:
    if isinstance(exc, sdk.ServiceRequestError):
        return "check the account's name, the address and the port"
    return hint_of(exc) or (HINTS["chain"] if isinstance(exc, sdk.ClientAuthenticationError) else None)


class _Masking(Translation):
    """Takes signatures out of the texts of what is raised, also of what an error of ours was raised from."""

    @contextmanager
    def guard(
        self, place: object, doing: str, key: str | None = None, *, streaming: bool = False
    ) -> Iterator[None]:
        with Translation.guard(self, place, doing, key, streaming=streaming):
            try:
                yield
            except _TOLD as exc:
                scrub(exc)
                raise


TRANSLATION = _Masking(foreign=FOREIGN, kind_of=_kind, reason_of=reason_of, hint_of=_hint)
translate = TRANSLATION.error
