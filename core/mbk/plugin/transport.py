"""For SDKs that send with requests and urllib3: what the exceptions of these two mean. Needs both installed.

Those of `mbk.plugin.http` are known here, too, for plugins that send by both.
"""

from __future__ import annotations

from collections.abc import Mapping

import requests.exceptions as sending
import urllib3.exceptions as http

from mbk.errors import InvalidKey, MbkError, StorageError, StorageUnavailable, Unreachable
from mbk.plugin import http as own
from mbk.plugin.failures import is_lasting, kind_of_class, words_of_system

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
    **own.HINTS,
}


def kind_of(exc: BaseException, of_vendor: Mapping[type[BaseException], type[MbkError]]) -> type[MbkError]:
    """By `BY_CLASS` and the vendor's own additions to it."""
    if isinstance(exc, own.SendingFailed | own.Misconfigured):
        return own.kind_of(exc, of_vendor)
    if isinstance(exc, sending.SSLError | http.SSLError) and is_lasting(exc):
        return Unreachable
    return kind_of_class(exc, {**BY_CLASS, **of_vendor})


def reason_of(exc: BaseException) -> str:
    """What went wrong. The texts of requests and urllib3 hold the addresses of objects, so they are not told."""
    if isinstance(exc, sending.TooManyRedirects):
        return "the service redirects to another endpoint"
    if isinstance(exc, sending.ReadTimeout):
        return "timed out waiting for the answer"
    if isinstance(exc, own.SendingFailed | own.Misconfigured):
        return own.reason_of(exc)
    if isinstance(exc, OSError | http.HTTPError):
        return words_of_system(exc) or "the connection was lost"
    return str(exc)
