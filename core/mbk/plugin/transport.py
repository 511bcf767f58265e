"""For SDKs that send with requests and urllib3: what the exceptions of these two mean. Needs both installed."""

from __future__ import annotations

import os
from collections.abc import Mapping

import requests.exceptions as sending
import urllib3.exceptions as http

from mbk.errors import InvalidKey, MbkError, StorageError, StorageUnavailable, Unreachable
from mbk.plugin.failures import is_lasting, kind_of_class

#: What a vendor's plugin translates besides the exceptions of its SDK.
FOREIGN = (http.HTTPError, OSError, ValueError)

#: By the exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[MbkError]] = {
    sending.TooManyRedirects: StorageError,
    sending.InvalidURL: StorageError,
    sending.InvalidSchema: StorageError,
    sending.MissingSchema: StorageError,
    sending.InvalidHeader: StorageError,
    sending.RequestException: StorageUnavailable,
    http.HTTPError: StorageUnavailable,
    OSError: StorageUnavailable,
    UnicodeEncodeError: InvalidKey,
}

#: By the name of the exception.
HINTS: dict[str, str] = {
    "TooManyRedirects": "set the address and the region of the bucket",
    "ConnectTimeout": "check the address, the port and the firewall",
    "ConnectionError": "check the address and the port",
}


def kind_of(exc: BaseException, of_vendor: Mapping[type[BaseException], type[MbkError]]) -> type[MbkError]:
    """By `BY_CLASS` and the vendor's own additions to it."""
    if isinstance(exc, sending.SSLError | http.SSLError) and is_lasting(exc):
        return Unreachable
    return kind_of_class(exc, {**BY_CLASS, **of_vendor})


def reason_of(exc: BaseException) -> str:
    """What went wrong. The texts of requests and urllib3 hold the addresses of objects, so they are not told."""
    if isinstance(exc, sending.TooManyRedirects):
        return "the service redirects to another endpoint"
    if isinstance(exc, sending.ReadTimeout):
        return "timed out waiting for the answer"
    if isinstance(exc, OSError | http.HTTPError):
        return _innermost(exc) or "the connection was lost"
    return str(exc)


def _innermost(error: BaseException) -> str:
    """The system's own error below those of requests and urllib3."""
    seen: BaseException = error
    while isinstance(seen, http.HTTPError | sending.RequestException):
        below = getattr(seen, "reason", None) or next(iter(seen.args), None)
        inner = below if isinstance(below, BaseException) else seen.__cause__ or seen.__context__
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    if isinstance(seen, OSError) and seen.errno:
        return seen.strerror or os.strerror(seen.errno)
    return str(seen).rpartition(": ")[2]
