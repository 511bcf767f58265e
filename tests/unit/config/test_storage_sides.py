"""What each storage says for itself, and what it takes over from the other."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from mbk.config.load import LoadedConfig

Load = Callable[..., LoadedConfig]

PRIMARY = "address: h, port: 9000, accessKeyID: a, secretAccessKey: s, token: t, region: r"


def v2(storage: str, backup: str = "") -> str:
    return f"configVersion: v2\nmilvus: {{storage: {{{storage}}}}}\nbackup: {{storage: {{{backup}}}}}"


def test_without_a_word_only_bucket_and_root_path_have_defaults(load_text: Load) -> None:
    v1, v2_ = load_text("").settings, load_text("configVersion: v2").settings
    assert v1.storage.values == v2_.storage.values == {"bucket": "a-bucket", "root_path": "files"}
    assert v1.backup_storage.values == {"bucket": "a-bucket", "root_path": "files"}
    assert v2_.backup_storage.values == {"bucket": "a-bucket", "root_path": "backup"}
    assert v1.storage.type == v2_.backup_storage.type == "minio"


def test_v1_inherits_everything_that_the_backup_side_does_not_set(load_text: Load) -> None:
    text = f"minio: {{{PRIMARY}, gcpCredentialJSON: c, localPath: /l, backupBucketName: b, rootPath: p}}"
    values = load_text(text).settings.backup_storage.values
    assert values == {
        "address": "h",
        "port": 9000,
        "access_key_id": "a",
        "secret_access_key": SecretStr("s"),
        "session_token": SecretStr("t"),
        "region": "r",
        "bucket": "b",
        "root_path": "p",
    }


def test_v2_inherits_all_but_root_path_and_local_path(load_text: Load) -> None:
    text = v2(
        "provider: s3, address: h, bucketName: b, rootPath: p, localPath: /l, auth: {credentialsFile: c, type: iam}"
    )
    choice = load_text(text).settings.backup_storage
    assert choice.type == "s3"
    assert choice.values == {
        "address": "h",
        "bucket": "b",
        "root_path": "backup",
        "credentials_file": "c",
        "use_iam": True,
    }


def test_keys_name_where_a_value_was_written(load_text: Load) -> None:
    loaded = load_text(
        "minio: {address: h, accessKeyID: a, backupPort: 1}", environ={"MINIO_BACKUP_SECRET_KEY": "s"}
    )
    choice = loaded.settings.backup_storage
    assert choice.type_key == "minio.backupStorageType" or choice.type_key == "minio.storageType"
    assert choice.keys == {
        "address": "minio.address",
        "port": "minio.backupPort",
        "access_key_id": "minio.accessKeyID",
        "secret_access_key": "MINIO_BACKUP_SECRET_KEY",
        "bucket": "minio.bucketName",
        "root_path": "minio.rootPath",
    }


def test_another_type_inherits_bucket_and_root_path_only(load_text: Load) -> None:
    text = f"minio: {{{PRIMARY}, bucketName: b, backupStorageType: acme, backupRegion: r2}}"
    choice = load_text(text).settings.backup_storage
    assert (choice.type, choice.values) == ("acme", {"bucket": "b", "root_path": "files", "region": "r2"})


def test_two_spellings_of_one_type_are_one_type(load_text: Load) -> None:
    text = "minio: {storageType: ali, address: h, backupStorageType: Aliyun}"
    choice = load_text(text).settings.backup_storage
    assert (choice.type, choice.values["address"]) == ("aliyun", "h")


def test_the_storage_flag_is_the_type_of_the_run(load_text: Load) -> None:
    text = "minio: {storageType: minio, address: h, backupStorageType: s3}"
    settings = load_text(text, storage="acme").settings
    assert (settings.storage.type, settings.backup_storage.type) == ("acme", "acme")
    assert settings.backup_storage.values["address"] == "h"
    assert settings.backup_storage.type_key == "--storage"


def test_the_backup_storage_flag_is_that_of_the_backup_side_alone(load_text: Load) -> None:
    text = f"minio: {{{PRIMARY}, backupRootPath: /backups}}"
    settings = load_text(text, storage="s3", backup_storage="local").settings
    assert (settings.storage.type, settings.backup_storage.type) == ("s3", "local")
    assert settings.backup_storage.values == {"bucket": "a-bucket", "root_path": "/backups"}


def test_a_session_token_goes_only_with_its_access_key(load_text: Load) -> None:
    text = f"minio: {{{PRIMARY}, backupAccessKeyID: other, backupSecretAccessKey: s2}}"
    assert "session_token" not in load_text(text).settings.backup_storage.values
    text = f"minio: {{{PRIMARY}, backupAccessKeyID: ''}}"
    assert "session_token" not in load_text(text).settings.backup_storage.values


CREDENTIALS = {
    "auth: {accessKeyID: a, secretAccessKey: s, sessionToken: t}": {
        "access_key_id", "secret_access_key", "session_token",
    },
    "accountName: n, auth: {accountKey: k}": {"account_key"},
    "auth: {connectionString: c}": {"connection_string"},
    "auth: {sasToken: sig}": {"sas_token"},
    "auth: {credentialsFile: f}": {"credentials_file"},
    "auth: {profile: p}": {"profile"},
    "auth: {type: iam}": {"use_iam"},
}  # fmt: skip
OF_ANY_KIND = set().union(*CREDENTIALS.values())


@pytest.mark.parametrize("own", CREDENTIALS)
@pytest.mark.parametrize("other", CREDENTIALS)
def test_a_side_with_a_credential_of_its_own_inherits_none_of_another_kind(
    load_text: Load, own: str, other: str
) -> None:
    settings = load_text(v2(other, own)).settings
    assert settings.storage.values.keys() & OF_ANY_KIND == CREDENTIALS[other]
    assert settings.backup_storage.values.keys() & OF_ANY_KIND == CREDENTIALS[own]


@pytest.mark.parametrize("other", CREDENTIALS)
@pytest.mark.parametrize("own", ["bucketName: b", "rootPath: r"])
def test_one_without_any_inherits_what_there_is(load_text: Load, own: str, other: str) -> None:
    values = load_text(v2(other, own)).settings.backup_storage.values
    assert values.keys() & OF_ANY_KIND == CREDENTIALS[other]


@pytest.mark.parametrize("own", ["auth: {type: static}", "auth: {sasToken: ''}"])
def test_to_say_that_there_is_none_is_no_credential(load_text: Load, own: str) -> None:
    text = v2("auth: {connectionString: c}", own)
    assert "connection_string" in load_text(text).settings.backup_storage.values


def test_a_credential_that_equals_the_primary_s_is_not_one_of_its_own(load_text: Load) -> None:
    keys = "accessKeyID: left-over, secretAccessKey: s"
    text = v2(f"auth: {{{keys}, credentialsFile: f}}", f"auth: {{{keys}}}")
    assert load_text(text).settings.backup_storage.values["credentials_file"] == "f"


def test_classic_keys_of_its_own_are_used_beside_a_primary_with_a_role(load_text: Load) -> None:
    text = "minio: {useIAM: true, backupAccessKeyID: a, backupSecretAccessKey: s}"
    values = load_text(text).settings.backup_storage.values
    assert (values["access_key_id"], "use_iam" in values) == ("a", False)


def test_half_a_key_pair_is_completed_by_the_primary_s(load_text: Load) -> None:
    loaded = load_text("minio: {accessKeyID: a}", environ={"MINIO_BACKUP_SECRET_KEY": "s"})
    assert loaded.settings.backup_storage.values["access_key_id"] == "a"


@pytest.mark.parametrize("own", ["auth: {sasToken: sig}", "auth: {type: iam}", "auth: {accountKey: other}"])
def test_the_account_s_name_goes_with_any_credential_for_it(load_text: Load, own: str) -> None:
    values = load_text(v2("accountName: acc, auth: {accountKey: k}", own)).settings.backup_storage.values
    assert values["account_name"] == "acc"


def test_but_a_connection_string_names_its_own(load_text: Load) -> None:
    text = v2("accountName: acc, auth: {accountKey: k}", "auth: {connectionString: c}")
    assert "account_name" not in load_text(text).settings.backup_storage.values


def test_another_account_takes_the_role_and_no_signature(load_text: Load) -> None:
    text = v2("accountName: acc, auth: {sasToken: sig, type: iam}", "accountName: other")
    values = load_text(text).settings.backup_storage.values
    assert (values["use_iam"], "sas_token" in values) == (True, False)


def test_an_explicit_empty_text_is_not_replaced_by_an_inherited_one(load_text: Load) -> None:
    text = f"minio: {{{PRIMARY}, backupRegion: '', backupToken: '', backupRootPath: '', backupAddress: ''}}"
    values = load_text(text).settings.backup_storage.values
    assert "region" not in values
    assert "session_token" not in values
    assert (values["root_path"], values["address"]) == ("", "h")


def test_milvus_side_without_credentials_uses_those_of_the_backup_side(load_text: Load) -> None:
    text = "minio: {address: h, useIAM: false, backupAccessKeyID: a, backupSecretAccessKey: s}"
    choice = load_text(text).settings.storage
    assert (choice.values["access_key_id"], choice.keys["access_key_id"]) == ("a", "minio.backupAccessKeyID")
    assert choice.values["secret_access_key"] == SecretStr("s")


@pytest.mark.parametrize(
    "more",
    ["useIAM: true", "accessKeyID: p", "backupAddress: other", "backupStorageType: acme", "profile: p"],
)
def test_but_not_when_it_has_its_own_or_they_belong_elsewhere(load_text: Load, more: str) -> None:
    text = f"minio: {{address: h, {more}, backupAccessKeyID: a, backupSecretAccessKey: s}}"
    values = load_text(text).settings.storage.values
    assert values.get("access_key_id") != "a"
    assert "secret_access_key" not in values


@pytest.mark.parametrize(
    ("word", "use_iam"),
    [("static", False), ("sharedKey", False), ("serviceAccount", False), ("iam", True), ("default", True)],
)
def test_auth_type_of_v2(load_text: Load, word: str, use_iam: bool) -> None:
    values = load_text(v2(f"auth: {{type: {word}}}")).settings.storage.values
    assert values["use_iam"] is use_iam


def test_an_azure_account_is_written_as_a_key_pair_in_v1(load_text: Load) -> None:
    v1 = load_text("minio: {storageType: azure, accessKeyID: acc, secretAccessKey: key}").settings.storage
    other = load_text(v2("provider: azure, accountName: acc, auth: {accountKey: key}")).settings.storage
    assert v1.values == other.values
    assert v1.keys["account_name"] == "minio.accessKeyID"


def test_how_milvus_reaches_a_storage_is_said_for_each_side(load_text: Load) -> None:
    loaded = load_text(v2("milvusAddress: inner, milvusPort: 9000"))
    assert loaded.warnings == ()
    values = loaded.settings.storage.values
    assert (values["milvus_address"], values["milvus_port"]) == ("inner", 9000)
    assert not {"milvus_address", "milvus_port"} & set(loaded.settings.backup_storage.values)


def test_settings_travel_to_another_process(load_text: Load) -> None:
    settings = load_text(f"minio: {{{PRIMARY}}}").settings
    assert pickle.loads(pickle.dumps(settings)) == settings
