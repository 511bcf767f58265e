"""Rules of `Storage.copy` and `Storage.can_copy_from`."""

from __future__ import annotations

import pytest

from mbk.errors import ObjectNotFound, Unsupported
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import MIB, Receipt, Storage
from mbk.testing.kit import Kit, content, in_threads, needs, part_size, put, sample
from mbk.testing.memory import MemoryService, MemoryStorage


def foreign_storage(key: str, data: bytes) -> MemoryStorage:
    """A storage that no other storage can copy from, holding one object."""
    storage = MemoryStorage(MemoryService("foreign"), "foreign")
    put(storage, key, data)
    return storage


class Copying(Kit):
    def test_c1_copies_in_the_bucket(self, storage: Storage, prefix: str) -> None:
        """C1. A copy has the source's bytes, and the source stays; undeclared it is `Unsupported`."""
        data = sample(3 * MIB + 7)
        put(storage, f"{prefix}from", data)
        if not storage.capabilities.server_side_copy:
            with pytest.raises(Unsupported):
                storage.copy(storage, f"{prefix}from", f"{prefix}to")
            assert content(storage, f"{prefix}to") is None
            return
        assert storage.can_copy_from(storage)
        storage.copy(storage, f"{prefix}from", f"{prefix}deep/er/to")
        assert content(storage, f"{prefix}deep/er/to") == data
        assert content(storage, f"{prefix}from") == data

    def test_c2_copies_from_another_bucket(
        self, storage: Storage, other_storage: Storage, prefix: str
    ) -> None:
        """C2. A copy is called on the destination and reads from the source's bucket."""
        needs(storage, "server_side_copy")
        put(other_storage, f"{prefix}from/a", b"of the other bucket")
        assert storage.can_copy_from(other_storage)
        storage.copy(other_storage, f"{prefix}from/a", f"{prefix}to/a")
        assert content(storage, f"{prefix}to/a") == b"of the other bucket"
        if not storage.location.same_bucket(other_storage.location):
            assert content(other_storage, f"{prefix}to/a") is None
            assert content(storage, f"{prefix}from/a") is None

    def test_c3_replaces(self, storage: Storage, prefix: str) -> None:
        """C3. A copy replaces what was there, also with an empty object."""
        needs(storage, "server_side_copy")
        put(storage, f"{prefix}to", b"before, and longer")
        for number, data in enumerate((b"after", b"")):
            put(storage, f"{prefix}from/{number}", data)
            storage.copy(storage, f"{prefix}from/{number}", f"{prefix}to")
            assert content(storage, f"{prefix}to") == data

    def test_c4_a_missing_source(self, storage: Storage, prefix: str) -> None:
        """C4. Copying a missing object is `ObjectNotFound`, and what was at the destination stays."""
        needs(storage, "server_side_copy")
        put(storage, f"{prefix}dir/to", b"before")
        for missing in ("nothing", "dir"):
            for key in ("dir/to", "new"):
                with pytest.raises(ObjectNotFound):
                    storage.copy(storage, prefix + missing, prefix + key)
        assert content(storage, f"{prefix}dir/to") == b"before"
        assert content(storage, f"{prefix}new") is None

    def test_c5_a_foreign_source(self, storage: Storage, prefix: str) -> None:
        """C5. From a storage of another kind `can_copy_from` is False and `copy` is `Unsupported`, never a silent fallback."""
        foreign = foreign_storage(f"{prefix}from", b"x")
        assert not storage.can_copy_from(foreign)
        with pytest.raises(Unsupported):
            storage.copy(foreign, f"{prefix}from", f"{prefix}to")
        assert content(storage, f"{prefix}to") is None

    def test_c6_many_at_once(self, storage: Storage, prefix: str) -> None:
        """C6. Copies run from several threads at once, also into one new "directory"."""
        needs(storage, "server_side_copy")
        put(storage, f"{prefix}from", b"x")
        keys = [f"{prefix}to/{number % 4}/{number}" for number in range(32)]
        in_threads(lambda key: storage.copy(storage, f"{prefix}from", key), keys)
        assert [key for key in keys if content(storage, key) != b"x"] == []

    def test_c7_a_wrapped_source(self, storage: Storage, other_storage: Storage, prefix: str) -> None:
        """C7. A source that another plugin wrapped is copied from as it is without, whole and in parts."""
        needs(storage, "server_side_copy")
        data = sample(part_size(storage) + 1)
        put(other_storage, f"{prefix}from", data)
        wrapped = StorageWrapper(StorageWrapper(other_storage))
        assert storage.can_copy_from(wrapped)
        storage.copy(wrapped, f"{prefix}from", f"{prefix}to")
        assert content(storage, f"{prefix}to") == data
        if storage.capabilities.part_copy:
            with storage.multipart(f"{prefix}parts") as upload:
                upload.copy_part(1, wrapped, f"{prefix}from", offset=1, length=len(data) - 1)
                upload.complete()
            assert content(storage, f"{prefix}parts") == data[1:]

    def test_c8_what_is_told_of_a_copy(self, storage: Storage, prefix: str) -> None:
        """C8. What a copy tells is true of the new object: its size, its etag as a stat tells it."""
        needs(storage, "server_side_copy")
        put(storage, f"{prefix}from", b"0123456789")
        receipt = storage.copy(storage, f"{prefix}from", f"{prefix}to")
        assert isinstance(receipt, Receipt)
        assert receipt.size in (None, 10)
        assert receipt.etag in (None, storage.stat(f"{prefix}to").etag)
        assert receipt.modified is None or receipt.modified.tzinfo is not None
