"""What the service's answers tell of an object, in the port's words."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

_KINDS = {"ChecksumCRC32C": "crc32c", "ChecksumCRC64NVME": "crc64nvme", "ChecksumSHA256": "sha256"}
_ENCRYPTED = ("SSE", "ServerSideEncryption")
_MD5 = re.compile(r"[0-9a-f]{32}")


def checksums(answer: Mapping[str, Any]) -> dict[str, str]:
    """Of the whole object only: a composite checksum is one of the parts' checksums, as is the etag of an upload in parts.

    The etag of an encrypted object is no MD5 with every service, so it is then not taken for one.
    """
    return {**dict(_told(answer)), **_of_etag(answer)}


def _told(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if answer.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
        return
    for name, kind in _KINDS.items():
        value = str(answer.get(name) or "")
        if not value:
            continue
        # Of an upload in parts it is "…-3".
        with suppress(binascii.Error):
            yield kind, base64.b64decode(value, validate=True).hex()


def _of_etag(answer: Mapping[str, Any]) -> dict[str, str]:
    etag = str(answer.get("ETag") or "").strip('"')
    if not _MD5.fullmatch(etag) or any(name.startswith(_ENCRYPTED) for name in answer):
        return {}
    return {"md5": etag}


def class_of(answer: Mapping[str, Any]) -> str:
    """A stat leaves out the class that a bucket has by default, a listing names it: told alike, it is left out."""
    name = str(answer.get("StorageClass") or "")
    return "" if name == "STANDARD" else name
