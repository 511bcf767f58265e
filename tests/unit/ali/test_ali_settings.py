"""What follows from the settings of an OSS bucket, and what is refused."""

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
from mbk.ports.storage import GIB
from mbk.registry.values import settings_of
from mbk_ali import mbk_storage_backends
from mbk_ali.requests import requests_of
from mbk_ali.settings import AliSettings
from mbk_ali.storage import open_storage

KEYS = {"access_key_id": "an-id", "secret_access_key": "a-secret"}
HANGZHOU = "oss-cn-hangzhou.aliyuncs.com"
CONFIGS = Path(__file__).parents[3] / "core/mbk/config/samples/v1"


@pytest.mark.parametrize(
    ("given", "endpoint", "url", "region"),
    [
        ({"address": HANGZHOU, "port": 443, "use_ssl": True}, f"{HANGZHOU}:443", f"https://{HANGZHOU}", "cn-hangzhou"),
        ({"address": HANGZHOU}, f"{HANGZHOU}:443", f"https://{HANGZHOU}", "cn-hangzhou"),
        ({"address": HANGZHOU, "port": 80}, f"{HANGZHOU}:80", f"http://{HANGZHOU}", "cn-hangzhou"),
        ({"address": HANGZHOU, "use_ssl": False}, f"{HANGZHOU}:80", f"http://{HANGZHOU}", "cn-hangzhou"),
        ({"address": f"S3.{HANGZHOU}"}, f"{HANGZHOU}:443", f"https://{HANGZHOU}", "cn-hangzhou"),
        ({"address": "oss-cn-beijing-internal.aliyuncs.com"}, "oss-cn-beijing-internal.aliyuncs.com:443", "https://oss-cn-beijing-internal.aliyuncs.com", "cn-beijing"),
        ({"region": "cn-hangzhou"}, f"{HANGZHOU}:443", f"https://{HANGZHOU}", "cn-hangzhou"),
        ({"region": "oss-us-west-1"}, "oss-us-west-1.aliyuncs.com:443", "https://oss-us-west-1.aliyuncs.com", "us-west-1"),
        ({"address": "oss-accelerate.aliyuncs.com"}, "oss-accelerate.aliyuncs.com:443", "https://oss-accelerate.aliyuncs.com", ""),
        ({"address": "oss.example.com", "port": 9000}, "oss.example.com:9000", "https://oss.example.com:9000", ""),
    ],
)  # fmt: skip
def test_where_requests_go_and_for_which_region_they_are_signed(
    given: dict[str, Any], endpoint: str, url: str, region: str
) -> None:
    settings = AliSettings(bucket="bucket", **given)
    assert (settings.endpoint, settings.url, settings.signing_region) == (endpoint, url, region)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({"address": HANGZHOU}, f"https://bucket.{HANGZHOU}/a%2Fb"),
        ({"address": "oss.example.com", "path_style": True}, "https://oss.example.com/bucket/a%2Fb"),
        ({"address": "127.0.0.1", "port": 80}, "http://127.0.0.1/bucket/a%2Fb"),
        ({"address": "localhost", "port": 8080, "use_ssl": False}, "http://localhost:8080/bucket/a%2Fb"),
    ],
)
def test_an_object_is_asked_for_at_that_host(given: dict[str, Any], url: str) -> None:
    asked = requests_of(AliSettings(bucket="bucket", **KEYS, **given))
    assert f"{asked.sender.origin}{asked.path}{asked.encode('a/b')}" == url


def test_the_classic_file_works_as_it_stands() -> None:
    choice = load(CONFIGS / "ali.yaml").settings
    [backend] = mbk_storage_backends()
    ours = settings_of(backend, choice.storage)
    theirs = settings_of(backend, choice.backup_storage)
    assert isinstance(ours, AliSettings)
    assert isinstance(theirs, AliSettings)
    assert (ours.url, ours.bucket, ours.root) == (f"https://{HANGZHOU}", "milvus-bucket", "file/")
    assert (theirs.url, theirs.bucket, theirs.root) == (f"https://{HANGZHOU}", "milvus-backup", "backup/")


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
    values = f"address: {HANGZHOU}, {given}"
    text = f"minio: {{storageType: aliyun, {values}}}"
    if key.startswith("milvus."):
        text = f"configVersion: v2\nmilvus: {{storage: {{provider: aliyun, {values}}}}}"
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
        ({"region": "cn-hangzhou"}, "bucket", "a bucket is needed"),
        ({"region": "cn-hangzhou", "bucket": "Under_score"}, "bucket", "cannot be a bucket"),
        ({"bucket": "bucket"}, "region", "an address or a region is needed"),
        ({"bucket": "bucket", "address": f"https://{HANGZHOU}"}, "address", "the host name alone"),
        ({"bucket": "bucket", "address": f"{HANGZHOU}:443"}, "address", "the port has a key of its own"),
        ({"bucket": "bucket", "region": "r", "port": 70000}, "port", "65535"),
        ({"bucket": "bucket", "region": "r", "ca_cert": "nowhere.pem"}, "ca_cert", "there is no file"),
        ({"bucket": "bucket", "region": "r", "access_key_id": "x"}, "secret_access_key", "go together"),
        ({"bucket": "bucket", "region": "r", "root_path": "\\files"}, "root_path", "leading backslash"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(
    given: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        AliSettings(**given)
    [problem] = [p for p in caught.value.errors(include_input=False) if p["loc"] == (place,)]
    assert words in problem["msg"]


def test_what_oss_does_not_take_as_a_key_is_no_request() -> None:
    storage = open_storage(AliSettings(bucket="bucket", region="cn-hangzhou"))
    for key in ("/a", "\\a", "a\tb", "a/../b", ".", "\ud800", "x" * 1024):
        with pytest.raises(InvalidKey):
            storage.stat(key)


def test_the_limits_are_the_vendors() -> None:
    limits = open_storage(AliSettings(bucket="bucket", region="cn-hangzhou")).capabilities
    assert (limits.max_copy_size, limits.max_part_size, limits.max_parts) == (GIB, 5 * GIB, 10_000)
    assert (limits.min_part_size, limits.delete_batch, limits.max_key_bytes) == (100 * 1024, 1000, 1023)


def test_no_representation_shows_a_secret() -> None:
    settings = AliSettings(bucket="bucket", region="cn-hangzhou", session_token="a-token", **KEYS)
    storage = open_storage(settings)
    for text in (repr(settings), str(settings), repr(storage), str(storage.location)):
        assert "a-secret" not in text
        assert "a-token" not in text
    assert str(storage.location) == f"ali://{HANGZHOU}:443/bucket"


def test_settings_travel_to_another_process() -> None:
    settings = AliSettings(bucket="bucket", region="cn-hangzhou", **KEYS)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_it_is_offered_under_every_spelling_without_loading_the_sdk() -> None:
    [backend] = mbk_storage_backends()
    assert (backend.name, backend.requires) == ("ali", ("oss2",))
    assert backend.aliases == ("aliyun", "alibaba", "alicloud", "oss")
    code = (
        "import sys, mbk_ali; [b.settings() for b in mbk_ali.mbk_storage_backends()];"
        "sys.exit(any(m.startswith(('oss2', 'requests', 'urllib3')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
