"""What interrupted deletions left, and copied logs without any metadata, as an interrupted create of the Go tool leaves them.

Nothing can complete either. A backup that can be completed is none of this: `prune` decides about it. A directory counts only
if all that lies in it is what a backup has there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from mbk.engine.repository.catalog import Catalog, Stored
from mbk.engine.repository.removal import Remover
from mbk.engine.runtime.aging import Age
from mbk.engine.runtime.failures import concerns_everything
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.lease import Lease, hold
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import BackupNotFound, Busy, InvalidBackup, MbkError
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.manifest import DELETE
from mbk.model.reports import Leftover, is_valid_name
from mbk.model.states import LeftoverKind
from mbk.ports.storage import Location, ObjectInfo, Storage


@frozen(kw_only=True)
class Remnants:
    """Those below the root of a storage. ``milvus``: where Milvus keeps its data, None if that is not known."""

    storage: Storage
    run: Run
    milvus: Location | None

    def find(self, age: Age) -> list[Leftover]:
        """A directory that cannot be looked into is none."""
        catalog = Catalog(self.storage, self.run)
        found = catalog.each(lambda name: self._look(self.storage, name, age), lambda _, __: None)
        return [*filter(None, found)]

    def remove(self, pace: LeasePace, grace: timedelta, found: Sequence[Leftover]) -> Iterator[Leftover]:
        for item in found:
            yield self._removed(pace, grace, item)

    def _removed(self, pace: LeasePace, grace: timedelta, item: Leftover) -> Leftover:
        name, what = item.name, f"removal of the rest of backup {item.name!r}"
        try:
            with hold(self.storage, name, what, self.run, pace=pace, deletes=True) as lease:
                if not lease.is_held:
                    return replace(
                        item, outcome="kept", reason="no lease can be written, so a run may be at work there"
                    )
                return self._under(lease, grace, item)
        except Busy as busy:
            return replace(item, outcome="kept", reason=busy.message)
        except BackupNotFound:
            return replace(item, outcome="removed", objects=0, size=0, reason="another run deleted it")
        except MbkError as error:
            if concerns_everything(error):
                raise
            return replace(item, outcome="failed", reason=error.message)

    def _under(self, lease: Lease, grace: timedelta, item: Leftover) -> Leftover:
        storage, name = writing_backup(self.storage, lease, item.name), item.name
        if self._look(storage, name, Age.told(storage, self.run, lease.key, grace)) is None:
            return replace(item, outcome="kept", reason="it was changed meanwhile")
        removed = self._remover(storage).remove(name)
        return replace(item, outcome="removed", objects=removed.objects, size=removed.size)

    def _look(self, storage: Storage, name: str, age: Age) -> Leftover | None:
        """None for what is to stay."""
        stored = Catalog(storage, self.run).find(name)
        if not (
            self._is_being_deleted(storage, stored, age) if stored.is_backup else self._is_bare(stored, age)
        ):
            return None
        found = self._remover(storage).look(name)
        return Leftover(
            kind=LeftoverKind.BACKUP,
            location=str(storage.location),
            name=name,
            objects=found.objects,
            size=found.size,
        )

    def _is_being_deleted(self, storage: Storage, stored: Stored, age: Age) -> bool:
        """Whether somebody began to delete it. Its manifest says so, and is the last thing to go."""
        mark = stored.files.get(layout.MANIFEST)
        if stored.is_committed or mark is None or not age.has_passed(mark):
            return False
        try:
            return Catalog(storage, self.run).read_manifest(stored.layout.name).command == DELETE
        except InvalidBackup:
            return False

    def _is_bare(self, stored: Stored, age: Age) -> bool:
        """Whether copied logs lie there and nothing else, all of them old. Whoever is still copying has a young one."""
        place = stored.layout
        if not is_valid_name(place.name) or layout.is_of_milvus(place.name):
            return False
        level = listing.level(self.storage, self.run, place.prefix)
        if level.objects or level.prefixes != (place.data_prefix,):
            return False
        start = len(place.prefix)

        def look(entries: Iterator[ObjectInfo]) -> bool:
            return all(layout.is_data(entry.key[start:]) and age.has_passed(entry) for entry in entries)

        return listing.consume(self.storage, self.run, look, place.prefix)

    def _remover(self, storage: Storage) -> Remover:
        catalog = Catalog(storage, self.run)
        return Remover(storage, catalog, self.run, milvus=self.milvus, remnants=True)
