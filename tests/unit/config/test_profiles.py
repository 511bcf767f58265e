"""Named storages of the configuration, from the file and from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import SecretStr

from mbk.config.load import LoadedConfig, load
from mbk.config.migrate import migrate
from mbk.config.show import show
from mbk.errors import ConfigError

V1 = """
profiles:
  Archive:
    storageType: aws
    bucketName: old-backups
    accessKeyID: key
  blobs:
    storageType: azure
    accessKeyID: account
    bucketName: container
"""
V2 = """
configVersion: v2
profiles:
  archive:
    provider: aws
    bucketName: old-backups
    auth: {type: iam}
"""


def loaded(text: str, tmp_path: Path, environ: Mapping[str, str] | None = None, *sets: str) -> LoadedConfig:
    file = tmp_path / "backup.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ=environ or {}, sets=sets)


def test_a_profile_has_the_keys_of_a_side_and_inherits_nothing(tmp_path: Path) -> None:
    config = loaded(V1, tmp_path, {"MBK_PROFILE_ARCHIVE_SECRET_ACCESS_KEY": "secret"})
    archive = config.settings.profiles["archive"]
    assert archive.type == "aws"
    assert archive.values == {
        "bucket": "old-backups",
        "access_key_id": "key",
        "secret_access_key": SecretStr("secret"),
    }
    assert archive.keys["bucket"] == "profiles.Archive.bucketName"
    assert config.settings.profiles["blobs"].values["account_name"] == "account"
    assert not config.warnings


def test_a_profile_of_the_second_dialect_has_its_keys(tmp_path: Path) -> None:
    config = loaded(V2, tmp_path, {"MBK_PROFILE_ARCHIVE_AUTH_SESSION_TOKEN": "token"})
    values = config.settings.profiles["archive"].values
    assert (values["use_iam"], values["session_token"]) == (True, SecretStr("token"))


def test_a_whole_profile_may_stand_in_the_environment(tmp_path: Path) -> None:
    environ = {
        "MBK_PROFILE_DR_SITE_STORAGE_TYPE": "local",
        "MBK_PROFILE_DR_SITE_ROOT_PATH": "/srv/backups",
        "MBK_PROFILE_": "x",
    }
    settings = loaded("", tmp_path, environ).settings
    assert settings.profiles["dr_site"].values == {"root_path": "/srv/backups"}
    known = loaded("profiles: {dr-site: {storageType: minio}}", tmp_path, environ).settings
    assert (known.profiles["dr-site"].type, [*known.profiles]) == ("local", ["dr-site"])


def test_a_flag_may_change_a_profile(tmp_path: Path) -> None:
    config = loaded(V1, tmp_path, None, "profiles.archive.bucketName=other,profiles.new.storageType=local")
    assert config.settings.profiles["archive"].values["bucket"] == "other"
    assert config.settings.profiles["new"].type == "local"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("profiles: {x: {bucketName: b}}", "profiles.x.storageType: is missing"),
        ("profiles: {x: {storageType: aws, port: many}}", "profiles.x.port: expected a whole number"),
        ("profiles: {'a b': {storageType: aws}}", "profiles.a b: is not a valid name"),
        ("profiles: [x]", "profiles: expected a section"),
        ("profiles: {x: aws}", "profiles.x: expected a section"),
    ],
)
def test_what_is_wrong_with_a_profile_is_told_with_its_key(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(text, tmp_path)
    assert says in str(caught.value)


def test_a_misspelt_key_of_a_profile_is_told(tmp_path: Path) -> None:
    (warning,) = loaded("profiles: {x: {storageType: aws, bucketNam: b}}", tmp_path).warnings
    assert "profiles.x.bucketNam: unknown key" in warning
    assert "profiles.x.bucketName" in warning
    assert not loaded("profiles:\n", tmp_path).warnings


def test_profiles_are_shown_without_their_secrets_and_migrated_with_them(tmp_path: Path) -> None:
    config = loaded(V1.replace("accessKeyID: key", "secretAccessKey: hidden"), tmp_path)
    rows = {row.parameter: row.value for row in show(config)}
    assert rows["profiles.archive.secretAccessKey"] == "******"
    (tmp_path / "v2.yaml").write_text(migrate(tmp_path / "backup.yaml", environ={}).text, encoding="utf-8")
    migrated = load(tmp_path / "v2.yaml", environ={}).settings.profiles
    assert {name: (item.type, item.values) for name, item in migrated.items()} == {
        name: (item.type, item.values) for name, item in config.settings.profiles.items()
    }


LOCKED = """
profiles:
  vault:
    storageType: aws
    bucketName: kept
    objectLock: {mode: compliance, days: 30}
"""


def test_a_profile_says_how_copies_in_it_are_locked(tmp_path: Path) -> None:
    config = loaded(LOCKED, tmp_path, {"MBK_PROFILE_VAULT_OBJECT_LOCK_DAYS": "7"})
    vault = config.settings.profiles["vault"]
    assert (vault.object_lock_mode, vault.object_lock_days) == ("compliance", 7)
    assert vault.values == {"bucket": "kept"}
    shown = {row.parameter: (row.value, row.source) for row in show(config)}
    assert shown["profiles.vault.objectLock.mode"] == ("compliance", "file")
    assert shown["profiles.vault.objectLock.days"] == ("7", "environment")


def test_the_lock_of_a_profile_moves_to_the_second_dialect(tmp_path: Path) -> None:
    (tmp_path / "v1.yaml").write_text(LOCKED, encoding="utf-8")
    text = migrate(tmp_path / "v1.yaml", environ={}).text
    vault = loaded(text, tmp_path).settings.profiles["vault"]
    assert (vault.object_lock_mode, vault.object_lock_days) == ("compliance", 30)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("{mode: compliant, days: 30}", "profiles.vault.objectLock.mode"),
        ("{mode: compliance, days: -1}", "profiles.vault.objectLock.days"),
        ("{mode: compliance, day: 30}", "profiles.vault.objectLock.day"),
    ],
)
def test_a_lock_of_a_profile_that_means_nothing_is_an_error(tmp_path: Path, written: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(LOCKED.replace("{mode: compliance, days: 30}", written), tmp_path)
    assert [problem.key for problem in caught.value.problems] == [key]
