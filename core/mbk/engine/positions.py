"""Reading the timestamp out of an encoded channel checkpoint."""

from __future__ import annotations

import base64
import binascii

from mbk.errors import InvalidBackup

#: Field 4 of ``msgpb.MsgPosition``, a varint (FORMAT.md 1.4).
TIMESTAMP = 4
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def timestamp(position: str) -> int:
    """The hybrid timestamp of a base64 ``msgpb.MsgPosition``; `InvalidBackup` when it is none."""
    try:
        data = base64.b64decode(position, validate=True)
        at = 0
        while at < len(data):
            tag, at = _varint(data, at)
            kind = tag & 7
            if kind == VARINT:
                value, at = _varint(data, at)
                if tag >> 3 == TIMESTAMP:
                    return value
            elif kind == BYTES:
                length, at = _varint(data, at)
                at += length
            elif kind in (FIXED64, FIXED32):
                at += 8 if kind == FIXED64 else 4
            else:
                raise ValueError(f"wire type {kind}")
    except (binascii.Error, IndexError, ValueError) as exc:
        raise InvalidBackup("a channel checkpoint of the backup cannot be read") from exc
    raise InvalidBackup("a channel checkpoint of the backup has no timestamp")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
