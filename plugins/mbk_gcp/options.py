"""`WriteOptions` in the words of the two APIs. Google's objects have no tags."""

from __future__ import annotations

from datetime import UTC, datetime

from mbk.ports.storage import Retention, WriteOptions

_MODES = {"governance": "Unlocked", "compliance": "Locked"}


def resource_with(options: WriteOptions) -> dict[str, object]:
    """Fields of an object's resource: https://cloud.google.com/storage/docs/json_api/v1/objects#resource

    An ``encryption_key`` goes into the query, under a name that differs from request to request.
    """
    asked: dict[str, object] = {}
    if options.storage_class:
        asked["storageClass"] = options.storage_class
    if options.retention:
        asked["retention"] = locked_with(options.retention)
    return asked


def locked_with(retention: Retention) -> dict[str, str]:
    return {"mode": _MODES[retention.mode], "retainUntilTime": _stamp(retention.until)}


def headers_with(options: WriteOptions) -> dict[str, str]:
    """Headers that start a multipart upload: https://cloud.google.com/storage/docs/xml-api/reference-headers"""
    asked: dict[str, str] = {}
    if options.storage_class:
        asked["x-goog-storage-class"] = options.storage_class
    if options.encryption_key:
        asked["x-goog-encryption-kms-key-name"] = options.encryption_key
    if options.retention:
        asked["x-goog-object-lock-mode"] = options.retention.mode.upper()
        asked["x-goog-object-lock-retain-until-date"] = _stamp(options.retention.until)
    return asked


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
