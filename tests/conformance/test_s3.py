"""The S3 plugin keeps the rules on real servers that differ."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from mbk.config.schema import StorageChoice
from mbk.errors import InvalidKey, Unsupported
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import WRITE_OPTIONS, ObjectVersion, Retention, Storage, WriteOptions
from mbk.registry.reference import Reference
from mbk.testing import StorageConformance
from mbk.testing.locks import Locks
from mbk.testing.options import Options
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage
from mbk_s3.wire import S3Wire
from tests.servers import s3


def opened(server: s3.S3Server, bucket: str, **more: Any) -> ObjectStorage[S3Wire]:
    return open_storage(GenericSettings(**server.settings(bucket, **more)))


def patient(storage: ObjectStorage[S3Wire]) -> ObjectStorage[S3Wire]:
    """Tries again after a 500: moto and rclone answer it now and then to writers of one key at once, for no reason."""
    client = storage.wrapped.client

    def tried(operation: Callable[..., Any], **members: Any) -> Any:
        for attempt in range(5):
            try:
                return operation(**members)
            except client.refusal as exc:
                if exc.status != 500 or attempt == 4:
                    raise
        return None

    for name in ("put_object", "copy_object", "upload_part", "complete_multipart_upload", "delete_object"):
        setattr(client, name, partial(tried, getattr(client, name)))
    return storage


def with_buckets(account: s3.S3Server) -> s3.S3Server:
    for bucket in ("conformance-one", "conformance-two"):
        account.make_bucket(bucket)
        # rclone's memory forgets a bucket with its last object.
        account.client().put_object(Bucket=bucket, Key="keep", Body=b"")
    return account


class OnS3(StorageConformance):
    """Two buckets of one account, made without object lock; subclasses bring the server."""

    more: ClassVar[dict[str, Any]] = {"write_options": frozenset()}
    flaky: ClassVar[bool] = False

    @pytest.fixture
    def storage(self, account: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(account, "conformance-one", **self.more)
        yield patient(storage) if self.flaky else storage
        storage.close()

    @pytest.fixture
    def other_storage(self, account: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(account, "conformance-two", **self.more)
        yield patient(storage) if self.flaky else storage
        storage.close()

    @pytest.fixture
    def missing_storage(self, account: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(account, f"conformance-{uuid4().hex}", **self.more)
        yield storage
        storage.close()


@pytest.fixture(scope="module")
def ministack() -> Iterator[s3.Ministack]:
    with s3.ministack() as server:
        yield server


@pytest.fixture(scope="module")
def ministack_user(ministack: s3.Ministack) -> s3.S3Server:
    return with_buckets(ministack.user("kit", "conformance-*"))


@pytest.fixture(scope="module")
def locking(ministack: s3.Ministack) -> s3.S3Server:
    account = ministack.user("locking", "locking")
    account.client().create_bucket(Bucket="locking", ObjectLockEnabledForBucket=True)
    return account


@pytest.fixture(scope="module")
def moto() -> Iterator[s3.S3Server]:
    with s3.moto() as server:
        yield with_buckets(server)


@pytest.fixture(scope="module")
def locked(moto: s3.S3Server) -> str:
    moto.client().create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    return "locked"


@pytest.fixture(scope="module")
def rclone() -> Iterator[s3.S3Server]:
    with s3.rclone() as server:
        yield with_buckets(server)


class TestMinistack(OnS3):
    """With an IAM user's keys, so that signatures and rights are checked."""

    @pytest.fixture
    def account(self, ministack: s3.Ministack, ministack_user: s3.S3Server) -> s3.S3Server:
        self.server = ministack
        type(self).secrets = (ministack_user.secret_key,)
        return ministack_user

    @pytest.fixture
    def reference(self, account: s3.S3Server) -> Reference:
        return Reference(StorageChoice(type="s3", values=account.settings("conformance-one")))

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        return s3.options_of(self.server, storage.location.bucket, key)

    def protect(self, storage: Storage, key: str) -> Callable[[], None]:
        resource = f"arn:aws:s3:::{storage.location.bucket}/{key}"
        self.server.forbid("kit", "protect", ["s3:DeleteObject"], [resource])
        return lambda: self.server.withdraw("kit", "protect")


class TestMotoOptions(Options):
    """All but the retention, which this server forgets for uploads in parts."""

    @pytest.fixture
    def storage(self, moto: s3.S3Server, locked: str) -> Iterator[ObjectStorage[S3Wire]]:
        self.server = moto
        storage = opened(moto, locked, write_options=WRITE_OPTIONS - {"retention"})
        yield storage
        storage.close()

    def options_of(self, storage: Storage, key: str) -> WriteOptions:
        return s3.options_of(self.server, storage.location.bucket, key)


class TestLocks(Locks):
    @pytest.fixture
    def storage(self, ministack: s3.Ministack, locking: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(locking, "locking")
        yield storage
        storage.close()


class TestNoLocks(Locks):
    """A bucket that was made without."""

    @pytest.fixture
    def storage(self, ministack_user: s3.S3Server) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(ministack_user, "conformance-one")
        yield storage
        storage.close()


def test_a_retention_locks_what_is_written_and_copied(ministack: s3.Ministack, locking: s3.S3Server) -> None:
    storage = opened(locking, "locking")
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    options = WriteOptions(retention=Retention(mode="governance", until=until))
    storage.write("written", [b"x"], options=options)
    storage.copy(storage, "written", "copied", options=options)
    assert s3.options_of(ministack, "locking", "written").retention == options.retention
    assert s3.options_of(ministack, "locking", "copied").retention == options.retention


def test_a_bucket_that_cannot_lock_objects_is_told(moto: s3.S3Server) -> None:
    storage = opened(moto, "conformance-one", write_options=WRITE_OPTIONS)
    until = datetime.now(UTC) + timedelta(hours=1)
    with pytest.raises(Unsupported):
        storage.write("a", [b"x"], options=WriteOptions(retention=Retention(mode="governance", until=until)))


class TestMoto(OnS3):
    secrets = ("moto-secret",)
    flaky = True

    @pytest.fixture
    def account(self, moto: s3.S3Server) -> s3.S3Server:
        return moto


class TestRclone(OnS3):
    """A server that does less than S3, and settings that say so."""

    more: ClassVar[dict[str, Any]] = {
        **OnS3.more,
        "conditional_write": False,
        "part_copy": False,
    }
    secrets = ("rclone-secret",)
    flaky = True
    excused: ClassVar[dict[str, str]] = {
        "D2": "deleting the name of a directory is answered with InternalError",
        "K3": "a key with an empty element is refused in a write, and a bare 400 in a stat",
        "K6": "an object named as a directory is answered with InternalError",
        "M4": "a part is passed on at once and cannot be replaced (NotImplemented)",
    }

    @pytest.fixture
    def account(self, rclone: s3.S3Server) -> s3.S3Server:
        return rclone

    def make_marker(self, storage: Storage, key: str) -> None:
        raise InvalidKey(f"{key}: rclone answers InternalError to keys that end with a slash")


def test_old_versions_are_told_page_by_page_and_removed(ministack: s3.Ministack) -> None:
    server = ministack.user("versions", "versioned-bucket")
    server.make_bucket("versioned-bucket")
    client = server.client()
    client.put_bucket_versioning(Bucket="versioned-bucket", VersioningConfiguration={"Status": "Enabled"})
    storage = opened(server, "versioned-bucket")
    wire = storage.wrapped
    wire.client.list_object_versions = partial(wire.client.list_object_versions, MaxKeys=2)
    keys = [f"b/{number} %+é" for number in range(3)]
    for key in (*keys, *keys, "bc/other"):
        storage.write(key, [b"x"])
    storage.delete(keys[:2])
    told = [*storage.versions("b/")]
    assert sorted(version.key for version in told if version.is_current) == keys[2:]
    assert len(told) == 8
    storage.delete_versions(version for version in told if not version.is_current)
    assert [(version.key, version.is_current) for version in storage.versions("b/")] == [(keys[2], True)]
    assert [info.key for info in storage.list()] == [keys[2], "bc/other"]
    storage.close()


def test_old_versions_are_read_and_brought_back(ministack: s3.Ministack) -> None:
    server = ministack.user("recalling", "recalling-bucket")
    server.make_bucket("recalling-bucket")
    client = server.client()
    client.put_bucket_versioning(Bucket="recalling-bucket", VersioningConfiguration={"Status": "Enabled"})
    storage = opened(server, "recalling-bucket")
    key = "b/1 %+é"
    for text in (b"older", b"newest"):
        storage.write(key, [text])
    storage.delete([key])
    told = [*storage.versions("b/")]
    kept = [version for version in told if not version.is_mark]
    assert [(version.size, version.is_current) for version in kept] == [(6, False), (5, False)]
    assert kept[1].etag == hashlib.md5(b"older").hexdigest()
    assert [_read(storage, version) for version in kept] == [b"newest", b"older"]
    storage.delete_versions(version for version in told if version.is_mark)
    with storage.read(key) as chunks:
        assert b"".join(chunks) == b"newest"
    storage.close()


def _read(storage: ObjectStorage[S3Wire], version: ObjectVersion) -> bytes:
    """From its beginning: ministack knows no ranges of versions."""
    with storage.read_version(version) as chunks:
        return b"".join(chunks)


def test_a_server_that_knows_no_locks_is_asked_for_none(rclone: s3.S3Server) -> None:
    """It would take the request for one that replaces the object."""
    storage = opened(rclone, "conformance-one", conditional_write=False, part_copy=False)
    storage.write("unlocked", [b"the object"])
    with pytest.raises(Unsupported):
        storage.lock("unlocked", Retention(mode="governance", until=datetime.now(UTC) + timedelta(days=1)))
    with storage.read("unlocked") as chunks:
        assert b"".join(chunks) == b"the object"
