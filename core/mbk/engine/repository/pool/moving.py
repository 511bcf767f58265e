"""Which keys the objects of a backup get in another place, or in the other layout."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mbk.engine.repository.catalog import Committed
from mbk.engine.repository.pool.bases import Bases
from mbk.engine.repository.pool.damage import read_damaged
from mbk.engine.repository.pool.index import Place
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.same import Same, compare
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.model.records import DEFAULT_DATABASE, Backup, Collection
from mbk.model.reports import CollectionOutcome
from mbk.model.states import CollectionState
from mbk.ports.storage import Location, ObjectInfo, Storage

#: An id that can name a directory of the pool; those of mbk and of the classic tool are UUIDs.
_ID = re.compile(r"(?!removed$)[0-9A-Za-z][0-9A-Za-z_-]{0,63}")


@frozen(kw_only=True)
class Move:
    """Of the backup ``source`` to ``place``, into the pool there if ``shared``.

    ``directory``: of a classic backup that becomes shared, the directory of the pool that its objects get. Objects that lie in
    the pool already keep theirs: there they are the same objects.
    """

    source: Committed
    place: BackupLayout
    shared: bool
    directory: str = ""

    @classmethod
    def of(cls, source: Committed, place: BackupLayout, *, shared: bool) -> Move:
        move = cls(source=source, place=place, shared=shared)
        if not shared or source.is_shared:
            return move
        number = source.backup.id
        return replace(move, directory=number) if _ID.fullmatch(number) else move.apart()

    def apart(self) -> Move:
        """With a directory that no other backup has, whatever its id; the same one each time."""
        own = f"{self.source.backup.id}/{self.source.stored.layout.name}"
        return replace(self, directory=hashlib.sha256(own.encode()).hexdigest()[:32])

    @property
    def relays(self) -> bool:
        """Whether the layout changes."""
        return self.shared is not self.source.is_shared

    @property
    def below(self) -> str:
        """What the keys in the record are relative to, there."""
        return layout.pool_prefix(self.place.root) if self.shared else self.place.prefix

    def key(self, key: str) -> str:
        """What the object with this key here has there."""
        name = key.removeprefix(self.source.below)
        if not self.relays:
            return f"{self.below}{name}"
        if self.shared:
            return f"{layout.pooled(self.place.root, self.directory).prefix}{name}"
        return f"{self.place.prefix}{name.partition('/')[2]}"

    def items(self, entries: Iterable[ObjectInfo]) -> list[CopyItem]:
        return [CopyItem.of(entry, self.key(entry.key)) for entry in entries]

    def puts(self, key: str) -> bool:
        """Whether the object with this key there is put there by this backup, which no other one has."""
        return not self.directory or key.startswith(layout.pooled(self.place.root, self.directory).prefix)

    def prefixes(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Below which these objects lie there."""
        if not self.shared:
            return (self.place.data_prefix,)
        root, start = self.place.root, len(self.below)
        directories = {key[start : key.index("/", start)] for key in keys}
        return tuple(layout.pooled(root, directory).data_prefix for directory in sorted(directories))


@frozen(kw_only=True)
class Moving:
    """The objects of a backup on their way; ``present``: what lies there already, by key. ``stays``: they are where they are to be, as
    both backups share one pool. ``healed``: what lies there and is known to be damaged, relative to the pool, and so is copied again."""

    move: Move
    items: Sequence[CopyItem]
    present: Mapping[str, ObjectInfo]
    stays: bool = False
    healed: frozenset[str] = frozenset()

    @property
    def prefixes(self) -> tuple[str, ...]:
        return self.move.prefixes(item.key for item in self.items)


def moving(
    move: Move, entries: Sequence[ObjectInfo], here: Location, there: Storage | None, run: Run
) -> Moving:
    """``there``: where they go; None if that does not exist yet.

    A backup that gets into the pool never touches what another one with its id put there: a copy of it that was changed since.
    """
    one_root = there is not None and here.same_bucket(there.location) and here.root == there.location.root
    if one_root and move.shared and not move.relays:
        return Moving(
            move=move, items=move.items(entries), present={item.key: item for item in entries}, stays=True
        )
    made = _listed(move, entries, there, run)
    if move.directory and any(_clashes(move, item, made.present.get(item.key)) for item in made.items):
        return _listed(move.apart(), entries, there, run)
    return made


def _listed(move: Move, entries: Sequence[ObjectInfo], storage: Storage | None, run: Run) -> Moving:
    items = move.items(entries)
    if storage is None or not items:
        return Moving(move=move, items=items, present={})
    if move.directory:
        items = _shared(move, items, storage, run)
    present = listing.by_key(storage, run, *move.prefixes(item.key for item in items))
    damaged = read_damaged(storage, run) if move.shared else {}
    healed = frozenset(key for item in items if (key := item.key.removeprefix(move.below)) in damaged)
    for key in healed:
        present.pop(f"{move.below}{key}", None)
    return Moving(move=move, items=items, present=present, healed=healed)


def _clashes(move: Move, item: CopyItem, there: ObjectInfo | None) -> bool:
    return there is not None and move.puts(item.key) and compare(item, there) is Same.NO


def _shared(move: Move, items: Sequence[CopyItem], storage: Storage, run: Run) -> list[CopyItem]:
    """With the keys of the same objects where the pool has them, whoever put them there: as a new backup builds on it, but only
    digests tell, as nobody knows of which storage the objects came."""
    logs = defaultdict[Place, dict[str, CopyItem]](dict)
    for item in items:
        name = item.source_key.removeprefix(move.source.below)
        _, kind, *ids = name.split("/")
        logs[Place(kind, *map(int, ids[:3]))][name] = item
    same = dict[str, str]()
    with Bases(storage, run, None, name=move.place.name) as bases:
        for place, named in logs.items():
            is_whole = place.kind == layout.INSERT_LOG
            found = (bases.whole if is_whole else bases.each)(place, named)
            sound = {name: entry.key for name, entry in found.items() if entry.key not in bases.damaged}
            if len(sound) == len(named) or not is_whole:
                same |= {named[name].key: f"{move.below}{key}" for name, key in sound.items()}
    return [replace(item, key=same.get(item.key, item.key)) for item in items]


def directories(keys: Iterable[str]) -> set[str]:
    """The prefixes of collections below which the logs with these keys lie."""
    found = set[str]()
    for key in keys:
        head, _, log = key.rpartition("/binlogs/")
        found.add(f"{head}/binlogs/{'/'.join(log.split('/', 2)[:2])}/")
    return found


def collection_of(item: CopyItem) -> int:
    """The id of the collection in the key of a log, in either layout."""
    _, _, logs = item.source_key.rpartition("/binlogs/")
    return int(logs.split("/")[1])


def outcomes(
    backup: Backup, items: Iterable[CopyItem], state: CollectionState
) -> tuple[CollectionOutcome, ...]:
    """Of each collection, with these objects."""
    objects, sizes = Counter[int](), Counter[int]()
    for entry in items:
        objects[number := collection_of(entry)] += 1
        sizes[number] += entry.size
    return tuple(
        _outcome(item, state, objects[item.collection_id], sizes[item.collection_id])
        for item in backup.collection_backups
    )


def _outcome(item: Collection, state: CollectionState, objects: int, size: int) -> CollectionOutcome:
    label = f"{item.db_name or DEFAULT_DATABASE}.{item.collection_name}"
    segments = [segment for part in item.partition_backups for segment in part.segment_backups]
    rows = sum(segment.num_of_rows for segment in segments if not segment.is_l0)
    return CollectionOutcome(label, label, state, objects=objects, size=size, rows_expected=rows)
