"""S3 storages for mbk: one implementation on boto3, three profiles (``minio``, ``s3``, ``aws``).

Public, for plugins of further services that speak S3: `Profile` (what the service takes for granted, as data),
`S3Settings` (subclass it with a ``profile_of_service``) and `S3Storage` (opened with such settings). Importing them
brings pydantic (`S3Settings`) or the SDK (`S3Storage`) along, so import those where they are used.
docs/tutorial/write-a-storage-plugin.md goes through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from mbk.plugin import StorageBackend, hookimpl
from mbk_s3.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from mbk_s3.settings import S3Settings
    from mbk_s3.storage import S3Storage

__all__ = ["Profile", "S3Settings", "S3Storage"]


def __getattr__(name: str) -> Any:
    if name == "S3Settings":
        from mbk_s3.settings import S3Settings

        return S3Settings
    if name == "S3Storage":
        from mbk_s3.storage import S3Storage

        return S3Storage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
