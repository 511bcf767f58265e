"""What the service's answers tell of an object, in the port's words."""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Mapping

from mbk.errors import ObjectNotFound, Unsupported
from mbk.plugin.headers import moment, required
from mbk.plugin.wire import WireError, bare
from mbk.ports.storage import ObjectInfo, Receipt
from mbk_azure.documents import Item

#: What the service marks the directories of a hierarchical namespace with, which are listed among the objects.
DIRECTORY = "hdi_isfolder"
#: Our mark of an empty object that drops the blocks of an unfinished upload, and is deleted at once.
DISCARDING = "mbk_discarding"


#: Metadata in headers.
_MARK = "x-ms-meta-"


def is_hidden(marks: Mapping[str, str]) -> bool:
    """Of metadata: whether it is no object, but a directory, or what drops an unfinished upload."""
    return marks.get(DIRECTORY) == "true" or DISCARDING in marks


def require_object(headers: Mapping[str, str]) -> None:
    """Of the answer to a HEAD or a GET."""
    if headers.get(f"{_MARK}{DIRECTORY}") == "true" or f"{_MARK}{DISCARDING}" in headers:
        raise WireError(ObjectNotFound, "it is a directory, not an object", code="key-is-directory")


def require_copied(headers: Mapping[str, str]) -> None:
    """The copy was asked for as one that ends before its answer begins; some servers copy afterwards all the same."""
    status = headers.get("x-ms-copy-status", "")
    if status != "success":
        raise WireError(
            Unsupported,
            "the service answered before the copy was done (status {status!r})",
            code="copy-pending",
            status=status,
        )


def info_of(key: str, headers: Mapping[str, str], *, size: Callable[[], int]) -> ObjectInfo:
    """Of the answer to a HEAD. The tier that an account has by default is left out.

    ``size`` finds it where the answer tells no length, as behind some proxies.
    """
    length = headers.get("Content-Length")
    return ObjectInfo(
        key,
        int(length) if length else size(),
        bare(headers.get("ETag")),
        moment(headers.get("Last-Modified")),
        md5(headers.get("Content-MD5")),
        _tier(headers.get("x-ms-access-tier"), headers.get("x-ms-access-tier-inferred")),
    )


def listed_info(item: Item) -> ObjectInfo:
    """As `info_of`, of a listing."""
    told = item.properties
    return ObjectInfo(
        item.name,
        int(required(told, "Content-Length")),
        bare(told.get("Etag")),
        moment(told.get("Last-Modified")),
        md5(told.get("Content-MD5")),
        _tier(told.get("AccessTier"), told.get("AccessTierInferred")),
    )


def receipt_of(headers: Mapping[str, str], checksums: Mapping[str, str] | None = None) -> Receipt:
    """Of the answer to a write, whose MD5 is of the request's body: the object's only where a whole object was sent."""
    return Receipt(
        etag=bare(headers.get("ETag")),
        modified=moment(headers.get("Last-Modified")),
        checksums=checksums or {},
    )


def md5(digest: str | None) -> dict[str, str]:
    """The service keeps one of what is written in one request, and none of what is committed in blocks."""
    return {"md5": a2b_base64(digest).hex()} if digest else {}


def _tier(name: str | None, inferred: str | None) -> str:
    return "" if not name or inferred == "true" else name
