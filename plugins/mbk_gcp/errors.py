"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any
from xml.etree import ElementTree

import requests
import requests.exceptions as web
import urllib3.exceptions as http
from google.api_core import exceptions as api  # noqa: TID253  loaded only with an opened storage
from google.auth import exceptions as auth  # noqa: TID253  loaded only with an opened storage
from google.cloud.storage import exceptions as sdk  # noqa: TID253  loaded only with an opened storage

import mbk.errors as ours
from mbk.plugin.failures import Translation, innermost, is_lasting, kind_of_class, one_line

#: What is translated. Anything else, such as an exception of the caller's own iterable, is not ours to touch.
FOREIGN = (
    api.GoogleAPIError,
    auth.GoogleAuthError,
    sdk.InvalidResponse,
    sdk.DataCorruption,
    sdk.InvalidPathError,
    http.HTTPError,
    OSError,
    ValueError,
)

#: By the reason in the service's answer, where that says more than the status: the JSON API's, then the XML API's.
#: https://cloud.google.com/storage/docs/json_api/v1/status-codes and .../storage/docs/xml-api/reference-status
BY_REASON: dict[str, type[ours.MbkError]] = {
    "rateLimitExceeded": ours.Throttled,
    "userRateLimitExceeded": ours.Throttled,
    "dailyLimitExceeded": ours.StorageFull,
    "quotaExceeded": ours.StorageFull,
    "NoSuchBucket": ours.BucketNotFound,
    "InvalidSecurity": ours.AuthenticationFailed,
    "ExpiredToken": ours.AuthenticationFailed,
    "BadDigest": ours.TransferInterrupted,
    "IncompleteBody": ours.TransferInterrupted,
    "InvalidDigest": ours.TransferInterrupted,
    "InvalidURI": ours.InvalidKey,
    "KeyTooLongError": ours.InvalidKey,
}

BY_STATUS: dict[int, type[ours.MbkError]] = {
    401: ours.AuthenticationFailed,
    403: ours.PermissionDenied,
    404: ours.ObjectNotFound,
    405: ours.Unsupported,
    408: ours.TransferInterrupted,
    409: ours.Throttled,
    410: ours.TransferInterrupted,
    412: ours.ObjectExists,
    429: ours.Throttled,
    501: ours.Unsupported,
    507: ours.StorageFull,
}

#: By the exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[ours.MbkError]] = {
    api.RetryError: ours.StorageUnavailable,
    api.ServerError: ours.StorageUnavailable,
    auth.GoogleAuthError: ours.AuthenticationFailed,
    auth.TransportError: ours.StorageUnavailable,
    auth.TimeoutError: ours.StorageUnavailable,
    auth.ResponseError: ours.StorageUnavailable,
    sdk.DataCorruption: ours.TransferInterrupted,
    sdk.InvalidPathError: ours.InvalidKey,
    web.RequestException: ours.StorageError,
    web.ConnectionError: ours.StorageUnavailable,
    web.Timeout: ours.StorageUnavailable,
    web.RetryError: ours.StorageUnavailable,
    web.JSONDecodeError: ours.StorageUnavailable,
    web.ChunkedEncodingError: ours.TransferInterrupted,
    web.ContentDecodingError: ours.TransferInterrupted,
    web.InvalidProxyURL: ours.UsageError,
    json.JSONDecodeError: ours.StorageUnavailable,
    http.HTTPError: ours.StorageUnavailable,
    OSError: ours.StorageUnavailable,
    UnicodeEncodeError: ours.InvalidKey,
}

HINTS_BY_CLASS: dict[type[BaseException], str] = {
    api.Unauthorized: "the token is wrong or has expired",
    auth.DefaultCredentialsError: "set gcpCredentialJSON (v2: auth.credentialsFile), or accessKeyID and secretAccessKey",
    auth.RefreshError: "check the key file, that its account exists, and this machine's clock",
    web.ConnectionError: "check the address and the port, and that the service runs",
}

#: The sentence with which the JSON API tells a missing bucket from a missing object.
_NO_BUCKET = "bucket does not exist"
_BAD_HASH = "doesn't match calculated"
_BAD_NAME = ("object name", "object length", "object id")


def require_success(response: requests.Response, *statuses: int) -> None:
    """Raises the SDK's exception for an answer of any other status; reads the body only then."""
    if response.status_code not in statuses:
        # A streamed answer may be closed before its words are asked for.
        with suppress(web.RequestException, http.HTTPError):
            _ = response.content
        raise api.from_http_status(response.status_code, "", response=response)


def status_of(exc: BaseException | None) -> int:
    """The status of the answer that the exception tells of, 0 where there was none."""
    if isinstance(exc, api.GoogleAPICallError):
        return int(exc.code or 0)
    return int(getattr(getattr(exc, "response", None), "status_code", 0) or 0)


def told(response: Any) -> tuple[str, str]:
    """The service's reason (one word) and its message, from an answer of the JSON API or of the XML API."""
    try:
        text = response.text
    except (web.RequestException, http.HTTPError, AttributeError):
        return "", ""
    try:
        error = json.loads(text)["error"]
        details = error.get("errors") or [{}]
        return str(details[0].get("reason", "")), str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return "", text
    return root.findtext("{*}Code") or "", root.findtext("{*}Details") or root.findtext("{*}Message") or ""


def _kind(exc: BaseException) -> type[ours.MbkError]:
    if isinstance(exc, api.RetryError) and isinstance(exc.cause, FOREIGN):
        return _kind(exc.cause)
    if status_of(exc) and not isinstance(exc, sdk.DataCorruption):
        return _by_answer(exc)
    if isinstance(exc, auth.GoogleAuthError) and exc.retryable:
        return ours.StorageUnavailable
    if isinstance(exc, web.SSLError | http.SSLError) and is_lasting(exc):
        return ours.Unreachable
    return kind_of_class(exc, BY_CLASS)


def _by_answer(exc: Any) -> type[ours.MbkError]:
    status = status_of(exc)
    code, message = told(exc.response)
    message = message or str(getattr(exc, "message", ""))
    if status == 404 and _NO_BUCKET in message:
        return ours.BucketNotFound
    if status == 400 and _BAD_HASH in message:
        return ours.TransferInterrupted
    if status == 400 and any(words in message.lower() for words in _BAD_NAME):
        return ours.InvalidKey
    kind = BY_REASON.get(code) or BY_STATUS.get(status)
    return kind or (ours.StorageUnavailable if status >= 500 else ours.StorageError)


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short. URLs are left out: an upload's holds its session's secret."""
    if isinstance(exc, api.GoogleAPICallError | sdk.InvalidResponse):
        response = getattr(exc, "response", None)
        code, message = told(response)
        text = message or str(getattr(exc, "message", "")) or getattr(response, "reason", "") or ""
        text = f"{text} ({code or status_of(exc) or type(exc).__name__})".strip()
    elif isinstance(exc, auth.GoogleAuthError):
        text = _of_auth(exc)
    elif isinstance(exc, web.Timeout):
        text = "no answer came"
    elif isinstance(exc, web.RequestException | http.HTTPError):
        text = _innermost(exc)
    elif isinstance(exc, OSError) and exc.errno:
        text = os.strerror(exc.errno)
    else:
        text = str(exc)
    return one_line(text)


def _of_auth(exc: auth.GoogleAuthError) -> str:
    """google-auth gives a sentence, and behind it the whole answer, which says the same once more."""
    first = exc.args[0] if exc.args else ""
    if isinstance(first, BaseException):
        return f"the credentials could not be had: {reason(first)}"
    return str(first) or type(exc).__name__


def _innermost(error: BaseException) -> str:
    """The system's error: ``requests`` and ``urllib3`` wrap it, with URLs and addresses of objects in their texts."""
    seen = innermost(error)
    if isinstance(seen, OSError) and seen.strerror:
        return seen.strerror
    if isinstance(seen, web.ConnectionError | http.ProtocolError | ConnectionError):
        return "the connection was closed"
    text = str(seen)
    return type(seen).__name__ if "://" in text or " url: " in text or not text else text


def _hint(exc: BaseException) -> str | None:
    return next((HINTS_BY_CLASS[base] for base in type(exc).__mro__ if base in HINTS_BY_CLASS), None)


TRANSLATION = Translation(
    foreign=FOREIGN,
    kind_of=_kind,
    reason_of=reason,
    hint_of=_hint,
    is_of_upload=lambda exc: told(getattr(exc, "response", None))[0] == "NoSuchUpload",
)
translate = TRANSLATION.error
