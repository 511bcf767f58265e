"""Compares the objects of a backup with its record, or without one with its metadata, collection by collection."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from mbk.engine.formats.verifying import Checked, Objects, Unit, UnitReader, Verifying
from mbk.engine.operations.progress import Progress
from mbk.engine.repository.catalog import LEVEL_FILES, Committed
from mbk.engine.repository.detailed import DetailedCollection
from mbk.engine.repository.keyed import ListedObjects
from mbk.engine.repository.record import Record
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.budget import Room
from mbk.engine.runtime.context import Context
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.digests import cheapest
from mbk.engine.transfer.reading import RECORDED, ObjectReader
from mbk.engine.transfer.same import Vouch, vouched
from mbk.errors import AccessError, ObjectNotFound
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.events import CollectionFinished, WorkPlanned
from mbk.model.layout import BackupLayout
from mbk.model.objects import ObjectRecord
from mbk.model.reports import Finding, VerifiedCollection
from mbk.model.states import CollectionState, Depth, FindingKind
from mbk.ports.storage import ObjectInfo, Storage

#: Segments read at once, at most: more keep the interpreter busy without reading faster.
READ = 32


@frozen
class Inspected:
    """One collection, by its ``id``; ``findings`` are about it."""

    id: int
    result: VerifiedCollection
    findings: Sequence[Finding] = ()


@dataclass(slots=True, kw_only=True)
class Inspection:
    """Inspects one backup. ``spool`` gets what was read of each object, if a record is made."""

    context: Context
    committed: Committed
    record: Record | None
    verifying: Verifying
    depth: Depth
    progress: Progress
    spool: SegmentSpool | None = None
    _listed: set[str] = field(default_factory=set)

    @property
    def run(self) -> Run:
        return self.context.run

    @property
    def place(self) -> BackupLayout:
        return self.committed.stored.layout

    @property
    def storage(self) -> Storage:
        return self.context.backup_storage

    def of(self, collections: Iterator[DetailedCollection]) -> Iterator[Inspected]:
        """The collections in the order in which they are done."""
        budget = self.run.budget
        with ExitStack() as stack:
            outer = stack.enter_context(Pool(budget.collections, self.run.cancelled, name="mbk-verify"))
            units = stack.enter_context(Pool(min(READ, budget.copies), self.run.cancelled, name="mbk-read"))
            room = Room(budget.memory, self.run.cancelled)
            yield from outer.map(
                lambda collection: _CollectionInspection(self, collection, units, room).run(), collections
            )

    def extra(self, keys: Iterable[str], expected: Iterable[str], label: str) -> list[Finding]:
        """Objects that belong to nothing. Where collections share a place, `strays` finds them once all are inspected. What is beside
        the objects of a shared backup in the pool belongs to others."""
        if self.committed.is_shared:
            return []
        if not self.verifying.shared:
            return [_extra(key, label) for key in keys]
        self._listed.update(expected)
        return []

    # -- what belongs to no collection ---------------------------------------------------------------------------

    def strays(self, collections: set[int]) -> list[Finding]:
        """Objects below the backup's prefix that belong to none of its collections. Call it when all are inspected."""
        known = {*LEVEL_FILES, layout.FULL_META, layout.MANIFEST, *layout.BESIDE}
        files = [
            f"meta/{name}"
            for name in self.committed.stored.files
            if name not in known and not layout.is_record(name)
        ]
        room, data = self._room(collections)
        keys = [*files, *data, *self._others(self.place.prefix, {self.place.meta_prefix, room})]
        return [_extra(key, "") for key in sorted(keys)]

    def _room(self, collections: set[int]) -> tuple[str, Iterable[str]]:
        """The prefix of the data below the backup's own, and the strays there; a shared backup has no data there."""
        if self.verifying.shared:
            return self._bundle, self._shared()
        if self.committed.is_shared:
            return "", ()
        return self.place.data_prefix, self._beside(collections)

    @property
    def _bundle(self) -> str:
        return f"{self.place.prefix}bundle/"

    def _shared(self) -> Iterator[str]:
        below = len(self.place.prefix)
        for entry in listing.objects(self.storage, self.run, self._bundle):
            if entry.key[below:] not in self._listed:
                yield entry.key[below:]

    def _beside(self, collections: set[int]) -> Iterator[str]:
        place = self.place
        kinds = {f"{place.data_prefix}{kind}/" for kind in (layout.INSERT_LOG, layout.DELTA_LOG)}
        yield from self._others(place.data_prefix, kinds)
        for kind in sorted(kinds):
            yield from self._others(kind, {f"{kind}{number}/" for number in collections})

    def _others(self, prefix: str, known: set[str]) -> Iterator[str]:
        """Every object below the prefix that is not below a known one."""
        level = listing.level(self.storage, self.run, prefix)
        yield from (entry.key.removeprefix(self.place.prefix) for entry in level.objects)
        foreign = [one for one in level.prefixes if one not in known]
        for entry in listing.objects(self.storage, self.run, *foreign) if foreign else ():
            yield entry.key.removeprefix(self.place.prefix)


def present(
    context: Context,
    verifying: Verifying,
    committed: Committed,
    record: Record | None,
    collection: DetailedCollection,
) -> ListedObjects:
    """The objects that are there of a collection, by key relative to the backup's prefix, or to the pool."""
    below, prefixes = len(committed.below), verifying.prefixes(committed, record, collection)
    storage, run = context.backup_storage, context.run
    return listing.consume(storage, run, lambda entries: ListedObjects(entries, below=below), *prefixes)


def _extra(key: str, label: str) -> Finding:
    return Finding(
        FindingKind.EXTRA, "it does not belong to the backup; a restore leaves it alone", key, label
    )


#: What is expected, and what the listing told of it.
_Pair = tuple[ObjectRecord, ObjectInfo]


@dataclass(slots=True)
class _CollectionInspection:
    inspection: Inspection
    collection: DetailedCollection
    pool: Pool
    room: Room
    findings: list[Finding] = field(default_factory=list)
    vouched: int = 0
    counts: Checked = field(default_factory=Checked)

    @property
    def label(self) -> str:
        return self.collection.label

    def run(self) -> Inspected:
        run, number = self.inspection.run, self.collection.collection_id
        run.phase("compare", self.label)
        with self._present() as present:
            objects = Objects(expected=self._expected(present), present=present)
            self._inspect(objects, self._compared(objects.expected, present))
        found = len(self.findings)
        run.emit(
            CollectionFinished(
                collection=self.label,
                outcome=CollectionState.FAILED if found else CollectionState.DONE,
                error=f"{found} findings, the first: {self.findings[0].detail}" if found else None,
            )
        )
        return Inspected(number, self._result(objects.expected), tuple(self.findings))

    def _inspect(self, objects: Objects, whole: Iterator[_Pair]) -> None:
        if self.inspection.depth is Depth.LISTING:
            deque(whole, maxlen=0)
        elif self.inspection.depth is Depth.CONTENTS:
            # Of a kind that this process cannot compute: only the storage knows it.
            self._ask(pair for pair in whole if pair[0].digests and not cheapest(pair[0].digests))
            self._read(objects)
        else:
            self._ask(whole)

    def _result(self, expected: Mapping[str, ObjectRecord]) -> VerifiedCollection:
        return VerifiedCollection(
            name=self.label,
            objects=len(expected),
            size=sum(entry.size for entry in expected.values()),
            vouched=self.vouched,
            read=self.counts.read,
            read_size=self.counts.read_size,
            proven=self.counts.proven,
            parsed=self.counts.parsed,
            rows=self.collection.rows,
            findings=len(self.findings),
        )

    # -- names and sizes -----------------------------------------------------------------------------------------

    def _present(self) -> ListedObjects:
        inspection = self.inspection
        return present(
            inspection.context,
            inspection.verifying,
            inspection.committed,
            inspection.record,
            self.collection,
        )

    def _expected(self, present: Mapping[str, ObjectInfo]) -> Mapping[str, ObjectRecord]:
        record = self.inspection.record
        if record is not None:
            return record.of(self.collection.collection_id)
        expected, findings = self.inspection.verifying.listed(self.collection, present)
        for finding in findings:
            self._find(finding.kind, finding.key, finding.detail, finding.segment, finding.rows)
        return expected

    def _compared(self, expected: Mapping[str, ObjectRecord], present: ListedObjects) -> Iterator[_Pair]:
        """Finds what is missing, has another size or is too much; yields the others."""
        there = present.checklist()
        for entry in expected.values():
            met = there.meet(entry.key)
            if met is None:
                self._find(FindingKind.MISSING, entry.key, "it is not there")
            elif met.size != entry.size:
                detail = f"it has {met.size} bytes instead of {entry.size}"
                self._find(FindingKind.RESIZED, entry.key, detail)
            else:
                yield entry, present.told(met)
        self.findings += self.inspection.extra(there.left(), expected, self.label)

    def _find(
        self, kind: FindingKind, key: str, detail: str, segment: int | None = None, rows: int | None = None
    ) -> None:
        self.findings.append(Finding(kind, detail, key, self.label, segment, rows))

    # -- what the storage tells ----------------------------------------------------------------------------------

    def _ask(self, pairs: Iterable[_Pair]) -> None:
        """Compares digests; the storage is asked for an object only if it tells more then than in a listing."""
        unknown = [pair for pair in pairs if self._is_unknown(*pair)]
        tells = self.inspection.storage.capabilities.checksums
        asked = [pair for pair in unknown if not tells.isdisjoint(pair[0].digests)]
        unsure = [pair for pair in unknown if tells.isdisjoint(pair[0].digests)]
        for entry, present in self.pool.map(self._stat, asked):
            if present is not None and self._is_unknown(entry, present):
                unsure.append((entry, present))
        for checked in self.pool.map(self._settled, filter(self._was_rewritten, unsure)):
            self._add(checked)
            self.vouched += checked.proven

    def _was_rewritten(self, pair: _Pair) -> bool:
        """Whether another etag is told than when the record was made, which only reading can judge."""
        entry, present = pair
        inspection, record = self.inspection, self.inspection.record
        where = f"{inspection.storage.location}/{inspection.place.name}"
        here = record is not None and record.location == where
        told = bool(entry.etag and present.etag) and entry.etag != present.etag
        return here and told and cheapest(entry.digests) is not None

    def _settled(self, pair: _Pair) -> Checked:
        entry, present = pair
        objects = Objects(expected={entry.key: entry}, present={entry.key: present})
        reader = self._reader(Unit(keys=(entry.key,)), objects)
        reader.read(entry.key, lambda _content, _proven: None)
        return reader.checked

    def _is_unknown(self, entry: ObjectRecord, present: ObjectInfo) -> bool:
        verdict = vouched(entry, present, here=self._is_here)
        self.vouched += verdict is Vouch.SAME
        if verdict is Vouch.CHANGED:
            self._find(
                FindingKind.CHANGED, entry.key, "the storage tells another digest than the recorded one"
            )
        return verdict is Vouch.UNKNOWN

    @property
    def _is_here(self) -> bool:
        """Whether etags vouch for the bytes."""
        inspection, record = self.inspection, self.inspection.record
        return record is not None and record.is_here(inspection.storage.location, inspection.place.name)

    def _stat(self, pair: _Pair) -> tuple[ObjectRecord, ObjectInfo | None]:
        entry, present = pair
        storage, run = self.inspection.storage, self.inspection.run
        try:
            return entry, run.retry.call(f"stat {present.key}", storage.stat, present.key)
        except (ObjectNotFound, AccessError):
            return entry, None  # nobody vouches for it

    # -- contents ------------------------------------------------------------------------------------------------

    def _read(self, objects: Objects) -> None:
        inspection, number = self.inspection, self.collection.collection_id
        units = self._sampled(inspection.verifying.units(self.collection, objects.expected))
        left = list(inspection.progress.left(number, units))
        keys = [key for _, unit in left for key in unit.keys]
        size = sum(objects.expected[key].size for key in keys)
        inspection.run.emit(WorkPlanned(collection=self.label, objects=len(keys), size=size))
        inspection.run.phase("read", self.label)

        def one(item: tuple[int, Unit]) -> Checked:
            at, unit = item
            checked = self._check(unit, objects)
            inspection.progress.add(number, at, suspect=bool(checked.findings))
            return checked

        for checked in self.pool.map(one, left):
            self._count(checked, objects)

    def _sampled(self, units: list[Unit]) -> list[Unit]:
        """The part of this day: every unit is in one of as many days as it takes."""
        progress = self.inspection.progress
        days = -(-100 // progress.sample)
        first = zlib.crc32(str(self.collection.collection_id).encode())
        return [unit for at, unit in enumerate(units) if (first + at) % days == progress.day % days]

    def _check(self, unit: Unit, objects: Objects) -> Checked:
        reader = self._reader(unit, objects)
        self.inspection.verifying.check(reader)
        return reader.checked

    def _reader(self, unit: Unit, objects: Objects) -> UnitReader:
        inspection = self.inspection
        return UnitReader(
            reader=ObjectReader(inspection.storage, inspection.run, self.room),
            objects=objects,
            unit=unit,
            label=self.label,
            prefix=inspection.committed.below,
            kinds=RECORDED if inspection.spool is not None else frozenset(),
        )

    def _add(self, checked: Checked) -> None:
        counts = self.counts
        counts.read += checked.read
        counts.read_size += checked.read_size
        counts.proven += checked.proven
        counts.parsed += checked.parsed
        self.findings += checked.findings

    def _count(self, checked: Checked, objects: Objects) -> None:
        self._add(checked)
        if self.inspection.spool is not None:
            self.inspection.spool.add_objects(
                self.collection.collection_id, _recorded(checked.digests, objects)
            )


def _recorded(digests: Mapping[str, Mapping[str, str]], objects: Objects) -> Iterator[ObjectRecord]:
    for key, told in digests.items():
        present = objects.present[key]
        yield ObjectRecord(key, present.size, present.etag or "", {**told})
