"""What follows from the settings of an Azure container."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mbk.config.load import load
from mbk.errors import ConfigError, InvalidKey
from mbk.plugin.streams import PART, part_sizes
from mbk.ports.storage import MIB, TIB, WRITE_OPTIONS
from mbk.registry.values import settings_of
from mbk_azure import mbk_storage_backends
from mbk_azure.blocks import MAX_BLOCKS
from mbk_azure.connection import parse
from mbk_azure.settings import AzureSettings
from mbk_azure.storage import open_storage
from tests.raising import raised

KEY = "c2VjcmV0LWtleQ=="
ACCOUNT = {"account_name": "account", "account_key": KEY}
CONFIGS = Path(__file__).parents[3] / "core/mbk/config/samples/v1"


def made(**given: Any) -> AzureSettings:
    return AzureSettings(**{"bucket": "container", **ACCOUNT, **given})


@pytest.mark.parametrize(
    ("given", "url", "endpoint"),
    [
        ({}, "https://account.blob.core.windows.net", "core.windows.net:443"),
        ({"address": "core.windows.net", "port": 443}, "https://account.blob.core.windows.net", "core.windows.net:443"),
        ({"address": "Core.Windows.Net", "use_ssl": False}, "https://account.blob.core.windows.net", "core.windows.net:443"),
        ({"port": 443, "use_ssl": False}, "https://account.blob.core.windows.net", "core.windows.net:443"),
        ({"address": "account.blob.core.windows.net"}, "https://account.blob.core.windows.net", "core.windows.net:443"),
        ({"address": "core.chinacloudapi.cn"}, "https://account.blob.core.chinacloudapi.cn", "core.chinacloudapi.cn:443"),
        ({"address": "stack.example", "port": 8443}, "https://account.blob.stack.example:8443", "stack.example:8443"),
        ({"address": "stack.example", "port": 80, "use_ssl": False}, "http://account.blob.stack.example", "stack.example:80"),
        ({"address": "127.0.0.1", "port": 10000}, "http://127.0.0.1:10000/account", "127.0.0.1:10000"),
        ({"address": "localhost", "port": 10000, "use_ssl": True}, "https://localhost:10000/account", "localhost:10000"),
        ({"address": "azurite", "port": 10000}, "http://azurite:10000/account", "azurite:10000"),
        ({"address": "::1", "port": 10000}, "http://[::1]:10000/account", "[::1]:10000"),
        ({"address": "blob.example", "port": 10000, "use_ssl": False, "path_style": True}, "http://blob.example:10000/account", "blob.example:10000"),
    ],
)  # fmt: skip
def test_where_requests_go(given: dict[str, Any], url: str, endpoint: str) -> None:
    connection = made(**given).connection
    assert (connection.url, connection.endpoint, connection.account) == (url, endpoint, "account")


@pytest.mark.parametrize(
    ("text", "url", "account", "endpoint"),
    [
        (f"DefaultEndpointsProtocol=https;AccountName=account;AccountKey={KEY};EndpointSuffix=core.windows.net", "https://account.blob.core.windows.net", "account", "core.windows.net:443"),
        (f"AccountName=account;AccountKey={KEY}", "https://account.blob.core.windows.net", "account", "core.windows.net:443"),
        (f"AccountName=account;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:10000/account/;", "http://127.0.0.1:10000/account", "account", "127.0.0.1:10000"),
        ("BlobEndpoint=https://account.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=x%3D", "https://account.blob.core.windows.net", "account", "core.windows.net:443"),
        ("UseDevelopmentStorage=true", "http://127.0.0.1:10000/devstoreaccount1", "devstoreaccount1", "127.0.0.1:10000"),
    ],
)  # fmt: skip
def test_a_connection_string_says_it_all(text: str, url: str, account: str, endpoint: str) -> None:
    settings = AzureSettings(bucket="container", connection_string=text)
    connection = settings.connection
    assert (connection.url, connection.account, connection.endpoint) == (url, account, endpoint)
    assert bool(connection.key) != bool(connection.sas)
    assert settings.account_name == account


def test_one_container_reached_in_two_ways_is_one_container() -> None:
    by_key = open_storage(made(root_path="files"))
    by_text = open_storage(
        AzureSettings(bucket="container", connection_string=f"AccountName=account;AccountKey={KEY}")
    )
    assert by_key.location.same_bucket(by_text.location)
    assert not by_key.location.same_bucket(open_storage(made(account_name="another")).location)
    assert str(by_key.location) == "azure://core.windows.net:443/account/container/files"


def test_who_signs() -> None:
    assert made().credential == "shared key"
    assert made(account_key="").credential == "chain"
    assert made(use_iam=True).credential == "chain"
    assert (made(use_iam=True).connection.key, made(use_iam=True).connection.sas) == ("", "")
    assert made(account_key="", sas_token="?sv=1&sig=x").credential == "sas"
    assert made(account_key="", sas_token="?sv=1&sig=x").connection.sas == "sv=1&sig=x"
    assert made(use_iam=True, sas_token="sig=x").credential == "chain"


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"bucket": ""}, "bucket", "a bucket is needed"),
        ({"bucket": "Upper"}, "bucket", "cannot be a container"),
        ({"bucket": "two--hyphens"}, "bucket", "cannot be a container"),
        ({"account_name": "", "account_key": ""}, "account_name", "a storage account is needed"),
        ({"account_name": "a.b"}, "account_name", "cannot be a storage account"),
        ({"account_key": "not whole"}, "account_key", "base64"),
        ({"sas_token": "sig=x"}, "sas_token", "account key is set too"),
        ({"account_key": "", "sas_token": "sv=1"}, "sas_token", "sig="),
        ({"connection_string": f"AccountName=account;AccountKey={KEY}"}, "account_key", "connection string is set too"),
        ({"account_key": "", "connection_string": f"AccountName=x1;AccountKey={KEY}"}, "account_name", "another account"),
        ({"account_key": "", "connection_string": "nonsense"}, "connection_string", "Name=Value"),
        ({"account_key": "", "connection_string": "AccountName=account"}, "connection_string", "either AccountKey"),
        ({"account_key": "", "connection_string": f"BlobEndpoint=x;AccountKey={KEY}"}, "connection_string", "no URL"),
        ({"address": "https://h"}, "address", "the host name alone"),
        ({"address": "h:1"}, "address", "the port has a key of its own"),
        ({"ca_cert": "nowhere.pem"}, "ca_cert", "there is no file"),
        ({"access_key_id": "x"}, "access_key_id", "not permitted"),
        ({"session_token": "x"}, "session_token", "not permitted"),
        ({"credentials_file": "x"}, "credentials_file", "not permitted"),
        ({"profile": "x"}, "profile", "not permitted"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_where_it_stands(
    given: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        made(**given)
    problems = {problem["loc"]: problem["msg"] for problem in caught.value.errors(include_input=False)}
    assert words in problems[(place,)]
    assert KEY not in str(caught.value)


def test_no_representation_shows_a_secret() -> None:
    text = f"AccountName=account;AccountKey={KEY}"
    for settings in (
        made(),
        made(account_key="", sas_token=f"sig={KEY}"),
        AzureSettings(bucket="container", connection_string=text),
    ):
        storage = open_storage(settings)
        for shown in (settings, settings.connection, storage, storage.location, parse(text)):
            assert KEY not in f"{shown} {shown!r}"


def test_settings_travel_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(made())) == made()


def test_it_is_offered_without_loading_the_sdk() -> None:
    [backend] = mbk_storage_backends()
    assert backend.name == "azure"
    code = (
        "import sys, mbk_azure; [b.settings() for b in mbk_azure.mbk_storage_backends()];"
        "sys.exit(any(m.startswith(('azure', 'msal', 'requests', 'urllib3')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_limits_of_the_vendor() -> None:
    limits = open_storage(made()).capabilities
    assert (limits.max_copy_size, limits.max_object_size) == (256 * MIB, 50_000 * 4000 * MIB)
    assert (limits.max_part_size, limits.max_parts, limits.delete_batch) == (4000 * MIB, 50_000, 256)


@pytest.mark.parametrize("key", ["", "a/../b", "./a", "..", "a\\b", "tab\t", "x" * 1025, "\ud800"])
def test_a_key_that_would_become_another_is_refused(key: str) -> None:
    storage = open_storage(made())
    with raised(InvalidKey):
        storage.stat(key)


@pytest.mark.parametrize("size", [None, 0, 1, 16 << 20, (16 << 20) + 1, 1 << 40, 5 * TIB])
def test_the_blocks_of_any_object_are_few_enough_and_reach(size: int | None) -> None:
    sizes = list(part_sizes(size, open_storage(made()).capabilities))
    assert len(sizes) <= MAX_BLOCKS
    assert sum(sizes) >= (5 * TIB if size is None else size)
    assert PART <= min(sizes) <= max(sizes) <= 4000 * MIB


def test_which_options_of_a_write_are_honoured() -> None:
    def honoured(**given: Any) -> frozenset[str]:
        return open_storage(made(**given)).capabilities.write_options

    assert honoured() == WRITE_OPTIONS
    assert honoured(address="127.0.0.1", port=10000) == {"storage_class", "tags"}
    assert honoured(write_options=frozenset()) == frozenset()


# -- the classic configuration -------------------------------------------------------------------------------------


def from_file(path: Path) -> tuple[AzureSettings, AzureSettings]:
    """The settings of both sides, as a command would make them."""
    [backend] = mbk_storage_backends()
    settings = load(path, environ={}).settings
    found = [settings_of(backend, choice) for choice in (settings.storage, settings.backup_storage)]
    assert all(isinstance(one, AzureSettings) for one in found)
    return found[0], found[1]  # type: ignore[return-value]  # as just asserted


def test_the_example_file_is_what_it_says() -> None:
    milvus, backup = from_file(CONFIGS / "azure.yaml")
    assert milvus.connection.url == "https://milvusaccount.blob.core.windows.net"
    assert backup.connection.url == "https://backupaccount.blob.core.windows.net"
    assert (milvus.bucket, backup.bucket) == ("milvus-container", "backup-container")
    assert (milvus.credential, backup.credential) == ("shared key", "shared key")


def test_the_classic_keys_are_the_account_and_its_key(tmp_path: Path) -> None:
    file = tmp_path / "backup.yaml"
    file.write_text(
        "minio:\n  storageType: azure\n  address: core.windows.net\n  port: 443\n  useSSL: false\n"
        f"  region: somewhere\n  accessKeyID: account\n  secretAccessKey: {KEY}\n  bucketName: container\n"
    )
    milvus, backup = from_file(file)
    assert milvus.connection.url == backup.connection.url == "https://account.blob.core.windows.net"
    assert milvus.connection.key == KEY


def test_a_credential_of_another_vendor_is_refused_with_its_key(tmp_path: Path) -> None:
    file = tmp_path / "backup.yaml"
    file.write_text(
        "minio:\n  storageType: azure\n  accessKeyID: account\n  token: a-token\n  bucketName: container\n"
    )
    with pytest.raises(ConfigError) as caught:
        from_file(file)
    assert [problem.key for problem in caught.value.problems] == ["minio.token"]
    assert "a-token" not in str(caught.value)
