"""The Google plugin keeps the rules, with a token on Google's protocol and with HMAC keys on S3's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from mbk.config.schema import StorageChoice
from mbk.errors import DeleteFailed
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import Retention, Storage, WriteOptions
from mbk.registry.reference import Reference
from mbk.testing import StorageConformance
from mbk_gcp.interop import open_by_keys
from mbk_gcp.settings import GcpSettings
from mbk_gcp.storage import open_storage
from mbk_gcp.wire import GcpWire
from mbk_s3.wire import S3Wire
from tests.servers import s3
from tests.servers.gcs import GcsServer, gcs


@pytest.fixture(scope="module")
def server() -> Iterator[GcsServer]:
    with gcs() as server:
        for bucket in ("conformance-one", "conformance-two"):
            server.make_bucket(bucket)
        yield server


@pytest.fixture(scope="module")
def key_file(server: GcsServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    return server.key_file(server.account("kit", "conformance-*"), tmp_path_factory.mktemp("keys"))


class TestGcp(StorageConformance):
    """With a service account's key file, whose tokens the server checks."""

    option_values: ClassVar[WriteOptions] = WriteOptions(
        storage_class="NEARLINE", encryption_key="projects/p/locations/us/keyRings/r/cryptoKeys/k"
    )

    @pytest.fixture(autouse=True)
    def _server(self, server: GcsServer, key_file: str) -> None:
        self.server, self.key_file = server, key_file
        type(self).secrets = tuple(Path(key_file).read_text().split("\\n")[1:5])

    def opened(self, bucket: str) -> ObjectStorage[GcpWire]:
        return open_storage(GcpSettings(**self.values(bucket)))

    def values(self, bucket: str) -> dict[str, Any]:
        options = frozenset({"retention", "storage_class", "encryption_key"})
        return self.server.settings(bucket, credentials_file=self.key_file, write_options=options)

    @pytest.fixture
    def storage(self) -> Iterator[ObjectStorage[GcpWire]]:
        storage = self.opened("conformance-one")
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self) -> Iterator[ObjectStorage[GcpWire]]:
        storage = self.opened("conformance-two")
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self) -> Iterator[ObjectStorage[GcpWire]]:
        storage = self.opened(f"conformance-{uuid4().hex}")
        yield storage
        storage.close()

    @pytest.fixture
    def reference(self) -> Reference:
        return Reference(StorageChoice(type="gcp", values=self.values("conformance-one")))

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        told = self.server.store.get(storage.location.bucket, key).resource(storage.location.bucket)
        retention = told.get("retention")
        return WriteOptions(
            storage_class=told["storageClass"],
            encryption_key=told.get("kmsKeyName", "").partition("/cryptoKeyVersions/")[0],
            retention=Retention(
                mode="governance" if retention["mode"] == "Unlocked" else "compliance",
                until=datetime.fromisoformat(retention["retainUntilTime"]),
            )
            if retention
            else None,
        )

    def keep_versions(self, storage: Storage) -> bool:
        self.server.store.bucket(storage.location.bucket).versioned = True
        return True

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        name = (storage.location.bucket, key)
        self.server.protected.add(name)
        return lambda: self.server.protected.discard(name)


def test_the_versions_of_a_key_are_told_together_wherever_a_page_ends(
    server: GcsServer, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "page_size", 3)
    server.store.bucket(server.make_bucket("conformance-versions")).versioned = True
    storage = open_storage(GcpSettings(**server.settings("conformance-versions", credentials_file=key_file)))
    for name, times in (("b/1 %+é", 2), ("b/2", 5), ("b/3", 1), ("bc/other", 1)):
        for number in range(times):
            storage.write(name, [b"x" * (number + 1)])
    storage.delete(["b/2"])
    told = [(version.key, version.size, version.is_current) for version in storage.versions("b/")]
    assert told == [
        ("b/1 %+é", 2, True),
        ("b/1 %+é", 1, False),
        *(("b/2", size, False) for size in (5, 4, 3, 2, 1)),
        ("b/3", 1, True),
    ]
    storage.close()


def test_a_locked_version_is_read_and_not_deleted(server: GcsServer, key_file: str) -> None:
    server.store.bucket(server.make_bucket("conformance-vault")).versioned = True
    options = {"write_options": frozenset({"retention"})}
    settings = server.settings("conformance-vault", credentials_file=key_file, **options)
    storage = open_storage(GcpSettings(**settings))
    lock = Retention(mode="compliance", until=datetime.now(UTC) + timedelta(days=1))
    storage.write("a/kept", [b"the object"], options=WriteOptions(retention=lock))
    storage.delete(["a/kept"])
    (version,) = storage.versions("a/")
    with pytest.raises(DeleteFailed) as caught:
        storage.delete_versions([version])
    assert "retention" in caught.value.failures["a/kept"]
    with storage.read_version(version, offset=4) as chunks:
        assert b"".join(chunks) == b"object"
    storage.close()


@pytest.fixture(scope="module")
def interoperable() -> Iterator[s3.S3Server]:
    with s3.ministack() as server:
        account = server.user("kit", "conformance-*")
        for bucket in ("conformance-one", "conformance-two"):
            account.make_bucket(bucket)
        yield account


class TestInterop(StorageConformance):
    """HMAC keys: the same type, the S3 protocol."""

    @pytest.fixture
    def account(self, interoperable: s3.S3Server) -> s3.S3Server:
        type(self).secrets = (interoperable.secret_key,)
        return interoperable

    def opened(self, account: s3.S3Server, bucket: str) -> ObjectStorage[S3Wire]:
        return open_by_keys(GcpSettings(**account.settings(bucket, region=account.region)))

    @pytest.fixture
    def storage(self, account: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = self.opened(account, "conformance-one")
        yield storage
        storage.close()

    @pytest.fixture
    def other_storage(self, account: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = self.opened(account, "conformance-two")
        yield storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, account: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = self.opened(account, f"conformance-{uuid4().hex}")
        yield storage
        storage.close()

    @pytest.fixture
    def reference(self, account: s3.S3Server) -> Reference:
        values = account.settings("conformance-one", region=account.region)
        return Reference(StorageChoice(type="gcp", values=values))
