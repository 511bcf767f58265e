"""The toolbox for storages that upload in parts: one upload's bookkeeping, and the keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytest

from mbk.errors import InvalidKey, ObjectNotFound, StorageError, Unsupported
from mbk.plugin.keys import fault_of_length, fault_of_path, require_key
from mbk.plugin.uploads import Part, PartsUpload, bare
from mbk.ports.storage import ObjectInfo, Storage


class Bucket:
    """The part of a storage that an upload asks: what is visible now."""

    def __init__(self, found: ObjectInfo | None = None) -> None:
        self.found = found

    def stat(self, key: str) -> ObjectInfo:
        if self.found is None:
            raise ObjectNotFound(f"no object {key!r}")
        return self.found


class Upload(PartsUpload):
    """A plugin author's upload to a service that can be told what to answer."""

    def __init__(self, bucket: Bucket, answers: list[Exception | None] | None = None) -> None:
        super().__init__(cast(Storage, bucket), "a/key", where="bucket 'b' at acme:443")
        self.answers = answers or []
        self.completed: list[int] = []
        self.aborted = 0
        self.abort_error: Exception | None = None

    def put_part(self, number: int, data: bytes) -> None:
        self.remember(number, f"etag-{number}", len(data))

    def copy_part(self, number: int, source: Any, key: str, *, offset: int, length: int) -> None:
        raise Unsupported("no part copy")

    def send_complete(self, parts: Mapping[int, Part]) -> str | None:
        self.completed = list(parts)
        answer = self.answers.pop(0) if self.answers else None
        if answer:
            raise answer
        return "whole-2"

    def send_abort(self) -> None:
        self.aborted += 1
        if self.abort_error:
            raise self.abort_error


def filled(upload: Upload) -> Upload:
    upload.put_part(2, b"de")
    upload.put_part(1, b"abc")
    return upload


def test_parts_of_any_order_are_completed_in_theirs() -> None:
    with filled(Upload(Bucket())) as upload:
        assert upload.complete() == ObjectInfo("a/key", 5, "whole-2")
    assert (upload.completed, upload.aborted) == ([1, 2], 0)


def test_an_upload_without_parts_names_the_object_and_the_place() -> None:
    with pytest.raises(StorageError, match=r"'a/key' to bucket 'b' at acme:443 has no parts"):
        Upload(Bucket()).complete()


def test_leaving_without_completing_aborts_once() -> None:
    with filled(Upload(Bucket())) as upload:
        pass
    upload.abort()
    assert upload.aborted == 1


def test_the_first_error_is_the_one_that_is_told() -> None:
    upload = filled(Upload(Bucket()))
    upload.abort_error = StorageError("cannot abort")
    with pytest.raises(ZeroDivisionError), upload:
        raise ZeroDivisionError


def test_an_upload_that_is_gone_is_aborted() -> None:
    upload = filled(Upload(Bucket()))
    upload.abort_error = ObjectNotFound("no such upload")
    upload.abort()
    assert upload.aborted == 1


LOST = [StorageError("the answer was lost"), ObjectNotFound("no such upload")]


def test_completing_again_after_a_lost_answer_finds_the_object() -> None:
    whole = ObjectInfo("a/key", 5, "whole-2")
    upload = filled(Upload(Bucket(whole), answers=list(LOST)))
    with pytest.raises(StorageError, match="lost"):
        upload.complete()
    assert upload.complete() == whole


@pytest.mark.parametrize("found", [ObjectInfo("a/key", 4, "whole-2"), ObjectInfo("a/key", 5, "other")])
def test_but_no_other_object_is_taken_for_it(found: ObjectInfo) -> None:
    upload = filled(Upload(Bucket(found), answers=list(LOST)))
    with pytest.raises(StorageError, match="lost"):
        upload.complete()
    with pytest.raises(ObjectNotFound, match="no such upload"):
        upload.complete()


def test_a_first_complete_of_a_missing_upload_is_no_success() -> None:
    upload = filled(
        Upload(Bucket(ObjectInfo("a/key", 5, "whole-2")), answers=[ObjectNotFound("no such upload")])
    )
    with pytest.raises(ObjectNotFound):
        upload.complete()


@pytest.mark.parametrize(("etag", "expected"), [('"abc"', "abc"), ("abc", "abc"), ("", None), (None, None)])
def test_an_etag_loses_its_quotes(etag: str | None, expected: str | None) -> None:
    assert bare(etag) == expected


def test_the_length_of_a_key_counts_bytes() -> None:
    assert fault_of_length("é" * 5, 10) == ""
    assert fault_of_length("é" * 6, 10) == "it has 12 bytes, allowed are 1 to 10"
    assert fault_of_length("", 10) == "it has 0 bytes, allowed are 1 to 10"
    assert "Unicode" in fault_of_length("\ud800", 10)


@pytest.mark.parametrize("key", ["/a", "\\a", "a\x00", "a/../b", ".", "a\x7f", "x" * 11])
def test_what_a_url_would_change_is_no_path(key: str) -> None:
    assert fault_of_path(key, 10)


@pytest.mark.parametrize("key", ["a", "a//b", "a/b/", "a/.b/..c", "ö 日"])
def test_what_passes_unchanged_is_a_path(key: str) -> None:
    assert fault_of_path(key, 10) == ""


def test_a_refused_key_names_itself_the_place_and_why() -> None:
    require_key("a", "bucket 'b'", "")
    with pytest.raises(InvalidKey, match="'a' cannot be a key in bucket 'b': it is short"):
        require_key("a", "bucket 'b'", "it is short")
