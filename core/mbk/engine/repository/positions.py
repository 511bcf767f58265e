"""Reading the timestamp out of an encoded channel checkpoint."""

from __future__ import annotations

import base64
import binascii

from mbk.errors import InvalidBackup
from mbk.model.wire import Message

#: Field 4 of ``msgpb.MsgPosition`` (FORMAT.md 1.4).
TIMESTAMP = 4


def timestamp(position: str) -> int:
    """The hybrid timestamp of a base64 ``msgpb.MsgPosition``; `InvalidBackup` when it is none."""
    try:
        found = Message(base64.b64decode(position, validate=True)).integer(TIMESTAMP)
    except (binascii.Error, ValueError) as exc:
        raise InvalidBackup("a channel checkpoint of the backup cannot be read") from exc
    if not found:
        raise InvalidBackup("a channel checkpoint of the backup has no timestamp")
    return found
