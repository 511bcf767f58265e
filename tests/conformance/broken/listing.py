"""Storages whose listing, or whose idea of a key, is broken."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any
from urllib.parse import unquote, unquote_plus

from mbk.ports.storage import ObjectInfo, Storage
from mbk.testing import MemoryStorage
from mbk.testing.memory import StoredObject
from tests.conformance.broken.registry import Pooled, caught_by


@caught_by("L1")
class OmitsEmptyObjects(MemoryStorage):
    """Takes every empty object for a directory marker."""

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix, recursive=recursive) if info.size or info.is_prefix)


@caught_by("L2", "L3")
class MatchesPrefixesByCharacters(MemoryStorage):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        for info in super().list(prefix.rstrip("/"), recursive=True):
            if recursive or "/" not in info.key.removeprefix(prefix):
                yield info
        if not recursive:
            yield from (info for info in super().list(prefix, recursive=False) if info.is_prefix)


@caught_by("L2")
class MatchesPrefixesWithoutCase(MemoryStorage):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        yield from super().list(prefix, recursive=recursive)
        yield from super().list(prefix.swapcase(), recursive=recursive)
        if prefix.endswith("/K/"):
            yield from super().list(prefix.replace("/K/", "/k/"), recursive=recursive)


@caught_by("L3")
class ListsAnObjectBelowItself(MemoryStorage):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        yield from super().list(prefix, recursive=recursive)
        if prefix.rstrip("/") in self.bucket.objects:
            yield self.bucket.objects[prefix.rstrip("/")].info


@caught_by("L4")
class GivesPrefixesASize(MemoryStorage):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        for info in super().list(prefix, recursive=recursive):
            yield replace(info, size=4096) if info.is_prefix else info


@caught_by("L5")
class ShowsDirectoryMarkers(MemoryStorage):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        yield from super().list(prefix, recursive=recursive)
        if prefix in self.bucket.objects or recursive:
            yield from (item.info for key, item in self.bucket.objects.items() if _is_marker(key, prefix))


def _is_marker(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key.endswith("/")


@caught_by("L6")
class ShowsTemporaryObjects(MemoryStorage):
    def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        self.check_key(key)
        self.put(f"{key}.part", b"")
        try:
            return super().write(key, chunks, size=size)
        finally:
            self.bucket.objects.pop(f"{key}.part", None)


@caught_by("L7")
class StopsAfterOnePage(MemoryStorage):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        return islice(super().list(prefix, recursive=recursive), 1000)


@caught_by("L7")
class RepeatsTheLastKeyOfAPage(MemoryStorage):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        for number, info in enumerate(super().list(prefix, recursive=recursive), start=1):
            yield info
            if number % 1000 == 0:
                yield info


@caught_by("L8")
class KeepsTheConnectionOfAnAbandonedListing(Pooled):
    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        self.take()
        yield from super().list(prefix, recursive=recursive)
        self.taken -= 1


@caught_by("L9")
class ListsWhatWasDeleted(MemoryStorage):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.deleted: dict[str, StoredObject] = {}

    def delete(self, keys: Iterable[str]) -> None:
        keys = [*keys]
        self.deleted |= {key: self.bucket.objects[key] for key in keys if key in self.bucket.objects}
        super().delete(keys)

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        yield from super().list(prefix, recursive=recursive)
        for key, item in self.deleted.items():
            if key.startswith(prefix) and key not in self.bucket.objects:
                yield item.info


class Renaming(MemoryStorage):
    """Stores an object under another key than the one that was asked for."""

    def rename(self, key: str) -> str:
        raise NotImplementedError

    def put(self, key: str, data: bytes) -> ObjectInfo:
        return replace(super().put(self.rename(key), data), key=key)

    def get(self, key: str) -> StoredObject:
        found = super().get(self.rename(key))
        return replace(found, info=replace(found.info, key=key))

    def delete(self, keys: Iterable[str]) -> None:
        super().delete(self.rename(key) for key in keys)


@caught_by("K1")
class DecodesKeys(Renaming):
    def rename(self, key: str) -> str:
        return unquote_plus(key)


@caught_by("K2")
class TakesTooLongKeys(MemoryStorage):
    def check_key(self, key: str) -> None:
        super().check_key(key[:100])


@caught_by("K3")
class NormalisesPaths(Renaming):
    def rename(self, key: str) -> str:
        return (posixpath.normpath(key) if key else "") + "/" * key.endswith("/")


@caught_by("K4")
class TakesTheEmptyKey(MemoryStorage):
    def check_key(self, key: str) -> None:
        super().check_key(key or "empty")


@caught_by("K5")
class DecodesTheSourceOfACopy(MemoryStorage):
    def copy(self, source: Storage, source_key: str, key: str) -> None:
        super().copy(source, unquote(source_key), key)


@caught_by("K6")
class ReplacesDirectoriesByObjects(MemoryStorage):
    def put(self, key: str, data: bytes) -> ObjectInfo:
        with self.service.lock:
            below = [
                name for name in self.bucket.objects if name.startswith(f"{key}/") and not name.endswith("/")
            ]
            for name in below:
                del self.bucket.objects[name]
            return super().put(key, data)
