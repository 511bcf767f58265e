"""Every failure of the SDK, as one of :mod:`mbk.errors`; those of the service are `mbk_s3.errors`', whoever sent the request."""

from __future__ import annotations

import os

import urllib3.exceptions as urllib3
from botocore import exceptions as sdk  # noqa: TID253  loaded only where the SDK is used
from botocore.parsers import ResponseParserError  # noqa: TID253  loaded only where the SDK is used

from mbk import errors as ours
from mbk.plugin import http
from mbk.plugin.failures import Translation, is_lasting, one_line, words_of_system
from mbk_s3 import errors

#: As `mbk_s3.errors.FOREIGN`, with the SDK's own.
FOREIGN = (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, urllib3.HTTPError, *errors.FOREIGN)

_SHARED = "or name another by the variables AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"
HINTS = {
    **errors.HINTS,
    "ProfileNotFound": "check the profile in the configuration, or that of the variable AWS_PROFILE",
    "ConfigParseError": f"mend that file, {_SHARED}",
    "ConfigNotFound": f"make that file, {_SHARED}",
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
    urllib3.HTTPError: ours.StorageUnavailable,
}


def kind_of(exc: BaseException) -> type[ours.MbkError]:
    if errors.refused_of(exc) is not None:
        return errors.kind_of(exc)
    if isinstance(exc, sdk.SSLError | urllib3.SSLError) and is_lasting(exc):
        return ours.Unreachable
    if type(exc) is sdk.HTTPClientError and not isinstance(
        exc.kwargs.get("error"), OSError | urllib3.HTTPError
    ):
        return ours.StorageError
    return http.kind_of(exc, BY_CLASS)


def reason_of(exc: BaseException) -> str:
    """What went wrong, on one line and short. The URL that the SDK adds would only repeat the place."""
    if errors.refused_of(exc) is not None or isinstance(exc, http.SendingFailed):
        return errors.reason_of(exc)
    if isinstance(exc, sdk.EndpointConnectionError | sdk.ConnectTimeoutError | sdk.SSLError):
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
    foreign=FOREIGN, kind_of=kind_of, reason_of=reason_of, code_of=errors.code_of, hints=HINTS
)
translate = TRANSLATION.error
