"""The Azure plugin keeps the rules on Azurite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar
from uuid import uuid4

import pytest
from azure.storage.blob import BlobLeaseClient

from mbk.ports.storage import Storage
from mbk.testing import StorageConformance
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import AzureStorage
from tests.servers.azurite import Account, Accounts, azurite


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    with azurite() as accounts:
        for account in accounts.values():
            account.make_bucket("conformance")
        yield accounts


def opened(account: Account, bucket: str = "conformance") -> AzureStorage:
    return AzureStorage(AzureSettings(**account.settings(bucket)))


class TestAzurite(StorageConformance):
    """With two accounts, so that every copy of the kit crosses from one to the other."""

    excused: ClassVar[dict[str, str]] = {
        "M10": "the service knows no uploads: committing one list of blocks drops all other blocks of the key",
    }

    @pytest.fixture
    def storage(self, accounts: Accounts) -> Iterator[AzureStorage]:
        type(self).secrets = (accounts["alpha"].key,)
        storage = opened(accounts["alpha"])
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, accounts: Accounts) -> Iterator[AzureStorage]:
        storage = opened(accounts["beta"])
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, accounts: Accounts) -> Iterator[AzureStorage]:
        storage = opened(accounts["alpha"], f"conformance-{uuid4().hex}")
        yield storage
        storage.close()

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        assert isinstance(storage, AzureStorage)
        lease = BlobLeaseClient(storage.blob(key))
        lease.acquire()
        return lease.release
