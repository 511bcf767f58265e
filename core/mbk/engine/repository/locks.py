"""What tells that the storage keeps a backup: ``meta/locked.json``. See docs/reference/backup-format.md#lockedjson.

The storage holds the lock, whatever becomes of this file; the file spares a listing to ask it for each backup.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from mbk.engine.repository import codec
from mbk.errors import BackupLocked, InvalidBackup
from mbk.model.locking import BackupLock
from mbk.model.manifest import Locked, now
from mbk.model.retention import utc
from mbk.ports.storage import Retention

#: Of a file that does not tell until when: it was written because the storage keeps the backup.
UNKNOWN = BackupLock()


def decoded(data: bytes | bytearray, *, where: str) -> BackupLock:
    try:
        locked = codec.decode(data, Locked, where=where)
        return BackupLock(locked.mode, utc(datetime.fromisoformat(locked.until)))
    except (InvalidBackup, ValueError, OverflowError):
        return UNKNOWN


def encoded(retention: Retention) -> bytes:
    until = utc(retention.until).isoformat(timespec="seconds")
    return msgspec.json.encode(Locked(at=now(), mode=retention.mode, until=until))


def refused(backup: str, lock: BackupLock) -> BackupLocked:
    return BackupLocked(
        "backup {backup!r} is {locked}: the storage deletes none of its objects",
        code="backup-locked",
        backup=backup,
        locked=str(lock),
        mode=lock.mode,
        hint="delete it once that time is over",
    )
