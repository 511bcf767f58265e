"""Which of a segment's objects an earlier backup has already, so that they are not copied again."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import replace

from mbk.engine.formats.binlog.discover import SegmentFiles
from mbk.engine.repository.pool.bases import Bases
from mbk.engine.repository.pool.damage import tell_whole
from mbk.engine.repository.pool.index import Place, update_index
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.same import Vouch, vouched
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import ObjectNotFound
from mbk.frozen import frozen
from mbk.model.layout import DELTA_LOG, INSERT_LOG, BackupLayout
from mbk.model.objects import ObjectRecord
from mbk.model.reports import REUSED
from mbk.ports.storage import ObjectInfo, Storage


@frozen
class _Wanted:
    """The items of a segment by their names below an id, and what its logs of each kind are called in the index."""

    ids: tuple[int, int, int]
    inserts: dict[str, CopyItem]
    deltas: dict[str, CopyItem]

    @classmethod
    def of(cls, place: BackupLayout, files: SegmentFiles) -> _Wanted:
        record, start = files.record, f"binlogs/{INSERT_LOG}/"
        items = {item.key.removeprefix(place.prefix): item for item in files.items}
        return cls(
            (record.collection_id, record.partition_id, record.segment_id),
            {name: item for name, item in items.items() if name.startswith(start)},
            {name: item for name, item in items.items() if not name.startswith(start)},
        )

    def found(self, bases: Bases) -> tuple[dict[str, ObjectRecord], dict[str, ObjectRecord]]:
        return (
            bases.whole(Place(INSERT_LOG, *self.ids), self.inserts),
            bases.each(Place(DELTA_LOG, *self.ids), self.deltas),
        )


class Present:
    """Counts what earlier backups have. ``bases``: None if there are none. Several threads may call it."""

    def __init__(self, bases: Bases | None) -> None:
        self._bases = bases
        self._lock = threading.Lock()
        self.objects = 0
        self.size = 0

    def left(self, place: BackupLayout, files: SegmentFiles | None) -> list[CopyItem]:
        """What is to be copied of a segment; ``place`` is where its items are to go."""
        if files is None or self._bases is None:
            return [] if files is None else files.items
        inserts, deltas = _Wanted.of(place, files).found(self._bases)
        found = {name for name, entry in (inserts | deltas).items() if entry.key not in self._bases.damaged}
        left = list[CopyItem]()
        with self._lock:
            for item in files.items:
                if item.key.removeprefix(place.prefix) in found:
                    self.objects, self.size = self.objects + 1, self.size + item.size
                else:
                    left.append(item)
        return left


class Reuse:
    """``place``: where the backup puts its own objects. ``looks``: what is reused is looked for in the pool, too. Several threads
    may call it."""

    def __init__(
        self,
        bases: Bases,
        place: BackupLayout,
        transfer: Transfer,
        storage: Storage,
        run: Run,
        *,
        looks: bool,
    ) -> None:
        self._bases = bases
        self._place = place
        self._transfer = transfer
        self._storage = storage
        self._run = run
        self._looks = looks
        self._healed = set[str]()
        self._lock = threading.Lock()

    def of(self, files: SegmentFiles, label: str) -> dict[str, ObjectRecord]:
        """What is recorded of the objects that need not be copied, by the keys that their copies would get."""
        wanted = _Wanted.of(self._place, files)
        inserts, deltas = wanted.found(self._bases)
        found = self._sound(inserts, wanted.inserts, label)
        if len(found) < len(wanted.inserts):
            found = {}
        found |= self._sound(deltas, wanted.deltas, label)
        items = wanted.inserts | wanted.deltas
        kept = [items[name] for name, entry in found.items() if entry.key not in self._healed]
        self._transfer.keep(kept, collection=label, how=REUSED)
        return {items[name].key: entry for name, entry in found.items()}

    def settle(self) -> None:
        """Takes what was copied again off the list of damaged objects, and what is not true off the index."""
        if self._bases.outdated:
            update_index(self._storage, self._run, gone=self._bases.outdated)
        tell_whole(self._storage, self._run, self._healed)

    def _sound(
        self, found: Mapping[str, ObjectRecord], items: Mapping[str, CopyItem], label: str
    ) -> dict[str, ObjectRecord]:
        """Without what is damaged and cannot be made whole."""
        damaged = self._damaged(found.values()) if found else frozenset[str]()
        return {
            name: entry
            for name, entry in found.items()
            if entry.key not in damaged or self._is_healed(entry, items[name], label)
        }

    def _damaged(self, entries: Iterable[ObjectRecord]) -> Set[str]:
        if not self._looks:
            return self._bases.damaged
        wanted = {f"{self._place.root}{entry.key}": entry for entry in entries}
        # Those of one segment lie in a few directories.
        directories = {key.rsplit("/", 2)[0] for key in wanted}
        there = listing.by_key(self._storage, self._run, *(f"{place}/" for place in sorted(directories)))
        changed = {
            entry.key
            for key, entry in wanted.items()
            if key not in there or vouched(entry, there[key], here=False) is Vouch.CHANGED
        }
        return self._bases.damaged | changed

    def _is_healed(self, entry: ObjectRecord, item: CopyItem, label: str) -> bool:
        """Copies the object again to its own key, which makes it whole for every backup that names it."""
        key = f"{self._place.root}{entry.key}"
        [arrived] = self._transfer.arrive(
            [replace(item, key=key)], collection=label, present={}, listed=lambda: self._there(key)
        )
        digests = arrived.known.every
        if any(entry.digests[kind] != digests[kind] for kind in entry.digests.keys() & digests.keys()):
            return False
        with self._lock:
            self._healed.add(entry.key)
        return True

    def _there(self, key: str) -> dict[str, ObjectInfo]:
        with suppress(ObjectNotFound):
            return {key: self._run.retry.call(f"stat {key}", self._storage.stat, key)}
        return {}
