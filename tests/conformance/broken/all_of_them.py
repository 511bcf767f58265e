"""The kit's classes for the right storage and for every broken one.

pytest collects this file only when it is named: tests/conformance/test_the_kit.py does, in a process of its own.
"""

from __future__ import annotations

from mbk.testing import MemoryStorage
from tests.conformance.broken import listing, parts, reading, whole, writing
from tests.conformance.broken.registry import BROKEN, OfMemory

__all__ = ["BROKEN", "listing", "parts", "reading", "whole", "writing"]


def _tests_of(storage: type[MemoryStorage]) -> type[OfMemory]:
    return type(f"Test{storage.__name__}", (OfMemory,), {"storage_class": storage})


_STORAGES: list[type[MemoryStorage]] = [MemoryStorage, *BROKEN]
globals().update({f"Test{storage.__name__}": _tests_of(storage) for storage in _STORAGES})
