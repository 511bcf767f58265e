"""What follows from the settings of an S3 storage, by profile."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import mbk_s3
from mbk.errors import UsageError
from mbk_s3 import mbk_storage_backends
from mbk_s3.profiles import Profile
from mbk_s3.settings import AwsSettings, GenericSettings, MinioSettings, S3Settings
from mbk_s3.storage import open_storage
from tests.raising import raised

KEYS = {"access_key_id": "an-id", "secret_access_key": "a-secret"}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.mark.parametrize(
    ("kind", "given", "endpoint", "tls", "style"),
    [
        (MinioSettings, {}, "localhost:9000", False, "path"),
        (MinioSettings, {"address": "minio.svc", "port": 9001, "use_ssl": True}, "minio.svc:9001", True, "path"),
        (MinioSettings, {"address": "::1"}, "[::1]:9000", False, "path"),
        (GenericSettings, {"address": "Store.Example"}, "store.example:80", False, "path"),
        (GenericSettings, {"address": "store.example", "port": 443}, "store.example:443", True, "path"),
        (GenericSettings, {"address": "store.example", "use_ssl": True}, "store.example:443", True, "path"),
        (GenericSettings, {"address": "h", "path_style": False}, "h:80", False, "virtual"),
        (AwsSettings, {}, "s3.us-east-1.amazonaws.com:443", True, "virtual"),
        (AwsSettings, {"region": "eu-west-3"}, "s3.eu-west-3.amazonaws.com:443", True, "virtual"),
        (AwsSettings, {"region": "cn-north-1"}, "s3.cn-north-1.amazonaws.com.cn:443", True, "virtual"),
        (AwsSettings, {"address": "s3.amazonaws.com", "region": "eu-west-3"}, "s3.eu-west-3.amazonaws.com:443", True, "virtual"),
        (AwsSettings, {"address": "s3.us-west-2.amazonaws.com"}, "s3.us-west-2.amazonaws.com:443", True, "virtual"),
        (AwsSettings, {"address": "vpce-1.s3.eu-west-1.vpce.amazonaws.com"}, "vpce-1.s3.eu-west-1.vpce.amazonaws.com:443", True, "virtual"),
        (AwsSettings, {"port": 80, "use_ssl": False}, "s3.us-east-1.amazonaws.com:80", False, "virtual"),
        (AwsSettings, {"path_style": True}, "s3.us-east-1.amazonaws.com:443", True, "path"),
    ],
)  # fmt: skip
def test_where_requests_go(
    kind: type[S3Settings], given: dict[str, Any], endpoint: str, tls: bool, style: str
) -> None:
    settings = kind(bucket="bucket", **given)
    assert (settings.endpoint, settings.tls, settings.addressing_style) == (endpoint, tls, style)


class _ElsewhereSettings(S3Settings):
    """As a plugin of a further service writes it."""

    profile_of_service = Profile(
        "else", "elsewhere", address="s3.{region}.else.example", tls=True, regional=True, path_style=False
    )


@pytest.mark.parametrize(
    ("given", "endpoint", "region"),
    [
        ({"region": "north-4"}, "s3.north-4.else.example:443", "north-4"),
        ({"address": "s3.north-4.else.example"}, "s3.north-4.else.example:443", "north-4"),
        ({"address": "s3.north-4.else.example", "region": "x"}, "s3.north-4.else.example:443", "x"),
        ({"address": "front.example", "port": 8443}, "front.example:8443", "us-east-1"),
    ],
)
def test_the_host_of_a_further_service_holds_the_region(
    given: dict[str, Any], endpoint: str, region: str
) -> None:
    settings = _ElsewhereSettings(bucket="bucket", **given)
    assert (settings.endpoint, settings.signing_region) == (endpoint, region)
    assert settings.addressing_style == "virtual"


def test_a_further_service_with_regions_needs_a_region_or_an_address() -> None:
    with pytest.raises(ValidationError) as caught:
        _ElsewhereSettings(bucket="bucket")
    assert [error["loc"] for error in caught.value.errors()] == [("region",)]
    with pytest.raises(ValidationError) as caught:
        _ElsewhereSettings(bucket="bucket", address="https://h")
    assert [error["loc"] for error in caught.value.errors()] == [("address",)]


def test_what_a_further_service_builds_on_is_public() -> None:
    assert (mbk_s3.S3Settings, mbk_s3.Profile) == (S3Settings, Profile)
    assert {"Profile", "S3Settings", "open_storage"} == {*mbk_s3.__all__}
    opened = mbk_s3.open_storage(MinioSettings(bucket="bucket"))
    assert str(opened.location) == "s3://localhost:9000/bucket"
    with pytest.raises(AttributeError):
        mbk_s3.Nothing  # noqa: B018  asking is what is tested


def test_a_bucket_that_is_no_host_name_goes_by_path() -> None:
    for bucket in ("with.dots", "Upper", "under_score"):
        assert AwsSettings(bucket=bucket).addressing_style == "path"


def test_the_region_is_set_or_in_the_host_or_ambient_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AwsSettings(bucket="bucket").signing_region == "us-east-1"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert AwsSettings(bucket="bucket").signing_region == "ap-south-1"
    assert AwsSettings(bucket="bucket", address="s3.us-west-2.amazonaws.com").signing_region == "us-west-2"
    assert AwsSettings(bucket="bucket", region="eu-west-1").signing_region == "eu-west-1"
    assert MinioSettings(bucket="bucket").signing_region == "us-east-1"


def test_who_signs() -> None:
    assert MinioSettings(bucket="bucket").static_keys == ("minioadmin", "minioadmin")
    assert MinioSettings(bucket="bucket", **KEYS).static_keys == ("an-id", "a-secret")
    assert MinioSettings(bucket="bucket", use_iam=True, **KEYS).static_keys is None
    assert MinioSettings(bucket="bucket", profile="p").static_keys is None
    assert GenericSettings(bucket="bucket", address="h").static_keys is None
    assert AwsSettings(bucket="bucket").static_keys is None


@pytest.mark.parametrize(
    ("root_path", "root"),
    [
        ("", ""),
        ("files", "files/"),
        ("files/", "files/"),
        ("/files/", "files/"),
        ("a/b", "a/b/"),
        ("//a//b//", "a/b/"),
        ("/", ""),
    ],
)
def test_slashes_at_the_ends_of_the_root_mean_nothing(root_path: str, root: str) -> None:
    assert MinioSettings(bucket="bucket", root_path=root_path).root == root


def test_one_bucket_reached_in_two_ways_is_one_bucket() -> None:
    as_minio = open_storage(MinioSettings(bucket="bucket", address="localhost", root_path="files"))
    as_s3 = open_storage(GenericSettings(bucket="bucket", address="LOCALHOST", port=9000, root_path="backup"))
    assert as_minio.location.same_bucket(as_s3.location)
    assert as_s3.can_copy_from(as_minio)
    assert str(as_minio.location) == "s3://localhost:9000/bucket/files"


@pytest.mark.parametrize(
    ("kind", "given", "place", "words"),
    [
        (MinioSettings, {}, "bucket", "a bucket is needed"),
        (MinioSettings, {"bucket": "a/b"}, "bucket", "cannot be a bucket"),
        (GenericSettings, {"bucket": "bucket"}, "address", "an address is needed"),
        (MinioSettings, {"bucket": "bucket", "address": "http://h"}, "address", "the host name alone"),
        (MinioSettings, {"bucket": "bucket", "address": "h:9000"}, "address", "the port has a key of its own"),
        (MinioSettings, {"bucket": "bucket", "port": 70000}, "port", "65535"),
        (MinioSettings, {"bucket": "bucket", "ca_cert": "nowhere.pem"}, "ca_cert", "there is no file"),
        (MinioSettings, {"bucket": "bucket", "access_key_id": "x"}, "secret_access_key", "go together"),
        (MinioSettings, {"bucket": "bucket", "account_name": "x"}, "account_name", "not permitted"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_where_it_stands(
    kind: type[S3Settings], given: dict[str, Any], place: str, words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        kind(**given)
    [problem] = caught.value.errors(include_input=False)
    assert problem["loc"] == (place,)
    assert words in problem["msg"]


def test_no_representation_shows_a_secret() -> None:
    settings = MinioSettings(bucket="bucket", session_token="a-token", **KEYS)
    storage = open_storage(settings)
    for text in (repr(settings), str(settings), repr(storage), str(storage.location)):
        assert "a-secret" not in text
        assert "a-token" not in text


def test_settings_travel_to_another_process() -> None:
    settings = MinioSettings(bucket="bucket", **KEYS)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_an_unknown_profile_is_told_at_the_first_request() -> None:
    storage = open_storage(AwsSettings(bucket="bucket", region="us-east-1", profile="nobody"))
    with raised(UsageError, bucket="bucket"):
        storage.check()


def test_the_three_kinds_are_offered_without_loading_the_sdk() -> None:
    assert [backend.name for backend in mbk_storage_backends()] == ["minio", "s3", "aws"]
    code = (
        "import sys, mbk_s3; [b.settings() for b in mbk_s3.mbk_storage_backends()];"
        "sys.exit(any(m.startswith(('boto', 's3transfer', 'urllib3')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
