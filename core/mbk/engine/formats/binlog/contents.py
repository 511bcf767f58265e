"""Reads the objects of a collection before they are used, and compares them with what the backup recorded of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field

from mbk.engine.formats.binlog.inventory import Inventory
from mbk.engine.formats.binlog.known import Known, Spot, segments_in, spot_of
from mbk.engine.formats.binlog.parsing import Parser
from mbk.engine.formats.binlog.places import Place, SegmentPlaces
from mbk.engine.formats.comparing import Comparison, differs
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import Arrived
from mbk.errors import InvalidBackup
from mbk.frozen import frozen
from mbk.ports.storage import ObjectInfo, Storage

#: Parses an object of a segment; `InvalidBackup` if it is not what its key says.
Parse = Callable[[ObjectInfo, Spot], None]


@dataclass(slots=True, kw_only=True)
class Contents:
    """The objects of one collection of a backup. Several threads may call it.

    ``prefix``: the backup's. ``load``: what is known of them, asked for once something must be read. ``extra``: keys that do not belong to the backup.
    ``chosen``: the segments whose objects are read before they are used; ``everything``: also those that the storage
    vouches for. ``parse``: for objects of which no digest is recorded.
    """

    storage: Storage
    run: Run
    prefix: str
    pool: Pool
    load: Callable[[], Known]
    extra: Set[str] = frozenset()
    chosen: Set[int] = frozenset()
    everything: bool = False
    parse: Parse | None = None
    _known: Known | None = field(default=None, init=False)
    _intact: set[str] = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def entries(self, prefix: str) -> list[ObjectInfo]:
        """The backup's objects below a directory of a segment."""
        if not prefix:
            return []
        return [
            entry for entry in listing.objects(self.storage, self.run, prefix) if entry.key not in self.extra
        ]

    def deletes(self, place: Place) -> list[ObjectInfo]:
        """The delete logs of a segment, wherever they lie."""
        return [entry for directory in place.deltas for entry in self.entries(directory)]

    def require(self, places: Iterable[tuple[int, Place]]) -> None:
        """Compares the objects of these segments, as many at once as the pool has workers.

        `DamagedBackup` names an object that is not the one that was recorded.
        """
        self.require_objects(self._to_read(places))

    def require_objects(self, entries: Iterable[ObjectInfo]) -> None:
        self.pool.run(self.require_object, entries)

    def require_copies(self, copies: Iterable[Arrived]) -> None:
        """As `require`, for copies: a digest that was made of one while it was copied is one of its source, too."""
        self.require_objects(copy.item.source for copy in copies if not self._is_intact(copy))

    def damaged(self, places: Iterable[tuple[int, Place]]) -> dict[int, str]:
        """Segment -> what is wrong with its first damaged object."""
        found: dict[int, str] = {}

        def one(entry: ObjectInfo) -> None:
            try:
                self.require_object(entry)
            except InvalidBackup as error:
                spot = self._spot(entry.key)
                if spot is not None:
                    found.setdefault(spot.segment, error.message)

        self.pool.run(one, self._to_read(places))
        return found

    def require_object(self, entry: ObjectInfo) -> None:
        """Compares one object, once. Objects of segments that are not ``chosen`` are taken as they are."""
        spot = self._spot(entry.key)
        if spot is None or spot.segment not in self.chosen or entry.key in self._intact:
            return
        known = self._loaded()
        record = known.objects.get(known.name(entry.key, spot))
        if record is not None and known.recorded:
            comparison = Comparison(
                storage=self.storage, run=self.run, here=known.here, everything=self.everything
            )
            comparison.require(entry, record)
        if self.parse is not None and not (record and record.digests):
            self.parse(entry, spot)
        self._intact.add(entry.key)

    def _is_intact(self, copy: Arrived) -> bool:
        key = copy.item.source_key
        spot = self._spot(key)
        if self.everything or spot is None or spot.segment not in self.chosen or key in self._intact:
            return False
        known = self._loaded()
        record = known.objects.get(known.name(key, spot))
        kinds = record.digests.keys() & copy.known.every.keys() if record is not None else ()
        for kind in kinds:
            if record is not None and record.digests[kind] != copy.known.every[kind]:
                raise differs(key, kind, copy.known.every[kind], record)
        return bool(kinds)

    def _to_read(self, places: Iterable[tuple[int, Place]]) -> Iterable[ObjectInfo]:
        for segment, place in places:
            if segment in self.chosen:
                yield from self.entries(place.insert)
                yield from self.deletes(place)

    def _loaded(self) -> Known:
        with self._lock:
            if self._known is None:
                self._known = self.load()
            return self._known

    def _spot(self, key: str) -> Spot | None:
        return spot_of(key.removeprefix(self.prefix))


@frozen(kw_only=True)
class Reading:
    """How the contents of a backup's collections are read in one run. ``depth`` as the option ``verify`` of a restore."""

    storage: Storage
    run: Run
    inventory: Inventory
    pool: Pool
    depth: str = "auto"

    @property
    def compares(self) -> bool:
        """Whether contents are compared, or parsed."""
        return self.depth == "contents" or (self.depth == "auto" and self.inventory.is_recorded)

    def of(self, collection: int, found: SegmentPlaces) -> Contents:
        everything = self.depth == "contents"
        chosen: Set[int] = found.unsure if self.depth == "auto" else frozenset()
        return Contents(
            storage=self.storage,
            run=self.run,
            prefix=self.inventory.prefix,
            pool=self.pool,
            load=lambda: self.inventory.of(collection),
            extra=found.extra,
            chosen=frozenset(found.places) if everything else frozenset(chosen),
            everything=everything,
            parse=self._parser(collection).require if everything else None,
        )

    def _parser(self, collection: int) -> Parser:
        segments = segments_in(self.inventory.collections[collection])
        versions = {segment.segment_id: segment.storage_version for segment in segments}
        return Parser(storage=self.storage, run=self.run, versions=versions)
