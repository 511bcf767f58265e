"""What the Google plugin makes of rounds, pages and pieces, and of a network and a service that fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mbk.errors import (
    DeleteFailed,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
)
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import MIB
from mbk.testing import FaultConformance
from mbk_gcp.settings import GcpSettings
from mbk_gcp.storage import open_storage
from mbk_gcp.wire import IDLE_ROUNDS, GcpWire
from tests.raising import raised
from tests.servers.faults import Fault, FaultProxy, Handler, fault_proxy
from tests.servers.gcs import ANSWERS, REQUESTS, GcsServer, gcs
from tests.servers.network import ProxyNetwork

BUCKET = "faults"
BUSY = ANSWERS["throttle"].body
GcpStorage = ObjectStorage[GcpWire]


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with gcs() as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture
def proxy(server: GcsServer) -> Iterator[FaultProxy]:
    with fault_proxy(server.port) as proxy:
        yield proxy


def opened(server: GcsServer, port: int) -> GcpStorage:
    token = server.accounts.token(server.account("faulty", BUCKET))
    return open_storage(GcpSettings(**server.settings(BUCKET, session_token=token) | {"port": port}))


@pytest.fixture
def storage(server: GcsServer, proxy: FaultProxy) -> Iterator[GcpStorage]:
    storage = opened(server, proxy.port)
    yield storage
    storage.close()


class TestGcpFaults(FaultConformance):
    @pytest.fixture
    def storage(self, server: GcsServer, proxy: FaultProxy) -> Iterator[GcpStorage]:
        storage = opened(server, proxy.port)
        yield storage
        storage.close()

    @pytest.fixture
    def network(self, proxy: FaultProxy) -> ProxyNetwork:
        return ProxyNetwork(proxy, REQUESTS, ANSWERS, safe="")


def read(storage: GcpStorage, key: str) -> bytes:
    with storage.read(key) as chunks:
        return b"".join(chunks)


def content(server: GcsServer, key: str) -> bytes:
    return server.store.get(BUCKET, key).data


def test_a_large_copy_takes_several_rounds(storage: GcpStorage, server: GcsServer) -> None:
    data = bytes(range(256)) * 4096
    storage.write("from", [data])
    server.rewrite_bytes = 300_000
    storage.copy(storage, "from", "to")
    assert content(server, "to") == data
    assert len([path for _, path in server.requests if "/rewriteTo/" in path]) == 4


def test_a_copy_that_makes_no_progress_is_given_up(storage: GcpStorage, server: GcsServer) -> None:
    storage.write("from", [b"x" * 1000])
    server.rewrite_bytes = 0
    with raised(StorageError, "rewrite-stuck", rewritten=0, rounds=IDLE_ROUNDS) as caught:
        storage.copy(storage, "from", "to")
    assert not caught.value.retryable
    assert len([path for _, path in server.requests if "/rewriteTo/" in path]) == IDLE_ROUNDS + 1


def test_a_copy_that_breaks_between_rounds_shows_nothing(
    storage: GcpStorage, server: GcsServer, proxy: FaultProxy
) -> None:
    storage.write("from", [b"x" * 1000])
    server.rewrite_bytes = 400
    proxy.faults = [Fault("answer", target="rewriteToken", skip=1)]
    with pytest.raises(StorageUnavailable):
        storage.copy(storage, "from", "to")
    with pytest.raises(ObjectNotFound):
        storage.stat("to")


@pytest.mark.parametrize("level", [False, True])
def test_a_listing_of_short_pages(storage: GcpStorage, server: GcsServer, level: bool) -> None:
    server.page_size = 2
    for number in range(7):
        storage.write(f"p/dir{number % 3}/{number}", [b"x"])
        storage.write(f"p/{number}", [b"x"])
    if level:
        listed = storage.list_level("p/")
        assert (len(listed.objects), listed.prefixes) == (7, ("p/dir0/", "p/dir1/", "p/dir2/"))
    else:
        keys = [info.key for info in storage.list("p/")]
        assert len(keys) == len(set(keys)) == 14
    assert len([path for _, path in server.requests if path.endswith("/o")]) >= 5


def test_unfinished_uploads_are_found_past_a_page(storage: GcpStorage, server: GcsServer) -> None:
    server.page_size = 2
    for number in range(5):
        storage.multipart(f"left/{number} %+é")
    storage.multipart("elsewhere")
    assert storage.clean("left/") == 5
    assert storage.clean("") == 1


def test_a_service_that_keeps_less_of_a_piece_gets_the_rest_again(
    storage: GcpStorage, server: GcsServer
) -> None:
    server.kept_of_a_piece = 3 * MIB
    data = bytes(range(256)) * (20 * 4096 + 1)
    info = storage.write_if_absent("a", iter([data[: 11 * MIB], data[11 * MIB :]]))
    assert (info.size, content(server, "a") == data) == (len(data), True)


@pytest.mark.parametrize("size", [8 * MIB, 16 * MIB, 16 * MIB + 1])
@pytest.mark.parametrize("known", [True, False])
def test_streams_that_end_at_a_piece_and_after_it(
    storage: GcpStorage, server: GcsServer, size: int, known: bool
) -> None:
    chunks = [b"x" * MIB] * (size // MIB) + [b"y"] * (size % MIB)
    storage.write("a", chunks, size=size if known else None)
    storage.write_if_absent("b", chunks, size=size if known else None)
    assert content(server, "a") == content(server, "b") == b"".join(chunks)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, OSError])
def test_a_conditional_write_that_is_interrupted_is_cancelled(
    storage: GcpStorage, server: GcsServer, error: type[BaseException]
) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * MIB
        raise error

    with pytest.raises(error):
        storage.write_if_absent("a", chunks())
    assert server.store.sessions == {}
    assert list(storage.list()) == []


def test_a_write_under_a_condition_leaves_nothing_where_the_service_fails(
    storage: GcpStorage, server: GcsServer, proxy: FaultProxy
) -> None:
    proxy.faults = [Fault("answer", method="PUT", target="upload_id", skip=1, status=500)]
    with raised(StorageUnavailable):
        storage.write_if_absent("a", [b"x" * MIB] * 20)
    assert server.store.sessions == {}
    assert list(storage.list()) == []


def test_a_conditional_stream_meets_the_object_that_came_meanwhile(
    storage: GcpStorage, server: GcsServer
) -> None:
    def chunks() -> Iterator[bytes]:
        for number in range(20):
            if number == 18:
                server.store.put(BUCKET, "a", b"theirs")
            yield b"x" * MIB

    with pytest.raises(ObjectExists):
        storage.write_if_absent("a", chunks())
    assert content(server, "a") == b"theirs"


def test_deletes_go_in_batches_of_a_hundred(storage: GcpStorage, server: GcsServer) -> None:
    for number in range(120):
        server.store.put(BUCKET, f"a/{number}", b"")
    storage.delete(f"a/{number}" for number in range(120))
    assert len([path for _, path in server.requests if path.startswith("/batch/")]) == 2
    assert server.store.bucket(BUCKET).objects == {}


def test_a_batch_whose_answer_breaks_off_is_worth_another_try(
    storage: GcpStorage, server: GcsServer, proxy: FaultProxy
) -> None:
    for key in ("a", "b"):
        storage.write(key, [b"x"])
    proxy.faults = [Fault("cut", target="/batch/", after=150)]
    with pytest.raises(MbkError) as caught:
        storage.delete(["a", "b"])
    assert caught.value.retryable


def test_a_protected_object_is_named(storage: GcpStorage, server: GcsServer) -> None:
    storage.write("held", [b"x"])
    server.protected.add((BUCKET, "held"))
    with pytest.raises(DeleteFailed) as caught:
        storage.delete(["held", "missing"])
    [(key, why)] = caught.value.failures.items()
    assert key == "held"
    assert "Temporary hold" in why


def test_a_broken_connection_is_told_without_its_url(storage: GcpStorage, proxy: FaultProxy) -> None:
    storage.write("a", [b"x"])
    proxy.faults = [Fault("reset", times=100)]
    for call in (
        lambda: storage.write("a", [b"y" * MIB] * 9),
        lambda: storage.write_if_absent("b", [b"y" * MIB] * 9),
        lambda: storage.delete(["a"]),
        lambda: storage.multipart("a"),
    ):
        with raised(StorageUnavailable) as caught:
            call()
        assert "http" not in str(caught.value)


def test_a_redirect_is_not_followed(storage: GcpStorage, proxy: FaultProxy) -> None:
    storage.write("a", [b"x"])
    for call in (lambda: storage.stat("a"), lambda: read(storage, "a"), lambda: storage.write("a", [b"y"])):
        proxy.faults = [Fault("answer", status=307, body=b"elsewhere")]
        before = len(proxy.requests)
        with raised(StorageError) as caught:
            call()
        assert (len(proxy.requests) - before, caught.value.retryable) == (1, False)


def test_an_answer_that_is_not_the_services(storage: GcpStorage, proxy: FaultProxy) -> None:
    for body in (b"<html>A portal</html>", b"{}", b'{"items": [{"name": "a"}]}', b'{"done": false}'):
        proxy.faults = [Fault("answer", status=200, body=body, times=100)]
        calls = [lambda: storage.stat("a"), lambda: storage.copy(storage, "a", "b")]
        for call in calls:
            with pytest.raises(MbkError) as caught:
                call()
            assert caught.value.retryable


def test_one_call_is_one_request(storage: GcpStorage, proxy: FaultProxy) -> None:
    storage.check()
    for status, kind in ((429, Throttled), (503, StorageUnavailable), (408, TransferInterrupted)):
        for call in (
            lambda: storage.stat("a"),
            lambda: read(storage, "a"),
            lambda: storage.write("a", [b"x"]),
            lambda: storage.write("a", [b"y" * MIB] * 9),
            lambda: storage.write_if_absent("b", [b"x"]),
            lambda: storage.copy(storage, "a", "b"),
            lambda: storage.delete(["a"]),
            lambda: storage.check(),
            lambda: storage.multipart("a"),
            lambda: storage.clean(""),
        ):
            proxy.faults = [Fault("answer", times=100, status=status, body=b"busy")]
            before = len(proxy.requests)
            with raised(kind):
                call()
            assert len(proxy.requests) == before + 1


def test_an_upload_that_fails_does_not_tell_its_url(storage: GcpStorage, proxy: FaultProxy) -> None:
    for fault in (
        Fault("reset", target="upload_id"),
        Fault("answer", target="upload_id", body=BUSY, status=429),
    ):
        proxy.faults = [fault]
        with pytest.raises(MbkError) as caught:
            storage.write_if_absent("a", [b"y" * MIB] * 9)
        assert caught.value.retryable
        assert "upload_id" not in str(caught.value)


class Corrupting(Handler):
    """Changes the last byte of what goes through, up and down."""

    def _body(self) -> bytes:
        body = super()._body()
        if self.headers.get("x-goog-hash"):
            return body[:-1] + b"!"
        return body.replace(b"as it was sent", b"as it was sunk")

    def answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, *, cut: int | None = None
    ) -> None:
        if self.path.startswith("/download/"):
            body = body[:-1] + b"!"
        super().answer(status, headers, body, cut=cut)


def test_bytes_that_changed_on_the_way_are_found_by_their_checksum(server: GcsServer) -> None:
    with fault_proxy(server.port, handler=Corrupting) as proxy:
        storage = opened(server, proxy.port)
        for call in (
            lambda: storage.write("a", [b"as it was sent"]),
            lambda: storage.write("a", [b"x" * MIB] * 9),
            lambda: storage.write_if_absent("a", [b"x" * MIB] * 9),
            lambda: storage.multipart("a").__enter__().put_part(1, b"x"),
        ):
            with pytest.raises(TransferInterrupted):
                call()
        assert server.store.bucket(BUCKET).objects == {}
        server.store.put(BUCKET, "a", b"x" * (2 * MIB))
        with raised(TransferInterrupted, "checksum-differs", key="a"):
            read(storage, "a")
