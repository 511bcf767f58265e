"""What the service's answers tell of an object, in the port's words."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mbk.ports.storage import ObjectInfo, Receipt


def info_of(blob: Any) -> ObjectInfo:
    """Of the SDK's object, from a stat or a listing."""
    return ObjectInfo(
        blob.name,
        int(blob.size),
        blob.etag,
        blob.updated,
        _checksums(blob.crc32c, blob.md5_hash),
        blob.storage_class or "",
    )


def receipt_of(resource: Mapping[str, Any]) -> Receipt:
    """Of a resource of the JSON API: https://cloud.google.com/storage/docs/json_api/v1/objects#resource"""
    return Receipt(
        size=int(resource["size"]),
        etag=resource.get("etag"),
        modified=datetime.fromisoformat(resource["updated"]),
        checksums=_checksums(resource.get("crc32c"), resource.get("md5Hash")),
    )


def encoded(checksum: Any) -> str:
    """A CRC32C as the service writes it: base64 of its big-endian bytes."""
    return base64.b64encode(checksum.digest()).decode()


def told_crc32c(hashes: str) -> str | None:
    """Of a header ``x-goog-hash``: ``crc32c=…,md5=…``; None where it tells none."""
    found = dict(item.strip().split("=", 1) for item in hashes.split(",") if item)
    return found.get("crc32c")


def _checksums(crc32c: str | None, md5: str | None) -> dict[str, str]:
    """Every object has a CRC32C, one that was put together of parts no MD5."""
    told = {"crc32c": crc32c, "md5": md5}
    return {kind: base64.b64decode(value).hex() for kind, value in told.items() if value}
