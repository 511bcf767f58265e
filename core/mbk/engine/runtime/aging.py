"""What is old enough to belong to nobody: a grace time, by the clock of the storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mbk.engine.runtime.run import Run
from mbk.frozen import frozen
from mbk.ports.storage import ObjectInfo, Storage


@frozen
class Age:
    """``before``: what was written before that is old enough; None: whatever its age."""

    before: datetime | None

    @classmethod
    def guessed(cls, grace: timedelta) -> Age:
        """For a plan, which writes nothing that the storage could date: by the clock of this machine."""
        return cls(datetime.now(UTC) - grace if grace else None)

    @classmethod
    def told(cls, storage: Storage, run: Run, lease: str, grace: timedelta) -> Age:
        """By the clock of the storage: ``lease`` is the key of one that this run wrote a moment ago."""
        if not grace:
            return cls(None)
        written = run.retry.call(f"stat {lease}", storage.stat, lease).modified
        return cls((written or datetime.now(UTC)) - grace)

    def is_over(self, modified: datetime | None) -> bool:
        """Whether what was written then is old enough. What nobody can date is not."""
        return self.before is None or (modified is not None and modified < self.before)

    def has_passed(self, entry: ObjectInfo) -> bool:
        return self.is_over(entry.modified)
