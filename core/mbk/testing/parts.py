"""Rules of `Storage.multipart`, and of `Storage.clean` that removes what is left of it."""

from __future__ import annotations

import pytest

from mbk.errors import MbkError, ObjectNotFound, Unsupported
from mbk.ports.storage import Storage, Unfinished, ability
from mbk.testing.checksums import checksum
from mbk.testing.copying import foreign_storage
from mbk.testing.kit import Kit, content, in_threads, needs, part_size, put, sample


class Parts(Kit):
    def test_m1_nothing_before_complete(self, storage: Storage, prefix: str) -> None:
        """M1. Nothing is visible at the key until `complete` returns, then the object; undeclared it is `Unsupported`."""
        key = f"{prefix}dir/a"
        if not storage.capabilities.multipart:
            with pytest.raises(Unsupported), storage.multipart(key):
                pytest.fail("the upload was opened")
            return
        data = sample(part_size(storage))
        with storage.multipart(key) as upload:
            assert content(storage, key) is None
            upload.put_part(1, data)
            upload.put_part(2, b"end")
            assert content(storage, key) is None
            info = upload.complete()
        assert (info.key, info.size) == (key, len(data) + 3)
        assert content(storage, key) == data + b"end"

    def test_m2_the_previous_object_stays(self, storage: Storage, prefix: str) -> None:
        """M2. What was at the key before stays until `complete`, which replaces it."""
        needs(storage, "multipart")
        put(storage, f"{prefix}a", b"before")
        with storage.multipart(f"{prefix}a") as upload:
            upload.put_part(1, b"after")
            assert content(storage, f"{prefix}a") == b"before"
            upload.complete()
        assert content(storage, f"{prefix}a") == b"after"

    def test_m3_parts_in_order_of_number(self, storage: Storage, prefix: str) -> None:
        """M3. The parts make the object in ascending order of number, whatever the order they came in, from any thread."""
        needs(storage, "multipart")
        size = part_size(storage)
        parts = {number: sample(size if number < 11 else 5, number) for number in range(1, 12)}
        with storage.multipart(f"{prefix}a") as upload:
            upload.put_part(11, parts[11])
            in_threads(lambda number: upload.put_part(number, parts[number]), range(10, 0, -1), threads=4)
            upload.complete()
        assert content(storage, f"{prefix}a") == b"".join(parts.values())

    def test_m4_a_repeated_part_replaces(self, storage: Storage, prefix: str) -> None:
        """M4. A part that is put again under its number replaces the first."""
        needs(storage, "multipart")
        size = part_size(storage)
        first, second = sample(size, 1), sample(size, 2)
        with storage.multipart(f"{prefix}a") as upload:
            upload.put_part(1, first)
            upload.put_part(2, b"old end")
            upload.put_part(1, second)
            upload.put_part(2, b"end")
            assert upload.complete().size == size + 3
        assert content(storage, f"{prefix}a") == second + b"end"

    def test_m5_abort(self, storage: Storage, prefix: str) -> None:
        """M5. `abort` leaves what was there before and no part behind; it is idempotent, and does nothing after `complete`."""
        needs(storage, "multipart")
        put(storage, f"{prefix}there", b"before")
        for key in ("there", "new"):
            with storage.multipart(prefix + key) as upload:
                upload.put_part(1, b"after")
                upload.abort()
                upload.abort()
        assert content(storage, f"{prefix}there") == b"before"
        assert content(storage, f"{prefix}new") is None
        assert storage.clean(prefix) == 0
        with storage.multipart(f"{prefix}done") as upload:
            upload.put_part(1, b"done")
            upload.complete()
            upload.abort()
        assert content(storage, f"{prefix}done") == b"done"

    def test_m6_leaving_aborts(self, storage: Storage, prefix: str) -> None:
        """M6. Leaving the context without `complete`, or with an exception, which passes through, aborts."""
        needs(storage, "multipart")
        put(storage, f"{prefix}there", b"before")
        for key in ("there", "new"):
            with storage.multipart(prefix + key) as upload:
                upload.put_part(1, b"after")
            with pytest.raises(ZeroDivisionError):
                self._put_a_part_and_fail(storage, prefix + key)
        assert content(storage, f"{prefix}there") == b"before"
        assert content(storage, f"{prefix}new") is None
        assert storage.clean(prefix) == 0

    def _put_a_part_and_fail(self, storage: Storage, key: str) -> None:
        with storage.multipart(key) as upload:
            upload.put_part(1, b"after")
            raise ZeroDivisionError

    def test_m7_parts_are_copied(self, storage: Storage, other_storage: Storage, prefix: str) -> None:
        """M7. `copy_part` fills a part from a range of an object, beside parts that are put; undeclared it is `Unsupported`."""
        needs(storage, "multipart")
        size = part_size(storage)
        data, own = sample(3 * size, 1), sample(size, 2)
        put(other_storage, f"{prefix}from", data)
        with storage.multipart(f"{prefix}to") as upload:
            if not storage.capabilities.part_copy:
                with pytest.raises(Unsupported):
                    upload.copy_part(1, other_storage, f"{prefix}from", offset=0, length=size)
                return
            upload.copy_part(3, other_storage, f"{prefix}from", offset=2 * size + 10, length=size - 10)
            upload.put_part(2, own)
            upload.copy_part(1, other_storage, f"{prefix}from", offset=7, length=size)
            told = upload.complete()
        whole = data[7 : size + 7] + own + data[2 * size + 10 :]
        assert content(storage, f"{prefix}to") == whole
        assert dict(told.checksums) == {kind: checksum(kind, whole) for kind in told.checksums}

    def test_m8_parts_that_cannot_be_copied(self, storage: Storage, prefix: str) -> None:
        """M8. `copy_part` of a missing object is `ObjectNotFound`, from a storage of another kind `Unsupported`."""
        needs(storage, "part_copy")
        foreign = foreign_storage(f"{prefix}from", b"x")
        with storage.multipart(f"{prefix}to") as upload:
            with pytest.raises(ObjectNotFound):
                upload.copy_part(1, storage, f"{prefix}nothing", offset=0, length=1)
            with pytest.raises(Unsupported):
                upload.copy_part(1, foreign, f"{prefix}from", offset=0, length=1)
        assert content(storage, f"{prefix}to") is None

    def test_m9_no_part_no_object(self, storage: Storage, prefix: str) -> None:
        """M9. `complete` without a part raises, and nothing is visible."""
        needs(storage, "multipart")
        with storage.multipart(f"{prefix}a") as upload, pytest.raises(MbkError):
            upload.complete()
        assert content(storage, f"{prefix}a") is None

    def test_m10_uploads_do_not_meet(self, storage: Storage, prefix: str) -> None:
        """M10. Two uploads of one key at once do not meet: each completes with its own parts, and the later one stays."""
        needs(storage, "multipart")
        with storage.multipart(f"{prefix}a") as first, storage.multipart(f"{prefix}a") as second:
            first.put_part(1, b"first")
            second.put_part(1, b"second")
            second.complete()
            assert content(storage, f"{prefix}a") == b"second"
            first.complete()
        assert content(storage, f"{prefix}a") == b"first"

    def test_x1_clean_removes_what_was_left(self, storage: Storage, prefix: str) -> None:
        """X1. `clean` removes unfinished uploads below the prefix and returns how many they were; then there are none."""
        assert storage.clean(prefix) == 0
        if not storage.capabilities.multipart:
            return
        abandoned = [storage.multipart(prefix + name) for name in ("a", "dir/b", "dir/c")]
        for opened in abandoned:
            opened.__enter__().put_part(1, b"x")
        if (telling := ability(storage, Unfinished)) is not None:
            assert len([*telling.unfinished(prefix)]) == 3
            assert [
                key for key in telling.unfinished(f"{prefix}dir/") if not key.startswith(f"{prefix}dir/")
            ] == []
        assert storage.clean(prefix) == 3
        assert storage.clean(prefix) == 0
        for closed in abandoned:
            closed.__exit__(None, None, None)

    def test_x2_clean_leaves_the_rest(self, storage: Storage, prefix: str) -> None:
        """X2. `clean` leaves objects alone, and uploads elsewhere, also below ``460/`` when ``46/`` is cleaned."""
        for name in ("46/a", "46/b/c", "460/a"):
            put(storage, prefix + name)
        storage.clean(f"{prefix}46/")
        assert [name for name in ("46/a", "46/b/c", "460/a") if content(storage, prefix + name) != b"x"] == []
        if not storage.capabilities.multipart:
            return
        with storage.multipart(f"{prefix}460/d") as upload:
            upload.put_part(1, b"y")
            storage.clean(f"{prefix}46/")
            upload.complete()
        assert content(storage, f"{prefix}460/d") == b"y"
