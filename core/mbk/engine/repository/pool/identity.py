"""Whether an object of Milvus' storage is the one that an earlier backup copied.

Ids and sizes do not tell: a cluster that was cloned, or restored from its own past, gives the same ids to other bytes. What
tells is the source's own word for these bytes, then and now: a digest, or in one location an etag that any other writing would
have changed.
"""

from __future__ import annotations

from collections.abc import Mapping

from mbk.engine.transfer.digests import MD5, digest
from mbk.engine.transfer.items import CopyItem
from mbk.model.objects import ObjectRecord

#: Kinds of digests that no two objects share by accident.
SURE = frozenset({MD5, "sha256", "xxh128"})


def source_of(item: CopyItem, digests: Mapping[str, str]) -> str:
    """What to record of the source of a copy with these digests: its etag, unless a digest says the same."""
    told = digest(item.etag)
    return "" if told is not None and told == digests.get(MD5) else item.etag or ""


def is_same(entry: ObjectRecord, item: CopyItem, *, one_origin: bool) -> bool:
    """Whether ``item`` has the bytes that were copied as ``entry``; both have the same ids.

    ``one_origin``: both are of one location. Only there an etag tells anything that is no digest; a digest tells the bytes
    wherever they are, so that a cluster that is reached by another address is known again.
    """
    if entry.size != item.size:
        return False
    for kind in SURE & entry.digests.keys() & item.checksums.keys():
        return entry.digests[kind] == item.checksums[kind]
    if MD5 in entry.digests and digest(item.etag) == entry.digests[MD5]:
        return True
    return one_origin and bool(entry.source) and entry.source == item.etag
