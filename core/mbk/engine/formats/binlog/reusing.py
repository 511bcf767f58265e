"""Which of a segment's objects an earlier backup has already, so that they are not copied again."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from mbk.engine.formats.binlog.discover import SegmentFiles
from mbk.engine.repository.pool.bases import Bases
from mbk.engine.repository.pool.damage import read_damaged, write_damaged
from mbk.engine.repository.pool.index import Place
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import REUSED, CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import ObjectNotFound
from mbk.model.layout import DELTA_LOG, INSERT_LOG, BackupLayout
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import ObjectInfo, Storage


class Reuse:
    """``place``: where the backup puts its own objects. Several threads may call it."""

    def __init__(
        self, bases: Bases, place: BackupLayout, transfer: Transfer, storage: Storage, run: Run
    ) -> None:
        self._bases = bases
        self._place = place
        self._transfer = transfer
        self._storage = storage
        self._run = run
        self._healed = set[str]()
        self._lock = threading.Lock()

    def of(self, files: SegmentFiles, label: str) -> dict[str, ObjectRecord]:
        """What is recorded of the objects that need not be copied, by the keys that their copies would get."""
        items = {item.key.removeprefix(self._place.prefix): item for item in files.items}
        record = files.record
        ids = record.collection_id, record.partition_id, record.segment_id
        inserts = {name: item for name, item in items.items() if name.startswith(f"binlogs/{INSERT_LOG}/")}
        deltas = {name: item for name, item in items.items() if name not in inserts}
        found = self._sound(self._bases.whole(Place(INSERT_LOG, *ids), inserts), inserts, label)
        if len(found) < len(inserts):
            found = {}
        found |= self._sound(self._bases.each(Place(DELTA_LOG, *ids), deltas), deltas, label)
        kept = [items[name] for name, entry in found.items() if entry.key not in self._healed]
        self._transfer.keep(kept, collection=label, how=REUSED)
        return {items[name].key: entry for name, entry in found.items()}

    def settle(self) -> None:
        """Takes what was copied again off the list of damaged objects."""
        if self._healed:
            known = read_damaged(self._storage, self._run)
            write_damaged(
                self._storage,
                self._run,
                {key: item for key, item in known.items() if key not in self._healed},
            )

    def _sound(
        self, found: Mapping[str, ObjectRecord], items: Mapping[str, CopyItem], label: str
    ) -> dict[str, ObjectRecord]:
        """Without what is known to be damaged and cannot be made whole."""
        return {
            name: entry
            for name, entry in found.items()
            if entry.key not in self._bases.damaged or self._is_healed(entry, items[name], label)
        }

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
