"""`WriteOptions` in the parameters of the SDK."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import urlencode

from mbk.ports.storage import PLAIN, WriteOptions


def written_with(options: WriteOptions) -> dict[str, Any]:
    """For PutObject and CreateMultipartUpload."""
    asked: dict[str, Any] = {}
    if options is PLAIN:
        return asked
    if options.storage_class:
        asked["StorageClass"] = options.storage_class
    if options.encryption_key:
        asked |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": options.encryption_key}
    if options.tags:
        asked["Tagging"] = urlencode(options.tags)
    if options.retention:
        asked["ObjectLockMode"] = options.retention.mode.upper()
        asked["ObjectLockRetainUntilDate"] = options.retention.until
    return asked


def copied_with(options: WriteOptions) -> dict[str, Any]:
    """For CopyObject, which takes the source's tags unless it is told to replace them."""
    asked = written_with(options)
    return {**asked, "TaggingDirective": "REPLACE"} if options.tags else asked


def digest(data: bytes, options: WriteOptions) -> dict[str, str]:
    """The service takes a retention only with a digest of the body."""
    if not options.retention:
        return {}
    return {"ContentMD5": base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()}
