"""Azure Blob Storage for mbk, let in by azure-identity, keys and signatures: a bucket is a container of a storage account."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mbk.plugin import StorageBackend, hookimpl

if TYPE_CHECKING:
    from mbk.ports.storage import Storage
    from mbk_azure.settings import AzureSettings


@hookimpl
def mbk_storage_backends() -> Iterator[StorageBackend]:
    yield StorageBackend(
        name="azure",
        summary="Azure Blob Storage, and its emulators",
        settings=_settings,
        open=_open,
        requires=("azure.storage.blob", "azure.identity", "azure.core"),
        schemes=("az",),
        url=("account_name", "bucket"),
    )


def _settings() -> type[AzureSettings]:
    from mbk_azure.settings import AzureSettings

    return AzureSettings


def _open(settings: AzureSettings) -> Storage:
    from mbk_azure.storage import open_storage

    return open_storage(settings)
