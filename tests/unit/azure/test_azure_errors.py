"""Every failure of the SDK becomes one of ours, on one line, with the right advice about trying again."""

from __future__ import annotations

import inspect
import ssl
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import azure.core.exceptions as core
import azure.identity as identity
import pytest
import requests
import urllib3.exceptions as http
from azure.storage.blob import PartialBatchErrorException, StorageErrorCode
from azure.storage.blob._shared.authentication import AzureSigningError

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
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unreachable,
    Unsupported,
)
from mbk.plugin.failures import Place
from mbk.plugin.refusals import Refused
from mbk.plugin.wire import WireError
from mbk_azure.errors import masked
from mbk_azure.sdk_errors import FOREIGN, TRANSLATION, scrub, translate

PLACE = Place("a-container", "core.windows.net:443", "an-account")
SIGNED = "/a-container/key?se=2030-01-01&sp=r&sig=c2VjcmV0%2Bsecret%3D"

WORTH_ANOTHER_TRY = {
    "DecodeError": TransferInterrupted,
    "IncompleteReadError": TransferInterrupted,
    "ServiceRequestError": StorageUnavailable,
    "ServiceRequestTimeoutError": StorageUnavailable,
    "ServiceResponseError": StorageUnavailable,
    "ServiceResponseTimeoutError": StorageUnavailable,
    "StreamClosedError": TransferInterrupted,
}
LASTING = {
    "AuthenticationRequiredError": AuthenticationFailed,
    "AzureSigningError": AuthenticationFailed,
    "ClientAuthenticationError": AuthenticationFailed,
    "CredentialUnavailableError": AuthenticationFailed,
    "AzureError": StorageError,
    "SerializationError": StorageError,
}

RETRYABLE_CODES = {
    "AccountBeingCreated",
    "ContainerBeingDeleted",
    "DestinationPathIsBeingDeleted",
    "FilesystemBeingDeleted",
    "InternalError",
    "InvalidBlockList",
    "InvalidMd5",
    "Md5Mismatch",
    "OperationTimedOut",
    "PendingCopyOperation",
    "ServerBusy",
    "SourcePathIsBeingDeleted",
    "SystemInUse",
}


def exceptions_of_the_sdk() -> list[type[BaseException]]:
    found = [
        kind
        for module in (core, identity)
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, Exception) and kind.__module__.startswith("azure.")
    ]
    return [*found, PartialBatchErrorException, AzureSigningError]


def made(kind: Any) -> BaseException:
    """An instance, from whatever the class wants: nothing, a message, an answer, the scopes of a token."""
    answer = SimpleNamespace(request="GET", status_code=400, reason="no", headers={}, text=lambda: "")
    attempts: list[Any] = [
        lambda: kind(),
        lambda: kind("x"),
        lambda: kind("x", None, []),
        lambda: kind(scopes=["x"]),
        lambda: kind(answer),
    ]
    for attempt in attempts:
        with suppress(TypeError, AttributeError):
            error: BaseException = attempt()
            return error
    raise AssertionError(f"{kind} cannot be made")


def answered(code: str, status: int, message: str = "no") -> Refused:
    return Refused(status, code, message)


def answered_to_the_sdk(code: str, status: int, message: str = "no") -> core.HttpResponseError:
    error = core.HttpResponseError(message=message)
    error.status_code = status
    error.error_code = code  # type: ignore[attr-defined]  # as the storage SDK does
    return error


@pytest.mark.parametrize("kind", exceptions_of_the_sdk(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_sdk_becomes_one_of_ours(kind: type[BaseException]) -> None:
    assert issubclass(kind, FOREIGN)
    ours = translate(made(kind), PLACE, "read", "some/key")
    assert type(ours) is {**WORTH_ANOTHER_TRY, **LASTING}.get(kind.__name__, StorageError)
    assert ours.retryable == (kind.__name__ in WORTH_ANOTHER_TRY)
    assert "\n" not in str(ours)


@pytest.mark.parametrize("code", StorageErrorCode, ids=lambda code: code.value)
def test_every_code_of_the_service_becomes_one_of_ours(code: StorageErrorCode) -> None:
    for error in (answered(code.value, 400), answered_to_the_sdk(code.value, 400)):
        ours = translate(error, PLACE, "read", "some/key")
        assert type(ours).__module__ == "mbk.errors"
        assert ours.retryable == (code.value in RETRYABLE_CODES)
        assert "an-account" in str(ours)
        assert "a-container" in str(ours)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ContainerNotFound", 404, BucketNotFound),
        ("BlobNotFound", 404, ObjectNotFound),
        ("", 404, ObjectNotFound),
        ("AuthenticationFailed", 403, AuthenticationFailed),
        ("NoAuthenticationInformation", 401, AuthenticationFailed),
        ("", 401, AuthenticationFailed),
        ("AuthorizationPermissionMismatch", 403, PermissionDenied),
        ("KeyBasedAuthenticationNotPermitted", 403, PermissionDenied),
        ("LeaseIdMissing", 412, PermissionDenied),
        ("BlobArchived", 409, ObjectArchived),
        ("BlobBeingRehydrated", 409, ObjectArchived),
        ("SomethingNew", 403, PermissionDenied),
        ("BlobAlreadyExists", 409, ObjectExists),
        ("ConditionNotMet", 412, ObjectExists),
        ("ServerBusy", 503, Throttled),
        ("SomethingNew", 429, Throttled),
        ("OperationTimedOut", 500, StorageUnavailable),
        ("SomethingNew", 502, StorageUnavailable),
        ("Md5Mismatch", 400, TransferInterrupted),
        ("InvalidUri", 400, InvalidKey),
        ("NotImplemented", 501, Unsupported),
        ("CopyAcrossAccountsNotSupported", 409, Unsupported),
        ("InvalidBlobOrBlock", 400, StorageError),
        ("SomethingNew", 400, StorageError),
        ("CannotVerifyCopySource", 404, ObjectNotFound),
        ("CannotVerifyCopySource", 403, PermissionDenied),
        ("CannotVerifyCopySource", 401, PermissionDenied),
        ("CannotVerifyCopySource", 409, Unsupported),
        ("CannotVerifyCopySource", 500, StorageUnavailable),
    ],
)
def test_the_code_of_the_service_decides(code: str, status: int, expected: type[MbkError]) -> None:
    for error in (answered(code, status), answered_to_the_sdk(code, status)):
        assert type(translate(error, PLACE, "read", "some/key")) is expected


def test_a_missing_object_of_a_call_without_a_key_is_a_missing_container() -> None:
    assert type(translate(answered("ResourceNotFound", 404), PLACE, "list")) is BucketNotFound


def test_a_signature_that_an_emulator_refuses_is_no_missing_right() -> None:
    refused = answered("AuthorizationFailure", 403, "Server failed to authenticate the request.")
    assert type(translate(refused, PLACE, "list")) is AuthenticationFailed
    assert type(translate(answered("AuthorizationFailure", 403), PLACE, "list")) is PermissionDenied


def test_an_untrusted_certificate_is_not_worth_another_try() -> None:
    cause = requests.exceptions.SSLError(ssl.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
    ours = translate(core.ServiceRequestError(str(cause), error=cause), PLACE, "list")
    assert type(ours) is Unreachable
    assert "certificate" in (ours.hint or "")


def test_the_message_is_the_first_line_of_the_services() -> None:
    text = "Server failed.\nRequestId:1\nTime:2030-01-01"
    ours = translate(answered_to_the_sdk("SomethingNew", 400, text), PLACE, "read", "some/key")
    assert ours.facts["reason"] == "Server failed. (SomethingNew)"


def test_an_error_of_the_callers_own_passes_unchanged() -> None:
    for mine in (ZeroDivisionError(), KeyboardInterrupt(), ObjectNotFound("ours already")):
        with pytest.raises(type(mine)) as caught:
            _raise(mine)
        assert caught.value is mine


def test_signatures_are_taken_out_of_the_whole_chain() -> None:
    deepest = http.NewConnectionError(None, f"refused {SIGNED}")  # type: ignore[arg-type]  # no connection is needed
    middle = requests.exceptions.ConnectionError(http.MaxRetryError(None, SIGNED, deepest))  # type: ignore[arg-type]  # nor a pool
    outer = core.ServiceRequestError(f"failed {SIGNED}", error=middle)
    outer.__cause__ = middle
    scrub(outer)
    for error in (outer, middle, middle.args[0], deepest):
        assert "secret" not in f"{error} {error!r} {error.args}"
    assert "sp=r&sig=***" in str(outer)


def test_signatures_are_taken_out_of_what_the_wire_tells_itself() -> None:
    cause = core.ServiceRequestError(f"failed {SIGNED}")
    error = WireError(TransferInterrupted, "it broke")
    error.__cause__ = cause
    with pytest.raises(TransferInterrupted) as caught:
        _raise(error)
    assert caught.value.__cause__ is cause
    assert "secret" not in f"{cause} {cause!r} {cause.args}"


def test_masking_leaves_the_rest_of_a_url() -> None:
    assert masked("GET /c?sig=abc%2F&se=1 HTTP/1.1") == "GET /c?sig=***&se=1 HTTP/1.1"
    assert masked("design=3 and nothing else") == "design=3 and nothing else"


def _raise(error: BaseException) -> None:
    with TRANSLATION.guard(PLACE, "read", "some/key"):
        raise error
