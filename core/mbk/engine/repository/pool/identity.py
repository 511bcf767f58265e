"""Whether an object of Milvus' storage is the one that an earlier backup copied.

Ids and sizes do not tell: a cluster that was cloned, or restored from its own past, gives the same ids to other bytes. What
tells is the source's own word for these bytes, then and now: a digest, or an etag that any other writing would have changed.
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
    etag = item.etag or ""
    return "" if etag and digest(etag) == digests.get(MD5) else etag


def is_same(entry: ObjectRecord, item: CopyItem) -> bool:
    """Whether ``item`` still has the bytes that ``entry`` was copied from; both have the same ids, in one location."""
    if entry.size != item.size:
        return False
    for kind in SURE & entry.digests.keys() & item.checksums.keys():
        return entry.digests[kind] == item.checksums[kind]
    if not item.etag:
        return False
    told = entry.source or entry.digests.get(MD5, "")
    return told in (item.etag, digest(item.etag))
