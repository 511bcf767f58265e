"""The use-case `l0compact`: a new backup of the same rows that has no L0 segments (FORMAT.md 6.3).

Every object but those of L0 segments is copied by the storage itself; the deletes of the L0 segments are written as
delta logs of the data segments whose keys they name. Replicated clusters need that: they stamp imported rows with the
time of their commit, so that an older L0 delete would no longer apply, while delta logs are applied on reading.

The new backup is committed as every other one: our own file first, data, verification, level files, ``full_meta.json``.
Killed before that, it is an incomplete backup, which `delete` removes and ``--force`` replaces.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

from mbk.binlog import deltas
from mbk.binlog.deletes import Deletes
from mbk.engine.formats.binlog.places import Place, SegmentPlaces, scan
from mbk.engine.formats.binlog.rows import Source, primary_key, refuse_manifests
from mbk.engine.repository import codec as metafiles
from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.codec import CollectionParts, head
from mbk.engine.repository.detailed import (
    Detailed,
    DetailedCollection,
    DetailedPartition,
    as_collection,
    read_detailed,
)
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer, TransferLimits
from mbk.engine.transfer.verify import verify
from mbk.errors import BackupExists, UsageError, VerificationFailed
from mbk.model import layout
from mbk.model.events import CollectionFinished, WorkPlanned
from mbk.model.layout import BackupLayout
from mbk.model.manifest import L0COMPACT, now
from mbk.model.records import (
    DEFAULT_DATABASE,
    BackupExtras,
    Binlog,
    CollectionHead,
    FieldBinlog,
    PartitionHead,
    Segment,
)
from mbk.model.reports import CollectionOutcome, RunReport, check_name
from mbk.model.states import CollectionState
from mbk.ports.storage import Storage

#: Segments whose keys are read at once: decoding holds the interpreter, and each holds its keys.
READ = 4


@dataclass(slots=True)
class L0Compact:
    """One run of `l0compact`. ``tool`` is what stands in the new backup as its maker."""

    storage: Storage
    run: Run
    limits: TransferLimits
    tool: str
    _next_log: int = field(default=0, init=False)
    lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def execute(self, source: str, output: str, *, force: bool = False) -> RunReport:
        """Makes backup ``output`` out of ``source``. ``force`` deletes what has that name."""
        check_name(output)
        if output == source:
            raise UsageError(f"backup {source!r} cannot replace itself", hint="choose another name with -o")
        catalog = Catalog(self.storage, self.run)
        self.storage.check()
        with hold(self.storage, output, f"l0compact of {source!r} into {output!r}", self.run):
            return self._execute(catalog, source, output, force=force)

    def _execute(self, catalog: Catalog, source: str, output: str, *, force: bool) -> RunReport:
        started = time.monotonic()
        backup = self._read(catalog, source)
        backup.extras.id = str(uuid.uuid4())
        self._next_log = 1 + max(map(_log_id, _logs(backup)), default=0)
        self._take_name(catalog, source, output, backup.extras.id, force=force)
        with (
            SegmentSpool() as spool,
            Transfer(
                source=self.storage, destination=self.storage, run=self.run, limits=self.limits
            ) as transfer,
        ):
            worker = _Worker(
                self, backup.extras.id, catalog.layout(source), catalog.layout(output), transfer, spool
            )
            done = [worker.compact(collection) for collection in backup.collections()]
            self._commit(catalog, output, backup.extras, [parts for parts, _ in done], spool)
            return RunReport(
                command="l0compact",
                name=output,
                id=backup.extras.id,
                location=f"{self.storage.location}/{output}",
                milvus_version=backup.extras.milvus_version,
                seconds=time.monotonic() - started,
                collections=tuple(outcome for _, outcome in done),
                transfer=transfer.stats,
                notices=tuple(self.run.notices),
            )

    def new_log(self) -> int:
        with self.lock:
            self._next_log += 1
            return self._next_log - 1

    def _read(self, catalog: Catalog, source: str) -> Detailed:
        """All that can be refused is refused here, before anything is written or deleted."""
        catalog.read(source)  # tells what is missing, incomplete, damaged or of an unknown format
        backup = read_detailed(catalog, source)
        if backup.extras.format == "snapshot":
            raise UsageError(
                f"backup {source!r} is a snapshot, which has no L0 segments", hint="restore it as it is"
            )
        for collection in backup.collections():
            refuse_manifests(collection.segments(), _label(collection))
            primary_key(collection.schema, _label(collection))
        return backup

    def _take_name(self, catalog: Catalog, source: str, output: str, task: str, *, force: bool) -> None:
        if catalog.is_taken(output):
            if not force:
                raise BackupExists(
                    f"backup {output!r} exists in {self.storage.location}",
                    hint="choose another name with -o, or replace it with --force",
                )
            catalog.delete(output)
        own = msgspec.structs.replace(
            catalog.read_own(source),
            tool=self.tool,
            id=task,
            name=output,
            started=now(),
            finished="",
            command=L0COMPACT,
            source=source,
        )
        catalog.write_own(output, own)

    def _commit(
        self,
        catalog: Catalog,
        output: str,
        extras: BackupExtras,
        parts: list[CollectionParts],
        spool: SegmentSpool,
    ) -> None:
        self.run.phase("commit")
        place = catalog.layout(output)
        extras.name = output
        extras.size = sum(collection.size for collection, _ in parts)
        own = catalog.read_own(output)
        own.finished = now()
        catalog.write_own(output, own)
        catalog.write(place.meta(layout.BACKUP_META), lambda: metafiles.encode_backup_head(extras))
        catalog.write(place.meta(layout.COLLECTION_META), lambda: metafiles.encode_collections(parts))
        catalog.write(place.meta(layout.PARTITION_META), lambda: metafiles.encode_partitions(parts))
        catalog.write(place.meta(layout.SEGMENT_META), lambda: metafiles.encode_segments(parts, spool))
        self.run.check_cancelled()
        catalog.write(place.meta(layout.FULL_META), lambda: metafiles.encode_full(extras, parts, spool))


@dataclass(slots=True)
class _Worker:
    """Compacts one collection after the other."""

    job: L0Compact
    task: str
    source: BackupLayout
    destination: BackupLayout
    transfer: Transfer
    spool: SegmentSpool
    _folded: Counter[str] = field(default_factory=Counter, init=False)

    def compact(self, collection: DetailedCollection) -> tuple[CollectionParts, CollectionOutcome]:
        started, label = time.monotonic(), _label(collection)
        run = self.job.run
        found = scan(self.job.storage, self.source, as_collection(collection), run)
        self._folded.clear()
        run.phase("copy", label)
        objects = self._copy(
            [item for item in collection.segments() if not _is_l0(item, found)], found, label
        )
        run.phase("fold", label)
        for partition in collection.partition_backups:
            self._compact(collection, partition, found)
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

    def _copy(self, segments: list[Segment], found: SegmentPlaces, label: str) -> int:
        def one(segment: Segment) -> int:
            place = found.places.get(segment.segment_id, Place())
            items = [*self._items(place.insert), *self._items(place.delta)]
            size = sum(item.size for item in items)
            self.job.run.emit(WorkPlanned(collection=label, objects=len(items), size=size))
            self.transfer.copy(items, collection=label, present={})
            moved = [self._moved(prefix) for prefix in (place.insert, place.delta) if prefix]
            present = listing.by_key(self.job.storage, self.job.run, *moved)
            verify(items, present, where=str(self.job.storage.location))
            return len(items)

        with Pool(self.job.run.budget.segments, self.job.run.cancelled, name="mbk-segment") as pool:
            return sum(pool.map(one, segments))

    def _items(self, prefix: str) -> Iterator[CopyItem]:
        for entry in self._source.entries(prefix):
            yield CopyItem.of(entry, self._moved(entry.key))

    def _moved(self, key: str) -> str:
        return self.destination.prefix + key.removeprefix(self.source.prefix) if key else ""

    @property
    def _source(self) -> Source:
        return Source(self.job.storage, self.job.run)

    # -- folding -------------------------------------------------------------------------------------------------

    def _compact(
        self, collection: DetailedCollection, partition: DetailedPartition, found: SegmentPlaces
    ) -> None:
        """Takes the L0 segments out of a partition and writes their deletes to those that are left."""
        kept = [segment for segment in partition.segment_backups if not _is_l0(segment, found)]
        gone = [segment for segment in partition.segment_backups if _is_l0(segment, found)]
        places = [
            place
            for segment in (*gone, *collection.l0_segments)
            if (place := found.places.get(segment.segment_id)) and place.delta
        ]
        partition.segment_backups = kept
        if kept and places:
            self._fold(collection, kept, places, found)
        partition.size = sum(segment.size for segment in kept)

    def _fold(
        self, collection: DetailedCollection, segments: list[Segment], l0: list[Place], found: SegmentPlaces
    ) -> None:
        key = primary_key(collection.schema, _label(collection))
        deletes = Deletes(lambda: chain.from_iterable(map(self._source.deletes, l0)))

        def one(segment: Segment) -> None:
            place = found.places.get(segment.segment_id, Place())
            if place.insert:
                # A restore may cut at the backup's time: older deletes of a key must not hide behind a younger one.
                matching = deletes.all_matching(self._source.keys(segment, place, key))
                if matching.num_rows:
                    self._write(segment, place, matching)

        one(segments[0])  # reads the deletes that the others share
        with Pool(READ, self.job.run.cancelled, name="mbk-fold") as pool:
            pool.run(one, segments[1:])

    def _write(self, segment: Segment, place: Place, matching: Any) -> None:
        job, log = self.job, self.job.new_log()
        data = deltas.encode(
            matching,
            collection=segment.collection_id,
            partition=segment.partition_id,
            segment=segment.segment_id,
        )
        key = f"{self._delta_prefix(place)}{log}"
        job.run.retry.call(f"write {key}", job.storage.write, key, [data], size=len(data))
        size = job.run.retry.call(f"stat {key}", job.storage.stat, key).size
        if size != len(data):
            raise VerificationFailed(
                f"{key} has {size} bytes in {job.storage.location}, {len(data)} were written",
                hint="something else writes there; run again with --force",
            )
        if not segment.deltalogs:
            segment.deltalogs = [FieldBinlog()]
        segment.deltalogs[0].binlogs.append(Binlog(log_path=key, log_size=len(data), log_id=log))
        segment.size += len(data)
        with job.lock:
            self._folded += Counter(deletes=matching.num_rows, segments=1)

    def _delta_prefix(self, place: Place) -> str:
        """Beside the segment's own delta logs; with none, where its insert logs tell (old layouts differ)."""
        if place.delta:
            return self._moved(place.delta)
        rest = place.insert.removeprefix(f"{self.source.data_prefix}{layout.INSERT_LOG}/")
        return f"{self.destination.data_prefix}{layout.DELTA_LOG}/{rest}"


def _is_l0(segment: Segment, found: SegmentPlaces) -> bool:
    """Also what tools recorded as a segment without insert logs, before they knew L0 segments."""
    place = found.places.get(segment.segment_id, Place())
    return segment.is_l0 or bool(place.delta and not place.insert)


def _label(collection: CollectionHead) -> str:
    return f"{collection.db_name or DEFAULT_DATABASE}.{collection.collection_name}"


def _logs(backup: Detailed) -> Iterator[Binlog]:
    for collection in backup.collections():
        for segment in collection.segments():
            for logs in (*segment.binlogs, *segment.deltalogs):
                yield from logs.binlogs


def _log_id(log: Binlog) -> int:
    """Old writers recorded the path alone (FORMAT.md 1.3)."""
    name = log.log_path.rpartition("/")[2]
    return log.log_id or (int(name) if name.isdecimal() else 0)
