"""Storages whose listing, or whose idea of a key, is broken."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any
from urllib.parse import unquote, unquote_plus

from mbk.ports.storage import PLAIN, Level, ObjectInfo, Receipt, Storage, WriteOptions
from mbk.testing import MemoryStorage
from mbk.testing.memory import StoredObject
from tests.conformance.broken.registry import Pooled, caught_by


@caught_by("L1")
class OmitsEmptyObjects(MemoryStorage):
    """Takes every empty object for a directory marker."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix, start_after=start_after) if info.size)


@caught_by("L2", "L3", "L10")
class MatchesPrefixesByCharacters(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return super().list(prefix.rstrip("/"), start_after=start_after)


@caught_by("L2")
class MatchesWholeNamesOnly(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        whole = not prefix or prefix.endswith("/")
        return super().list(prefix if whole else f"{prefix}/", start_after=start_after)


@caught_by("L2")
class MatchesPrefixesWithoutCase(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        yield from super().list(prefix, start_after=start_after)
        yield from super().list(prefix.swapcase(), start_after=start_after)
        if prefix.endswith("/K/"):
            yield from super().list(prefix.replace("/K/", "/k/"), start_after=start_after)


@caught_by("L3")
class ListsAnObjectBelowItself(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        yield from super().list(prefix, start_after=start_after)
        if prefix.rstrip("/") in self.bucket.objects:
            yield self.bucket.objects[prefix.rstrip("/")].info


@caught_by("L4")
class GivesObjectsOfALevelNoSize(MemoryStorage):
    def list_level(self, prefix: str = "") -> Level:
        level = super().list_level(prefix)
        return replace(level, objects=tuple(replace(info, size=0) for info in level.objects))


@caught_by("L4", "L5", "L7")
class ListsPrefixesAmongTheObjects(MemoryStorage):
    def list_level(self, prefix: str = "") -> Level:
        level = super().list_level(prefix)
        return replace(level, objects=(*level.objects, *(ObjectInfo(name, 0) for name in level.prefixes)))


@caught_by("L4", "L5", "L7")
class TellsAPrefixForEachObjectBelowIt(MemoryStorage):
    def list_level(self, prefix: str = "") -> Level:
        level = super().list_level(prefix)
        return replace(level, prefixes=level.prefixes * 2)


@caught_by("L5")
class ShowsDirectoryMarkers(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        yield from super().list(prefix, start_after=start_after)
        if not start_after:
            yield from (item.info for key, item in self.bucket.objects.items() if _is_marker(key, prefix))


def _is_marker(key: str, prefix: str) -> bool:
    return key.startswith(prefix) and key.endswith("/")


@caught_by("L6")
class ShowsTemporaryObjects(MemoryStorage):
    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self.check_key(key)
        self.put(f"{key}.part", b"")
        try:
            return super().write(key, chunks, size=size, options=options)
        finally:
            self.bucket.objects.pop(f"{key}.part", None)


@caught_by("L7")
class StopsAfterOnePage(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return islice(super().list(prefix, start_after=start_after), 1000)


@caught_by("L7")
class RepeatsTheLastKeyOfAPage(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for number, info in enumerate(super().list(prefix, start_after=start_after), start=1):
            yield info
            if number % 1000 == 0:
                yield info


@caught_by("L8")
class KeepsTheConnectionOfAnAbandonedListing(Pooled):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self.take()
        yield from super().list(prefix, start_after=start_after)
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

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        yield from super().list(prefix, start_after=start_after)
        for key, item in self.deleted.items():
            if key.startswith(prefix) and key not in self.bucket.objects:
                yield item.info


@caught_by("L7", "L10")
class ListsAllWhateverComesBefore(MemoryStorage):
    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        del start_after
        return super().list(prefix)


@caught_by("L7", "L10")
class BeginsWithTheKeyItself(MemoryStorage):
    """As services do whose parameter is inclusive."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return (info for info in super().list(prefix) if info.key >= start_after)


class Renaming(MemoryStorage):
    """Stores an object under another key than the one that was asked for."""

    def rename(self, key: str) -> str:
        raise NotImplementedError

    def put(self, key: str, data: bytes, options: WriteOptions = PLAIN) -> ObjectInfo:
        return replace(super().put(self.rename(key), data, options), key=key)

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
    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return super().copy(source, unquote(source_key), key, options=options)


@caught_by("K6")
class ReplacesDirectoriesByObjects(MemoryStorage):
    def put(self, key: str, data: bytes, options: WriteOptions = PLAIN) -> ObjectInfo:
        with self.service.lock:
            below = [
                name for name in self.bucket.objects if name.startswith(f"{key}/") and not name.endswith("/")
            ]
            for name in below:
                del self.bucket.objects[name]
            return super().put(key, data, options)
