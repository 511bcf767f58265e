"""Reading the timestamp out of an encoded channel checkpoint, and the tick out of a flush message (FORMAT.md 1.4)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

from mbk.errors import InvalidBackup

#: Field 4 of ``msgpb.MsgPosition``, a varint.
TIMESTAMP = 4
#: Field 3 of ``commonpb.ImmutableMessage``, a map from text to text.
PROPERTIES = 3
KEY, VALUE = 1, 2
#: The property that holds the time tick, in base 36.
TIME_TICK = b"_tt"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def timestamp(position: str) -> int:
    """The hybrid timestamp of a base64 ``msgpb.MsgPosition``; `InvalidBackup` when it is none."""
    try:
        for number, value in _fields(base64.b64decode(position, validate=True)):
            if number == TIMESTAMP and isinstance(value, int):
                return value
    except (binascii.Error, IndexError, ValueError) as exc:
        raise InvalidBackup("a channel checkpoint of the backup cannot be read") from exc
    raise InvalidBackup("a channel checkpoint of the backup has no timestamp")


def tick(message: str) -> int:
    """The hybrid timestamp of a base64 ``commonpb.ImmutableMessage``; `InvalidBackup` when it is none."""
    try:
        for number, value in _fields(base64.b64decode(message, validate=True)):
            if number == PROPERTIES and isinstance(value, bytes):
                entry = dict(_fields(value))
                if entry.get(KEY) == TIME_TICK:
                    return int(bytes(entry[VALUE]), 36)  # type: ignore[arg-type] # not text: ValueError or TypeError
    except (binascii.Error, IndexError, KeyError, TypeError, ValueError) as exc:
        raise InvalidBackup("a flush message of the backup cannot be read") from exc
    raise InvalidBackup("a flush message of the backup has no time tick")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The varints and the byte strings of one message, in the order in which they stand there."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif kind == BYTES:
            length, at = _varint(data, at)
            if at + length > len(data):
                raise ValueError("it is cut off")
            yield tag >> 3, data[at : at + length]
            at += length
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
