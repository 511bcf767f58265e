"""Blocks that wait beside an object: what the service has instead of uploads.

It knows no uploads, only blocks that wait until a list of them is committed, which drops all others. Block ids carry
the name of the upload, so that two uploads never mix; but the first one that completes drops the other's blocks, and
the other fails.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import Any
from uuid import uuid4

from azure.core import MatchConditions  # noqa: TID253  loaded only with an opened storage
from azure.core.exceptions import (  # noqa: TID253  loaded only with an opened storage
    HttpResponseError,
    ResourceModifiedError,
    ResourceNotFoundError,
)

from mbk.errors import ObjectExists, ObjectNotFound
from mbk.plugin.wire import bare
from mbk_azure.answers import DISCARDING
from mbk_azure.documents import Item
from mbk_azure.errors import TRANSLATION, code_of

#: https://learn.microsoft.com/azure/storage/blobs/scalability-targets
MAX_BLOCKS = 50_000
IF_MISSING = {"match_condition": MatchConditions.IfMissing}

_MARK = "mark:"


def new_upload() -> str:
    return uuid4().hex[:16]


def block_id(upload: str, number: int) -> str:
    """All ids of an object must be of one length."""
    return f"{upload}-{number:07d}"


def encoded_id(upload: str, number: int) -> str:
    """As it is sent."""
    return base64.b64encode(block_id(upload, number).encode()).decode()


def left_at(item: Item) -> str | None:
    """The id of an upload for `drop`, of an item of a listing with uncommitted blocks; None where there can be none.

    An item without a size may be an object without blocks, which `drop` finds out.
    """
    if DISCARDING in item.metadata:
        return f"{_MARK}{bare(item.properties.get('Etag'))}"
    return None if int(item.properties.get("Content-Length") or 0) else ""


def drop(blob: Any, upload: str) -> bool:
    """Drops the blocks that wait where no object is, if all are of the upload; an empty ``upload``: whosever they are.

    The service has no request for that. Only a write drops blocks, so an empty list of them is committed and the empty
    object deleted at once, under a mark that hides it from every reader here. Both are conditional: an object is never
    touched. Blocks that wait beside an object stay until that is written anew, or for a week.
    """
    if upload.startswith(_MARK):
        _delete_mark(blob, upload.removeprefix(_MARK))
        return True
    if not _only_blocks_wait(blob, upload):
        return False
    try:
        mark = blob.commit_block_list([], metadata={DISCARDING: "true"}, **IF_MISSING)
    except HttpResponseError as exc:
        # The SDK has one class for every 409: only an object there means that nothing is to be dropped.
        if TRANSLATION.kind_of(exc) is not ObjectExists:
            raise
        return False
    _delete_mark(blob, str(bare(mark["etag"])))
    return True


def _only_blocks_wait(blob: Any, upload: str) -> bool:
    try:
        committed, waiting = blob.get_block_list("all")
    except HttpResponseError as exc:
        # No object, or one of another kind, such as an append blob, which has no blocks.
        if TRANSLATION.kind_of(exc) is ObjectNotFound or code_of(exc) == "InvalidBlobType":
            return False
        raise
    return bool(waiting) and not committed and all(block.id.startswith(upload) for block in waiting)


def _delete_mark(blob: Any, etag: str) -> None:
    with suppress(ResourceModifiedError, ResourceNotFoundError):
        blob.delete_blob(etag=f'"{etag}"', match_condition=MatchConditions.IfNotModified)
