"""The use-case `migrate`: a backup goes up to a managed Milvus, which then takes it in by itself (FORMAT.md 6.4).

The credentials are temporary and may do little: they write and list. They are renewed between batches, and once more
when they run out in the middle of one. The path in the volume follows from the backup's name and id, so that a killed upload is
gone on with by the same command. The migration is started when every object was seen in one listing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer, TransferLimits
from mbk.engine.transfer.verify import verify
from mbk.errors import AccessError, InvalidBackup, StorageFull
from mbk.model.events import WorkPlanned
from mbk.model.reports import MigrationReport
from mbk.ports.cloud import Cloud, Volume
from mbk.ports.storage import ObjectInfo, Storage

#: Credentials that end sooner than this are renewed before the next batch.
MARGIN = timedelta(minutes=10)
BATCH = 2_000


@dataclass(slots=True)
class Migrate:
    """One run of `migrate`. ``open_volume`` opens the storage of a volume."""

    backup: Storage
    cloud: Cloud
    open_volume: Callable[[Volume], Storage]
    run: Run
    limits: TransferLimits
    _volume: Volume | None = field(default=None, init=False)

    def execute(self, name: str, cluster: str) -> MigrationReport:
        """Uploads the backup and starts the migration into ``cluster``.

        `InvalidBackup` for one that is incomplete or a snapshot, which the service does not read.
        """
        started = time.monotonic()
        catalog = Catalog(self.backup, self.run)
        self.backup.check()
        backup = catalog.read(name)
        if backup.format == "snapshot":
            raise InvalidBackup(
                f"backup {name!r} is a snapshot, which cannot be migrated",
                hint="create it with --format binlog",
            )
        if failed := catalog.read_own(name).failed:
            self.run.notice("partial", f"backup {name!r} lacks {', '.join(sorted(failed))}")
        prefix = catalog.layout(name).prefix
        path = f"{name}_{backup.id}"
        items = listing.objects(self.backup, self.run, prefix)
        total = sum(item.size for item in items)
        volume = self._current(cluster, path)
        _require_room(volume, len(items), total)
        self.run.phase("upload")
        self.run.emit(WorkPlanned(collection="", objects=len(items), size=total))
        self._upload_all(prefix, items, cluster, path)
        self.run.phase("verify")
        with self._opened(cluster, path) as (storage, volume):
            held = listing.by_key(storage, self.run, volume.prefix)
            verify(_copies(prefix, items, volume), held, where=str(storage.location))
        self.run.check_cancelled()
        self.run.phase("start")
        job = self._start(volume.name, path, cluster)
        return MigrationReport(
            name, cluster, job, volume.name, len(items), total, seconds=time.monotonic() - started
        )

    def _start(self, volume: str, path: str, cluster: str) -> str:
        """One attempt: a lost answer may have started the migration, and twice would bring the rows twice."""
        return self.cloud.start_migration(volume, path, cluster)

    def _upload_all(self, prefix: str, items: list[ObjectInfo], cluster: str, path: str) -> None:
        rest = iter(items)
        with self._opened(cluster, path) as (storage, volume):
            held = listing.by_key(storage, self.run, volume.prefix)
        while batch := list(islice(rest, BATCH)):
            try:
                self._upload(prefix, batch, held, cluster, path)
            except AccessError:
                # They may have run out before their time: with fresh ones it is an error for good.
                self._volume = None
                self._upload(prefix, batch, held, cluster, path)

    def _upload(
        self, prefix: str, batch: list[ObjectInfo], held: dict[str, ObjectInfo], cluster: str, path: str
    ) -> None:
        with self._opened(cluster, path) as (storage, volume):
            items = _copies(prefix, batch, volume)
            with Transfer(
                source=self.backup, destination=storage, run=self.run, limits=self.limits
            ) as transfer:
                transfer.copy(items, collection="", present=held)

    @contextmanager
    def _opened(self, cluster: str, path: str) -> Iterator[tuple[Storage, Volume]]:
        volume = self._current(cluster, path)
        storage = self.open_volume(volume)
        try:
            yield storage, volume
        finally:
            storage.close()

    def _current(self, cluster: str, path: str) -> Volume:
        held = self._volume
        if held is None or (held.expires is not None and held.expires - MARGIN < _now(held.expires)):
            held = self.run.retry.call("apply for a volume", self.cloud.apply_volume, cluster, path)
            self._volume = held
        return held


def _now(like: datetime) -> datetime:
    return datetime.now(UTC) if like.tzinfo else datetime.now(UTC).replace(tzinfo=None)


def _copies(prefix: str, items: list[ObjectInfo], volume: Volume) -> list[CopyItem]:
    return [CopyItem.of(item, volume.prefix + item.key.removeprefix(prefix)) for item in items]


def _require_room(volume: Volume, objects: int, size: int) -> None:
    if volume.max_objects and objects > volume.max_objects:
        raise StorageFull(
            f"volume {volume.name} takes {volume.max_objects} objects, the backup has {objects}"
        )
    if volume.max_size and size > volume.max_size:
        raise StorageFull(f"volume {volume.name} takes {volume.max_size} bytes, the backup has {size}")
