"""Blocks that wait beside an object: what the service has instead of uploads.

It knows no uploads, only blocks that wait until a list of them is committed, which drops all others. Block ids carry
the name of the upload, so that two uploads never mix; but the first one that completes drops the other's blocks, and
the other fails.
"""

from __future__ import annotations

import base64
from uuid import uuid4

from mbk.errors import ObjectExists, ObjectNotFound
from mbk.plugin.headers import required
from mbk.plugin.refusals import Refused
from mbk.plugin.wire import bare
from mbk_azure.answers import DISCARDING
from mbk_azure.documents import Item, block_list, blocks
from mbk_azure.errors import code_of, kind_of
from mbk_azure.service import Service

#: https://learn.microsoft.com/azure/storage/blobs/scalability-targets
MAX_BLOCKS = 50_000

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


def drop(service: Service, key: str, upload: str) -> bool:
    """Drops the blocks that wait where no object is, if all are of the upload; an empty ``upload``: whosever they are.

    The service has no request for that. Only a write drops blocks, so an empty list of them is committed and the empty
    object deleted at once, under a mark that hides it from every reader here. Both are conditional: an object is never
    touched. Blocks that wait beside an object stay until that is written anew, or for a week.
    """
    if upload.startswith(_MARK):
        _delete_mark(service, key, upload.removeprefix(_MARK))
        return True
    if not _only_blocks_wait(service, key, upload):
        return False
    headers = {"Content-Type": "application/xml", "If-None-Match": "*", f"x-ms-meta-{DISCARDING}": "true"}
    try:
        mark = service.send(
            "PUT", key, 201, query=(("comp", "blocklist"),), headers=headers, body=block_list(())
        )
    except Refused as exc:
        # Only an object there means that nothing is to be dropped.
        if kind_of(exc) is not ObjectExists:
            raise
        return False
    _delete_mark(service, key, str(bare(required(mark.headers, "ETag"))))
    return True


def _only_blocks_wait(service: Service, key: str, upload: str) -> bool:
    try:
        answer = service.send("GET", key, 200, query=(("comp", "blocklist"), ("blocklisttype", "all")))
    except Refused as exc:
        # No object, or one of another kind, such as an append blob, which has no blocks.
        if kind_of(exc) is ObjectNotFound or code_of(exc) == "InvalidBlobType":
            return False
        raise
    committed, waiting = blocks(answer.content)
    return bool(waiting) and not committed and all(_decoded(name).startswith(upload) for name in waiting)


def _decoded(name: str) -> str:
    """An id of a block as `block_id` has it; what another tool named in another way stays as it is."""
    try:
        return base64.b64decode(name).decode()
    except ValueError:
        return name


def _delete_mark(service: Service, key: str, etag: str) -> None:
    try:
        service.send("DELETE", key, 202, headers={"If-Match": f'"{etag}"'}, repeatable=True)
    except Refused as exc:
        # It is gone, or an object was written in its place.
        if kind_of(exc) not in (ObjectNotFound, ObjectExists):
            raise
