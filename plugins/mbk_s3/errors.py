"""Every failure of the service and of the way to it, as one of :mod:`mbk.errors`. Those of the SDK: `mbk_s3.sdk_errors`."""

from __future__ import annotations

from mbk import errors as ours
from mbk.plugin import http
from mbk.plugin.failures import Translation, one_line
from mbk.plugin.refusals import Refused

#: What is translated. Anything else, such as an exception of the caller's own iterable, is not ours to touch.
FOREIGN = (Refused, *http.FOREIGN)

#: By the code that the service puts into its answer: S3's, then those of MinIO, Ceph, Swift and STS.
BY_CODE: dict[str, type[ours.MbkError]] = {
    "NoSuchBucket": ours.BucketNotFound,
    "NoSuchKey": ours.ObjectNotFound,
    "NoSuchVersion": ours.ObjectNotFound,
    "NoSuchUpload": ours.ObjectNotFound,
    "404": ours.ObjectNotFound,
    "AccessDenied": ours.PermissionDenied,
    "AllAccessDisabled": ours.PermissionDenied,
    "AccountProblem": ours.PermissionDenied,
    "InvalidObjectState": ours.ObjectArchived,
    "ObjectNotInActiveTierError": ours.ObjectArchived,
    "403": ours.PermissionDenied,
    "401": ours.AuthenticationFailed,
    "Unauthorized": ours.AuthenticationFailed,
    "InvalidAccessKeyId": ours.AuthenticationFailed,
    "SignatureDoesNotMatch": ours.AuthenticationFailed,
    "AuthorizationHeaderMalformed": ours.AuthenticationFailed,
    "AuthorizationQueryParametersError": ours.AuthenticationFailed,
    "InvalidClientTokenId": ours.AuthenticationFailed,
    "InvalidIdentityToken": ours.AuthenticationFailed,
    "InvalidToken": ours.AuthenticationFailed,
    "InvalidTokenId": ours.AuthenticationFailed,
    "ExpiredToken": ours.AuthenticationFailed,
    "ExpiredTokenException": ours.AuthenticationFailed,
    "TokenRefreshRequired": ours.AuthenticationFailed,
    "RequestTimeTooSkewed": ours.AuthenticationFailed,
    "RequestExpired": ours.AuthenticationFailed,
    "NotSignedUp": ours.AuthenticationFailed,
    "408": ours.TransferInterrupted,
    "412": ours.ObjectExists,
    "PreconditionFailed": ours.ObjectExists,
    "429": ours.Throttled,
    "SlowDown": ours.Throttled,
    "SlowDownRead": ours.Throttled,
    "SlowDownWrite": ours.Throttled,
    "Throttling": ours.Throttled,
    "ThrottlingException": ours.Throttled,
    "TooManyRequests": ours.Throttled,
    "RequestLimitExceeded": ours.Throttled,
    "BandwidthLimitExceeded": ours.Throttled,
    "ConditionalRequestConflict": ours.Throttled,
    "OperationAborted": ours.Throttled,
    "BadDigest": ours.TransferInterrupted,
    "IncompleteBody": ours.TransferInterrupted,
    "RequestTimeout": ours.TransferInterrupted,
    "XAmzContentChecksumMismatch": ours.TransferInterrupted,
    "XAmzContentSHA256Mismatch": ours.TransferInterrupted,
    "InvalidDigest": ours.TransferInterrupted,
    "KeyTooLongError": ours.InvalidKey,
    "InvalidURI": ours.InvalidKey,
    "XMinioInvalidObjectName": ours.InvalidKey,
    "XMinioInvalidResourceName": ours.InvalidKey,
    "XMinioObjectExistsAsDirectory": ours.InvalidKey,
    "XMinioParentIsObject": ours.InvalidKey,
    "501": ours.Unsupported,
    "NotImplemented": ours.Unsupported,
    "MethodNotAllowed": ours.Unsupported,
    "405": ours.Unsupported,
    "507": ours.StorageFull,
    "InsufficientCapacity": ours.StorageFull,
    "QuotaExceeded": ours.StorageFull,
    "XMinioStorageFull": ours.StorageFull,
    "XMinioAdminBucketQuotaExceeded": ours.StorageFull,
    "InvalidStorageClass": ours.Unsupported,
    "ObjectLockConfigurationNotFoundError": ours.Unsupported,
    "NoSuchObjectLockConfiguration": ours.Unsupported,
    "EntityTooLarge": ours.StorageError,
}

_BY_HOST = "set pathStyle to false: the service wants the bucket in the host name"

HINTS: dict[str, str] = {
    **http.HINTS,
    "BadTrust": "check caCert, and the variables AWS_CA_BUNDLE and REQUESTS_CA_BUNDLE",
    "InvalidAccessKeyId": "check the access key id, and that the address is the right service's",
    "SignatureDoesNotMatch": "check the secret access key",
    "AuthorizationHeaderMalformed": "check the region",
    "RequestTimeTooSkewed": "set this machine's clock",
    "ExpiredToken": "get a new session token",
    "PermanentRedirect": "set the region of the bucket",
    "301": "set the region of the bucket",
    "NoCredentialsError": "set accessKeyID and secretAccessKey, or useIAM, or the environment's AWS_ variables",
    "EndpointConnectionError": http.HINTS["NotConnected"],
    "ConnectTimeoutError": http.HINTS["ConnectTimedOut"],
    "InvalidObjectState": "restore it from the archive, and wait until that is done",
    "400": "if the service speaks https, set useSSL",
    "VirtualHostDomainRequired": _BY_HOST,
    "PathStyleDomainForbidden": _BY_HOST,
    "SecondLevelDomainForbidden": _BY_HOST,
}


def code_of(exc: BaseException) -> str:
    """The service's code, or the HTTP status where the answer had no body (HEAD), or the exception's name."""
    said = refused_of(exc)
    return type(exc).__name__ if said is None else said.name


def refused_of(exc: BaseException) -> Refused | None:
    """What the service answered, which the SDK's ``ClientError`` has in a dictionary; None where it did not."""
    if isinstance(exc, Refused):
        return exc
    response = getattr(exc, "response", None)
    if not isinstance(response, dict):
        return None
    error = response.get("Error", {})
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    return Refused(status, str(error.get("Code") or ""), str(error.get("Message") or ""))


def kind_of(exc: BaseException) -> type[ours.MbkError]:
    said = refused_of(exc)
    if said is None:
        return http.kind_of(exc)
    if str(getattr(exc, "operation_name", "")).startswith("AssumeRole"):
        return ours.AuthenticationFailed
    if said.code == "InvalidArgument" and "object name" in said.message.lower():
        return ours.InvalidKey
    if said.code == "InvalidRequest" and "objectlock" in said.message.lower().replace(" ", ""):
        return ours.Unsupported
    return BY_CODE.get(said.name) or _by_status(said.status)


def _by_status(status: int) -> type[ours.MbkError]:
    kind = BY_CODE.get(str(status))
    return kind or (ours.StorageUnavailable if status >= 500 else ours.StorageError)


def reason_of(exc: BaseException) -> str:
    """What went wrong, on one line and short."""
    said = refused_of(exc)
    return one_line(http.reason_of(exc) if said is None else str(said))


TRANSLATION = Translation.of_codes(
    foreign=FOREIGN, kind_of=kind_of, reason_of=reason_of, code_of=code_of, hints=HINTS
)
