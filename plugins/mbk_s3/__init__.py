"""S3 storages for mbk: one implementation, three profiles (``minio``, ``s3``, ``aws``).

Requests are mbk's own (`mbk_s3.client`); the SDK, boto3's botocore, finds and renews credentials.

Public, for plugins of further services that speak S3: `Profile` (what the service takes for granted, as data),
`S3Settings` (subclass it with a ``profile_of_service``) and `open_storage` (opens a storage with such settings).
Importing `S3Settings` brings pydantic along; `open_storage` loads the SDK where it needs it.
docs/tutorial/write-a-storage-plugin.md goes through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from mbk.plugin import StorageBackend, hookimpl
from mbk_s3.profiles import PROFILES, Profile

if TYPE_CHECKING:
    from mbk.ports.storage import Storage
    from mbk_s3.settings import S3Settings

__all__ = ["Profile", "S3Settings", "open_storage"]


def __getattr__(name: str) -> Any:
    if name == "S3Settings":
        from mbk_s3.settings import S3Settings

        return S3Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@hookimpl
def mbk_storage_backends() -> Iterator[StorageBackend]:
    for profile in PROFILES:
        yield StorageBackend(
            name=profile.name,
            summary=profile.summary,
            settings=partial(_settings, profile.name),
            open=open_storage,
            requires=("boto3", "botocore"),
            schemes=("s3",),
            ambient=profile.is_amazon,
        )


def _settings(name: str) -> type[S3Settings]:
    from mbk_s3.settings import BY_NAME

    return BY_NAME[name]


def open_storage(settings: S3Settings) -> Storage:
    """Opens one bucket; sends no request."""
    from mbk_s3 import storage

    return storage.open_storage(settings)
