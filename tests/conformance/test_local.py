"""A directory keeps every rule of the kit."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mbk.config.schema import StorageChoice
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import Storage
from mbk.registry.reference import Reference
from mbk.testing import StorageConformance
from mbk_local import kernel
from mbk_local.storage import LocalStorage

IMMUTABLE = 0x10
GET_FLAGS, SET_FLAGS = 0x80086601, 0x40086602


class TestLocal(StorageConformance):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        (tmp_path / "here").mkdir()
        return LocalStorage(tmp_path / "here")

    @pytest.fixture
    def other_storage(self, tmp_path: Path) -> Storage:
        (tmp_path / "there").mkdir()
        return LocalStorage(tmp_path / "there")

    @pytest.fixture
    def missing_storage(self, tmp_path: Path) -> Storage:
        return LocalStorage(tmp_path / "not" / "yet")

    @pytest.fixture
    def reference(self, storage: Storage) -> Reference:
        return Reference(StorageChoice(type="local", values={"root_path": storage.location.bucket}))

    def protect(self, storage: Storage, key: str) -> Callable[[], object] | None:
        path = Path(storage.location.bucket, key)
        if os.geteuid() != 0:
            path.parent.chmod(0o500)
            return lambda: path.parent.chmod(0o700)
        if sys.platform == "linux" and set_immutable(path, True):
            return partial(set_immutable, path, False)
        return None


class TestLocalWrapped(TestLocal):
    """As a plugin of the hook `mbk_open_storage` wraps it: nothing is lost, copies stay in the kernel."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Storage:
        (tmp_path / "here").mkdir()
        return StorageWrapper(LocalStorage(tmp_path / "here"))

    @pytest.fixture
    def other_storage(self, tmp_path: Path) -> Storage:
        (tmp_path / "there").mkdir()
        return StorageWrapper(LocalStorage(tmp_path / "there"))

    @pytest.fixture
    def missing_storage(self, tmp_path: Path) -> Storage:
        return StorageWrapper(LocalStorage(tmp_path / "not" / "yet"))


class TestLocalWithoutLinux(TestLocal):
    """Where the kernel has no call that opens a file and follows no link, such as macOS or a strict container."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kernel, "called", lambda *_: -1)


def set_immutable(path: Path, on: bool) -> bool:
    """What `chattr +i` does: the only thing that keeps root from deleting. Not every file system can."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = struct.unpack("i", fcntl.ioctl(descriptor, GET_FLAGS, struct.pack("i", 0)))[0]
        flags = flags | IMMUTABLE if on else flags & ~IMMUTABLE
        fcntl.ioctl(descriptor, SET_FLAGS, struct.pack("i", flags))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
