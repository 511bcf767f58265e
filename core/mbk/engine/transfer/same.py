"""Whether two objects are the same, by what is known, told and recorded of them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from mbk.engine.transfer.digests import MD5
from mbk.engine.transfer.digests import digest as digest
from mbk.engine.transfer.items import CopyItem
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import ObjectInfo, Receipt


class Same(Enum):
    """``UNSURE``: the etags differ, which proves nothing if the service computes them over encrypted bytes."""

    YES = auto()
    NO = auto()
    UNSURE = auto()


class Match(Enum):
    """``PROVEN``: both sides tell the same digest. ``NOTHING``: they tell none of one kind.

    ``DOUBTFUL``: etags differ, as in `Same.UNSURE`. ``DIFFERENT``: a checksum differs.
    """

    PROVEN = auto()
    NOTHING = auto()
    DOUBTFUL = auto()
    DIFFERENT = auto()


def match(known: Mapping[str, str], etag: str | None, told: ObjectInfo | Receipt) -> Match:
    """Of an object with these digests and this etag, and one of which a storage tells: by checksums, then by etags.

    An MD5 that is the etag is no better than that: some services' etags only look like digests.
    """
    if known and told.checksums and (kinds := known.keys() & told.checksums.keys()):
        differing = {kind for kind in kinds if known[kind] != told.checksums[kind]}
        if differing == {MD5} and told.checksums[MD5] == digest(told.etag):
            return Match.DOUBTFUL if kinds == {MD5} else Match.PROVEN
        return Match.DIFFERENT if differing else Match.PROVEN
    ours = known.get(MD5) or digest(etag)
    theirs = told.checksums.get(MD5) or digest(told.etag)
    if ours is None or theirs is None:
        return Match.NOTHING
    return Match.PROVEN if ours == theirs else Match.DOUBTFUL


def compare(item: CopyItem, existing: ObjectInfo) -> Same:
    """By size, then by the best that both sides have: a checksum of the same kind, or etags that are MD5 digests.

    A server-side copy has its source's etag if both are digests of the whole object. Etags of objects sent in parts
    depend on the parts, other vendors' on the time: with these, and without any, only the size counts.
    """
    if item.size != existing.size:
        return Same.NO
    found = match(item.checksums, item.etag, existing)
    if found is Match.DOUBTFUL:
        return Same.UNSURE
    return Same.NO if found is Match.DIFFERENT else Same.YES


class Vouch(Enum):
    """What a storage says of an object without reading it. ``UNKNOWN``: the size is right, and nobody vouches for the rest."""

    SAME = auto()
    CHANGED = auto()
    UNKNOWN = auto()


def vouched(entry: ObjectRecord, present: ObjectInfo, *, here: bool) -> Vouch:
    """Compares an object with what was recorded of it. ``here``: it lies where it was when it was recorded.

    An etag that differs proves nothing by itself: the same bytes may have been written again, or be encrypted now.
    """
    if entry.size != present.size:
        return Vouch.CHANGED
    if kinds := entry.digests.keys() & present.checksums.keys():
        same = all(entry.digests[kind] == present.checksums[kind] for kind in kinds)
        return Vouch.SAME if same else Vouch.CHANGED
    if here and entry.etag and present.etag == entry.etag:
        return Vouch.SAME
    if entry.digests.get(MD5) and digest(present.etag) == entry.digests[MD5]:
        return Vouch.SAME
    # Nothing but the etag was recorded, so there is nothing to read for.
    return Vouch.CHANGED if here and entry.etag and present.etag and not entry.digests else Vouch.UNKNOWN
