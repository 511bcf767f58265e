"""Tells a segment's own binlogs from the orphans of failed uploads, if the server does not list them (before 2.5.8).

Every write of a segment, a flush or one part of a compaction, takes its log ids from one consecutive block: an id for each
field, in any order, then the ids of other logs (milvus: internal/datanode/syncmgr/task.go, `prefetchIDs`; earlier
internal/datanode/flush_manager.go, where some builds of 2.3 give one id to all fields; 2.2.16 and 2.3.5 do write blocks).
A failed upload leaves part of such a block, and the data is written again under other ids. So the segment consists of the
complete blocks, and their rows must add up to the server's count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mbk.engine.formats.binlog.versions import PACKED
from mbk.engine.runtime.run import Run
from mbk.errors import InvalidBackup, MilvusError, UsageError
from mbk.frozen import frozen
from mbk.ports.milvus.values import SegmentInfo
from mbk.ports.storage import ObjectInfo, Reader

TIMESTAMP_FIELD = 1
TIMESTAMP_BYTES = 8
#: Bytes read for a descriptor, which takes a few hundred.
HEAD = 4096
#: Number of files named in an error: enough to recognise the pattern in one line.
NAMED = 3

#: Field id -> log id -> the object.
Logs = Mapping[int, Mapping[int, ObjectInfo]]
#: (log id, field id).
Log = tuple[int, int]


class SegmentUnclear(MilvusError):
    """It is not certain which files belong to the segment; it may be in the middle of a write."""


@frozen
class Sorted:
    """``own`` and ``orphans`` together are all insert logs below the segment's prefix."""

    own: frozenset[Log]
    orphans: frozenset[Log]


def whole_writes(logs: Iterable[Log], fields: int) -> Sorted | None:
    """The logs in complete blocks, and the rest; None if there is more than one way to form blocks."""
    ordered = sorted(logs)
    forward = _blocks(ordered, fields)
    if len(forward) == len(ordered):
        return Sorted(frozenset(ordered), frozenset())
    backward = _blocks([(-log, field) for log, field in reversed(ordered)], fields)
    if forward != {(-log, field) for log, field in backward}:
        return None
    return Sorted(frozenset(forward), frozenset(ordered) - forward)


def _blocks(ordered: list[Log], fields: int) -> set[Log]:
    found: set[Log] = set()
    at = 0
    while at + fields <= len(ordered):
        block = ordered[at : at + fields]
        if block[-1][0] - block[0][0] < fields and len({field for _, field in block}) == fields:
            found.update(block)
            at += fields
        else:
            at += 1
    return found


def sort_out(storage: Reader, segment: SegmentInfo, logs: Logs, run: Run) -> frozenset[Log]:
    """The segment's own logs; if that is uncertain, `SegmentUnclear` names the segment, field and files."""
    everything = frozenset((log, field) for field, found in logs.items() for log in found)
    sorted_out = whole_writes(everything, len(logs))
    if sorted_out is not None and not sorted_out.orphans:
        return everything
    is_even = len({len(found) for found in logs.values()}) == 1
    counted = None if segment.storage_version >= PACKED else count_rows(storage, logs, run)
    # An unknown layout of ids is no reason to refuse a segment that is consistent.
    if is_even and (counted is None or sum(counted.values()) == segment.rows):
        return everything
    if sorted_out is None or counted is None:
        raise _unclear(segment, logs, sorted_out)
    kept = sum(rows for log, rows in counted.items() if (log, TIMESTAMP_FIELD) in sorted_out.own)
    if kept != segment.rows:
        raise _unclear(segment, logs, sorted_out)
    names = sorted(logs[field][log].key for log, field in sorted_out.orphans)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    run.notice(
        "orphans-left-out",
        "segment {segment}: skipping files that a failed upload left: {key}{more}",
        segment=segment.id,
        key=names[0],
        more=more,
    )
    return sorted_out.own


def count_rows(storage: Reader, logs: Logs, run: Run) -> dict[int, int] | None:
    """Log id -> rows, according to the headers of the timestamp binlogs; None if a header does not say."""
    timestamps = logs.get(TIMESTAMP_FIELD, {})
    if not timestamps:
        return None
    rows = {
        log: run.retry.call(f"read {entry.key}", _rows, storage, entry) for log, entry in timestamps.items()
    }
    counted = {log: count for log, count in rows.items() if count is not None}
    return counted if len(counted) == len(rows) else None


def _rows(storage: Reader, entry: ObjectInfo) -> int | None:
    """The descriptor records the size of the values in memory; a timestamp has eight bytes."""
    from mbk.binlog import envelope
    from mbk.binlog.blob import Blob

    def fetch(offset: int, length: int) -> bytes:
        with storage.read(entry.key, offset=offset, length=length) as chunks:
            return b"".join(chunks)

    try:
        descriptor, _ = envelope.read(Blob(entry.key, min(entry.size, HEAD), fetch))
        return int(descriptor.extras["original_size"]) // TIMESTAMP_BYTES
    except (InvalidBackup, UsageError, KeyError, TypeError, ValueError):
        return None


def _unclear(segment: SegmentInfo, logs: Logs, sorted_out: Sorted | None) -> SegmentUnclear:
    counts = {field: len(entries) for field, entries in logs.items()}
    odd = min(counts, key=lambda field: (list(counts.values()).count(counts[field]), field))
    usual = max(counts.values(), key=list(counts.values()).count)
    suspects = sorted_out.orphans if sorted_out is not None else frozenset((log, odd) for log in logs[odd])
    keys = ", ".join(sorted(logs[field][log].key for log, field in suspects)[:NAMED])
    hint = "compact the collection and back up again, or upgrade to Milvus 2.5.8, which lists the files of segments"
    if segment.storage_version >= PACKED:
        hint = "check the REST endpoint of Milvus, which lists the files of segments"
    if counts[odd] == usual:
        return SegmentUnclear(
            "segment {segment}: its binlogs do not add up to its {rows} rows; a failed upload may have left {keys}",
            code="segment-rows-unclear",
            segment=segment.id,
            rows=segment.rows,
            keys=keys,
            hint=hint,
        )
    return SegmentUnclear(
        "segment {segment}: field {field} has {present} binlogs, the other fields have {expected}; "
        "a failed upload may have left {keys}",
        code="segment-files-unclear",
        segment=segment.id,
        field=odd,
        present=counts[odd],
        expected=usual,
        keys=keys,
        hint=hint,
    )
