"""The OSS plugin keeps the rules, with both of OSS's signatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from mbk.config.schema import StorageChoice
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import Storage, WriteOptions
from mbk.registry.reference import Reference
from mbk.testing import StorageConformance
from mbk_ali.settings import AliSettings
from mbk_ali.storage import open_storage
from mbk_ali.wire import AliWire
from tests.servers import oss, s3

CLASSES = {"STANDARD_IA": "IA"}


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
    option_values = WriteOptions(storage_class="IA")

    @pytest.fixture
    def storage(self, front: oss.OssFront, account: oss.OssAccount) -> Iterator[ObjectStorage[AliWire]]:
        self.front = front
        storage = open_storage(AliSettings(**account.settings("conformance-one", **self.more)))
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, account: oss.OssAccount) -> Iterator[ObjectStorage[AliWire]]:
        storage = open_storage(AliSettings(**account.settings("conformance-two", **self.more)))
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, account: oss.OssAccount) -> Iterator[ObjectStorage[AliWire]]:
        storage = open_storage(AliSettings(**account.settings(f"conformance-{uuid4().hex}", **self.more)))
        yield storage
        storage.close()

    @pytest.fixture
    def reference(self, account: oss.OssAccount) -> Reference:
        values = account.settings("conformance-one", **self.more)
        return Reference(StorageChoice(type="ali", values=values))

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        told = s3.options_of(self.front.upstream, storage.location.bucket, key)
        return replace(told, storage_class=CLASSES.get(told.storage_class, told.storage_class))

    def archive(self, storage: Storage, key: str) -> bool:
        self.front.archived.add((storage.location.bucket, key))
        return True

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        resource = f"arn:aws:s3:::{storage.location.bucket}/{key}"
        self.front.upstream.forbid("kit", "protect", ["s3:DeleteObject"], [resource])
        return lambda: self.front.upstream.withdraw("kit", "protect")


class TestOss(OnOss):
    """Signature V4, as with every region that is known."""

    more: ClassVar[dict[str, Any]] = {"region": oss.OSS_REGION}


class TestOssWithSignatureV1(OnOss):
    """Without a region."""
