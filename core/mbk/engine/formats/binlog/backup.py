"""Backing up one collection: flush, list the segments, copy and verify them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from msgspec.structs import replace as replace_fields

from mbk.engine.backup.flush import ConsistencyPoints, Taken
from mbk.engine.backup.gc_pause import Lease
from mbk.engine.backup.point import PointTaker
from mbk.engine.formats.binlog.details import SegmentDetails
from mbk.engine.formats.binlog.discover import SegmentFiles, SegmentGone, discover
from mbk.engine.formats.binlog.groups import OBJECTS, PAGE, WIDE, Group, grouped, listed
from mbk.engine.formats.binlog.orphans import SegmentUnclear
from mbk.engine.formats.binlog.reusing import Reuse
from mbk.engine.formats.binlog.versions import refuse_manifests
from mbk.engine.repository.collections import CollectionBackup, collection_record, label_of, partition_records
from mbk.engine.repository.pool.identity import source_of
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import Arrived, CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import CollectionNotFound, MilvusError, ObjectNotFound
from mbk.frozen import frozen
from mbk.model.events import WorkPlanned
from mbk.model.layout import DELTA_LOG, INSERT_LOG, BackupLayout
from mbk.model.manifest import PutInPool
from mbk.model.objects import ObjectRecord
from mbk.model.options import Strategy
from mbk.model.records import ALL_PARTITIONS, CollectionSchema
from mbk.model.reports import TransferStats
from mbk.model.selection import CollectionName, Selection
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature, SegmentInfo
from mbk.ports.storage import ObjectInfo

#: Attempts at a collection: compaction may replace segments between listing and copying them.
LISTINGS = 4
#: Segments whose files a server is asked for at once, ahead of copying: some requests, and few enough for memory.
AHEAD = 256


@frozen(kw_only=True)
class CollectionWorker:
    """Backs up one collection a call; several threads may call it.

    ``below``: what the keys that it records are relative to. ``reuse``: of a shared backup, the objects that earlier ones have.
    ``left``: the collections of which an earlier run, of another format, left something in Milvus. ``pause_gc`` pauses
    the garbage collection of a collection, if the server can.
    """

    context: ClusterContext
    place: BackupLayout
    transfer: Transfer
    segment_pool: Pool
    spool: SegmentSpool
    points: ConsistencyPoints
    details: SegmentDetails
    pause_gc: Callable[[int], AbstractContextManager[Lease | None]]
    selection: Selection
    task: str
    resume: bool
    left: tuple[str, ...] = ()
    below: str
    reuse: Reuse | None

    @property
    def stats(self) -> TransferStats:
        return self.transfer.stats

    @property
    def run(self) -> Run:
        return self.context.run

    @property
    def milvus(self) -> Milvus:
        return self.context.milvus

    def back_up(self, info: CollectionInfo) -> CollectionBackup:
        started = time.monotonic()
        label = label_of(info)
        backup = CollectionBackup.begun(info, task=self.task)
        objects = 0
        if self.points.strategy is not Strategy.META_ONLY:
            objects = self._data(info, backup, label)
        backup.end(objects=objects, seconds=time.monotonic() - started)
        return backup

    def _data(self, info: CollectionInfo, backup: CollectionBackup, label: str) -> int:
        with self.pause_gc(info.id) as lease:
            taken = self.points.take_listed(info, backup.record)
            self.run.phase("copy", label)
            taken, objects = self._copied(info, backup, label, taken)
            backup.protection = replace_fields(taken.protection, gc_paused=bool(lease))
        self._follow_schema(info, backup, label)
        if taken.rows is not None and not self.selection.narrows(CollectionName(info.database, info.name)):
            backup.rows = taken.rows if taken.rows == self.points.count(info) else None
        return objects

    def _copied(
        self, info: CollectionInfo, backup: CollectionBackup, label: str, taken: Taken
    ) -> tuple[Taken, int]:
        """Copies the segments of the point; if they are gone, those of a new point, which is returned.

        Another list at the same point would not do: a compaction may have applied newer deletes to what it names.
        """
        for attempt in range(1, LISTINGS + 1):
            segments = list(taken.segments or ())
            refuse_manifests(segments, f"a segment of {label}")
            segments = self._chosen(info, backup, segments)
            try:
                return taken, self._copy(info, backup, label, segments, keep=self.resume or attempt > 1)
            except (SegmentGone, SegmentUnclear, ObjectNotFound) as changed:
                if attempt == LISTINGS:
                    raise
                self.run.notice(
                    "segments-replaced",
                    "{collection}: segments changed while being copied: {reason}",
                    collection=label,
                    reason=changed.message,
                )
                backup.replaced = True
                self.spool.drop(info.id)
                self.run.sleep(self.context.pace.listing * attempt)
                taken = self.points.take_listed(info, backup.record, again=True)
                self.run.phase("copy", label)
        raise AssertionError("unreachable")

    def _chosen(
        self, info: CollectionInfo, backup: CollectionBackup, segments: list[SegmentInfo]
    ) -> list[SegmentInfo]:
        """The segments of the chosen partitions, and the L0 segments of all partitions.

        A partition created after the collection was described has segments too; they must not be lost. A collection
        without segments may have been dropped and created again under the same name.
        """
        name = CollectionName(info.database, info.name)
        known = {part.partition_id for part in backup.partitions} | {ALL_PARTITIONS}
        unknown = {segment.partition_id for segment in segments} - known
        if segments and not unknown:
            return segments
        again = self._described(info)
        if lost := unknown - {part.id for part in again.partitions}:
            raise MilvusError(
                "{collection}: partition {partition} was dropped during the backup",
                code="partition-dropped",
                collection=label_of(info),
                partition=min(lost),
                hint="run the backup again",
            )
        backup.partitions += [
            part
            for part in partition_records(again)
            if part.partition_id not in known and self.selection.wants_partition(name, part.partition_name)
        ]
        chosen = {part.partition_id for part in backup.partitions} | {ALL_PARTITIONS}
        return [segment for segment in segments if segment.partition_id in chosen]

    def _described(self, info: CollectionInfo) -> CollectionInfo:
        """The current description; `CollectionNotFound` also if the collection was dropped and created again."""
        again = self.run.retry.call(
            f"describe {label_of(info)}", self.milvus.inventory.describe, info.database, info.name
        )
        if again.id != info.id:
            raise CollectionNotFound(
                "collection {collection} was dropped and created again during the backup",
                code="collection-recreated",
                collection=label_of(info),
                hint="run the backup again",
            )
        return again

    def _follow_schema(self, info: CollectionInfo, backup: CollectionBackup, label: str) -> None:
        """Fields added during the backup may be in the segments already, so the schema must have them."""
        if Feature.ADD_FIELD not in self.milvus.features or backup.record.schema is None:
            return
        try:
            again = self._described(info)
        except CollectionNotFound:
            return  # dropped after everything was copied
        before = backup.record.schema
        known = _names(before)
        added = [name for number, name in _names(again.schema).items() if number not in known]
        if added or again.schema.enable_dynamic_field != before.enable_dynamic_field:
            names = ", ".join(added) or "the dynamic field"
            self.run.notice(
                "schema-changed",
                "{collection}: fields added during the backup: {fields}",
                collection=label,
                fields=names,
            )
            hidden = [item for item in before.fields if item.is_dynamic]
            schema = replace_fields(again.schema, fields=[*again.schema.fields, *hidden])
            backup.record.schema = collection_record(replace(again, schema=schema), task=self.task).schema

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
        objects, lock, fields = 0, threading.Lock(), stored_fields(info)
        added, added_size = 0, 0
        backup.segments.clear()

        def one(group: Group) -> None:
            nonlocal objects, added, added_size
            for part, files in self._files(group, fields):
                copied = self._copy_group(part, files, label, keep=keep)
                with lock:
                    added += len(copied)
                    added_size += sum(item.size for item in copied)
                    objects += sum(len(segment.items) for segment in files)
                    for segment in files:
                        sizes[segment.record.partition_id] += segment.record.size
                        backup.segments.add(segment.record.segment_id)

        self.segment_pool.run(one, self._groups(info, segments, fields))
        for part in backup.partitions:
            part.size = sizes[part.partition_id]
        backup.record.size = sum(sizes.values())
        backup.added = PutInPool(objects=added, size=added_size)
        return objects

    def _groups(
        self, info: CollectionInfo, segments: Sequence[SegmentInfo], fields: frozenset[int]
    ) -> Iterator[Group]:
        """Drawn while earlier ones are copied; of a server that lists files, these are asked for as they are needed."""
        context, logs = self.context, self._logs(info, segments, fields)
        storages, pages = (context.storage, context.backup_storage), 1 if self.reuse is None else WIDE
        groups = grouped(info.id, segments, *storages, logs=logs, pages=pages)
        for some in _batches(groups):
            found = self.details.complete(info, [segment for group in some for segment in group.segments])
            whole = {segment.id: segment for segment in found}
            for group in some:
                yield replace(group, segments=[whole[segment.id] for segment in group.segments])

    def _logs(self, info: CollectionInfo, segments: Sequence[SegmentInfo], fields: frozenset[int]) -> int:
        """How many logs a segment has about: one a field, or as one in the middle where there are many segments."""
        least = len(fields)
        if len(segments) * least <= PAGE:
            return least
        one = segments[len(segments) // 2]
        group, storage = Group(info.id, one.partition_id, [one]), self.context.storage
        [(_, found)] = listed(storage, self.run, storage.location.root, group, inserts=not one.is_l0)
        return max(least, len(found[one.id].inserts) + len(found[one.id].deltas))

    def _files(self, group: Group, fields: frozenset[int]) -> Iterator[tuple[Group, list[SegmentFiles]]]:
        storage, run = self.context.storage, self.run
        inserts = not all(segment.is_l0 for segment in group.segments)
        most = OBJECTS if self.reuse is None else 2 * WIDE * PAGE
        for part, logs in listed(storage, run, storage.location.root, group, inserts=inserts, most=most):
            found = (
                discover(storage, self.place, part.collection, segment, logs[segment.id], run, fields=fields)
                for segment in part.segments
            )
            yield part, [files for files in found if files is not None]

    def _copy_group(
        self, group: Group, files: Sequence[SegmentFiles], label: str, *, keep: bool
    ) -> list[CopyItem]:
        """Returns what was copied of the group: the rest is in an earlier backup already."""
        whole = [item for segment in files for item in segment.items]
        self.run.emit(
            WorkPlanned(collection=label, objects=len(whole), size=sum(item.size for item in whole))
        )
        reused = dict[str, ObjectRecord]()
        if self.reuse is not None:
            for segment in files:
                reused |= self.reuse.of(segment, label)
        items = [item for item in whole if item.key not in reused]
        arrived = iter(self._arrived(group, files, items, label, keep=keep) if items else ())
        for segment in files:
            self.spool.add(
                segment.record,
                [reused.get(item.key) or self._recorded(next(arrived)) for item in segment.items],
            )
        return items

    def _arrived(
        self,
        group: Group,
        files: Sequence[SegmentFiles],
        items: Sequence[CopyItem],
        label: str,
        *,
        keep: bool,
    ) -> list[Arrived]:
        keys = {item.key for item in items}
        wanted = {
            segment.record.segment_id for segment in files if any(item.key in keys for item in segment.items)
        }
        group = replace(group, segments=[segment for segment in group.segments if segment.id in wanted])
        return self.transfer.arrive(
            items,
            collection=label,
            present=self._present(group, items) if keep else {},
            listed=lambda: self._present(group, items),
        )

    def _recorded(self, arrived: Arrived) -> ObjectRecord:
        entry = arrived.recorded(self.below)
        if self.reuse is None:
            return entry
        return replace_fields(entry, source=source_of(arrived.item, entry.digests))

    def _present(self, group: Group, items: Sequence[CopyItem]) -> dict[str, ObjectInfo]:
        """The objects that the backup has of these segments, by key."""
        start = len(self.place.data_prefix)
        kinds = {item.key[start : item.key.index("/", start)] for item in items}
        found = listed(
            self.context.backup_storage,
            self.run,
            self.place.data_prefix,
            group,
            inserts=INSERT_LOG in kinds,
            deltas=DELTA_LOG in kinds,
        )
        return {
            entry.key: entry
            for _, segments in found
            for logs in segments.values()
            for entry in (*logs.inserts, *logs.deltas)
        }


def _batches(groups: Iterable[Group]) -> Iterator[list[Group]]:
    """Of so many groups that they have `AHEAD` segments. Groups are made of all segments: batches of these would be listed
    by less than what their neighbours have in common."""
    batch, count = list[Group](), 0
    for group in groups:
        batch.append(group)
        count += len(group.segments)
        if count >= AHEAD:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def segments_now(context: ClusterContext, info: CollectionInfo) -> list[SegmentInfo]:
    """The collection's flushed segments, as Milvus lists them now."""
    return list(PointTaker(context.milvus, context.run).listed(info))


def stored_fields(info: CollectionInfo) -> frozenset[int]:
    """Fields that every segment has a column for: row id, timestamp, and all that were not added later.

    Only a nullable field can be added to a collection that has rows (or ``$meta``, which is not in the schema).
    """
    required = (item.field_id for item in info.schema.fields if not (item.nullable or item.is_dynamic))
    return frozenset({0, 1, *required})


def _names(schema: CollectionSchema) -> dict[int, str]:
    fields = {item.field_id: item.name for item in schema.fields}
    return fields | {item.field_id: item.name for item in schema.struct_array_fields}
