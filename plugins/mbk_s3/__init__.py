"""S3 storages for mbk: one implementation on boto3, three profiles (``minio``, ``s3``, ``aws``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from mbk.plugin import StorageBackend, hookimpl
from mbk_s3.profiles import PROFILES

if TYPE_CHECKING:
    from mbk_s3.settings import S3Settings
    from mbk_s3.storage import S3Storage


@hookimpl
def mbk_storage_backends() -> Iterator[StorageBackend]:
    for profile in PROFILES:
        yield StorageBackend(
            name=profile.name,
            summary=profile.summary,
            settings=partial(_settings, profile.name),
            open=_open,
            extra=f"mbk[{profile.name}]",
            requires=("boto3", "botocore"),
        )


def _settings(name: str) -> type[S3Settings]:
    from mbk_s3.settings import BY_NAME

    return BY_NAME[name]


def _open(settings: S3Settings) -> S3Storage:
    from mbk_s3.storage import S3Storage

    return S3Storage(settings)
