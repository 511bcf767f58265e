"""The OSS plugin keeps the rules, with both of OSS's signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from mbk.ports.storage import Storage
from mbk.testing import StorageConformance
from mbk_ali.settings import AliSettings
from mbk_ali.storage import AliStorage
from tests.servers import oss


@pytest.fixture(scope="module")
def front() -> Iterator[oss.OssFront]:
    with oss.oss() as front:
        yield front


@pytest.fixture(scope="module")
def account(front: oss.OssFront) -> oss.OssAccount:
    account = front.user("kit", "conformance-*")
    account.make_bucket("conformance-one")
    account.make_bucket("conformance-two")
    return account


class OnOss(StorageConformance):
    """Two buckets of one user; subclasses choose the signature."""

    more: ClassVar[dict[str, Any]] = {}
    secrets = ("kit-oss-secret",)

    @pytest.fixture
    def storage(self, front: oss.OssFront, account: oss.OssAccount) -> Iterator[AliStorage]:
        self.front = front
        storage = AliStorage(AliSettings(**account.settings("conformance-one", **self.more)))
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, account: oss.OssAccount) -> Iterator[AliStorage]:
        storage = AliStorage(AliSettings(**account.settings("conformance-two", **self.more)))
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, account: oss.OssAccount) -> Iterator[AliStorage]:
        storage = AliStorage(AliSettings(**account.settings(f"conformance-{uuid4().hex}", **self.more)))
        yield storage
        storage.close()

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        resource = f"arn:aws:s3:::{storage.location.bucket}/{key}"
        self.front.upstream.forbid("kit", "protect", ["s3:DeleteObject"], [resource])
        return lambda: self.front.upstream.withdraw("kit", "protect")


class TestOss(OnOss):
    """Signature V4, as with every region that is known."""

    more: ClassVar[dict[str, Any]] = {"region": oss.OSS_REGION}


class TestOssWithSignatureV1(OnOss):
    """Without a region."""
