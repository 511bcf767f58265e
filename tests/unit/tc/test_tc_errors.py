"""Every failure of cos-python-sdk-v5 becomes one of ours, on one line, with the right advice about trying again."""

from __future__ import annotations

import inspect
from xml.etree.ElementTree import ParseError

import pytest
import requests.exceptions as transport
import urllib3.exceptions as http
from qcloud_cos import cos_exception as sdk
from requests.structures import CaseInsensitiveDict

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    InvalidKey,
    MbkError,
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
)
from mbk.plugin.failures import Place
from mbk_tc.errors import FOREIGN, TRANSLATION, translate

PLACE = Place("a-bucket", "cos.ap-nanjing.myqcloud.com:443")


def exceptions_of_the_sdk() -> list[type[Exception]]:
    return [
        kind
        for _, kind in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == sdk.__name__
    ]


def answered(code: str, status: int, message: str = "no") -> sdk.CosServiceError:
    """As the SDK raises it; without a code from an answer that has headers only."""
    body = (
        f"<Error><Code>{code}</Code><Message>{message}</Message><Resource>r</Resource>"
        "<RequestId>1</RequestId><TraceId>2</TraceId></Error>"
    )
    return sdk.CosServiceError("GET", body if code else CaseInsensitiveDict(Server="cos"), status)


def broken(error: Exception) -> sdk.CosClientError:
    """As the SDK raises it while it handles what the transport raised."""
    try:
        try:
            raise error
        except OSError as exc:
            raise sdk.CosClientError(str(exc))  # noqa: B904  the SDK does not say what it is from
    except sdk.CosClientError as exc:
        return exc


MADE = {
    "CosException": (lambda: sdk.CosException("x\ny"), StorageError),
    "CosClientError": (lambda: sdk.CosClientError("Key is required"), StorageError),
    "CosServiceError": (lambda: answered("NoSuchKey", 404), ObjectNotFound),
}


@pytest.mark.parametrize("kind", exceptions_of_the_sdk(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_becomes_one_of_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, FOREIGN)
    make, expected = MADE[kind.__name__]
    ours = translate(make(), PLACE, "read", "some/key")
    assert type(ours) is expected
    assert not ours.retryable
    assert "\n" not in str(ours)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchBucket", 404, BucketNotFound),
        ("NoSuchKey", 404, ObjectNotFound),
        ("NoSuchUpload", 404, ObjectNotFound),
        ("NoSuchResource", 404, ObjectNotFound),
        ("", 404, ObjectNotFound),
        ("", 403, PermissionDenied),
        ("AccessDenied", 403, PermissionDenied),
        ("InvalidObjectState", 403, ObjectArchived),
        ("InvalidAccessKeyId", 403, AuthenticationFailed),
        ("SignatureDoesNotMatch", 403, AuthenticationFailed),
        ("ExpiredToken", 400, AuthenticationFailed),
        ("RequestTimeTooSkewed", 403, AuthenticationFailed),
        ("FileAlreadyExists", 409, ObjectExists),
        ("SomethingNew", 409, ObjectExists),
        ("PathConflict", 409, InvalidKey),
        ("KeyTooLong", 400, InvalidKey),
        ("SlowDown", 503, Throttled),
        ("", 429, Throttled),
        ("RequestTimeout", 400, TransferInterrupted),
        ("", 408, TransferInterrupted),
        ("BadDigest", 400, TransferInterrupted),
        ("InternalError", 500, StorageUnavailable),
        ("InternalError", 200, StorageUnavailable),
        ("ServiceUnavailable", 503, StorageUnavailable),
        ("NotImplemented", 501, Unsupported),
        ("QuotaExceeded", 403, StorageFull),
        ("SomethingNew", 403, PermissionDenied),
        ("SomethingNew", 502, StorageUnavailable),
        ("SomethingNew", 400, StorageError),
    ],
)
def test_the_code_of_the_service_decides(code: str, status: int, expected: type[MbkError]) -> None:
    assert type(translate(answered(code, status), PLACE, "read", "some/key")) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (transport.ConnectTimeout("x"), StorageUnavailable),
        (transport.ReadTimeout("x"), StorageUnavailable),
        (transport.ChunkedEncodingError("x"), StorageUnavailable),
        (transport.ProxyError("x"), StorageUnavailable),
        (transport.SSLError("handshake"), StorageUnavailable),
        (transport.SSLError("CERTIFICATE_VERIFY_FAILED"), Unreachable),
        (transport.TooManyRedirects("x"), StorageError),
        (transport.InvalidURL("x"), StorageError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_the_transport_says_decides(error: Exception, expected: type[MbkError]) -> None:
    for raised in (error, broken(error)):
        assert type(translate(raised, PLACE, "list")) is expected


@pytest.mark.parametrize("error", [ParseError("x"), SyntaxError("x"), KeyError("UploadId")])
def test_an_answer_that_cannot_be_read_is_worth_another_try(error: Exception) -> None:
    assert translate(error, PLACE, "list").retryable


def test_an_error_document_that_the_sdk_cannot_read_is_read() -> None:
    error = sdk.CosServiceError("GET", "<Error><Code>SlowDown</Code><Message>wait</Message></Error>", 503)
    ours = translate(error, PLACE, "list")
    assert type(ours) is Throttled
    assert ours.facts["reason"] == "wait (SlowDown)"


def test_a_missing_key_of_a_call_without_a_key_is_a_missing_bucket() -> None:
    assert type(translate(answered("", 404), PLACE, "list")) is BucketNotFound


def test_what_breaks_inside_a_body_is_an_interrupted_transfer() -> None:
    for error in (http.ProtocolError("broken"), transport.ConnectionError("x"), TimeoutError()):
        assert type(translate(error, PLACE, "read", "k", streaming=True)) is TransferInterrupted


def test_the_message_names_key_bucket_and_endpoint_on_one_line() -> None:
    ours = translate(answered("SomethingNew", 400, "first\n  second"), PLACE, "read", "some/key")
    told = {"key": "some/key", "bucket": "a-bucket", "endpoint": "cos.ap-nanjing.myqcloud.com:443"}
    assert {**ours.facts, **told, "reason": "first second (SomethingNew)"} == ours.facts
    assert [fact for fact in told.values() if fact not in str(ours)] == []
    assert "\n" not in str(ours)


def test_an_error_of_the_callers_own_passes_unchanged() -> None:
    for mine in (ZeroDivisionError(), KeyboardInterrupt(), ObjectNotFound("ours already")):
        with pytest.raises(type(mine)) as caught, TRANSLATION.guard(PLACE, "read", "k"):
            raise mine
        assert caught.value is mine
