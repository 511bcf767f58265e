"""Rules of a storage as a whole."""

from __future__ import annotations

import pickle
from dataclasses import astuple

import pytest

from mbk.errors import BucketNotFound, MbkError, NotFound
from mbk.ports.storage import Storage, StorageRef
from mbk.testing.kit import Kit, content, in_threads, put, sample


class Whole(Kit):
    def test_s1_check(self, storage: Storage, prefix: str) -> None:
        """S1. `check` finds an existing bucket, with ``create`` too, and changes nothing in it."""
        put(storage, f"{prefix}a")
        storage.check()
        storage.check(create=True)
        assert content(storage, f"{prefix}a") == b"x"

    def test_s2_a_missing_bucket(self, missing_storage: Storage | None) -> None:
        """S2. A missing bucket is `BucketNotFound`, which names it, in `check` and in `write`; reading calls raise a `NotFound`; ``create`` makes it."""
        if missing_storage is None:
            pytest.skip("no missing bucket was given (override the fixture `missing_storage`)")
        bucket = missing_storage.location.bucket
        with pytest.raises(BucketNotFound, match=bucket.rsplit("/", 1)[-1]):
            missing_storage.check()
        with pytest.raises(BucketNotFound):
            put(missing_storage, "a")
        with pytest.raises(NotFound), missing_storage.read("a"):
            pytest.fail("the stream was opened")
        with pytest.raises(NotFound):
            list(missing_storage.list())
        missing_storage.check(create=True)
        missing_storage.check()
        assert list(missing_storage.list()) == []

    def test_s3_close(self, storage: Storage) -> None:
        """S3. `close` may be called twice."""
        storage.check()
        storage.close()
        storage.close()

    def test_s4_threads(self, storage: Storage, prefix: str) -> None:
        """S4. Every call may be made from several threads at once."""

        def work(number: int) -> None:
            below = f"{prefix}{number % 3}/{number:02}/"
            for turn in range(5):
                data = sample(10_000 + number, turn)
                put(storage, f"{below}a", data)
                assert storage.stat(f"{below}a").size == len(data)
                assert content(storage, f"{below}a") == data
                assert [info.key for info in storage.list(below)] == [f"{below}a"]
                storage.delete([f"{below}a"])

        in_threads(work, range(24))

    def test_s5_no_secret_is_shown(self, storage: Storage, prefix: str) -> None:
        """S5. No representation of the storage and no error holds a secret."""
        if not self.secrets:
            pytest.skip("no secrets were given (set `secrets`)")
        texts = [repr(storage), str(storage), repr(storage.location), str(storage.location)]
        for missing in (f"{prefix}nothing", ""):
            with pytest.raises(MbkError) as caught, storage.read(missing):
                pytest.fail("the stream was opened")
            texts += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
        assert [secret for secret in self.secrets for text in texts if secret in text] == []

    def test_s6_location(self, storage: Storage, other_storage: Storage) -> None:
        """S6. The location is where the storage is: equal to itself, its root and mount empty or ending with ``/``, the bucket named."""
        location = storage.location
        assert location.same_bucket(storage.location)
        assert location.backend
        assert location.bucket.rstrip("/") in str(location)
        assert location.root == "" or location.root.endswith("/")
        assert location.mount == "" or location.mount.endswith("/")
        if other_storage is not storage:
            assert not location.same_bucket(other_storage.location)

    def test_s7_protocol(self, storage: Storage) -> None:
        """S7. The storage has every part of the protocol, and its limits make sense."""
        assert isinstance(storage, Storage)
        limits = storage.capabilities
        assert 1 <= limits.min_part_size <= limits.max_part_size
        assert limits.delete_batch >= 1
        assert limits.max_parts >= 1
        assert limits.multipart or not limits.part_copy
        assert all(
            value is None or value > 0
            for value in astuple(limits)
            if type(value) is not bool and type(value) is not frozenset
        )

    def test_s8_errors_travel(self, storage: Storage, prefix: str) -> None:
        """S8. Errors are of `mbk.errors` and survive pickling, for work may run in other processes."""
        with pytest.raises(NotFound) as caught, storage.read(f"{prefix}nothing"):
            pytest.fail("the stream was opened")
        copied = pickle.loads(pickle.dumps(caught.value))
        assert (type(copied), str(copied)) == (type(caught.value), str(caught.value))
        assert type(copied).__module__ == "mbk.errors"

    def test_s9_a_reference(self, storage: Storage, reference: StorageRef | None, prefix: str) -> None:
        """S9. A reference can be pickled, opens the same bucket, and shows no secret."""
        if reference is None:
            pytest.skip("no reference was given (override the fixture `reference`)")
        put(storage, f"{prefix}a")
        assert [secret for secret in self.secrets if secret in repr(reference) + str(reference)] == []
        opened = pickle.loads(pickle.dumps(reference)).open()
        try:
            assert opened.location.same_bucket(storage.location)
            assert content(opened, f"{prefix}a") == b"x"
        finally:
            opened.close()
