"""Every failure of the SDK becomes one of ours, on one line, with the right advice about trying again."""

from __future__ import annotations

import inspect
import ssl
from typing import Any

import pytest
import urllib3.exceptions as http
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    InvalidKey,
    MbkError,
    MissingDependency,
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
from mbk.plugin.failures import Place
from mbk_s3.sdk_errors import FOREIGN, TRANSLATION, translate

PLACE = Place("a-bucket", "localhost:9000")

WORTH_ANOTHER_TRY = {
    "CapacityNotAvailableError": Throttled,
    "ChecksumError": TransferInterrupted,
    "ConnectTimeoutError": StorageUnavailable,
    "ConnectionClosedError": StorageUnavailable,
    "ConnectionError": StorageUnavailable,
    "EndpointConnectionError": StorageUnavailable,
    "FlexibleChecksumError": TransferInterrupted,
    "IncompleteReadError": TransferInterrupted,
    "ProxyConnectionError": StorageUnavailable,
    "ReadTimeoutError": StorageUnavailable,
    "ResponseStreamingError": TransferInterrupted,
    "SSLError": StorageUnavailable,
    "HTTPClientError": StorageUnavailable,
}
LASTING = {
    "ConfigNotFound": UsageError,
    "ConfigParseError": UsageError,
    "CredentialRetrievalError": AuthenticationFailed,
    "LoginError": AuthenticationFailed,
    "LoginRefreshRequired": AuthenticationFailed,
    "MissingDependencyException": MissingDependency,
    "NoCredentialsError": AuthenticationFailed,
    "PartialCredentialsError": AuthenticationFailed,
    "ProfileNotFound": UsageError,
    "SSOTokenLoadError": AuthenticationFailed,
    "TokenRetrievalError": AuthenticationFailed,
    "UnauthorizedSSOTokenError": AuthenticationFailed,
    "ParamValidationError": StorageError,
    "PaginationError": StorageError,
    "UnseekableStreamError": StorageError,
}


def exceptions_of_the_sdk() -> list[type[Exception]]:
    return [
        kind
        for _, kind in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(kind, Exception)
        and kind.__module__ == sdk.__name__
        and not issubclass(kind, Warning | sdk.ClientError)
    ]


def made(kind: type[Exception]) -> Exception:
    """An instance as the SDK would raise it; an error of the transport carries the error below it."""
    words: dict[str, Any] = {}
    while True:
        try:
            return kind(**words) if words else kind()
        except KeyError as exc:
            words[exc.args[0]] = "x"
        except TypeError:
            return kind(name="x", reason="x", last_response={})  # type: ignore[call-arg]  # of a waiter


@pytest.mark.parametrize("kind", exceptions_of_the_sdk(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_becomes_one_of_ours(kind: type[Exception]) -> None:
    error = made(kind)
    if kind is sdk.HTTPClientError:
        error = sdk.HTTPClientError(error=http.ProtocolError("broken"))
    ours = translate(error, PLACE, "read", "some/key")
    expected = {**WORTH_ANOTHER_TRY, **LASTING}.get(kind.__name__)
    assert type(ours).__module__ == "mbk.errors"
    assert ours.retryable == (kind.__name__ in WORTH_ANOTHER_TRY)
    assert expected is None or type(ours) is expected
    assert "\n" not in str(ours)


def test_the_translation_catches_every_exception_of_the_sdk() -> None:
    untouched = [kind for kind in exceptions_of_the_sdk() if not issubclass(kind, FOREIGN)]
    # Mistakes in the SDK's own service descriptions.
    assert [kind.__name__ for kind in untouched] == ["MissingServiceIdError", "UndefinedModelAttributeError"]


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchBucket", 404, BucketNotFound),
        ("NoSuchKey", 404, ObjectNotFound),
        ("404", 404, ObjectNotFound),
        ("AccessDenied", 403, PermissionDenied),
        ("403", 403, PermissionDenied),
        ("InvalidAccessKeyId", 403, AuthenticationFailed),
        ("SignatureDoesNotMatch", 403, AuthenticationFailed),
        ("ExpiredToken", 400, AuthenticationFailed),
        ("RequestTimeTooSkewed", 403, AuthenticationFailed),
        ("AuthorizationHeaderMalformed", 400, AuthenticationFailed),
        ("PreconditionFailed", 412, ObjectExists),
        ("ConditionalRequestConflict", 409, Throttled),
        ("SlowDown", 503, Throttled),
        ("TooManyRequests", 429, Throttled),
        ("RequestTimeout", 400, TransferInterrupted),
        ("408", 408, TransferInterrupted),
        ("BadDigest", 400, TransferInterrupted),
        ("InternalError", 500, StorageUnavailable),
        ("ServiceUnavailable", 503, StorageUnavailable),
        ("XMinioServerNotInitialized", 503, StorageUnavailable),
        ("XMinioStorageFull", 507, StorageFull),
        ("QuotaExceeded", 403, StorageFull),
        ("NotImplemented", 501, Unsupported),
        ("KeyTooLongError", 400, InvalidKey),
        ("SomethingNew", 403, PermissionDenied),
        ("SomethingNew", 502, StorageUnavailable),
        ("SomethingNew", 400, StorageError),
    ],
)
def test_the_code_of_the_service_decides(code: str, status: int, expected: type[MbkError]) -> None:
    assert type(translate(answered(code, status), PLACE, "read", "some/key")) is expected


def test_a_missing_key_of_a_call_without_a_key_is_a_missing_bucket() -> None:
    assert type(translate(answered("404", 404), PLACE, "list")) is BucketNotFound


def test_what_breaks_inside_a_body_is_an_interrupted_transfer() -> None:
    error = sdk.ReadTimeoutError(endpoint_url="http://localhost")
    assert type(translate(error, PLACE, "read", "some/key", streaming=True)) is TransferInterrupted


def test_an_untrusted_certificate_is_not_worth_another_try() -> None:
    cause = ssl.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    error = sdk.SSLError(endpoint_url="https://localhost", error=cause)
    ours = translate(error, PLACE, "list")
    assert type(ours) is Unreachable
    assert "certificate" in (ours.hint or "")


def test_a_mistake_of_ours_inside_the_transport_is_not_worth_another_try() -> None:
    assert not translate(sdk.HTTPClientError(error=TypeError("x")), PLACE, "read", "k").retryable


def test_an_answer_that_cannot_be_parsed_is_worth_another_try() -> None:
    assert translate(ResponseParserError("<html>"), PLACE, "list").retryable


def test_the_message_names_key_bucket_and_endpoint_on_one_line() -> None:
    ours = translate(answered("SomethingNew", 400, "first\n  second"), PLACE, "read", "some/key")
    told = {"key": "some/key", "bucket": "a-bucket", "endpoint": "localhost:9000"}
    assert {**ours.facts, **told, "reason": "first second (SomethingNew)"} == ours.facts
    assert [fact for fact in told.values() if fact not in str(ours)] == []
    assert "\n" not in str(ours)


def test_an_error_of_the_callers_own_passes_unchanged() -> None:
    for mine in (ZeroDivisionError(), KeyboardInterrupt(), ObjectNotFound("ours already")):
        with pytest.raises(type(mine)) as caught, TRANSLATION.guard(PLACE, "read", "k"):
            raise mine
        assert caught.value is mine


def test_a_web_identity_that_is_refused_is_a_failed_authentication() -> None:
    error = sdk.ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRoleWithWebIdentity")
    assert type(translate(error, PLACE, "list")) is AuthenticationFailed


def answered(code: str, status: int, message: str = "no") -> sdk.ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return sdk.ClientError(response, "GetObject")
