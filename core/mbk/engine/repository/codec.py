"""Encoding and decoding the metadata files of a backup. Bytes in, bytes out; no storage.

See docs/reference/backup-format.md#json.

Writing streams: a full metadata file is assembled from encoded pieces and never in memory as a whole.
Reading decodes straight into records without the file lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from mbk.engine.repository.spool import SegmentSpool
from mbk.engine.runtime.decoding import Encoded, Undecodable, decoded
from mbk.errors import DamagedBackup, InvalidBackup
from mbk.model import layout
from mbk.model.records import (
    ALL_PARTITIONS,
    Backup,
    BackupExtras,
    BackupHead,
    Collection,
    CollectionHead,
    Mark,
    Partition,
    PartitionHead,
    Record,
    SegmentHead,
)

T = TypeVar("T", bound=Record)
R = TypeVar("R", bound=Record)

#: A collection with its partitions in server order; the segments are in the spool.
CollectionParts = tuple[CollectionHead, list[PartitionHead]]


class Infos(Record):
    """``{"infos": […]}`` of the collection, partition and segment files, each entry still encoded."""

    infos: list[msgspec.Raw] = msgspec.field(default_factory=list)


def head(record: T, kind: type[T]) -> T:
    """The fields of a record that belong to its base ``kind``."""
    return kind(**{name: getattr(record, name) for name in kind.__struct_fields__})


def encode_backup_head(backup: BackupExtras) -> Iterator[bytes]:
    yield msgspec.json.encode(head(backup, BackupHead))


def encode_collections(collections: Iterable[CollectionParts]) -> Iterator[bytes]:
    """``collection_meta.json``: partitions without segments, no all-partition L0 segments."""
    yield from _infos(
        _after_commas(
            _object(collection, partition_backups=_after_commas(map(_object, partitions)))
            for collection, partitions in collections
        )
    )


def encode_partitions(collections: Iterable[CollectionParts]) -> Iterator[bytes]:
    yield from _infos(
        _after_commas(_object(partition) for _, partitions in collections for partition in partitions)
    )


def encode_segments(collections: Iterable[CollectionParts], spool: SegmentSpool) -> Iterator[bytes]:
    """``segment_meta.json``: the segments in partitions, without those of all partitions."""
    yield from _infos(
        chunk
        for collection, partitions in collections
        for partition in partitions
        for chunk in spool.read(collection.collection_id, partition.partition_id)
    )


def encode_full(
    backup: BackupExtras, collections: Iterable[CollectionParts], spool: SegmentSpool
) -> Iterator[bytes]:
    """``full_meta.json``: the whole tree."""

    def each() -> Iterator[Iterator[bytes]]:
        for collection, partitions in collections:
            number = collection.collection_id
            yield _object(
                collection,
                partition_backups=_after_commas(
                    _object(part, segment_backups=spool.read(number, part.partition_id))
                    for part in partitions
                ),
                l0_segments=spool.read(number, ALL_PARTITIONS),
            )

    yield from _object(backup, collection_backups=_after_commas(each()))


def with_mark(full: bytes, mark: Mark, *, where: str) -> bytes:
    """A ``full_meta.json`` that has no mark, with it as its last member; all other bytes stay."""
    body = full.rstrip().removesuffix(b"}").rstrip()
    if not full.rstrip().endswith(b"}"):
        raise InvalidBackup("{key} is not a JSON object", code="full-meta-no-object", key=where)
    return body + (b"" if body.endswith(b"{") else b",") + b'"mbk":' + msgspec.json.encode(mark) + b"}"


def _object(record: Record, **lists: Iterator[bytes]) -> Iterator[bytes]:
    """A record with at least one field, and further members: lists of items after commas, omitted when empty."""
    yield msgspec.json.encode(record)[:-1]
    for key, items in lists.items():
        if first := next(items, b""):
            yield b',"%s":[%s' % (key.encode(), first[1:])
            yield from items
            yield b"]"
    yield b"}"


def _infos(items: Iterator[bytes]) -> Iterator[bytes]:
    yield b'{"infos":[%s' % next(items, b"")[1:]
    yield from items
    yield b"]}"


def _after_commas(items: Iterable[Iterator[bytes]]) -> Iterator[bytes]:
    """The items as a spool keeps them: no item has to know whether it is the first of its list."""
    for item in items:
        yield b","
        yield from item


# -- reading -----------------------------------------------------------------------------------------------------


def decode(data: Encoded, kind: type[T], *, where: str) -> T:
    """Decodes one file; `InvalidBackup` says which file is damaged and where in it, whatever its bytes are."""
    try:
        return decoded(data, kind)
    except Undecodable as wrong:
        if wrong.is_json:
            return _decode_with_nulls(data, kind, where, wrong)
        raise _damaged(where, wrong) from wrong


def decode_tree(data: bytes | bytearray, *, where: str) -> dict[str, Any]:
    """A file as plain data: everything that is in it, known or not."""
    try:
        return decoded(data, dict[str, Any])
    except Undecodable as wrong:
        raise _damaged(where, wrong) from wrong


def _decode_with_nulls(data: Encoded, kind: type[T], where: str, wrong: Exception) -> T:
    """A null means absent; that is too rare to pay for in every read."""
    try:
        return msgspec.convert(_without_nulls(decoded(data, object)), type=kind)
    except msgspec.ValidationError as still:
        raise InvalidBackup(
            "{key} does not conform to the backup format: {reason}",
            code="metadata-invalid",
            key=where,
            reason=still,
            hint="was it edited by hand?",
        ) from wrong
    except (Undecodable, RecursionError) as broken:
        raise _damaged(where, broken) from broken


def _damaged(where: str, reason: Exception) -> DamagedBackup:
    return DamagedBackup(
        "{key} is damaged: {reason}",
        code="metadata-damaged",
        key=where,
        reason=reason,
        hint="the backup cannot be read; use another one",
    )


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def decode_full(data: bytes | bytearray, *, where: str) -> Backup:
    return decode(data, Backup, where=where)


def decode_levels(read: Callable[[str], bytes | bytearray], *, where: str) -> Backup:
    """Rebuilds a backup that has no ``full_meta.json`` from its four level files.

    See docs/reference/backup-format.md#reading-a-backup.
    """

    def infos(file: str, kind: type[R]) -> list[R]:
        place = f"{where}{file}"
        return [decode(raw, kind, where=place) for raw in decode(read(file), Infos, where=place).infos]

    root = decode(read(layout.BACKUP_META), BackupExtras, where=f"{where}{layout.BACKUP_META}")
    backup = Backup(**{name: getattr(root, name) for name in BackupExtras.__struct_fields__})
    backup.collection_backups = infos(layout.COLLECTION_META, Collection)
    segments: defaultdict[tuple[int, int], list[SegmentHead]] = defaultdict(list)
    for segment in infos(layout.SEGMENT_META, SegmentHead):
        segments[segment.collection_id, segment.partition_id].append(segment)
    partitions: defaultdict[int, list[Partition]] = defaultdict(list)
    for partition in infos(layout.PARTITION_META, Partition):
        partition.segment_backups = segments[partition.collection_id, partition.partition_id]
        partition.size = sum(segment.size for segment in partition.segment_backups)
        partitions[partition.collection_id].append(partition)
    for collection in backup.collection_backups:
        collection.partition_backups = partitions[collection.collection_id]
        collection.size = sum(partition.size for partition in collection.partition_backups)
    backup.size = sum(collection.size for collection in backup.collection_backups)
    return backup
