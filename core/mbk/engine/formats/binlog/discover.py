"""Which files a segment consists of, and their keys in the backup.

See docs/reference/milvus-protocol.md#segments-and-their-files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from mbk.engine.formats.binlog.groups import Logs
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


_CHECK_STORAGE = "set bucketName and rootPath to those of your Milvus"


class SegmentGone(NotFound):
    """Milvus compacted the segment and removed its files; segments must be listed again."""


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
    stored: Logs,
    run: Run,
    *,
    fields: frozenset[int] = frozenset(),
) -> SegmentFiles | None:
    """What a segment consists of, of the objects ``stored`` in Milvus' storage; None if it has neither rows nor files.

    ``fields``: ids of the fields that every segment has a column for; packed segments do not name fields.

    Raises `WrongStorage` if the storage has no segments at all, `SegmentGone` if this segment's files are missing,
    `SegmentUnclear` if some may not belong to it, `MilvusError` for a layout that the binlog format does not support.
    """
    refuse_manifests([segment], f"segment {segment.id}")
    root, inserts, deltas = storage.location.root, stored.inserts, stored.deltas
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
    """`WrongStorage` if Milvus has flushed rows but the storage has none of them; called before anything is changed.

    The wrong bucket may hold another Milvus' data below the same root, so exactly these collections are looked for.
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
            raise _of_another(storage) if _holds_segments(storage, run) else _without_data(storage)


def _holds_any(storage: Storage, collections: set[str], run: Run) -> bool:
    """Whether any of these collections has a directory of segments."""
    prefix = f"{storage.location.root}{layout.INSERT_LOG}/"
    below = listing.level(storage, run, prefix).prefixes
    return any(directory.removeprefix(prefix).strip("/") in collections for directory in below)


def _holds_segments(storage: Storage, run: Run) -> bool:
    return listing.holds_any(storage, run, f"{storage.location.root}{layout.INSERT_LOG}/")


def _without_data(storage: Storage) -> WrongStorage:
    return WrongStorage(
        "{location} does not contain the data of Milvus",
        code="milvus-data-missing",
        location=storage.location,
        hint=_CHECK_STORAGE,
    )


def _of_another(storage: Storage) -> WrongStorage:
    return WrongStorage(
        "{location} contains the data of another Milvus",
        code="milvus-data-foreign",
        location=storage.location,
        hint=_CHECK_STORAGE,
    )


def _explain_missing(storage: Storage, segment: SegmentInfo, run: Run) -> None:
    if not segment.is_l0 and not _holds_segments(storage, run):
        raise _without_data(storage)
    raise SegmentGone(
        "{log_kind} logs of segment {segment} are missing in {location}",
        code="segment-logs-missing",
        log_kind="delta" if segment.is_l0 else "insert",
        segment=segment.id,
        location=storage.location,
        rows=segment.rows,
        hint="check bucketName and rootPath: is this the storage of your Milvus?",
    )


def _parse(
    entries: Iterable[ObjectInfo], root: str, parse: Callable[[str, str], K | None]
) -> list[tuple[K, ObjectInfo]]:
    parsed = []
    for entry in entries:
        key = parse(root, entry.key)
        if key is None:
            raise MilvusError(
                "unrecognised binlog path {key}",
                code="segment-layout-unknown",
                key=entry.key,
                hint="segments of storage version 3 need --format snapshot",
            )
        parsed.append((key, entry))
    return parsed


def _own_inserts(
    storage: Reader, root: str, entries: list[ObjectInfo], segment: SegmentInfo, run: Run
) -> list[tuple[layout.InsertKey, ObjectInfo]]:
    """The logs that the server names, or else those that certainly belong to the segment; in order."""
    parsed = sorted(_parse(entries, root, layout.parse_insert), key=lambda pair: pair[0].log)
    if segment.insert_logs is not None:
        chosen = {(log, number) for number, logs in segment.insert_logs.items() for log in logs}
        _require(segment, chosen, {(key.log, key.field) for key, _ in parsed})
    else:
        logs: defaultdict[int, dict[int, ObjectInfo]] = defaultdict(dict)
        for key, entry in parsed:
            logs[key.field][key.log] = entry
        chosen = set(sort_out(storage, segment, logs, run))
    return [(key, entry) for key, entry in parsed if (key.log, key.field) in chosen]


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
    """Without this a column that is missing entirely would go unnoticed, here and in the import."""
    if segment.storage_version >= PACKED:
        return
    if missing := fields - {logs.field_id for logs in files.record.binlogs}:
        raise SegmentGone(
            "segment {segment} has no binlogs of field {field}",
            code="segment-field-missing",
            segment=segment.id,
            field=min(missing),
            hint="check whether something deletes objects there",
        )


def _add_deltas(
    files: SegmentFiles, place: BackupLayout, root: str, entries: list[ObjectInfo], segment: SegmentInfo
) -> None:
    """All that are stored, if the server gives no list: a delete that occurs twice does no harm."""
    logs: list[Binlog] = []
    for key, entry in sorted(_parse(entries, root, layout.parse_delta), key=lambda pair: pair[0].log):
        if segment.delta_logs is not None and key.log not in segment.delta_logs:
            continue
        logs.append(Binlog(log_path=entry.key, log_size=entry.size, log_id=key.log))
        target = place.delta(key.collection, key.partition, key.segment, key.log)
        files.items.append(CopyItem.of(entry, target))
    _require(segment, {(log, 0) for log in segment.delta_logs or ()}, {(log.log_id, 0) for log in logs})
    # The format requires exactly one entry, even if empty.
    files.record.deltalogs = [FieldBinlog(binlogs=logs)]


def _require(segment: SegmentInfo, required: set[tuple[int, int]], present: set[tuple[int, int]]) -> None:
    if missing := required - present:
        raise SegmentGone(
            "log {log} of segment {segment} does not exist",
            code="segment-log-missing",
            log=min(missing)[0],
            segment=segment.id,
        )
