"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import os
from typing import Any

import urllib3.exceptions as http
from botocore import exceptions as sdk  # noqa: TID253  loaded only with an opened storage
from botocore.parsers import ResponseParserError  # noqa: TID253  loaded only with an opened storage

from mbk import errors as ours
from mbk.plugin.failures import Translation, is_lasting, kind_of_class, one_line, words_of_system

#: What is translated. Anything else, such as an exception of the caller's own iterable, is not ours to touch.
FOREIGN = (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, http.HTTPError, OSError, ValueError)

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
    "EntityTooLarge": ours.StorageError,
}

#: By the SDK's exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[ours.MbkError]] = {
    sdk.ConnectionError: ours.StorageUnavailable,
    sdk.ProxyConnectionError: ours.StorageUnavailable,
    sdk.ConnectionClosedError: ours.StorageUnavailable,
    sdk.ReadTimeoutError: ours.StorageUnavailable,
    sdk.HTTPClientError: ours.StorageUnavailable,
    sdk.ResponseStreamingError: ours.TransferInterrupted,
    sdk.IncompleteReadError: ours.TransferInterrupted,
    sdk.ChecksumError: ours.TransferInterrupted,
    sdk.FlexibleChecksumError: ours.TransferInterrupted,
    sdk.CapacityNotAvailableError: ours.Throttled,
    sdk.NoCredentialsError: ours.AuthenticationFailed,
    sdk.NoAuthTokenError: ours.AuthenticationFailed,
    sdk.PartialCredentialsError: ours.AuthenticationFailed,
    sdk.CredentialRetrievalError: ours.AuthenticationFailed,
    sdk.TokenRetrievalError: ours.AuthenticationFailed,
    sdk.UnknownCredentialError: ours.AuthenticationFailed,
    sdk.RefreshWithMFAUnsupportedError: ours.AuthenticationFailed,
    sdk.MetadataRetrievalError: ours.AuthenticationFailed,
    sdk.SSOError: ours.AuthenticationFailed,
    sdk.LoginError: ours.AuthenticationFailed,
    sdk.ProfileNotFound: ours.UsageError,
    sdk.ConfigNotFound: ours.UsageError,
    sdk.ConfigParseError: ours.UsageError,
    sdk.InvalidConfigError: ours.UsageError,
    sdk.InvalidRegionError: ours.UsageError,
    sdk.UnknownRegionError: ours.UsageError,
    sdk.NoRegionError: ours.UsageError,
    sdk.InvalidProxiesConfigError: ours.UsageError,
    sdk.InvalidIMDSEndpointError: ours.UsageError,
    sdk.InvalidIMDSEndpointModeError: ours.UsageError,
    sdk.MissingDependencyException: ours.MissingDependency,
    ResponseParserError: ours.StorageUnavailable,
    http.HTTPError: ours.StorageUnavailable,
    OSError: ours.StorageUnavailable,
    UnicodeEncodeError: ours.InvalidKey,
}

HINTS: dict[str, str] = {
    "InvalidAccessKeyId": "check the access key id, and that the address is the right service's",
    "SignatureDoesNotMatch": "check the secret access key",
    "AuthorizationHeaderMalformed": "check the region",
    "RequestTimeTooSkewed": "set this machine's clock",
    "ExpiredToken": "get a new session token",
    "PermanentRedirect": "set the region of the bucket",
    "301": "set the region of the bucket",
    "NoCredentialsError": "set accessKeyID and secretAccessKey, or useIAM, or the environment's AWS_ variables",
    "EndpointConnectionError": "check the address and the port, and that the service runs",
    "ConnectTimeoutError": "check the address, the port and the firewall",
    "InvalidObjectState": "restore it from the archive, and wait until that is done",
    "400": "if the service speaks https, set useSSL",
}


def code_of(exc: BaseException) -> str:
    """The service's code, or the HTTP status where the answer had no body (HEAD), or the exception's name."""
    if isinstance(exc, sdk.ClientError):
        return str(exc.response.get("Error", {}).get("Code") or status_of(exc))
    return type(exc).__name__


def status_of(exc: sdk.ClientError) -> int:
    metadata: dict[str, Any] = dict(exc.response.get("ResponseMetadata", {}))
    return int(metadata.get("HTTPStatusCode") or 0)


def _kind(exc: BaseException) -> type[ours.MbkError]:
    if isinstance(exc, sdk.ClientError):
        if exc.operation_name.startswith("AssumeRole"):
            return ours.AuthenticationFailed
        if code_of(exc) == "InvalidArgument" and "object name" in reason(exc).lower():
            return ours.InvalidKey
        if code_of(exc) == "InvalidRequest" and "objectlock" in reason(exc).lower().replace(" ", ""):
            return ours.Unsupported
        return BY_CODE.get(code_of(exc)) or _by_status(status_of(exc))
    if isinstance(exc, sdk.SSLError | http.SSLError) and is_lasting(exc):
        return ours.Unreachable
    if type(exc) is sdk.HTTPClientError and not isinstance(exc.kwargs.get("error"), OSError | http.HTTPError):
        return ours.StorageError
    return kind_of_class(exc, BY_CLASS)


def _by_status(status: int) -> type[ours.MbkError]:
    kind = BY_CODE.get(str(status))
    return kind or (ours.StorageUnavailable if status >= 500 else ours.StorageError)


def reason(exc: BaseException) -> str:
    """What went wrong, on one line and short. The URL that the SDK adds would only repeat the place."""
    if isinstance(exc, sdk.ClientError):
        message = str(exc.response.get("Error", {}).get("Message") or "no reason given")
        text = f"{message} ({code_of(exc)})"
    elif isinstance(exc, sdk.EndpointConnectionError | sdk.ConnectTimeoutError | sdk.SSLError):
        text = words_of_system(exc.kwargs.get("error")) or "could not connect"
    elif isinstance(exc, sdk.ReadTimeoutError):
        text = "timed out waiting for the answer"
    elif isinstance(exc, sdk.ConnectionClosedError):
        text = "the connection was closed"
    elif isinstance(exc, ResponseParserError):
        text = "the answer is incomplete, or not from S3"
    elif isinstance(exc, OSError) and exc.errno:
        text = os.strerror(exc.errno)
    else:
        text = str(exc)
    return one_line(text)


TRANSLATION = Translation.of_codes(
    foreign=FOREIGN, kind_of=_kind, reason_of=reason, code_of=code_of, hints=HINTS
)
translate = TRANSLATION.error
