"""Storages that are broken as a whole."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

from mbk.errors import (
    BucketNotFound,
    ObjectNotFound,
    StorageError,
)
from mbk.ports.storage import PLAIN, Capabilities, Location, ObjectInfo, WriteOptions
from mbk.testing import MemoryStorage
from mbk.testing.memory import EVERYTHING, Bucket, MemoryRef, StoredObject
from tests.conformance.broken.registry import SECRET, caught_by


@caught_by("S1")
class EmptiesTheBucketThatItShouldMake(MemoryStorage):
    def check(self, *, create: bool = False) -> None:
        if create:
            self.service.buckets[self.location.bucket] = Bucket()
        super().check(create=create)


@caught_by("S2")
class FindsMissingBuckets(MemoryStorage):
    def check(self, *, create: bool = False) -> None:
        with suppress(BucketNotFound):
            super().check(create=create)


@caught_by("S2")
class MakesBucketsOnWriting(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self.check(create=True)
        return super().write(key, chunks, size=size, options=options)


@caught_by("S3")
class ClosesOnlyOnce(MemoryStorage):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise StorageError("closed already")
        self.closed = True


@caught_by("S4")
class KeepsTheKeyInItself(MemoryStorage):
    key = ""

    def stat(self, key: str) -> ObjectInfo:
        self.key = key
        time.sleep(0.002)
        return super().stat(self.key)


@caught_by("S5")
class ShowsItsSecret(MemoryStorage):
    def __repr__(self) -> str:
        return f"<MemoryStorage {self.location.bucket} {SECRET}>"


@caught_by("S5")
class ShowsItsSecretInErrors(MemoryStorage):
    def get(self, key: str) -> StoredObject:
        try:
            return super().get(key)
        except ObjectNotFound as exc:
            raise ObjectNotFound(f"{exc} (signed with {SECRET})") from exc


@caught_by("S6")
class HasARootWithoutSlash(MemoryStorage):
    @property
    def location(self) -> Location:
        return replace(super().location, root="files")


@caught_by("S7")
class DeletesInBatchesOfNone(MemoryStorage):
    @property
    def capabilities(self) -> Capabilities:
        return replace(EVERYTHING, delete_batch=0)


class VendorsNotFound(ObjectNotFound):
    """An error of a plugin's own."""


@caught_by("S8")
class HasErrorsOfItsOwn(MemoryStorage):
    def get(self, key: str) -> StoredObject:
        try:
            return super().get(key)
        except ObjectNotFound as exc:
            raise VendorsNotFound(exc.message) from exc


class LoquaciousRef(MemoryRef):
    def __repr__(self) -> str:
        return f"MemoryRef({self.bucket!r}, secret={SECRET!r})"


@caught_by("S9")
class ShowsItsSecretInReferences(MemoryStorage):
    def reference(self) -> MemoryRef:
        return LoquaciousRef(self.service.name, self.location.bucket)


@caught_by("S9")
class RefersToAnotherBucket(MemoryStorage):
    def reference(self) -> MemoryRef:
        return MemoryRef(self.service.name, "there")
