"""What is going to be copied, as data."""

from __future__ import annotations

from dataclasses import dataclass

from mbk.ports.storage import ObjectInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyItem:
    """One object to copy from ``source_key`` to ``key``; ``size`` in bytes and ``etag`` as the source's listing gave them."""

    source_key: str
    key: str
    size: int
    etag: str | None = None

    @classmethod
    def of(cls, entry: ObjectInfo, key: str) -> CopyItem:
        """A listed object, on its way to ``key``."""
        return cls(source_key=entry.key, key=key, size=entry.size, etag=entry.etag)
