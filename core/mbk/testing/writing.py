"""Rules of `Storage.write` and `Storage.write_if_absent`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from mbk.errors import MbkError, ObjectExists, ObjectNotFound, Unsupported
from mbk.ports.storage import MIB, Storage
from mbk.testing.kit import Content, Kit, content, in_threads, needs, put, sample

#: More than any plugin's part, so that a write of unknown size meets its multipart upload.
MORE_THAN_A_PART = 20 * MIB + 1


class Broken(Exception):
    """What an iterable raises in the middle; it must arrive unchanged."""


class Writing(Kit):
    def test_w1_writes_the_chunks(self, storage: Storage, prefix: str) -> None:
        """W1. A write stores the chunks, also empty and uneven ones, with ``size`` or without, and tells key and size."""
        for number, sizes in enumerate([(), (0,), (1,), (0, 5, 0, 70_000, 1), (1_000,) * 50]):
            chunks = [sample(size, seed) for seed, size in enumerate(sizes)]
            for size in (sum(sizes), None):
                key = f"{prefix}{number}/{size}"
                info = storage.write(key, iter(chunks), size=size)
                assert (info.key, info.size) == (key, sum(sizes))
                assert content(storage, key) == b"".join(chunks)

    def test_w2_replaces(self, storage: Storage, prefix: str) -> None:
        """W2. A write replaces what was there, also by something shorter."""
        put(storage, f"{prefix}a", b"long content")
        put(storage, f"{prefix}a", b"short")
        assert content(storage, f"{prefix}a") == b"short"
        put(storage, f"{prefix}a", b"")
        assert content(storage, f"{prefix}a") == b""

    def test_w3_the_size_is_a_promise(self, storage: Storage, prefix: str) -> None:
        """W3. Chunks that make more or fewer bytes than ``size`` raise, and what was there before, or nothing, stays."""
        put(storage, f"{prefix}there", b"before")
        for size, promised in ((10, 9), (10, 11), (10, 0), (300_000, 299_999), (300_000, 300_001)):
            for key in ("there", "new"):
                with pytest.raises(MbkError):
                    storage.write(prefix + key, [b"x" * (size - 3), b"xxx"], size=promised)
        assert content(storage, f"{prefix}there") == b"before"
        assert content(storage, f"{prefix}new") is None

    def test_w4_whole_or_not_at_all(self, storage: Storage, prefix: str) -> None:
        """W4. An exception of the iterable passes through unchanged, and what was there before, or nothing, stays."""
        put(storage, f"{prefix}there", b"before")
        for good in (0, 1, MORE_THAN_A_PART // MIB):
            for size in ((good + 1) * MIB, None):
                for key in ("there", "new"):
                    for error in (Broken(), ObjectNotFound("the source vanished", code="source-vanished")):
                        with pytest.raises(type(error)) as caught:
                            storage.write(prefix + key, _breaking(good, error), size=size)
                        assert caught.value is error
        assert content(storage, f"{prefix}there") == b"before"
        assert content(storage, f"{prefix}new") is None
        assert storage.clean(prefix) == 0

    def test_w5_streams_of_unknown_size(self, storage: Storage, prefix: str) -> None:
        """W5. A write of unknown size stores more than one part whole."""
        data = sample(MORE_THAN_A_PART)
        chunks = (data[start : start + 700_001] for start in range(0, len(data), 700_001))
        assert storage.write(f"{prefix}a", chunks).size == len(data)
        assert content(storage, f"{prefix}a") == data

    def test_w6_concurrent_writers(self, storage: Storage, prefix: str) -> None:
        """W6. Of several writers of one key one wins, and its object is whole."""
        contents = [sample(300_000 + seed, seed) for seed in range(8)]
        in_threads(lambda data: storage.write(f"{prefix}a", [data[:1000], data[1000:]]), contents)
        assert content(storage, f"{prefix}a") in contents

    def test_w7_nobody_sees_half(self, storage: Storage, prefix: str) -> None:
        """W7. Until a write returns, readers find what was there before, or nothing."""
        put(storage, f"{prefix}there", b"before")
        seen: list[Content | None] = []

        def chunks(key: str) -> Iterator[bytes]:
            yield b"x" * MIB
            seen.append(content(storage, key))
            yield b"x"

        for name, size in (("there", None), ("new", None), ("new, sized", MIB + 1)):
            storage.write(prefix + name, chunks(prefix + name), size=size)
        assert seen == [b"before", None, None]

    def test_w8_only_where_absent(self, storage: Storage, prefix: str) -> None:
        """W8. `write_if_absent` writes where there is no object and is else `ObjectExists`; undeclared it is `Unsupported`."""
        if not storage.capabilities.conditional_write:
            with pytest.raises(Unsupported):
                storage.write_if_absent(f"{prefix}a", [b"x"], size=1)
            assert content(storage, f"{prefix}a") is None
            return
        info = storage.write_if_absent(f"{prefix}a", [b"fir", b"st"], size=5)
        assert (info.key, info.size) == (f"{prefix}a", 5)
        for size in (6, None):
            with pytest.raises(ObjectExists):
                storage.write_if_absent(f"{prefix}a", [b"second"], size=size)
        assert content(storage, f"{prefix}a") == b"first"
        storage.delete([f"{prefix}a"])
        storage.write_if_absent(f"{prefix}a", [b"again"])
        assert content(storage, f"{prefix}a") == b"again"

    def test_w9_one_of_racing_writers_wins(self, storage: Storage, prefix: str) -> None:
        """W9. Of several `write_if_absent` at once exactly one wins, and its object is there."""
        needs(storage, "conditional_write")
        for attempt in range(5):
            key = f"{prefix}{attempt}"
            contents = [b"%d" % number for number in range(8)]
            outcomes = in_threads(partial(_try_if_absent, storage, key), contents)
            winners = [data for data in outcomes if data is not None]
            assert len(winners) == 1
            assert content(storage, key) == winners[0]

    def test_w10_a_failed_conditional_write_leaves_nothing(self, storage: Storage, prefix: str) -> None:
        """W10. `write_if_absent` whose iterable raises, or does not keep ``size``, leaves nothing, and the key stays free."""
        needs(storage, "conditional_write")
        error = Broken()
        with pytest.raises(Broken) as caught:
            storage.write_if_absent(f"{prefix}a", _breaking(2, error))
        assert caught.value is error
        with pytest.raises(MbkError):
            storage.write_if_absent(f"{prefix}a", [b"xx"], size=3)
        assert content(storage, f"{prefix}a") is None
        storage.write_if_absent(f"{prefix}a", [b"free"], size=4)
        assert content(storage, f"{prefix}a") == b"free"


def _breaking(good: int, error: Exception) -> Iterator[bytes]:
    """That many good chunks of one MiB, then the error."""
    chunk = b"x" * MIB
    for _ in range(good):
        yield chunk
    raise error


def _try_if_absent(storage: Storage, key: str, data: bytes) -> bytes | None:
    try:
        storage.write_if_absent(key, [data], size=len(data))
    except ObjectExists:
        return None
    return data
