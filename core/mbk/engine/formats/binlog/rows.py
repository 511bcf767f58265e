"""The rows and deletes of a backup's segments, read from storage. Imports pyarrow: import this module lazily."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from mbk.binlog import deltas, inserts, packed
from mbk.binlog.arrow import pa
from mbk.binlog.blob import Blob
from mbk.engine.formats.binlog.contents import Contents
from mbk.engine.formats.binlog.places import Place, unrecognised
from mbk.engine.formats.binlog.versions import PACKED
from mbk.engine.runtime.retry import twice
from mbk.engine.runtime.run import Run
from mbk.errors import InvalidBackup
from mbk.frozen import frozen
from mbk.model.records import CollectionSchema, FieldSchema, SegmentHead
from mbk.ports.storage import ObjectInfo, Storage


@frozen
class Source:
    """Reads segments of one collection; several threads may call it. ``contents`` says which objects belong to the backup,
    and compares each before its first byte is used.

    `InvalidBackup` for objects that are damaged or have changed, and what the storage raises.
    """

    storage: Storage
    run: Run
    contents: Contents

    def blob(self, entry: ObjectInfo) -> Blob:
        def fetch(offset: int, length: int) -> bytes:
            self.contents.require_object(entry)
            self.run.check_cancelled()

            def once() -> bytes:
                with self.storage.read(entry.key, offset=offset, length=length) as chunks:
                    data = b"".join(chunks)
                if len(data) == length:
                    return data
                raise InvalidBackup(
                    "read {present} bytes of {key} instead of {expected}",
                    code="object-changed",
                    key=entry.key,
                    present=len(data),
                    expected=length,
                    hint="the object changed meanwhile; run again",
                )

            return self.run.retry.call(f"read {entry.key}", lambda: twice(once))

        return Blob(entry.key, entry.size, fetch)

    def entries(self, prefix: str) -> list[ObjectInfo]:
        return sorted(self.contents.entries(prefix), key=lambda entry: _number(entry.key))

    def delete_logs(self, place: Place) -> list[ObjectInfo]:
        return sorted(self.contents.deletes(place), key=lambda entry: _number(entry.key))

    def groups(self, place: Place) -> dict[int, list[Blob]]:
        """Field or column group -> its files, in the order in which they were written."""
        files: defaultdict[int, list[Blob]] = defaultdict(list)
        for entry in self.entries(place.insert):
            files[_number(entry.key.rpartition("/")[0])].append(self.blob(entry))
        return dict(files)

    def deletes(self, place: Place) -> Iterator[Any]:
        """Tables of the deleted keys and times of one segment."""
        for entry in self.delete_logs(place):
            yield from deltas.read(self.blob(entry))

    def rows(
        self, segment: SegmentHead, place: Place, fields: frozenset[int] | None = None
    ) -> Iterator[packed.Rows]:
        """The rows of a segment of either version, batch by batch; ``fields`` None: all fields."""
        groups = self.groups(place)
        if segment.storage_version < PACKED:
            chosen = sorted(groups if fields is None else fields)
            sources = {number: _column(number, require(groups, number, segment)) for number in chosen}
        else:
            stored = {number: packed.fields_of(group) for number, group in groups.items()}
            for number in (fields or frozenset()) - frozenset().union(*stored.values()):
                require({}, number, segment)
            sources = {
                number: packed.read(group, fields)
                for number, group in groups.items()
                if fields is None or stored[number] & fields
            }
        yield from packed.side_by_side(sources, segment=segment.segment_id)

    def keys(self, segment: SegmentHead, place: Place, key: FieldSchema) -> Any:
        """The primary keys of a segment, as a chunked array."""
        number = key.field_id
        arrays = [rows[number] for rows in self.rows(segment, place, frozenset({number}))]
        return pa.chunked_array(arrays, type=deltas.pk_type(key.data_type))

    def keys_and_times(self, segment: SegmentHead, place: Place, key: FieldSchema) -> tuple[Any, Any]:
        """The primary keys of a segment and the timestamp of each row, as chunked arrays."""
        fields = (key.field_id, inserts.TIMESTAMP)
        batches = list(self.rows(segment, place, frozenset(fields)))
        kinds = (deltas.pk_type(key.data_type), pa.int64())
        keys, times = (
            pa.chunked_array([rows[number] for rows in batches], type=kind)
            for number, kind in zip(fields, kinds, strict=True)
        )
        return keys, times


def _column(number: int, blobs: list[Blob]) -> Iterator[packed.Rows]:
    for blob in blobs:
        for values in inserts.read(blob):
            yield {number: values}


def require(groups: dict[int, list[Blob]], field: int, segment: SegmentHead) -> list[Blob]:
    if field not in groups:
        raise InvalidBackup(
            "the backup has no data of field {field} in segment {segment}",
            code="field-data-missing",
            field=field,
            segment=segment.segment_id,
            hint="the segment's storage version in the metadata may be wrong",
        )
    return groups[field]


def primary_key(schema: CollectionSchema | None, label: str) -> FieldSchema:
    for field in schema.fields if schema else ():
        if field.is_primary_key:
            return field
    raise InvalidBackup(
        "{collection} has no primary key in the backup's metadata",
        code="primary-key-missing",
        collection=label,
        hint="was the metadata edited?",
    )


def _number(key: str) -> int:
    text = key.rpartition("/")[2]
    if not text.isdecimal():
        raise unrecognised(key)
    return int(text)
