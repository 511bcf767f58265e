"""Rules of `Storage.list`."""

from __future__ import annotations

from collections.abc import Iterator

from mbk.errors import InvalidKey
from mbk.ports.storage import Storage
from mbk.testing.kit import Kit, in_threads, keys_of, level_of, part_size, put

#: More than one page of every service known.
MORE_THAN_A_PAGE = 1_050


class Listing(Kit):
    def test_l1_yields_each_object_once(self, storage: Storage, prefix: str) -> None:
        """L1. A listing yields the objects whose key starts with the prefix, each once, with its size."""
        sizes = {prefix + name: size for name, size in (("a", 0), ("b/c", 1), ("b/d/e", 70_000), ("f", 3))}
        for key, size in sizes.items():
            put(storage, key, b"x" * size)
        listed = [(info.key, info.size) for info in storage.list(prefix)]
        assert sorted(listed) == sorted(sizes.items())
        assert [(info.key, info.size) for info in storage.list(f"{prefix}b/d/")] == [
            (f"{prefix}b/d/e", 70_000)
        ]

    def test_l2_a_prefix_is_a_directory(self, storage: Storage, prefix: str) -> None:
        """L2. The prefix ``46/`` matches neither ``460/…`` nor ``46``-something, nor is it matched without case. Where ``partial_prefixes`` are declared, ``46`` matches all three in a listing."""
        for name in ("46/a", "460/a", "46-a", "4/6/a", "x/46/a", "d/K/a", "d/k/a"):
            put(storage, prefix + name)
        assert keys_of(storage, f"{prefix}46/") == [f"{prefix}46/a"]
        assert keys_of(storage, f"{prefix}d/K/") == [f"{prefix}d/K/a"]
        assert level_of(storage, f"{prefix}46/") == [f"{prefix}46/a"]
        if storage.capabilities.partial_prefixes:
            assert keys_of(storage, f"{prefix}46") == [
                f"{prefix}{name}" for name in ("46-a", "46/a", "460/a")
            ]

    def test_l3_a_missing_prefix_is_empty(self, storage: Storage, prefix: str) -> None:
        """L3. A prefix without objects yields nothing and is no error, also where an object has that name."""
        put(storage, f"{prefix}object")
        for missing in ("nothing/", "nothing/here/", "object/", "object/below/"):
            assert keys_of(storage, prefix + missing) == []
            assert level_of(storage, prefix + missing) == []

    def test_l4_levels(self, storage: Storage, prefix: str) -> None:
        """L4. A level has the objects directly below the prefix, with their size, and apart from them each common prefix once."""
        for name in ("a", "b/1", "b/2", "b/c/3", "d/4", "e"):
            put(storage, prefix + name, b"xx")
        level = storage.list_level(prefix)
        assert sorted((info.key, info.size) for info in level.objects) == [
            (f"{prefix}a", 2),
            (f"{prefix}e", 2),
        ]
        assert sorted(level.prefixes) == [f"{prefix}b/", f"{prefix}d/"]

    def test_l5_directory_markers_are_hidden(self, storage: Storage, prefix: str) -> None:
        """L5. Directory markers (empty objects whose key ends with ``/``) are not yielded as objects."""
        marker = f"{prefix}dir/"
        put(storage, f"{marker}a")
        try:
            self.make_marker(storage, marker)
        except InvalidKey:
            marker = ""
        try:
            assert keys_of(storage, prefix) == [f"{prefix}dir/a"]
            assert keys_of(storage, f"{prefix}dir/") == [f"{prefix}dir/a"]
            assert level_of(storage, f"{prefix}dir/") == [f"{prefix}dir/a"]
            assert level_of(storage, prefix) == [f"{prefix}dir/"]
        finally:
            storage.delete([marker] if marker else [])

    def test_l6_the_unfinished_is_hidden(self, storage: Storage, prefix: str) -> None:
        """L6. Objects that are being written, temporary files and unfinished multipart uploads are not yielded."""
        seen: list[list[str]] = []

        def chunks() -> Iterator[bytes]:
            yield b"x" * 300_000
            seen.append(keys_of(storage, prefix))
            seen.append(level_of(storage, prefix))
            yield b"x"

        storage.write(f"{prefix}written", chunks())
        assert seen == [[], []]
        if not storage.capabilities.multipart:
            return
        with storage.multipart(f"{prefix}parts") as upload:
            upload.put_part(1, b"x" * part_size(storage))
            assert keys_of(storage, prefix) == [f"{prefix}written"]
            assert level_of(storage, prefix) == [f"{prefix}written"]

    def test_l7_more_than_a_page(self, storage: Storage, prefix: str) -> None:
        """L7. A listing and a level go on past the service's page (often 1,000), each key once, also with ``start_after``."""
        keys = [f"{prefix}{number:05}/x" for number in range(MORE_THAN_A_PAGE)]
        in_threads(lambda key: put(storage, key), keys)
        assert keys_of(storage, prefix) == keys
        assert level_of(storage, prefix) == [key[:-1] for key in keys]
        assert sorted(info.key for info in storage.list(prefix, start_after=keys[9])) == keys[10:]

    def test_l8_may_be_abandoned(self, storage: Storage, prefix: str) -> None:
        """L8. A listing that is abandoned in the middle, or not begun, leaves the storage usable."""
        keys = [f"{prefix}{number}" for number in range(20)]
        for key in keys:
            put(storage, key)
        for _ in range(30):
            storage.list(prefix)
            assert next(storage.list(prefix)).key in keys
        assert keys_of(storage, prefix) == sorted(keys)

    def test_l9_sees_what_was_just_done(self, storage: Storage, prefix: str) -> None:
        """L9. A listing shows what was written and hides what was deleted before it began."""
        put(storage, f"{prefix}a")
        put(storage, f"{prefix}b")
        assert keys_of(storage, prefix) == [f"{prefix}a", f"{prefix}b"]
        storage.delete([f"{prefix}a"])
        assert keys_of(storage, prefix) == [f"{prefix}b"]
        storage.delete([f"{prefix}b"])
        assert keys_of(storage, prefix) == []

    def test_l10_starts_after_a_key(self, storage: Storage, prefix: str) -> None:
        """L10. With ``start_after`` a listing yields the objects whose key comes after it by code point, and no others; the key needs not be there."""
        names = ("a", "a0", "b-", "b/c", "b/d", "b0", "é", "汉", "🚀")
        keys = [f"{prefix}{name}" for name in names]
        for key in keys:
            put(storage, key)
        for start in ("", *keys, f"{prefix}a/a", f"{prefix}b/", f"{prefix}z", prefix, "!", "~"):
            listed = sorted(info.key for info in storage.list(prefix, start_after=start))
            assert listed == [key for key in keys if key > start], start
        below = storage.list(f"{prefix}b/", start_after=f"{prefix}b/c")
        assert [info.key for info in below] == [f"{prefix}b/d"]
