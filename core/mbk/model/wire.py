"""Reads protobuf's wire format, for messages of Milvus that no client package contains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_SIGN = 1 << 63


class Message:
    """One message, its fields by number. A missing field reads as zero; ``ValueError`` for invalid bytes.

    Integers are as on the wire: unsigned, 64 bits. `signed` converts int32 and int64.
    """

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[int | bytes]] = {}
        for number, value in _fields(data):
            self._fields.setdefault(number, []).append(value)

    def integer(self, number: int) -> int:
        value = self._fields.get(number, [0])[-1]
        return value if isinstance(value, int) else _wrong(number)

    def signed(self, number: int) -> int:
        value = self.integer(number)
        return value - 2 * _SIGN if value & _SIGN else value

    def text(self, number: int) -> str:
        value = self._fields.get(number, [b""])[-1]
        return value.decode("utf-8") if isinstance(value, bytes) else _wrong(number)

    def messages(self, number: int) -> Iterator[Message]:
        for value in self._fields.get(number, []):
            yield Message(value) if isinstance(value, bytes) else _wrong(number)


def _wrong(number: int) -> NoReturn:
    raise ValueError(f"field {number} has another type")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if kind == _BYTES:
            size, position = _varint(data, position)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise ValueError(f"field {number} has the unknown wire type {kind}")
        part, position = data[position : position + size], position + size
        if len(part) < size:
            raise ValueError(f"field {number} is truncated")
        yield number, part if kind == _BYTES else int.from_bytes(part, "little")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("a number is truncated")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is longer than 64 bits")
