"""What to copy, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mbk.ports.storage import ObjectInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyItem:
    """One object to copy from ``source_key`` to ``key``.

    ``size`` in bytes, ``etag`` and ``checksums`` (kind to hexadecimal digits) from the source's listing.
    """

    source_key: str
    key: str
    size: int
    etag: str | None = None
    checksums: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, entry: ObjectInfo, key: str) -> CopyItem:
        """The copy of a listed object to ``key``."""
        return cls(source_key=entry.key, key=key, size=entry.size, etag=entry.etag, checksums=entry.checksums)
