"""The last calls of a restore. Its journals are removed one by one; a run that is killed amid that must not be told by the
next one that the collections without a journal are somebody else's.

So all journals are kept in one object while they are removed. It goes last, when the leases are returned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from mbk.engine.repository import codec as metafiles
from mbk.engine.repository.catalog import clean
from mbk.engine.restore.journal import JournalFile, restore_temp
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.runtime.context import ClusterContext
from mbk.errors import InvalidBackup, ObjectNotFound
from mbk.frozen import frozen
from mbk.model.layout import MANIFEST, RESTORE_TEMP
from mbk.model.manifest import Ended


@frozen
class Ending:
    """That of the restore of backup ``name`` into the targets of ``tasks``."""

    context: ClusterContext
    name: str
    backup_id: str
    tasks: Sequence[RestoreTask]

    @property
    def prefix(self) -> str:
        """The same in every run of this restore."""
        text = "\0".join((self.backup_id, *sorted(str(task.target) for task in self.tasks)))
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{self.context.storage.location.root}{RESTORE_TEMP}{self.name}-ended-{digest}/"

    def note(self, done: Iterable[RestoreTask]) -> None:
        """Keeps the journals of these; call it before the first one is removed."""
        journals = [self._journal(task) for task in done]
        ended = Ended(journals=[journal.journal for journal in journals if journal is not None])
        key, data = f"{self.prefix}{MANIFEST}", msgspec.json.encode(ended)
        self.context.run.retry.call(f"write {key}", self.context.storage.write, key, [data], size=len(data))

    def give_back(self) -> None:
        """Writes the journals again that a run killed amid its last calls removed."""
        key = f"{self.prefix}{MANIFEST}"
        try:
            data = self.context.run.retry.call(f"read {key}", self._read, key)
            left = {journal.target: journal for journal in metafiles.decode(data, Ended, where=key).journals}
        except (ObjectNotFound, InvalidBackup):
            return
        for task in self.tasks:
            journal = left.get(str(task.target))
            if journal is not None and self._journal(task) is None:
                self._file(task).put(journal)

    def forget(self) -> None:
        """The very last call of the run."""
        storage, key = self.context.storage, f"{self.prefix}{MANIFEST}"
        self.context.run.retry.call(f"delete {key}", storage.delete, [key])
        clean(storage, self.context.run, self.prefix)

    def _journal(self, task: RestoreTask) -> JournalFile | None:
        found = self._file(task)
        return found if found.load(backup_id=self.backup_id, target=str(task.target)) else None

    def _file(self, task: RestoreTask) -> JournalFile:
        prefix = restore_temp(self.context.storage, self.name, task.target)
        return JournalFile(self.context.storage, prefix, self.context.run)

    def _read(self, key: str) -> bytes:
        with self.context.storage.read(key) as chunks:
            return b"".join(chunks)
