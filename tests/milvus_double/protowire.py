"""Protobuf messages that no client package carries, read off the wire by field number."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Wire:
    """One message: ``number(3)``, ``text(1)``, ``texts(2)``, ``numbers(2)`` (packed or not), ``message(1)``."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for field, value in _parsed(data):
            self._fields.setdefault(field, []).append(value)

    def number(self, field: int) -> int:
        """Signed, as int64 is; 0 where there is none."""
        values = self._fields.get(field, [0])
        last = values[-1]
        if not isinstance(last, int):
            raise ValueError(f"field {field} is no number")
        return last - (1 << 64) if last >= 1 << 63 else last

    def numbers(self, field: int) -> list[int]:
        found: list[int] = []
        for value in self._fields.get(field, []):
            found += [value] if isinstance(value, int) else _packed(value)
        return [item - (1 << 64) if item >= 1 << 63 else item for item in found]

    def raw(self, field: int) -> list[bytes]:
        values = self._fields.get(field, [])
        if any(isinstance(value, int) for value in values):
            raise ValueError(f"field {field} is a number")
        return [value for value in values if isinstance(value, bytes)]

    def text(self, field: int) -> str:
        values = self.raw(field)
        return values[-1].decode() if values else ""

    def texts(self, field: int) -> list[str]:
        return [value.decode() for value in self.raw(field)]

    def message(self, field: int) -> Wire:
        return Wire(b"".join(self.raw(field)))


def _parsed(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == BYTES:
            length, at = _varint(data, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is unknown")
        if at + length > len(data):
            raise ValueError("the message breaks off")
        yield tag >> 3, data[at : at + length]
        at += length


def _packed(data: bytes) -> list[int]:
    found, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        found.append(value)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number breaks off")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
