"""The toolbox for storages over an SDK: its exceptions as mbk's errors."""

from __future__ import annotations

import pytest

from mbk.errors import (
    BucketNotFound,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageUnavailable,
    TransferInterrupted,
    Unreachable,
    Unsupported,
)
from mbk.plugin.failures import Place, Translation, WireError, is_lasting, kind_of_class, one_line
from tests.raising import raised

PLACE = Place("b", "acme:443")


class SdkError(Exception):
    def __init__(self, kind: type[MbkError], text: str = "it broke") -> None:
        super().__init__(text)
        self.kind = kind


def kind(exc: BaseException) -> type[MbkError]:
    return exc.kind if isinstance(exc, SdkError) else StorageUnavailable


TRANSLATION = Translation(
    foreign=(SdkError, OSError),
    kind_of=kind,
    reason_of=lambda exc: one_line(str(exc)),
    hint_of=lambda exc: "ask Acme" if "broke" in str(exc) else None,
    is_of_upload=lambda exc: "upload" in str(exc),
)


@pytest.mark.parametrize(
    ("cause", "key", "expected", "code", "reason", "hint"),
    [
        (SdkError(BucketNotFound), "k", BucketNotFound, "bucket-missing", "it broke", "create it, or check bucketName"),
        (SdkError(ObjectNotFound), "k", ObjectNotFound, "object-missing", "it broke", "ask Acme"),
        (SdkError(ObjectNotFound), None, BucketNotFound, "bucket-missing", "it broke", "create it, or check bucketName"),
        (SdkError(ObjectNotFound, "no upload"), "k", ObjectNotFound, "object-not-found", "no upload", None),
        (SdkError(ObjectExists), "k", ObjectExists, "object-exists", "it broke", "ask Acme"),
        (SdkError(PermissionDenied), "k", PermissionDenied, "permission-denied", "it broke", "ask Acme"),
        (SdkError(StorageError), None, StorageError, "storage-error", "it broke", "ask Acme"),
        (OSError("gone"), "k", StorageUnavailable, "storage-unavailable", "gone", None),
    ],
)  # fmt: skip
def test_an_exception_is_told_in_the_words_of_all_storages(
    cause: Exception, key: str | None, expected: type[MbkError], code: str, reason: str, hint: str | None
) -> None:
    facts = {"bucket": "b", "endpoint": "acme:443", "key": key, "doing": "read", "reason": reason}
    with raised(expected, code, **facts) as caught, TRANSLATION.guard(PLACE, "read", key):
        raise cause
    assert caught.value.hint == hint
    assert caught.value.__cause__ is cause


def test_a_service_without_tls_is_told_what_to_set() -> None:
    with pytest.raises(Unreachable) as caught, TRANSLATION.guard(PLACE, "read"):
        raise SdkError(Unreachable)
    assert "useSSL" in (caught.value.hint or "")


def test_an_answer_that_is_wrong_is_told_like_an_exception() -> None:
    facts = {"key": "k", "tier": "Warm", "reason": "no tier Warm"}
    with raised(Unsupported, "tier-unknown", **facts), TRANSLATION.guard(PLACE, "write", "k"):
        raise WireError(Unsupported, "no tier {tier}", code="tier-unknown", tier="Warm")


def test_inside_a_body_a_lost_service_is_a_broken_transfer() -> None:
    with pytest.raises(TransferInterrupted), TRANSLATION.guard(PLACE, "read", "k", streaming=True):
        raise OSError("gone")


@pytest.mark.parametrize("passing", [ZeroDivisionError(), StorageError("told already")])
def test_what_is_not_the_sdk_s_passes_as_it_is(passing: Exception) -> None:
    with pytest.raises(type(passing)) as caught, TRANSLATION.guard(PLACE, "read", "k"):
        raise passing
    assert caught.value is passing


def test_the_nearest_ancestor_decides_the_kind() -> None:
    known: dict[type[BaseException], type[MbkError]] = {
        OSError: StorageUnavailable,
        TimeoutError: TransferInterrupted,
    }
    assert kind_of_class(ConnectionError(), known) is StorageUnavailable
    assert kind_of_class(TimeoutError(), known) is TransferInterrupted
    assert kind_of_class(KeyError(), known) is StorageError


def test_a_certificate_that_is_not_trusted_stays_so() -> None:
    assert is_lasting(OSError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"))
    assert not is_lasting(OSError("connection reset"))


def test_a_reason_is_one_short_line() -> None:
    assert one_line("a\n  b ") == "a b"
    assert len(one_line("x" * 1000)) == 300
