"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import os
from xml.etree.ElementTree import ParseError

import requests.exceptions as transport
import urllib3.exceptions as http
from oss2 import exceptions as sdk  # noqa: TID253  loaded only with an opened storage

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

#: What is translated. The SDK raises RuntimeError for an answer that lacks an element.
FOREIGN = (sdk.OssError, http.HTTPError, ParseError, OSError, ValueError, RuntimeError)

#: By the code that the service puts into its answer (help.aliyun.com, "OSS error codes").
BY_CODE: dict[str, type[MbkError]] = {
    "NoSuchBucket": BucketNotFound,
    "NoSuchKey": ObjectNotFound,
    "NoSuchUpload": ObjectNotFound,
    "SymlinkTargetNotExist": ObjectNotFound,
    "AccessDenied": PermissionDenied,
    "UserDisable": PermissionDenied,
    "FileImmutable": PermissionDenied,
    "ObjectImmutable": PermissionDenied,
    "InvalidObjectState": PermissionDenied,
    "BucketAlreadyExists": PermissionDenied,
    "KmsServiceNotEnabled": PermissionDenied,
    "InvalidAccessKeyId": AuthenticationFailed,
    "SignatureDoesNotMatch": AuthenticationFailed,
    "InvalidSecurityToken": AuthenticationFailed,
    "SecurityTokenExpired": AuthenticationFailed,
    "SecurityTokenNotSupported": AuthenticationFailed,
    "RequestTimeTooSkewed": AuthenticationFailed,
    "RequestExpired": AuthenticationFailed,
    "FileAlreadyExists": ObjectExists,
    "ObjectAlreadyExists": ObjectExists,
    "PreconditionFailed": ObjectExists,
    "QpsLimitExceeded": Throttled,
    "TotalQpsLimitExceeded": Throttled,
    "DownloadTrafficRateLimitExceeded": Throttled,
    "UploadTrafficRateLimitExceeded": Throttled,
    "DownloadConcurrencyLimitExceeded": Throttled,
    "UploadConcurrencyLimitExceeded": Throttled,
    "SlowDown": Throttled,
    "ServerBusy": Throttled,
    "RequestTimeout": TransferInterrupted,
    "IncompleteBody": TransferInterrupted,
    "InvalidDigest": TransferInterrupted,
    "BadDigest": TransferInterrupted,
    "InvalidObjectName": InvalidKey,
    "KeyTooLongError": InvalidKey,
    "NotImplemented": Unsupported,
    "OperationNotSupported": Unsupported,
    "MethodNotAllowed": Unsupported,
    "QuotaExceeded": StorageFull,
    "BucketStorageQuotaExceeded": StorageFull,
}

#: By the status, where there is no code: the answer to a HEAD.
BY_STATUS: dict[int, type[MbkError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: ObjectNotFound,
    405: Unsupported,
    412: ObjectExists,
    429: Throttled,
    501: Unsupported,
    507: StorageFull,
}

#: By the exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[MbkError]] = {
    sdk.InconsistentError: TransferInterrupted,
    transport.TooManyRedirects: StorageError,
    transport.InvalidURL: StorageError,
    transport.InvalidSchema: StorageError,
    transport.MissingSchema: StorageError,
    transport.InvalidHeader: StorageError,
    transport.RequestException: StorageUnavailable,
    http.HTTPError: StorageUnavailable,
    ParseError: StorageUnavailable,
    RuntimeError: StorageUnavailable,
    OSError: StorageUnavailable,
    UnicodeEncodeError: InvalidKey,
}

HINTS: dict[str, str] = {
    "InvalidAccessKeyId": "check the access key id",
    "SignatureDoesNotMatch": "check the secret access key, and the region",
    "SecurityTokenExpired": "get a new session token",
    "InvalidSecurityToken": "get a new session token",
    "RequestTimeTooSkewed": "set this machine's clock",
    "SecondLevelDomainForbidden": "leave pathStyle out: OSS wants the bucket in the host name",
    "UserDisable": "the account is closed or has not paid",
    "TooManyRedirects": "set the address and the region of the bucket",
    "ConnectTimeout": "check the address, the port and the firewall",
    "ConnectionError": "check the address and the port",
}


def code_of(exc: BaseException) -> str:
    """The service's code, or the HTTP status where the answer had none, or the exception's name."""
    exc = _cause(exc)
    if isinstance(exc, sdk.OssError) and (exc.code or _status(exc) > 0):
        return str(exc.code or _status(exc))
    return type(exc).__name__


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short. The URL that the SDK adds would only repeat the place."""
    exc = _cause(exc)
    if isinstance(exc, sdk.OssError):
        message = exc.message
        if not message and _status(exc) < 0:
            message = str(exc.body).partition(": ")[2]
        text = f"{message or 'no reason was given'} ({code_of(exc)})"
    elif isinstance(exc, transport.TooManyRedirects):
        text = "the bucket is elsewhere"
    elif isinstance(exc, transport.ReadTimeout):
        text = "no answer came"
    elif isinstance(exc, OSError | http.HTTPError):
        text = _innermost(exc) or "the connection broke"
    elif isinstance(exc, ParseError | RuntimeError):
        text = "the answer is incomplete, or not OSS's"
    else:
        text = str(exc)
    return one_line(text)


def _cause(exc: BaseException) -> BaseException:
    if not isinstance(exc, sdk.RequestError):
        return exc
    inner = exc.exception
    return inner if isinstance(inner, BaseException) else exc


def _status(exc: sdk.OssError) -> int:
    return int(exc.status or 0)


def _kind(exc: BaseException) -> type[MbkError]:
    exc = _cause(exc)
    if isinstance(exc, sdk.OssError):
        kind = BY_CODE.get(code_of(exc)) or BY_CLASS.get(type(exc)) or BY_STATUS.get(_status(exc))
        return kind or (StorageUnavailable if _status(exc) >= 500 else StorageError)
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
)
translated = _TRANSLATION.guard
translate = _TRANSLATION.error
