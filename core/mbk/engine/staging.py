"""Bringing a backup's segments to where Milvus can read them, and taking the copies away again.

Milvus imports from its own storage only. Where the backup lies elsewhere, or where several segments shall go into one
job, they are copied below ``{milvus root}restore-temp-{backup}-{db}-{coll}/``. The name is the same on every run: a
restore that was killed finds its copies and its journal there, uses them, and removes them at its end.
"""

from __future__ import annotations

from collections.abc import Iterator

from mbk.engine.backup_collection import verify
from mbk.engine.catalog import delete_below
from mbk.engine.import_plan import ImportGroup
from mbk.engine.run import Run
from mbk.engine.transfer import Transfer
from mbk.errors import MbkError
from mbk.model.events import WorkPlanned
from mbk.model.layout import DELTA_LOG, INSERT_LOG, RESTORE_TEMP
from mbk.model.plan import CopyItem
from mbk.model.selection import CollectionName
from mbk.ports.storage import ObjectInfo, Storage


class Staging:
    """The temporary copies of one collection's restore."""

    def __init__(
        self,
        backup: Storage,
        storage: Storage,
        transfer: Transfer,
        run: Run,
        *,
        name: str,
        target: CollectionName,
    ) -> None:
        self._backup = backup
        self._storage = storage
        self._transfer = transfer
        self._run = run
        self._label = str(target)
        self.prefix = self.prefix_of(storage, name, target)

    @staticmethod
    def prefix_of(storage: Storage, name: str, target: CollectionName) -> str:
        return f"{storage.location.root}{RESTORE_TEMP}{name}-{target.database}-{target.collection}/"

    def paths(self, group: ImportGroup) -> tuple[str, ...]:
        """What an import job is given for the group: directories as Milvus names them."""
        if group.l0:
            delta = self._delta(group) if group.staged else group.places[0].delta
            return (self._mount(group) + delta,)
        first = group.places[0]
        insert = self._insert(group) if group.staged else first.parent
        deltas = [place for place in group.places if place.delta]
        if not deltas:
            return (self._mount(group) + insert,)
        delta = self._delta(group) if group.staged else deltas[0].delta_parent
        return (self._mount(group) + insert, self._mount(group) + delta)

    def stage(self, group: ImportGroup) -> None:
        """Copies the group's objects and verifies them; those of an earlier run are kept."""
        items = list(self._items(group))
        self._run.emit(
            WorkPlanned(collection=self._label, objects=len(items), size=sum(item.size for item in items))
        )
        self._transfer.copy(items, collection=self._label, present=self._present(group))
        verify(items, self._present(group), where=str(self._storage.location))

    def clean(self) -> None:
        """Removes the copies and the journal. Runs to its end even when the restore was cancelled."""
        self._clean(self.prefix)

    def clean_copies(self) -> None:
        """Removes the copies alone."""
        self._clean(f"{self.prefix}{INSERT_LOG}/", f"{self.prefix}{DELTA_LOG}/")

    def _clean(self, *prefixes: str) -> None:
        fresh = Run()
        try:
            for prefix in prefixes:
                delete_below(self._storage, prefix, fresh)
                self._storage.clean(prefix)
        except MbkError as error:
            self._run.notice("temp-left", f"temporary copies stay in {self.prefix}: {error}")

    def _mount(self, group: ImportGroup) -> str:
        return (self._storage if group.staged else self._backup).location.mount

    def _insert(self, group: ImportGroup) -> str:
        return f"{self.prefix}{INSERT_LOG}/{group.key}/"

    def _delta(self, group: ImportGroup) -> str:
        return f"{self.prefix}{DELTA_LOG}/{group.key}/"

    def _items(self, group: ImportGroup) -> Iterator[CopyItem]:
        for segment, place in zip(group.segments, group.places, strict=True):
            for source, target in ((place.insert, self._insert(group)), (place.delta, self._delta(group))):
                for entry in self._list(self._backup, source) if source else ():
                    key = f"{target}{segment.segment_id}/{entry.key.removeprefix(source)}"
                    yield CopyItem(entry.key, key, entry.size, entry.etag)

    def _present(self, group: ImportGroup) -> dict[str, int]:
        found = (
            *self._list(self._storage, self._insert(group)),
            *self._list(self._storage, self._delta(group)),
        )
        return {entry.key: entry.size for entry in found}

    def _list(self, storage: Storage, prefix: str) -> list[ObjectInfo]:
        return self._run.retry.call(f"list {prefix}", lambda: [*storage.list(prefix)])
