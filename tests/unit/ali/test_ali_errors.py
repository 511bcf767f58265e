"""Every failure of oss2 becomes one of ours, on one line, with the right advice about trying again."""

from __future__ import annotations

import inspect
from typing import Any
from xml.etree.ElementTree import ParseError

import pytest
import requests.exceptions as transport
import urllib3.exceptions as http
from oss2 import exceptions as sdk

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
from mbk_ali.errors import FOREIGN, TRANSLATION, translate

PLACE = Place("a-bucket", "oss-cn-hangzhou.aliyuncs.com:443")

WORTH_ANOTHER_TRY = {
    "InconsistentError": TransferInterrupted,
    "InvalidDigest": TransferInterrupted,
    "RequestError": StorageUnavailable,
}
LASTING = {
    "AccessDenied": PermissionDenied,
    "NoSuchBucket": BucketNotFound,
    "NoSuchKey": ObjectNotFound,
    "NoSuchUpload": ObjectNotFound,
    "PreconditionFailed": ObjectExists,
    "ObjectAlreadyExists": ObjectExists,
    "SignatureDoesNotMatch": AuthenticationFailed,
    "InvalidObjectName": InvalidKey,
    "NotImplemented": Unsupported,
    "OperationNotSupported": Unsupported,
    "InvalidArgument": StorageError,
    "MalformedXml": StorageError,
    "ClientError": StorageError,
}


def exceptions_of_the_sdk() -> list[type[Exception]]:
    return [
        kind
        for _, kind in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__ == sdk.__name__
    ]


def answered(code: str, status: int, message: str = "no") -> sdk.OssError:
    return sdk.ServerError(status, {}, b"", {"Code": code, "Message": message})


def made(kind: type[Exception]) -> Exception:
    """An instance as the SDK would raise it."""
    fixed: dict[str, tuple[Any, ...]] = {
        "ClientError": ("first\n second",),
        "RequestError": (transport.ConnectionError("broken"),),
        "InconsistentError": ("x",),
        "OpenApiFormatError": ("x",),
        "OpenApiServerError": (400, "id", "x", "Code"),
        "SelectOperationFailed": (400, "SelectOperationFailed", "x"),
        "SelectOperationClientError": ("x", "id"),
    }
    if kind.__name__ in fixed:
        return kind(*fixed[kind.__name__])
    headers = {"x-oss-next-append-position": "1"}
    status, code = getattr(kind, "status", 400), getattr(kind, "code", "")
    return kind(status, headers, b"", {"Code": code, "Message": "x"})


@pytest.mark.parametrize("kind", exceptions_of_the_sdk(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_becomes_one_of_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, FOREIGN)
    ours = translate(made(kind), PLACE, "read", "some/key")
    expected = {**WORTH_ANOTHER_TRY, **LASTING}.get(kind.__name__)
    assert type(ours).__module__ == "mbk.errors"
    assert ours.retryable == (kind.__name__ in WORTH_ANOTHER_TRY)
    assert expected is None or type(ours) is expected
    assert "\n" not in str(ours)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchBucket", 404, BucketNotFound),
        ("", 404, ObjectNotFound),
        ("", 403, PermissionDenied),
        ("UserDisable", 403, PermissionDenied),
        ("InvalidObjectState", 403, ObjectArchived),
        ("InvalidAccessKeyId", 403, AuthenticationFailed),
        ("SecurityTokenExpired", 403, AuthenticationFailed),
        ("InvalidSecurityToken", 403, AuthenticationFailed),
        ("RequestTimeTooSkewed", 403, AuthenticationFailed),
        ("FileAlreadyExists", 409, ObjectExists),
        ("QpsLimitExceeded", 503, Throttled),
        ("", 429, Throttled),
        ("RequestTimeout", 400, TransferInterrupted),
        ("", 408, TransferInterrupted),
        ("InvalidDigest", 400, TransferInterrupted),
        ("InternalError", 500, StorageUnavailable),
        ("ServiceUnavailable", 503, StorageUnavailable),
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
    for raised in (error, sdk.RequestError(error)):
        assert type(translate(raised, PLACE, "list")) is expected


@pytest.mark.parametrize(
    "error", [ParseError("x"), RuntimeError("parse xml: Key could not be found under Contents")]
)
def test_an_answer_that_cannot_be_read_is_worth_another_try(error: Exception) -> None:
    assert translate(error, PLACE, "list").retryable


def test_a_missing_key_of_a_call_without_a_key_is_a_missing_bucket() -> None:
    assert type(translate(answered("", 404), PLACE, "list")) is BucketNotFound


def test_what_breaks_inside_a_body_is_an_interrupted_transfer() -> None:
    for error in (http.ProtocolError("broken"), transport.ConnectionError("x"), TimeoutError()):
        assert type(translate(error, PLACE, "read", "k", streaming=True)) is TransferInterrupted


def test_the_message_names_key_bucket_and_endpoint_on_one_line() -> None:
    ours = translate(answered("SomethingNew", 400, "first\n  second"), PLACE, "read", "some/key")
    told = {"key": "some/key", "bucket": "a-bucket", "endpoint": "oss-cn-hangzhou.aliyuncs.com:443"}
    assert {**ours.facts, **told, "reason": "first second (SomethingNew)"} == ours.facts
    assert [fact for fact in told.values() if fact not in str(ours)] == []
    assert "\n" not in str(ours)


def test_an_error_of_the_callers_own_passes_unchanged() -> None:
    for mine in (ZeroDivisionError(), KeyboardInterrupt(), ObjectNotFound("ours already")):
        with pytest.raises(type(mine)) as caught, TRANSLATION.guard(PLACE, "read", "k"):
            raise mine
        assert caught.value is mine
