"""What a storage plugin's author tests with: the conformance kit and a reference storage in memory.

::

    import pytest
    from mbk.testing import StorageConformance

    class TestAcme(StorageConformance):
        secrets = ("the-secret-key",)

        @pytest.fixture
        def storage(self):
            return AcmeStorage(bucket="test", secret="the-secret-key")
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from mbk.testing.memory import MemoryService, MemoryStorage

if TYPE_CHECKING:
    from mbk.testing.access import AccessConformance
    from mbk.testing.conformance import StorageConformance, rules
    from mbk.testing.faults import FaultConformance

__all__ = [
    "AccessConformance",
    "FaultConformance",
    "MemoryService",
    "MemoryStorage",
    "StorageConformance",
    "rules",
]

_OF_PYTEST = ("AccessConformance", "FaultConformance", "StorageConformance", "rules")
_RULE_MODULES = (
    "kit",
    "listing",
    "keys",
    "reading",
    "writing",
    "deleting",
    "copying",
    "parts",
    "options",
    "versions",
    "locks",
    "whole",
)


def __getattr__(name: str) -> Any:
    """The kit needs pytest, the storage in memory does not."""
    if name in _OF_PYTEST:
        import pytest

        new = {f"mbk.testing.{module}" for module in _RULE_MODULES} - sys.modules.keys()
        pytest.register_assert_rewrite(*new)
        from mbk.testing import conformance

        return getattr(conformance, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
