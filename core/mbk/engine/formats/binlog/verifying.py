"""Verifies the objects of binlog backups: which there must be, and whether they are what Milvus can read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from mbk.binlog.blob import Blob
from mbk.engine.formats.binlog import logs
from mbk.engine.formats.binlog.contents import Contents
from mbk.engine.formats.binlog.known import listed_objects, recorded_objects
from mbk.engine.formats.binlog.logs import Facts
from mbk.engine.formats.binlog.places import scan
from mbk.engine.formats.binlog.versions import MANIFEST, PACKED
from mbk.engine.formats.verifying import Unit, UnitReader
from mbk.engine.repository.catalog import Committed
from mbk.engine.repository.detailed import DetailedCollection, as_collection
from mbk.engine.repository.pool.whereabouts import data_prefixes
from mbk.engine.repository.record import Record
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.reading import Content
from mbk.frozen import frozen
from mbk.model.layout import DELTA_LOG, INSERT_LOG, BackupLayout
from mbk.model.objects import ObjectRecord
from mbk.model.records import Binlog, FieldBinlog, Segment
from mbk.model.reports import Finding
from mbk.model.states import FindingKind
from mbk.ports.storage import ObjectInfo, Storage

_KINDS = frozenset({INSERT_LOG, DELTA_LOG})


@frozen
class LogKey:
    """The ids at the end of a key, which all writers agree on. ``field`` is None in delta logs."""

    segment: int
    field: int | None
    log: int


def log_key(key: str) -> LogKey | None:
    """Of a key relative to the backup's prefix, or to the pool; None for one of another form."""
    parts = key.split("/")
    kind = next((part for part in parts[1:3] if part in _KINDS), "") if len(parts) > 5 else ""
    ids = parts[-3:] if kind == INSERT_LOG else parts[-2:]
    if not kind or not all(part.isdecimal() for part in ids):
        return None
    numbers = [*map(int, ids)]
    return LogKey(numbers[0], numbers[1] if kind == INSERT_LOG else None, numbers[-1])


@frozen
class BinlogVerifying:
    """Has no state."""

    shared: bool = False

    def prefixes(
        self, committed: Committed, record: Record | None, collection: DetailedCollection
    ) -> tuple[str, ...]:
        return data_prefixes(committed, record, collection.collection_id)

    def listed(
        self, collection: DetailedCollection, present: Mapping[str, ObjectInfo]
    ) -> tuple[dict[str, ObjectRecord], list[Finding]]:
        below: defaultdict[int, dict[LogKey, list[str]]] = defaultdict(dict)
        for key in present:
            if (ids := log_key(key)) is not None:
                below[ids.segment].setdefault(ids, []).append(key)
        expected: dict[str, ObjectRecord] = {}
        findings: list[Finding] = []
        for segment in collection.segments():
            found = _Listed(collection, segment, present, below.get(segment.segment_id, {}))
            expected |= {entry.key: entry for entry in found.entries()}
            findings += found.findings
        return expected, findings

    def units(self, collection: DetailedCollection, keys: Iterable[str]) -> list[Unit]:
        segments = {segment.segment_id: segment for segment in collection.segments()}
        grouped: defaultdict[int, list[str]] = defaultdict(list)
        for key in keys:
            ids = log_key(key)
            grouped[ids.segment if ids else 0].append(key)
        return [
            Unit(keys=tuple(sorted(grouped[number])), segment=segments.get(number))
            for number in sorted(grouped)
        ]

    def sample(
        self,
        storage: Storage,
        run: Run,
        committed: Committed,
        record: Record | None,
        collection: DetailedCollection,
        count: int,
    ) -> tuple[str, list[int | str]]:
        if not logs.can_parse():
            return "", []
        from mbk.engine.formats.binlog.rows import Source
        from mbk.engine.formats.binlog.sampling import KeySample

        with Pool(1, run.cancelled, name="mbk-sample") as pool:
            number, whole = collection.collection_id, as_collection(collection)
            if record is None:
                known = listed_objects(committed.below, collection.segments())
            else:
                objects, shared = record.of(number), committed.is_shared
                known = recorded_objects(committed.below, whole, objects, here=False, shared=shared)
            found = scan(storage, data_prefixes(committed, record, number), whole, run, known)
            # The restore has compared the objects: none is chosen to be read before it is used.
            contents = Contents(
                storage=storage,
                run=run,
                prefix=committed.below,
                pool=pool,
                load=lambda: known,
                extra=found.extra,
            )
            source = Source(storage, run, contents)
            return KeySample(source, collection, committed.backup, found.places).keys(count)

    def check(self, unit: UnitReader) -> None:
        _SegmentCheck(unit, unit.unit.segment or Segment()).run()


# -- without a record --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Listed:
    """The objects of one segment by its lists in the metadata. ``there``: those present, by their ids."""

    collection: DetailedCollection
    segment: Segment
    present: Mapping[str, ObjectInfo]
    there: Mapping[LogKey, list[str]]
    findings: list[Finding] = field(default_factory=list)

    def entries(self) -> Iterator[ObjectRecord]:
        """Old tools recorded no lists, and files that are in none count in the segment's size; then sizes are compared."""
        named = list(self._named())
        keys = [key for same in self.there.values() for key in same]
        size = sum(self.present[key].size for key in keys)
        if size == self.segment.size or not named:
            if size != self.segment.size:
                self._differs(size)
            yield from (ObjectRecord(key, self.present[key].size) for key in keys)
            return
        for ids, log in named:
            for key in self.there.get(ids) or [self._where(ids)]:
                yield ObjectRecord(key, log.log_size)

    def _named(self) -> Iterator[tuple[LogKey, Binlog]]:
        for number, log in _in(self.segment.binlogs):
            yield LogKey(self.segment.segment_id, number, _log_id(log)), log
        for _, log in _in(self.segment.deltalogs):
            yield LogKey(self.segment.segment_id, None, _log_id(log)), log

    def _where(self, ids: LogKey) -> str:
        """Where a missing object would lie, as mbk and the classic tool write."""
        place, segment = BackupLayout("", ""), self.segment
        numbers = (
            segment.collection_id or self.collection.collection_id,
            segment.partition_id,
            segment.segment_id,
        )
        key = (
            place.delta(*numbers, ids.log)
            if ids.field is None
            else place.insert(*numbers, ids.field, ids.log)
        )
        return key.removeprefix(place.prefix)

    def _differs(self, size: int) -> None:
        detail = f"its objects have {size} bytes, and the metadata says {self.segment.size}"
        self.findings.append(
            Finding(
                FindingKind.RESIZED, detail, segment=self.segment.segment_id, rows=self.segment.num_of_rows
            )
        )


def _in(lists: list[FieldBinlog]) -> Iterator[tuple[int, Binlog]]:
    return ((item.field_id, log) for item in lists for log in item.binlogs)


def _log_id(log: Binlog) -> int:
    """Old writers recorded only the path (docs/reference/backup-format.md#older-backups)."""
    name = log.log_path.rpartition("/")[2]
    return log.log_id or (int(name) if name.isdecimal() else 0)


# -- contents ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _SegmentCheck:
    """``rows``: field or column group -> (key, rows) of each of its files, in the order of their names."""

    unit: UnitReader
    segment: Segment
    rows: defaultdict[int, list[tuple[str, int]]] = field(default_factory=lambda: defaultdict(list))
    owners: dict[str, tuple[int, int]] = field(default_factory=dict)
    whole: bool = True

    def run(self) -> None:
        for key in self.unit.unit.keys:
            ids = log_key(key)
            facts = self.unit.read(key, partial(self._parsed, ids))
            if facts is None:
                self.whole = False
                continue
            if facts.problem:
                self.unit.find(FindingKind.INCONSISTENT, key, facts.problem)
            if facts.owner is not None:
                self.owners[key] = facts.owner
            if facts.rows is not None and ids is not None and ids.field is not None:
                self.rows[ids.field].append((key, facts.rows))
        self._compare_owners()
        if self.whole and self.rows:
            self._compare_rows()

    def _parsed(self, ids: LogKey | None, content: Content, proven: bool) -> Facts | None:
        blob = Blob(content.key, content.size, content.fetch)
        if ids is None or self.segment.storage_version >= MANIFEST:
            return None
        if ids.field is None:
            return logs.of_delete_log(blob)
        if self.segment.storage_version >= PACKED:
            return logs.of_group(blob, decode=not proven) if logs.can_parse() else None
        return logs.of_insert_log(blob, ids.field, decode=not proven)

    def _compare_owners(self) -> None:
        """Files that name another segment than the others: exchanged with one of another segment.

        The ids themselves may differ from the key's: servers copy segments under new ids without rewriting files.
        """
        for key, (collection, segment) in logs.disagreeing(self.owners.items()):
            detail = f"it is a file of segment {segment} of collection {collection}, unlike the others of its segment"
            self.unit.find(FindingKind.INCONSISTENT, key, detail)

    def _compare_rows(self) -> None:
        """All fields have the same files with the same rows, and together as many as the metadata says."""
        counted = {number: tuple(rows for _, rows in files) for number, files in self._in_order().items()}
        packed = self.segment.storage_version >= PACKED
        # Column groups are cut into files independently of each other.
        shapes = {number: (sum(rows),) if packed else rows for number, rows in counted.items()}
        usual, _ = Counter(shapes.values()).most_common(1)[0]
        for number, shape in shapes.items():
            if shape != usual:
                key = self._in_order()[number][0][0]
                detail = f"its field has {list(shape)} rows in its files, and the others have {list(usual)}"
                self.unit.find(FindingKind.INCONSISTENT, key, detail)
        if sum(usual) != self.segment.num_of_rows and not self.segment.is_l0:
            detail = f"the segment has {sum(usual)} rows, and the metadata says {self.segment.num_of_rows}"
            self.unit.find(FindingKind.INCONSISTENT, "", detail)

    def _in_order(self) -> dict[int, list[tuple[str, int]]]:
        """Files are paired in the order of their names."""
        return {number: sorted(files) for number, files in self.rows.items()}
