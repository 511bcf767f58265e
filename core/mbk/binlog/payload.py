"""Parquet files, inside envelopes or on their own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mbk.binlog.arrow import pa, pq
from mbk.binlog.blob import Blob, Window
from mbk.errors import InvalidBackup

#: Approximate bytes of rows in memory at once.
BATCH = 8 << 20
_MAX_ROWS = 1 << 17
#: The metadata key of a column's field id in arrow.
_FIELD_ID = b"PARQUET:field_id"


@contextmanager
def opened(blob: Blob, window: Window | None = None) -> Iterator[Any]:
    """The parquet file in a blob; errors of pyarrow become `InvalidBackup` with the object's key."""
    # Without pre_buffer: it fetches all row groups at once.
    try:
        with pq.ParquetFile(pa.PythonFile(window or blob.window(), mode="r"), pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as exc:
        reason = " ".join(str(exc).split())
        raise InvalidBackup(
            "cannot read parquet file {key}: {reason}",
            code="parquet-unreadable",
            key=blob.key,
            reason=reason,
            hint="the backup is damaged",
        ) from exc


def batches(file: Any, columns: list[str] | None = None) -> Iterator[Any]:
    """Record batches of about `BATCH` bytes, whatever the width of a row."""
    meta = file.metadata
    size = sum(meta.row_group(place).total_byte_size for place in range(meta.num_row_groups))
    width = max(1, size // max(1, meta.num_rows))
    rows = max(1, min(_MAX_ROWS, BATCH // width))
    yield from file.iter_batches(batch_size=rows, columns=columns, use_threads=False)


def field_ids(file: Any) -> dict[int, str]:
    """Field id -> column name. For a column without an id, the name is the id."""
    names: dict[int, str] = {}
    for column in file.schema_arrow:
        text = (column.metadata or {}).get(_FIELD_ID, b"").decode() or column.name
        if text.isdecimal():
            names[int(text)] = column.name
    return names


def encode(name: str, column: Any, *, nullable: bool = False) -> bytes:
    """One column as a parquet file like those of Milvus, readable by every version."""
    schema = pa.schema([pa.field(name, column.type, nullable=nullable)])
    table = pa.Table.from_arrays([column], schema=schema)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, store_schema=False, version="1.0")
    return sink.getvalue()
