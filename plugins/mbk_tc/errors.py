"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call goes, for messages."""

    bucket: str
    endpoint: str

    def __str__(self) -> str:
        return f"bucket {self.bucket!r} at {self.endpoint}"


@contextmanager
def translated(
    place: Place, doing: str, key: str | None = None, *, streaming: bool = False
) -> Iterator[None]:
    """Turns what the SDK raises into an error of ours that names the place. ``streaming``: inside an answer's body."""
    try:
        yield
    except MbkError:
        raise
    except FOREIGN as exc:
        raise translate(exc, place, doing, key, streaming=streaming) from exc


def translate(
    exc: BaseException, place: Place, doing: str, key: str | None = None, *, streaming: bool = False
) -> MbkError:
    cause = _cause(exc)
    kind = _kind(cause)
    if streaming and kind is StorageUnavailable:
        kind = TransferInterrupted
    if kind is ObjectNotFound and key is None:
        kind = BucketNotFound
    return kind(_message(kind, cause, place, doing, key), hint=_hint(kind, cause))


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
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:299]}…"


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
    if isinstance(exc, CosServiceError):
        status = int(exc.get_status_code())
        kind = BY_CODE.get(code_of(exc)) or BY_STATUS.get(status)
        # An error may come with the status of a success, when the service had begun to answer.
        return kind or (StorageUnavailable if status >= 500 or status == 200 else StorageError)
    if isinstance(exc, transport.SSLError | http.SSLError) and _is_lasting(exc):
        return Unreachable
    return next((BY_CLASS[base] for base in type(exc).__mro__ if base in BY_CLASS), StorageError)


def _is_lasting(exc: BaseException) -> bool:
    """A certificate that is not trusted, or a server without TLS, stays so; a broken handshake may pass."""
    text = str(exc)
    return any(
        mark in text for mark in ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "doesn't match")
    )


def _message(kind: type[MbkError], exc: BaseException, place: Place, doing: str, key: str | None) -> str:
    if kind is BucketNotFound:
        return f"no bucket {place.bucket!r} at {place.endpoint}"
    if kind is ObjectNotFound and code_of(exc) != "NoSuchUpload":
        return f"no object {key!r} in {place}"
    if kind is ObjectExists:
        return f"there is an object {key!r} in {place}"
    where = f"{key!r} in {place}" if key is not None else str(place)
    return f"cannot {doing} {where}: {reason(exc)}"


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


def _hint(kind: type[MbkError], exc: BaseException) -> str | None:
    if kind is BucketNotFound:
        return "create it, or check bucketName, which ends with the APPID"
    if kind is Unreachable:
        return "check useSSL, and the CA certificate if the service has a private one"
    return HINTS.get(code_of(exc))
