"""Which backups were added to existing collections: rows that are added a second time are there twice.

A restore with ``skip_create`` leaves a small object below ``.mbk/added/`` of Milvus' storage. It counts as long as the
collection has the id that is in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import field

import msgspec

from mbk.engine.repository import codec as metafiles
from mbk.engine.runtime.context import ClusterContext
from mbk.errors import InvalidBackup, ObjectNotFound
from mbk.frozen import frozen
from mbk.model.manifest import Added, now
from mbk.model.selection import CollectionName

PREFIX = ".mbk/added/"


@frozen
class AddedBackups:
    """What is recorded of backup ``backup_id``."""

    context: ClusterContext
    backup_id: str
    _none: Added = field(default_factory=Added)

    def of(self, target: CollectionName, collection_id: int) -> Added:
        """What was added to this very collection; empty if nothing."""
        key = self._key(target)
        try:
            data = self.context.run.retry.call(f"read {key}", self._read, key)
            found = metafiles.decode(data, Added, where=key)
        except (ObjectNotFound, InvalidBackup):
            return self._none
        return found if found.collection_id == collection_id else self._none

    def note(self, target: CollectionName, collection_id: int, partitions: set[str]) -> None:
        before = self.of(target, collection_id)
        added = Added(
            backup_id=self.backup_id,
            target=str(target),
            collection_id=collection_id,
            partitions=sorted({*before.partitions, *partitions}),
            at=now(),
        )
        key, data = self._key(target), msgspec.json.encode(added)
        self.context.run.retry.call(f"write {key}", self.context.storage.write, key, [data], size=len(data))

    def _key(self, target: CollectionName) -> str:
        text = "\0".join((self.backup_id, target.database, target.collection))
        return f"{self.context.storage.location.root}{PREFIX}{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    def _read(self, key: str) -> bytes:
        with self.context.storage.read(key) as chunks:
            return b"".join(chunks)
