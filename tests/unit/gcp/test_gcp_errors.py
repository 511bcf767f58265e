"""Every failure of the SDK becomes one of ours, on one line, with the right advice about trying again."""

from __future__ import annotations

import inspect
import json
import ssl
from io import BytesIO
from types import ModuleType
from typing import Any

import google.cloud.exceptions
import pytest
import requests
import urllib3.exceptions as http
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.cloud.storage import exceptions as sdk
from requests import exceptions as web
from urllib3 import HTTPResponse

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
    UsageError,
)
from mbk.plugin.failures import Place
from mbk_gcp.errors import FOREIGN, TRANSLATION, require_success, translate

PLACE = Place("a-bucket", "localhost:4443")
MODULES: tuple[ModuleType, ...] = (api, auth, google.cloud.exceptions, sdk, web, http)
NAMES = {module.__name__ for module in MODULES}

WORTH_ANOTHER_TRY: dict[type[BaseException], type[MbkError]] = {
    # By the status that the class stands for.
    api.Conflict: Throttled,
    api.AlreadyExists: Throttled,
    api.Aborted: Throttled,
    api.TooManyRequests: Throttled,
    api.ResourceExhausted: Throttled,
    api.ServerError: StorageUnavailable,
    api.InternalServerError: StorageUnavailable,
    api.Unknown: StorageUnavailable,
    api.DataLoss: StorageUnavailable,
    api.BadGateway: StorageUnavailable,
    api.ServiceUnavailable: StorageUnavailable,
    api.GatewayTimeout: StorageUnavailable,
    api.DeadlineExceeded: StorageUnavailable,
    api.RetryError: StorageUnavailable,
    auth.TransportError: StorageUnavailable,
    auth.TimeoutError: StorageUnavailable,
    auth.ResponseError: StorageUnavailable,
    sdk.DataCorruption: TransferInterrupted,
    web.ConnectionError: StorageUnavailable,
    web.ProxyError: StorageUnavailable,
    web.SSLError: StorageUnavailable,
    web.Timeout: StorageUnavailable,
    web.ConnectTimeout: StorageUnavailable,
    web.ReadTimeout: StorageUnavailable,
    web.RetryError: StorageUnavailable,
    web.JSONDecodeError: StorageUnavailable,
    web.ChunkedEncodingError: TransferInterrupted,
    web.ContentDecodingError: TransferInterrupted,
}
LASTING: dict[type[BaseException], type[MbkError]] = {
    api.BadRequest: StorageError,
    api.Unauthorized: AuthenticationFailed,
    api.Unauthenticated: AuthenticationFailed,
    api.Forbidden: PermissionDenied,
    api.PermissionDenied: PermissionDenied,
    api.NotFound: ObjectNotFound,
    api.PreconditionFailed: ObjectExists,
    api.MethodNotImplemented: Unsupported,
    auth.RefreshError: AuthenticationFailed,
    auth.DefaultCredentialsError: AuthenticationFailed,
    auth.OAuthError: AuthenticationFailed,
    auth.MutualTLSChannelError: AuthenticationFailed,
    sdk.InvalidPathError: InvalidKey,
    web.InvalidURL: StorageError,
    web.InvalidProxyURL: UsageError,
    web.TooManyRedirects: StorageError,
    web.RequestException: StorageError,
}


def exceptions_of_the_sdk() -> list[type[Exception]]:
    found = {
        kind
        for module in MODULES
        for _, kind in inspect.getmembers(module, inspect.isclass)
        # What the modules only name is no exception of theirs.
        if issubclass(kind, Exception) and not issubclass(kind, Warning) and kind.__module__ in NAMES
    }
    return sorted(found, key=lambda kind: f"{kind.__module__}.{kind.__name__}")


def made(kind: type[Exception]) -> Exception:
    """An instance as the libraries would raise it."""
    if issubclass(kind, sdk.InvalidResponse | sdk.DataCorruption):
        return kind(answered(400, ""), "x")
    if kind is web.JSONDecodeError:
        return web.JSONDecodeError("x", "doc", 0)
    if kind is api.RetryError:
        return api.RetryError("x", None)
    if kind is http.IncompleteRead:
        return http.IncompleteRead(1, 2)
    if kind is http.InvalidChunkLength:
        return http.InvalidChunkLength(http_response(), b"x")
    for arguments in (("x",), (None, "x"), (None, "x", "y"), (1, 2), (None, "x", 3)):
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(kind)


@pytest.mark.parametrize(
    "kind", exceptions_of_the_sdk(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}"
)
def test_every_exception_of_the_sdk_becomes_one_of_ours(kind: type[Exception]) -> None:
    ours = translate(made(kind), PLACE, "read", "some/key")
    expected = {**WORTH_ANOTHER_TRY, **LASTING}.get(kind)
    of_transport = issubclass(kind, http.HTTPError) and not issubclass(kind, web.RequestException)
    if of_transport:
        expected = StorageUnavailable
    assert type(ours).__module__ == "mbk.errors"
    assert ours.retryable == (kind in WORTH_ANOTHER_TRY or of_transport)
    assert expected is None or type(ours) is expected
    assert "\n" not in str(ours)


def test_the_translation_catches_every_exception_of_the_sdk() -> None:
    untouched = [kind.__name__ for kind in exceptions_of_the_sdk() if not issubclass(kind, FOREIGN)]
    # Of the asynchronous client.
    assert untouched == ["AsyncRestUnsupportedParameterError"]


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        (404, "notFound", "The specified bucket does not exist.", BucketNotFound),
        (404, "notFound", "No such object: a-bucket/some/key", ObjectNotFound),
        (401, "authError", "Invalid Credentials", AuthenticationFailed),
        (403, "forbidden", "x does not have storage.objects.get access", PermissionDenied),
        (403, "retentionPolicyNotMet", "Object is under active Temporary hold", PermissionDenied),
        (403, "rateLimitExceeded", "Rate Limit Exceeded", Throttled),
        (403, "userRateLimitExceeded", "Rate Limit Exceeded", Throttled),
        (403, "quotaExceeded", "Quota exceeded", StorageFull),
        (408, "uploadBrokenConnection", "Request Timeout", TransferInterrupted),
        (409, "conflict", "Conflict", Throttled),
        (410, "gone", "The upload is gone", TransferInterrupted),
        (412, "conditionNotMet", "Precondition failed", ObjectExists),
        (413, "uploadTooLarge", "Too large", StorageError),
        (429, "rateLimitExceeded", "The object exceeded the rate limit", Throttled),
        (500, "backendError", "Internal error", StorageUnavailable),
        (503, "backendError", "Try again", StorageUnavailable),
        (501, "notImplemented", "Not implemented", Unsupported),
        (507, "storageFull", "No space", StorageFull),
        (400, "invalid", "Invalid object name.", InvalidKey),
        (400, "invalid", "The maximum object length is 1024 characters", InvalidKey),
        (400, "invalid", 'Provided CRC32C "a" doesn\'t match calculated CRC32C "b".', TransferInterrupted),
        (400, "invalid", "Invalid argument.", StorageError),
        (418, "new", "Something new", StorageError),
    ],
)
def test_the_answer_decides(status: int, reason: str, message: str, expected: type[MbkError]) -> None:
    body = {"error": {"code": status, "message": message, "errors": [{"reason": reason}]}}
    assert type(ours_of(answered(status, json.dumps(body)))) is expected


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "NoSuchBucket", BucketNotFound),
        (404, "NoSuchUpload", ObjectNotFound),
        (403, "AccessDenied", PermissionDenied),
        (401, "AuthenticationRequired", AuthenticationFailed),
        (400, "BadDigest", TransferInterrupted),
        (400, "InvalidPart", StorageError),
        (503, "ServiceUnavailable", StorageUnavailable),
    ],
)
def test_the_answer_of_the_xml_api_decides(status: int, code: str, expected: type[MbkError]) -> None:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>why</Message></Error>"
    assert type(ours_of(answered(status, body))) is expected


def test_a_missing_key_of_a_call_without_a_key_is_a_missing_bucket() -> None:
    assert type(translate(api.NotFound("x"), PLACE, "list")) is BucketNotFound


def test_what_breaks_inside_a_body_is_an_interrupted_transfer() -> None:
    for error in (web.ConnectionError("x"), http.ProtocolError("x"), ConnectionResetError()):
        assert type(translate(error, PLACE, "read", "some/key", streaming=True)) is TransferInterrupted


def test_an_untrusted_certificate_is_not_worth_another_try() -> None:
    error = web.SSLError(http.SSLError(ssl.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")))
    ours = translate(error, PLACE, "list")
    assert type(ours) is Unreachable
    assert "certificate" in (ours.hint or "")


def test_a_refusal_of_the_token_service_that_may_pass_is_worth_another_try() -> None:
    assert translate(auth.RefreshError("busy", retryable=True), PLACE, "list").retryable


def test_what_a_retry_gave_up_on_is_what_went_wrong() -> None:
    error = api.RetryError("x", api.Forbidden("y"))
    assert type(translate(error, PLACE, "read", "some/key")) is PermissionDenied


def test_the_reason_is_the_services_on_one_line() -> None:
    body = json.dumps({"error": {"message": "first\n  second", "errors": [{"reason": "new"}]}})
    ours = ours_of(answered(400, body))
    assert ours.facts["reason"] == "first second (new)"
    assert (ours.facts["key"], ours.facts["bucket"]) == ("some/key", "a-bucket")


def test_no_message_holds_a_url() -> None:
    pool = "HTTPConnectionPool(host='h'): Max retries exceeded with url: /o?upload_id=secret"
    for error in (
        web.ConnectionError(pool),
        web.ConnectionError(http.MaxRetryError(None, "/o?upload_id=secret", None)),  # type: ignore[arg-type]  # no pool is at hand
        web.ReadTimeout(pool),
        web.InvalidURL("http://h/o?upload_id=secret"),
        api.BadRequest("PUT http://h/o?upload_id=secret: no", response=answered(400, "no")),
    ):
        assert "secret" not in str(translate(error, PLACE, "write", "some/key"))


def test_an_error_of_the_callers_own_passes_unchanged() -> None:
    for mine in (ZeroDivisionError(), KeyboardInterrupt(), ObjectNotFound("ours already")):
        with pytest.raises(type(mine)) as caught, TRANSLATION.guard(PLACE, "read", "k"):
            raise mine
        assert caught.value is mine


def http_response() -> HTTPResponse:
    return HTTPResponse(BytesIO(b""), preload_content=False)


def answered(status: int, body: str) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response._content = body.encode()
    return response


def ours_of(response: Any) -> MbkError:
    with pytest.raises(MbkError) as caught, TRANSLATION.guard(PLACE, "read", "some/key"):
        require_success(response, 200)
    return caught.value
