"""The reference storage in memory keeps every rule."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from mbk.errors import PermissionDenied, TransferInterrupted
from mbk.ports.storage import Capabilities, Storage, StorageRef, WriteOptions
from mbk.testing import MemoryService, MemoryStorage, StorageConformance
from mbk.testing.memory import ARCHIVE


def protect(storage: Storage, protected: str) -> Callable[[], None]:
    def fault(operation: str, key: str) -> None:
        if (operation, key) == ("delete", protected):
            raise PermissionDenied(f"{key} is protected")

    assert isinstance(storage, MemoryStorage)
    normal, storage.fault = storage.fault, fault
    return lambda: setattr(storage, "fault", normal)


class TestMemory(StorageConformance):
    retention = timedelta(milliseconds=20)

    @pytest.fixture
    def service(self) -> MemoryService:
        return MemoryService("here", "there")

    @pytest.fixture
    def storage(self, service: MemoryService) -> MemoryStorage:
        return MemoryStorage(service, "here")

    @pytest.fixture
    def other_storage(self, service: MemoryService) -> MemoryStorage:
        return MemoryStorage(service, "there")

    @pytest.fixture
    def missing_storage(self, service: MemoryService) -> MemoryStorage:
        return MemoryStorage(service, "nowhere")

    @pytest.fixture
    def reference(self, storage: MemoryStorage) -> StorageRef:
        return storage.reference()

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        return protect(storage, key)

    def archive(self, storage: Storage, key: str) -> bool:
        storage.write(key, [b"x"], options=WriteOptions(storage_class=ARCHIVE))
        return True

    def keep_versions(self, storage: Storage) -> bool:
        assert isinstance(storage, MemoryStorage)
        storage.bucket.versioned = True
        return True

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        assert isinstance(storage, MemoryStorage)
        return storage.get(key).options


def test_a_fault_is_what_the_primitive_raises() -> None:
    """An engine's tests break a stream in the middle with it."""
    seen: list[tuple[str, str]] = []

    def fault(operation: str, key: str) -> None:
        seen.append((operation, key))
        if seen.count(("chunk", "a")) == 2:
            raise TransferInterrupted("the connection was reset")

    storage = MemoryStorage(fault=fault)
    storage.write("a", [b"x" * 200_000])
    with pytest.raises(TransferInterrupted), storage.read("a") as chunks:
        list(chunks)
    assert seen == [("write", "a"), ("read", "a"), ("chunk", "a"), ("chunk", "a")]


class TestMemoryWithoutCapabilities(StorageConformance):
    """What is not declared is refused, and every other rule holds."""

    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage(capabilities=Capabilities())
