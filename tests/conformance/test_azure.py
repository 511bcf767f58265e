"""The Azure plugin keeps the rules on Azurite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import uuid4

import pytest
from azure.storage.blob import BlobLeaseClient, StandardBlobTier

from mbk.config.schema import StorageChoice
from mbk.errors import MbkError, ObjectArchived, Unsupported
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import MIB, WRITE_OPTIONS, Retention, Storage, WriteOptions
from mbk.registry.reference import Reference
from mbk.testing import StorageConformance
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import open_storage
from mbk_azure.wire import AzureWire
from tests.raising import raised
from tests.servers.azurite import Account, Accounts, azurite
from tests.servers.faults import FaultProxy, fault_proxy


@pytest.fixture(scope="module")
def accounts() -> Iterator[Accounts]:
    with azurite() as accounts:
        for account in accounts.values():
            account.make_bucket("conformance")
        yield accounts


def opened(account: Account, bucket: str = "conformance", **more: object) -> ObjectStorage[AzureWire]:
    return open_storage(AzureSettings(**account.settings(bucket, **more)))


class TestAzurite(StorageConformance):
    """With two accounts, so that every copy of the kit crosses from one to the other."""

    excused: ClassVar[dict[str, str]] = {
        "M10": "the service knows no uploads: committing one list of blocks drops all other blocks of the key",
    }
    option_values: ClassVar[WriteOptions] = WriteOptions(storage_class="Cool")

    @pytest.fixture
    def storage(self, accounts: Accounts) -> Iterator[ObjectStorage[AzureWire]]:
        self.account = accounts["alpha"]
        type(self).secrets = (self.account.key,)
        storage = opened(self.account)
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, accounts: Accounts) -> Iterator[ObjectStorage[AzureWire]]:
        storage = opened(accounts["beta"])
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, accounts: Accounts) -> Iterator[ObjectStorage[AzureWire]]:
        storage = opened(accounts["alpha"], f"conformance-{uuid4().hex}")
        yield storage
        storage.close()

    @pytest.fixture
    def reference(self, accounts: Accounts) -> Reference:
        return Reference(StorageChoice(type="azure", values=accounts["alpha"].settings("conformance")))

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        lease = BlobLeaseClient(self.account.client().get_blob_client("conformance", key))
        lease.acquire()
        return lease.release

    def archive(self, storage: Storage, key: str) -> bool:
        with self.account.client().get_blob_client("conformance", key) as blob:
            blob.set_standard_blob_tier(StandardBlobTier.ARCHIVE)
        return True

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        with self.account.client().get_blob_client("conformance", key) as blob:
            tier = blob.get_blob_properties().blob_tier
            return WriteOptions(storage_class=str(tier), tags=blob.get_blob_tags())


# -- what the emulator ignores: the requests themselves ------------------------------------------------------------

RETAINED = WriteOptions(
    retention=Retention(mode="compliance", until=datetime.now(UTC) + timedelta(hours=1)),
    tags={"purpose": "mbk conformance"},
    storage_class="Cold",
)


@pytest.fixture
def proxy(accounts: Accounts) -> Iterator[FaultProxy]:
    with fault_proxy(accounts["alpha"].port) as proxy:
        yield proxy


def test_every_write_asks_for_its_options(accounts: Accounts, proxy: FaultProxy) -> None:
    storage = opened(accounts["alpha"].behind(proxy.port), write_options=WRITE_OPTIONS)
    storage.write("options/one", [b"x"], options=RETAINED)
    storage.write("options/parts", [b"x" * MIB] * 9, options=RETAINED)
    storage.copy(storage, "options/one", "options/copied", options=RETAINED)
    making = [one for one in proxy.requests if one.method == "PUT" and "comp=block&" not in one.target]
    assert len(making) == 3
    for request in making:
        assert request.headers["x-ms-immutability-policy-mode"] == "Locked"
        assert request.headers["x-ms-immutability-policy-until-date"].endswith("GMT")
        assert request.headers["x-ms-access-tier"] == "Cold"
        assert request.headers["x-ms-tags"]


def test_an_encryption_scope_that_is_ignored_is_found_out(accounts: Accounts, proxy: FaultProxy) -> None:
    storage = opened(accounts["alpha"].behind(proxy.port), write_options=WRITE_OPTIONS)
    storage.write("options/from", [b"x"])
    options = WriteOptions(encryption_key="a-scope")
    for call in (
        lambda: storage.write("options/one", [b"x"], options=options),
        lambda: storage.write("options/parts", [b"x" * MIB] * 9, options=options),
        lambda: storage.copy(storage, "options/from", "options/copied", options=options),
    ):
        before = len(proxy.requests)
        with raised(Unsupported, "encryption-scope-ignored", scope="a-scope"):
            call()
        assert proxy.requests[before].headers["x-ms-encryption-scope"] == "a-scope"


def test_a_tier_that_is_none_is_told_before_anything_is_sent(accounts: Accounts, proxy: FaultProxy) -> None:
    storage = opened(accounts["alpha"].behind(proxy.port))
    for chunks in ([b"x"], [b"x" * MIB] * 9):
        with raised(Unsupported, "tier-unknown", tier="STANDARD_IA"):
            storage.write("options/one", chunks, options=WriteOptions(storage_class="STANDARD_IA"))
    assert proxy.requests == []


def test_an_archived_object_can_be_listed_and_not_copied(accounts: Accounts) -> None:
    storage = opened(accounts["alpha"])
    storage.write("archived/a", [b"x"], options=WriteOptions(storage_class="Archive"))
    assert storage.stat("archived/a").storage_class == "Archive"
    assert [info.storage_class for info in storage.list("archived/")] == ["Archive"]
    with raised(ObjectArchived, key="archived/a"):
        storage.copy(storage, "archived/a", "archived/b")


def test_a_lock_is_a_policy_of_the_blob_itself(accounts: Accounts, proxy: FaultProxy) -> None:
    """The emulator knows none of it: the container has none, and each request says what a real account is asked."""
    storage = opened(accounts["alpha"].behind(proxy.port), write_options=WRITE_OPTIONS)
    storage.write("locks/one", [b"x"])
    retention = RETAINED.retention
    assert retention is not None
    assert storage.locked("locks/one") is None
    with pytest.raises(Unsupported):
        storage.require_locks()
    with suppress(MbkError):
        storage.lock("locks/one", retention)
    asked = [one for one in proxy.requests if "comp=immutabilityPolicies" in one.target]
    assert [(one.method, one.headers["x-ms-immutability-policy-mode"]) for one in asked][:1] == [
        ("PUT", "Locked")
    ]
