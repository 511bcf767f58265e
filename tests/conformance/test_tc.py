"""The COS plugin keeps the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from mbk.config.schema import StorageChoice
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import Storage, WriteOptions
from mbk.registry.reference import Reference
from mbk.testing import StorageConformance
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage
from mbk_tc.wire import TcWire
from tests.servers import cos, s3


@pytest.fixture(scope="module")
def front() -> Iterator[cos.CosFront]:
    with cos.cos() as front:
        yield front


@pytest.fixture(scope="module")
def account(front: cos.CosFront) -> cos.CosAccount:
    account = front.user("kit", "conformance-*")
    account.make_bucket("conformance-one-1250000000")
    account.make_bucket("conformance-two-1250000000")
    return account


class TestCos(StorageConformance):
    """Two buckets of one user."""

    secrets = ("kit-cos-secret",)

    @pytest.fixture
    def storage(self, front: cos.CosFront, account: cos.CosAccount) -> Iterator[ObjectStorage[TcWire]]:
        self.front = front
        storage = open_storage(TcSettings(**account.settings("conformance-one-1250000000")))
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, account: cos.CosAccount) -> Iterator[ObjectStorage[TcWire]]:
        storage = open_storage(TcSettings(**account.settings("conformance-two-1250000000")))
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, account: cos.CosAccount) -> Iterator[ObjectStorage[TcWire]]:
        storage = open_storage(TcSettings(**account.settings(f"conformance-{uuid4().hex}-1250000000")))
        yield storage
        storage.close()

    @pytest.fixture
    def reference(self, account: cos.CosAccount) -> Reference:
        return Reference(StorageChoice(type="tc", values=account.settings("conformance-one-1250000000")))

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        return s3.options_of(self.front.upstream, storage.location.bucket, key)

    def archive(self, storage: Storage, key: str) -> bool:
        self.front.archived.add((storage.location.bucket, key))
        return True

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        resource = f"arn:aws:s3:::{storage.location.bucket}/{key}"
        self.front.upstream.forbid("kit", "protect", ["s3:DeleteObject"], [resource])
        return lambda: self.front.upstream.withdraw("kit", "protect")
