"""What a new backup need not copy: the objects that earlier backups have, and that are the same still in Milvus' storage."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.pool.damage import read_damaged
from mbk.engine.repository.pool.identity import is_same
from mbk.engine.repository.pool.index import Indexed, Place, read_index
from mbk.engine.repository.record import Record
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.errors import AccessError, InvalidBackup, ObjectNotFound
from mbk.model.manifest import SHARED
from mbk.model.objects import ObjectRecord
from mbk.ports.storage import Storage

log = logging.getLogger(__name__)


class Bases:
    """The committed shared backups of a root; a context manager. Several threads may call it.

    Only what the record of such a backup names is built on, whatever the index says. ``origin``: that of
    the new backup, as in the manifest; None: nobody knows it, and only digests tell.
    ``name``: the new backup. ``keep``: an index that was not up to date is written.
    """

    def __init__(
        self, storage: Storage, run: Run, origin: str | None, *, name: str = "", keep: bool = False
    ) -> None:
        self._catalog = Catalog(storage, run)
        self._origin = origin
        self._index = read_index(storage, run, besides=name, keep=keep)
        #: Keys, relative to the pool: to be copied again, not built on as they are.
        self.damaged = frozenset(read_damaged(storage, run)) if self._index.backups else frozenset[str]()
        #: Names of backups of which the index tells what is no longer true.
        self.outdated = set[str]()
        self._records: dict[str, Record | None] = {}
        self._objects: dict[tuple[str, int], Mapping[str, ObjectRecord]] = {}
        self._lock = threading.Lock()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def whole(self, place: Place, items: Mapping[str, CopyItem]) -> dict[str, ObjectRecord]:
        """The recorded object for each item, by its name (the key below an id), if one id has all of these; else nothing.

        Milvus imports the directory of a segment's insert logs: it must have all of them.
        """
        for number, named in self._index.of(place):
            for backup, objects in self._named(place, named):
                found = self._same(backup, objects, number, items)
                if len(found) == len(items):
                    return found
        return {}

    def each(self, place: Place, items: Mapping[str, CopyItem]) -> dict[str, ObjectRecord]:
        """As `whole`, of those items that earlier backups have: delete logs are added to a segment one by one."""
        found = dict[str, ObjectRecord]()
        for number, named in self._index.of(place):
            for backup, objects in self._named(place, named):
                left = {name: item for name, item in items.items() if name not in found}
                found |= self._same(backup, objects, number, left)
        return found

    def _named(
        self, place: Place, named: Sequence[Indexed]
    ) -> Iterator[tuple[Indexed, Mapping[str, ObjectRecord]]]:
        """The objects of the newest base that can be read; objects of one id are the same in all that name them."""
        for backup in named:
            objects = self._of(backup, place.collection)
            if objects is not None:
                yield backup, objects
                return

    def _same(
        self,
        backup: Indexed,
        objects: Mapping[str, ObjectRecord],
        number: str,
        items: Mapping[str, CopyItem],
    ) -> dict[str, ObjectRecord]:
        found, one_origin = dict[str, ObjectRecord](), backup.origin == self._origin
        for name, item in items.items():
            entry = objects.get(f"{number}/{name}")
            if entry is not None and is_same(entry, item, one_origin=one_origin):
                found[name] = entry
        return found

    def _of(self, backup: Indexed, collection: int) -> Mapping[str, ObjectRecord] | None:
        with self._lock:
            if backup.name not in self._records:
                self._records[backup.name] = self._opened(backup)
            record = self._records[backup.name]
            if record is None:
                return None
            key = backup.name, collection
            if key not in self._objects:
                self._objects[key] = record.of(collection)
            return self._objects[key]

    def _opened(self, backup: Indexed) -> Record | None:
        """None if the backup is no longer the one that the index knows, or cannot be read: then it is not built on."""
        try:
            stored, manifest = self._catalog.told(backup.name)
            if not stored.is_committed or (manifest.format, manifest.commit) != (SHARED, backup.commit):
                self.outdated.add(backup.name)
                return None
            return self._stack.enter_context(self._catalog.record_of(backup.name, manifest))
        except (InvalidBackup, AccessError, ObjectNotFound) as error:
            log.debug("backup %s is not built on: %s", backup.name, error)
            return None
