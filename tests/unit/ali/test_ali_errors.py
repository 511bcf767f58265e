"""What the service and the way to it say becomes one of our errors, on one line, with the right advice about trying again."""

from __future__ import annotations

import pytest

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
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
    UsageError,
)
from mbk.plugin.failures import Place
from mbk.plugin.http import AnswerTimedOut, BadProxy, ConnectionLost, ConnectTimedOut, NoProxy
from mbk.plugin.refusals import Refused
from mbk_ali.errors import FOREIGN, TRANSLATION, translate

PLACE = Place("a-bucket", "oss-cn-hangzhou.aliyuncs.com:443")


def answered(code: str, status: int, message: str = "no") -> Refused:
    return Refused(status, code, message if code else "")


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
        (ConnectTimedOut("x"), StorageUnavailable),
        (AnswerTimedOut("x"), StorageUnavailable),
        (ConnectionLost("x"), StorageUnavailable),
        (NoProxy("x"), StorageUnavailable),
        (BadProxy("x"), UsageError),
        (Refused(301, "TooManyRedirects", "x"), StorageError),
        (ValueError("x"), StorageError),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_what_the_transport_says_decides(error: Exception, expected: type[MbkError]) -> None:
    assert issubclass(type(error), FOREIGN)
    assert type(translate(error, PLACE, "list")) is expected


def test_a_missing_key_of_a_call_without_a_key_is_a_missing_bucket() -> None:
    assert type(translate(answered("", 404), PLACE, "list")) is BucketNotFound


def test_what_breaks_inside_a_body_is_an_interrupted_transfer() -> None:
    for error in (ConnectionLost("broken"), AnswerTimedOut("x"), TimeoutError()):
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
