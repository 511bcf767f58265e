"""Looking at copies as they lie in the destination."""

from __future__ import annotations

from mbk.engine.runtime.budget import Room
from mbk.engine.transfer.items import Arrived, CopyItem, Known
from mbk.engine.transfer.proof import Proof, missing
from mbk.engine.transfer.ways.stream import CHUNKS
from mbk.ports.storage import Location, ObjectInfo


class Arrivals:
    """Several threads may call it. ``records``: digests are wanted, so that one copy may be read to find out whether etags
    are. ``full``: every copy is read back, in the memory of ``room``."""

    def __init__(self, where: Location, proof: Proof, room: Room, *, records: bool, full: bool) -> None:
        self._where = where
        self._proof = proof
        self._room = room
        self._records = records
        self.full = full

    def look(self, item: CopyItem, entry: ObjectInfo | None, known: Known) -> Arrived:
        """``entry``: of a listing begun after the copy was made. `VerificationFailed` if it is missing or differs."""
        if entry is None:
            raise missing(item, self._where)
        known = self._proof.stored(item, known, entry)
        self._proof.learn(entry, item.size)
        if self._records:
            known = self._proof.by_etag(item, entry, known)
        if self.full:
            with self._room.taken(CHUNKS):
                known = self._proof.read_back(item, known)
        return Arrived(item=item, entry=entry, known=known)
