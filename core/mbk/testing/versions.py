"""Rules of the ability `mbk.ports.storage.Versioned`."""

from __future__ import annotations

import pytest

from mbk.errors import Unsupported
from mbk.ports.storage import Storage, Versioned, ability
from mbk.testing.kit import Kit, content, put


class Versions(Kit):
    def test_v1_the_current_version_of_each_object(self, storage: Storage, prefix: str) -> None:
        """V1. Where versions are told, each object below the prefix has one that is current, and no other prefix is told of."""
        versioned = _versioned(storage)
        names = ["46/a", "46/b/c"]
        for name in (*names, "460/a"):
            put(storage, prefix + name)
        told = [version.key for version in versioned.versions(f"{prefix}46/") if version.is_current]
        assert sorted(told) == [prefix + name for name in names]

    def test_v2_old_versions_are_removed(self, storage: Storage, prefix: str) -> None:
        """V2. Old versions and marks of deletion are told, and removed for good; what is current stays."""
        versioned = _versioned(storage)
        if not self.keep_versions(storage):
            pytest.skip("no way to make the bucket keep versions was given (override `keep_versions`)")
        for name in ("stays", "gone"):
            put(storage, prefix + name)
        storage.delete([f"{prefix}gone"])
        old = [version for version in versioned.versions(prefix) if not version.is_current]
        assert sorted(version.key for version in old) == [f"{prefix}gone", f"{prefix}gone"]
        versioned.delete_versions(iter(old))
        versioned.delete_versions(old)
        assert [version.key for version in versioned.versions(prefix)] == [f"{prefix}stays"]
        assert content(storage, f"{prefix}stays") == b"x"


def _versioned(storage: Storage) -> Versioned:
    versioned = ability(storage, Versioned)
    try:
        if versioned is not None:
            next(iter(versioned.versions("mbk-conformance/none/")), None)
            return versioned
    except Unsupported:
        pass
    pytest.skip("the storage tells no versions")
