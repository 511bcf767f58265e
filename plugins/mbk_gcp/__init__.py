"""Google Cloud Storage for mbk, let in by google-auth; with HMAC keys through its S3 dialect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbk.plugin import StorageBackend, hookimpl

if TYPE_CHECKING:
    from mbk.ports.storage import Storage
    from mbk_gcp.settings import GcpSettings


@hookimpl
def mbk_storage_backends() -> Iterator[StorageBackend]:
    yield StorageBackend(
        name="gcp",
        aliases=("gcpnative",),
        schemes=("gs",),
        summary="Google Cloud Storage",
        settings=_settings,
        open=_open,
        requires=("google.auth", "google_crc32c", "requests", "botocore"),
    )


def _settings() -> type[GcpSettings]:
    from mbk_gcp.settings import GcpSettings

    return GcpSettings


def _open(settings: GcpSettings) -> Storage:
    if settings.hmac_keys:
        from mbk_gcp.interop import open_by_keys

        return open_by_keys(settings)
    from mbk_gcp.storage import open_storage

    return open_storage(settings)
