"""Rules of `Storage.read` and `Storage.stat`."""

from __future__ import annotations

import pytest

from mbk.errors import ObjectArchived, ObjectNotFound
from mbk.ports.storage import CHECKSUMS, MIB, ObjectInfo, Receipt, Storage
from mbk.testing.checksums import checksum
from mbk.testing.kit import Content, Kit, content, part_size, put, sample


class Reading(Kit):
    def test_r1_yields_the_bytes(self, storage: Storage, prefix: str) -> None:
        """R1. A read yields the object's bytes in non-empty chunks; an empty object yields none."""
        for size in (0, 1, 65_536, 3 * MIB + 1):
            data = sample(size)
            put(storage, f"{prefix}a", data)
            with storage.read(f"{prefix}a") as chunks:
                pieces = list(chunks)
            assert Content(b"".join(pieces)) == data
            assert all(pieces)

    def test_r2_ranges(self, storage: Storage, prefix: str) -> None:
        """R2. A range yields ``length`` bytes from ``offset``, both counted in bytes from 0; without ``length`` all to the end."""
        data = sample(200_000)
        put(storage, f"{prefix}a", data)
        for offset, length in ((0, 1), (0, 200_000), (1, 10), (65_535, 2), (100_000, 70_000), (199_999, 1)):
            with storage.read(f"{prefix}a", offset=offset, length=length) as chunks:
                assert Content(b"".join(chunks)) == data[offset : offset + length], (offset, length)
        with storage.read(f"{prefix}a", offset=150_000) as chunks:
            assert Content(b"".join(chunks)) == data[150_000:]

    def test_r3_ranges_past_the_end(self, storage: Storage, prefix: str) -> None:
        """R3. A range that reaches past the end yields what is there; one of no bytes, or that starts at or past the end, nothing."""
        put(storage, f"{prefix}a", b"0123456789")
        put(storage, f"{prefix}empty", b"")
        expected = {(8, 100): b"89", (0, 11): b"0123456789", (10, 1): b"", (11, 1): b"", (5, 0): b""}
        for (offset, length), data in expected.items():
            with storage.read(f"{prefix}a", offset=offset, length=length) as chunks:
                assert Content(b"".join(chunks)) == data, (offset, length)
        for offset in (10, 1_000_000):
            with storage.read(f"{prefix}a", offset=offset) as chunks:
                assert list(chunks) == []
        with storage.read(f"{prefix}empty", offset=0, length=10) as chunks:
            assert list(chunks) == []

    def test_r4_reading_a_missing_object(self, storage: Storage, prefix: str) -> None:
        """R4. Reading a missing object is `ObjectNotFound` on entering; a "directory" is no object."""
        put(storage, f"{prefix}dir/a")
        for missing in ("nothing", "dir", "dir/b", "dir/a/b"):
            with pytest.raises(ObjectNotFound) as caught, storage.read(prefix + missing):
                pytest.fail("the stream was opened")
            assert isinstance(caught.value, FileNotFoundError)

    def test_r5_stat_of_a_missing_object(self, storage: Storage, prefix: str) -> None:
        """R5. The stat of a missing object is `ObjectNotFound`; a "directory" is no object."""
        put(storage, f"{prefix}dir/a")
        for missing in ("nothing", "dir", "dir/b", "dir/a/b"):
            with pytest.raises(ObjectNotFound):
                storage.stat(prefix + missing)

    def test_r6_stat_tells_size_and_etag(self, storage: Storage, prefix: str) -> None:
        """R6. A stat tells key and size; its etag stays until the object is replaced, and is the listing's where that has one; a time has a zone."""
        key = f"{prefix}a"
        put(storage, key, b"first")
        first = storage.stat(key)
        assert (first.key, first.size) == (key, 5)
        assert first.modified is None or first.modified.tzinfo is not None
        assert storage.stat(key).etag == first.etag
        [listed] = storage.list(prefix)
        assert listed.etag in (None, first.etag)
        put(storage, key, b"other")
        second = storage.stat(key)
        assert second.size == 5
        assert first.etag is None or second.etag != first.etag

    def test_r7_may_be_abandoned(self, storage: Storage, prefix: str) -> None:
        """R7. A stream that is left in the middle, or not begun, leaves the storage usable, and so does an exception in it."""
        data = sample(4 * MIB)
        put(storage, f"{prefix}a", data)
        for _ in range(30):
            with storage.read(f"{prefix}a") as chunks:
                assert data.startswith(next(chunks))
        with storage.read(f"{prefix}a"):
            pass
        with pytest.raises(ZeroDivisionError), storage.read(f"{prefix}a"):
            raise ZeroDivisionError
        assert content(storage, f"{prefix}a") == data

    def test_r8_checksums(self, storage: Storage, prefix: str) -> None:
        """R8. Checksums are of a known kind and of the object's bytes, wherever one is told; a stat tells each declared kind of every object, however it was made."""
        assert storage.capabilities.checksums <= CHECKSUMS
        small, large = sample(1000), sample(part_size(storage) + 1000)
        told: list[tuple[ObjectInfo | Receipt, bytes]] = []
        told.append((storage.write(f"{prefix}written", [small], size=len(small)), small))
        told.append((storage.write(f"{prefix}empty", []), b""))
        if storage.capabilities.multipart:
            with storage.multipart(f"{prefix}parts") as upload:
                upload.put_part(1, large[:-1000])
                upload.put_part(2, large[-1000:])
                told.append((upload.complete(), large))
        if storage.capabilities.server_side_copy:
            told.append((storage.copy(storage, f"{prefix}written", f"{prefix}copied"), small))
        contents = {"written": small, "empty": b"", "parts": large, "copied": small}
        for info in storage.list(prefix):
            data = contents[info.key.removeprefix(prefix)]
            stat = storage.stat(info.key)
            assert storage.capabilities.checksums <= stat.checksums.keys(), info.key
            told += [(info, data), (stat, data)]
        for answer, data in told:
            assert dict(answer.checksums) == {kind: checksum(kind, data) for kind in answer.checksums}

    def test_r9_archived_objects(self, storage: Storage, prefix: str) -> None:
        """R9. Reading an object that must be restored from an archive first is `ObjectArchived`; it is listed all the same."""
        key = f"{prefix}a"
        put(storage, key)
        if not self.archive(storage, key):
            pytest.skip("no way to archive an object was given (override `archive`)")
        with pytest.raises(ObjectArchived), storage.read(key):
            pytest.fail("the stream was opened")
        assert [info.key for info in storage.list(prefix)] == [key]
        assert storage.stat(key).size == 1
