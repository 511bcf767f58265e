"""Insert logs of storage version 1: one field a file, its values in an envelope.

The column types are those of milvus: internal/storage/payload_writer.go (2.3) and serde.go (later), as seen on 2.3.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mbk.binlog import envelope, payload
from mbk.binlog.arrow import pa, pc
from mbk.binlog.blob import Blob
from mbk.binlog.envelope import INSERT, Descriptor
from mbk.errors import InvalidBackup

ROW_ID, TIMESTAMP = 0, 1
_INT64 = 5
_TYPES = {
    1: pa.bool_(),
    2: pa.int8(),
    3: pa.int16(),
    4: pa.int32(),
    5: pa.int64(),
    10: pa.float32(),
    11: pa.float64(),
    20: pa.string(),
    21: pa.string(),
    22: pa.binary(),  # a serialized schemapb.ScalarField
    23: pa.binary(),
    104: pa.binary(),
}
#: Bytes that a server adds for each value of variable length: the header of a string in Go.
_HEADER = 16
#: Bits of a vector's element.
_ELEMENTS = {100: 1, 101: 32, 102: 16, 103: 16, 105: 8}


def read(blob: Blob) -> Iterator[Any]:
    """The values of one file, as arrays, batch by batch."""
    _, events = envelope.read(blob)
    for event in events:
        with payload.opened(blob, event.payload) as file:
            if len(file.schema_arrow) != 1:
                raise InvalidBackup(
                    "{key} has {columns} columns instead of one",
                    code="insert-log-columns",
                    key=blob.key,
                    columns=len(file.schema_arrow),
                    hint="the segment's storage version in the metadata may be wrong",
                )
            for batch in payload.batches(file):
                yield batch.column(0)


def encode(
    values: Any,
    *,
    collection: int,
    partition: int,
    segment: int,
    field: int,
    data_type: int,
    span: tuple[int, int],
    nullable: bool = False,
) -> bytes:
    """A file of the values of one field. ``span``: the oldest and the newest timestamp of its rows."""
    if values.null_count and not nullable:
        raise InvalidBackup(
            "field {field} of segment {segment} contains nulls but is not nullable",
            code="field-not-nullable",
            field=field,
            segment=segment,
            hint="the backup is damaged",
        )
    column = _cast(values, data_type, field=field, segment=segment)
    extras: dict[str, Any] = {"original_size": str(_size(column))}
    if nullable:
        extras["nullable"] = True
    descriptor = Descriptor(
        collection,
        partition,
        segment,
        field,
        start=span[0] or 1,
        end=span[1] or 1,
        data_type=data_type,
        extras=extras,
    )
    return envelope.write(descriptor, INSERT, payload.encode("val", column, nullable=nullable))


def is_encodable(data_type: int) -> bool:
    return data_type in _TYPES or data_type in _ELEMENTS


def _cast(values: Any, data_type: int, *, field: int, segment: int) -> Any:
    arrow_type = _TYPES.get(data_type)
    if arrow_type is None:
        bits = _ELEMENTS.get(data_type)
        if bits is None or not pa.types.is_fixed_size_binary(values.type):
            raise InvalidBackup(
                "field {field} of segment {segment} has data type {type} but is stored as {stored}",
                code="field-type-unsupported",
                field=field,
                segment=segment,
                type=data_type,
                stored=values.type,
                hint="it cannot be converted for an older Milvus",
            )
        return values
    try:
        return values if values.type == arrow_type else pc.cast(values, arrow_type)
    except pa.ArrowException as exc:
        raise InvalidBackup(
            "field {field} of segment {segment} is stored as {stored} instead of {expected}",
            code="field-type-differs",
            field=field,
            segment=segment,
            stored=values.type,
            expected=arrow_type,
            hint="the backup is damaged",
        ) from exc


def _size(column: Any) -> int:
    """Bytes of the plain values, from which a server estimates the memory that it needs."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return int(pc.sum(pc.binary_length(column)).as_py() or 0) + _HEADER * len(column)
    return len(column) * int(max(1, kind.bit_width // 8))
