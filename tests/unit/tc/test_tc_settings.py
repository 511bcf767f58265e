"""What follows from the settings of a COS bucket, and what is refused."""

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
from mbk.ports.storage import GIB, MIB
from mbk.registry.values import settings_of
from mbk_tc import mbk_storage_backends
from mbk_tc.requests import requests_of
from mbk_tc.settings import TcSettings
from mbk_tc.storage import open_storage

KEYS = {"access_key_id": "an-id", "secret_access_key": "a-secret"}
NANJING = "cos.ap-nanjing.myqcloud.com"
CONFIGS = Path(__file__).parents[3] / "core/mbk/config/samples/v1"


@pytest.mark.parametrize(
    ("given", "endpoint", "tls", "region"),
    [
        ({"address": NANJING, "port": 443, "use_ssl": True}, f"{NANJING}:443", True, "ap-nanjing"),
        ({"address": NANJING}, f"{NANJING}:443", True, "ap-nanjing"),
        ({"address": NANJING, "port": 80}, f"{NANJING}:80", False, "ap-nanjing"),
        ({"address": f"bucket-1.{NANJING}"}, f"{NANJING}:443", True, "ap-nanjing"),
        ({"address": "COS.ap-beijing.tencentcos.cn"}, "cos.ap-beijing.tencentcos.cn:443", True, "ap-beijing"),
        ({"region": "ap-nanjing"}, f"{NANJING}:443", True, "ap-nanjing"),
        ({"region": "cos.ap-nanjing"}, f"{NANJING}:443", True, "ap-nanjing"),
        ({"address": "cos.accelerate.myqcloud.com"}, "cos.accelerate.myqcloud.com:443", True, ""),
        ({"address": "cos.example.com", "port": 9000}, "cos.example.com:9000", True, ""),
    ],
)
def test_where_requests_go(given: dict[str, Any], endpoint: str, tls: bool, region: str) -> None:
    settings = TcSettings(bucket="bucket-1", **given)
    assert (settings.endpoint, settings.tls, settings.home_region) == (endpoint, tls, region)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"address": NANJING}, f"https://bucket-1.{NANJING}/a/b"),
        ({"address": "cos.example.com", "port": 9000}, "https://bucket-1.cos.example.com:9000/a/b"),
        ({"address": "127.0.0.1", "port": 80}, "http://127.0.0.1/a/b"),
        ({"address": "localhost", "port": 8080, "use_ssl": False}, "http://localhost:8080/a/b"),
    ],
)
def test_an_object_is_asked_for_at_that_host(given: dict[str, Any], url: str) -> None:
    asked = requests_of(TcSettings(bucket="bucket-1", **KEYS, **given))
    assert f"{asked.sender.origin}{asked.path}{asked.encode('a/b')}" == url


def test_the_classic_file_works_as_it_stands() -> None:
    choice = load(CONFIGS / "tc.yaml").settings
    [backend] = mbk_storage_backends()
    ours = settings_of(backend, choice.storage)
    theirs = settings_of(backend, choice.backup_storage)
    assert isinstance(ours, TcSettings)
    assert isinstance(theirs, TcSettings)
    assert (ours.endpoint, ours.tls) == (theirs.endpoint, theirs.tls) == (f"{NANJING}:443", True)
    assert (ours.bucket, ours.root) == ("milvus-1250000000", "file/")
    assert (theirs.bucket, theirs.root) == ("milvus-backup-1250000000", "backup/")


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("sasToken: of-theirs", "minio.sasToken"),
        ("connectionString: of-theirs", "minio.connectionString"),
        ("gcpCredentialJSON: of-theirs", "minio.gcpCredentialJSON"),
        ("profile: of-theirs", "minio.profile"),
        ("accountName: of-theirs", "milvus.storage.accountName"),
        ("auth: {accountKey: of-theirs}", "milvus.storage.auth.accountKey"),
    ],
)
def test_a_credential_of_another_vendor_is_refused_with_its_key(tmp_path: Path, given: str, key: str) -> None:
    values = f"address: {NANJING}, {given}"
    text = f"minio: {{storageType: tencent, {values}}}"
    if key.startswith("milvus."):
        text = f"configVersion: v2\nmilvus: {{storage: {{provider: tencent, {values}}}}}"
    (tmp_path / "backup.yaml").write_text(text)
    choice = load(tmp_path / "backup.yaml").settings.storage
    [backend] = mbk_storage_backends()
    with pytest.raises(ConfigError) as caught:
        settings_of(backend, choice)
    assert [problem.key for problem in caught.value.problems] == [key]
    assert "of-theirs" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"region": "ap-nanjing"}, "bucket", "a bucket is needed"),
        ({"region": "ap-nanjing", "bucket": "Under_score"}, "bucket", "cannot be a bucket"),
        ({"bucket": "bucket"}, "region", "an address or a region is needed"),
        ({"bucket": "bucket", "address": f"https://{NANJING}"}, "address", "the host name alone"),
        ({"bucket": "bucket", "address": f"{NANJING}:443"}, "address", "the port has a key of its own"),
        ({"bucket": "bucket", "region": "r", "port": 70000}, "port", "65535"),
        ({"bucket": "bucket", "region": "r", "ca_cert": "nowhere.pem"}, "ca_cert", "there is no file"),
        ({"bucket": "bucket", "region": "r", "access_key_id": "x"}, "secret_access_key", "go together"),
        ({"bucket": "bucket", "region": "r", "root_path": "\\files"}, "root_path", "leading backslash"),
        ({"bucket": "bucket", "region": "r", "path_style": True}, "path_style", "in the host name"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    given: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        TcSettings(**given)
    [problem] = [p for p in caught.value.errors(include_input=False) if p["loc"] == (place,)]
    assert words in problem["msg"]


def test_what_cos_does_not_take_as_a_key_is_no_request() -> None:
    storage = open_storage(TcSettings(bucket="bucket", region="ap-nanjing"))
    for key in ("/a", "\\a", "a\tb", "a/../b", ".", "\ud800", "x" * 851):
        with pytest.raises(InvalidKey):
            storage.stat(key)


def test_the_limits_are_the_vendors() -> None:
    limits = open_storage(TcSettings(bucket="bucket", region="ap-nanjing")).capabilities
    assert (limits.max_copy_size, limits.max_part_size, limits.max_parts) == (5 * GIB, 5 * GIB, 10_000)
    assert (limits.min_part_size, limits.delete_batch, limits.max_key_bytes) == (MIB, 1000, 850)


def test_no_representation_shows_a_secret() -> None:
    settings = TcSettings(bucket="bucket", region="ap-nanjing", session_token="a-token", **KEYS)
    storage = open_storage(settings)
    for text in (repr(settings), str(settings), repr(storage), str(storage.location)):
        assert "a-secret" not in text
        assert "a-token" not in text
    assert str(storage.location) == f"tc://{NANJING}:443/bucket"


def test_settings_travel_to_another_process() -> None:
    settings = TcSettings(bucket="bucket", region="ap-nanjing", **KEYS)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_it_is_offered_under_every_spelling_without_loading_the_sdk() -> None:
    [backend] = mbk_storage_backends()
    assert (backend.name, backend.requires) == ("tc", ("qcloud_cos",))
    assert backend.aliases == ("tencent", "cos")
    code = (
        "import sys, mbk_tc; [b.settings() for b in mbk_tc.mbk_storage_backends()];"
        "sys.exit(any(m.startswith(('qcloud_cos', 'requests', 'urllib3')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
