"""Rules of `Storage.delete`."""

from __future__ import annotations

import pytest

from mbk.errors import DeleteFailed
from mbk.ports.storage import Storage
from mbk.testing.kit import Kit, content, in_threads, put
from mbk.testing.listing import MORE_THAN_A_PAGE


class Deleting(Kit):
    def test_d1_deletes_these_and_no_others(self, storage: Storage, prefix: str) -> None:
        """D1. A delete removes the objects of these keys and no others."""
        for name in ("a", "ab", "dir/a", "dir/b", "dir/c/d"):
            put(storage, prefix + name)
        storage.delete([f"{prefix}a", f"{prefix}dir/b"])
        left = [name for name in ("a", "ab", "dir/a", "dir/b", "dir/c/d") if content(storage, prefix + name)]
        assert left == ["ab", "dir/a", "dir/c/d"]

    def test_d2_is_idempotent(self, storage: Storage, prefix: str) -> None:
        """D2. Deleting a missing key, a key twice, or no key at all is no error; a "directory" is a missing key."""
        put(storage, f"{prefix}a")
        put(storage, f"{prefix}dir/b/c")
        storage.delete([])
        storage.delete(
            [f"{prefix}missing", f"{prefix}a", f"{prefix}a", f"{prefix}a/below", f"{prefix}no/dir"]
        )
        storage.delete([f"{prefix}a", f"{prefix}dir", f"{prefix}dir/b"])
        assert content(storage, f"{prefix}a") is None
        assert content(storage, f"{prefix}dir/b/c") == b"x"

    def test_d3_more_than_a_batch(self, storage: Storage, prefix: str) -> None:
        """D3. A delete takes any iterable, of more keys than the service takes at once."""
        keys = [f"{prefix}{number:05}" for number in range(MORE_THAN_A_PAGE)]
        in_threads(lambda key: put(storage, key), keys)
        storage.delete(iter(keys[:-1]))
        assert [key for key in in_threads(lambda key: content(storage, key) and key, keys) if key] == keys[
            -1:
        ]

    def test_d4_names_what_is_still_there(self, storage: Storage, prefix: str) -> None:
        """D4. `DeleteFailed` names each key that is still there, with a reason; the others are deleted."""
        kept, gone = f"{prefix}kept/a", [f"{prefix}gone/{number}" for number in range(3)]
        for key in (kept, *gone):
            put(storage, key)
        unprotect = self.protect(storage, kept)
        if unprotect is None:
            pytest.skip("no way to make a key undeletable was given (override `protect`)")
        try:
            with pytest.raises(DeleteFailed) as caught:
                storage.delete([gone[0], kept, *gone[1:]])
        finally:
            unprotect()
        assert list(caught.value.failures) == [kept]
        assert caught.value.failures[kept]
        assert content(storage, kept) == b"x"
        assert [key for key in gone if content(storage, key)] == []
