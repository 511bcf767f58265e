"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

from xml.etree.ElementTree import ParseError

from oss2 import exceptions as sdk  # noqa: TID253  loaded only with an opened storage

from mbk import errors as ours
from mbk.plugin import transport
from mbk.plugin.failures import Translation, one_line
from mbk.plugin.refusals import BY_STATUS, Refused

#: What is translated. The SDK raises RuntimeError for an answer that lacks an element.
FOREIGN = (*transport.FOREIGN, Refused, sdk.OssError, ParseError, RuntimeError)

#: By the code that the service puts into its answer (help.aliyun.com, "OSS error codes").
BY_CODE: dict[str, type[ours.MbkError]] = {
    "NoSuchBucket": ours.BucketNotFound,
    "NoSuchKey": ours.ObjectNotFound,
    "NoSuchUpload": ours.ObjectNotFound,
    "SymlinkTargetNotExist": ours.ObjectNotFound,
    "AccessDenied": ours.PermissionDenied,
    "UserDisable": ours.PermissionDenied,
    "FileImmutable": ours.PermissionDenied,
    "ObjectImmutable": ours.PermissionDenied,
    "InvalidObjectState": ours.ObjectArchived,
    "BucketAlreadyExists": ours.PermissionDenied,
    "KmsServiceNotEnabled": ours.PermissionDenied,
    "InvalidAccessKeyId": ours.AuthenticationFailed,
    "SignatureDoesNotMatch": ours.AuthenticationFailed,
    "InvalidSecurityToken": ours.AuthenticationFailed,
    "SecurityTokenExpired": ours.AuthenticationFailed,
    "SecurityTokenNotSupported": ours.AuthenticationFailed,
    "RequestTimeTooSkewed": ours.AuthenticationFailed,
    "RequestExpired": ours.AuthenticationFailed,
    "FileAlreadyExists": ours.ObjectExists,
    "ObjectAlreadyExists": ours.ObjectExists,
    "PreconditionFailed": ours.ObjectExists,
    "QpsLimitExceeded": ours.Throttled,
    "TotalQpsLimitExceeded": ours.Throttled,
    "DownloadTrafficRateLimitExceeded": ours.Throttled,
    "UploadTrafficRateLimitExceeded": ours.Throttled,
    "DownloadConcurrencyLimitExceeded": ours.Throttled,
    "UploadConcurrencyLimitExceeded": ours.Throttled,
    "SlowDown": ours.Throttled,
    "ServerBusy": ours.Throttled,
    "RequestTimeout": ours.TransferInterrupted,
    "IncompleteBody": ours.TransferInterrupted,
    "InvalidDigest": ours.TransferInterrupted,
    "BadDigest": ours.TransferInterrupted,
    "InvalidObjectName": ours.InvalidKey,
    "KeyTooLongError": ours.InvalidKey,
    "NotImplemented": ours.Unsupported,
    "OperationNotSupported": ours.Unsupported,
    "MethodNotAllowed": ours.Unsupported,
    "QuotaExceeded": ours.StorageFull,
    "BucketStorageQuotaExceeded": ours.StorageFull,
}

#: By the exception, beside those of the transport. What is in neither was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[ours.MbkError]] = {
    sdk.InconsistentError: ours.TransferInterrupted,
    ParseError: ours.StorageUnavailable,
    RuntimeError: ours.StorageUnavailable,
}

HINTS: dict[str, str] = {
    **transport.HINTS,
    "InvalidAccessKeyId": "check the access key id",
    "SignatureDoesNotMatch": "check the secret access key, and the region",
    "SecurityTokenExpired": "get a new session token",
    "InvalidSecurityToken": "get a new session token",
    "RequestTimeTooSkewed": "set this machine's clock",
    "SecondLevelDomainForbidden": "leave pathStyle out: OSS wants the bucket in the host name",
    "InvalidObjectState": "restore it from the archive, and wait until that is done",
    "UserDisable": "the account is closed or has not paid",
}


def code_of(exc: BaseException) -> str:
    """The service's code, or the HTTP status where the answer had none, or the exception's name."""
    exc = _cause(exc)
    if isinstance(exc, Refused):
        return exc.name
    if isinstance(exc, sdk.OssError) and (exc.code or _status(exc) > 0):
        return str(exc.code or _status(exc))
    return type(exc).__name__


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short. The URL that the SDK adds would only repeat the place."""
    exc = _cause(exc)
    if isinstance(exc, Refused):
        return one_line(str(exc))
    if isinstance(exc, sdk.OssError):
        message = exc.message
        if not message and _status(exc) < 0:
            message = str(exc.body).partition(": ")[2]
        return one_line(f"{message or 'no reason given'} ({code_of(exc)})")
    if isinstance(exc, ParseError | RuntimeError):
        return "the answer is incomplete, or not from OSS"
    return one_line(transport.reason_of(exc))


def _cause(exc: BaseException) -> BaseException:
    if not isinstance(exc, sdk.RequestError):
        return exc
    inner = exc.exception
    return inner if isinstance(inner, BaseException) else exc


def _status(exc: sdk.OssError | Refused) -> int:
    return int(exc.status or 0)


def _kind(exc: BaseException) -> type[ours.MbkError]:
    exc = _cause(exc)
    if isinstance(exc, sdk.OssError | Refused):
        kind = BY_CODE.get(code_of(exc)) or BY_CLASS.get(type(exc)) or BY_STATUS.get(_status(exc))
        return kind or (ours.StorageUnavailable if _status(exc) >= 500 else ours.StorageError)
    return transport.kind_of(exc, BY_CLASS)


TRANSLATION = Translation.of_codes(
    foreign=FOREIGN, kind_of=_kind, reason_of=reason, code_of=code_of, hints=HINTS
)
translate = TRANSLATION.error
