"""One bucket of Alibaba Cloud OSS as a storage."""

from __future__ import annotations

from mbk.plugin.conditions import require_installed
from mbk.plugin.headers import CHECKSUMS
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import GIB, Capabilities, Location
from mbk_ali.options import HONOURED
from mbk_ali.settings import AliSettings
from mbk_ali.wire import BACKEND, DELETE_BATCH, MAX_KEY_BYTES, AliWire

KIB = 1024
MAX_PARTS = 10_000


def open_storage(settings: AliSettings) -> ObjectStorage[AliWire]:
    """Sends nothing. Raises `ModuleNotFoundError` where the SDK is not installed."""
    require_installed("oss2")
    where = Location(
        BACKEND, settings.endpoint, settings.bucket, root=settings.root, region=settings.signing_region
    )
    # help.aliyun.com, "Limits"
    limits = Capabilities(
        conditional_write=True,
        multipart=True,
        partial_prefixes=True,
        part_copy=True,
        server_side_copy=True,
        checksums=CHECKSUMS,
        write_options=HONOURED,
        # Larger ones only within a bucket.
        max_copy_size=GIB,
        min_part_size=100 * KIB,
        max_parts=MAX_PARTS,
        max_object_size=MAX_PARTS * 5 * GIB,
        delete_batch=DELETE_BATCH,
        max_key_bytes=MAX_KEY_BYTES,
    )
    return ObjectStorage(
        AliWire(settings),
        location=where,
        capabilities=limits,
        condition_ignored="the bucket has versioning enabled",
    )
