"""What keeps a backup from being deleted: ``meta/pinned.json``. See docs/reference/backup-format.md#pinnedjson."""

from __future__ import annotations

from datetime import datetime

import msgspec

from mbk.engine.repository import codec
from mbk.errors import BackupPinned, InvalidBackup
from mbk.model.manifest import Pinned
from mbk.model.reports import Pin
from mbk.model.retention import utc

#: A file that says something else than an end keeps the backup: it was written to keep it.
_FOR_GOOD = Pin()


def decoded(data: bytes | bytearray, *, where: str) -> Pin:
    try:
        pinned = codec.decode(data, Pinned, where=where)
        until = utc(datetime.fromisoformat(pinned.until)) if pinned.until else None
    except (InvalidBackup, ValueError, OverflowError):
        return _FOR_GOOD
    return Pin(until, pinned.reason)


def encoded(pin: Pin, at: str) -> bytes:
    until = pin.until.isoformat(timespec="seconds") if pin.until else ""
    return msgspec.json.encode(Pinned(at=at, until=until, reason=pin.reason))


def refused(backup: str, pin: Pin) -> BackupPinned:
    until = f" until {pin.until:%Y-%m-%dT%H:%M:%SZ}" if pin.until else ""
    reason = f" ({pin.reason})" if pin.reason else ""
    return BackupPinned(
        "backup {backup!r} is pinned{until}{reason}",
        code="backup-pinned",
        backup=backup,
        until=until,
        reason=reason,
        hint="mbk pin -n {backup} --remove lets it go",
    )
