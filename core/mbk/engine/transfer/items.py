"""What is going to be copied, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CopyItem:
    """One object to copy; ``size`` in bytes as the source's listing gave it."""

    source_key: str
    key: str
    size: int
    etag: str | None = None
