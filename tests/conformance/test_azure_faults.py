"""What the Azure plugin makes of a network and a service that fail: one request an attempt, the right error, nothing half there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from mbk.errors import (
    DeleteFailed,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import MIB
from mbk.testing import FaultConformance
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import open_storage
from mbk_azure.wire import AzureWire
from tests.raising import raised
from tests.servers.azurite import ANSWERS, REQUESTS, Account, azurite
from tests.servers.faults import Fault, FaultProxy, fault_proxy
from tests.servers.network import ProxyNetwork

BUCKET = "faults"
BUSY = ANSWERS["throttle"].body
REFUSED = ANSWERS["refuse"].body
PAGE = b"""<?xml version="1.0" encoding="utf-8"?>
<EnumerationResults ServiceEndpoint="http://localhost/alpha" ContainerName="faults">
<Prefix>dir/</Prefix><MaxResults>2</MaxResults><Blobs></Blobs><NextMarker>%s</NextMarker></EnumerationResults>"""


@pytest.fixture(scope="module")
def behind() -> Iterator[tuple[Account, FaultProxy]]:
    with azurite() as accounts, fault_proxy(accounts["alpha"].port) as proxy:
        accounts["alpha"].make_bucket(BUCKET)
        yield accounts["alpha"].behind(proxy.port), proxy


@pytest.fixture
def account(behind: tuple[Account, FaultProxy]) -> Account:
    return behind[0]


@pytest.fixture
def proxy(behind: tuple[Account, FaultProxy]) -> FaultProxy:
    return behind[1]


@pytest.fixture
def storage(account: Account, proxy: FaultProxy) -> Iterator[ObjectStorage[AzureWire]]:
    storage = open_storage(AzureSettings(**account.settings(BUCKET)))
    yield storage
    proxy.faults = []
    storage.delete([*storage.wrapped.service.get_container_client(storage.location.bucket).list_blob_names()])
    storage.clean("")
    storage.close()


#: Of every answer of the service.
MARK = (("x-ms-request-id", "1"),)


class TestAzureFaults(FaultConformance):
    @pytest.fixture
    def storage(self, account: Account) -> Iterator[ObjectStorage[AzureWire]]:
        storage = open_storage(AzureSettings(**account.settings(BUCKET)))
        yield storage
        storage.close()

    @pytest.fixture
    def network(self, proxy: FaultProxy) -> ProxyNetwork:
        return ProxyNetwork(proxy, REQUESTS, ANSWERS)


def read(storage: ObjectStorage[AzureWire], key: str) -> bytes:
    with storage.read(key) as chunks:
        return b"".join(chunks)


def waiting_blocks(account: Account, key: str) -> list[str]:
    with account.client().get_blob_client(BUCKET, key) as blob:
        return [block.id for block in blob.get_block_list("all")[1]]


# -- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 300_000])
def test_a_body_that_breaks_off_is_asked_for_once_and_never_taken_for_whole(
    storage: ObjectStorage[AzureWire], proxy: FaultProxy, after: int
) -> None:
    data = bytes(range(256)) * 8192
    storage.write("a", [data])
    proxy.faults = [Fault("cut", method="GET", after=after, times=100)]
    before = len(proxy.requests)
    with raised(TransferInterrupted):
        read(storage, "a")
    assert len(proxy.requests) == before + 1


def test_a_read_is_resumed_where_it_broke_off(storage: ObjectStorage[AzureWire], proxy: FaultProxy) -> None:
    data = bytes(range(256)) * (20 * MIB // 256)
    storage.write("a", [data], size=len(data))
    proxy.faults = [Fault("cut", method="GET", after=5 * MIB)]
    received = b""
    with storage.read("a") as chunks, suppress(TransferInterrupted):
        for chunk in chunks:
            received += chunk
        pytest.fail("the stream ended as if it were whole")
    assert 0 < len(received) < len(data)
    with storage.read("a", offset=len(received)) as rest:
        assert received + b"".join(rest) == data


def test_an_object_that_is_replaced_while_it_is_read_is_never_mixed(
    storage: ObjectStorage[AzureWire],
) -> None:
    """One request reads it, which the service answers from one version."""
    storage.write("a", [b"1" * (20 * MIB)], size=20 * MIB)
    received = b""
    with suppress(TransferInterrupted), storage.read("a") as chunks:
        received += next(chunks)
        storage.write("a", [b"2" * (20 * MIB)], size=20 * MIB)
        received += b"".join(chunks)
    assert received == b"1" * len(received)


def test_a_redirect_is_not_followed(storage: ObjectStorage[AzureWire], proxy: FaultProxy) -> None:
    storage.write("a", [b"x"])
    for call in (lambda: storage.stat("a"), lambda: read(storage, "a"), lambda: storage.write("a", [b"y"])):
        proxy.faults = [Fault("answer", status=307, body=b"elsewhere")]
        before = len(proxy.requests)
        with raised(StorageError) as caught:
            call()
        assert (len(proxy.requests) - before, caught.value.retryable) == (1, False)


def test_a_listing_that_is_not_the_services_is_worth_another_try(
    storage: ObjectStorage[AzureWire], proxy: FaultProxy
) -> None:
    for body in (
        b"<html>A portal</html>",
        b"<Enumeration",
        b"",
        b"<E><Blobs><Blob><Name/></Blob></Blobs></E>",
    ):
        proxy.faults = [Fault("answer", status=200, body=body, headers=MARK)]
        with raised(StorageUnavailable, "answer-unreadable"):
            list(storage.list())


# -- listing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [False, True])
def test_empty_pages_are_no_end(
    storage: ObjectStorage[AzureWire], account: Account, proxy: FaultProxy, level: bool
) -> None:
    keys = [f"dir/key-{number}" for number in range(6)]
    for key in [*keys, "elsewhere"]:
        storage.write(key, [b"x"])
    with account.client().get_container_client(BUCKET) as container:
        pages = container.list_blobs(name_starts_with="dir/", results_per_page=2).by_page()
        list(next(pages))
        marker = str(pages.continuation_token)
    # The first two requests are answered by empty pages with the marker of the second page.
    proxy.faults = [
        Fault("answer", target="comp=list", status=200, body=PAGE % following, headers=MARK)
        for following in (b"first", marker.encode())
    ]
    before = len(proxy.requests)
    listed = storage.list_level("dir/").objects if level else storage.list("dir/")
    assert sorted(info.key for info in listed) == keys[2:]
    assert len(proxy.requests) - before == 3


def test_directories_of_a_hierarchical_namespace_are_no_objects(
    storage: ObjectStorage[AzureWire], account: Account
) -> None:
    with account.client().get_container_client(BUCKET) as container:
        container.upload_blob("dir", b"", metadata={"hdi_isfolder": "true"})
        container.upload_blob("dir/", b"")
        container.upload_blob("dir/a", b"x")
    assert [info.key for info in storage.list()] == ["dir/a"]
    level = storage.list_level()
    assert (level.objects, level.prefixes) == ((), ("dir/",))
    for call in (lambda: storage.stat("dir"), lambda: read(storage, "dir")):
        with pytest.raises(ObjectNotFound):
            call()


# -- uploads -------------------------------------------------------------------------------------------------------


def test_a_conditional_write_in_blocks(storage: ObjectStorage[AzureWire]) -> None:
    storage.write_if_absent("conditional", [b"x" * (17 * MIB)])
    with pytest.raises(ObjectExists):
        storage.write_if_absent("conditional", [b"y" * (17 * MIB)])
    assert read(storage, "conditional") == b"x" * (17 * MIB)


def test_a_write_that_is_interrupted_leaves_no_blocks_behind(
    storage: ObjectStorage[AzureWire], account: Account
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * MIB
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write("a", chunks())
    with account.client().get_container_client(BUCKET) as container:
        assert list(container.list_blobs(include=["uncommittedblobs"])) == []


def test_an_upload_that_another_one_overtook_is_worth_another_try(storage: ObjectStorage[AzureWire]) -> None:
    with storage.multipart("a") as first, storage.multipart("a") as second:
        first.put_part(1, b"first")
        second.put_part(1, b"second")
        second.complete()
        with pytest.raises(TransferInterrupted):
            first.complete()
    assert read(storage, "a") == b"second"


def test_an_abort_leaves_the_blocks_of_another_upload(storage: ObjectStorage[AzureWire]) -> None:
    with storage.multipart("a") as first:
        with storage.multipart("a") as second:
            first.put_part(1, b"first")
            second.put_part(1, b"second")
        assert first.complete().size == 5
    assert read(storage, "a") == b"first"


def test_cleaning_leaves_an_object_and_the_blocks_beside_it(
    storage: ObjectStorage[AzureWire], account: Account
) -> None:
    storage.write("empty", [])
    storage.write("full", [b"x"])
    etags = [storage.stat(key).etag for key in ("empty", "full")]
    for key in ("empty", "full"):
        with account.client().get_blob_client(BUCKET, key) as blob:
            blob.stage_block("left", b"behind")
    with account.client().get_blob_client(BUCKET, "log") as blob:
        blob.create_append_blob()
    assert storage.clean("") == 0
    assert [storage.stat(key).etag for key in ("empty", "full")] == etags
    assert waiting_blocks(account, "full") == ["left"]
    assert storage.stat("log").size == 0


def test_cleaning_removes_what_other_tools_left(storage: ObjectStorage[AzureWire], account: Account) -> None:
    with account.client().get_blob_client(BUCKET, "left/é %+") as blob:
        blob.stage_block("block-00000001", b"behind")
    assert storage.clean("elsewhere/") == 0
    assert storage.clean("left/") == 1
    assert storage.clean("left/") == 0


def test_a_discarded_upload_is_never_seen_as_an_object(
    storage: ObjectStorage[AzureWire], account: Account, proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("answer", method="DELETE", body=BUSY, times=1)]
    with pytest.raises(Throttled), storage.multipart("a") as upload:
        upload.put_part(1, b"x")
    with account.client().get_container_client(BUCKET) as container:
        assert [blob.name for blob in container.list_blobs()] == ["a"]
    assert list(storage.list()) == []
    for call in (lambda: storage.stat("a"), lambda: read(storage, "a")):
        with pytest.raises(ObjectNotFound):
            call()
    assert storage.clean("") == 1
    with account.client().get_container_client(BUCKET) as container:
        assert list(container.list_blobs()) == []


# -- deleting ------------------------------------------------------------------------------------------------------


def test_a_batch_that_the_service_cannot_read_is_deleted_singly(
    storage: ObjectStorage[AzureWire], proxy: FaultProxy
) -> None:
    for key in ("a", "b"):
        storage.write(key, [b"x"])
    proxy.faults = [
        Fault(
            "answer",
            method="POST",
            status=202,
            body=b"--batch\r\nHTTP/1.1 400 No\r\n\r\n--batch--",
            headers=MARK,
        )
    ]
    storage.delete(["a", "b"])
    assert list(storage.list()) == []


def test_a_delete_that_is_throttled_is_worth_another_try(
    storage: ObjectStorage[AzureWire], proxy: FaultProxy
) -> None:
    storage.write("a", [b"x"])
    proxy.faults = [
        Fault("answer", method="POST", status=501, body=REFUSED),
        Fault("answer", method="DELETE", body=BUSY),
    ]
    with pytest.raises(Throttled):
        storage.delete(["a"])
    storage.delete(["a"])
    assert list(storage.list()) == []


def test_a_single_delete_that_is_refused_is_named(
    storage: ObjectStorage[AzureWire], account: Account, proxy: FaultProxy
) -> None:
    for key in ("a", "b"):
        storage.write(key, [b"x"])
    proxy.faults = [Fault("answer", method="POST", status=501, body=REFUSED)]
    lease = account.client().get_blob_client(BUCKET, "a").acquire_lease()
    try:
        with pytest.raises(DeleteFailed) as caught:
            storage.delete(["a", "b"])
    finally:
        lease.release()
    assert list(caught.value.failures) == ["a"]
    assert [info.key for info in storage.list()] == ["a"]


# -- copying -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["CopyAcrossAccountsNotSupported", "InvalidSourceBlobUrl"])
def test_a_copy_that_the_service_cannot_is_unsupported(
    storage: ObjectStorage[AzureWire], proxy: FaultProxy, code: str
) -> None:
    storage.write("a", [b"x"])
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    proxy.faults = [Fault("answer", method="PUT", status=409, body=body)]
    with raised(Unsupported, reason=f"no ({code})"):
        storage.copy(storage, "a", "b")
