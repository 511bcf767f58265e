"""One bucket of Google Cloud Storage as a storage."""

from __future__ import annotations

from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import TIB, Capabilities, Location
from mbk_gcp.settings import NAME, GcpSettings
from mbk_gcp.wire import DELETE_BATCH, MAX_KEY_BYTES, GcpWire


def open_storage(settings: GcpSettings) -> ObjectStorage[GcpWire]:
    """Sends nothing."""
    return ObjectStorage(
        GcpWire(settings),
        location=Location(
            backend=NAME,
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            root=settings.root,
            region=settings.region,
        ),
        # https://cloud.google.com/storage/quotas. A rewrite takes any size, round by round.
        capabilities=Capabilities(
            server_side_copy=True,
            conditional_write=True,
            multipart=True,
            partial_prefixes=True,
            checksums=frozenset({"crc32c"}),
            write_options=settings.honoured_options,
            max_object_size=5 * TIB,
            delete_batch=DELETE_BATCH,
            max_key_bytes=MAX_KEY_BYTES,
        ),
    )
