"""The use-case `copy`: a committed backup, byte for byte, to another place, under the commit protocol."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer, TransferLimits
from mbk.engine.transfer.verify import verify
from mbk.errors import BackupExists, InvalidBackup, UsageError
from mbk.model import layout
from mbk.model.events import WorkPlanned
from mbk.model.layout import BackupLayout
from mbk.model.manifest import COPY, now
from mbk.model.records import Backup
from mbk.model.reports import CollectionOutcome, RunReport
from mbk.model.states import CollectionState
from mbk.ports.storage import Storage


@dataclass(slots=True)
class CopyBackup:
    """One run of `copy`. A copy that was interrupted is gone on with; whatever else is at the target stays untouched."""

    source: Storage
    target: Storage
    run: Run
    limits: TransferLimits

    def execute(self, name: str) -> RunReport:
        """`BackupExists` where the target has something of this name that is no begun copy of this very backup."""
        started = time.monotonic()
        here, there = self.source.location, self.target.location
        if here.same_bucket(there) and here.root == there.root:
            raise UsageError(
                f"backup {name!r} would be copied onto itself", hint="name another path or bucket"
            )
        self.source.check()
        catalog = Catalog(self.source, self.run)
        backup = catalog.read(name)
        if backup.format == "snapshot":
            raise InvalidBackup(
                f"backup {name!r} is a snapshot, whose files name their place",
                hint="create it with --format binlog",
            )
        self.target.check(create=True)
        with hold(self.target, name, f"copy of backup {name!r}", self.run):
            stats = self._copy(catalog, backup, name)
        return RunReport(
            command="copy",
            name=name,
            id=backup.id,
            location=f"{there}/{name}",
            milvus_version=backup.milvus_version,
            seconds=time.monotonic() - started,
            collections=tuple(_outcomes(backup)),
            transfer=stats.stats,
            notices=tuple(self.run.notices),
        )

    def _copy(self, source: Catalog, backup: Backup, name: str) -> Transfer:
        """Until everything is there, the target's own file says that it is a copy, and of what; last it becomes the
        source's."""
        catalog, found = Catalog(self.target, self.run), source.find(name)
        place = catalog.layout(name)
        self.run.phase("copy")
        items = [
            CopyItem.of(entry, place.prefix + entry.key.removeprefix(found.layout.prefix))
            for entry in listing.objects(self.source, self.run, found.layout.prefix)
        ]
        present = listing.by_key(self.target, self.run, place.prefix)
        begun = catalog.read_own(name)
        ours = begun.command == COPY and begun.id == backup.id
        if ours:
            present.pop(place.meta(layout.OWN_META), None)
        sizes = {item.key: item.size for item in items}
        others = any(sizes.get(key) != entry.size for key, entry in present.items())
        if (catalog.find(name).is_committed and not ours) or others:
            raise BackupExists(
                f"backup {name!r} exists in {self.target.location}",
                hint="delete it there, or copy it elsewhere",
            )
        self.run.emit(WorkPlanned(collection="", objects=len(items), size=sum(sizes.values())))
        self.target.clean(place.prefix)
        self._take_name(source, catalog, backup, name)
        mark = layout.FULL_META if layout.FULL_META in found.files else layout.BACKUP_META
        data, meta, own, last = _in_order(items, place, mark)
        with Transfer(
            source=self.source, destination=self.target, run=self.run, limits=self.limits
        ) as transfer:
            for batch in (data, meta):
                transfer.copy(batch, collection="", present=present)
            self.run.phase("verify")
            copied = listing.by_key(self.target, self.run, place.prefix)
            verify([*data, *meta], copied, where=str(self.target.location))
            self.run.check_cancelled()
            self.run.phase("commit")
            transfer.copy(last, collection="", present={})
            if own:
                transfer.copy(own, collection="", present={})
            else:
                key = place.meta(layout.OWN_META)
                self.run.retry.call(f"delete {key}", self.target.delete, [key])
        return transfer

    def _take_name(self, source: Catalog, target: Catalog, backup: Backup, name: str) -> None:
        own = msgspec.structs.replace(
            source.read_own(name),
            id=backup.id,
            name=name,
            started=now(),
            finished="",
            command=COPY,
            source=f"{self.source.location}/{name}",
        )
        target.write_own(name, own)


def _in_order(
    items: list[CopyItem], place: BackupLayout, mark: str
) -> tuple[list[CopyItem], list[CopyItem], list[CopyItem], list[CopyItem]]:
    """The data, the metadata, our own file where there is one, and what makes it a backup."""
    own, last = place.meta(layout.OWN_META), place.meta(mark)
    meta = [item for item in items if item.key.startswith(place.meta_prefix) and item.key not in (own, last)]
    data = [item for item in items if not item.key.startswith(place.meta_prefix)]
    named = {item.key: item for item in items}
    return data, meta, [named[own]] if own in named else [], [named[last]]


def _outcomes(backup: Backup) -> Iterable[CollectionOutcome]:
    for item in backup.collection_backups:
        label = f"{item.db_name or 'default'}.{item.collection_name}"
        yield CollectionOutcome(label, label, CollectionState.DONE, size=item.size)
