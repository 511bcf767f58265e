"""Every failure of a request, of the service and of google-auth becomes one of ours, on one line, with the right advice."""

from __future__ import annotations

import inspect
import json
import ssl

import pytest
import requests
from google.auth import exceptions as auth

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
)
from mbk.plugin.failures import Place
from mbk.plugin.http import ConnectionLost, NotConnected
from mbk_gcp.credentials import failure
from mbk_gcp.errors import TRANSLATION, refusal, translate

PLACE = Place("a-bucket", "localhost:4443")
WORTH_ANOTHER_TRY = (auth.TransportError, auth.TimeoutError, auth.ResponseError)


def exceptions_of_google_auth() -> list[type[Exception]]:
    found = {
        kind
        for _, kind in inspect.getmembers(auth, inspect.isclass)
        if issubclass(kind, auth.GoogleAuthError)
    }
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", exceptions_of_google_auth(), ids=lambda kind: kind.__name__)
def test_every_exception_of_google_auth_becomes_one_of_ours(kind: type[Exception]) -> None:
    ours = told(failure(kind("first\nand more")))
    expected = StorageUnavailable if issubclass(kind, WORTH_ANOTHER_TRY) else AuthenticationFailed
    assert type(ours) is expected
    assert "first and more" in str(ours)


def told(exc: Exception) -> MbkError:
    with pytest.raises(MbkError) as caught, TRANSLATION.guard(PLACE, "list"):
        raise exc
    return caught.value


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
    assert type(ours_of(status, json.dumps(body))) is expected


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
    assert type(ours_of(status, body)) is expected


def test_a_missing_key_of_a_call_without_a_key_is_a_missing_bucket() -> None:
    assert type(translate(refusal(404, "x"), PLACE, "list")) is BucketNotFound


def test_what_breaks_inside_a_body_is_an_interrupted_transfer() -> None:
    error = ConnectionLost("the connection was closed amid the answer")
    assert type(translate(error, PLACE, "read", "some/key", streaming=True)) is TransferInterrupted


def test_an_untrusted_certificate_is_not_worth_another_try() -> None:
    error = NotConnected()
    error.__cause__ = ssl.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")
    ours = translate(error, PLACE, "list")
    assert type(ours) is Unreachable
    assert "certificate" in (ours.hint or "")


def test_a_refusal_of_the_token_service_that_may_pass_is_worth_another_try() -> None:
    assert told(failure(auth.RefreshError("busy", retryable=True))).retryable


def test_what_hinders_a_token_is_told_without_addresses() -> None:
    pool = "HTTPConnectionPool(host='h'): Max retries exceeded with url: /token?assertion=secret"
    ours = told(failure(auth.TransportError(requests.ConnectionError(pool))))
    assert ours.retryable
    assert "secret" not in str(ours)


def test_the_reason_is_the_services_on_one_line() -> None:
    body = json.dumps({"error": {"message": "first\n  second", "errors": [{"reason": "new"}]}})
    ours = ours_of(400, body)
    assert ours.facts["reason"] == "first second (new)"
    assert (ours.facts["key"], ours.facts["bucket"]) == ("some/key", "a-bucket")


def test_an_error_of_the_callers_own_passes_unchanged() -> None:
    for mine in (ZeroDivisionError(), KeyboardInterrupt(), ObjectNotFound("ours already")):
        with pytest.raises(type(mine)) as caught, TRANSLATION.guard(PLACE, "read", "k"):
            raise mine
        assert caught.value is mine


def ours_of(status: int, body: str) -> MbkError:
    with pytest.raises(MbkError) as caught, TRANSLATION.guard(PLACE, "read", "some/key"):
        raise refusal(status, body)
    return caught.value
