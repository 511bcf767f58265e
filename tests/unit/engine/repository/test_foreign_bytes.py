"""Whatever bytes lie where a backup's metadata should be: one error that names the file, never one of a decoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mbk.engine.repository.codec import decode, decode_full, decode_levels, decode_tree
from mbk.engine.runtime.decoding import Undecodable, decoded
from mbk.errors import InvalidBackup
from mbk.model.manifest import Journal, Manifest
from mbk.model.records import BackupHead
from tests.fakes.world import World
from tests.raising import raised

BOMBS = {
    "empty": b"",
    "not JSON": b"7 x",
    "cut off": b'{"name":"nigh',
    "not text": b"\xff\xfe\x00{}",
    "half a surrogate": b'{"name":"\\ud800"}',
    "a list too deep": b"[" * 100_000,
    "objects too deep": b'{"a":' * 100_000,
    "unknown key too deep": b'{"name":"n","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "null beside a deep one": b'{"size":null,"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    "a number of 100,000 digits": b'{"size":' + b"9" * 100_000 + b"}",
    "an exponent": b'{"size":1e999999999}',
    "another form": b'{"name":7,"id":[],"collection_backups":"x","size":"1"}',
    "a list": b"[]",
    "a null": b"null",
}


def outcome(call: Callable[[], object]) -> Any:
    """What the call returns, or its error."""
    try:
        return call()
    except InvalidBackup as error:
        return error


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_no_bytes_raise_anything_but_an_invalid_backup(data: bytes) -> None:
    for kind in (Manifest, Journal, BackupHead):
        error = outcome(lambda kind=kind: decode(data, kind, where="meta/x.json"))
        assert not isinstance(error, InvalidBackup) or error.facts["key"] == "meta/x.json"
    with pytest.raises(InvalidBackup):
        decode_full(data, where="meta/full_meta.json")
    with pytest.raises(InvalidBackup):
        decode_levels(lambda file: data, where="meta/")


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_tree_is_a_tree_or_an_invalid_backup(data: bytes) -> None:
    made = outcome(lambda: decode_tree(data, where="meta/full_meta.json"))
    assert isinstance(made, dict) or made.code == "metadata-damaged"


def test_what_is_json_of_another_form_is_told_from_what_is_none() -> None:
    for data, is_json in ((b'{"id":[]}', True), (b'{"id" x', False), (BOMBS["unknown key too deep"], False)):
        with pytest.raises(Undecodable) as caught:
            decoded(data, Manifest)
        assert caught.value.is_json is is_json


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_backup_with_such_metadata_is_refused_by_name(data: bytes) -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(3))
    world.create()
    world.backup.write("backup/nightly/meta/full_meta.json", [data])
    with raised(InvalidBackup):
        world.catalog().read("nightly")
