"""What to copy, and what is known of the copies, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from mbk.engine.transfer.digests import sure
from mbk.frozen import frozen
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import ObjectInfo

#: The ways in which an object comes to be where it was wanted, beside `mbk.model.reports.REUSED`.
SERVER = "server"
STREAM = "stream"
CONVERT = "convert"
KEPT = "kept"
#: Those in which the bytes pass through this process.
HASHED = frozenset({STREAM, CONVERT})

_NOTHING: Mapping[str, str] = {}


@frozen(kw_only=True)
class CopyItem:
    """One object to copy from ``source_key`` to ``key``.

    ``size`` in bytes, ``etag`` and ``checksums`` (kind to hexadecimal digits) from the source's listing.
    """

    source_key: str
    key: str
    size: int
    etag: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def source(self) -> ObjectInfo:
        """The source, as it was listed."""
        return ObjectInfo(self.source_key, self.size, self.etag, checksums=self.checksums)

    @classmethod
    def of(cls, entry: ObjectInfo, key: str) -> CopyItem:
        """The copy of a listed object to ``key``."""
        return cls(source_key=entry.key, key=key, size=entry.size, etag=entry.etag, checksums=sure(entry))


@frozen(kw_only=True)
class Known:
    """What is known of a copy's bytes: their digests by kind, as `mbk.ports.storage.CHECKSUMS` has them.

    ``told``: further digests, which only the destination told: they are recorded, and prove nothing by being told again.
    ``proven``: a digest of the source and one of the copy were compared. ``how``: the way it was made.
    """

    how: str
    digests: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    told: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    proven: bool = False

    @property
    def every(self) -> Mapping[str, str]:
        """All digests of the copy, whoever knows them."""
        return {**self.told, **self.digests} if self.told else self.digests


@frozen(kw_only=True)
class Arrived:
    """A copy that is there, as ``entry`` of a listing begun after it was made, with all that is ``known`` of it."""

    item: CopyItem
    entry: ObjectInfo
    known: Known

    def recorded(self, below: str) -> ObjectRecord:
        """What to record of it, with its key relative to ``below``."""
        return recorded(self.entry, below=below, digests=self.known.every)


def recorded(entry: ObjectInfo, *, below: str, digests: Mapping[str, str]) -> ObjectRecord:
    """What to record of a listed object, with its key relative to ``below``."""
    return ObjectRecord(entry.key.removeprefix(below), entry.size, entry.etag or "", {**digests})
