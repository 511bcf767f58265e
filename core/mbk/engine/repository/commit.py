"""The files of a backup that is being made: taking its name, sweeping out what is stale, committing."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import msgspec

from mbk.engine.formats.binlog.backup import CollectionBackup
from mbk.engine.repository import codec as metafiles
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.errors import BackupExists, ObjectExists, Unsupported
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.model.manifest import CREATE, OwnMeta
from mbk.model.records import BackupExtras
from mbk.ports.storage import ObjectInfo, Storage

#: The ``format`` of a backup whose data Milvus itself has written; it has no level files but the first (FORMAT.md 1.5).
SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class BackupFiles:
    storage: Storage
    catalog: Catalog
    run: Run
    name: str

    @property
    def place(self) -> BackupLayout:
        return self.catalog.layout(self.name)

    def check_name(self, *, resume: bool) -> bool:
        """`BackupExists` for a name that is taken; True for a partial backup that this run is to complete."""
        if self.catalog.find(self.name).is_committed:
            if resume and self.catalog.read_own(self.name).failed:
                return True
            raise BackupExists(
                f"backup {self.name!r} exists in {self.storage.location}",
                hint="choose another name or delete it",
            )
        if not self.catalog.is_taken(self.name):
            return False
        own = self.catalog.read_own(self.name)
        ours = own.command in ("", CREATE)
        if resume and ours:
            return False
        begun = "" if ours else f", begun by {own.command}"
        raise BackupExists(
            f"backup {self.name!r} exists in {self.storage.location} and is incomplete{begun}",
            hint=f"{own.remedy(self.name)}, or remove it: mbk delete -n {self.name}",
        )

    def take_name(self, own: OwnMeta, *, resume: bool) -> None:
        """Our own file is the first object of a backup: from then on the name is taken.

        Of two runs that take one name at once, the storage lets one win, where it can.
        """
        if resume:
            self.storage.clean(self.place.prefix)
            self.catalog.write_own(self.name, own)
            return
        key = self.place.meta(layout.OWN_META)
        data = msgspec.json.encode(own)
        if self.storage.capabilities.conditional_write:
            try:
                self.storage.write_if_absent(key, [data], size=len(data))
                return
            except ObjectExists as exc:
                raise BackupExists(
                    f"backup {self.name!r} was begun by another run just now", hint="choose another name"
                ) from exc
            except Unsupported:
                pass  # a profile promises what this very server does not keep
        self.catalog.write(key, lambda: [data])

    def sweep(self, done: Sequence[CollectionBackup], unfinished: Set[int]) -> None:
        """Removes what was copied of segments that Milvus has replaced since, and of collections that are gone.

        What was copied of ``unfinished`` collections stays for the run that completes them.
        """
        kept = {(backup.record.collection_id, segment) for backup in done for segment in backup.segments}
        data = self.place.data_prefix

        def is_stale(entry: ObjectInfo) -> bool:
            _, collection, *rest = entry.key.removeprefix(data).split("/")
            segment = rest[-3 if layout.INSERT_LOG in entry.key else -2]
            return int(collection) not in unfinished and (int(collection), int(segment)) not in kept

        stale = listing.consume(
            self.storage, self.run, lambda entries: [entry.key for entry in entries if is_stale(entry)], data
        )
        if stale:
            self.run.retry.call(f"delete {stale[0]}", self.storage.delete, stale)

    def commit(
        self,
        backup: BackupExtras,
        own: OwnMeta,
        done: Sequence[CollectionBackup],
        spool: SegmentSpool,
        failed: dict[str, str],
    ) -> None:
        """Writes the metadata, ``full_meta.json`` last.

        Where a partial backup is being completed, what failed before counts as failed until the new tree is there.
        """
        own.failed = own.failed | failed
        parts = [(item.record, item.partitions) for item in done]
        catalog, place = self.catalog, self.place
        catalog.write_own(self.name, own)
        catalog.write(place.meta(layout.BACKUP_META), lambda: metafiles.encode_backup_head(backup))
        catalog.write(place.meta(layout.COLLECTION_META), lambda: metafiles.encode_collections(parts))
        if backup.format != SNAPSHOT:
            catalog.write(place.meta(layout.PARTITION_META), lambda: metafiles.encode_partitions(parts))
            catalog.write(place.meta(layout.SEGMENT_META), lambda: metafiles.encode_segments(parts, spool))
        self.run.check_cancelled()
        catalog.write(place.meta(layout.FULL_META), lambda: metafiles.encode_full(backup, parts, spool))
        if own.failed != failed:
            own.failed = failed
            catalog.write_own(self.name, own)
