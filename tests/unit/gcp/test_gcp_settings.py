"""What follows from the settings of a bucket of Google's."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from mbk.config.load import load
from mbk.errors import ConfigError, InvalidKey
from mbk.plugin.objects import ObjectStorage
from mbk.registry.registry import Registry
from mbk_gcp import mbk_storage_backends
from mbk_gcp.interop import open_by_keys
from mbk_gcp.settings import GcpSettings
from mbk_gcp.storage import open_storage
from mbk_gcp.wire import GcpWire
from mbk_s3.wire import S3Wire

KEYS = {"access_key_id": "GOOG1ID", "secret_access_key": "a-secret"}
ROOT = Path(__file__).parents[3]
LEFT_OVER = {"access_key_id": "minioadmin", "secret_access_key": "minioadmin"}


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key.json"
    path.write_text("{}")
    return str(path)


@pytest.mark.parametrize(
    ("given", "endpoint", "url"),
    [
        ({}, "storage.googleapis.com:443", "https://storage.googleapis.com"),
        (
            {"address": "Storage.GoogleAPIs.com", "port": 443, "use_ssl": True},
            "storage.googleapis.com:443",
            "https://storage.googleapis.com",
        ),
        # What a classic file leaves behind of MinIO's.
        (
            {"address": "storage.googleapis.com", "port": 9000, "use_ssl": False},
            "storage.googleapis.com:443",
            "https://storage.googleapis.com",
        ),
        (
            {"address": "storage.me-central2.rep.googleapis.com"},
            "storage.me-central2.rep.googleapis.com:443",
            "https://storage.me-central2.rep.googleapis.com",
        ),
        ({"address": "localhost", "port": 4443}, "localhost:4443", "http://localhost:4443"),
        ({"address": "localhost"}, "localhost:80", "http://localhost:80"),
        ({"address": "emulator", "use_ssl": True}, "emulator:443", "https://emulator:443"),
        ({"address": "emulator", "port": 443}, "emulator:443", "https://emulator:443"),
        ({"address": "::1", "port": 4443}, "[::1]:4443", "http://[::1]:4443"),
        ({"address": "evilgoogleapis.com"}, "evilgoogleapis.com:80", "http://evilgoogleapis.com:80"),
    ],
)
def test_where_requests_go(given: dict[str, Any], endpoint: str, url: str) -> None:
    settings = GcpSettings(bucket="bucket", **given)
    assert (settings.endpoint, settings.url) == (endpoint, url)


def test_hmac_keys_are_used_where_nothing_else_is_given(key_file: str) -> None:
    keys = ("GOOG1ID", "a-secret")
    assert GcpSettings(bucket="bucket").hmac_keys is None
    assert GcpSettings(bucket="bucket", **KEYS).hmac_keys == keys
    assert GcpSettings(bucket="bucket", use_iam=True, **KEYS).hmac_keys is None
    assert GcpSettings(bucket="bucket", use_iam=True, credentials_file=key_file, **KEYS).hmac_keys is None


def test_keys_of_minio_left_in_a_classic_file_are_passed_over_beside_a_key_file(key_file: str) -> None:
    assert GcpSettings(bucket="bucket", credentials_file=key_file, **LEFT_OVER).hmac_keys is None
    assert GcpSettings(bucket="bucket", session_token="token", **LEFT_OVER).hmac_keys is None


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({}, "bucket", "a bucket is needed"),
        ({"bucket": "a/b"}, "bucket", "cannot be a bucket"),
        ({"bucket": "Upper"}, "bucket", "cannot be a bucket"),
        ({"bucket": "bucket", "address": "http://h"}, "address", "the host name alone"),
        ({"bucket": "bucket", "address": "h:4443"}, "address", "the port has a key of its own"),
        ({"bucket": "bucket", "port": 70000}, "port", "65535"),
        ({"bucket": "bucket", "ca_cert": "nowhere.pem"}, "ca_cert", "there is no file"),
        ({"bucket": "bucket", "credentials_file": "nowhere.json"}, "credentials_file", "there is no file"),
        ({"bucket": "bucket", "access_key_id": "x"}, "secret_access_key", "go together"),
        ({"bucket": "bucket", "session_token": "t", **KEYS}, "access_key_id", "two ways in"),
        ({"bucket": "bucket", "credentials_file": "KEY", **KEYS}, "access_key_id", "two ways in"),
        (
            {"bucket": "bucket", "credentials_file": "KEY", "session_token": "t"},
            "session_token",
            "two ways in",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    key_file: str, given: dict[str, Any], place: str, words: str
) -> None:
    given = {name: key_file if value == "KEY" else value for name, value in given.items()}
    with pytest.raises(ValidationError) as caught:
        GcpSettings(**given)
    [problem] = caught.value.errors(include_input=False)
    assert problem["loc"] == (place,)
    assert words in problem["msg"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("iamEndpoint", "http://metadata"),
        ("profile", "backup"),
        ("connectionString", "AccountName=a"),
        ("sasToken", "sig=a"),
    ],
)
def test_a_credential_of_another_vendor_is_refused_with_its_key(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "backup.yaml"
    path.write_text(f"minio:\n  storageType: gcp\n  bucketName: bucket\n  {key}: {value}\n")
    choice = load(path, environ={}).settings.storage
    with pytest.raises(ConfigError) as caught:
        Registry().open(choice)
    assert [problem.key for problem in caught.value.problems] == [f"minio.{key}"]
    assert value not in str(caught.value)


@pytest.mark.parametrize("name", ["gcp", "gcpnative"])
def test_both_names_lead_here(tmp_path: Path, name: str) -> None:
    path = tmp_path / "backup.yaml"
    path.write_text(
        f"minio:\n  storageType: {name}\n  bucketName: bucket\n  accessKeyID: GOOG1\n  secretAccessKey: s\n"
    )
    storage = Registry().open(load(path, environ={}).settings.storage)
    assert isinstance(storage, ObjectStorage)
    assert isinstance(storage.wrapped, S3Wire)
    assert str(storage.location) == "gcp://storage.googleapis.com:443/bucket/files"


def test_the_shipped_configuration(monkeypatch: pytest.MonkeyPatch, key_file: str) -> None:
    monkeypatch.setenv("GCP_KEY_JSON", key_file)
    monkeypatch.setenv("BACKUP_GCP_KEY_JSON", key_file)
    settings = load(ROOT / "core/mbk/config/samples/v1/gcp.yaml").settings
    for choice, root in ((settings.storage, "file/"), (settings.backup_storage, "backup/")):
        storage = Registry().open(choice)
        assert isinstance(storage, ObjectStorage)
        assert isinstance(storage.wrapped, GcpWire)
        assert storage.location.root == root
        assert storage.wrapped.settings.credentials_file == key_file


def test_no_representation_shows_a_secret() -> None:
    settings = [
        GcpSettings(bucket="bucket", session_token="a-token"),
        GcpSettings(bucket="bucket", **KEYS),
    ]
    by_token, by_keys = open_storage(settings[0]), open_by_keys(settings[1])
    shown = (*settings, by_token, by_keys, by_keys.wrapped.settings)
    for text in (*map(repr, shown), *map(str, shown)):
        assert "a-secret" not in text
        assert "a-token" not in text


def test_which_options_of_a_write_are_honoured() -> None:
    def honoured(**given: Any) -> frozenset[str]:
        return open_storage(GcpSettings(bucket="bucket", **given)).capabilities.write_options

    assert honoured() == {"retention", "storage_class", "encryption_key"}
    assert honoured(address="localhost", port=4443) == frozenset()
    assert honoured(address="localhost", write_options={"storage_class"}) == {"storage_class"}


def test_keys_and_tokens_lead_to_one_service_for_milvus() -> None:
    by_keys, by_token = (
        open_by_keys(GcpSettings(bucket="b-1", **KEYS)),
        open_storage(GcpSettings(bucket="b-1")),
    )
    assert by_keys.location == by_token.location


def test_settings_travel_to_another_process() -> None:
    settings = GcpSettings(bucket="bucket", session_token=SecretStr("token"))
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize("key", [".", "..", "a\nb", "a\rb", ".well-known/acme-challenge/a", "x" * 1025, ""])
def test_names_that_google_refuses_are_refused_without_a_request(key: str) -> None:
    storage = open_storage(GcpSettings(bucket="bucket", session_token="token"))
    for call in (lambda: storage.stat(key), lambda: storage.delete([key]), lambda: storage.multipart(key)):
        with pytest.raises(InvalidKey):
            call()


def test_the_type_is_offered_without_loading_the_sdk() -> None:
    [backend] = mbk_storage_backends()
    assert (backend.name, backend.aliases) == ("gcp", ("gcpnative",))
    code = (
        "import sys, mbk_gcp; [b.settings() for b in mbk_gcp.mbk_storage_backends()];"
        "sys.exit(any(m.startswith(('google', 'requests', 'boto', 'urllib3')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
