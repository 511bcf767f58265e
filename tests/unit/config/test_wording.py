"""Hints name the user's own key: of the dialect, the side and the layer that it comes from."""

from __future__ import annotations

import pytest

from mbk.config.wording import in_own_keys
from tests.unit.config.conftest import Load

V1 = "minio: {accessKeyID: a, secretAccessKey: b}"
V2 = "configVersion: v2\nmilvus: {storage: {auth: {accessKeyID: a, secretAccessKey: b}}}"
PROFILE = "\nprofiles: {archive: {storageType: minio, secretAccessKey: c}}"
SECRET = "check the secret access key"


@pytest.mark.parametrize(
    ("text", "side", "hint", "own"),
    [
        (V1, "storage", SECRET, f"{SECRET} (minio.secretAccessKey)"),
        (V1, "backup_storage", SECRET, f"{SECRET} (minio.secretAccessKey)"),
        (V2, "storage", SECRET, f"{SECRET} (milvus.storage.auth.secretAccessKey)"),
        (
            V2,
            "backup_storage",
            "create it, or check bucketName",
            "create it, or check milvus.storage.bucketName",
        ),
        (V2, "storage", "set useSSL", "set milvus.storage.useSSL"),
        (V1, "backup_storage", "set useSSL", "set minio.backupUseSSL"),
        (V2, "backup_storage", "set useIAM", "set backup.storage.auth.type: iam"),
        (V1, "storage", "set credentialsFile", "set minio.gcpCredentialJSON"),
        (V1, "backup_storage", "set credentialsFile", "set minio.backupGcpCredentialJSON"),
        (V2, "backup_storage", "set credentialsFile", "set backup.storage.auth.credentialsFile"),
        (V2, "", "check milvus.address and milvus.port", "check milvus.grpc.address and milvus.grpc.port"),
        (V1, "", "check milvus.address and milvus.port", "check milvus.address and milvus.port"),
        (V1, "", "set backup.storage.rootPath", "set minio.backupRootPath"),
        (V2, "", "set backup.storage.rootPath", "set backup.storage.rootPath"),
        (V2, "", "set transfer.workers lower, see docs/a.md", "set transfer.workers lower, see docs/a.md"),
        (V1, "", "check bucketName", "check bucketName"),
        (V1 + PROFILE, "profiles.archive", SECRET, f"{SECRET} (profiles.archive.secretAccessKey)"),
        (V1 + PROFILE, "profiles.archive", "check bucketName", "check profiles.archive.bucketName"),
        (V1, "s3://there/x", "create it, or check bucketName", "create it, or check s3://there/x"),
        (V1, "./there", "correct rootPath", "correct ./there"),
    ],
)
def test_a_hint_names_the_key_of_the_dialect_and_of_the_side(
    load_text: Load, text: str, side: str, hint: str, own: str
) -> None:
    assert in_own_keys(hint, load_text(text), side) == own


def test_a_value_of_the_backup_side_is_named_by_what_set_it(load_text: Load) -> None:
    environ = {"MINIO_BACKUP_SECRET_KEY": "x", "MINIO_BACKUP_ACCESS_KEY": "y"}
    loaded = load_text(V1, environ=environ)
    assert in_own_keys(SECRET, loaded, "backup_storage") == f"{SECRET} (MINIO_BACKUP_SECRET_KEY)"
    assert in_own_keys(SECRET, loaded, "storage") == f"{SECRET} (minio.secretAccessKey)"
