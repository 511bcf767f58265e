"""Whether an existing object is the one that would be copied."""

from __future__ import annotations

import re
from enum import Enum, auto

from mbk.engine.transfer.items import CopyItem
from mbk.ports.storage import ObjectInfo

_MD5 = re.compile(r"[0-9a-fA-F]{32}")


class Same(Enum):
    """``UNSURE``: the etags differ, which proves nothing if the service computes them over encrypted bytes."""

    YES = auto()
    NO = auto()
    UNSURE = auto()


def compare(item: CopyItem, existing: ObjectInfo) -> Same:
    """By size, then by the best that both sides have: a checksum of the same kind, or etags that are MD5 digests.

    A server-side copy has its source's etag if both are digests of the whole object. Etags of objects sent in parts
    depend on the parts, other vendors' on the time: with these, and without any, only the size counts.
    """
    if item.size != existing.size:
        return Same.NO
    theirs = existing.checksums
    if kinds := item.checksums.keys() & theirs.keys():
        return Same.YES if all(item.checksums[kind] == theirs[kind] for kind in kinds) else Same.NO
    ours, other = digest(item.etag), digest(existing.etag)
    if ours is None or other is None or ours == other:
        return Same.YES
    return Same.UNSURE


def digest(etag: str | None) -> str | None:
    """The etag in lower case if it is an MD5 digest; None for any other."""
    bare = (etag or "").strip('"')
    return bare.lower() if _MD5.fullmatch(bare) else None
