"""How each storage names itself to Milvus, which writes and reads snapshots by itself.

See docs/reference/milvus-protocol.md#storages-that-milvus-reaches.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mbk.config.schema import StorageChoice
from mbk.errors import Unsupported
from mbk.ports.storage import MilvusReachable, Storage, ability
from mbk.registry.registry import Registry
from tests.raising import raised

AZURE_KEY = "a2V5"
KEYS = {"access_key_id": "id", "secret_access_key": "secret"}
EXTFS_KEYS = {"access_key_id": "id", "access_key_value": "secret"}


@pytest.fixture(scope="module")
def open_storage() -> Callable[..., Storage]:
    registry = Registry()
    registry.start()
    return lambda kind, **values: registry.open(StorageChoice(type=kind, values=values))


def reachable(storage: Storage) -> MilvusReachable:
    found = ability(storage, MilvusReachable)
    assert found
    return found


@pytest.mark.parametrize(
    ("kind", "values", "own", "other"),
    [
        ("minio", {}, "s3://bkt/a/b", "minio://localhost:9000/bkt/a/b"),
        ("s3", {"address": "ceph", "port": 8080}, "s3://bkt/a/b", "minio://ceph:8080/bkt/a/b"),
        ("aws", {"region": "eu-west-1"}, "s3://bkt/a/b", "minio://s3.eu-west-1.amazonaws.com:443/bkt/a/b"),
        (
            "minio",
            {"milvus_address": "minio.svc"},
            "minio://minio.svc:9000/bkt/a/b",
            "minio://minio.svc:9000/bkt/a/b",
        ),
        ("minio", {"milvus_port": 80}, "minio://localhost:80/bkt/a/b", "minio://localhost:80/bkt/a/b"),
        ("ali", {"region": "cn-x"}, "s3://bkt/a/b", "minio://oss-cn-x.aliyuncs.com:443/bkt/a/b"),
        (
            "ali",
            {"region": "cn-x", "milvus_address": "oss-cn-x-internal.aliyuncs.com"},
            "minio://oss-cn-x-internal.aliyuncs.com:443/bkt/a/b",
            "minio://oss-cn-x-internal.aliyuncs.com:443/bkt/a/b",
        ),
        ("tc", {"region": "ap-x"}, "s3://bkt/a/b", "minio://cos.ap-x.myqcloud.com:443/bkt/a/b"),
        ("gcp", {"use_iam": True}, "gcs://bkt/a/b", "gcs://bkt/a/b"),
        ("gcp", KEYS, "s3://bkt/a/b", "minio://storage.googleapis.com:443/bkt/a/b"),
        (
            "azure",
            {"account_name": "acc", "account_key": AZURE_KEY},
            "azure://acc.blob.core.windows.net/bkt/a/b",
            "azure://acc.blob.core.windows.net/bkt/a/b",
        ),
        (
            "azure",
            {"account_name": "acc", "address": "core.chinacloudapi.cn", "port": 8443},
            "azure://acc.blob.core.chinacloudapi.cn:8443/bkt/a/b",
            "azure://acc.blob.core.chinacloudapi.cn:8443/bkt/a/b",
        ),
        (
            "azure",
            {"account_name": "acc", "address": "127.0.0.1", "milvus_address": "acc.blob.inner"},
            "azure://acc.blob.inner/bkt/a/b",
            "azure://acc.blob.inner/bkt/a/b",
        ),
    ],
)
def test_a_key_has_a_name_for_milvus(
    kind: str, values: dict[str, Any], own: str, other: str, open_storage: Callable[..., Storage]
) -> None:
    storage = reachable(open_storage(kind, bucket="bkt", **values))
    assert storage.external_uri("a/b", own=True) == own
    assert storage.external_uri("a/b", own=False) == other


@pytest.mark.parametrize(
    ("kind", "values", "extfs"),
    [
        (
            "minio",
            {},
            {
                "cloud_provider": "minio",
                "use_ssl": "false",
                "access_key_id": "minioadmin",
                "access_key_value": "minioadmin",
            },
        ),
        (
            "s3",
            {"address": "ceph", "use_ssl": True, "region": "r1", **KEYS},
            {"cloud_provider": "aws", "use_ssl": "true", "region": "r1", **EXTFS_KEYS},
        ),
        (
            "aws",
            {"region": "eu-west-1", "use_iam": True, "iam_endpoint": "http://sts", **KEYS},
            {
                "cloud_provider": "aws",
                "use_ssl": "true",
                "region": "eu-west-1",
                "use_iam": "true",
                "iam_endpoint": "http://sts",
            },
        ),
        (
            "ali",
            {"region": "cn-x", **KEYS},
            {"cloud_provider": "aliyun", "use_ssl": "true", "region": "cn-x", **EXTFS_KEYS},
        ),
        (
            "tc",
            {"region": "ap-x", "use_iam": True},
            {"cloud_provider": "tencent", "use_ssl": "true", "region": "ap-x", "use_iam": "true"},
        ),
        ("gcp", {"use_iam": True}, {"cloud_provider": "gcpnative", "use_ssl": "true", "use_iam": "true"}),
        ("gcp", KEYS, {"cloud_provider": "gcp", "use_ssl": "true", "region": "auto", **EXTFS_KEYS}),
        (
            "azure",
            {"account_name": "acc", "account_key": AZURE_KEY},
            {
                "cloud_provider": "azure",
                "use_ssl": "true",
                "access_key_id": "acc",
                "access_key_value": AZURE_KEY,
            },
        ),
        (
            "azure",
            {"account_name": "acc", "use_iam": True},
            {"cloud_provider": "azure", "use_ssl": "true", "use_iam": "true"},
        ),
    ],
)
def test_milvus_is_let_in_as_the_settings_say(
    kind: str, values: dict[str, Any], extfs: dict[str, str], open_storage: Callable[..., Storage]
) -> None:
    spec = reachable(open_storage(kind, bucket="bkt", **values)).external_spec()
    assert json.loads(spec) == {"extfs": extfs}


def test_the_key_file_of_a_service_account_goes_whole(
    tmp_path: Path, open_storage: Callable[..., Storage]
) -> None:
    (tmp_path / "key.json").write_text('{"project_id": "p"}', encoding="utf-8")
    storage = reachable(open_storage("gcp", bucket="bkt", credentials_file=str(tmp_path / "key.json")))
    assert json.loads(storage.external_spec())["extfs"]["credential_json"] == '{"project_id": "p"}'


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("s3", {"address": "ceph", "session_token": "token", **KEYS}),
        ("ali", {"region": "cn-x", "session_token": "token", **KEYS}),
        ("tc", {"region": "ap-x", "session_token": "token", **KEYS}),
        ("gcp", {"session_token": "token"}),
        ("aws", {"region": "eu-west-1", "profile": "mine"}),
        ("azure", {"account_name": "acc", "sas_token": "sv=1&sig=token"}),
    ],
)
def test_credentials_that_milvus_takes_none_of_are_refused_without_being_told(
    kind: str, values: dict[str, Any], open_storage: Callable[..., Storage]
) -> None:
    with pytest.raises(Unsupported) as caught:
        reachable(open_storage(kind, bucket="bkt", **values)).external_spec()
    assert caught.value.hint is not None
    assert "--format binlog" in caught.value.hint
    assert "sig=" not in caught.value.message


def test_milvus_has_no_name_for_an_emulator_nor_for_a_directory(
    tmp_path: Path, open_storage: Callable[..., Storage]
) -> None:
    emulator = reachable(open_storage("azure", bucket="bkt", account_name="acc", address="127.0.0.1"))
    with raised(Unsupported, "account-in-path", account="acc"):
        emulator.external_uri("a", own=True)
    local = open_storage("local", root_path=str(tmp_path), milvus_address="inner", milvus_port=1)
    assert not isinstance(local, MilvusReachable)
