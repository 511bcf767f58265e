"""Which rules must catch which broken storage, and what the broken ones share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from mbk.errors import (
    PermissionDenied,
    Throttled,
)
from mbk.ports.storage import Storage, StorageRef, WriteOptions
from mbk.testing import MemoryService, MemoryStorage, StorageConformance
from mbk.testing.memory import ARCHIVE

SECRET = "hunter2"
POOL = 20
BROKEN: dict[type[MemoryStorage], frozenset[str]] = {}
Broken = TypeVar("Broken", bound=type[MemoryStorage])


def caught_by(*rules: str) -> Callable[[Broken], Broken]:
    def register(broken: Broken) -> Broken:
        BROKEN[broken] = frozenset(rules)
        return broken

    return register


class Pooled(MemoryStorage):
    """Has a pool of connections; who takes one must give it back."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.taken = 0

    def take(self) -> None:
        self.taken += 1
        if self.taken > POOL:
            raise Throttled("no connection is free")


class OfMemory(StorageConformance):
    """The kit over a class of storages in memory, with everything that can be given."""

    storage_class: type[MemoryStorage]
    secrets = (SECRET,)
    retention = timedelta(milliseconds=20)

    @pytest.fixture
    def service(self) -> MemoryService:
        return MemoryService("here", "there")

    @pytest.fixture
    def storage(self, service: MemoryService) -> MemoryStorage:
        return self.storage_class(service, "here")

    @pytest.fixture
    def other_storage(self, service: MemoryService) -> MemoryStorage:
        return self.storage_class(service, "there")

    @pytest.fixture
    def missing_storage(self, service: MemoryService) -> MemoryStorage:
        return self.storage_class(service, "nowhere")

    @pytest.fixture
    def reference(self, storage: MemoryStorage) -> StorageRef:
        return storage.reference()

    def archive(self, storage: Storage, key: str) -> bool:
        assert isinstance(storage, MemoryStorage)
        storage.put(key, b"x", WriteOptions(storage_class=ARCHIVE))
        return True

    def keep_versions(self, storage: Storage) -> bool:
        assert isinstance(storage, MemoryStorage)
        storage.bucket.versioned = True
        return True

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        assert isinstance(storage, MemoryStorage)
        return storage.get(key).options

    def protect(self, storage: Storage, key: str) -> Callable[[], object]:
        def fault(operation: str, touched: str) -> None:
            if (operation, touched) == ("delete", key):
                raise PermissionDenied(f"{key} is protected")

        assert isinstance(storage, MemoryStorage)
        normal, storage.fault = storage.fault, fault
        return lambda: setattr(storage, "fault", normal)
