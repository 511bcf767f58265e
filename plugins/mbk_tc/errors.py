"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import os
import re

import requests.exceptions as transport
import urllib3.exceptions as http
from qcloud_cos.cos_exception import CosClientError, CosException, CosServiceError  # noqa: TID253  loaded only with an opened storage

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    InvalidKey,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unreachable,
    Unsupported,
)
from mbk.plugin.failures import Translation, is_lasting, kind_of_class, one_line

#: What is translated. KeyError: an answer lacks an element.
FOREIGN = (CosException, http.HTTPError, SyntaxError, OSError, ValueError, KeyError)

#: By the code that the service puts into its answer (cloud.tencent.com, "Error codes", 436/7730).
BY_CODE: dict[str, type[MbkError]] = {
    "NoSuchBucket": BucketNotFound,
    "NoSuchKey": ObjectNotFound,
    "NoSuchVersion": ObjectNotFound,
    "NoSuchUpload": ObjectNotFound,
    # The SDK's own word for a HEAD that found nothing.
    "NoSuchResource": ObjectNotFound,
    "AccessDenied": PermissionDenied,
    "AccessForbidden": PermissionDenied,
    "BucketAlreadyExists": PermissionDenied,
    "InvalidObjectState": PermissionDenied,
    "ObjectLocked": PermissionDenied,
    "UnavailableForLegalReasons": PermissionDenied,
    "ExpiredToken": AuthenticationFailed,
    "InvalidToken": AuthenticationFailed,
    "InvalidAccessKeyId": AuthenticationFailed,
    "SignatureDoesNotMatch": AuthenticationFailed,
    "RequestTimeTooSkewed": AuthenticationFailed,
    "RequestIsExpired": AuthenticationFailed,
    "AccessTokenExpired": AuthenticationFailed,
    "FileAlreadyExists": ObjectExists,
    "ObjectAlreadyExists": ObjectExists,
    "PreconditionFailed": ObjectExists,
    "SlowDown": Throttled,
    "TooManyRequests": Throttled,
    "QpsLimitExceeded": Throttled,
    "RequestLimitExceeded": Throttled,
    "UserNetworkTooSlow": TransferInterrupted,
    "RequestTimeout": TransferInterrupted,
    "RequestTimeOut": TransferInterrupted,
    "BadDigest": TransferInterrupted,
    "InvalidDigest": TransferInterrupted,
    "InvalidSHA1Digest": TransferInterrupted,
    "IncompleteBody": TransferInterrupted,
    "EntitySizeNotMatch": TransferInterrupted,
    "KeyTooLong": InvalidKey,
    "InvalidURI": InvalidKey,
    "InvalidKey": InvalidKey,
    "PathConflict": InvalidKey,
    "NotImplemented": Unsupported,
    "MethodNotAllowed": Unsupported,
    "RequestNotSupported": Unsupported,
    "BucketAlreadyOwnedByYou": StorageError,
    "QuotaExceeded": StorageFull,
    "BucketQuotaExceeded": StorageFull,
}

#: By the status, where the code says nothing: the answer to a HEAD has none.
BY_STATUS: dict[int, type[MbkError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: ObjectNotFound,
    405: Unsupported,
    # The documentation does not give the code of a refused overwrite.
    409: ObjectExists,
    412: ObjectExists,
    429: Throttled,
    501: Unsupported,
    507: StorageFull,
}

#: By the exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[MbkError]] = {
    transport.TooManyRedirects: StorageError,
    transport.InvalidURL: StorageError,
    transport.InvalidSchema: StorageError,
    transport.MissingSchema: StorageError,
    transport.InvalidHeader: StorageError,
    transport.RequestException: StorageUnavailable,
    http.HTTPError: StorageUnavailable,
    SyntaxError: StorageUnavailable,
    KeyError: StorageUnavailable,
    OSError: StorageUnavailable,
    UnicodeEncodeError: InvalidKey,
}

HINTS: dict[str, str] = {
    "InvalidAccessKeyId": "check the access key id (SecretId)",
    "SignatureDoesNotMatch": "check the secret access key (SecretKey)",
    "ExpiredToken": "get a new session token",
    "InvalidToken": "get a new session token",
    "RequestTimeTooSkewed": "set this machine's clock",
    "TooManyRedirects": "set the address and the region of the bucket",
    "ConnectTimeout": "check the address, the port and the firewall",
    "ConnectionError": "check the address and the port",
}


_ELEMENT = re.compile(r"<(Code|Message)>([^<]+)</")


def code_of(exc: BaseException) -> str:
    """The service's code, or the HTTP status where the answer had none, or the exception's name."""
    exc = _cause(exc)
    if isinstance(exc, CosServiceError):
        return str(_said(exc).get("code") or exc.get_status_code())
    return type(exc).__name__


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short. The URL that the SDK adds would only repeat the place."""
    exc = _cause(exc)
    if isinstance(exc, CosServiceError):
        text = f"{_said(exc).get('message') or 'no reason was given'} ({code_of(exc)})"
    elif isinstance(exc, transport.TooManyRedirects):
        text = "the bucket is elsewhere"
    elif isinstance(exc, transport.ReadTimeout):
        text = "no answer came"
    elif isinstance(exc, OSError | http.HTTPError):
        text = _innermost(exc) or "the connection broke"
    elif isinstance(exc, SyntaxError | KeyError):
        text = "the answer is incomplete, or not COS's"
    else:
        text = str(exc)
    return one_line(text)


def _cause(exc: BaseException) -> BaseException:
    """The SDK raises an error of its own, of the other's text, while it handles that of the transport."""
    below = exc.__context__ if isinstance(exc, CosClientError) else None
    return exc if below is None or isinstance(below, MbkError) else below


def _said(exc: CosServiceError) -> dict[str, str]:
    """Code and message of the error document. The SDK reads those alone that have all of COS's elements."""
    said = exc.get_digest_msg()
    if isinstance(said, dict):
        return said
    original = exc.get_origin_msg()
    text = original.decode(errors="replace") if isinstance(original, bytes) else str(original)
    return {name.lower(): value for name, value in _ELEMENT.findall(text)}


def _kind(exc: BaseException) -> type[MbkError]:
    exc = _cause(exc)
    if isinstance(exc, CosServiceError):
        status = int(exc.get_status_code())
        kind = BY_CODE.get(code_of(exc)) or BY_STATUS.get(status)
        # An error may come with the status of a success, when the service had begun to answer.
        return kind or (StorageUnavailable if status >= 500 or status == 200 else StorageError)
    if isinstance(exc, transport.SSLError | http.SSLError) and is_lasting(exc):
        return Unreachable
    return kind_of_class(exc, BY_CLASS)


def _innermost(error: BaseException) -> str:
    """The system's error below those of requests and urllib3, which have addresses of objects in their texts."""
    seen: BaseException = error
    while isinstance(seen, http.HTTPError | transport.RequestException):
        below = getattr(seen, "reason", None) or next(iter(seen.args), None)
        inner = below if isinstance(below, BaseException) else seen.__cause__ or seen.__context__
        if not isinstance(inner, BaseException) or inner is seen:
            break
        seen = inner
    if isinstance(seen, OSError) and seen.errno:
        return seen.strerror or os.strerror(seen.errno)
    return str(seen).rpartition(": ")[2]


def _hint(exc: BaseException) -> str | None:
    return HINTS.get(code_of(exc))


_TRANSLATION = Translation(
    foreign=FOREIGN,
    kind_of=_kind,
    reason_of=reason,
    hint_of=_hint,
    is_of_upload=lambda exc: code_of(exc) == "NoSuchUpload",
    bucket_hint="create it, or check bucketName, which ends with the APPID",
)
translated = _TRANSLATION.guard
translate = _TRANSLATION.error
