"""Column groups of storage version 2: bare parquet files of several fields.

See docs/reference/backup-format.md#segment-files.

Every group has all rows of the segment in the same order, but its own files and row groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mbk.binlog import payload
from mbk.binlog.blob import Blob
from mbk.errors import InvalidBackup

Group = Sequence[Blob]
#: Field id -> its values; all of the same length.
Rows = Mapping[int, Any]


def fields_of(group: Group) -> frozenset[int]:
    with payload.opened(group[0]) as file:
        return frozenset(payload.field_ids(file))


def read(group: Group, fields: frozenset[int] | None = None) -> Iterator[Rows]:
    """One group's rows, batch by batch; ``fields`` None: all fields."""
    for blob in group:
        with payload.opened(blob) as file:
            names = {
                field: name
                for field, name in payload.field_ids(file).items()
                if fields is None or field in fields
            }
            if not names:
                return
            for batch in payload.batches(file, list(names.values())):
                yield {field: batch.column(name) for field, name in names.items()}


def side_by_side(sources: Mapping[int, Iterator[Rows]], *, segment: int) -> Iterator[Rows]:
    """Joins groups (or fields, of version 1): every batch has all fields of some rows."""
    ahead: dict[int, Rows] = {}
    lengths: dict[int, int] = {}
    while sources:
        for number, source in sources.items():
            if not _length(ahead.get(number, {})):
                ahead[number] = next(source, {})
        lengths = {number: _length(rows) for number, rows in ahead.items()}
        if not all(lengths.values()):
            break
        count = min(lengths.values())
        yield {field: values[:count] for rows in ahead.values() for field, values in rows.items()}
        ahead = {
            number: {field: values[count:] for field, values in rows.items()}
            for number, rows in ahead.items()
        }
    if any(lengths.values()):
        short = next(number for number, length in lengths.items() if not length)
        raise InvalidBackup(
            "segment {segment} has fewer rows in field or column group {field} than in the others",
            code="segment-rows-incomplete",
            segment=segment,
            field=short,
            hint="an object may be missing",
        )


def _length(rows: Rows) -> int:
    return len(next(iter(rows.values()))) if rows else 0
