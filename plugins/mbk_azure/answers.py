"""What the service's answers tell of an object, in the port's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbk.errors import ObjectNotFound
from mbk.plugin.wire import WireError, bare
from mbk.ports.storage import ObjectInfo, Receipt

#: What the service marks the directories of a hierarchical namespace with, which are listed among the objects.
DIRECTORY = "hdi_isfolder"
#: Our mark of an empty object that drops the blocks of an unfinished upload, and is deleted at once.
DISCARDING = "mbk_discarding"


def is_hidden(properties: Any) -> bool:
    """Whether it is no object: a directory, or what drops an unfinished upload."""
    marks = properties.metadata or {}
    return marks.get(DIRECTORY) == "true" or DISCARDING in marks


def require_object(properties: Any) -> None:
    if is_hidden(properties):
        raise WireError(ObjectNotFound, "it is a directory, not an object", code="key-is-directory")


def info_of(key: str, properties: Any) -> ObjectInfo:
    """Of the SDK's properties, from a stat or a listing. The tier that an account has by default is left out."""
    return ObjectInfo(
        key,
        properties.size,
        bare(properties.etag),
        properties.last_modified,
        md5(properties.content_settings.content_md5),
        "" if properties.blob_tier_inferred else str(properties.blob_tier or ""),
    )


def receipt_of(answer: Mapping[str, Any], checksums: Mapping[str, str] | None = None) -> Receipt:
    """Of the headers of an answer, as the SDK parsed them.

    Their MD5 is of the request's body, which is the object's only where a whole object was sent.
    """
    return Receipt(
        etag=bare(answer.get("etag")), modified=answer.get("last_modified"), checksums=checksums or {}
    )


def md5(digest: bytes | bytearray | None) -> dict[str, str]:
    """The service keeps one of what is written in one request, and none of what is committed in blocks."""
    return {"md5": bytes(digest).hex()} if digest else {}
