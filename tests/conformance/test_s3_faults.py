"""What the S3 plugin makes of a network and a service that fail: one request an attempt, the right error, nothing half there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from mbk.errors import (
    MbkError,
    ObjectExists,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import MIB
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage
from mbk_s3.wire import S3Wire
from tests.servers import s3
from tests.servers.faults import Fault, FaultProxy, fault_proxy

BUCKET = "faults"
ERROR_BODY = b"<Error><Code>InternalError</Code><Message>We encountered an internal error</Message></Error>"


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


@pytest.fixture
def storage(account: s3.S3Server, proxy: FaultProxy) -> Iterator[ObjectStorage[S3Wire]]:
    storage = open_storage(GenericSettings(**account.behind(proxy.port).settings(BUCKET)))
    yield storage
    proxy.faults = []
    storage.delete([info.key for info in storage.list()])
    storage.clean("")
    storage.close()


def read(storage: ObjectStorage[S3Wire], key: str) -> bytes:
    with storage.read(key) as chunks:
        return b"".join(chunks)


@pytest.mark.parametrize("action", ["reset", "lose"])
def test_a_broken_connection_is_worth_another_try(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy, action: str
) -> None:
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


def test_one_call_is_one_request(storage: ObjectStorage[S3Wire], proxy: FaultProxy) -> None:
    storage.check()
    before = len(proxy.requests)
    proxy.faults = [Fault("answer", times=100)]
    with pytest.raises(Throttled, match="Reduce your request rate"):
        storage.write("a", [b"x"])
    assert len(proxy.requests) == before + 1


@pytest.mark.parametrize("after", [0, 1, 300_000])
def test_a_body_that_breaks_off_is_never_taken_for_whole(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy, after: int
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
    storage: ObjectStorage[S3Wire], proxy: FaultProxy, after: int
) -> None:
    storage.write("a", [b"x"])
    proxy.faults = [Fault("cut", method="GET", after=after)]
    with pytest.raises(MbkError) as caught:
        list(storage.list())
    assert caught.value.retryable
    assert [info.key for info in storage.list()] == ["a"]


def test_an_error_inside_a_200_is_an_error(storage: ObjectStorage[S3Wire], proxy: FaultProxy) -> None:
    storage.write("a", [b"x"])
    proxy.faults = [Fault("answer", method="PUT", target="/copy", status=200, body=ERROR_BODY)]
    with pytest.raises(StorageUnavailable, match="internal error"):
        storage.copy(storage, "a", "copy")
    proxy.faults = [Fault("answer", method="POST", target="uploadId", status=200, body=ERROR_BODY)]
    with storage.multipart("parts") as upload:
        upload.put_part(1, b"x")
        with pytest.raises(StorageUnavailable, match="internal error"):
            upload.complete()


def test_completing_again_after_a_lost_answer_finds_the_object(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("lose", method="POST", target="uploadId")]
    with storage.multipart("a") as upload:
        upload.put_part(1, b"x" * (5 * MIB))
        upload.put_part(2, b"y")
        with pytest.raises(StorageUnavailable):
            upload.complete()
        assert upload.complete().size == 5 * MIB + 1
    assert storage.stat("a").size == 5 * MIB + 1


def test_a_conditional_write_whose_answer_was_lost_has_happened(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy
) -> None:
    storage.write_if_absent("first", [b"x"])
    proxy.faults = [Fault("lose", method="PUT", target="/a")]
    with pytest.raises(StorageUnavailable):
        storage.write_if_absent("a", [b"mine"])
    with pytest.raises(ObjectExists):
        storage.write_if_absent("a", [b"mine"])
    assert read(storage, "a") == b"mine"


def test_a_service_that_ignores_conditions_is_found_out(proxy: FaultProxy) -> None:
    with s3.rclone() as server:
        server.make_bucket(BUCKET)
        storage = open_storage(GenericSettings(**server.settings(BUCKET)))
        storage.write("a", [b"first"])
        with pytest.raises(Unsupported, match="If-None-Match"):
            storage.write_if_absent("a", [b"second"])
        assert read(storage, "a") == b"first"
        assert [info.key for info in storage.list()] == ["a"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_write_that_is_interrupted_leaves_no_upload_behind(
    storage: ObjectStorage[S3Wire], account: s3.S3Server, error: type[BaseException]
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * MIB
        raise error

    with pytest.raises(error):
        storage.write("a", chunks())
    assert "Uploads" not in account.client().list_multipart_uploads(Bucket=BUCKET)
    assert list(storage.list()) == []


def test_an_abort_that_fails_does_not_hide_why(storage: ObjectStorage[S3Wire], proxy: FaultProxy) -> None:
    proxy.faults = [Fault("answer", method="DELETE"), Fault("answer", method="PUT", skip=1, status=500)]
    with pytest.raises(Throttled, match="part 2"):
        storage.write("a", [b"x" * MIB] * 17)
    assert storage.clean("") == 1
    assert storage.clean("") == 0


def test_unfinished_uploads_are_found_past_a_page(
    storage: ObjectStorage[S3Wire], account: s3.S3Server
) -> None:
    client = account.client()
    for number in range(12):
        client.create_multipart_upload(Bucket=BUCKET, Key=f"left/{number} %+é")
    client.create_multipart_upload(Bucket=BUCKET, Key="elsewhere")
    storage.wrapped.client.meta.events.register(
        "provide-client-params.s3.ListMultipartUploads", lambda params, **_: {**params, "MaxUploads": 5}
    )
    assert storage.clean("left/") == 12
    assert storage.clean("") == 1


def test_a_batch_of_deletes_carries_the_digest_that_old_servers_want(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy
) -> None:
    storage.delete(["a"])
    [request] = [request for request in proxy.requests if request.method == "POST"]
    assert request.headers["Content-MD5"]
    assert not [name for name in request.headers if name.lower().startswith("x-amz-checksum")]


def test_uploads_carry_no_trailing_checksum(storage: ObjectStorage[S3Wire], proxy: FaultProxy) -> None:
    storage.write("a", [b"x" * MIB])
    [request] = [request for request in proxy.requests if request.method == "PUT"]
    assert "x-amz-trailer" not in request.headers
    assert "Content-Encoding" not in request.headers
    assert len(request.headers["x-amz-content-sha256"]) == 64


def test_a_service_that_refuses_batches_gets_single_deletes(
    storage: ObjectStorage[S3Wire], proxy: FaultProxy
) -> None:
    for key in ("a", "b"):
        storage.write(key, [b"x"])
    body = b"<Error><Code>NotImplemented</Code></Error>"
    proxy.faults = [Fault("answer", method="POST", status=501, body=body)]
    storage.delete(["a", "b", "control\x01"])
    assert list(storage.list()) == []
