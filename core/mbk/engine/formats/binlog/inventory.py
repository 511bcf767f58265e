"""What is known of the objects of one backup, one collection at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field

import msgspec

from mbk.engine.formats.binlog.known import Known, listed_objects, recorded_objects, segments_in
from mbk.engine.formats.binlog.places import SegmentPlaces, scan
from mbk.engine.formats.differences import joined, refuse, tell_extra
from mbk.engine.repository.catalog import Catalog, Committed
from mbk.engine.repository.detailed import Detailed, read_detailed, read_segments
from mbk.engine.repository.pool.whereabouts import data_prefixes
from mbk.engine.repository.record import Record
from mbk.engine.runtime.run import Run
from mbk.frozen import frozen
from mbk.model.layout import FULL_META
from mbk.model.records import Collection, Segment
from mbk.ports.storage import Location, Storage


@frozen(kw_only=True)
class Inventory:
    """Several threads may call it. ``here``: the record was made where the backup lies now.

    Without a record, ``detailed`` has the lists of files, and ``encoded`` its collections by id; or ``segments`` has those of
    a backup of level files, by collection. A shared backup has a record.
    """

    committed: Committed
    collections: Mapping[int, Collection]
    record: Record | None = None
    here: bool = False
    detailed: Detailed | None = None
    encoded: Mapping[int, msgspec.Raw] = field(default_factory=dict)
    segments: Mapping[int, list[Segment]] = field(default_factory=dict)

    @property
    def is_recorded(self) -> bool:
        return self.record is not None

    @property
    def prefix(self) -> str:
        return self.committed.below

    def prefixes(self, collection: int) -> tuple[str, ...]:
        """Below which all objects of a collection lie."""
        return data_prefixes(self.committed, self.record, collection)

    def of(self, collection: int) -> Known:
        """The objects of a collection of the backup."""
        whole = self.collections[collection]
        if self.record is not None:
            objects, shared = self.record.of(collection), self.committed.is_shared
            return recorded_objects(self.prefix, whole, objects, here=self.here, shared=shared)
        if self.detailed is not None and collection in self.encoded:
            detailed = self.detailed.decoded(self.encoded[collection])
            return listed_objects(self.prefix, segments_in(detailed))
        listed = self.segments.get(collection, [])
        numbers = {segment.segment_id for segment in listed}
        others = [segment for segment in segments_in(whole) if segment.segment_id not in numbers]
        return listed_objects(self.prefix, [*listed, *others])


@contextmanager
def opened(catalog: Catalog, committed: Committed, location: Location) -> Iterator[Inventory]:
    """``location``: where the backup lies now. `DamagedBackup` if it has lost its record."""
    layout, backup = committed.stored.layout, committed.backup
    collections = {record.collection_id: record for record in backup.collection_backups}
    record = catalog.open_record(committed)
    if record is not None:
        with record:
            yield Inventory(
                committed=committed,
                collections=collections,
                record=record,
                here=record.is_here(location, layout.name),
            )
        return
    if FULL_META not in committed.stored.files:
        segments = read_segments(catalog, layout.name)
        yield Inventory(committed=committed, collections=collections, segments=segments)
        return
    detailed = read_detailed(catalog, layout.name)
    yield Inventory(committed=committed, collections=collections, detailed=detailed, encoded=detailed.by_id())


def surveyed(storage: Storage, run: Run, catalog: Catalog, committed: Committed) -> dict[int, SegmentPlaces]:
    """Collection id -> where its segments are. `DamagedBackup` if they are not what the backup says; what is not the
    backup's is told."""
    layout, found = committed.stored.layout, {}
    with opened(catalog, committed, storage.location) as inventory:
        for record in committed.backup.collection_backups:
            known = inventory.of(record.collection_id)
            prefixes = inventory.prefixes(record.collection_id)
            found[record.collection_id] = scan(storage, prefixes, record, run, known)
    differences = joined(places.differences for places in found.values())
    refuse(differences, backup=layout.name, location=storage.location)
    tell_extra(run, differences, backup=layout.name)
    return found
