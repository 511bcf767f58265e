"""Converts segments while they are staged, so that a server older than the backup can import them.

Imports pyarrow: :mod:`mbk.engine.formats.binlog.late` loads this module when it is needed. Rows are read in batches;
memory holds one chunk of rows, and the folded deletes (:class:`mbk.binlog.deletes.Deletes`).
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
from mbk.frozen import frozen
from mbk.model.events import WorkPlanned
from mbk.model.records import CollectionSchema, SegmentHead
from mbk.ports.storage import Storage

#: Bytes of rows in one file of each field.
CHUNK = 32 << 20
#: First of the log ids that we assign. Milvus pairs the files of fields by the order of their names, so all have one length.
FIRST_LOG = 10**18
_JSON = 23
_SYSTEM = {inserts.ROW_ID: (5, False), inserts.TIMESTAMP: (5, False)}
_NO_KEYS = b"{}"


@frozen
class _Column:
    """How a field is written."""

    data_type: int
    nullable: bool = False
    dynamic: bool = False


@dataclass(slots=True, kw_only=True)
class SegmentConverter:
    """Runs conversion jobs. Several threads may call it; they share the folded deletes."""

    backup: Storage
    storage: Storage
    run: Run
    transfer: Transfer
    chunk: int = CHUNK
    _deletes: tuple[object, Deletes] | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def convert(self, job: ConversionJob) -> Iterable[str]:
        """Writes everything, verifies it and returns the keys. A segment whose deletes are all newer than the
        consistency point gets no delta log."""
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
            deletes = newest(_until(table, job.end_ts) for table in self._source(job).deletes(place))
        if place.insert and (unpack or gone is not None):
            yield from self._rows(job, segment, place, insert, gone)
        elif place.insert:
            yield from self._copied(job, place.insert, insert)
        if deletes is None:
            for directory in place.deltas:
                yield from self._copied(job, directory, delta)
        elif deletes.num_rows:
            yield self._delta_log(job, segment, deletes, delta)

    def _copied(self, job: ConversionJob, source: str, target: str) -> list[CopyItem]:
        """Copies the objects below ``source`` unchanged, server side if the storage can."""
        entries = job.contents.entries(source)
        job.contents.require_objects(entries)
        items = [CopyItem.of(entry, f"{target}{entry.key.removeprefix(source)}") for entry in entries]
        self._plan(job, items)
        self.transfer.copy(items, collection=job.label, present={})
        return items

    # -- rows ----------------------------------------------------------------------------------------------------

    def _rows(
        self, job: ConversionJob, segment: SegmentHead, place: Place, target: str, gone: Any
    ) -> Iterator[CopyItem]:
        """One binlog a field for each chunk of rows, without the rows that ``gone`` deletes."""
        key = primary_key(job.schema, job.label).field_id
        read = written = 0
        for chunk in _chunks(self._source(job).rows(segment, place), self.chunk):
            read += len(chunk[inserts.TIMESTAMP])
            if gone is not None:
                left = pc.invert(hits(chunk[key], chunk[inserts.TIMESTAMP], gone))
                chunk = {number: values.filter(left) for number, values in chunk.items()}
            if len(chunk[inserts.TIMESTAMP]):
                yield from self._binlogs(job, segment, chunk, target, FIRST_LOG + written)
                written += 1
        if segment.num_of_rows not in (0, read):
            raise InvalidBackup(
                "segment {segment} of {collection} has {present} rows in its objects, {expected} in the backup's metadata",
                code="segment-rows-differ",
                segment=segment.segment_id,
                collection=job.label,
                present=read,
                expected=segment.num_of_rows,
                hint="an object may be missing",
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
        """The deletes to write as a delta log of the segment, and those to apply to its rows, or None where imports
        compare times.

        2.2 applies a delete to all rows of its key, and in 2.3 the last one in file order wins (milvus:
        internal/util/importutil/binlog_adapter.go, issue 29162; seen on 2.2.16). So each key is written once, and only if
        it deletes a row; if a key was deleted and inserted again within one segment, the deleted rows are left out.
        """
        keys, times = self._source(job).keys_and_times(segment, place, primary_key(job.schema, job.label))
        local = (_until(table, job.end_ts) for table in self._source(job).deletes(place))
        deletes = newest([*local, self._folded(job).matching(keys)], kind=keys.type)
        hit = hits(keys, times, deletes)
        deleted = pc.unique(keys.filter(hit))
        left = keys.filter(pc.invert(hit))
        deletes = deletes.filter(pc.is_in(deletes.column(deltas.PK), value_set=deleted))
        applies = Conversion.APPLY_DELETES in job.conversion
        if applies and pc.any(pc.is_in(left, value_set=deleted)).as_py():
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
        source = self._source(job)
        return not all(deltas.is_plain(source.blob(entry)) for entry in source.delete_logs(place))

    def _folded(self, job: ConversionJob) -> Deletes:
        """The deletes of a partition's L0 segments, cached for its next job."""
        key = (*(place.deltas for place in job.folded), job.end_ts)
        with self._lock:
            if self._deletes is None or self._deletes[0] != key:

                def source() -> Iterator[Any]:
                    for place in job.folded:
                        for table in self._source(job).deletes(place):
                            yield _until(table, job.end_ts)

                self._deletes = (key, Deletes(source))
            return self._deletes[1]

    # -- storage -------------------------------------------------------------------------------------------------

    def _source(self, job: ConversionJob) -> Source:
        return Source(self.backup, self.run, job.contents)

    def _write(self, job: ConversionJob, key: str, data: bytes) -> CopyItem:
        self.run.check_cancelled()
        item = CopyItem(source_key=key, key=key, size=len(data))
        self._plan(job, [item])
        self.transfer.write(key, data, collection=job.label)
        return item

    def _plan(self, job: ConversionJob, items: list[CopyItem]) -> None:
        """Announces work as it is done: the amount is not known before."""
        size = sum(item.size for item in items)
        self.run.emit(WorkPlanned(collection=job.label, objects=len(items), size=size))


def _until(table: Any, end_ts: int) -> Any:
    return table.filter(pc.less_equal(table.column(deltas.TS), end_ts)) if end_ts else table


def _columns(schema: CollectionSchema, stored: Iterable[int], segment: SegmentHead) -> dict[int, _Column]:
    """The fields to write, out of those ``stored`` in the column groups.

    Columns of dropped fields are left out; nullable fields added later may be missing.
    """
    columns = {number: _Column(*kind) for number, kind in _SYSTEM.items()}
    for item in schema.fields:
        columns[item.field_id] = _Column(item.data_type, item.nullable, item.is_dynamic)
    if schema.enable_dynamic_field and not any(column.dynamic for column in columns.values()):
        columns[_dynamic_id(schema)] = _Column(_JSON, dynamic=True)
    present = frozenset(stored)
    for number, column in columns.items():
        if number not in present and not column.nullable:
            require({}, number, segment)
    return {number: column for number, column in columns.items() if number in present}


def _dynamic_id(schema: CollectionSchema) -> int:
    """The id of ``$meta``, which the schema does not list: the first gap in the field ids, or the next one.

    See docs/reference/milvus-protocol.md#creating-a-collection.
    """
    structs = schema.struct_array_fields
    used = {item.field_id for item in schema.fields}
    used |= {struct.field_id for struct in structs} | {
        part.field_id for struct in structs for part in struct.fields
    }
    return next(number for number in range(min(used), max(used) + 2) if number not in used)


def _chunks(batches: Iterator[packed.Rows], enough: int) -> Iterator[Mapping[int, Any]]:
    """Batches joined into chunks of at least ``enough`` bytes, so that files are not too small."""
    pending: list[packed.Rows] = []
    size = 0
    for batch in batches:
        pending.append(batch)
        size += sum(column.nbytes for column in batch.values())
        if size >= enough:
            yield _joined(pending)
            pending, size = [], 0
    if pending:
        yield _joined(pending)


def _joined(batches: list[packed.Rows]) -> Mapping[int, Any]:
    return {number: pa.concat_arrays([batch[number] for batch in batches]) for number in batches[0]}
