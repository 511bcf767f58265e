"""Every failure of the SDK and of the service, as one of :mod:`mbk.errors`."""

from __future__ import annotations

import os
from typing import Any

import urllib3.exceptions as http
from botocore import exceptions as sdk  # noqa: TID253  loaded only with an opened storage
from botocore.parsers import ResponseParserError  # noqa: TID253  loaded only with an opened storage

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    InvalidKey,
    MbkError,
    MissingDependency,
    ObjectArchived,
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
    UsageError,
)
from mbk.plugin.failures import Translation, is_lasting, kind_of_class, one_line, words_of_system

#: What is translated. Anything else, such as an exception of the caller's own iterable, is not ours to touch.
FOREIGN = (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, http.HTTPError, OSError, ValueError)

#: By the code that the service puts into its answer: S3's, then those of MinIO, Ceph, Swift and STS.
BY_CODE: dict[str, type[MbkError]] = {
    "NoSuchBucket": BucketNotFound,
    "NoSuchKey": ObjectNotFound,
    "NoSuchVersion": ObjectNotFound,
    "NoSuchUpload": ObjectNotFound,
    "404": ObjectNotFound,
    "AccessDenied": PermissionDenied,
    "AllAccessDisabled": PermissionDenied,
    "AccountProblem": PermissionDenied,
    "InvalidObjectState": ObjectArchived,
    "ObjectNotInActiveTierError": ObjectArchived,
    "403": PermissionDenied,
    "401": AuthenticationFailed,
    "Unauthorized": AuthenticationFailed,
    "InvalidAccessKeyId": AuthenticationFailed,
    "SignatureDoesNotMatch": AuthenticationFailed,
    "AuthorizationHeaderMalformed": AuthenticationFailed,
    "AuthorizationQueryParametersError": AuthenticationFailed,
    "InvalidClientTokenId": AuthenticationFailed,
    "InvalidIdentityToken": AuthenticationFailed,
    "InvalidToken": AuthenticationFailed,
    "InvalidTokenId": AuthenticationFailed,
    "ExpiredToken": AuthenticationFailed,
    "ExpiredTokenException": AuthenticationFailed,
    "TokenRefreshRequired": AuthenticationFailed,
    "RequestTimeTooSkewed": AuthenticationFailed,
    "RequestExpired": AuthenticationFailed,
    "NotSignedUp": AuthenticationFailed,
    "412": ObjectExists,
    "PreconditionFailed": ObjectExists,
    "429": Throttled,
    "SlowDown": Throttled,
    "SlowDownRead": Throttled,
    "SlowDownWrite": Throttled,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
    "TooManyRequests": Throttled,
    "RequestLimitExceeded": Throttled,
    "BandwidthLimitExceeded": Throttled,
    "ConditionalRequestConflict": Throttled,
    "OperationAborted": Throttled,
    "BadDigest": TransferInterrupted,
    "IncompleteBody": TransferInterrupted,
    "RequestTimeout": TransferInterrupted,
    "XAmzContentChecksumMismatch": TransferInterrupted,
    "XAmzContentSHA256Mismatch": TransferInterrupted,
    "InvalidDigest": TransferInterrupted,
    "KeyTooLongError": InvalidKey,
    "InvalidURI": InvalidKey,
    "XMinioInvalidObjectName": InvalidKey,
    "XMinioInvalidResourceName": InvalidKey,
    "XMinioObjectExistsAsDirectory": InvalidKey,
    "XMinioParentIsObject": InvalidKey,
    "501": Unsupported,
    "NotImplemented": Unsupported,
    "MethodNotAllowed": Unsupported,
    "405": Unsupported,
    "507": StorageFull,
    "InsufficientCapacity": StorageFull,
    "QuotaExceeded": StorageFull,
    "XMinioStorageFull": StorageFull,
    "XMinioAdminBucketQuotaExceeded": StorageFull,
    "InvalidStorageClass": Unsupported,
    "ObjectLockConfigurationNotFoundError": Unsupported,
    "EntityTooLarge": StorageError,
}

#: By the SDK's exception, the nearest ancestor first. What is not here was our mistake: `StorageError`.
BY_CLASS: dict[type[BaseException], type[MbkError]] = {
    sdk.ConnectionError: StorageUnavailable,
    sdk.ProxyConnectionError: StorageUnavailable,
    sdk.ConnectionClosedError: StorageUnavailable,
    sdk.ReadTimeoutError: StorageUnavailable,
    sdk.HTTPClientError: StorageUnavailable,
    sdk.ResponseStreamingError: TransferInterrupted,
    sdk.IncompleteReadError: TransferInterrupted,
    sdk.ChecksumError: TransferInterrupted,
    sdk.FlexibleChecksumError: TransferInterrupted,
    sdk.CapacityNotAvailableError: Throttled,
    sdk.NoCredentialsError: AuthenticationFailed,
    sdk.NoAuthTokenError: AuthenticationFailed,
    sdk.PartialCredentialsError: AuthenticationFailed,
    sdk.CredentialRetrievalError: AuthenticationFailed,
    sdk.TokenRetrievalError: AuthenticationFailed,
    sdk.UnknownCredentialError: AuthenticationFailed,
    sdk.RefreshWithMFAUnsupportedError: AuthenticationFailed,
    sdk.MetadataRetrievalError: AuthenticationFailed,
    sdk.SSOError: AuthenticationFailed,
    sdk.LoginError: AuthenticationFailed,
    sdk.ProfileNotFound: UsageError,
    sdk.ConfigNotFound: UsageError,
    sdk.ConfigParseError: UsageError,
    sdk.InvalidConfigError: UsageError,
    sdk.InvalidRegionError: UsageError,
    sdk.UnknownRegionError: UsageError,
    sdk.NoRegionError: UsageError,
    sdk.InvalidProxiesConfigError: UsageError,
    sdk.InvalidIMDSEndpointError: UsageError,
    sdk.InvalidIMDSEndpointModeError: UsageError,
    sdk.MissingDependencyException: MissingDependency,
    ResponseParserError: StorageUnavailable,
    http.HTTPError: StorageUnavailable,
    OSError: StorageUnavailable,
    UnicodeEncodeError: InvalidKey,
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


def _kind(exc: BaseException) -> type[MbkError]:
    if isinstance(exc, sdk.ClientError):
        if exc.operation_name.startswith("AssumeRole"):
            return AuthenticationFailed
        if code_of(exc) == "InvalidArgument" and "object name" in reason(exc).lower():
            return InvalidKey
        if code_of(exc) == "InvalidRequest" and "objectlock" in reason(exc).lower().replace(" ", ""):
            return Unsupported
        return BY_CODE.get(code_of(exc)) or _by_status(status_of(exc))
    if isinstance(exc, sdk.SSLError | http.SSLError) and is_lasting(exc):
        return Unreachable
    if type(exc) is sdk.HTTPClientError and not isinstance(exc.kwargs.get("error"), OSError | http.HTTPError):
        return StorageError
    return kind_of_class(exc, BY_CLASS)


def _by_status(status: int) -> type[MbkError]:
    kind = BY_CODE.get(str(status))
    return kind or (StorageUnavailable if status >= 500 else StorageError)


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
