"""Listings that are kept on disk say what the storage said."""

from __future__ import annotations

import pytest

from mbk.engine.repository.keyed import ListedObjects
from mbk.ports.storage import ObjectInfo

BELOW = len("backup/nightly/")


def entry(name: str, size: int = 3, **told: object) -> ObjectInfo:
    return ObjectInfo(f"backup/nightly/{name}", size, **told)


def test_a_listing_is_asked_by_relative_keys_and_answers_as_the_storage_did() -> None:
    told = [
        entry("binlogs/1", etag='"abc"'),
        entry("binlogs/line\nfeed ü", 0, checksums={"crc32c": "00000000"}),
        entry("binlogs/3"),
    ]
    with ListedObjects(told, below=BELOW) as listed:
        assert [listed[item.key[BELOW:]] for item in told] == told
        assert [*listed] == [item.key[BELOW:] for item in told]
        assert listed.get("binlogs/4") is None


def test_what_is_listed_twice_counts_once_as_the_last_listing_tells_it() -> None:
    with ListedObjects([entry("1"), entry("2"), entry("1", 4)], below=BELOW) as listed:
        assert len(listed) == 2
        assert listed["1"].size == 4
        assert sorted(listed.checklist().left()) == ["1", "2"]


def test_an_empty_listing_has_nothing() -> None:
    with ListedObjects([], below=BELOW) as listed:
        assert [*listed] == []
        with pytest.raises(KeyError):
            listed["1"]
