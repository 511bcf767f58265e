"""Every failure of a request and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

from mbk import errors as ours
from mbk.plugin import refusals
from mbk.plugin.failures import Translation
from mbk.plugin.refusals import FOREIGN, code_of, kind_of, reason_of

#: By the code that the service puts into its answer (cloud.tencent.com, "Error codes", 436/7730).
BY_CODE: dict[str, type[ours.MbkError]] = {
    "NoSuchBucket": ours.BucketNotFound,
    "NoSuchKey": ours.ObjectNotFound,
    "NoSuchVersion": ours.ObjectNotFound,
    "NoSuchUpload": ours.ObjectNotFound,
    # Of a HEAD that found nothing (`mbk_tc.requests`).
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

HINTS: dict[str, str] = {
    "InvalidAccessKeyId": "check the access key id (SecretId)",
    "SignatureDoesNotMatch": "check the secret access key (SecretKey)",
    "ExpiredToken": "get a new session token",
    "InvalidToken": "get a new session token",
    "RequestTimeTooSkewed": "set this machine's clock",
    "InvalidObjectState": "restore it from the archive, and wait until that is done",
    **refusals.HINTS,
}


TRANSLATION = Translation.of_codes(
    foreign=FOREIGN,
    kind_of=lambda exc: kind_of(exc, BY_CODE, BY_STATUS),
    reason_of=reason_of,
    code_of=code_of,
    hints=HINTS,
    bucket_hint="create it, or check bucketName, which ends with the APPID",
)
translate = TRANSLATION.error
