"""One container of an Azure storage account as a storage."""

from __future__ import annotations

from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import MIB, Capabilities, Location
from mbk_azure.blocks import MAX_BLOCKS
from mbk_azure.settings import NAME, AzureSettings
from mbk_azure.wire import DELETE_BATCH, MAX_KEY_BYTES, AzureWire


def open_storage(settings: AzureSettings) -> ObjectStorage[AzureWire]:
    """Sends nothing."""
    connection = settings.connection
    return ObjectStorage(
        AzureWire(settings),
        location=Location(
            backend=NAME,
            endpoint=connection.endpoint,
            account=connection.account,
            bucket=settings.bucket,
            root=settings.root,
        ),
        # https://learn.microsoft.com/azure/storage/blobs/scalability-targets
        capabilities=Capabilities(
            server_side_copy=True,
            part_copy=True,
            conditional_write=True,
            multipart=True,
            partial_prefixes=True,
            write_options=settings.honoured_options,
            max_copy_size=256 * MIB,
            min_part_size=1,
            max_part_size=4000 * MIB,
            max_parts=MAX_BLOCKS,
            max_object_size=MAX_BLOCKS * 4000 * MIB,
            delete_batch=DELETE_BATCH,
            max_key_bytes=MAX_KEY_BYTES,
        ),
    )
