"""Rules of the ability `mbk.ports.storage.Locking`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from mbk.errors import Unsupported
from mbk.ports.storage import Locking, Retention, Storage, WriteOptions, ability
from mbk.testing.kit import Kit, put


class Locks(Kit):
    def test_h1_a_lock_is_told_and_only_ever_extended(self, storage: Storage, prefix: str) -> None:
        """H1. A lock is told, whether it was set while the object was made or afterwards; a longer one replaces it, a shorter one does not."""
        locking = _locking(storage)
        shorter, longer = self._lasting(), self._lasting(more=1)
        put(storage, f"{prefix}free")
        storage.write(f"{prefix}made", [b"x"], options=WriteOptions(retention=shorter))
        assert locking.locked(f"{prefix}free") is None
        locking.lock(f"{prefix}free", shorter)
        for name in ("free", "made"):
            assert _same(locking.locked(f"{prefix}{name}"), shorter)
            locking.lock(f"{prefix}{name}", longer)
            locking.lock(f"{prefix}{name}", shorter)
            assert _same(locking.locked(f"{prefix}{name}"), longer)
        time.sleep(max(0.0, (longer.until - datetime.now(UTC)).total_seconds()))

    def test_h2_a_bucket_without_locks_says_so(self, storage: Storage, prefix: str) -> None:
        """H2. Where the bucket cannot lock objects, asking and locking are `Unsupported`; nothing pretends."""
        locking = ability(storage, Locking)
        if locking is None or _can_lock(locking):
            return
        put(storage, f"{prefix}free")
        with pytest.raises(Unsupported):
            locking.lock(f"{prefix}free", self._lasting())

    def _lasting(self, *, more: int = 0) -> Retention:
        """``more`` in seconds, to which services cut times."""
        until = datetime.now(UTC) + self.retention + timedelta(seconds=more)
        return Retention(mode="governance", until=until)


def _same(found: Retention | None, expected: Retention) -> bool:
    return found is not None and found.covers(expected) and expected.covers(found)


def _can_lock(locking: Locking) -> bool:
    try:
        locking.require_locks()
    except Unsupported:
        return False
    return True


def _locking(storage: Storage) -> Locking:
    locking = ability(storage, Locking)
    if locking is None or not _can_lock(locking):
        pytest.skip("the storage cannot lock objects")
    return locking
