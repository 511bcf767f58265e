"""Telling a segment's own binlogs from the orphans of failed uploads, where the server gives no list (before 2.5.8).

Every write of a segment, be it a flush or one part of a compaction, takes its log ids from one consecutive block: an id
for each field, in any order, and other logs' ids behind them (milvus: internal/datanode/syncmgr/task.go, `prefetchIDs`;
internal/datanode/flush_manager.go before, where some builds of 2.3 give one id to all fields; real 2.2.16 and 2.3.5
write blocks). An upload that failed leaves a part of such a block, and the data is written again under other ids. So the
segment's own are the whole blocks, and the rows that they hold must be those that the server counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mbk.engine.formats.binlog.versions import PACKED
from mbk.engine.runtime.run import Run
from mbk.errors import InvalidBackup, MilvusError, UsageError
from mbk.ports.milvus.values import SegmentInfo
from mbk.ports.storage import ObjectInfo, Reader

TIMESTAMP_FIELD = 1
TIMESTAMP_BYTES = 8
#: Bytes read to find a descriptor, which has some hundred.
HEAD = 4096
#: So many files are named in an error.
NAMED = 3

#: Field id -> log id -> the object.
Logs = Mapping[int, Mapping[int, ObjectInfo]]
#: (log id, field id).
Log = tuple[int, int]


class SegmentUnclear(MilvusError):
    """It cannot be told which files are the segment's; it may be just being written."""


@dataclass(frozen=True, slots=True)
class Sorted:
    """``own`` and ``orphans`` are all of a segment's insert logs."""

    own: frozenset[Log]
    orphans: frozenset[Log]


def whole_writes(logs: Iterable[Log], fields: int) -> Sorted | None:
    """The logs in whole blocks, and the rest; None where they can be cut into blocks in more than one way."""
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
    """The segment's own logs; `SegmentUnclear` names segment, field and files where that is not certain."""
    everything = frozenset((log, field) for field, found in logs.items() for log in found)
    sorted_out = whole_writes(everything, len(logs))
    if sorted_out is not None and not sorted_out.orphans:
        return everything
    is_even = len({len(found) for found in logs.values()}) == 1
    counted = None if segment.storage_version >= PACKED else count_rows(storage, logs, run)
    # A layout of ids that we do not know is no reason to refuse what is of one piece.
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
        "segment {segment}: files that a failed upload left are not copied: {names}{more}",
        segment=segment.id,
        names=names[0],
        more=more,
    )
    return sorted_out.own


def count_rows(storage: Reader, logs: Logs, run: Run) -> dict[int, int] | None:
    """Log id -> rows of the timestamps' binlogs, as their first bytes say; None where they do not."""
    found = logs.get(TIMESTAMP_FIELD, {})
    if not found:
        return None
    rows = {log: run.retry.call(f"read {entry.key}", _rows, storage, entry) for log, entry in found.items()}
    known = {log: count for log, count in rows.items() if count is not None}
    return known if len(known) == len(rows) else None


def _rows(storage: Reader, entry: ObjectInfo) -> int | None:
    """The descriptor holds the size of the values in memory; timestamps have eight bytes each."""
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


def _unclear(segment: SegmentInfo, logs: Logs, found: Sorted | None) -> SegmentUnclear:
    counts = {field: len(entries) for field, entries in logs.items()}
    odd = min(counts, key=lambda field: (list(counts.values()).count(counts[field]), field))
    usual = max(counts.values(), key=list(counts.values()).count)
    suspects = found.orphans if found is not None else frozenset((log, odd) for log in logs[odd])
    names = ", ".join(sorted(logs[field][log].key for log, field in suspects)[:NAMED])
    odds = f"field {odd} has {counts[odd]} binlogs, the other fields have {usual}"
    hint = "compact the collection and back up again, or upgrade to Milvus 2.5.8, which lists its files"
    if segment.storage_version >= PACKED:
        hint = "Milvus lists its files over REST: is the REST endpoint right?"
    return SegmentUnclear(
        f"segment {segment.id}: {odds if counts[odd] != usual else 'its binlogs do not hold its rows'}; "
        f"a failed upload may have left {names}",
        hint=hint,
    )
