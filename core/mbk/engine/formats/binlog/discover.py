"""Which files a segment consists of, and where they go in the backup.

See docs/reference/milvus-protocol.md#segments-and-their-files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from mbk.engine.formats.binlog.orphans import sort_out
from mbk.engine.formats.binlog.versions import PACKED, refuse_manifests
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.items import CopyItem
from mbk.errors import MilvusError, NotFound, WrongStorage
from mbk.model import layout
from mbk.model.layout import BackupLayout
from mbk.model.records import ALL_PARTITIONS, Binlog, FieldBinlog, Segment
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, SegmentInfo
from mbk.ports.storage import ObjectInfo, Reader, Storage

K = TypeVar("K", layout.InsertKey, layout.DeltaKey)


class SegmentGone(NotFound):
    """Milvus replaced the segment (compaction) and removed its files; the list of segments must be asked for again."""


@dataclass(slots=True)
class SegmentFiles:
    """A segment's record for the metadata, and the copies that bring it into the backup."""

    record: Segment
    items: list[CopyItem] = field(default_factory=list)


def discover(
    storage: Storage,
    place: BackupLayout,
    collection: int,
    segment: SegmentInfo,
    run: Run,
    *,
    fields: frozenset[int] = frozenset(),
) -> SegmentFiles | None:
    """Lists a segment's files in Milvus' storage; None for a segment that has neither rows nor files.

    ``fields`` are the ids of those that every segment has a column of; packed segments name no fields.

    Raises `WrongStorage` when the storage holds no segments at all, `SegmentGone` when this one's files vanished,
    `SegmentUnclear` when they may be others' than the segment's, `MilvusError` for a layout that binlogs cannot hold.
    """
    refuse_manifests([segment], f"segment {segment.id}")
    root = storage.location.root
    insert_prefix, delta_prefix = layout.segment_prefixes(root, collection, segment.partition_id, segment.id)
    inserts = [] if segment.is_l0 else listing.objects(storage, run, insert_prefix)
    deltas = listing.objects(storage, run, delta_prefix)
    if not (deltas if segment.is_l0 else inserts):
        if not segment.rows and not segment.delta_logs:
            return None
        _explain_missing(storage, segment, run)
    record = Segment(
        segment_id=segment.id,
        collection_id=collection,
        partition_id=segment.partition_id,
        num_of_rows=segment.rows,
        size=sum(entry.size for entry in (*inserts, *deltas)),
        group_id=0 if segment.partition_id == ALL_PARTITIONS else segment.id,
        is_l0=segment.is_l0,
        v_channel=segment.v_channel,
        storage_version=segment.storage_version,
    )
    files = SegmentFiles(record)
    if inserts:
        _add_inserts(files, place, _own_inserts(storage, root, inserts, segment, run))
        _require_columns(files, segment, fields)
    _add_deltas(files, place, root, deltas, segment)
    return files


def require_milvus_data(
    storage: Storage, milvus: Milvus, collections: Iterable[CollectionInfo], run: Run
) -> None:
    """`WrongStorage` where Milvus has flushed rows and the storage none of them; asked before anything is changed.

    Another Milvus may keep its data below the same root of the wrong bucket, so it is asked for these collections.
    """
    collections = [*collections]
    if _holds_any(storage, {str(info.id) for info in collections}, run):
        return
    for info in collections:
        segments = run.retry.call(
            f"list segments of {info.database}.{info.name}",
            milvus.segments.persistent,
            info.database,
            info.name,
        )
        if any(segment.rows for segment in segments if not segment.is_l0):
            raise _wrong(storage, "of its collections " if _holds_segments(storage, run) else "")


def _holds_any(storage: Storage, collections: set[str], run: Run) -> bool:
    """Whether any of these collections has a directory of segments."""
    prefix = f"{storage.location.root}{layout.INSERT_LOG}/"
    below = listing.level(storage, run, prefix).prefixes
    return any(directory.removeprefix(prefix).strip("/") in collections for directory in below)


def _holds_segments(storage: Storage, run: Run) -> bool:
    return listing.holds_any(storage, run, f"{storage.location.root}{layout.INSERT_LOG}/")


def _wrong(storage: Storage, which: str = "") -> WrongStorage:
    return WrongStorage(
        f"{storage.location} holds no {layout.INSERT_LOG} {which}".rstrip() + ", but Milvus has data",
        hint="bucketName and rootPath must be those of your Milvus",
    )


def _explain_missing(storage: Storage, segment: SegmentInfo, run: Run) -> None:
    if not segment.is_l0 and not _holds_segments(storage, run):
        raise _wrong(storage)
    what = "deletes but no delta logs" if segment.is_l0 else f"{segment.rows} rows but no insert logs"
    raise SegmentGone(
        f"segment {segment.id} has {what} in {storage.location}",
        hint="is this the storage that Milvus uses?",
    )


def _parse(
    entries: Iterable[ObjectInfo], root: str, parse: Callable[[str, str], K | None]
) -> list[tuple[K, ObjectInfo]]:
    parsed = []
    for entry in entries:
        key = parse(root, entry.key)
        if key is None:
            raise MilvusError(
                "{key} is no log of a known layout",
                code="log-known-layout",
                key=entry.key,
                hint="segments of storage version 3 can only be backed up as a snapshot",
            )
        parsed.append((key, entry))
    return parsed


def _own_inserts(
    storage: Reader, root: str, entries: list[ObjectInfo], segment: SegmentInfo, run: Run
) -> list[tuple[layout.InsertKey, ObjectInfo]]:
    """Those that the server names, or else those that can only be the segment's; in order."""
    parsed = sorted(_parse(entries, root, layout.parse_insert), key=lambda pair: pair[0].log)
    if segment.insert_logs is not None:
        wanted = {(log, number) for number, logs in segment.insert_logs.items() for log in logs}
        _require(segment, wanted, {(key.log, key.field) for key, _ in parsed})
    else:
        logs: defaultdict[int, dict[int, ObjectInfo]] = defaultdict(dict)
        for key, entry in parsed:
            logs[key.field][key.log] = entry
        wanted = set(sort_out(storage, segment, logs, run))
    return [(key, entry) for key, entry in parsed if (key.log, key.field) in wanted]


def _add_inserts(
    files: SegmentFiles, place: BackupLayout, own: list[tuple[layout.InsertKey, ObjectInfo]]
) -> None:
    logs: defaultdict[int, list[Binlog]] = defaultdict(list)
    for key, entry in own:
        logs[key.field].append(Binlog(log_path=entry.key, log_size=entry.size, log_id=key.log))
        target = place.insert(key.collection, key.partition, key.segment, key.field, key.log)
        files.items.append(CopyItem.of(entry, target))
    files.record.binlogs = [FieldBinlog(field_id=number, binlogs=logs[number]) for number in sorted(logs)]


def _require_columns(files: SegmentFiles, segment: SegmentInfo, fields: frozenset[int]) -> None:
    """A column that is gone as a whole leaves the others in agreement, and an import would not miss it either."""
    if segment.storage_version >= PACKED:
        return
    if missing := fields - {logs.field_id for logs in files.record.binlogs}:
        raise SegmentGone(
            f"segment {segment.id}: field {min(missing)} has no binlogs", hint="did something delete them?"
        )


def _add_deltas(
    files: SegmentFiles, place: BackupLayout, root: str, entries: list[ObjectInfo], segment: SegmentInfo
) -> None:
    """All that are there where the server gives no list: a delete that stands there twice deletes once."""
    logs: list[Binlog] = []
    for key, entry in sorted(_parse(entries, root, layout.parse_delta), key=lambda pair: pair[0].log):
        if segment.delta_logs is not None and key.log not in segment.delta_logs:
            continue
        logs.append(Binlog(log_path=entry.key, log_size=entry.size, log_id=key.log))
        target = place.delta(key.collection, key.partition, key.segment, key.log)
        files.items.append(CopyItem.of(entry, target))
    _require(segment, {(log, 0) for log in segment.delta_logs or ()}, {(log.log_id, 0) for log in logs})
    # The format wants exactly one entry, also when it is empty.
    files.record.deltalogs = [FieldBinlog(binlogs=logs)]


def _require(segment: SegmentInfo, wanted: set[tuple[int, int]], present: set[tuple[int, int]]) -> None:
    if missing := wanted - present:
        raise SegmentGone(f"segment {segment.id}: log {min(missing)[0]} does not exist")
