"""Rules of the ability `mbk.ports.storage.Versioned`."""

from __future__ import annotations

import pytest

from mbk.errors import Unsupported
from mbk.ports.storage import ObjectVersion, Recalling, Storage, Versioned, ability
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
        # Some services mark what was deleted by a version of its own.
        assert {version.key for version in old if not version.is_mark} == {f"{prefix}gone"}
        assert {version.key for version in old} == {f"{prefix}gone"}
        versioned.delete_versions(iter(old))
        versioned.delete_versions(old)
        assert [version.key for version in versioned.versions(prefix)] == [f"{prefix}stays"]
        assert content(storage, f"{prefix}stays") == b"x"

    def test_v3_what_was_deleted_comes_back_without_the_marks(self, storage: Storage, prefix: str) -> None:
        """V3. The versions of one key are told from the newest on, with their sizes, and can be read; without the marks, where
        there are such, the newest is current again.
        """
        versioned, recalling = _versioned(storage), ability(storage, Recalling)
        if recalling is None:
            pytest.skip("the storage reads no old versions")
        if not self.keep_versions(storage):
            pytest.skip("no way to make the bucket keep versions was given (override `keep_versions`)")
        key = f"{prefix}back"
        for text in (b"1", b"22"):
            put(storage, key, text)
            storage.delete([key])
        told = [*versioned.versions(prefix)]
        kept = [version for version in told if not version.is_mark]
        assert [version.size for version in kept] == [2, 1]
        assert [_content(recalling, version) for version in kept] == [b"22", b"1"]
        marks = [version for version in told if version.is_mark]
        if not marks:
            return
        versioned.delete_versions(marks)
        assert content(storage, key) == b"22"
        assert [version.is_current for version in versioned.versions(prefix)] == [True, False]


def _content(recalling: Recalling, version: ObjectVersion) -> bytes:
    with recalling.read_version(version) as chunks:
        return b"".join(chunks)


def _versioned(storage: Storage) -> Versioned:
    versioned = ability(storage, Versioned)
    try:
        if versioned is not None:
            next(iter(versioned.versions("mbk-conformance/none/")), None)
            return versioned
    except Unsupported:
        pass
    pytest.skip("the storage tells no versions")
