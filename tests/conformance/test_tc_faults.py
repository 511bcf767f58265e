"""What the COS plugin makes of a network and a service that fail: one request an attempt, the right error, nothing half there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from mbk.errors import (
    MbkError,
    ObjectExists,
    StorageError,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unsupported,
)
from mbk.ports.storage import MIB
from mbk_tc.settings import TcSettings
from mbk_tc.storage import TcStorage
from tests.servers import cos
from tests.servers.faults import Fault, FaultProxy, fault_proxy

BUCKET = "faults-1250000000"
ERROR_BODY = b"<Error><Code>InternalError</Code><Message>We encountered an internal error</Message></Error>"
BUSY = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"


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
def storage(account: cos.CosAccount, proxy: FaultProxy) -> Iterator[TcStorage]:
    storage = TcStorage(TcSettings(**account.settings(BUCKET, port=proxy.port)))
    yield storage
    proxy.faults = []
    storage.delete([info.key for info in storage.list()])
    storage.clean("")
    storage.close()


def read(storage: TcStorage, key: str) -> bytes:
    with storage.read(key) as chunks:
        return b"".join(chunks)


@pytest.mark.parametrize("action", ["reset", "lose"])
def test_a_broken_connection_is_worth_another_try(storage: TcStorage, proxy: FaultProxy, action: str) -> None:
    storage.write("a", [b"x"])
    proxy.faults = [Fault(action, target="/a", times=100)]  # type: ignore[arg-type]  # one of the literals
    for call in (
        lambda: storage.stat("a"),
        lambda: read(storage, "a"),
        lambda: storage.write("a", [b"y"]),
        lambda: storage.copy(storage, "a", "a-copy"),
    ):
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert caught.value.retryable


def test_one_call_is_one_request(storage: TcStorage, proxy: FaultProxy) -> None:
    storage.check()
    for fault, expected in (
        (Fault("answer", times=9, body=BUSY), Throttled),
        (Fault("reset", times=9), MbkError),
    ):
        before = len(proxy.requests)
        proxy.faults = [fault]
        with pytest.raises(expected):
            storage.write("a", [b"x"])
        assert len(proxy.requests) == before + 1


def test_nothing_is_told_but_by_the_error(
    storage: TcStorage, proxy: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.faults = [Fault("reset")]
    with pytest.raises(StorageUnavailable), caplog.at_level("DEBUG"):
        storage.write("a", [b"x"])
    assert [record for record in caplog.records if record.name.startswith("qcloud_cos")] == []


@pytest.mark.parametrize("after", [0, 1, 300_000])
def test_a_body_that_breaks_off_is_never_taken_for_whole(
    storage: TcStorage, proxy: FaultProxy, after: int
) -> None:
    data = bytes(range(256)) * 8192
    storage.write("a", [data])
    proxy.faults = [Fault("cut", method="GET", after=after)]
    received = b""
    with storage.read("a") as chunks, suppress(TransferInterrupted):
        for chunk in chunks:
            received += chunk
        pytest.fail("the stream ended as if it were whole")
    assert data.startswith(received)
    with storage.read("a", offset=len(received)) as rest:
        assert received + b"".join(rest) == data


@pytest.mark.parametrize("after", [0, 40, 400])
def test_a_listing_that_breaks_off_is_never_taken_for_the_end(
    storage: TcStorage, proxy: FaultProxy, after: int
) -> None:
    storage.write("a", [b"x"])
    proxy.faults = [Fault("cut", method="GET", after=after)]
    with pytest.raises(MbkError) as caught:
        list(storage.list())
    assert caught.value.retryable
    assert [info.key for info in storage.list()] == ["a"]


def test_an_answer_that_is_not_a_listing_is_never_taken_for_an_empty_one(
    storage: TcStorage, proxy: FaultProxy
) -> None:
    for body in (b"", b"<html></html>", b"<ListBucketResult></ListBucketResult>"):
        proxy.faults = [Fault("answer", method="GET", status=200, body=body)]
        with pytest.raises(MbkError) as caught:
            list(storage.list())
        assert caught.value.retryable


def test_a_redirect_is_not_followed(storage: TcStorage, proxy: FaultProxy) -> None:
    proxy.faults = [Fault("answer", status=301, body=b"", times=9)]
    with pytest.raises(StorageError) as caught:
        storage.check()
    assert not caught.value.retryable
    assert len(proxy.requests) == 1


def test_an_error_inside_a_200_is_an_error(storage: TcStorage, proxy: FaultProxy) -> None:
    storage.write("a", [b"x"])
    proxy.faults = [Fault("answer", method="PUT", target="/copy", status=200, body=ERROR_BODY)]
    with pytest.raises(StorageUnavailable, match="internal error"):
        storage.copy(storage, "a", "copy")
    proxy.faults = [Fault("answer", method="POST", target="uploadId", status=200, body=ERROR_BODY)]
    with storage.multipart("parts") as upload:
        upload.put_part(1, b"x")
        with pytest.raises(StorageUnavailable, match="internal error"):
            upload.complete()


def test_completing_again_after_a_lost_answer_finds_the_object(storage: TcStorage, proxy: FaultProxy) -> None:
    proxy.faults = [Fault("lose", method="POST", target="uploadId")]
    with storage.multipart("a") as upload:
        upload.put_part(1, b"x" * (5 * MIB))
        upload.put_part(2, b"y")
        with pytest.raises(StorageUnavailable):
            upload.complete()
        assert upload.complete().size == 5 * MIB + 1
    assert storage.stat("a").size == 5 * MIB + 1


def test_a_conditional_write_whose_answer_was_lost_has_happened(
    storage: TcStorage, proxy: FaultProxy
) -> None:
    storage.write_if_absent("first", [b"x"])
    proxy.faults = [Fault("lose", method="PUT", target="/a")]
    with pytest.raises(StorageUnavailable):
        storage.write_if_absent("a", [b"mine"])
    with pytest.raises(ObjectExists):
        storage.write_if_absent("a", [b"mine"])
    assert read(storage, "a") == b"mine"


def test_a_bucket_with_versions_has_no_conditional_write(account: cos.CosAccount) -> None:
    bucket = account.make_bucket("faults-versions-1250000000")
    account.front.versioned.add(bucket)
    storage = TcStorage(TcSettings(**account.settings(bucket)))
    storage.write("a", [b"first"])
    with pytest.raises(Unsupported, match="versions"):
        storage.write_if_absent("a", [b"second"])
    assert read(storage, "a") == b"first"
    assert [info.key for info in storage.list()] == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_write_that_is_interrupted_leaves_no_upload_behind(
    storage: TcStorage, account: cos.CosAccount, error: type[BaseException]
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * MIB
        raise error

    with pytest.raises(error):
        storage.write("a", chunks())
    assert "Uploads" not in account.s3.client().list_multipart_uploads(Bucket=BUCKET)
    assert list(storage.list()) == []


def test_an_abort_that_fails_does_not_hide_why(storage: TcStorage, proxy: FaultProxy) -> None:
    proxy.faults = [
        Fault("answer", method="DELETE", body=BUSY),
        Fault("answer", method="PUT", skip=1, body=BUSY),
    ]
    with pytest.raises(Throttled, match="part 2"):
        storage.write("a", [b"x" * MIB] * 17)
    assert storage.clean("") == 1
    assert storage.clean("") == 0


def test_unfinished_uploads_are_found_past_a_page(storage: TcStorage, account: cos.CosAccount) -> None:
    client = account.s3.client()
    for number in range(1005):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"left/{number} %+é")
    client.create_multipart_upload(Bucket=BUCKET, Key="elsewhere")
    assert storage.clean("left/") == 1005
    assert storage.clean("") == 1


def test_a_batch_that_is_refused_is_deleted_one_by_one(storage: TcStorage, proxy: FaultProxy) -> None:
    for key in ("a", "b"):
        storage.write(key, [b"x"])
    body = b"<Error><Code>AccessDenied</Code></Error>"
    proxy.faults = [Fault("answer", method="POST", status=403, body=body)]
    storage.delete(["a", "b"])
    assert list(storage.list()) == []
