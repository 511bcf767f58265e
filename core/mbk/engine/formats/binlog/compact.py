"""A new backup of the same rows, without L0 segments.

All other objects are copied, server side if the storage can; the deletes of the L0 segments are written as delta logs of
the data segments whose keys they name. Replicated clusters need that: they stamp imported rows with the time of their
commit, so that an older L0 delete would no longer apply, while delta logs are applied on reading.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import msgspec

from mbk.binlog import deltas
from mbk.binlog.deletes import Deletes
from mbk.engine.formats.base import Estimate
from mbk.engine.formats.binlog.contents import Contents, Reading
from mbk.engine.formats.binlog.inventory import opened, surveyed
from mbk.engine.formats.binlog.known import log_id
from mbk.engine.formats.binlog.places import Place, SegmentPlaces
from mbk.engine.formats.binlog.rows import Source, primary_key
from mbk.engine.formats.binlog.versions import require_rows
from mbk.engine.repository.catalog import Catalog, Committed, begun
from mbk.engine.repository.codec import CollectionParts, head
from mbk.engine.repository.commit import BackupFiles
from mbk.engine.repository.detailed import (
    Detailed,
    DetailedCollection,
    DetailedPartition,
    read_detailed,
)
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.events import CollectionFinished, WorkExpected, WorkPlanned
from mbk.model.layout import BackupLayout
from mbk.model.manifest import now
from mbk.model.records import (
    DEFAULT_DATABASE,
    Binlog,
    CollectionHead,
    FieldBinlog,
    PartitionHead,
    Segment,
)
from mbk.model.reports import CollectionOutcome, TransferStats
from mbk.model.states import CollectionState

#: Segments whose keys are read at once: decoding holds the interpreter lock, and each keeps its keys in memory.
READ = 4


@frozen(kw_only=True)
class BinlogCompaction:
    """One run of `l0compact` on backup ``source``; ``id`` is the new backup's."""

    context: Context
    catalog: Catalog
    source: str
    committed: Committed
    backup: Detailed
    found: Mapping[int, SegmentPlaces]
    full: bool
    id: str

    @classmethod
    def of(cls, context: Context, catalog: Catalog, source: str, *, full: bool) -> BinlogCompaction:
        """Raises every refusal that can be known before anything is written or deleted. ``full``: every copy is read back."""
        backup = read_detailed(catalog, source)
        for collection in backup.collections():
            require_rows(collection.segments(), _label(collection))
            primary_key(collection.schema, _label(collection))
        committed = catalog.committed(source)
        return cls(
            context=context,
            catalog=catalog,
            source=source,
            committed=committed,
            backup=backup,
            found=surveyed(context.backup_storage, context.run, catalog, committed),
            full=full,
            id=str(uuid.uuid4()),
        )

    @property
    def milvus_version(self) -> str:
        return self.backup.extras.milvus_version

    def estimate(self) -> dict[str, Estimate]:
        """``db.coll`` -> the objects and rows of its data segments, all of which are copied; delta logs are added."""
        return {_label(collection): _data_of(collection) for collection in self.backup.collections()}

    def run(self, output: str) -> tuple[list[CollectionOutcome], TransferStats]:
        """Writes and commits backup ``output``, whose name is already reserved."""
        context, catalog = self.context, self.catalog
        files = BackupFiles(context.backup_storage, catalog, context.run, output)
        files.defer()
        for label, told in self.estimate().items():
            context.run.emit(WorkExpected(collection=label, objects=told.objects, size=told.size))
        with (
            SegmentSpool() as spool,
            opened(catalog, self.committed, context.backup_storage.location) as inventory,
            Pool(context.run.budget.readers, context.run.cancelled, name="mbk-verify") as pool,
            Transfer(
                source=context.backup_storage,
                destination=context.backup_storage,
                run=context.run,
                limits=context.limits.transfer,
                records=True,
                full=self.full,
            ) as transfer,
        ):
            worker = _Worker(
                context=context,
                task=self.id,
                source=self.committed,
                destination=catalog.layout(output),
                transfer=transfer,
                spool=spool,
                reading=Reading(
                    storage=context.backup_storage, run=context.run, inventory=inventory, pool=pool
                ),
                found=self.found,
                numbers=count(1 + max(map(log_id, _logs(self.backup)), default=0)),
            )
            done = [worker.compact(collection) for collection in self.backup.collections()]
            transfer.tell_unproven()
            self._commit(files, [parts for parts, _ in done], spool)
            return [outcome for _, outcome in done], transfer.stats

    def _commit(self, files: BackupFiles, parts: list[CollectionParts], spool: SegmentSpool) -> None:
        self.context.run.phase("commit")
        extras = msgspec.structs.replace(
            self.backup.extras,
            id=self.id,
            name=files.name,
            format="" if self.committed.is_shared else self.backup.extras.format,
            size=sum(collection.size for collection, _ in parts),
        )
        source = self.catalog.read_manifest(self.source)
        made = begun(self.committed.stored, source)
        started = made.isoformat(timespec="seconds") if made else now()
        # The rows, the deletes and their times are the source's, and so is the point at which a restore cuts. A new time
        # would make old rows the newest backup, for which a prune lets newer ones go.
        manifest = msgspec.structs.replace(
            self.catalog.read_manifest(files.name),
            started=started,
            finished=source.finished or started,
            protection=source.protection,
        )
        files.commit(extras, manifest, parts, spool)


@dataclass(slots=True, kw_only=True)
class _Worker:
    """Compacts one collection after the other. ``numbers`` are log ids that the backup does not use."""

    context: Context
    task: str
    source: Committed
    destination: BackupLayout
    transfer: Transfer
    spool: SegmentSpool
    reading: Reading
    found: Mapping[int, SegmentPlaces]
    numbers: Iterator[int]
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _folded: Counter[str] = field(default_factory=Counter, init=False)
    _contents: Contents = field(init=False)

    def compact(self, collection: DetailedCollection) -> tuple[CollectionParts, CollectionOutcome]:
        started, label = time.monotonic(), _label(collection)
        run = self.context.run
        located = self.found[collection.collection_id]
        self._contents = self.reading.of(collection.collection_id, located)
        self._folded.clear()
        run.phase("copy", label)
        objects = self._copy(
            [item for item in collection.segments() if not _is_l0(item, located)], located, label
        )
        run.phase("fold", label)
        for partition in collection.partition_backups:
            self._compact(collection, partition, located)
        collection.l0_segments = []
        collection.size = sum(partition.size for partition in collection.partition_backups)
        collection.id = self.task
        for segment in collection.segments():
            self.spool.add(segment, ())
        partitions = [head(partition, PartitionHead) for partition in collection.partition_backups]
        note = f"{self._folded['deletes']} deletes written to {self._folded['segments']} segments"
        outcome = CollectionOutcome(
            label,
            label,
            CollectionState.DONE,
            objects=objects + self._folded["segments"],
            size=collection.size,
            seconds=time.monotonic() - started,
            notes=(note,),
        )
        run.emit(CollectionFinished(collection=label, outcome=CollectionState.DONE))
        return (head(collection, CollectionHead), partitions), outcome

    # -- copying -------------------------------------------------------------------------------------------------

    def _copy(self, segments: list[Segment], located: SegmentPlaces, label: str) -> int:
        def one(segment: Segment) -> int:
            place = located.places.get(segment.segment_id, Place())
            self._contents.require([(segment.segment_id, place)])
            items = [*self._items(place.insert), *(item for one in place.deltas for item in self._items(one))]
            size = sum(item.size for item in items)
            self.context.run.emit(WorkPlanned(collection=label, objects=len(items), size=size))
            moved = {self._moved(prefix) for prefix in (place.insert, *place.deltas) if prefix}
            arrived = self.transfer.arrive(
                items,
                collection=label,
                present={},
                listed=lambda: listing.by_key(self.context.backup_storage, self.context.run, *moved),
            )
            objects = [item.recorded(self.destination.prefix) for item in arrived]
            self.spool.add_objects(segment.collection_id, objects)
            return len(items)

        with Pool(self.context.run.budget.segments, self.context.run.cancelled, name="mbk-segment") as pool:
            return sum(pool.map(one, segments))

    def _items(self, prefix: str) -> Iterator[CopyItem]:
        for entry in self._source.entries(prefix):
            yield CopyItem.of(entry, self._moved(entry.key))

    def _moved(self, key: str) -> str:
        return self.destination.prefix + self.source.classic_name(key) if key else ""

    @property
    def _source(self) -> Source:
        return Source(self.context.backup_storage, self.context.run, self._contents)

    # -- folding -------------------------------------------------------------------------------------------------

    def _compact(
        self, collection: DetailedCollection, partition: DetailedPartition, located: SegmentPlaces
    ) -> None:
        """Removes the L0 segments from a partition and writes their deletes to the remaining segments."""
        kept = [segment for segment in partition.segment_backups if not _is_l0(segment, located)]
        gone = [segment for segment in partition.segment_backups if _is_l0(segment, located)]
        places = [
            place
            for segment in (*gone, *collection.l0_segments)
            if (place := located.places.get(segment.segment_id)) and place.delta
        ]
        partition.segment_backups = kept
        if kept and places:
            self._fold(collection, kept, places, located)
        partition.size = sum(segment.size for segment in kept)

    def _fold(
        self, collection: DetailedCollection, segments: list[Segment], l0: list[Place], located: SegmentPlaces
    ) -> None:
        label = _label(collection)
        key = primary_key(collection.schema, label)
        deletes = Deletes(lambda: chain.from_iterable(map(self._source.deletes, l0)))

        def one(segment: Segment) -> None:
            place = located.places.get(segment.segment_id, Place())
            if place.insert:
                # A restore may truncate at the consistency point: a newer delete must not hide older ones of its key.
                matching = deletes.all_matching(self._source.keys(segment, place, key))
                if matching.num_rows:
                    self._write(segment, place, matching, label)

        one(segments[0])  # reads the deletes that the others share
        with Pool(READ, self.context.run.cancelled, name="mbk-fold") as pool:
            pool.run(one, segments[1:])

    def _write(self, segment: Segment, place: Place, matching: Any, label: str) -> None:
        with self._lock:
            log = next(self.numbers)
        data = deltas.encode(
            matching,
            collection=segment.collection_id,
            partition=segment.partition_id,
            segment=segment.segment_id,
        )
        key = f"{self._delta_prefix(place)}{log}"
        made = self.transfer.made(key, data, collection=label).recorded(self.destination.prefix)
        if not segment.deltalogs:
            segment.deltalogs = [FieldBinlog()]
        segment.deltalogs[0].binlogs.append(Binlog(log_path=key, log_size=len(data), log_id=log))
        segment.size += len(data)
        self.spool.add_objects(segment.collection_id, [made])
        with self._lock:
            self._folded += Counter(deletes=matching.num_rows, segments=1)

    def _delta_prefix(self, place: Place) -> str:
        """Beside the segment's own delta logs; if it has none, derived from its insert logs (old layouts differ)."""
        if place.delta:
            return self._moved(place.delta)
        data = self.destination.data_prefix
        rest = self._moved(place.insert).removeprefix(f"{data}{layout.INSERT_LOG}/")
        return f"{data}{layout.DELTA_LOG}/{rest}"


def _is_l0(segment: Segment, located: SegmentPlaces) -> bool:
    """Also a segment without insert logs: tools recorded L0 segments that way before they supported them."""
    place = located.places.get(segment.segment_id, Place())
    return segment.is_l0 or bool(place.delta and not place.insert)


def _label(collection: CollectionHead) -> str:
    return f"{collection.db_name or DEFAULT_DATABASE}.{collection.collection_name}"


def _data_of(collection: DetailedCollection) -> Estimate:
    segments = [segment for segment in collection.segments() if not segment.is_l0]
    logs = [log for item in segments for lists in (*item.binlogs, *item.deltalogs) for log in lists.binlogs]
    return Estimate(
        objects=len(logs),
        size=sum(log.log_size for log in logs),
        rows=sum(segment.num_of_rows for segment in segments),
    )


def _logs(backup: Detailed) -> Iterator[Binlog]:
    for collection in backup.collections():
        for segment in collection.segments():
            for logs in (*segment.binlogs, *segment.deltalogs):
                yield from logs.binlogs
