"""Storages that write, delete or copy wrongly."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any

from mbk.errors import (
    DeleteFailed,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    StorageError,
)
from mbk.ports.storage import PLAIN, ObjectInfo, Receipt, Storage, WriteOptions
from mbk.testing import MemoryStorage
from mbk.testing.memory import EVERYTHING
from tests.conformance.broken.registry import caught_by


@caught_by("W1")
class StopsAtAnEmptyChunk(MemoryStorage):
    def collect(self, key: str, chunks: Iterable[bytes], size: int | None) -> bytes:
        given = iter(chunks)
        return super().collect(key, iter(lambda: next(given, b""), b"") if size is None else given, size)


@caught_by("W2")
class DoesNotTruncate(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self.check_key(key)
        data = self.collect(key, chunks, size)
        before = self.bucket.objects.get(key)
        return replace(
            self.put(key, data + (before.data[len(data) :] if before else b""), options), size=len(data)
        )


@caught_by("W3")
class IgnoresTheSize(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        del size
        return super().write(key, chunks, options=options)


@caught_by("W3")
class LeavesWhatHasAnotherSize(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        info = super().write(key, chunks, options=options)
        if size is not None and info.size != size:
            raise StorageError("the size is another")
        return info


@caught_by("W4")
class LeavesHalfAnObject(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        half: list[bytes] = []
        try:
            return super().write(key, _copied_to(half, chunks), size=size, options=options)
        except StorageError:
            raise
        except Exception:
            if half:
                self.put(key, b"".join(half), options)
            raise


def _copied_to(copy: list[bytes], chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        copy.append(chunk)
        yield chunk


@caught_by("W4")
class WrapsTheErrorOfTheIterable(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        try:
            return super().write(key, chunks, size=size, options=options)
        except MbkError:
            raise
        except Exception as exc:
            raise StorageError(f"the write failed: {exc}") from exc


@caught_by("W5")
class LosesWhatFollowsTheFirstPart(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        info = super().write(key, chunks, size=size, options=options)
        return info if size is not None else self.put(key, self.get(key).data[: 16 * 1024 * 1024], options)


@caught_by("W6")
class SharesTheBufferOfAKey(MemoryStorage):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.buffers: dict[str, bytearray] = {}

    def collect(self, key: str, chunks: Iterable[bytes], size: int | None) -> bytes:
        self.buffers[key] = bytearray()
        for number, chunk in enumerate(chunks):
            if number == 1:
                time.sleep(0.02)
            self.buffers[key] += chunk
        return super().collect(key, [bytes(self.buffers[key])], size)


@caught_by("W7")
class OverwritesInPlace(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        before = self.bucket.objects.get(key)
        try:
            return super().write(
                key, self._shown(key, chunks) if before else chunks, size=size, options=options
            )
        except BaseException:
            if before:
                self.bucket.objects[key] = before
            raise

    def _shown(self, key: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        done = b""
        for chunk in chunks:
            done += chunk
            self.put(key, done)
            yield chunk


@caught_by("W8", "W9")
class OverwritesWhatIsThere(MemoryStorage):
    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self.write(key, chunks, size=size, options=options)


@caught_by("W8")
class ForgetsTheConditionOfAStream(MemoryStorage):
    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        if size is None:
            return self.write(key, chunks, options=options)
        return super().write_if_absent(key, chunks, size=size, options=options)


@caught_by("W8")
class WritesConditionallyUndeclared(MemoryStorage):
    capabilities = property(lambda _self: replace(EVERYTHING, conditional_write=False))


@caught_by("W9")
class LooksBeforeItWrites(MemoryStorage):
    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        if key in self.bucket.objects:
            raise ObjectExists(f"{key} exists")
        time.sleep(0.02)
        return self.write(key, chunks, size=size, options=options)


@caught_by("W10")
class ReservesTheKeyForGood(MemoryStorage):
    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        super().write_if_absent(key, [])
        return self.write(key, chunks, size=size, options=options)


@caught_by("D1", "D2")
class DeletesByCharacters(MemoryStorage):
    def delete(self, keys: Iterable[str]) -> None:
        for key in (keys := [*keys]):
            self.check_key(key)
        super().delete([name for name in self.bucket.objects if name.startswith(tuple(keys))])


@caught_by("D2")
class MissesMissingKeys(MemoryStorage):
    def delete(self, keys: Iterable[str]) -> None:
        super().delete([key for key in keys if self.get(key)])


@caught_by("D2")
class DeletesDirectories(MemoryStorage):
    def delete(self, keys: Iterable[str]) -> None:
        keys = [*keys]
        directories = tuple(f"{key}/" for key in keys)
        super().delete([*keys, *(name for name in self.bucket.objects if name.startswith(directories))])


@caught_by("D3")
class DeletesOneBatch(MemoryStorage):
    def delete(self, keys: Iterable[str]) -> None:
        super().delete(islice(keys, 1000))


@caught_by("D4")
class SwallowsDeleteErrors(MemoryStorage):
    def delete(self, keys: Iterable[str]) -> None:
        with suppress(DeleteFailed):
            super().delete(keys)


@caught_by("D4")
class BlamesTheWholeBatch(MemoryStorage):
    def delete(self, keys: Iterable[str]) -> None:
        keys = [*keys]
        try:
            super().delete(keys)
        except DeleteFailed as exc:
            raise DeleteFailed("the batch failed", failures=dict.fromkeys(keys, "unknown")) from exc


@caught_by("C1", "C7")
class CopiesTheFirstMegabyte(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        receipt = super().copy(source, source_key, key, options=options)
        if len(data := self.get(key).data) > 1024 * 1024:
            self.put(key, data[: 1024 * 1024], options)
        return receipt


@caught_by("C1")
class CopiesUndeclared(MemoryStorage):
    capabilities = property(lambda _self: replace(EVERYTHING, server_side_copy=False))


@caught_by("C2", "C7")
class CopiesFromItsOwnBucket(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        chosen = self if self.can_copy_from(source) else source
        return super().copy(chosen, source_key, key, options=options)


@caught_by("C3")
class DoesNotCopyOverAnObject(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        if key in self.bucket.objects and source.stat(source_key):
            return Receipt()
        return super().copy(source, source_key, key, options=options)


@caught_by("C4")
class CopiesNothingFromNothing(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        try:
            return super().copy(source, source_key, key, options=options)
        except ObjectNotFound:
            self.put(key, b"")
            return Receipt()


@caught_by("C4")
class LeaksTheErrorOfItsSdk(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        try:
            return super().copy(source, source_key, key, options=options)
        except ObjectNotFound:
            raise LookupError("An error occurred (NoSuchKey) when calling the CopyObject operation") from None


@caught_by("C5")
class FallsBackSilently(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        if self.can_copy_from(source):
            return super().copy(source, source_key, key, options=options)
        with source.read(source_key) as chunks:
            self.write(key, chunks)
        return Receipt()


@caught_by("C6")
class MakesADirectoryTwice(MemoryStorage):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.directories: set[str] = set()

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        directory = posixpath.dirname(key)
        if directory not in self.directories:
            time.sleep(0.02)
            if directory in self.directories:
                raise StorageError(f"{directory}: file exists")
            self.directories.add(directory)
        return super().copy(source, source_key, key, options=options)


@caught_by("C7")
class DecidesByItsClass(MemoryStorage):
    def can_copy_from(self, other: Storage) -> bool:
        return isinstance(other, MemoryStorage) and other.service is self.service


@caught_by("C8")
class TellsTheEtagOfTheSource(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        receipt = super().copy(source, source_key, key, options=options)
        return replace(receipt, etag=source.stat(source_key).etag)


@caught_by("O1")
class DropsOptionsThatItDoesNotKnow(MemoryStorage):
    capabilities = property(lambda _self: replace(EVERYTHING, write_options=frozenset()))

    def check_options(self, options: WriteOptions) -> None:
        del options


@caught_by("O1")
class RefusesOptionsTooLate(MemoryStorage):
    capabilities = property(
        lambda _self: replace(EVERYTHING, write_options=frozenset({"tags", "storage_class"}))
    )

    def check_options(self, options: WriteOptions) -> None:
        del options

    def put(self, key: str, data: bytes, options: WriteOptions = PLAIN) -> ObjectInfo:
        info = super().put(key, data, options)
        super().check_options(options)
        return info


@caught_by("O2")
class CopiesWithoutOptions(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        self.check_options(options)
        return super().copy(source, source_key, key)


@caught_by("O2", "H1")
class StreamsWithoutOptions(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self.check_options(options)
        return super().write(key, chunks, size=size, options=PLAIN if size is None else options)
