"""The operation `migrate`: uploads a backup to a managed Milvus, which then imports it by itself.

See docs/reference/milvus-protocol.md#zilliz-cloud.

The credentials are temporary and limited: they can write and list. They are renewed between batches, and once more if
they expire during one. The path in the volume is made of the backup's name and id, so that the same command resumes a
killed upload. The migration is started once one listing has shown every object.

The service reads what the classic tool writes: a shared backup goes up as a classic one, with metadata that says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from mbk.engine.formats.known import of_backup
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.renaming import with_members
from mbk.engine.runtime.context import CloudContext
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.engine.transfer.verify import verify
from mbk.errors import AccessError, StorageFull
from mbk.frozen import frozen
from mbk.model.events import WorkPlanned
from mbk.model.layout import BACKUP_META, COLLECTION_META, FULL_META, PARTITION_META, SEGMENT_META
from mbk.model.options import MigrateOptions
from mbk.model.plans import Plan
from mbk.model.records import Backup
from mbk.model.reports import MigrationReport
from mbk.ports.cloud import Volume
from mbk.ports.storage import ObjectInfo, Storage

#: Credentials that expire sooner than this are renewed before the next batch.
MARGIN = timedelta(minutes=10)


@frozen(kw_only=True)
class MigratePlan:
    """``path``: where the backup goes in the volume; ``items``: all its objects that are copied, ``written``: the bytes of
    those that are not, by name."""

    name: str
    cluster: str
    committed: Committed
    path: str
    items: tuple[ObjectInfo, ...]
    written: Mapping[str, bytes]
    volume: Volume

    @property
    def backup(self) -> Backup:
        return self.committed.backup

    @property
    def objects(self) -> int:
        return len(self.items) + len(self.written)

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items) + sum(map(len, self.written.values()))

    def named(self, item: ObjectInfo) -> str:
        """What an object is called below ``path``."""
        own = self.committed.stored.layout.prefix
        below = item.key.startswith(own)
        return item.key.removeprefix(own) if below else self.committed.classic_name(item.key)


def plan(context: CloudContext, name: str, options: MigrateOptions) -> MigratePlan:
    """`InvalidBackup` if it is incomplete or a snapshot, which the service cannot read; `StorageFull` if the volume is too
    small."""
    run, cluster = context.run, options.cluster
    catalog = Catalog(context.backup_storage, run)
    context.backup_storage.check()
    committed = catalog.committed(name)
    backup = committed.backup
    of_backup(backup.format, name).require_movable(name)
    if failed := committed.manifest.failed:
        run.notice(
            "partial",
            "backup {backup!r} is partial, without {collections}",
            backup=name,
            collections=", ".join(sorted(failed)),
        )
    path = f"{name}_{backup.id}"
    items, written = _content(context, catalog, committed)
    volume = run.retry.call("request a volume", context.cloud.apply_volume, cluster, path)
    made = MigratePlan(
        name=name,
        cluster=cluster,
        committed=committed,
        path=path,
        items=tuple(items),
        written=written,
        volume=volume,
    )
    _require_room(volume, made.objects, made.size)
    return made


def _content(
    context: CloudContext, catalog: Catalog, committed: Committed
) -> tuple[list[ObjectInfo], dict[str, bytes]]:
    """What is copied, and what is written, as in `MigratePlan`."""
    place, storage = committed.stored.layout, context.backup_storage
    if not committed.is_shared:
        return listing.objects(storage, context.run, place.prefix), {}
    written = {}
    for file in (BACKUP_META, FULL_META):
        if file in committed.stored.files:
            where = place.meta(file)
            # The manifest and the record stay behind: what they tell is where the objects lie in the pool.
            others = {"format": None, "mbk": None}
            written[f"meta/{file}"] = with_members(catalog.read_file(where), others, where=where)
    levels = (COLLECTION_META, PARTITION_META, SEGMENT_META)
    files = [committed.stored.files[file] for file in levels if file in committed.stored.files]
    kind = of_backup(committed.backup.format, place.name)
    return [*files, *kind.belongings(context, catalog, committed)], written


def preview(context: CloudContext, plan: MigratePlan) -> Plan:
    records = plan.backup.collection_backups
    segments = [
        item for record in records for part in record.partition_backups for item in part.segment_backups
    ]
    return Plan(
        command="migrate",
        name=plan.name,
        id=plan.backup.id,
        location=f"{context.backup_storage.location}/{plan.name}",
        target=f"cluster {plan.cluster}, volume {plan.volume.name}",
        milvus_version=plan.backup.milvus_version,
        objects=plan.objects,
        size=plan.size,
        rows=sum(segment.num_of_rows for segment in segments if not segment.is_l0),
        notices=tuple(context.run.notices),
    )


def execute(context: CloudContext, name: str, options: MigrateOptions) -> MigrationReport:
    """Uploads the backup and starts the migration into the cluster."""
    started = time.monotonic()
    made = plan(context, name, options)
    job = _Migrate(context, made, made.volume).run()
    return MigrationReport(
        name,
        options.cluster,
        job,
        made.volume.name,
        made.objects,
        made.size,
        seconds=time.monotonic() - started,
    )


@dataclass(slots=True)
class _Migrate:
    """One run. ``_volume``: the credentials in use, None if they must be renewed."""

    context: CloudContext
    plan: MigratePlan
    _volume: Volume | None

    def run(self) -> str:
        plan, run = self.plan, self.context.run
        run.phase("upload")
        run.emit(WorkPlanned(collection="", objects=plan.objects, size=plan.size))
        self._upload_all()
        run.phase("verify")
        with self._opened() as (storage, volume):
            verify(
                [*self._copies(plan.items, volume), *self._written(volume)],
                listing.by_key(storage, run, volume.prefix),
                where=str(storage.location),
            )
        run.check_cancelled()
        run.phase("start")
        return self._start(volume.name)

    def _start(self, volume: str) -> str:
        """One attempt: after a lost response the migration may be running, and a second one would duplicate the rows."""
        return self.context.cloud.start_migration(volume, self.plan.path, self.plan.cluster)

    def _upload_all(self) -> None:
        rest = iter(self.plan.items)
        with self._opened() as (storage, volume):
            present = listing.by_key(storage, self.context.run, volume.prefix)
        while batch := list(islice(rest, self.context.batch)):
            self._renewing(partial(self._upload, batch, present))
        self._renewing(self._write)

    def _renewing(self, upload: Callable[[], None]) -> None:
        try:
            upload()
        except AccessError:
            # They may have expired early; with fresh ones the error is final.
            self._volume = None
            upload()

    def _write(self) -> None:
        with self._opened() as (storage, volume):
            for name, data in self.plan.written.items():
                key = volume.prefix + name
                self.context.run.retry.call(f"write {key}", storage.write, key, [data], size=len(data))

    def _upload(self, batch: list[ObjectInfo], present: dict[str, ObjectInfo]) -> None:
        context = self.context
        with (
            self._opened() as (storage, volume),
            Transfer(
                source=context.backup_storage,
                destination=storage,
                run=context.run,
                # The volume's credentials are of the hour, and only this process can renew them.
                limits=context.limits.transfer.here,
            ) as transfer,
        ):
            transfer.copy(self._copies(batch, volume), collection="", present=present)

    def _copies(self, items: Iterable[ObjectInfo], volume: Volume) -> list[CopyItem]:
        return [CopyItem.of(item, volume.prefix + self.plan.named(item)) for item in items]

    def _written(self, volume: Volume) -> list[CopyItem]:
        keys = ((volume.prefix + name, len(data)) for name, data in self.plan.written.items())
        return [CopyItem(source_key=key, key=key, size=size) for key, size in keys]

    @contextmanager
    def _opened(self) -> Iterator[tuple[Storage, Volume]]:
        volume = self._current()
        storage = self.context.open_volume(volume)
        try:
            yield storage, volume
        finally:
            storage.close()

    def _current(self) -> Volume:
        volume = self._volume
        if volume is None or (volume.expires is not None and volume.expires - MARGIN < _now(volume.expires)):
            volume = self.context.run.retry.call(
                "request a volume", self.context.cloud.apply_volume, self.plan.cluster, self.plan.path
            )
            self._volume = volume
        return volume


def _now(like: datetime) -> datetime:
    return datetime.now(UTC) if like.tzinfo else datetime.now(UTC).replace(tzinfo=None)


def _require_room(volume: Volume, objects: int, size: int) -> None:
    if volume.max_objects and objects > volume.max_objects:
        raise StorageFull(
            "volume {volume} takes at most {max_objects} objects, the backup has {objects}",
            code="volume-objects-exceeded",
            volume=volume.name,
            max_objects=volume.max_objects,
            objects=objects,
        )
    if volume.max_size and size > volume.max_size:
        raise StorageFull(
            "volume {volume} takes at most {max_size} bytes, the backup has {size}",
            code="volume-size-exceeded",
            volume=volume.name,
            max_size=volume.max_size,
            size=size,
        )
