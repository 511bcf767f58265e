"""The messages of a flush over everything, as a backup keeps them (FORMAT.md 1.4)."""

from __future__ import annotations

import base64
import binascii

from mbk.errors import InvalidBackup
from mbk.model.records import Backup
from mbk.model.wire import Message

#: Of ``commonpb.ImmutableMessage``: field 3 are its properties, entries of a key (1) and a value (2).
_PROPERTIES, _KEY, _VALUE = 3, 1, 2
_TIME_TICK = "_tt"


def flush_ticks(backup: Backup) -> dict[str, int]:
    """Physical channel -> hybrid time tick of the flush that the backup was drawn at; empty without such a flush."""
    ticks = {}
    for channel, encoded in backup.flush_all_msgs_base64.items():
        try:
            ticks[channel] = _tick(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError) as exc:
            raise InvalidBackup(
                f"the flush message of {channel} in backup {backup.name!r} cannot be read: {exc}"
            ) from exc
    return ticks


def _tick(message: bytes) -> int:
    for entry in Message(message).messages(_PROPERTIES):
        if entry.text(_KEY) == _TIME_TICK:
            return int(entry.text(_VALUE), 36)
    raise ValueError("it has no time tick")
