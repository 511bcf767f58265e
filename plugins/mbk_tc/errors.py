"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import re

from qcloud_cos.cos_exception import CosClientError, CosException, CosServiceError  # noqa: TID253  loaded only with an opened storage

from mbk import errors as ours
from mbk.plugin import refusals, transport
from mbk.plugin.failures import Translation, one_line
from mbk.plugin.refusals import Refused

#: What is translated. KeyError: an answer lacks an element.
FOREIGN = (Refused, CosException, SyntaxError, KeyError, *transport.FOREIGN)

#: By the code that the service puts into its answer (cloud.tencent.com, "Error codes", 436/7730).
BY_CODE: dict[str, type[ours.MbkError]] = {
    "NoSuchBucket": ours.BucketNotFound,
    "NoSuchKey": ours.ObjectNotFound,
    "NoSuchVersion": ours.ObjectNotFound,
    "NoSuchUpload": ours.ObjectNotFound,
    # The SDK's own word for a HEAD that found nothing.
    "NoSuchResource": ours.ObjectNotFound,
    "AccessDenied": ours.PermissionDenied,
    "AccessForbidden": ours.PermissionDenied,
    "BucketAlreadyExists": ours.PermissionDenied,
    "InvalidObjectState": ours.ObjectArchived,
    "ObjectLocked": ours.PermissionDenied,
    "UnavailableForLegalReasons": ours.PermissionDenied,
    "ExpiredToken": ours.AuthenticationFailed,
    "InvalidToken": ours.AuthenticationFailed,
    "InvalidAccessKeyId": ours.AuthenticationFailed,
    "SignatureDoesNotMatch": ours.AuthenticationFailed,
    "RequestTimeTooSkewed": ours.AuthenticationFailed,
    "RequestIsExpired": ours.AuthenticationFailed,
    "AccessTokenExpired": ours.AuthenticationFailed,
    "FileAlreadyExists": ours.ObjectExists,
    "ObjectAlreadyExists": ours.ObjectExists,
    "PreconditionFailed": ours.ObjectExists,
    "SlowDown": ours.Throttled,
    "TooManyRequests": ours.Throttled,
    "QpsLimitExceeded": ours.Throttled,
    "RequestLimitExceeded": ours.Throttled,
    "UserNetworkTooSlow": ours.TransferInterrupted,
    "RequestTimeout": ours.TransferInterrupted,
    "RequestTimeOut": ours.TransferInterrupted,
    "BadDigest": ours.TransferInterrupted,
    "InvalidDigest": ours.TransferInterrupted,
    "InvalidSHA1Digest": ours.TransferInterrupted,
    "IncompleteBody": ours.TransferInterrupted,
    "EntitySizeNotMatch": ours.TransferInterrupted,
    "KeyTooLong": ours.InvalidKey,
    "InvalidURI": ours.InvalidKey,
    "InvalidKey": ours.InvalidKey,
    "PathConflict": ours.InvalidKey,
    "NotImplemented": ours.Unsupported,
    "MethodNotAllowed": ours.Unsupported,
    "RequestNotSupported": ours.Unsupported,
    "BucketAlreadyOwnedByYou": ours.StorageError,
    "QuotaExceeded": ours.StorageFull,
    "BucketQuotaExceeded": ours.StorageFull,
}

#: By the status, where the code says nothing: the answer to a HEAD has none.
BY_STATUS: dict[int, type[ours.MbkError]] = {
    **refusals.BY_STATUS,
    # The documentation does not give the code of a refused overwrite.
    409: ours.ObjectExists,
}

#: By the exception, beside those of the transport: the SDK cannot read the answer, or misses an element of it.
BY_CLASS: dict[type[BaseException], type[ours.MbkError]] = {
    SyntaxError: ours.StorageUnavailable,
    KeyError: ours.StorageUnavailable,
}

HINTS: dict[str, str] = {
    "InvalidAccessKeyId": "check the access key id (SecretId)",
    "SignatureDoesNotMatch": "check the secret access key (SecretKey)",
    "ExpiredToken": "get a new session token",
    "InvalidToken": "get a new session token",
    "RequestTimeTooSkewed": "set this machine's clock",
    "InvalidObjectState": "restore it from the archive, and wait until that is done",
    **transport.HINTS,
}


_ELEMENT = re.compile(r"<(Code|Message)>([^<]+)</")


def code_of(exc: BaseException) -> str:
    """The service's code, or the HTTP status where the answer had none, or the exception's name."""
    exc = _cause(exc)
    if isinstance(exc, Refused):
        return exc.name
    if isinstance(exc, CosServiceError):
        return str(_said(exc).get("code") or exc.get_status_code())
    return type(exc).__name__


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short. The URL that the SDK adds would only repeat the place."""
    exc = _cause(exc)
    if isinstance(exc, Refused):
        text = str(exc)
    elif isinstance(exc, CosServiceError):
        text = f"{_said(exc).get('message') or 'no reason given'} ({code_of(exc)})"
    elif isinstance(exc, SyntaxError | KeyError):
        text = "the answer is incomplete, or not from COS"
    else:
        text = transport.reason_of(exc)
    return one_line(text)


def _cause(exc: BaseException) -> BaseException:
    """The SDK raises an error of its own, of the other's text, while it handles that of the transport."""
    below = exc.__context__ if isinstance(exc, CosClientError) else None
    return exc if below is None or isinstance(below, ours.MbkError) else below


def _said(exc: CosServiceError) -> dict[str, str]:
    """Code and message of the error document. The SDK reads those alone that have all of COS's elements."""
    said = exc.get_digest_msg()
    if isinstance(said, dict):
        return said
    original = exc.get_origin_msg()
    text = original.decode(errors="replace") if isinstance(original, bytes) else str(original)
    return {name.lower(): value for name, value in _ELEMENT.findall(text)}


def _kind(exc: BaseException) -> type[ours.MbkError]:
    exc = _cause(exc)
    if isinstance(exc, Refused | CosServiceError):
        status = exc.status if isinstance(exc, Refused) else int(exc.get_status_code())
        kind = BY_CODE.get(code_of(exc)) or BY_STATUS.get(status)
        # An error may come with the status of a success, when the service had begun to answer.
        return kind or (ours.StorageUnavailable if status >= 500 or status == 200 else ours.StorageError)
    return transport.kind_of(exc, BY_CLASS)


TRANSLATION = Translation.of_codes(
    foreign=FOREIGN,
    kind_of=_kind,
    reason_of=reason,
    code_of=code_of,
    hints=HINTS,
    bucket_hint="create it, or check bucketName, which ends with the APPID",
)
translate = TRANSLATION.error
