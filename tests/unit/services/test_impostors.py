"""Somebody else answers in a service's place, a proxy, a login page, a console: whatever it says, nothing has succeeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from mbk.errors import StorageError, Unreachable
from mbk.ports.storage import MIB, Storage
from mbk_ali.settings import AliSettings
from mbk_ali.storage import open_storage as open_ali
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import open_storage as open_azure
from mbk_gcp.settings import GcpSettings
from mbk_gcp.storage import open_storage as open_gcp
from mbk_s3.settings import GenericSettings
from mbk_s3.storage import open_storage as open_s3
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage as open_tc
from tests.servers.process import HOST
from tests.servers.scripted import answer, scripted

KEYS = {"access_key_id": "an-id", "secret_access_key": "a-secret"}
ACCOUNT = {"account_name": "account", "account_key": "YS1zZWNyZXQ="}

STORAGES: dict[str, Callable[[dict[str, object]], Storage]] = {
    "s3": lambda where: open_s3(GenericSettings.model_validate({**where, **KEYS})),
    "gcp": lambda where: open_gcp(GcpSettings.model_validate({**where, "session_token": "a-token"})),
    "azure": lambda where: open_azure(AzureSettings.model_validate({**where, **ACCOUNT})),
    "ali": lambda where: open_ali(AliSettings.model_validate({**where, **KEYS, "region": "cn-hangzhou"})),
    "tc": lambda where: open_tc(TcSettings.model_validate({**where, **KEYS, "bucket": "bucket-1250000000"})),
}

XHTML = b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><body><p>Log in</p></body></html>'
PAGES = {
    "page": answer(b"<!doctype html><html><p>Log in<br></html>", "Content-Type: text/html"),
    "page of XML": answer(XHTML, "Content-Type: application/xhtml+xml"),
    "created": answer(b"<html>", status="201 Created"),
    "accepted": answer(b"<html>", status="202 Accepted"),
    "JSON": answer(b"{}", "Content-Type: application/json"),
    "JSON of an error": answer(b'{"error": "login required"}', "Content-Type: application/json"),
    **{
        code: answer(b"<html>elsewhere", "Location: http://login.example/", status=f"{code} Elsewhere")
        for code in ("301", "302", "303", "307", "308")
    },
}


def read(storage: Storage) -> None:
    with storage.read("k") as chunks:
        assert [*chunks]


def write_large(storage: Storage) -> None:
    storage.write("k", iter([bytes(MIB)] * 17), size=17 * MIB)


CALLS: dict[str, Callable[[Storage], object]] = {
    "check": lambda storage: storage.check(),
    "list": lambda storage: [*storage.list("p/")],
    "list level": lambda storage: storage.list_level("p/"),
    "stat": lambda storage: storage.stat("k"),
    "read": read,
    "write": lambda storage: storage.write("k", [b"data"]),
    "write in parts": write_large,
    "delete": lambda storage: storage.delete(["k"]),
    "delete many": lambda storage: storage.delete(["k", "l"]),
    "copy": lambda storage: storage.copy(storage, "a", "b"),
    "clean": lambda storage: storage.clean("p/"),
}


@pytest.fixture(params=STORAGES)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PAGES)
def storage(request: pytest.FixtureRequest, vendor: str) -> Iterator[Storage]:
    with scripted([PAGES[request.param]] * 9) as server:
        where: dict[str, object] = {
            "address": HOST,
            "port": server.port,
            "use_ssl": False,
            "bucket": "bucket",
        }
        with closing(STORAGES[vendor](where)) as opened:
            yield opened


def failure(call: Callable[[Storage], object], storage: Storage) -> str:
    """What is told of a call, empty where it succeeds."""
    try:
        call(storage)
    except (StorageError, Unreachable) as error:
        return error.message
    return ""


def test_no_call_succeeds(storage: Storage) -> None:
    told = {name: failure(call, storage) for name, call in CALLS.items()}
    assert not [name for name, message in told.items() if not message or "<" in message]
