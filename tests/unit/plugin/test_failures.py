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
)
from mbk.plugin.failures import (
    Place,
    Translation,
    WireError,
    is_lasting,
    kind_of_class,
    one_line,
    words_of_system,
)
from tests.raising import raised as raised_by

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
    ("raised", "key", "expected", "message", "hint"),
    [
        (SdkError(BucketNotFound), "k", BucketNotFound, "no bucket 'b' at acme:443", "create it"),
        (SdkError(ObjectNotFound), "k", ObjectNotFound, "no object 'k' in bucket 'b' at acme:443", "ask Acme"),
        (SdkError(ObjectNotFound), None, BucketNotFound, "no bucket 'b' at acme:443", "create it"),
        (SdkError(ObjectNotFound, "no upload"), "k", ObjectNotFound, "cannot read 'k' in bucket 'b' at acme:443: no", ""),
        (SdkError(ObjectExists), "k", ObjectExists, "there is an object 'k' in bucket 'b' at acme:443", "ask Acme"),
        (SdkError(PermissionDenied), "k", PermissionDenied, "cannot read 'k' in bucket 'b' at acme:443: it broke", "ask"),
        (SdkError(StorageError), None, StorageError, "cannot read bucket 'b' at acme:443: it broke", "ask Acme"),
        (SdkError(Unreachable), None, Unreachable, "cannot read bucket 'b' at acme:443: it broke", "check useSSL"),
        (OSError("gone"), "k", StorageUnavailable, "cannot read 'k' in bucket 'b' at acme:443: gone", ""),
    ],
)  # fmt: skip
def test_an_exception_is_told_in_the_words_of_all_storages(
    raised: Exception, key: str | None, expected: type[MbkError], message: str, hint: str
) -> None:
    with pytest.raises(MbkError) as caught, TRANSLATION.guard(PLACE, "read", key):
        raise raised
    assert type(caught.value) is expected
    assert caught.value.message.startswith(message)
    assert (caught.value.hint or "").startswith(hint)
    assert caught.value.__cause__ is raised


def test_inside_a_body_a_lost_service_is_a_broken_transfer() -> None:
    with pytest.raises(TransferInterrupted), TRANSLATION.guard(PLACE, "read", "k", streaming=True):
        raise OSError("gone")


@pytest.mark.parametrize("raised", [ZeroDivisionError(), StorageError("told already")])
def test_what_is_not_the_sdk_s_passes_as_it_is(raised: Exception) -> None:
    with pytest.raises(type(raised)) as caught, TRANSLATION.guard(PLACE, "read", "k"):
        raise raised
    assert caught.value is raised


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


def test_facts_say_where_and_why() -> None:
    place = Place("b", "acme:443", "an-account")
    with raised_by(BucketNotFound, "bucket-missing", bucket="b", endpoint="acme:443", account="an-account"):
        raise TRANSLATION.error(SdkError(BucketNotFound), place, "list")
    with raised_by(ObjectNotFound, "object-missing", key="k", bucket="b", doing="read"):
        raise TRANSLATION.error(SdkError(ObjectNotFound), place, "read", "k")
    with raised_by(PermissionDenied, "permission-denied", key="k", reason="it broke"):
        raise TRANSLATION.error(SdkError(PermissionDenied), place, "read", "k")


def test_what_a_wire_tells_itself_keeps_its_code_and_facts() -> None:
    error = WireError(StorageError, "{came} of {sent} came", code="odd", hint="send {sent}", came=3, sent=4)
    facts = {"reason": "3 of 4 came", "came": 3, "key": "k", "bucket": "b"}
    with raised_by(StorageError, "odd", **facts) as caught, TRANSLATION.guard(PLACE, "read", "k"):
        raise error
    assert str(caught.value) == "cannot read 'k' in bucket 'b' at acme:443: 3 of 4 came: send 4"


def test_the_words_of_the_system_are_found_below_those_of_libraries() -> None:
    inner = OSError(111, "Connection refused")
    middle = RuntimeError("<object at 0x1>: failed", inner)
    outer = RuntimeError("pool: retries")
    outer.__cause__ = middle
    assert words_of_system(outer) == "Connection refused"
    assert words_of_system(RuntimeError("<object at 0x1>: it timed out")) == "it timed out"
    assert words_of_system(None) == ""
