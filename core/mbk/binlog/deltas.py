"""Delta logs: which primary keys were deleted at which time, in every form that Milvus has used.

- An envelope around one text column, each row ``{"pk":5,"ts":463,"pkType":5}``; before 2.0 ``5,463``
  (milvus: internal/storage/delta_data.go). A file may hold several events.
- An envelope around two columns, keys and times, marked by the extra ``version`` = ``MULTI_FIELD`` (event_data.go).
- A bare parquet file of the same two columns (storage version 2; internal/storage/rw.go names them by the ids 0 and 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from mbk.binlog import envelope, payload
from mbk.binlog.arrow import pa, pc
from mbk.binlog.blob import Blob
from mbk.binlog.envelope import DELETE, Descriptor
from mbk.errors import InvalidBackup

PK, TS = "pk", "ts"
INT64, VARCHAR, _STRING = 5, 21, 20
_PK_TYPES = {INT64: pa.int64(), VARCHAR: pa.string()}


class _Row(msgspec.Struct, gc=False):
    pk: int | str
    ts: int


_ROWS = msgspec.json.Decoder(list[_Row])


def pk_type(data_type: int) -> Any:
    """The type of a primary key's column, by its number in a schema."""
    return _PK_TYPES.get(data_type, pa.string())


def read(blob: Blob) -> Iterator[Any]:
    """Tables of two columns, `PK` and `TS`, batch by batch."""
    if not envelope.is_envelope(blob):
        with payload.opened(blob) as file:
            yield from _tables(blob, file)
        return
    _, events = envelope.read(blob)
    for event in events:
        with payload.opened(blob, event.payload) as file:
            yield from _tables(blob, file)


def is_plain(blob: Blob) -> bool:
    """Whether it has the first form, which every version of Milvus can read."""
    if not envelope.is_envelope(blob):
        return False
    _, events = envelope.read(blob)
    for event in events:
        with payload.opened(blob, event.payload) as file:
            if len(file.schema_arrow) != 1:
                return False
    return True


def _tables(blob: Blob, file: Any) -> Iterator[Any]:
    for batch in payload.batches(file):
        if batch.num_columns == 1:
            pks, times = _parsed(blob, batch.column(0))
        elif batch.num_columns == 2:
            pks, times = batch.columns
        else:
            raise InvalidBackup(
                "{key} is not a delta log: it has {columns} columns",
                code="delta-log-columns",
                key=blob.key,
                columns=batch.num_columns,
                hint="it may be an insert log in the wrong place",
            )
        kind = pa.int64() if pa.types.is_integer(pks.type) else pa.string()
        yield pa.table({PK: pc.cast(pks, kind), TS: pc.cast(times, pa.uint64())})


def _parsed(blob: Blob, texts: Any) -> tuple[Any, Any]:
    try:
        rows = _ROWS.decode(b"[" + b",".join(pc.cast(texts, pa.binary()).to_pylist()) + b"]")
        if len(rows) == len(texts):
            return pa.array([row.pk for row in rows]), pa.array([row.ts for row in rows], pa.uint64())
    except (msgspec.DecodeError, TypeError, OverflowError, RecursionError, pa.ArrowException):
        pass
    return _parsed_one_by_one(blob, texts.to_pylist())


def _parsed_one_by_one(blob: Blob, texts: list[str]) -> tuple[Any, Any]:
    pks: list[int] = []
    times: list[int] = []
    for text in texts:
        pk, comma, time = str(text).partition(",")
        try:
            if not comma:
                raise ValueError
            pks.append(_within(int(pk), -(1 << 63), 1 << 63))
            times.append(_within(int(time), 0, 1 << 64))
        except ValueError:
            raise InvalidBackup(
                "{key} contains an invalid delete: {text}",
                code="delete-invalid",
                key=blob.key,
                text=repr(text)[:60],
                hint="the backup is damaged",
            ) from None
    return pa.array(pks, pa.int64()), pa.array(times, pa.uint64())


def _within(value: int, low: int, high: int) -> int:
    if not low <= value < high:
        raise ValueError
    return value


def encode(deletes: Any, *, collection: int, partition: int, segment: int) -> bytes:
    """A delta log of the first form, from a table that is not empty."""
    pks, times = deletes.column(PK), deletes.column(TS)
    kind = INT64 if pa.types.is_integer(pks.type) else VARCHAR
    rows = [
        b'{"pk":%b,"ts":%d,"pkType":%d}' % (msgspec.json.encode(pk), time, kind)
        for pk, time in zip(pks.to_pylist(), times.to_pylist(), strict=True)
    ]
    span = pc.min_max(times).as_py()
    descriptor = Descriptor(
        collection,
        partition,
        segment,
        start=span["min"] or 1,
        end=span["max"] or 1,
        data_type=_STRING,
        extras={"original_size": str(sum(map(len, rows)))},
    )
    column = pa.array(rows, pa.binary()).cast(pa.string())
    return envelope.write(descriptor, DELETE, payload.encode("val", column))
