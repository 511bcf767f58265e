"""Immutable backups: what the configuration asks for, and what a backup tells of its lock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from mbk.frozen import frozen

#: `governance` can be lifted by whoever has that right, `compliance` by nobody.
LockMode = Literal["governance", "compliance"]


@frozen(kw_only=True)
class ObjectLock:
    """`backup.objectLock`: what `create` makes stays undeletable for so many ``days``."""

    mode: LockMode
    days: int

    def until(self, created: datetime) -> datetime:
        """To the second, to which services cut times."""
        return created.replace(microsecond=0) + timedelta(days=self.days)


@frozen
class BackupLock:
    """The storage keeps the objects of the backup ``until`` then; None where the backup does not tell until when."""

    mode: str = ""
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    def __str__(self) -> str:
        """As a reason: the backup stays, for it is …"""
        return f"locked until {self.until:%Y-%m-%dT%H:%M:%SZ}" if self.until else "locked"
