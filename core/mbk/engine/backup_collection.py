"""Backing up one collection: flush, list the segments, copy and verify them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from mbk.engine.discover import SegmentFiles, SegmentGone, discover
from mbk.engine.pool import Pool
from mbk.engine.run import Run
from mbk.engine.spool import SegmentSpool
from mbk.engine.survey import add_flush_point, collection_record, partition_records
from mbk.engine.transfer import Transfer
from mbk.errors import MbkError, MilvusError, ObjectNotFound, VerificationFailed
from mbk.model.backup import DONE, CollectionOutcome
from mbk.model.events import WorkPlanned
from mbk.model.layout import BackupLayout, segment_prefixes
from mbk.model.meta import ALL_PARTITIONS, CollectionHead, PartitionHead
from mbk.model.options import Strategy
from mbk.model.plan import CopyItem
from mbk.ports.milvus import CollectionInfo, Feature, Milvus, SegmentInfo
from mbk.ports.storage import Storage

#: How often the list of segments is asked for anew when compaction replaced some of them meanwhile.
LISTINGS = 4
#: Segments whose files are known ahead of copying: enough for honest totals, few enough for memory.
AHEAD = 256


@dataclass(slots=True)
class CollectionBackup:
    """One collection as it stands in the backup. ``rows`` is exact, or None where it could not be counted so.

    ``replaced``: Milvus exchanged segments meanwhile, so objects of the old ones may lie in the backup.
    """

    record: CollectionHead
    partitions: list[PartitionHead]
    outcome: CollectionOutcome
    rows: int | None = None
    segments: set[int] = field(default_factory=set)
    replaced: bool = False


@dataclass(frozen=True, slots=True)
class CollectionWorker:
    """Backs up collections one by one; several threads may use it at once."""

    milvus: Milvus
    source: Storage
    destination: Storage
    place: BackupLayout
    transfer: Transfer
    segment_pool: Pool
    spool: SegmentSpool
    run: Run
    strategy: Strategy
    task: str
    resume: bool

    def back_up(self, info: CollectionInfo) -> CollectionBackup:
        started = time.monotonic()
        label = f"{info.database}.{info.name}"
        backup = CollectionBackup(
            collection_record(info, task=self.task),
            partition_records(info),
            CollectionOutcome(label, label, DONE),
        )
        objects = 0
        if self.strategy is not Strategy.META_ONLY:
            # What is not flushed is counted but not copied.
            before = None if self.strategy is Strategy.SKIP_FLUSH else self._count(info)
            self._flush(info, backup.record, label)
            objects = self._data(info, backup, label)
            backup.rows = before if before is not None and before == self._count(info) else None
        backup.outcome = CollectionOutcome(
            label,
            label,
            DONE,
            objects=objects,
            size=backup.record.size,
            rows_expected=backup.rows,
            seconds=time.monotonic() - started,
        )
        return backup

    def _count(self, info: CollectionInfo) -> int | None:
        """The live rows, only to compare with after a restore: a server that cannot tell is no obstacle."""
        try:
            return self.milvus.row_count(info.database, info.name)
        except MbkError:
            return None

    def _flush(self, info: CollectionInfo, record: CollectionHead, label: str) -> None:
        if self.strategy is Strategy.SKIP_FLUSH:
            return
        self.run.phase("flush", label)
        if Feature.FLUSHES_DELETES not in self.milvus.features:
            self.run.notice(
                "deletes-not-flushed",
                f"Milvus {self.milvus.version} does not persist deletes when it flushes: rows deleted "
                "shortly before the backup may come back",
            )
        point = self.run.retry.call(
            f"flush {label}", lambda: self.milvus.flush(info.database, info.name, sleep=self.run.sleep)
        )
        add_flush_point(record, point)

    def _data(self, info: CollectionInfo, backup: CollectionBackup, label: str) -> int:
        self.run.phase("copy", label)
        for listing in range(1, LISTINGS + 1):
            segments = self.run.retry.call(
                f"list segments of {label}", lambda: self.milvus.segments(info.database, info.name)
            )
            self._add_new_partitions(info, backup, segments)
            try:
                return self._copy(info, backup, label, segments, keep=self.resume or listing > 1)
            except (SegmentGone, ObjectNotFound) as gone:
                if listing == LISTINGS:
                    raise
                self.run.notice(
                    "segments-replaced", f"{label}: segments changed while being copied: {gone.message}"
                )
                backup.replaced = True
                self.spool.drop(info.id)
                self.run.sleep(0.5 * listing)
        raise AssertionError("unreachable")

    def _add_new_partitions(
        self, info: CollectionInfo, backup: CollectionBackup, segments: list[SegmentInfo]
    ) -> None:
        """A partition made after the collection was described has segments too; they must not be lost."""

        def unknown() -> set[int]:
            known = {part.partition_id for part in backup.partitions} | {ALL_PARTITIONS}
            return {segment.partition_id for segment in segments} - known

        if unknown():
            again = self.milvus.describe(info.database, info.name)
            known = {part.partition_id for part in backup.partitions}
            backup.partitions += [part for part in partition_records(again) if part.partition_id not in known]
        if unknown():
            raise MilvusError(
                f"{info.database}.{info.name}: partition {min(unknown())} has segments but no name",
                hint="it was dropped during the backup; run again",
            )

    def _copy(
        self,
        info: CollectionInfo,
        backup: CollectionBackup,
        label: str,
        segments: list[SegmentInfo],
        *,
        keep: bool,
    ) -> int:
        sizes = dict.fromkeys((part.partition_id for part in backup.partitions), 0) | {ALL_PARTITIONS: 0}
        objects, lock = 0, threading.Lock()
        backup.segments.clear()

        def one(files: SegmentFiles) -> None:
            nonlocal objects
            self._copy_segment(files, label, keep=keep)
            with lock:
                objects += len(files.items)
                sizes[files.record.partition_id] += files.record.size
                backup.segments.add(files.record.segment_id)

        for files in self._ahead(info, label, segments):
            self.segment_pool.run(one, files)
        for part in backup.partitions:
            part.size = sizes[part.partition_id]
        backup.record.size = sum(sizes.values())
        return objects

    def _ahead(
        self, info: CollectionInfo, label: str, segments: list[SegmentInfo]
    ) -> Iterator[list[SegmentFiles]]:
        source, fields = iter(segments), _stored_fields(info)
        while batch := list(islice(source, AHEAD)):
            found = self.segment_pool.map(
                lambda segment: discover(self.source, self.place, info.id, segment, self.run, fields=fields),
                batch,
            )
            files = [item for item in found if item is not None]
            self.run.emit(
                WorkPlanned(
                    collection=label,
                    objects=sum(len(item.items) for item in files),
                    size=sum(copy.size for item in files for copy in item.items),
                )
            )
            yield files

    def _copy_segment(self, files: SegmentFiles, label: str, *, keep: bool) -> None:
        self.transfer.copy(files.items, collection=label, present=self._present(files) if keep else {})
        verify(files.items, self._present(files), where=str(self.destination.location))
        self.spool.add(files.record)

    def _present(self, files: SegmentFiles) -> dict[str, int]:
        """What the backup holds of this segment: key -> size."""
        record = files.record
        group = "" if record.partition_id == ALL_PARTITIONS else f"{record.segment_id}/"
        prefixes = segment_prefixes(
            self.place.data_prefix, record.collection_id, record.partition_id, record.segment_id
        )
        present: dict[str, int] = {}
        for prefix, logs in zip(prefixes, (record.binlogs, record.deltalogs[0].binlogs), strict=True):
            if not logs:
                continue
            listed = self.run.retry.call(
                f"list {prefix}",
                lambda at=f"{prefix}{group}": [*self.destination.list(at)],  # type: ignore[misc] # bound at once
            )
            present |= {entry.key: entry.size for entry in listed}
        return present


def _stored_fields(info: CollectionInfo) -> frozenset[int]:
    """Fields that every segment has a column of: row id, timestamp, and all that were not added later.

    A field can be added to a collection that has rows only if it is nullable (or is ``$meta``, not in the schema).
    """
    return frozenset({0, 1, *(field.field_id for field in info.schema.fields if not field.nullable)})


def verify(items: list[CopyItem], present: dict[str, int], *, where: str) -> None:
    """Requires every copied object with its exact size; `VerificationFailed` names the first that is not right."""
    for item in items:
        size = present.get(item.key)
        if size != item.size:
            found = "is missing" if size is None else f"has {size} bytes"
            raise VerificationFailed(
                f"{item.key} {found} in {where}, {item.size} bytes were copied",
                hint="run again with --resume; if it stays so, something deletes objects there",
            )
