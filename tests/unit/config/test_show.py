from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mbk.config.load import LoadedConfig, load
from mbk.config.migrate import migrate
from mbk.config.show import Row, show

Load = Callable[..., LoadedConfig]


def rows(loaded: LoadedConfig) -> dict[str, Row]:
    return {row.parameter: row for row in show(loaded)}


def test_each_setting_is_shown_with_value_source_and_source_key(load_text: Load) -> None:
    loaded = load_text(
        "log: {file: {rootPath: a.log}}\nmilvus: {tlsMode: 1}\nminio: {crossStorage: true, address: h}",
        environ={"MINIO_BUCKET_NAME": "b"},
        sets=["milvus.etcd.endpoints=x:1"],
        backup_storage="minio",
    )
    shown = rows(loaded)
    expected = [
        Row("log.file.filename", "a.log", "file", "log.file.rootPath"),
        Row("log.file.maxSize", "300", "default", ""),
        Row("milvus.tlsMode", "1", "file", "milvus.tlsMode"),
        Row("minio.crossStorage", "true", "file", "minio.crossStorage"),
        Row("milvus.etcd.endpoints", "x:1", "set", "milvus.etcd.endpoints"),
        Row("minio.bucketName", "b", "environment", "MINIO_BUCKET_NAME"),
        Row("minio.backupBucketName", "b", "inherited", "MINIO_BUCKET_NAME"),
        Row("minio.backupAddress", "h", "inherited", "minio.address"),
        Row("minio.storageType", "minio", "default", ""),
        Row("minio.backupStorageType", "minio", "flag", "--backup-storage"),
        Row("minio.region", "", "default", ""),
    ]
    for row in expected:
        assert shown[row.parameter] == row


def test_parameters_have_the_names_of_the_file(load_text: Load) -> None:
    shown = rows(load_text("configVersion: v2\nmilvus: {storage: {auth: {type: iam}}}"))
    assert shown["milvus.storage.auth.type"].value == "iam"
    assert shown["milvus.grpc.tlsMode"].value == "disabled"


def test_secrets_are_masked_and_their_length_with_them(load_text: Load) -> None:
    text = """
        milvus: {password: topsecret}
        cloud: {apikey: topsecret}
        minio: {secretAccessKey: topsecret, token: topsecret-and-longer, connectionString: topsecret, sasToken: topsecret}
        backup: {gcPause: {address: "http://me:topsecret@host:9091"}}
    """
    shown = rows(load_text(text))
    assert "topsecret" not in repr(shown)
    assert shown["milvus.password"].value == shown["minio.token"].value == "******"
    assert shown["backup.gcPause.address"].value == "http://***@host:9091"


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("server.onSuccess", "http://u:topsecret@h/h?token=topsecret", "http://***@h/h?***"),
        ("server.onSuccess", "https://h/h?a=topsecret&b=topsecret#f", "https://h/h?***#f"),
        ("server.onFailure", "cmd --token topsecret", "cmd ***"),
        ("server.onFailure", "cmd", "cmd"),
        ("server.onFailure", "cmd http://h/?t=topsecret", "cmd ***"),
        (
            "milvus.etcd.endpoints",
            "u:topsecret@h:1,h2:2,http://u:topsecret@h3:3",
            "***@h:1,h2:2,http://***@h3:3",
        ),
        ("minio.rootPath", "a@b/c", "a@b/c"),
    ],
)
def test_what_may_be_a_secret_within_a_value_is_masked(
    key: str, value: str, shown: str, load_text: Load
) -> None:
    assert rows(load_text("", sets=[f"{key}={value.replace(',', chr(92) + ',')}"]))[key].value == shown


@pytest.mark.parametrize(
    "key",
    ["milvus.caCertPath", "log.file.filename", "server.authFile", "server.jobs.file"],
)
def test_a_tilde_in_a_path_is_the_home_directory(
    key: str, load_text: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert rows(load_text("", sets=[f"{key}=~/f"]))[key].value == "/home/ann/f"


def test_a_secret_that_is_not_set_shows_as_empty(load_text: Load) -> None:
    assert rows(load_text(""))["milvus.password"].value == ""


def test_an_azure_account_is_shown_under_the_key_that_v1_has_for_it(load_text: Load) -> None:
    shown = rows(load_text("minio: {storageType: azure, accessKeyID: acc, secretAccessKey: topsecret}"))
    assert shown["minio.accessKeyID"].value == "acc"
    assert shown["minio.backupSecretAccessKey"] == Row(
        "minio.backupSecretAccessKey", "******", "inherited", "minio.secretAccessKey"
    )


def test_schedules_are_shown_and_survive_a_migration(tmp_path: Path) -> None:
    path = tmp_path / "backup.yaml"
    path.write_text(
        "minio: {storageType: local, rootPath: /a, backupRootPath: /b}\n"
        "schedules: {nightly: {cron: '30 2 * * *', create: {incremental: true}, keep: {keepDaily: 7}}}\n",
        encoding="utf-8",
    )
    shown = {row.parameter: row.value for row in show(load(path, environ={}, cwd=tmp_path))}
    assert shown["schedules.nightly.cron"] == "30 2 * * *"
    assert shown["schedules.nightly.create.incremental"] == "true"
    (tmp_path / "v2.yaml").write_text(migrate(path, environ={}, cwd=tmp_path).text, encoding="utf-8")
    before, after = (load(tmp_path / name, environ={}, cwd=tmp_path) for name in ("backup.yaml", "v2.yaml"))
    assert before.settings.schedules == after.settings.schedules != {}
