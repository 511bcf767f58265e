"""A v1 file as a v2 file: the same settings."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbk.cli.commands.config import ignored
from mbk.config.keys import KEYS, Name
from mbk.config.load import load, revealed
from mbk.config.migrate import Migration, migrate
from mbk.config.schema import Settings
from mbk.config.v1 import V1
from mbk.config.v2 import V2
from mbk.errors import ConfigError

CLASSIC = Path(__file__).parent / "fixtures" / "classic.yaml"
SECRET = "hunter2secret"


ROLE_WINS = {"access_key_id", "secret_access_key", "session_token", "account_key", "credentials_file"}


def meaning(settings: Settings) -> dict[str, Any]:
    """The settings without the names under which the storage values were written, and without credentials that say nothing."""
    told: dict[str, Any] = settings.model_dump(exclude={"storage": {"keys"}, "backup_storage": {"keys"}})
    for side in ("storage", "backup_storage"):
        choice = told[side]
        values = {name: revealed(value) for name, value in choice["values"].items()}
        by_role = bool(values.pop("use_iam", False))
        choice["values"] = {
            name: value
            for name, value in values.items()
            if value != "" and not (by_role and name in ROLE_WINS)
        } | {"use_iam": by_role}
        choice["type"] = V2.canonical(choice["type"])
        del choice["type_key"]
    return told


def reloaded(migration: Migration, environ: dict[str, str], tmp_path: Path) -> Settings:
    """What v2 makes of the text, the variables renamed as the report says."""
    (tmp_path / "v2.yaml").write_text(migration.text, encoding="utf-8")
    renamed = dict(migration.env_renames)
    moved = {renamed.get(key, key): value for key, value in environ.items()}
    loaded = load("v2.yaml", environ=moved, cwd=tmp_path)
    assert loaded.dialect == "v2"
    assert loaded.warnings == ()
    return loaded.settings


def test_the_classic_file_means_the_same_in_v2(tmp_path: Path) -> None:
    migration = migrate(CLASSIC, environ={})
    assert meaning(reloaded(migration, {}, tmp_path)) == meaning(load(CLASSIC, environ={}).settings)
    assert migration.text.startswith("configVersion: v2\n")
    assert migration.dropped == migration.warnings == ()


def test_credentials_of_the_environment_stay_there_and_are_reported(tmp_path: Path) -> None:
    environ = {"MINIO_SECRET_KEY": SECRET, "MILVUS_PASSWORD": SECRET, "MINIO_BACKUP_ACCESS_KEY": SECRET}
    migration = migrate(CLASSIC, environ=environ)
    assert SECRET not in migration.text
    assert SECRET not in repr(migration)
    assert set(migration.env_renames) == {
        ("MINIO_SECRET_KEY", "MILVUS_STORAGE_AUTH_SECRET_ACCESS_KEY"),
        ("MINIO_BACKUP_ACCESS_KEY", "BACKUP_STORAGE_AUTH_ACCESS_KEY_ID"),
    }
    same = meaning(load(CLASSIC, environ=environ).settings)
    assert meaning(reloaded(migration, environ, tmp_path)) == same


def test_every_secret_with_a_variable_in_v1_has_one_in_v2() -> None:
    secret = [name for name in V1.names if name.env and KEYS[name.target].secret]
    assert secret
    assert all(V2.by_target[name.target].env for name in secret)


def test_other_variables_become_part_of_the_file_with_a_warning() -> None:
    migration = migrate(CLASSIC, environ={"MINIO_ADDRESS": "elsewhere"})
    assert yaml.safe_load(migration.text)["milvus"]["storage"]["address"] == "elsewhere"
    (warning,) = migration.warnings
    assert "MINIO_ADDRESS" in warning


def test_a_v2_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v2.yaml").write_text("configVersion: v2")
    with pytest.raises(ConfigError) as caught:
        migrate("v2.yaml", environ={}, cwd=tmp_path)
    assert [problem.key for problem in caught.value.problems] == ["configVersion"]


def test_without_a_file_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        migrate(environ={}, cwd=tmp_path)
    assert caught.value.source == "backup.yaml"
    assert "--config" in (caught.value.problems[0].suggestion or "")


def test_unknown_keys_are_told(tmp_path: Path) -> None:
    (tmp_path / "v1.yaml").write_text("minio: {adress: h}")
    (warning,) = migrate("v1.yaml", environ={}, cwd=tmp_path).warnings
    assert "minio.adress" in warning


TEXTS = [
    "",
    "a",
    "b",
    "0123",
    "yes",
    "null",
    "~",
    "a: b",
    " x ",
    "#",
    "用户",
    "*x",
    "a,b",
    "'",
    '"',
    "a\\b",
    "-",
]


def some_value(name: Name, rng: random.Random) -> str:
    by_target = {
        "milvus.tls_mode": ["0", "1"],
        "log.level": ["debug", "WARN"],
        "log.format": ["text", "JSON"],
        "backup.layout": ["classic", "Shared"],
        "backup.object_lock_mode": ["governance", "Compliance", ""],
        "transfer.mode": ["true", "false"],
        "transfer.executor": ["threads", "processes", "Dask"],
        "transfer.dask_credentials": ["send", "own"],
        "restore.max_segments_per_import_job": ["1", "1024"],
        "restore.max_group_size": ["3G", "512M", "7"],
        "server.max_body_size": ["1M", "2048"],
        "transfer.max_rate": ["200", "3000/min", "unlimited"],
        "transfer.max_bandwidth": ["50MiB/s", "400Mbit/s", "22:00-06:00 unlimited; 7K", ""],
        "transfer.time_zone": ["Europe/Berlin", "UTC", ""],
        "retention.time_zone": ["Europe/Berlin", "UTC", ""],
        "retention.keep_within": ["12h", "30d", "6m", ""],
        "retention.keep_labels": ["team", "team=search,keep", ""],
        "transfer.memory": ["64M", "1GiB"],
        "milvus.authorization": ["false"],
        "milvus.ca_cert_path": ["", "pem"],
        "milvus.etcd_endpoints": ["a:1", "a:1,b:2"],
    }
    by_name = {"type": ["minio", "s3", "azure", "ali", "aliyun"], "ca_cert": ["", "pem"]}
    by_parser = {
        "boolean": ["true", "false", ""],
        "integer": ["5", "77"],
        "port": ["1", "9000"],
        "url": ["http://a:1", "https://b"],
        "host": ["h", "10.0.0.1"],
        "word": ["b1", "b2"],
    }
    choices = by_target.get(name.target) or by_name.get(name.target.split(".")[-1])
    return rng.choice(choices or by_parser.get(getattr(name.parser, "__name__", ""), TEXTS))


@pytest.mark.parametrize("seed", range(300))
def test_any_v1_configuration_means_the_same_in_v2(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    share, in_environment = rng.choice([0.1, 0.4, 0.8]), rng.choice([0.0, 0.3])
    (tmp_path / "pem").touch()
    flat, environ = {}, {}
    for name in V1.names:
        if rng.random() < share:
            flat[rng.choice(name.keys)] = some_value(name, rng)
        if name.env and rng.random() < in_environment:
            environ[name.env] = some_value(name, rng)
    (tmp_path / "v1.yaml").write_text(yaml.safe_dump(flat, allow_unicode=True), encoding="utf-8")
    before = load("v1.yaml", environ=environ, cwd=tmp_path).settings
    migration = migrate("v1.yaml", environ=environ, cwd=tmp_path)
    assert meaning(reloaded(migration, environ, tmp_path)) == meaning(before)


#: What the classic tool (0.6) accepts in a section of storage, by its provider: words for `auth.type`, and by word the keys
#: beside it. Any other is an error there, also if it is empty; keys that it does not know are a warning.
WORDS = {
    "azure": {"sharedKey", "default"},
    "gcpnative": {"serviceAccount", "default"},
    "minio": {"static", "iam", "default"},
}
KEYS_BESIDE = {
    "static": {"accessKeyID", "secretAccessKey", "sessionToken"},
    "sharedKey": {"accountKey"},
    "serviceAccount": {"credentialsFile"},
    "iam": {"endpoint"},
    "default": set(),
}
KEYS_THERE = {key for keys in KEYS_BESIDE.values() for key in keys}
FULL = "address: h, accessKeyID: a, secretAccessKey: b, token: '', iamEndpoint: '', gcpCredentialJSON: /f"


@pytest.mark.parametrize(
    "minio",
    [
        FULL,
        f"{FULL}, backupAccessKeyID: c, backupSecretAccessKey: d, backupToken: '', backupGcpCredentialJSON: /f",
        f"{FULL}, useIAM: true",
        f"{FULL}, useIAM: true, backupAccessKeyID: c, backupSecretAccessKey: d, backupUseIAM: false",
        f"storageType: azure, {FULL}",
        f"storageType: azure, {FULL}, useIAM: true",
        f"storageType: gcpnative, {FULL}, backupGcpCredentialJSON: /f",
        f"storageType: minio, backupStorageType: azure, {FULL}, backupAccessKeyID: c, backupSecretAccessKey: d",
        f"storageType: azure, backupStorageType: ali, {FULL}, backupAccessKeyID: c, backupSecretAccessKey: d",
    ],
)
def test_the_classic_tool_accepts_the_credentials_of_a_migrated_file(minio: str, tmp_path: Path) -> None:
    (tmp_path / "v1.yaml").write_text(f"minio: {{{minio}}}")
    migration = migrate("v1.yaml", environ={}, cwd=tmp_path, ignored=ignored)
    tree = yaml.safe_load(migration.text)
    first = tree["milvus"]["storage"]
    provider, word = first.get("provider", "minio"), first.get("auth", {}).get("type", "static")
    for section in (first, tree.get("backup", {}).get("storage", {})):
        provider, auth = section.get("provider", provider), section.get("auth", {})
        word = auth.get("type", word)
        assert provider in ("minio", "azure", "gcpnative", "aliyun")
        assert word in WORDS.get(provider, WORDS["minio"])
        assert {*auth} & KEYS_THERE <= KEYS_BESIDE[word]
        assert provider == "azure" or "accountName" not in section
    assert migration.dropped == migration.warnings == ()
