"""What tells that an object of Milvus' storage is the one that was copied."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mbk.engine.repository.pool.identity import is_same, source_of
from mbk.engine.transfer.items import CopyItem
from mbk.model.objects import ObjectRecord

A, B = "a" * 32, "b" * 32


def item(etag: str | None = None, size: int = 3, **checksums: str) -> CopyItem:
    return CopyItem(source_key="k", key="k", size=size, etag=etag, checksums=checksums)


def recorded(then: CopyItem, digests: Mapping[str, str]) -> ObjectRecord:
    return ObjectRecord("k", then.size, "", {**digests}, source_of(then, digests))


@pytest.mark.parametrize("digests", [{}, {"xxh128": B}, {"md5": B}], ids=["none", "another kind", "an md5"])
@pytest.mark.parametrize("etag", ["17f-3-9", "a-3", A], ids=["of a file", "of parts", "like a digest"])
def test_an_etag_tells_in_its_own_place(etag: str, digests: dict[str, str]) -> None:
    entry = recorded(item(etag), digests)
    assert is_same(entry, item(etag), one_origin=True)
    assert not is_same(entry, item(etag), one_origin=False)
    assert not is_same(entry, item(f"{etag}x"), one_origin=True)
    assert not is_same(entry, item(None), one_origin=True)
    assert not is_same(entry, item(etag, size=4), one_origin=True)


@pytest.mark.parametrize("one_origin", [True, False])
def test_a_digest_tells_everywhere(one_origin: bool) -> None:
    assert is_same(recorded(item(A), {"md5": A}), item(A.upper()), one_origin=one_origin)
    assert not is_same(recorded(item(A), {"md5": A}), item(B), one_origin=one_origin)
    same = recorded(item("1", sha256=A), {"sha256": A})
    assert is_same(same, item("2", sha256=A), one_origin=one_origin)
    assert not is_same(same, item("1", sha256=B), one_origin=one_origin)


def test_a_short_checksum_tells_nothing() -> None:
    assert not is_same(
        recorded(item(None, crc32c="00"), {"crc32c": "00"}), item(None, crc32c="00"), one_origin=True
    )


def test_nothing_told_is_nothing_alike() -> None:
    assert not is_same(recorded(item(None), {}), item(None), one_origin=True)
