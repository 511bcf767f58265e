"""The metadata of a backup for the other layout: the same tree, and a record with the keys that its objects have there.

Both layouts differ in where the objects lie and in the format that is told. So the tree keeps its bytes but for a few members, and what
other tools read of it stays true.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from msgspec import structs

from mbk.engine.repository import codec
from mbk.engine.repository.catalog import LEVEL_FILES, Catalog, Committed, begun
from mbk.engine.repository.codec import CollectionParts
from mbk.engine.repository.commit import NewRecord, new_record, totals_of
from mbk.engine.repository.detailed import read_detailed
from mbk.engine.repository.pool.moving import Move, Moving, collection_of, directories
from mbk.engine.repository.renaming import with_members
from mbk.engine.repository.seal import digest_of
from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import Arrived, CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import InvalidBackup
from mbk.frozen import frozen
from mbk.model import layout
from mbk.model.manifest import SHARED, FileDigest, Manifest, PutInPool
from mbk.model.records import CollectionHead, PartitionHead
from mbk.ports.storage import PLAIN, PRIVATE, Storage


@frozen(kw_only=True)
class Relaid:
    """``manifest`` is that of the new commit. ``files``: those that differ from the old ones, in the order in which they are written:
    ``full_meta.json``, which commits, last."""

    manifest: Manifest
    files: Mapping[str, Callable[[], Iterable[bytes]]]
    private: bool

    @property
    def record(self) -> str:
        return next(filter(layout.is_record, self.files))


@dataclass(slots=True)
class Carried:
    """The objects of a backup as they arrived, with the keys that they have there. ``proven``: a digest of each was compared.
    ``put``: those that the backup itself put there."""

    spool: SegmentSpool
    put: PutInPool = field(default_factory=PutInPool)
    proven: bool = True

    def add(self, collection: int, arrived: Sequence[Arrived], move: Move) -> None:
        self.spool.add_objects(collection, (item.recorded(move.below) for item in arrived))
        sizes = [item.entry.size for item in arrived if move.puts(item.entry.key)]
        self.put = PutInPool(objects=self.put.objects + len(sizes), size=self.put.size + sum(sizes))
        self.proven = self.proven and all(item.known.proven for item in arrived)


@contextmanager
def carried(moving: Moving, transfer: Transfer, storage: Storage, run: Run) -> Iterator[Carried]:
    """Copies the objects to ``storage``, one collection after the other."""
    by_collection = defaultdict[int, list[CopyItem]](list)
    for item in moving.items:
        by_collection[collection_of(item)].append(item)
    with SegmentSpool() as spool:
        made = Carried(spool)
        for collection, items in by_collection.items():
            prefixes = sorted(directories(item.key for item in items))
            arrived = transfer.arrive(
                items,
                collection="",
                present=moving.present,
                listed=partial(listing.by_key, storage, run, *prefixes),
            )
            made.add(collection, arrived, moving.move)
        yield made


def commit_of(committed: Committed, name: str) -> str:
    """The name of the commit that this one becomes in the other layout: the same each time, so that a copy is known again."""
    own = committed.manifest.commit or committed.backup.id
    return hashlib.sha256(f"{own}/{name}/{_format(committed)}".encode()).hexdigest()[:32]


def require_relayable(committed: Committed) -> None:
    """`InvalidBackup` for one of very old tools, which has no tree to give a mark to."""
    if layout.FULL_META not in committed.stored.files:
        name = committed.stored.layout.name
        raise InvalidBackup(
            "backup {backup!r} was made by a tool that wrote no full_meta.json, so it cannot get another layout",
            code="layout-without-full-meta",
            backup=name,
            hint="copy it as it is, or restore it and back the collections up again",
        )


@contextmanager
def relaid(
    catalog: Catalog, committed: Committed, carried: Carried, *, name: str, location: object, tool: str
) -> Iterator[Relaid]:
    """Of the backup that is called ``name`` in ``location``."""
    numbers = [item.collection_id for item in committed.backup.collection_backups]
    commit = commit_of(committed, name)
    with new_record(f"{location}/{name}", numbers, carried.spool, commit=commit) as record:
        made = dict(_trees(catalog, committed, record, name))
        levels = dict(_levels(catalog, committed)) | {file: digest_of([data]) for file, data in made.items()}
        manifest = structs.replace(
            _before(committed, tool),
            name=name,
            format=_format(committed),
            commit=commit,
            files={record.name: record.digest, **levels},
            totals=committed.manifest.totals or totals_of(committed.backup, record.objects),
            added=None if committed.is_shared else carried.put,
        )
        yield Relaid(
            manifest=manifest,
            files={record.name: record.chunks, **{file: _once(data) for file, data in made.items()}},
            private=committed.backup.rbac_meta is not None,
        )


def write(catalog: Catalog, relaid: Relaid, *, until: Manifest, run: Run) -> None:
    """Commits. ``until``: the manifest that is true until then; it names the new files as that of ``relaid`` does."""
    place = catalog.layout(relaid.manifest.name)
    catalog.write_manifest(place.name, until)
    for file, chunks in relaid.files.items():
        run.check_cancelled()
        options = PRIVATE if relaid.private and file != relaid.record else PLAIN
        catalog.write(place.meta(file), chunks, digest=relaid.manifest.files[file], options=options)
    catalog.write_manifest(place.name, relaid.manifest)


def _format(committed: Committed) -> str:
    """In the other layout."""
    return "" if committed.is_shared else SHARED


def _trees(
    catalog: Catalog, committed: Committed, record: NewRecord, name: str
) -> Iterator[tuple[str, bytes]]:
    place, kind = committed.stored.layout, _format(committed)
    members = {"name": name, "format": kind or None}
    if layout.BACKUP_META in committed.stored.files:
        where = place.meta(layout.BACKUP_META)
        yield layout.BACKUP_META, with_members(catalog.read_file(where), members, where=where)
    if committed.is_shared:
        yield from _level_files(catalog, committed)
    where = place.meta(layout.FULL_META)
    mark = record.mark(failed=committed.manifest.failed)
    yield layout.FULL_META, with_members(catalog.read_file(where), {**members, "mbk": mark}, where=where)


def _level_files(catalog: Catalog, committed: Committed) -> Iterator[tuple[str, bytes]]:
    """Those that a classic backup has, and a shared one need not have."""
    with SegmentSpool() as spool:
        parts: list[CollectionParts] = []
        for collection in read_detailed(catalog, committed.stored.layout.name).collections():
            partitions = [codec.head(part, PartitionHead) for part in collection.partition_backups]
            parts.append((codec.head(collection, CollectionHead), partitions))
            for segment in collection.segments():
                spool.add(segment, ())
        made = {
            layout.COLLECTION_META: partial(codec.encode_collections, parts),
            layout.PARTITION_META: partial(codec.encode_partitions, parts),
            layout.SEGMENT_META: partial(codec.encode_segments, parts, spool),
        }
        for file, encode in made.items():
            if file not in committed.stored.files:
                yield file, b"".join(encode())


def _levels(catalog: Catalog, committed: Committed) -> Iterator[tuple[str, FileDigest]]:
    """Of those that stay as they are."""
    known, place = committed.manifest.files, committed.stored.layout
    for file in sorted(LEVEL_FILES - {layout.BACKUP_META}):
        if file in committed.stored.files:
            yield file, known.get(file) or digest_of([catalog.read_file(place.meta(file))])


def _before(committed: Committed, tool: str) -> Manifest:
    """The manifest of the backup as it is; another tool's has none, and was made when its metadata was written."""
    manifest, backup = committed.manifest, committed.backup
    if not manifest.started:
        made = begun(committed.stored, manifest)
        when = made.isoformat(timespec="seconds") if made else ""
        manifest = structs.replace(manifest, tool=tool, started=when, finished=when)
    return structs.replace(manifest, id=manifest.id or backup.id, earlier=None)


def _once(data: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: [data]
