"""Headers of requests and answers, for services that tell of objects in them: by the same names, but for a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from mbk.errors import StorageUnavailable
from mbk.plugin.wire import WireError, bare
from mbk.ports.storage import ObjectInfo, Receipt

#: The kinds of checksums that `info_of` and `receipt_of` read.
CHECKSUMS = frozenset({"crc64ecma"})


def byte_range(offset: int, length: int | None) -> str:
    """The value of a Range header, empty for the whole object. ``length`` None: to the end."""
    if not offset and length is None:
        return ""
    return f"bytes={offset}-{'' if length is None else offset + length - 1}"


def required(answer: Mapping[str, Any], member: str) -> Any:
    """A header or an element that an answer must have; `WireError` where it is missing or empty."""
    value = answer.get(member)
    if value is None or value == "":
        raise WireError(
            StorageUnavailable, "the answer has no {member}", code="member-missing", member=member
        )
    return value


def info_of(key: str, headers: Mapping[str, str], prefix: str) -> ObjectInfo:
    """Of the answer to a HEAD. ``headers`` ignore case; ``prefix`` is that of the vendor's own ones, ``x-acme-``."""
    modified = headers.get("Last-Modified")
    return ObjectInfo(
        key,
        int(required(headers, "Content-Length")),
        bare(headers.get("ETag")),
        parsedate_to_datetime(modified) if modified else None,
        _checksums(headers, prefix),
        class_of(headers.get(f"{prefix}storage-class")),
    )


def receipt_of(headers: Mapping[str, str], prefix: str) -> Receipt:
    """As `info_of`, of the answer to a write."""
    return Receipt(etag=bare(headers.get("ETag")), checksums=_checksums(headers, prefix))


def class_of(name: str | None) -> str:
    """A listing names the class that a bucket has by default, some stats leave it out: told alike, it is left out."""
    return "" if not name or name.upper() == "STANDARD" else name


def _checksums(headers: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The services tell the CRC as a decimal number."""
    crc = headers.get(f"{prefix}hash-crc64ecma") or ""
    return {"crc64ecma": f"{int(crc):016x}"} if crc.isdecimal() else {}
