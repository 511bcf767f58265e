"""What one object of a segment says of itself: its ids, its rows and their times. Bytes in, facts out.

Envelopes are read without a library; the rows in them, delete logs and column groups need pyarrow. Where it is not
installed, that much is not parsed, and said so.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

from mbk.binlog import envelope
from mbk.binlog.blob import Blob
from mbk.binlog.envelope import DELETE, INSERT, Descriptor, Event
from mbk.errors import InvalidBackup
from mbk.frozen import frozen

#: The field of the rows' timestamps, which exists in every segment.
TIMESTAMP = 1

Span = tuple[int, int]


@frozen(kw_only=True)
class Facts:
    """``owner``: the collection and the segment that the file names, None where it names none. ``rows``: of an insert log,
    or deletes of a delete log; None where they could not be counted. ``problem``: what the file contradicts itself in.
    """

    owner: tuple[int, int] | None = None
    rows: int | None = None
    problem: str = ""


def can_parse() -> bool:
    """Whether rows can be read: pyarrow is there."""
    return find_spec("pyarrow") is not None


def of_insert_log(blob: Blob, field: int, *, decode: bool) -> Facts:
    """A file of one field. ``decode``: reads every value, because no digest tells that they are intact.

    `InvalidBackup` if it is no such file, `UsageError` if Milvus has encrypted it.
    """
    descriptor, events = envelope.read(blob)
    owner = (descriptor.collection, descriptor.segment)
    if descriptor.field_id != field:
        raise _contradiction(blob, f"it contains field {descriptor.field_id}")
    spans, rows = [], 0
    for event in events:
        _require_kind(blob, event, INSERT)
        spans.append((event.start, event.end))
        rows += _rows(blob, event, decode=decode or field == TIMESTAMP)
    if not spans:
        raise _contradiction(blob, "it contains no rows")
    problem = _spans(descriptor, spans)
    if field == TIMESTAMP and can_parse() and not problem:
        problem = _times(blob, (min(start for start, _ in spans), max(end for _, end in spans)))
    return Facts(owner=owner, rows=rows if can_parse() else None, problem=problem)


def of_delete_log(blob: Blob) -> Facts:
    """A delete log in any of its forms; counts the deletes."""
    if envelope.is_envelope(blob):
        _, events = envelope.read(blob)
        for event in events:
            _require_kind(blob, event, DELETE)
    if not can_parse():
        return Facts()
    from mbk.binlog import deltas

    count = 0
    for table in deltas.read(blob):
        count += table.num_rows
        if table.num_rows and (oldest := _least(table.column(deltas.TS))) <= 0:
            return Facts(rows=count, problem=f"it has a delete at the time {oldest}")
    return Facts(rows=count)


def of_group(blob: Blob, *, decode: bool) -> Facts:
    """A bare parquet file of a column group."""
    if not can_parse():
        return Facts()
    from mbk.binlog import payload

    with payload.opened(blob) as file:
        if not payload.field_ids(file):
            raise _contradiction(blob, "its columns have no field ids")
        rows: int = file.metadata.num_rows
        seen = sum(batch.num_rows for batch in payload.batches(file)) if decode else rows
    return Facts(rows=rows, problem="" if seen == rows else f"it has {seen} rows and says {rows}")


def _rows(blob: Blob, event: Event, *, decode: bool) -> int:
    if not can_parse():
        return 0
    from mbk.binlog import payload

    with payload.opened(blob, event.payload) as file:
        if len(file.schema_arrow) != 1:
            raise _contradiction(blob, f"it has {len(file.schema_arrow)} columns instead of one")
        rows: int = file.metadata.num_rows
        seen = sum(batch.num_rows for batch in payload.batches(file)) if decode else rows
    if seen != rows:
        raise _contradiction(blob, f"it has {seen} rows and says {rows}")
    return rows


def _require_kind(blob: Blob, event: Event, kind: int) -> None:
    if event.kind != kind:
        raise _contradiction(blob, f"it has an event of kind {event.kind} instead of {kind}")


def _spans(descriptor: Descriptor, spans: list[Span]) -> str:
    """The events lie within the time range of the file. Some writers leave ranges out, as zeros."""
    for start, end in spans:
        if start > end:
            return f"its time range {start} to {end} ends before it begins"
        told = descriptor.start and descriptor.end and start and end
        if told and not (descriptor.start <= start and end <= descriptor.end):
            return f"its rows are of {start} to {end}, outside of its time range {descriptor.start} to {descriptor.end}"
    return ""


def _times(blob: Blob, span: Span) -> str:
    from mbk.binlog import inserts

    for values in inserts.read(blob):
        least, most = _least(values), _most(values)
        if least <= 0:
            return f"it has a row at the time {least}"
        if all(span) and not (span[0] <= least and most <= span[1]):
            return f"its rows are of {least} to {most}, outside of its time range {span[0]} to {span[1]}"
    return ""


def _least(values: Any) -> int:
    return int(_extremes(values)["min"] or 0)


def _most(values: Any) -> int:
    return int(_extremes(values)["max"] or 0)


def _extremes(values: Any) -> dict[str, int]:
    from mbk.binlog.arrow import pc

    found: dict[str, int] = pc.min_max(values).as_py()
    return found


def _contradiction(blob: Blob, reason: str) -> InvalidBackup:
    return InvalidBackup(
        "{key} is not what its name says: {reason}",
        code="binlog-contradictory",
        key=blob.key,
        reason=reason,
        hint="it may be another object under this name",
    )


def disagreeing(owners: Iterable[tuple[str, tuple[int, int]]]) -> list[tuple[str, tuple[int, int]]]:
    """The keys of files that name another owner than most files of the segment do."""
    found = list(owners)
    counted: dict[tuple[int, int], int] = {}
    for _, owner in found:
        counted[owner] = counted.get(owner, 0) + 1
    usual = max(counted, key=lambda owner: counted[owner], default=None)
    return [(key, owner) for key, owner in found if owner != usual]
