"""Checksums as `mbk.ports.storage.ObjectInfo` tells them; the CRCs computed without any library: slow, and independent."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import xxhash

#: Width in bits and reflected polynomial; all begin with ones and end inverted.
_CRCS = {
    "crc32c": (32, 0x82F63B78),
    "crc64nvme": (64, 0x9A6C9329AC4BC9B5),
    "crc64ecma": (64, 0xC96C5795D7870F42),
}


def checksum(kind: str, data: bytes) -> str:
    """Lower-case hexadecimal digits, the most significant byte first."""
    if kind == "xxh128":
        return xxhash.xxh3_128_hexdigest(data)
    if kind not in _CRCS:
        return hashlib.new(kind, data, usedforsecurity=False).hexdigest()
    width, polynomial = _CRCS[kind]
    table, register = _table(polynomial), (1 << width) - 1
    for byte in data:
        register = table[(register ^ byte) & 0xFF] ^ (register >> 8)
    return f"{register ^ ((1 << width) - 1):0{width // 4}x}"


@lru_cache
def _table(polynomial: int) -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        return value

    return tuple(entry(value) for value in range(256))
