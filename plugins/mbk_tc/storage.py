"""One bucket of Tencent Cloud COS as a storage."""

from __future__ import annotations

from mbk.plugin.conditions import require_installed
from mbk.plugin.headers import CHECKSUMS
from mbk.plugin.objects import ObjectStorage
from mbk.ports.storage import GIB, MIB, Capabilities, Location
from mbk_tc.options import HONOURED
from mbk_tc.settings import TcSettings
from mbk_tc.wire import BACKEND, DELETE_BATCH, MAX_KEY_BYTES, TcWire

#: cloud.tencent.com, "Specifications and limits"
MAX_PARTS = 10_000
MAX_PART_SIZE = 5 * GIB


def open_storage(settings: TcSettings) -> ObjectStorage[TcWire]:
    """Sends nothing. Raises `ModuleNotFoundError` where the SDK is not installed."""
    require_installed("qcloud_cos")
    return ObjectStorage(
        TcWire(settings),
        location=Location(
            backend=BACKEND,
            region=settings.region or settings.home_region,
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            root=settings.root,
        ),
        capabilities=Capabilities(
            multipart=True,
            partial_prefixes=True,
            server_side_copy=True,
            part_copy=True,
            conditional_write=True,
            write_options=HONOURED,
            checksums=CHECKSUMS,
            max_copy_size=5 * GIB,
            min_part_size=MIB,
            max_part_size=MAX_PART_SIZE,
            max_parts=MAX_PARTS,
            max_object_size=MAX_PARTS * MAX_PART_SIZE,
            max_key_bytes=MAX_KEY_BYTES,
            delete_batch=DELETE_BATCH,
        ),
        condition_ignored="the bucket has versioning enabled",
    )
