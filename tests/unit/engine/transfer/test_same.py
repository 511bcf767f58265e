from __future__ import annotations

import pytest

from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.same import Same, compare
from mbk.ports.storage import ObjectInfo

MD5, OTHER = "9a0364b9e99bb480dd25e1f0284c8555", "d41d8cd98f00b204e9800998ecf8427e"


def held(etag: str | None = None, *, size: int = 7, **checksums: str) -> ObjectInfo:
    return ObjectInfo("b", size, etag, checksums=checksums)


def item(etag: str | None = None, **checksums: str) -> CopyItem:
    return CopyItem(source_key="a", key="b", size=7, etag=etag, checksums=checksums)


def test_another_size_is_another_object_whatever_else_is_told() -> None:
    assert compare(item(MD5, md5=MD5), held(MD5, size=8, md5=MD5)) is Same.NO


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (None, None),
        (MD5, None),
        (None, MD5),
        (f"{MD5}-4", OTHER),
        (MD5, f"{OTHER}-4"),
        (f"{MD5}-4", f"{OTHER}-9"),
        ("0x8DC3F1", "0x8DC4AA"),
        ("17a2-7-99", "17a3-7-98"),
        ("CJ7Q/Z=", "CK8R/Z="),
    ],
    ids=["none", "source", "destination", "parts", "parts there", "both parts", "azure", "local", "gcp"],
)
def test_etags_that_are_no_digests_leave_it_to_the_size(ours: str | None, theirs: str | None) -> None:
    assert compare(item(ours), held(theirs)) is Same.YES


def test_etags_that_are_digests_tell_the_same_from_the_doubtful() -> None:
    assert compare(item(MD5), held(f'"{MD5.upper()}"')) is Same.YES
    assert compare(item(MD5), held(OTHER)) is Same.UNSURE


def test_a_checksum_of_one_kind_decides_before_any_etag() -> None:
    assert compare(item(MD5, crc32c="aa", md5=MD5), held(OTHER, crc32c="aa")) is Same.YES
    assert compare(item(MD5, crc32c="aa"), held(MD5, crc32c="bb")) is Same.NO
    assert compare(item(MD5, crc32c="aa", md5=MD5), held(MD5, crc32c="aa", md5=OTHER)) is Same.NO
    assert compare(item(MD5, crc32c="aa"), held(OTHER, sha256="cc")) is Same.UNSURE


def test_a_listed_object_brings_what_its_storage_told() -> None:
    found = CopyItem.of(held(MD5, crc32c="aa"), "there")
    assert (found.key, found.size, found.etag, dict(found.checksums)) == ("there", 7, MD5, {"crc32c": "aa"})
    assert dict(CopyItem.of(ObjectInfo("b", 7), "there").checksums) == {}
