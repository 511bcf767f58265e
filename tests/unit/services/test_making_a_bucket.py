"""The buckets of OSS and COS are made by the vendors' SDKs: once, believed as little as others, told as all failures are."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trustme

from mbk.errors import MbkError, PermissionDenied, StorageError, StorageUnavailable, Unreachable
from mbk.plugin.objects import ObjectStorage
from mbk_ali.settings import AliSettings
from mbk_ali.storage import open_storage as open_ali
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage as open_tc
from tests.raising import raised
from tests.servers.process import HOST, free_port
from tests.servers.scripted import CLOSE, Scripted, answer, scripted

KEYS = {"access_key_id": "an-id", "secret_access_key": "a-secret", "session_token": "a-token"}
VENDORS: dict[str, Callable[..., ObjectStorage]] = {
    "ali": lambda **where: open_ali(AliSettings(bucket="bucket", region="cn-hangzhou", **KEYS, **where)),
    "ali V1": lambda **where: open_ali(AliSettings(bucket="bucket", **KEYS, **where)),
    "tc": lambda **where: open_tc(TcSettings(bucket="bucket-1250000000", **KEYS, **where)),
}
MARKS = ("x-oss-request-id: 1", "x-cos-request-id: 1")
MISSING = answer(
    b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>", *MARKS, status="404 Not Found"
)
REFUSED = answer(
    b"<Error><Code>AccessDenied</Code><Message>not yours</Message></Error>", *MARKS, status="403 Forbidden"
)
ELSEWHERE = {
    code: answer(b"", "Location: http://login.example/", status=f"{code} Elsewhere")
    for code in ("301", "302", "303", "307", "308")
}


@pytest.fixture(params=VENDORS)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def storage_of(vendor: str, port: int, address: str = HOST, **more: object) -> Iterator[ObjectStorage]:
    where = {"address": address, "port": port, "use_ssl": False, **more}
    with closing(VENDORS[vendor](**where)) as storage:
        yield storage


@contextmanager
def server_of(*made: bytes) -> Iterator[Scripted]:
    """Has no bucket, and gives these answers to who would make it."""
    with scripted([MISSING], made) as server:
        yield server


def test_one_signed_request_makes_it(vendor: str) -> None:
    with server_of(answer(b"", *MARKS)) as server, storage_of(vendor, server.port) as storage:
        storage.check(create=True)
    [_, (_, head, body)] = server.requests
    assert head.startswith("PUT /")
    assert "authorization: " in head.lower()
    assert "security-token: a-token" in head
    assert body == b""


def test_it_is_told_why_not(vendor: str) -> None:
    with (
        server_of(REFUSED) as server,
        storage_of(vendor, server.port) as storage,
        raised(PermissionDenied, "permission-denied", reason="not yours (AccessDenied)"),
    ):
        storage.check(create=True)
    assert len(server.requests) == 2


@pytest.mark.parametrize("made", [answer(b"<html>"), answer(b"{}", status="201 Created")])
def test_the_success_of_somebody_else_is_none(vendor: str, made: bytes) -> None:
    with (
        server_of(made) as server,
        storage_of(vendor, server.port) as storage,
        pytest.raises(StorageUnavailable) as told,
    ):
        storage.check(create=True)
    assert told.value.code == "answer-foreign"


@pytest.mark.parametrize("status", ELSEWHERE)
def test_nobody_is_sent_elsewhere(vendor: str, status: str) -> None:
    with (
        server_of(ELSEWHERE[status]) as server,
        storage_of(vendor, server.port) as storage,
        pytest.raises(StorageError) as told,
    ):
        storage.check(create=True)
    assert "TooManyRedirects" in told.value.facts["reason"]
    assert len(server.requests) == 2


def test_a_connection_that_breaks_is_worth_another_try_of_the_engine(
    vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        server_of(CLOSE) as server,
        storage_of(vendor, server.port) as storage,
        caplog.at_level("DEBUG"),
        pytest.raises(StorageUnavailable) as told,
    ):
        storage.check(create=True)
    assert told.value.retryable
    assert len(server.requests) == 2
    assert not [record for record in caplog.records if record.name.startswith(("oss2", "qcloud_cos"))]


def failure(storage: ObjectStorage, call: Callable[[ObjectStorage], object]) -> tuple[type, str]:
    with pytest.raises(MbkError) as told:
        call(storage)
    return type(told.value), told.value.facts["reason"]


def make(storage: ObjectStorage) -> None:
    wrapped = storage.wrapped
    with wrapped.failures.guard("there", "create"):
        wrapped.create_bucket()


def test_who_cannot_be_reached_is_told_as_of_any_request(
    vendor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage_of(vendor, free_port()) as storage:
        assert failure(storage, make) == failure(storage, lambda it: it.check())
    monkeypatch.setenv("http_proxy", f"http://{HOST}:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    with storage_of(vendor, 80, "store.example") as storage:
        assert failure(storage, make)[0] is failure(storage, lambda it: it.check())[0]


def test_a_private_authority_is_trusted_whatever_the_environment_says(
    vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    other.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "other.pem"))
    with scripted([answer(b"", *MARKS)], tls=context) as server:
        with storage_of(vendor, server.port, use_ssl=True, ca_cert=str(tmp_path / "ca.pem")) as storage:
            make(storage)
        with storage_of(vendor, server.port, use_ssl=True) as storage:
            assert failure(storage, make)[0] is Unreachable
