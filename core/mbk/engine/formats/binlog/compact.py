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
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import msgspec

from mbk.binlog import deltas
from mbk.binlog.deletes import Deletes
from mbk.engine.formats.base import Estimate
from mbk.engine.formats.binlog.places import Place, SegmentPlaces, scan
from mbk.engine.formats.binlog.rows import Source, primary_key
from mbk.engine.formats.binlog.versions import require_rows
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.codec import CollectionParts, head
from mbk.engine.repository.commit import BackupFiles
from mbk.engine.repository.detailed import (
    Detailed,
    DetailedCollection,
    DetailedPartition,
    as_collection,
    read_detailed,
)
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.pool import Pool
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.engine.transfer.verify import verify
from mbk.errors import VerificationFailed
from mbk.model import layout
from mbk.model.events import CollectionFinished, WorkPlanned
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BinlogCompaction:
    """One run of `l0compact` on backup ``source``; ``id`` is the new backup's."""

    context: Context
    catalog: Catalog
    source: str
    backup: Detailed
    id: str

    @classmethod
    def of(cls, context: Context, catalog: Catalog, source: str) -> BinlogCompaction:
        """Raises every refusal that can be known before anything is written or deleted."""
        backup = read_detailed(catalog, source)
        for collection in backup.collections():
            require_rows(collection.segments(), _label(collection))
            primary_key(collection.schema, _label(collection))
        return cls(context=context, catalog=catalog, source=source, backup=backup, id=str(uuid.uuid4()))

    @property
    def milvus_version(self) -> str:
        return self.backup.extras.milvus_version

    def estimate(self) -> dict[str, Estimate]:
        """``db.coll`` -> the objects and rows of its data segments, all of which are copied; delta logs are added."""
        return {_label(collection): _data_of(collection) for collection in self.backup.collections()}

    def run(self, output: str) -> tuple[list[CollectionOutcome], TransferStats]:
        """Writes and commits backup ``output``, whose name is already reserved."""
        context, catalog = self.context, self.catalog
        with (
            SegmentSpool() as spool,
            Transfer(
                source=context.backup_storage,
                destination=context.backup_storage,
                run=context.run,
                limits=context.limits.transfer,
            ) as transfer,
        ):
            worker = _Worker(
                context=context,
                task=self.id,
                source=catalog.layout(self.source),
                destination=catalog.layout(output),
                transfer=transfer,
                spool=spool,
                numbers=count(1 + max(map(_log_id, _logs(self.backup)), default=0)),
            )
            done = [worker.compact(collection) for collection in self.backup.collections()]
            self._commit(output, [parts for parts, _ in done], spool)
            return [outcome for _, outcome in done], transfer.stats

    def _commit(self, output: str, parts: list[CollectionParts], spool: SegmentSpool) -> None:
        self.context.run.phase("commit")
        extras = msgspec.structs.replace(
            self.backup.extras,
            id=self.id,
            name=output,
            size=sum(collection.size for collection, _ in parts),
        )
        manifest = msgspec.structs.replace(self.catalog.read_manifest(output), finished=now())
        files = BackupFiles(self.context.backup_storage, self.catalog, self.context.run, output)
        files.commit(extras, manifest, parts, spool)


@dataclass(slots=True, kw_only=True)
class _Worker:
    """Compacts one collection after the other. ``numbers`` are log ids that the backup does not use."""

    context: Context
    task: str
    source: BackupLayout
    destination: BackupLayout
    transfer: Transfer
    spool: SegmentSpool
    numbers: Iterator[int]
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _folded: Counter[str] = field(default_factory=Counter, init=False)

    def compact(self, collection: DetailedCollection) -> tuple[CollectionParts, CollectionOutcome]:
        started, label = time.monotonic(), _label(collection)
        run = self.context.run
        located = scan(self.context.backup_storage, self.source, as_collection(collection), run)
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
            self.spool.add(segment)
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
            items = [*self._items(place.insert), *self._items(place.delta)]
            size = sum(item.size for item in items)
            self.context.run.emit(WorkPlanned(collection=label, objects=len(items), size=size))
            self.transfer.copy(items, collection=label, present={})
            moved = [self._moved(prefix) for prefix in (place.insert, place.delta) if prefix]
            present = listing.by_key(self.context.backup_storage, self.context.run, *moved)
            verify(items, present, where=str(self.context.backup_storage.location))
            return len(items)

        with Pool(self.context.run.budget.segments, self.context.run.cancelled, name="mbk-segment") as pool:
            return sum(pool.map(one, segments))

    def _items(self, prefix: str) -> Iterator[CopyItem]:
        for entry in self._source.entries(prefix):
            yield CopyItem.of(entry, self._moved(entry.key))

    def _moved(self, key: str) -> str:
        return self.destination.prefix + key.removeprefix(self.source.prefix) if key else ""

    @property
    def _source(self) -> Source:
        return Source(self.context.backup_storage, self.context.run)

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
        key = primary_key(collection.schema, _label(collection))
        deletes = Deletes(lambda: chain.from_iterable(map(self._source.deletes, l0)))

        def one(segment: Segment) -> None:
            place = located.places.get(segment.segment_id, Place())
            if place.insert:
                # A restore may truncate at the consistency point: a newer delete must not hide older ones of its key.
                matching = deletes.all_matching(self._source.keys(segment, place, key))
                if matching.num_rows:
                    self._write(segment, place, matching)

        one(segments[0])  # reads the deletes that the others share
        with Pool(READ, self.context.run.cancelled, name="mbk-fold") as pool:
            pool.run(one, segments[1:])

    def _write(self, segment: Segment, place: Place, matching: Any) -> None:
        storage, run = self.context.backup_storage, self.context.run
        with self._lock:
            log = next(self.numbers)
        data = deltas.encode(
            matching,
            collection=segment.collection_id,
            partition=segment.partition_id,
            segment=segment.segment_id,
        )
        key = f"{self._delta_prefix(place)}{log}"
        run.retry.call(f"write {key}", storage.write, key, [data], size=len(data))
        size = run.retry.call(f"stat {key}", storage.stat, key).size
        if size != len(data):
            raise VerificationFailed(
                "{key} in {location} has {size} bytes after writing {expected}",
                code="write-size-differs",
                key=key,
                size=size,
                location=storage.location,
                expected=len(data),
                hint="another process may be writing there; run again with --force",
            )
        if not segment.deltalogs:
            segment.deltalogs = [FieldBinlog()]
        segment.deltalogs[0].binlogs.append(Binlog(log_path=key, log_size=len(data), log_id=log))
        segment.size += len(data)
        with self._lock:
            self._folded += Counter(deletes=matching.num_rows, segments=1)

    def _delta_prefix(self, place: Place) -> str:
        """Beside the segment's own delta logs; if it has none, derived from its insert logs (old layouts differ)."""
        if place.delta:
            return self._moved(place.delta)
        rest = place.insert.removeprefix(f"{self.source.data_prefix}{layout.INSERT_LOG}/")
        return f"{self.destination.data_prefix}{layout.DELTA_LOG}/{rest}"


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


def _log_id(log: Binlog) -> int:
    """Old writers recorded only the path (docs/reference/backup-format.md#older-backups)."""
    name = log.log_path.rpartition("/")[2]
    return log.log_id or (int(name) if name.isdecimal() else 0)
