"""Storages that keep old versions and are wrong about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
