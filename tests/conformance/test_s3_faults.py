"""What the S3 plugin makes of a network and a service that fail: one request an attempt, the right error, nothing half there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from mbk.errors import Unsupported
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import MIB
from mbk.testing import FaultConformance
from mbk.testing.faults import LARGE
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage
from mbk_s3.wire import S3Wire
from tests.raising import raised
from tests.servers import s3
from tests.servers.faults import FaultProxy, fault_proxy
from tests.servers.network import S3_ANSWERS, S3_REQUESTS, ProxyNetwork

BUCKET = "faults"


@pytest.fixture(scope="module")
def account() -> Iterator[s3.S3Server]:
    with s3.ministack() as server:
        account = server.user("faulty", BUCKET)
        account.make_bucket(BUCKET)
        yield account


@pytest.fixture
def proxy(account: s3.S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(account.port) as proxy:
        yield proxy


def opened(account: s3.S3Server) -> ObjectStorage[S3Wire]:
    return open_storage(GenericSettings(**account.settings(BUCKET)))


@pytest.fixture
def storage(account: s3.S3Server, proxy: FaultProxy) -> Iterator[ObjectStorage[S3Wire]]:
    storage = opened(account.behind(proxy.port))
    yield storage
    proxy.faults = []
    storage.delete([info.key for info in storage.list()])
    storage.clean("")
    storage.close()


class TestS3Faults(FaultConformance):
    @pytest.fixture
    def storage(self, account: s3.S3Server, proxy: FaultProxy) -> Iterator[ObjectStorage[S3Wire]]:
        storage = opened(account.behind(proxy.port))
        yield storage
        storage.close()

    @pytest.fixture
    def network(self, proxy: FaultProxy) -> ProxyNetwork:
        return ProxyNetwork(proxy, S3_REQUESTS, S3_ANSWERS)


def test_a_service_that_ignores_conditions_is_found_out(proxy: FaultProxy) -> None:
    with s3.rclone() as server:
        server.make_bucket(BUCKET)
        storage = open_storage(GenericSettings(**server.settings(BUCKET)))
        storage.write("a", [b"first"])
        with raised(Unsupported, "conditional-write-ignored", bucket=BUCKET):
            storage.write_if_absent("a", [b"second"])
        with storage.read("a") as chunks:
            assert b"".join(chunks) == b"first"
        assert [info.key for info in storage.list()] == ["a"]


def test_unfinished_uploads_are_found_past_a_page(
    storage: ObjectStorage[S3Wire], account: s3.S3Server
) -> None:
    client = account.client()
    for number in range(12):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"left/{number} %+é")
    client.create_multipart_upload(Bucket=BUCKET, Key="elsewhere")
    wire = storage.wrapped
    wire.client.list_multipart_uploads = partial(wire.client.list_multipart_uploads, MaxUploads=5)
    assert storage.clean("left/") == 12
    assert storage.clean("") == 1


def test_unfinished_uploads_are_found_where_the_service_lists_none_below_a_prefix(
    storage: ObjectStorage[S3Wire], account: s3.S3Server
) -> None:
    """MinIO knows an empty prefix and a whole key only."""
    wire = storage.wrapped
    listed = wire.client.list_multipart_uploads

    def as_minio(**members: str) -> dict[str, object]:
        found: dict[str, object] = listed(**members)
        return {**found, "Uploads": []} if members["Prefix"].endswith("/") else found

    wire.client.list_multipart_uploads = as_minio
    for key in ("backup/nightly/binlogs/a", "backup/nightly2/b", "files/c"):
        account.client().create_multipart_upload(Bucket=BUCKET, Key=key)
    assert storage.clean("backup/nightly/") == 1
    assert storage.clean("backup/") == 1
    assert storage.clean("") == 1


def test_a_batch_of_deletes_carries_the_digest_that_old_servers_want(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy
) -> None:
    storage.delete(["a"])
    [request] = [request for request in proxy.requests if request.method == "POST"]
    assert request.headers["Content-MD5"]
    assert not [name for name in request.headers if name.lower().startswith("x-amz-checksum")]


@pytest.mark.parametrize(
    ("size", "proof"), [(1000, "x-amz-content-sha256"), (MIB, "x-amz-checksum-crc32c"), (LARGE, "")]
)
def test_uploads_are_proven_in_a_header_and_carry_no_trailing_checksum(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy, size: int, proof: str
) -> None:
    storage.write("a", [bytes(size)])
    requests = [request.headers for request in proxy.requests if request.method == "PUT"]
    assert requests
    for headers in requests:
        assert "x-amz-trailer" not in headers
        assert "Content-Encoding" not in headers
        digest = headers["x-amz-content-sha256"]
        assert (digest == "UNSIGNED-PAYLOAD") is bool(headers["x-amz-checksum-crc32c"])
        assert not proof or headers[proof]


def test_keys_that_no_batch_can_name_are_deleted_alone(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy
) -> None:
    for key in ("a", "control\x01"):
        storage.write(key, [b"x"])
    storage.delete(["a", "control\x01"])
    assert list(storage.list()) == []
