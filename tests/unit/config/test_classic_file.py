"""The file that the guide prints, twice: every key of it has its effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from mbk.config.load import LoadedConfig, load
from mbk.config.show import value_of

FIXTURES = Path(__file__).parent / "fixtures"
FILES = [FIXTURES / "classic.yaml", FIXTURES / "classic-bilingual.yaml"]

# Key, a value other than the printed one, the setting that must follow, its value.
EFFECTS: list[tuple[str, Any, str, Any]] = [
    ("log.level", "debug", "log.level", "debug"),
    ("log.console", False, "log.console", False),
    ("log.file.rootPath", "logs/other.log", "log.file", "logs/other.log"),
    ("http.simpleResponse", False, "server.simple_response", False),
    ("milvus.address", "db.example.com", "milvus.address", "db.example.com"),
    ("milvus.port", 19531, "milvus.port", 19531),
    ("milvus.tlsMode", 1, "milvus.tls_mode", "server"),
    ("milvus.user", "admin", "milvus.user", "admin"),
    ("milvus.password", "other", "milvus.password", SecretStr("other")),
    ("minio.storageType", "aws", "storage.type", "aws"),
    ("minio.address", "store.example.com", "storage.address", "store.example.com"),
    ("minio.port", 9001, "storage.port", 9001),
    ("minio.accessKeyID", "other", "storage.access_key_id", "other"),
    ("minio.secretAccessKey", "other", "storage.secret_access_key", SecretStr("other")),
    ("minio.useSSL", True, "storage.use_ssl", True),
    ("minio.useIAM", True, "storage.use_iam", True),
    ("minio.iamEndpoint", "http://iam", "storage.iam_endpoint", "http://iam"),
    ("minio.bucketName", "other", "storage.bucket", "other"),
    ("minio.rootPath", "other", "storage.root_path", "other"),
    ("minio.backupAccessKeyID", "other", "backup_storage.access_key_id", "other"),
    ("minio.backupSecretAccessKey", "other", "backup_storage.secret_access_key", SecretStr("other")),
    ("minio.backupBucketName", "other", "backup_storage.bucket", "other"),
    ("minio.backupRootPath", "other", "backup_storage.root_path", "other"),
    ("backup.maxSegmentGroupSize", "512M", "restore.max_group_size", 512 * 1024**2),
    ("backup.parallelism.backupCollection", 5, "backup.collections", 5),
    ("backup.parallelism.copydata", 16, "transfer.concurrency", 16),
    ("backup.parallelism.restoreCollection", 3, "restore.collections", 3),
    ("backup.keepTempFiles", True, "restore.keep_temp_files", True),
    ("backup.gcPause.enable", False, "backup.pause_gc", False),
    ("backup.gcPause.seconds", 60, "backup.gc_pause_seconds", 60),
    ("backup.gcPause.address", "http://db:9091", "milvus.management_endpoint", "http://db:9091"),
]
CHECKED_ONLY = {"milvus.authorizationEnabled"}


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix[:-1]: node}
    return {k: v for key, value in node.items() for k, v in leaves(value, f"{prefix}{key}.").items()}


def changed(path: Path, key: str, value: Any, tmp_path: Path) -> LoadedConfig:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    *sections, leaf = key.split(".")
    node = tree
    for section in sections:
        node = node[section]
    assert leaf in node
    node[leaf] = value
    file = tmp_path / "changed.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return load(file, environ={})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_as_it_stands_without_a_word(path: Path) -> None:
    loaded = load(path, environ={})
    settings = loaded.settings
    assert (loaded.dialect, loaded.warnings) == ("v1", ())
    assert (settings.milvus.user, settings.milvus.password.get_secret_value()) == ("root", "Milvus")
    assert settings.milvus.tls_mode == "disabled"
    assert settings.log.file == "logs/backup.log"
    assert settings.server.simple_response
    assert settings.backup.gc_pause_seconds == 7200
    assert settings.restore.max_group_size == 2 * 1024**3
    common = {
        "address": "localhost",
        "port": 9000,
        "access_key_id": "minioadmin",
        "secret_access_key": SecretStr("minioadmin"),
        "use_ssl": False,
        "use_iam": False,
        "bucket": "a-bucket",
    }
    assert settings.storage.values == {**common, "root_path": "files"}
    assert settings.backup_storage.values == {**common, "root_path": "backup"}
    assert settings.storage.type == settings.backup_storage.type == "minio"


def test_both_forms_mean_the_same() -> None:
    plain, bilingual = (load(path, environ={}).settings for path in FILES)
    assert plain == bilingual


@pytest.mark.parametrize(("key", "value", "target", "expected"), EFFECTS, ids=[row[0] for row in EFFECTS])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_key_has_its_effect(
    path: Path, key: str, value: Any, target: str, expected: Any, tmp_path: Path
) -> None:
    assert value_of(load(path, environ={}).settings, target) != expected
    assert value_of(changed(path, key, value, tmp_path).settings, target) == expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_key_of_it_is_left_untested(path: Path) -> None:
    keys = set(leaves(yaml.safe_load(path.read_text(encoding="utf-8"))))
    assert keys == {row[0] for row in EFFECTS} | CHECKED_ONLY
