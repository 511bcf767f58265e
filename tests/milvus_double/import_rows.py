"""From the files of an import to rows: what each version checks before, and which rows it drops.

Sources: milvus ``internal/util/importutilv2/binlog/`` (``reader.go``, ``util.go`` with ``verify`` of 2.4 to 2.5 and of 2.5.8
and later, ``filter.go``, ``l0_reader.go``); the rules and texts of 2.3 were met by running 2.3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymilvus.grpc_gen.schema_pb2 import FieldSchema, ValueField

from tests.milvus_double.codec import (
    ROW_ID,
    TIMESTAMP,
    CodecError,
    decode_columns,
    decode_deletes,
    rows_of,
)
from tests.milvus_double.codec.packed import NARROW_GROUP, has_own_group
from tests.milvus_double.import_files import Listing, SegmentFiles, import_failed
from tests.milvus_double.state import Collection, Delete, Key, Row
from tests.milvus_double.versions import ServerVersion

LATEST = (1 << 64) - 1
TEXT = 25


@dataclass(frozen=True, slots=True)
class Span:
    """Rows and deletes of these hybrid timestamps are taken, both ends included."""

    start: int = 0
    end: int = LATEST

    def holds(self, timestamp: int) -> bool:
        return self.start <= timestamp <= self.end


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads segments for one target collection."""

    listing: Listing
    version: ServerVersion
    collection: Collection
    storage_version: int = 1
    span: Span = Span()

    def rows(self, files: SegmentFiles) -> list[Row]:
        """The rows that survive, with the target's channels and every column of its schema."""
        self._verify(files)
        deleted = self._deleted(files.deltas)
        kept = []
        for row in self._decoded(files):
            if self.span.holds(row.timestamp) and deleted.get(row.pk, 0) <= row.timestamp:
                kept.append(replace(row, channel=self.collection.channel_of(row.pk)))
        return kept

    def _deleted(self, paths: Sequence[str]) -> dict[Key, int]:
        """Key -> until when its rows are gone. Before import v2 the last delete of a key in file order counts, and before
        its time is looked at all rows of the key go (``internal/util/importutil/binlog_adapter.go``)."""
        deletes = self.deletes(paths)
        if self.version.has("import_v2"):
            return newest(deletes)
        timed = self.version.has("imports_by_delete_time")
        return {item.pk: item.timestamp if timed else LATEST for item in deletes}

    def deletes(self, paths: Sequence[str]) -> list[Delete]:
        found = []
        for path in paths:
            try:
                deletes = decode_deletes(self.listing.read(path))
            except CodecError as error:
                raise import_failed(f"failed to read delta log {path}, error: {error}") from error
            found += [item for item in deletes if self.span.holds(item.timestamp)]
        return found

    # -- checks --------------------------------------------------------------------------------------------------------

    def _verify(self, files: SegmentFiles) -> None:
        if not self.version.has("import_v2"):
            self._verify_classic(files)
        elif self.storage_version >= 2:
            self._verify_packed(files)
        elif self.version.has("import_fills_missing_columns"):
            self._verify_system(files)
            self._verify_counts(files)
            self._verify_fields(files, optional=True)
        else:
            self._verify_fields(files, optional=False)
            self._verify_system(files)
            self._verify_counts(files)

    def _verify_classic(self, files: SegmentFiles) -> None:
        counts = [len(paths) for paths in files.inserts.values()]
        for count in counts:
            if count != counts[0]:
                raise import_failed(
                    "binlog file count of each field must be equal, "
                    f"first field files count: {counts[0]}, other field files count: {count}"
                )
        for number, name in ((ROW_ID, "RowIDField"), (TIMESTAMP, "TimeStampField")):
            if number not in files.inserts:
                raise import_failed(f"the binlog files of {name} is missed")
        known = {field.fieldID for field in self.collection.fields}
        for number in known:
            if number not in files.inserts:
                raise import_failed(f"the field {number} has no binlog file")
        for number, paths in files.inserts.items():
            if number not in known | {ROW_ID, TIMESTAMP}:
                raise import_failed(
                    f"could not read binlog file {paths[0]}, "
                    f"error: the field ID {number} doesn't exist in collection schema: importing data failed"
                )

    def _verify_system(self, files: SegmentFiles) -> None:
        for number, name in ((ROW_ID, "RowID"), (TIMESTAMP, "Timestamp")):
            if number not in files.inserts:
                raise import_failed(f"no binlog for {name} field")

    def _verify_counts(self, files: SegmentFiles) -> None:
        wanted = len(files.inserts.get(ROW_ID, ()))
        for number, paths in files.inserts.items():
            if len(paths) != wanted:
                raise import_failed(f"misaligned binlog count, field{number}:{len(paths)}, field0:{wanted}")

    def _verify_fields(self, files: SegmentFiles, *, optional: bool) -> None:
        nested = {
            sub.fieldID for struct in self.collection.schema.struct_array_fields for sub in struct.fields
        }
        for field in self.collection.fields:
            if field.fieldID in files.inserts or (optional and _may_be_absent(field)):
                continue
            kind = "struct field" if field.fieldID in nested else "field"
            raise import_failed(f"no binlog for {kind}:{field.name}")

    def _verify_packed(self, files: SegmentFiles) -> None:
        """A nullable vector is asked for, too (milvus#53361)."""
        if NARROW_GROUP not in files.inserts:
            raise import_failed("no binlog for system fields")
        self._verify_counts(files)
        for field in self.collection.fields:
            if has_own_group(field) and field.data_type != TEXT and field.fieldID not in files.inserts:
                raise import_failed(f"no binlog for field:{field.name}")

    # -- reading -------------------------------------------------------------------------------------------------------

    def _decoded(self, files: SegmentFiles) -> list[Row]:
        """Files are paired over the fields by their place in lexicographic order, whatever rows they hold."""
        fields = self.collection.fields
        known = {field.fieldID for field in fields} | {ROW_ID, TIMESTAMP}
        wanted = {
            number: paths
            for number, paths in files.inserts.items()
            if number in known or self.storage_version >= 2
        }
        rows: list[Row] = []
        for at in range(len(wanted[ROW_ID])):
            batch = {number: self.listing.read(paths[at]) for number, paths in wanted.items()}
            try:
                columns = decode_columns(self.storage_version, fields, batch)
                self._fill(columns)
                rows += rows_of(self.collection.key_field, columns)
            except CodecError as error:
                raise import_failed(
                    f"failed to read {wanted[ROW_ID][at]} and its like, error: {error}"
                ) from error
        return rows

    def _fill(self, columns: dict[int, list[Any]]) -> None:
        """Columns that the source did not have: ``internal/util/importutilv2`` ``AppendNullableDefaultFieldsData``."""
        for number in (ROW_ID, TIMESTAMP):
            if number not in columns:
                raise CodecError(f"no column of field {number}")
        count = len(columns[TIMESTAMP])
        for field in self.collection.fields:
            if field.fieldID not in columns:
                if not _may_be_absent(field):
                    raise CodecError(f"no column of field {field.name}")
                columns[field.fieldID] = [_absent_value(field)] * count


def newest(deletes: Sequence[Delete]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for item in deletes:
        found[item.pk] = max(item.timestamp, found.get(item.pk, 0))
    return found


def _may_be_absent(field: FieldSchema) -> bool:
    # A function's output is imported and not computed again, so it has to be there.
    if field.is_function_output:
        return False
    return bool(field.is_dynamic or field.nullable or field.HasField("default_value"))


def _absent_value(field: FieldSchema) -> Any:
    if field.is_dynamic:
        return b"{}"
    return default_of(field.default_value) if field.HasField("default_value") else None


def default_of(value: ValueField) -> Any:
    part = value.WhichOneof("data")
    return getattr(value, part) if part else None
