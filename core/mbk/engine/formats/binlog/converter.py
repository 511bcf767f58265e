"""Changing segments while they are staged, so that a server older than the backup can import them.

Loads pyarrow: :mod:`mbk.engine.formats.binlog.late` does so when it is needed. Rows pass in batches;
what is held is one chunk of rows, and the deletes that are folded (:class:`mbk.binlog.deletes.Deletes`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mbk.binlog import deltas, inserts, packed
from mbk.binlog.arrow import pa, pc
from mbk.binlog.deletes import Deletes, hits, newest
from mbk.engine.formats.binlog.conversion import Conversion, ConversionJob
from mbk.engine.formats.binlog.places import Place
from mbk.engine.formats.binlog.rows import Source, primary_key, require
from mbk.engine.formats.binlog.versions import PACKED, require_rows
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.engine.transfer.verify import verify
from mbk.errors import InvalidBackup
from mbk.model.events import WorkPlanned
from mbk.model.records import CollectionSchema, SegmentHead
from mbk.ports.storage import Storage

#: So many bytes of rows go into one file of each field.
CHUNK = 32 << 20
#: Log ids are made up: files of a field are paired by the order of their names, so all names have the same length.
FIRST_LOG = 10**18
_JSON = 23
_SYSTEM = {inserts.ROW_ID: (5, False), inserts.TIMESTAMP: (5, False)}
_NO_KEYS = b"{}"


@dataclass(frozen=True, slots=True)
class _Column:
    """A field as it is to be written."""

    data_type: int
    nullable: bool = False
    dynamic: bool = False


@dataclass(slots=True, kw_only=True)
class SegmentConverter:
    """Does jobs. Several threads may use it; they share the deletes that are folded."""

    backup: Storage
    storage: Storage
    run: Run
    transfer: Transfer
    chunk: int = CHUNK
    _deletes: tuple[object, Deletes] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def convert(self, job: ConversionJob) -> Iterable[str]:
        """Writes everything, looks whether it is there, and returns the keys. A segment all of whose deletes are
        younger than the boundary gets no delta log."""
        require_rows(job.segments, job.label)
        written: list[CopyItem] = []
        for segment, place in zip(job.segments, job.places, strict=True):
            items = list(self._segment(job, segment, place))
            prefixes = [f"{prefix}{segment.segment_id}/" for prefix in (job.insert, job.delta) if prefix]
            present = listing.by_key(self.storage, self.run, *prefixes)
            verify(items, present, where=str(self.storage.location))
            written += items
        return [item.key for item in written]

    def _segment(self, job: ConversionJob, segment: SegmentHead, place: Place) -> Iterator[CopyItem]:
        insert, delta = f"{job.insert}{segment.segment_id}/", f"{job.delta}{segment.segment_id}/"
        unpack = Conversion.UNPACK in job.conversion and segment.storage_version >= PACKED
        folds = Conversion.FOLD_L0 in job.conversion and job.folded
        applies = Conversion.APPLY_DELETES in job.conversion and place.delta
        deletes, gone = None, None
        if place.insert and (folds or applies):
            deletes, gone = self._effective(job, segment, place)
        elif self._to_rewrite(job, place):
            deletes = newest(_until(table, job.end_ts) for table in self._source.deletes(place))
        if place.insert and (unpack or gone is not None):
            yield from self._rows(job, segment, place, insert, gone)
        elif place.insert:
            yield from self._copied(job, place.insert, insert)
        if deletes is None:
            yield from self._copied(job, place.delta, delta) if place.delta else ()
        elif deletes.num_rows:
            yield self._delta_log(job, segment, deletes, delta)

    def _copied(self, job: ConversionJob, source: str, target: str) -> list[CopyItem]:
        """What can stay as it is, copied by the storage where it can do that."""
        items = [
            CopyItem.of(entry, f"{target}{entry.key.removeprefix(source)}")
            for entry in self._source.entries(source)
        ]
        self._plan(job, items)
        self.transfer.copy(items, collection=job.label, present={})
        return items

    # -- rows ----------------------------------------------------------------------------------------------------

    def _rows(
        self, job: ConversionJob, segment: SegmentHead, place: Place, target: str, gone: Any
    ) -> Iterator[CopyItem]:
        """One binlog a field for each chunk of rows, without the rows that the deletes ``gone`` hit."""
        key = primary_key(job.schema, job.label).field_id
        read = written = 0
        for chunk in _chunks(self._source.rows(segment, place), self.chunk):
            read += len(chunk[inserts.TIMESTAMP])
            if gone is not None:
                left = pc.invert(hits(chunk[key], chunk[inserts.TIMESTAMP], gone))
                chunk = {number: values.filter(left) for number, values in chunk.items()}
            if len(chunk[inserts.TIMESTAMP]):
                yield from self._binlogs(job, segment, chunk, target, FIRST_LOG + written)
                written += 1
        if segment.num_of_rows not in (0, read):
            raise InvalidBackup(
                "segment {segment_id} of {label} has {read} rows in its objects, {num_of_rows} in the backup's metadata",
                code="segment-rows-objects-backups",
                segment_id=segment.segment_id,
                label=job.label,
                read=read,
                num_of_rows=segment.num_of_rows,
                hint="an object of it is missing",
            )

    def _binlogs(
        self, job: ConversionJob, segment: SegmentHead, chunk: packed.Rows, target: str, log: int
    ) -> Iterator[CopyItem]:
        times = pc.min_max(chunk[inserts.TIMESTAMP]).as_py()
        for number, column in _columns(job.schema, chunk.keys(), segment).items():
            values = chunk[number].fill_null(_NO_KEYS) if column.dynamic else chunk[number]
            data = inserts.encode(
                values,
                collection=segment.collection_id,
                partition=segment.partition_id,
                segment=segment.segment_id,
                field=number,
                data_type=column.data_type,
                span=(times["min"], times["max"]),
                nullable=column.nullable,
            )
            yield self._write(job, f"{target}{number}/{log}", data)

    # -- deletes -------------------------------------------------------------------------------------------------

    def _effective(self, job: ConversionJob, segment: SegmentHead, place: Place) -> tuple[Any, Any]:
        """The deletes to be written beside a segment, and those that are to be carried out on its rows, or None.

        2.2 takes a delete for one of all rows of its key, and 2.3 lets the last one in file order win (milvus:
        internal/util/importutil/binlog_adapter.go, issue 29162; met on a real 2.2.16). So each key stands there once, only
        where it hits; and where a key was deleted and inserted again within one segment, the rows that are gone are left
        out.
        """
        keys, times = self._source.keys_and_times(segment, place, primary_key(job.schema, job.label))
        own = (_until(table, job.end_ts) for table in self._source.deletes(place))
        deletes = newest([*own, self._folded(job).matching(keys)], kind=keys.type)
        hit = hits(keys, times, deletes)
        deleted = pc.unique(keys.filter(hit))
        left = keys.filter(pc.invert(hit))
        deletes = deletes.filter(pc.is_in(deletes.column(deltas.PK), value_set=deleted))
        if pc.any(pc.is_in(left, value_set=deleted)).as_py():
            return deletes.slice(0, 0), deletes
        return deletes, None

    def _delta_log(self, job: ConversionJob, segment: SegmentHead, deletes: Any, target: str) -> CopyItem:
        data = deltas.encode(
            deletes,
            collection=segment.collection_id,
            partition=segment.partition_id,
            segment=segment.segment_id,
        )
        return self._write(job, f"{target}{FIRST_LOG}", data)

    def _to_rewrite(self, job: ConversionJob, place: Place) -> bool:
        if not place.delta:
            return False
        if Conversion.CUT_L0 in job.conversion and job.end_ts and not place.insert:
            return True
        if Conversion.PLAIN_DELTAS not in job.conversion:
            return False
        source = self._source
        return not all(deltas.is_plain(source.blob(entry)) for entry in source.entries(place.delta))

    def _folded(self, job: ConversionJob) -> Deletes:
        """The deletes of the L0 segments of a partition, kept for its next job."""
        wanted = (*(place.delta for place in job.folded), job.end_ts)
        with self._lock:
            if self._deletes is None or self._deletes[0] != wanted:

                def source() -> Iterator[Any]:
                    for place in job.folded:
                        for table in self._source.deletes(place):
                            yield _until(table, job.end_ts)

                self._deletes = (wanted, Deletes(source))
            return self._deletes[1]

    # -- storage -------------------------------------------------------------------------------------------------

    @property
    def _source(self) -> Source:
        return Source(self.backup, self.run)

    def _write(self, job: ConversionJob, key: str, data: bytes) -> CopyItem:
        self.run.check_cancelled()
        item = CopyItem(source_key=key, key=key, size=len(data))
        self._plan(job, [item])
        self.run.retry.call(f"write {key}", self.storage.write, key, [data], size=len(data))
        self.transfer.converted(key, len(data), collection=job.label)
        return item

    def _plan(self, job: ConversionJob, items: list[CopyItem]) -> None:
        """How much is written is known only when it is."""
        size = sum(item.size for item in items)
        self.run.emit(WorkPlanned(collection=job.label, objects=len(items), size=size))


def _until(table: Any, boundary: int) -> Any:
    return table.filter(pc.less_equal(table.column(deltas.TS), boundary)) if boundary else table


def _columns(schema: CollectionSchema, found: Iterable[int], segment: SegmentHead) -> dict[int, _Column]:
    """The fields that are to be written, out of those that were ``found`` in the column groups.

    Columns of dropped fields are left out; fields added later may be missing where they allow nulls.
    """
    columns = {number: _Column(*kind) for number, kind in _SYSTEM.items()}
    for item in schema.fields:
        columns[item.field_id] = _Column(item.data_type, item.nullable, item.is_dynamic)
    if schema.enable_dynamic_field and not any(column.dynamic for column in columns.values()):
        columns[_dynamic_id(schema)] = _Column(_JSON, dynamic=True)
    held = frozenset(found)
    for number, column in columns.items():
        if number not in held and not column.nullable:
            require({}, number, segment)
    return {number: column for number, column in columns.items() if number in held}


def _dynamic_id(schema: CollectionSchema) -> int:
    """The id of ``$meta``, which is not described: the first gap in the ids, or the one after them.

    See docs/reference/milvus-protocol.md#creating-a-collection.
    """
    structs = schema.struct_array_fields
    known = {item.field_id for item in schema.fields}
    known |= {struct.field_id for struct in structs} | {
        part.field_id for struct in structs for part in struct.fields
    }
    return next(number for number in range(min(known), max(known) + 2) if number not in known)


def _chunks(batches: Iterator[packed.Rows], enough: int) -> Iterator[Mapping[int, Any]]:
    """Batches put together until they are worth a file: at least ``enough`` bytes."""
    held: list[packed.Rows] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += sum(column.nbytes for column in batch.values())
        if size >= enough:
            yield _joined(held)
            held, size = [], 0
    if held:
        yield _joined(held)


def _joined(batches: list[packed.Rows]) -> Mapping[int, Any]:
    return {number: pa.concat_arrays([batch[number] for batch in batches]) for number in batches[0]}
