"""The toolbox for storages: etags and keys."""

from __future__ import annotations

import pytest

from mbk.errors import InvalidKey
from mbk.plugin.keys import fault_of_length, fault_of_path, require_key
from mbk.plugin.wire import bare
from tests.raising import raised


@pytest.mark.parametrize(("etag", "expected"), [('"abc"', "abc"), ("abc", "abc"), ("", None), (None, None)])
def test_an_etag_loses_its_quotes(etag: str | None, expected: str | None) -> None:
    assert bare(etag) == expected


def test_the_length_of_a_key_counts_bytes() -> None:
    assert fault_of_length("é" * 5, 10) == ""
    assert fault_of_length("é" * 6, 10) == "it is 12 bytes long, and must be 1 to 10"
    assert fault_of_length("", 10) == "it is 0 bytes long, and must be 1 to 10"
    assert "Unicode" in fault_of_length("\ud800", 10)


@pytest.mark.parametrize("key", ["/a", "\\a", "a\x00", "a/../b", ".", "a\x7f", "x" * 11])
def test_what_a_url_would_change_is_no_path(key: str) -> None:
    assert fault_of_path(key, 10)


@pytest.mark.parametrize("key", ["a", "a//b", "a/b/", "a/.b/..c", "ö 日"])
def test_what_passes_unchanged_is_a_path(key: str) -> None:
    assert fault_of_path(key, 10) == ""


def test_a_refused_key_names_itself_the_place_and_why() -> None:
    require_key("a", "bucket 'b'", "")
    with raised(InvalidKey, "key-invalid", key="a", place="bucket 'b'", reason="it is short"):
        require_key("a", "bucket 'b'", "it is short")
