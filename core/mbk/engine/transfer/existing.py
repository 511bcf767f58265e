"""Objects that the destination has already: kept where they are the same, else copied again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from mbk.engine.transfer.digests import MD5, OWN, cheapest, digest
from mbk.engine.transfer.items import KEPT, CopyItem, Known
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.proof import Proof, digest_of
from mbk.engine.transfer.same import Same, compare
from mbk.errors import AccessError
from mbk.ports.storage import ObjectInfo


class Existing:
    """``copy``: what copies an object anew. Several threads may call it."""

    def __init__(self, pair: Pair, proof: Proof, copy: Callable[[CopyItem], Known]) -> None:
        self._pair = pair
        self._proof = proof
        self._copy = copy
        self._comparing = threading.Lock()

    def kept_or_copied(self, item: CopyItem, existing: ObjectInfo) -> Known:
        same = compare(item, existing)
        if same is Same.NO:
            return self._copy(item)
        return (
            self._copied_if_etags_tell(item, existing) if same is Same.UNSURE else self._kept(item, existing)
        )

    def _kept(self, item: CopyItem, existing: ObjectInfo) -> Known:
        """Where no digests could be compared, a file is read for one: that takes no request. What differs is copied."""
        known = self._proof.stored(item, Known(how=KEPT), existing)
        if known.proven:
            return known
        if self._pair.destination.location.mount:
            return self._kept_file(item, known)
        kind = cheapest(existing.checksums) or (MD5 if digest(existing.etag) else None)
        if kind is None or not self._pair.source.location.mount:
            return known
        made = digest_of(self._pair.source, item.source_key, kind, self._pair.run)
        told = existing.checksums.get(kind) or digest(existing.etag)
        return _proven(known, kind, made) if made == told else self._copy(item)

    def _kept_file(self, item: CopyItem, known: Known) -> Known:
        """Compared with what is known of the source; where that is nothing, its digest is recorded as it is."""
        kind = cheapest(item.checksums) or (MD5 if digest(item.etag) else None)
        made = digest_of(self._pair.destination, item.key, kind or OWN, self._pair.run)
        if kind is None:
            return replace(known, digests={**known.digests, OWN: made})
        expected = item.checksums.get(kind) or digest(item.etag)
        return _proven(known, kind, made) if made == expected else self._copy(item)

    def _copied_if_etags_tell(self, item: CopyItem, existing: ObjectInfo) -> Known:
        """The etags differ although both look like digests, but some services hash the encrypted bytes.

        The first such object is copied again: if the copy has the source's etag, etags identify the content.
        """
        with self._comparing:
            if self._proof.etags_tell is None:
                known = self._copy(item)
                self._proof.etags_tell = self._tells(item)
                return known
        return self._copy(item) if self._proof.etags_tell else self._kept(item, existing)

    def _tells(self, item: CopyItem) -> bool | None:
        """None if an object of this size gets an etag of another kind, as one sent in parts does."""
        try:
            made = self._pair.run.retry.call(f"stat {item.key}", self._pair.destination.stat, item.key)
        except AccessError:
            return False  # without permission to look, sizes decide
        etag = digest(made.etag)
        return None if etag is None else etag == digest(item.etag)


def _proven(known: Known, kind: str, made: str) -> Known:
    return replace(known, digests={**known.digests, kind: made}, proven=True)
