"""Storages that break the rules of locks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mbk.ports.storage import WRITE_OPTIONS, Retention
from mbk.testing import MemoryStorage
from mbk.testing.memory import EVERYTHING
from tests.conformance.broken.registry import caught_by


@caught_by("H1")
class Shortening(MemoryStorage):
    """The last one to lock an object says for how long."""

    def lock(self, key: str, retention: Retention) -> None:
        found = self.get(key)
        self.bucket.objects[key] = replace(found, options=replace(found.options, retention=retention))


@caught_by("H1")
class Forgetful(MemoryStorage):
    """Only what is locked afterwards is."""

    def locked(self, key: str, version: str = "") -> Retention | None:
        found = super().locked(key, version)
        return None if key.endswith("made") else found


@caught_by("H2")
class Pretending(MemoryStorage):
    """Nothing can be locked here, and nobody is told."""

    def __init__(self, *args: Any, **options: Any) -> None:
        able = replace(EVERYTHING, write_options=WRITE_OPTIONS - {"retention"})
        super().__init__(*args, **{**options, "capabilities": able})

    def lock(self, key: str, retention: Retention) -> None:
        pass
