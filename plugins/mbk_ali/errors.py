"""Every failure of a request and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

from mbk import errors as ours
from mbk.plugin import refusals
from mbk.plugin.failures import Translation
from mbk.plugin.refusals import FOREIGN, code_of, kind_of, reason_of

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

HINTS: dict[str, str] = {
    **refusals.HINTS,
    "InvalidAccessKeyId": "check the access key id",
    "SignatureDoesNotMatch": "check the secret access key, and the region",
    "SecurityTokenExpired": "get a new session token",
    "InvalidSecurityToken": "get a new session token",
    "RequestTimeTooSkewed": "set this machine's clock",
    "SecondLevelDomainForbidden": "leave pathStyle out: OSS wants the bucket in the host name",
    "InvalidObjectState": "restore it from the archive, and wait until that is done",
    "UserDisable": "the account is closed or has not paid",
}


TRANSLATION = Translation.of_codes(
    foreign=FOREIGN,
    kind_of=lambda exc: kind_of(exc, BY_CODE),
    reason_of=reason_of,
    code_of=code_of,
    hints=HINTS,
)
translate = TRANSLATION.error
