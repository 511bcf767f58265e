"""The kit's classes for the right storage and for every broken one.

pytest collects this file only when it is named: tests/conformance/test_the_kit.py does, in a process of its own.
"""

from __future__ import annotations

from mbk.testing import MemoryStorage
from tests.conformance.broken import listing, locks, parts, reading, versions, whole, writing
from tests.conformance.broken.access import AccessOfMemory, Guarded
from tests.conformance.broken.faults import FaultsOfMemory, Remote
from tests.conformance.broken.registry import BROKEN, OfMemory

__all__ = ["BROKEN", "RIGHT", "listing", "locks", "parts", "reading", "versions", "whole", "writing"]


def _tests_of(storage: type[MemoryStorage]) -> type:
    kit: type = OfMemory
    if issubclass(storage, Remote):
        kit = FaultsOfMemory
    elif issubclass(storage, Guarded):
        kit = AccessOfMemory
    return type(f"Test{storage.__name__}", (kit,), {"storage_class": storage})


RIGHT: list[type[MemoryStorage]] = [MemoryStorage, Remote, Guarded]
globals().update({f"Test{storage.__name__}": _tests_of(storage) for storage in [*RIGHT, *BROKEN]})
