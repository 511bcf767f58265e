"""What the COS plugin makes of a network and a service that fail: one request an attempt, the right error, nothing half there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbk.errors import AuthenticationFailed, MbkError, StorageError, StorageUnavailable, Unsupported
from mbk.plugin.objects import ObjectStorage
from mbk.testing import FaultConformance
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage
from mbk_tc.wire import TcWire
from tests.raising import raised
from tests.servers import cos
from tests.servers.faults import Fault, FaultProxy, fault_proxy
from tests.servers.network import S3_ANSWERS, S3_REQUESTS, ProxyNetwork, Requests

BUCKET = "faults-1250000000"


@pytest.fixture(scope="module")
def account() -> Iterator[cos.CosAccount]:
    with cos.cos() as front:
        account = front.user("faulty", "faults-*")
        account.make_bucket(BUCKET)
        yield account


@pytest.fixture
def proxy(account: cos.CosAccount) -> Iterator[FaultProxy]:
    with fault_proxy(account.front.port) as proxy:
        yield proxy


@pytest.fixture
def storage(account: cos.CosAccount, proxy: FaultProxy) -> Iterator[ObjectStorage[TcWire]]:
    storage = open_storage(TcSettings(**account.settings(BUCKET, port=proxy.port)))
    yield storage
    proxy.faults = []
    storage.delete([info.key for info in storage.list()])
    storage.clean("")
    storage.close()


#: Of every answer of the service.
MARK = (("x-cos-request-id", "1"),)


class TestCosFaults(FaultConformance):
    @pytest.fixture
    def storage(self, account: cos.CosAccount, proxy: FaultProxy) -> Iterator[ObjectStorage[TcWire]]:
        storage = open_storage(TcSettings(**account.settings(BUCKET, port=proxy.port)))
        yield storage
        storage.close()

    @pytest.fixture
    def network(self, proxy: FaultProxy) -> ProxyNetwork:
        return ProxyNetwork(proxy, {**S3_REQUESTS, "list": Requests("GET", "max-keys")}, S3_ANSWERS)


def test_an_answer_that_is_not_a_listing_is_never_taken_for_an_empty_one(
    storage: ObjectStorage[TcWire], proxy: FaultProxy
) -> None:
    for body in (b"", b"<html></html>", b"<ListBucketResult></ListBucketResult>"):
        proxy.faults = [Fault("answer", method="GET", status=200, body=body)]
        with pytest.raises(MbkError) as caught:
            list(storage.list())
        assert caught.value.retryable


def test_a_redirect_is_not_followed(storage: ObjectStorage[TcWire], proxy: FaultProxy) -> None:
    proxy.faults = [Fault("answer", status=301, body=b"", times=9)]
    with pytest.raises(StorageError) as caught:
        storage.check()
    assert not caught.value.retryable
    assert len(proxy.requests) == 1


def test_a_clock_that_is_wrong_is_told(storage: ObjectStorage[TcWire], proxy: FaultProxy) -> None:
    body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>The clocks differ.</Message></Error>"
    proxy.faults = [Fault("answer", status=403, body=body)]
    with raised(AuthenticationFailed, reason="The clocks differ. (RequestTimeTooSkewed)") as caught:
        storage.check()
    assert caught.value.hint == "set this machine's clock"


def test_a_part_whose_answer_has_no_etag_is_not_taken_for_there(
    storage: ObjectStorage[TcWire], proxy: FaultProxy
) -> None:
    with storage.multipart("a") as upload:
        proxy.faults = [Fault("answer", method="PUT", status=200, body=b"", headers=MARK)]
        with raised(StorageUnavailable, "member-missing", key="a", member="ETag"):
            upload.put_part(1, b"x")


def test_a_bucket_with_versions_has_no_conditional_write(account: cos.CosAccount) -> None:
    bucket = account.make_bucket("faults-versions-1250000000")
    account.front.versioned.add(bucket)
    storage = open_storage(TcSettings(**account.settings(bucket)))
    storage.write("a", [b"first"])
    with raised(Unsupported, "conditional-write-ignored", bucket=bucket):
        storage.write_if_absent("a", [b"second"])
    with storage.read("a") as chunks:
        assert b"".join(chunks) == b"first"
    assert [info.key for info in storage.list()] == ["a"]


def test_unfinished_uploads_are_found_past_a_page(
    storage: ObjectStorage[TcWire], account: cos.CosAccount
) -> None:
    client = account.s3.client()
    for number in range(1005):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"left/{number} %+é")
    client.create_multipart_upload(Bucket=BUCKET, Key="elsewhere")
    assert storage.clean("left/") == 1005
    assert storage.clean("") == 1


def test_a_batch_that_is_denied_is_deleted_one_by_one(
    storage: ObjectStorage[TcWire], proxy: FaultProxy
) -> None:
    for key in ("a", "b"):
        storage.write(key, [b"x"])
    body = b"<Error><Code>AccessDenied</Code></Error>"
    proxy.faults = [Fault("answer", method="POST", status=403, body=body)]
    storage.delete(["a", "b"])
    assert list(storage.list()) == []
