"""Storages that keep old versions and are wrong about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mbk.ports.storage import ObjectVersion
from mbk.testing import MemoryStorage
from tests.conformance.broken.registry import caught_by


@caught_by("V1")
class TellsVersionsByCharacters(MemoryStorage):
    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        return super().versions(prefix.rstrip("/"))


@caught_by("V2")
class KeepsMarksOfDeletion(MemoryStorage):
    def delete_versions(self, versions: Iterable[ObjectVersion]) -> None:
        super().delete_versions(version for version in versions if not version.key.endswith("gone"))


@caught_by("V3")
class ReadsTheNewestOnly(MemoryStorage):
    @contextmanager
    def read_version(self, version: ObjectVersion, *, offset: int = 0) -> Iterator[Iterator[bytes]]:
        newest = next(told for told in self.versions(version.key) if not told.is_mark)
        with super().read_version(newest, offset=offset) as chunks:
            yield chunks


@caught_by("V3")
class TellsTheOldestFirst(MemoryStorage):
    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        return reversed([*super().versions(prefix)])
