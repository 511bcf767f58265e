"""Rules of keys: which go through every call unchanged, and which are refused."""

from __future__ import annotations

import pytest

from mbk.errors import DeleteFailed, InvalidKey
from mbk.ports.storage import Storage
from mbk.testing.kit import Kit, content, keys_of, needs, put

ODD_NAMES = (
    "with space",
    " leading and trailing ",
    "two  spaces",
    "per%cent",
    "%2F%20%41",
    "plus+plus",
    "tilde~",
    "hash#fragment",
    "query?a=b&c=d",
    "semi;colon:comma,at@",
    "'single' \"double\" `back`",
    "brackets[]{}()<>|^",
    "back\\slash",
    "dollar$star*bang!",
    "umlaut äöü",
    "composed é",
    "decomposed e\u0301",
    "汉字/目录",
    "emoji 🚀",
    ".hidden",
    "...",
    "UPPER and upper/UPPER",
    "UPPER and upper/upper",
)


#: What a service may take for a separator: refused it is `InvalidKey`, stored it is stored unchanged.
MAY_BE_REFUSED = frozenset({"back\\slash"})


class Keys(Kit):
    def test_k1_odd_keys(self, storage: Storage, prefix: str) -> None:
        """K1. Keys with spaces, ``%``, ``+``, ``~``, ``#``, ``?``, quotes and non-ASCII letters go through every call unchanged."""
        keys = [prefix + name for name in ODD_NAMES if _is_taken(storage, prefix, name)]
        for key in keys:
            put(storage, key, key.encode())
        assert keys_of(storage, prefix) == sorted(keys)
        assert [key for key in keys if content(storage, key) != key.encode()] == []
        assert [key for key in keys if storage.stat(key).key != key] == []
        assert keys_of(storage, f"{prefix}汉字/") == [f"{prefix}汉字/目录"]
        storage.delete(keys)
        assert [key for key in keys if content(storage, key) is not None] == []

    def test_k2_long_keys(self, storage: Storage, prefix: str) -> None:
        """K2. A key of ``capabilities.max_key_bytes`` bytes is stored, a longer one is `InvalidKey`."""
        longest = _key_of_length(prefix, storage.capabilities.max_key_bytes)
        put(storage, longest, b"long")
        assert content(storage, longest) == b"long"
        storage.delete([longest])
        with pytest.raises(InvalidKey):
            put(storage, _key_of_length(prefix, storage.capabilities.max_key_bytes + 1))

    def test_k3_path_elements(self, storage: Storage, prefix: str) -> None:
        """K3. A key with an empty element, ``.`` or ``..`` is stored as it is or is `InvalidKey`, and never another key."""
        for number, name in enumerate(("a//b", "a/./b", "a/../b", "../b", "./b")):
            below = f"{prefix}{number}/"
            key = f"{below}dir/{name}"
            try:
                put(storage, key)
            except InvalidKey:
                assert keys_of(storage, below) == []
                with pytest.raises(InvalidKey):
                    storage.stat(key)
            else:
                assert keys_of(storage, below) == [key]
                storage.delete([key])

    def test_k4_the_empty_key(self, storage: Storage, prefix: str) -> None:
        """K4. The empty key is `InvalidKey` in every call that takes one."""
        put(storage, f"{prefix}a")
        with pytest.raises(InvalidKey):
            put(storage, "")
        with pytest.raises(InvalidKey):
            storage.stat("")
        with pytest.raises(InvalidKey):
            content(storage, "")
        with pytest.raises((InvalidKey, DeleteFailed)):
            storage.delete([""])
        assert content(storage, f"{prefix}a") == b"x"

    def test_k5_odd_keys_are_copied(self, storage: Storage, prefix: str) -> None:
        """K5. Odd keys are copied server side, as the source and as the destination."""
        needs(storage, "server_side_copy")
        names = [name for name in ODD_NAMES if _is_taken(storage, prefix, name)]
        for name in names:
            put(storage, f"{prefix}from/{name}", name.encode())
            storage.copy(storage, f"{prefix}from/{name}", f"{prefix}to/{name}")
        assert [name for name in names if content(storage, f"{prefix}to/{name}") != name.encode()] == []

    def test_k6_an_object_named_as_a_directory(self, storage: Storage, prefix: str) -> None:
        """K6. A key that is also the "directory" of others, and the reverse, is stored beside them or is `InvalidKey`; what was there stays."""
        for first, second in (("a/b/c", "a/b"), ("x/y", "x/y/z")):
            put(storage, prefix + first, b"first")
            try:
                put(storage, prefix + second, b"second")
            except InvalidKey:
                assert content(storage, prefix + second) is None
            else:
                assert content(storage, prefix + second) == b"second"
            assert content(storage, prefix + first) == b"first"


def _is_taken(storage: Storage, prefix: str, name: str) -> bool:
    if name not in MAY_BE_REFUSED:
        return True
    try:
        put(storage, prefix + name)
    except InvalidKey:
        return False
    storage.delete([prefix + name])
    return True


def _key_of_length(prefix: str, length: int) -> str:
    """Elements of at most 200 bytes, for file systems know a longest name."""
    filler = "/".join("k" * 200 for _ in range(length // 200 + 1))
    key = (prefix + filler)[:length]
    return key[:-1] + "k"
