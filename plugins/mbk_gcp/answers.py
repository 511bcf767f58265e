"""What the service's answers tell of an object, in the port's words.

The resources of the JSON API: https://cloud.google.com/storage/docs/json_api/v1/objects#resource
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from datetime import datetime
from typing import Any, Literal, TypeVar

import msgspec

from mbk.plugin.conditions import answer_unreadable
from mbk.plugin.http import Answer
from mbk.plugin.wire import Data
from mbk.ports.storage import ObjectInfo, ObjectVersion, Receipt, Retention

#: The fields of an object that are read, for a query's ``fields``.
FIELDS = "name,size,etag,updated,crc32c,md5Hash,storageClass"
#: A piece that is copied: larger ones leave the processor's cache.
_COPIED = 256 * 1024

Document = TypeVar("Document")


class Resource(msgspec.Struct, rename="camel", kw_only=True):
    """An object. The service writes the size as text."""

    name: str
    size: int
    updated: datetime
    etag: str | None = None
    crc32c: str | None = None
    md5_hash: str | None = None
    storage_class: str = ""

    def info(self) -> ObjectInfo:
        sums = checksums(self.crc32c, self.md5_hash)
        return ObjectInfo(self.name, self.size, self.etag, self.updated, sums, self.storage_class)

    def receipt(self) -> Receipt:
        sums = checksums(self.crc32c, self.md5_hash)
        return Receipt(size=self.size, etag=self.etag, modified=self.updated, checksums=sums)


class Generation(Resource):
    """A version of an object; one that is not current tells when it was deleted or replaced."""

    generation: int
    time_deleted: datetime | None = None

    def version(self) -> ObjectVersion:
        return ObjectVersion(
            key=self.name,
            version=str(self.generation),
            is_current=self.time_deleted is None,
            size=self.size,
            etag=self.etag,
            checksums=checksums(self.crc32c, self.md5_hash),
        )


class Held(msgspec.Struct, rename="camel"):
    """A retention of an object."""

    mode: Literal["Unlocked", "Locked"]
    retain_until_time: datetime

    def lock(self) -> Retention:
        return Retention(
            mode="compliance" if self.mode == "Locked" else "governance", until=self.retain_until_time
        )


class Holding(msgspec.Struct, rename="camel"):
    """An object, of which only its retention was asked for."""

    kind: Literal["storage#object"]
    retention: Held | None = None


class ObjectRetention(msgspec.Struct, rename="camel"):
    mode: str = ""


class Holder(msgspec.Struct, rename="camel"):
    """A bucket, of which only was asked whether its objects can be retained."""

    kind: Literal["storage#bucket"]
    object_retention: ObjectRetention | None = None


class Listing(msgspec.Struct, rename="camel"):
    """A page. The last of an empty bucket has nothing but its ``kind``."""

    kind: Literal["storage#objects"]
    items: list[Resource] = []
    prefixes: list[str] = []
    next_page_token: str = ""


class Generations(msgspec.Struct, rename="camel"):
    """A page of versions."""

    kind: Literal["storage#objects"]
    items: list[Generation] = []
    next_page_token: str = ""


class Rewrite(msgspec.Struct, rename="camel"):
    """A round of a rewrite: a token while it is not done, then the object. The service writes sizes as text."""

    done: bool = False
    total_bytes_rewritten: int = 0
    rewrite_token: str = ""
    resource: Resource | None = None


def read(answer: Answer, kind: type[Document]) -> Document:
    """The JSON document of an answer."""
    return document(answer.content, kind)


def document(content: bytes, kind: type[Document]) -> Document:
    try:
        return msgspec.json.decode(content, type=kind, strict=False)
    except msgspec.MsgspecError as exc:
        raise answer_unreadable("JSON of an object") from exc


def add(checksum: Any, data: Data) -> Any:
    """The checksum with this data added. The library takes no views: small copies stay in the processor's cache."""
    if isinstance(data, bytes):
        checksum.update(data)
        return checksum
    for at in range(0, len(data), _COPIED):
        checksum.update(bytes(data[at : at + _COPIED]))
    return checksum


def encoded(checksum: Any) -> str:
    """A CRC32C as the service writes it: base64 of its big-endian bytes."""
    return b2a_base64(checksum.digest(), newline=False).decode()


def told_crc32c(hashes: str) -> str | None:
    """Of a header ``x-goog-hash``: ``crc32c=…,md5=…``; None where it tells none."""
    found = dict(item.strip().split("=", 1) for item in hashes.split(",") if item)
    return found.get("crc32c")


def checksums(crc32c: str | None, md5: str | None) -> dict[str, str]:
    """Every object has a CRC32C, one that was put together of parts no MD5."""
    told = {}
    if crc32c:
        told["crc32c"] = a2b_base64(crc32c).hex()
    if md5:
        told["md5"] = a2b_base64(md5).hex()
    return told
