"""The reference storage in memory keeps every rule."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mbk.errors import PermissionDenied
from mbk.ports.storage import Capabilities, Storage
from mbk.testing import MemoryService, MemoryStorage, StorageConformance


def protect(storage: Storage, protected: str) -> Callable[[], None]:
    def fault(operation: str, key: str) -> None:
        if (operation, key) == ("delete", protected):
            raise PermissionDenied(f"{key} is protected")

    assert isinstance(storage, MemoryStorage)
    normal, storage.fault = storage.fault, fault
    return lambda: setattr(storage, "fault", normal)


class TestMemory(StorageConformance):
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

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        return protect(storage, key)


class TestMemoryWithoutCapabilities(StorageConformance):
    """What is not declared is refused, and every other rule holds."""

    @pytest.fixture
    def storage(self) -> MemoryStorage:
        return MemoryStorage(capabilities=Capabilities())
