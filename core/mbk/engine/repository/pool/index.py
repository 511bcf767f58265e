"""The index of the pool: which objects lie there, by segment, and which backups name them.

It spares a backup the listing of a pool of a million objects, and tells what deleting a backup would free. It is a cache, never
the truth: what is missing, damaged, of another place, or out of date is read from the records of the backups again, and nothing
is copied, kept or removed because of what it says alone.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import msgspec

from mbk.engine.repository.catalog import Catalog
from mbk.engine.repository.keyed import split
from mbk.engine.repository.record import GZIP, LEVEL, inflated
from mbk.engine.runtime.decoding import Undecodable, decoded
from mbk.engine.runtime.retry import twice
from mbk.engine.runtime.run import Run
from mbk.errors import AccessError, Interrupted, InvalidBackup, MbkError, ObjectNotFound
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.manifest import SHARED, Manifest, PutInPool
from mbk.model.records import Record
from mbk.ports.storage import Storage

VERSION: Final = 1
#: Up to the end of the segment in the key of an object, as the line of a record begins.
_SHARE = re.compile(
    rb'\["([^"/\\]+)/binlogs/(?:'
    rb"(insert_log)/(\d+)/(\d+)/(\d+)/\d+/|"
    rb'(delta_log)/(\d+)/(-1)/(\d+)/(?=\d+")|'
    rb"(delta_log)/(\d+)/(\d+)/(\d+)/\d+/)"
)
_SIZE = re.compile(rb'^\["[^"\\]*",(\d+)', re.MULTILINE)

log = logging.getLogger(__name__)


class Indexed(Record):
    """A committed backup whose record the index has. ``origin`` as in the manifest, ``created`` RFC 3339 in UTC."""

    name: str = ""
    id: str = ""
    commit: str = ""
    origin: str = ""
    created: str = ""

    @classmethod
    def of(cls, manifest: Manifest, name: str) -> Indexed:
        return cls(name, manifest.id, manifest.commit, manifest.origin, manifest.started)


class _Heading(Record):
    """The first line. ``location``: the root that it is of. ``others``: names below it that are no shared backups."""

    version: int = 0
    location: str = ""
    backups: list[Indexed] = msgspec.field(default_factory=list)
    others: list[str] = msgspec.field(default_factory=list)


class _Line(msgspec.Struct, frozen=True, array_like=True):
    """A share. ``named``: first and last of each run of backups, by their place in the heading, that name any of it."""

    id: str
    kind: str
    collection: int
    partition: int
    segment: int
    objects: int
    size: int
    named: list[int]


@frozen
class Place:
    """A segment's logs of one kind, ``insert_log`` or ``delta_log``, wherever they lie."""

    kind: str
    collection: int
    partition: int
    segment: int


@dataclass(slots=True)
class Share:
    """The logs of a `Place` below one id: how many, their bytes, and the backups that name any of them as the bits of a number.

    Of a million objects there are a hundred thousand shares, and a thousand backups may name each.
    """

    objects: int = 0
    size: int = 0
    named: int = 0


#: An id below which logs lie, and their place.
ShareKey: TypeAlias = tuple[str, Place]
#: By the digest of a stretch of a record: the share of its objects, how many they are, and their bytes. Records of one pool have
#: most of their stretches in common.
Sums: TypeAlias = dict[bytes, tuple[ShareKey | None, int, int]]


@dataclass(slots=True)
class PoolIndex:
    """``backups`` in the order in which they came. One thread at a time may change it."""

    backups: list[Indexed] = field(default_factory=list)
    others: set[str] = field(default_factory=set)
    shares: dict[Place, dict[str, Share]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return {backup.name for backup in self.backups}

    def of(self, place: Place) -> Iterator[tuple[str, list[Indexed]]]:
        """The ids below which there are such logs, with the backups that name them, the newest first."""
        for number, share in self.shares.get(place, {}).items():
            yield number, [self.backups[bit] for bit in _bits(share.named)][::-1]

    def frees(self, names: Collection[str]) -> PutInPool:
        """What no backup would name any more if these were deleted."""
        going = sum(1 << bit for bit, backup in enumerate(self.backups) if backup.name in names)
        alone = [share for share in self._each() if share.named & going and not share.named & ~going]
        return PutInPool(objects=sum(item.objects for item in alone), size=sum(item.size for item in alone))

    def frees_each(self) -> dict[str, PutInPool]:
        """As `frees`, for each backup by itself."""
        objects, sizes = [0] * len(self.backups), [0] * len(self.backups)
        for share in self._each():
            if share.named & (share.named - 1) == 0 and share.named:
                bit = share.named.bit_length() - 1
                objects[bit] += share.objects
                sizes[bit] += share.size
        return {
            backup.name: PutInPool(objects=objects[bit], size=sizes[bit])
            for bit, backup in enumerate(self.backups)
        }

    def add(self, backup: Indexed, stretches: Iterable[bytes], sums: Sums | None = None) -> None:
        """``stretches``: the lines of its record, as `Catalog.stretches` cuts them. ``sums``: of those of other backups.

        An error while they are drawn changes nothing.
        """
        bit = 1 << len(self.backups)
        for (number, place), (objects, size) in _summed(stretches, {} if sums is None else sums).items():
            share = self.shares.setdefault(place, {}).setdefault(number, Share())
            share.objects, share.size = max(share.objects, objects), max(share.size, size)
            share.named |= bit
        self.backups.append(backup)

    def remove(self, names: Collection[str]) -> bool:
        """Forgets these backups, and the shares that no other one names; whether it knew any."""
        kept = [bit for bit, backup in enumerate(self.backups) if backup.name not in names]
        if len(kept) == len(self.backups):
            return False
        runs = _runs(kept)
        for place, shares in [*self.shares.items()]:
            for number, share in [*shares.items()]:
                share.named = _moved(share.named, runs)
                if not share.named:
                    del shares[number]
            if not shares:
                del self.shares[place]
        self.backups = [self.backups[bit] for bit in kept]
        return True

    def _each(self) -> Iterator[Share]:
        for shares in self.shares.values():
            yield from shares.values()


def _summed(stretches: Iterable[bytes], sums: Sums) -> dict[ShareKey, tuple[int, int]]:
    """Objects and bytes by id and place. ``sums`` grows by what it did not know."""
    from xxhash import xxh3_128_digest

    totals = dict[ShareKey, tuple[int, int]]()
    for stretch in stretches:
        mark = xxh3_128_digest(stretch)
        if (found := sums.get(mark)) is None:
            found = sums[mark] = _sum_of(stretch)
        share, objects, size = found
        if share is not None:
            before = totals.get(share, (0, 0))
            totals[share] = before[0] + objects, before[1] + size
    return totals


def _sum_of(stretch: bytes) -> tuple[ShareKey | None, int, int]:
    """None for an object that is no log: it belongs to no share."""
    found = _SHARE.match(stretch)
    if found is None:
        return None, 0, 0
    number, kind, *ids = (group for group in found.groups() if group is not None)
    sizes = [*map(int, _SIZE.findall(stretch))]
    return (number.decode(), Place(kind.decode(), *map(int, ids))), len(sizes), sum(sizes)


def _bits(number: int) -> Iterator[int]:
    bit = 0
    while number:
        low = (number & -number).bit_length() - 1
        bit += low
        yield bit
        number >>= low + 1
        bit += 1


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of each run of neighbours among ascending numbers."""
    runs = list[tuple[int, int]]()
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _moved(named: int, kept: Iterable[tuple[int, int]]) -> int:
    """The bits of these runs, next to each other."""
    made = at = 0
    for first, last in kept:
        length = last - first + 1
        made |= (named >> first & (1 << length) - 1) << at
        at += length
    return made


# -- as a file ---------------------------------------------------------------------------------------------------------


def encode(index: PoolIndex, location: str) -> Iterator[bytes]:
    packer = zlib.compressobj(LEVEL, wbits=GZIP)
    for line in _lines(index, location):
        if packed := packer.compress(line + b"\n"):
            yield packed
    yield packer.flush()


def _lines(index: PoolIndex, location: str) -> Iterator[bytes]:
    heading = _Heading(version=VERSION, location=location, backups=index.backups, others=sorted(index.others))
    yield msgspec.json.encode(heading)
    for place, shares in index.shares.items():
        for number, share in shares.items():
            named = [end for run in _runs(_bits(share.named)) for end in run]
            line = (place.kind, place.collection, place.partition, place.segment)
            yield msgspec.json.encode(_Line(number, *line, share.objects, share.size, named))


def decode(chunks: Iterable[bytes], location: str) -> PoolIndex | None:
    """None if it is damaged, of an unknown version, or of another location."""
    try:
        lines = split(inflated(chunks))
        heading = decoded(next(lines, b""), _Heading)
        if (heading.version, heading.location) != (VERSION, location):
            return None
        index = PoolIndex(heading.backups, set(heading.others))
        most = 1 << len(index.backups)
        for line in lines:
            entry = decoded(line, _Line)
            place = Place(entry.kind, entry.collection, entry.partition, entry.segment)
            share = Share(entry.objects, entry.size, _named(entry.named))
            if not 0 < share.named < most:
                return None
            index.shares.setdefault(place, {})[entry.id] = share
    except (zlib.error, Undecodable, ValueError):
        return None
    return index


def _named(runs: list[int]) -> int:
    named = 0
    for first, last in zip(runs[::2], runs[1::2], strict=True):
        named |= ((1 << last - first + 1) - 1) << first
    return named


# -- in a storage ------------------------------------------------------------------------------------------------------


def read_index(storage: Storage, run: Run, *, besides: str = "", keep: bool = False) -> PoolIndex:
    """The index, made to agree with the backups that are there.

    A name that it does not know costs a few small requests, and a shared backup also the reading of its record: all of them do if
    no index is there that can be used. A backup that cannot be read is left out. ``besides``: a backup in progress, which is not
    looked at. ``keep``: what was not up to date is written. Raises what the storage raises if the backups cannot be listed.
    """
    catalog = Catalog(storage, run)
    found = stored_index(storage, run)
    index, is_other = found or PoolIndex(), found is None
    there = {*catalog.below_root()} - {besides}
    is_other = index.remove(index.names - there) or is_other
    others, index.others = index.others, index.others & there
    sums: Sums = {}
    for name, manifest in _looked_up(catalog, there - index.names - index.others, index):
        is_other = _added(catalog, name, manifest, index, sums) or is_other
    if keep and (is_other or index.others != others):
        _write(storage, run, index)
    return index


def update_index(
    storage: Storage,
    run: Run,
    *,
    gone: Collection[str] = (),
    added: Indexed | None = None,
    stretches: Iterable[bytes] = (),
) -> None:
    """Tells the stored index that backups were deleted, and that one was committed; ``stretches`` as in `PoolIndex.add`.

    Of two runs that do it at once the last one wins: what it does not know costs a later run a look at it.
    """
    try:
        index = stored_index(storage, run)
        if index is None:
            read_index(storage, run, keep=True)
            return
        names = {*gone, *([added.name] if added else ())}
        index.remove(names)
        index.others -= names
        if added is not None:
            index.add(added, stretches)
        _write(storage, run, index)
    except Interrupted:
        raise
    except MbkError as error:
        log.debug("the index of the pool was not brought up to date: %s", error)


def tell_index(storage: Storage, run: Run, name: str) -> None:
    """As `update_index`, of a backup that came there as a copy, or by an import."""
    catalog = Catalog(storage, run)
    try:
        manifest = catalog.read_manifest(name)
        stretches = catalog.stretches_of(name, manifest)
        update_index(storage, run, added=Indexed.of(manifest, name), stretches=stretches)
    except Interrupted:
        raise
    except MbkError as error:
        log.debug("the index of the pool was not told of backup %s: %s", name, error)


def _write(storage: Storage, run: Run, index: PoolIndex) -> None:
    """A failure is only logged: the next run does it again."""
    key, location = index_key(storage), place_of(storage)
    try:
        run.retry.call(f"write {key}", lambda: storage.write(key, encode(index, location)))
    except Interrupted:
        raise
    except MbkError as error:
        log.debug("the index of the pool was not written: %s", error)


def index_key(storage: Storage) -> str:
    return f"{storage.location.root}{layout.POOL_INDEX}"


def stored_index(storage: Storage, run: Run) -> PoolIndex | None:
    """The index as it was left, whatever has become of the backups since; None if none can be used. One request."""
    try:
        data = Catalog(storage, run).read_file(index_key(storage))
    except ObjectNotFound:
        return None
    return decode([bytes(data)], place_of(storage))


def place_of(storage: Storage) -> str:
    """The root, by whatever address it is reached."""
    return str(replace(storage.location, endpoint=""))


def _looked_up(catalog: Catalog, names: Iterable[str], index: PoolIndex) -> list[tuple[str, Manifest]]:
    """The committed shared backups among these, the oldest first; what is no shared backup, and never becomes one, is noted."""
    found = list[tuple[str, Manifest]]()
    for name in sorted(names):
        try:
            stored, manifest = catalog.told(name)
        except (InvalidBackup, AccessError, ObjectNotFound) as error:
            log.debug("the index of the pool leaves out backup %s: %s", name, error)
            continue
        if stored.is_committed and manifest.format == SHARED:
            found.append((name, manifest))
        elif stored.is_committed or not stored.is_backup:
            index.others.add(name)
    return sorted(found, key=lambda item: item[1].started)


def _added(catalog: Catalog, name: str, manifest: Manifest, index: PoolIndex, sums: Sums) -> bool:
    try:
        twice(lambda: index.add(Indexed.of(manifest, name), catalog.stretches_of(name, manifest), sums))
    except (InvalidBackup, AccessError, ObjectNotFound) as error:
        log.debug("the index of the pool leaves out backup %s: %s", name, error)
        return False
    return True
