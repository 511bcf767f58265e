"""Whether an object that is there already is the one that would be copied."""

from __future__ import annotations

import re
from enum import Enum, auto

from mbk.engine.transfer.items import CopyItem, checksums_of
from mbk.ports.storage import ObjectInfo

_MD5 = re.compile(r"[0-9a-fA-F]{32}")


class Same(Enum):
    """``UNSURE``: the etags differ, which tells nothing where a service makes them of encrypted bytes."""

    YES = auto()
    NO = auto()
    UNSURE = auto()


def compare(item: CopyItem, held: ObjectInfo) -> Same:
    """Goes by size, then by the best that both sides know: a checksum of one kind, or etags that are MD5 digests.

    A server-side copy has its source's etag where both are digests of the whole object. Etags of objects that were sent
    in parts depend on the parts, and other vendors' on the time: with these, and without any, the size alone decides.
    """
    if item.size != held.size:
        return Same.NO
    theirs = checksums_of(held)
    if kinds := item.checksums.keys() & theirs.keys():
        return Same.YES if all(item.checksums[kind] == theirs[kind] for kind in kinds) else Same.NO
    ours, other = digest(item.etag), digest(held.etag)
    if ours is None or other is None or ours == other:
        return Same.YES
    return Same.UNSURE


def digest(etag: str | None) -> str | None:
    """The MD5 digest that an etag is, in lower case; None for any other etag."""
    bare = (etag or "").strip('"')
    return bare.lower() if _MD5.fullmatch(bare) else None
