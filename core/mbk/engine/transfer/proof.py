"""Proving that copies have the bytes of their source: by what the services tell, and by digests made on the way.

An etag that looks like an MD5 digest may be one of other bytes (those of an encrypted object). So equal ones prove
something, but different ones only raise a doubt, which is settled by reading; once it was, etags are no longer asked.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from mbk.engine.runtime.run import Run
from mbk.engine.transfer.digests import MD5, OWN, Digest, cheapest, digest, sure
from mbk.engine.transfer.items import HASHED, CopyItem, Known
from mbk.engine.transfer.reading import chunks_of
from mbk.engine.transfer.same import Match, match
from mbk.errors import AccessError, ObjectNotFound, VerificationFailed
from mbk.ports.storage import MIB, ObjectInfo, Receipt, Storage

#: Whether etags are digests of the contents is found out with one object of at most so many bytes.
SMALL = 64 * MIB
#: Among the kinds that a storage tells: an etag that looks like an MD5 digest, and is taken for one until it was not.
ETAG = "etag"


class Proof:
    """For the copies from one storage to another; several threads may call it.

    What differs is `VerificationFailed`, and worth another copy.
    """

    def __init__(self, source: Storage, destination: Storage, run: Run) -> None:
        self._source = source
        self._destination = destination
        self._run = run
        #: Whether the etags of each side identify the content of an object; None while unknown.
        self.etags_tell: bool | None = None
        self._source_etags_tell: bool | None = None
        self._settling = threading.Lock()
        #: The kinds that the destination tells of objects of about this size (bits of the size).
        self._told: defaultdict[int, set[str]] = defaultdict(set)

    # -- while bytes pass through --------------------------------------------------------------------------------

    def kinds(self, item: CopyItem) -> tuple[str, ...]:
        """What to compute of the bytes: one kind that both sides tell, else one that each of them tells, else our own."""
        there = self._kinds_there(item.size)
        read = cheapest(item.checksums.keys() & there) or cheapest(item.checksums)
        if read is None and digest(item.etag) and self._source_etags_tell is not False:
            read = MD5
        written = read if read in there else cheapest(there)
        return tuple(kind for kind in dict.fromkeys((read, written)) if kind) or (OWN,)

    def _kinds_there(self, size: int) -> set[str]:
        """What the destination tells of an object of ``size`` bytes; until the first of them came, it may be an etag."""
        told = self._told.get(size.bit_length())
        if told is None:
            promised = self._destination.capabilities.checksums
            told = {*promised} if cheapest(promised) else {*promised, ETAG}
        return told - {ETAG} | {MD5} if ETAG in told and self.etags_tell is not False else told - {ETAG}

    def require_read(self, item: CopyItem, size: int, made: Mapping[str, str], before: list[str]) -> None:
        """Compares what was read, ``size`` bytes with these digests by kind, with what the source tells.

        ``before``: what earlier attempts at this object read.
        """
        if size != item.size:
            raise read_size_differs(item, size, self._source.location)
        compared = made.keys() & item.checksums.keys()
        for kind in compared:
            if made[kind] != item.checksums[kind]:
                raise read_differs(item, kind, self._source.location)
        etag, read = digest(item.etag), made.get(MD5)
        if compared or etag is None or read is None:
            return
        if etag == read:
            self._source_etags_tell = True
        elif self._source_etags_tell is not False and not self._is_no_digest(item, read, before):
            before.append(read)
            raise read_differs(item, MD5, self._source.location)

    def _is_no_digest(self, item: CopyItem, read: str, before: list[str]) -> bool:
        """Whether the source's etag cannot be a digest: the same bytes were read twice, and no checksum says otherwise."""
        if read not in before:
            return False
        found = self._run.retry.call(f"stat {item.source_key}", self._source.stat, item.source_key)
        if MD5 in (found.checksums if self._source_etags_tell else sure(found)):
            return False
        self._source_etags_tell = False
        self._run.notice(
            "source-etags-no-digests",
            "the etags of {location} are not digests of the contents: what is read there cannot be compared with them",
            location=self._source.location,
        )
        return True

    # -- what the destination tells ------------------------------------------------------------------------------

    def learn(self, told: ObjectInfo | Receipt, size: int) -> None:
        """Of an object of ``size`` bytes."""
        known = self._told[size.bit_length()]
        if digest(told.etag):
            known.add(ETAG)
        if told.checksums:
            known.update(sure(told))

    def stored(self, item: CopyItem, known: Known, told: ObjectInfo | Receipt) -> Known:
        """What is known of a copy with what the destination tells of it: a receipt, an entry of a listing.

        ``known.digests`` were made of the bytes that were read, or told by the source.
        """
        if told.size not in (None, item.size):
            raise size_differs(item, told.size or 0, self._destination.location)
        # Of bytes that passed through, the digest that was made counts, not what the source's etag may be.
        etag = None if known.how in HASHED else item.etag
        digests = _both(item.checksums, known.digests)
        if digests is known.digests and not told.checksums and digest(told.etag) is None:
            return known  # it tells nothing of the bytes
        found = match(digests, etag, told)
        if found is Match.DIFFERENT or (known.told and match(known.told, None, told) is Match.DIFFERENT):
            raise self._difference(item)
        if found is Match.DOUBTFUL:
            known = self._settled(item, known)
            digests = _both(item.checksums, known.digests)
        return Known(
            how=known.how,
            digests=digests,
            told=_both(known.told, sure(told)),
            proven=known.proven or found is Match.PROVEN,
        )

    def _difference(self, item: CopyItem) -> VerificationFailed:
        """Whose bytes are wrong: the copy's, or the source's, which changed after its digest was recorded."""
        kind = cheapest(item.checksums)
        if kind and digest_of(self._source, item.source_key, kind, self._run) != item.checksums[kind]:
            return read_differs(item, kind, self._source.location)
        return copy_differs(item, self._destination.location)

    def _settled(self, item: CopyItem, known: Known) -> Known:
        """Etags differ: the copy is read, and its source where nothing but its etag is known of that."""
        with self._settling:
            if self.etags_tell is False:
                return known
            certain = known.digests.get(MD5) or item.checksums.get(MD5)
            try:
                there = self._there(item, MD5)
                if there != (certain or digest(item.etag)) and (
                    certain or there != digest_of(self._source, item.source_key, MD5, self._run)
                ):
                    raise self._difference(item)
            except AccessError:
                self.etags_tell = False  # without permission to look, sizes decide
                return known
            self.etags_tell = False
            return replace(known, digests={**known.digests, MD5: there}, proven=True)

    def by_etag(self, item: CopyItem, entry: ObjectInfo, known: Known) -> Known:
        """Adds the etag that source and copy share as their MD5 digest, if etags are digests, which one copy tells."""
        etag = digest(entry.etag)
        if etag is None or etag != digest(item.etag) or MD5 in known.every or self.etags_tell is False:
            return known
        if self.etags_tell is None and 0 < item.size <= SMALL:
            with self._settling:
                if self.etags_tell is None:
                    self.etags_tell = self._is_digest(item, etag)
        if not self.etags_tell:
            return known
        return replace(known, digests={**known.digests, MD5: etag})

    def _is_digest(self, item: CopyItem, etag: str) -> bool:
        try:
            if self._there(item, MD5) == etag:
                return True
            if digest_of(self._source, item.source_key, MD5, self._run) == etag:
                raise copy_differs(item, self._destination.location)
        except AccessError:
            pass
        return False

    # -- reading back --------------------------------------------------------------------------------------------

    def read_back(self, item: CopyItem, known: Known) -> Known:
        """Reads the whole copy, and its source where no digest of that is known; records the digest."""
        kind = cheapest(known.digests) if known.proven or known.how in HASHED else None
        if kind is None:
            kind = OWN
            expected = digest_of(self._source, item.source_key, OWN, self._run)
        else:
            expected = known.digests[kind]
        if self._there(item, kind) != expected:
            raise self._difference(item)
        return replace(known, digests={**known.digests, kind: expected}, proven=True)

    def _there(self, item: CopyItem, kind: str) -> str:
        try:
            return digest_of(self._destination, item.key, kind, self._run)
        except ObjectNotFound as error:
            raise missing(item, self._destination.location) from error


def _both(digests: Mapping[str, str], more: Mapping[str, str]) -> Mapping[str, str]:
    return {**digests, **more} if digests and more else digests or more


def digest_of(storage: Storage, key: str, kind: str, run: Run) -> str:
    """The digest of an object, whose bytes are read in chunks."""
    made = Digest(kind)
    for chunk in chunks_of(storage, key, run):
        made.update(chunk)
    return made.hex


_HINT = "run it again, a create with --resume; if that fails, too, the object or its storage is damaged"


def read_size_differs(item: CopyItem, size: int, location: object) -> VerificationFailed:
    return VerificationFailed(
        "{key} in {location} was read with {size} bytes, expected {expected}",
        code="read-size-differs",
        key=item.source_key,
        location=location,
        size=size,
        expected=item.size,
        hint=_HINT,
    )


def read_differs(item: CopyItem, kind: str, location: object) -> VerificationFailed:
    return VerificationFailed(
        "{key} in {location} was read with another {kind} digest than is known of it",
        code="read-differs",
        key=item.source_key,
        location=location,
        kind=kind,
        hint=_HINT,
    )


def copy_differs(item: CopyItem, location: object) -> VerificationFailed:
    return VerificationFailed(
        "{key} in {location} differs from its source {source_key}",
        code="copied-object-differs",
        key=item.key,
        location=location,
        source_key=item.source_key,
        hint=_HINT,
    )


def size_differs(item: CopyItem, size: int, location: object) -> VerificationFailed:
    return VerificationFailed(
        "{key} has {size} bytes in {location}, expected {expected}",
        code="copied-size-differs",
        key=item.key,
        size=size,
        location=location,
        expected=item.size,
        hint="run again with --resume; if it happens again, another process writes there",
    )


def missing(item: CopyItem, location: object) -> VerificationFailed:
    return VerificationFailed(
        "{key} was copied but is missing in {location}",
        code="copied-object-missing",
        key=item.key,
        location=location,
        hint="run again with --resume; if it happens again, another process deletes objects there",
    )
