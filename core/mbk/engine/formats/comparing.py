"""Whether an object of a backup is the one that was recorded: by what its storage tells of it, or by reading it."""

from __future__ import annotations

from mbk.engine.runtime.retry import twice
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.digests import Digest, cheapest
from mbk.engine.transfer.reading import chunks_of
from mbk.engine.transfer.same import Vouch, vouched
from mbk.errors import DamagedBackup, ObjectNotFound
from mbk.frozen import frozen
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import ObjectInfo, Storage


@frozen(kw_only=True)
class Comparison:
    """Several threads may call it. ``here``: the record was made where the objects lie. ``everything``: also objects that
    the storage vouches for are read."""

    storage: Storage
    run: Run
    here: bool
    everything: bool = False

    def require(self, entry: ObjectInfo, record: ObjectRecord) -> None:
        """`DamagedBackup` if the object is not the recorded one. Reads it once, unless the storage vouches for it."""
        if self._is_vouched_for(entry, record):
            return
        kind = cheapest(record.digests)
        if kind is None:
            self.run.notice(
                "contents-unknown",
                "objects whose digest was not recorded are compared by name and size only; `mbk verify --record` reads "
                "them once and records it",
            )
            return
        twice(lambda: self._compare(entry.key, record, kind))

    def _compare(self, key: str, record: ObjectRecord, kind: str) -> None:
        digest = self._read(key, record, kind)
        if digest != record.digests[kind]:
            raise differs(key, kind, digest, record)

    def _is_vouched_for(self, entry: ObjectInfo, record: ObjectRecord) -> bool:
        if self.everything:
            return False
        if vouched(record, entry, here=self.here) is Vouch.SAME:
            return True
        if not self.storage.capabilities.checksums & record.digests.keys():
            return False
        # A listing of this storage tells less than a look at the object.
        info = self.run.retry.call(f"stat {entry.key}", self.storage.stat, entry.key)
        return vouched(record, info, here=self.here) is Vouch.SAME

    def _read(self, key: str, record: ObjectRecord, kind: str) -> str:
        made = Digest(kind)
        try:
            for chunk in chunks_of(self.storage, key, self.run):
                made.update(chunk)
        except ObjectNotFound as error:
            raise damaged(key, "it is missing") from error
        if made.size != record.size:
            raise damaged(key, f"it has {made.size} bytes instead of {record.size}")
        return made.hex


def differs(key: str, kind: str, digest: str, record: ObjectRecord) -> DamagedBackup:
    return damaged(key, f"its {kind} is {digest}, and {record.digests[kind]} was recorded")


def damaged(key: str, reason: str) -> DamagedBackup:
    return DamagedBackup(
        "{key} is damaged: {reason}",
        code="object-damaged",
        key=key,
        reason=reason,
        hint="restore another backup or an intact copy of this one, or what is whole of it with --salvage",
    )
