"""The COS plugin keeps the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from mbk.ports.storage import Storage
from mbk.testing import StorageConformance
from mbk_tc.settings import TcSettings
from mbk_tc.storage import TcStorage
from tests.servers import cos


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
    def storage(self, front: cos.CosFront, account: cos.CosAccount) -> Iterator[TcStorage]:
        self.front = front
        storage = TcStorage(TcSettings(**account.settings("conformance-one-1250000000")))
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, account: cos.CosAccount) -> Iterator[TcStorage]:
        storage = TcStorage(TcSettings(**account.settings("conformance-two-1250000000")))
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, account: cos.CosAccount) -> Iterator[TcStorage]:
        storage = TcStorage(TcSettings(**account.settings(f"conformance-{uuid4().hex}-1250000000")))
        yield storage
        storage.close()

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        resource = f"arn:aws:s3:::{storage.location.bucket}/{key}"
        self.front.upstream.forbid("kit", "protect", ["s3:DeleteObject"], [resource])
        return lambda: self.front.upstream.withdraw("kit", "protect")
