"""Splitting a large object into parts."""

from __future__ import annotations

from collections.abc import Iterator

from mbk.frozen import frozen
from mbk.ports.storage import Capabilities


@frozen
class Part:
    """Part ``number`` (from 1) is ``length`` bytes from ``offset`` on."""

    number: int
    offset: int
    length: int


def too_large(size: int, capabilities: Capabilities) -> bool:
    """Whether the service refuses to copy so many bytes at once."""
    return capabilities.max_copy_size is not None and size > capabilities.max_copy_size


def in_parts(size: int, capabilities: Capabilities, threshold: int) -> bool:
    """Whether the service copies an object of ``size`` bytes in parts, ``threshold`` being where that begins."""
    return capabilities.part_copy and (too_large(size, capabilities) or size >= max(1, threshold))


def cut(size: int, capabilities: Capabilities, *, preferred: int) -> Iterator[Part]:
    """Parts of an object of ``size`` bytes: of ``preferred`` bytes, within the storage's limits on size and count."""
    length = max(preferred, capabilities.min_part_size, -(-size // capabilities.max_parts))
    length = min(length, capabilities.max_part_size)
    for number, offset in enumerate(range(0, size, length), start=1):
        yield Part(number, offset, min(length, size - offset))
