"""The envelope of storage version 1: a magic number, a descriptor, and events that each carry a parquet file.

Layout as written by 2.3.5 and defined in milvus: internal/storage/event_header.go, event_data.go. All numbers are little
endian. Newer writers leave ``next_position`` 0 (serde_events.go), so only lengths are used.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from mbk.binlog.blob import Blob, Window
from mbk.errors import InvalidBackup, UsageError
from mbk.frozen import frozen

MAGIC = 0xFFFABC
INSERT, DELETE = 1, 2

_MAGIC = struct.Struct("<i")
_HEADER = struct.Struct("<Qbii")
_FIX = struct.Struct("<qqqqQQi")
_SPAN = struct.Struct("<QQ")
_LENGTH = struct.Struct("<i")
#: The sizes of the fixed parts of the eight kinds of events.
_POST_HEADERS = bytes([_FIX.size, *[_SPAN.size] * 7])
_DESCRIPTOR = 0
#: Bytes read to find the descriptor, which takes a few hundred.
_HEAD = 64 << 10


@frozen
class Descriptor:
    """The description in a file. ``field_id`` is -1 and ``data_type`` 20 (String) in a delta log."""

    collection: int = -1
    partition: int = -1
    segment: int = -1
    field_id: int = -1
    start: int = 0
    end: int = 0
    data_type: int = 0
    extras: Mapping[str, Any] = field(default_factory=dict)


@frozen
class Event:
    """``payload`` is a parquet file."""

    kind: int
    start: int
    end: int
    payload: Window


def is_envelope(blob: Blob) -> bool:
    head = blob.read(0, _MAGIC.size)
    return len(head) == _MAGIC.size and _MAGIC.unpack(head)[0] == MAGIC


def read(blob: Blob) -> tuple[Descriptor, Iterator[Event]]:
    """`InvalidBackup` for any other file, `UsageError` for one that Milvus has encrypted."""
    head = blob.read(0, min(_HEAD, blob.size))
    try:
        descriptor, position = _read_descriptor(head)
    except (struct.error, ValueError, KeyError, RecursionError) as exc:
        raise InvalidBackup(
            "{key} is not a valid binlog: {reason}",
            code="binlog-invalid",
            key=blob.key,
            reason=exc,
            hint="it may be truncated",
        ) from exc
    if descriptor.extras.get("edek"):
        raise UsageError(
            "{key} is encrypted by Milvus (encryption zone)",
            code="binlog-encrypted",
            key=blob.key,
            hint="only Milvus can read it",
        )
    return descriptor, _events(blob, position)


def _read_descriptor(head: bytes) -> tuple[Descriptor, int]:
    if _MAGIC.unpack_from(head)[0] != MAGIC:
        raise ValueError("wrong magic number")
    _, kind, length, _ = _HEADER.unpack_from(head, _MAGIC.size)
    if kind != _DESCRIPTOR:
        raise ValueError("no descriptor at the start")
    place = _MAGIC.size + _HEADER.size
    collection, partition, segment, field_id, start, end, data_type = _FIX.unpack_from(head, place)
    place += _FIX.size + len(_POST_HEADERS)
    (size,) = _LENGTH.unpack_from(head, place)
    place += _LENGTH.size
    extras = json.loads(head[place : place + size]) if size else {}
    if not isinstance(extras, dict | None):
        raise ValueError("the descriptor's extras are no object")
    descriptor = Descriptor(collection, partition, segment, field_id, start, end, data_type, extras or {})
    return descriptor, _MAGIC.size + length


def _events(blob: Blob, position: int) -> Iterator[Event]:
    fixed = _HEADER.size + _SPAN.size
    while position < blob.size:
        head = blob.read(position, fixed)
        if len(head) < fixed:
            raise _truncated(blob.key)
        _, kind, length, _ = _HEADER.unpack_from(head)
        start, end = _SPAN.unpack_from(head, _HEADER.size)
        if length < fixed or position + length > blob.size:
            raise _truncated(blob.key)
        yield Event(kind, start, end, blob.window(position + fixed, position + length))
        position += length


def _truncated(key: str) -> InvalidBackup:
    return InvalidBackup("{key} is truncated", code="binlog-truncated", key=key, hint="the backup is damaged")


def write(descriptor: Descriptor, kind: int, payload: bytes) -> bytes:
    """A file with one event. Readers refuse a span that starts or ends at 0."""
    extra = json.dumps(dict(descriptor.extras), separators=(",", ":")).encode()
    fix = _FIX.pack(
        descriptor.collection,
        descriptor.partition,
        descriptor.segment,
        descriptor.field_id,
        descriptor.start,
        descriptor.end,
        descriptor.data_type,
    )
    body = fix + _POST_HEADERS + _LENGTH.pack(len(extra)) + extra
    first = _HEADER.size + len(body)
    position = _MAGIC.size + first
    second = _HEADER.size + _SPAN.size + len(payload)
    return b"".join(
        (
            _MAGIC.pack(MAGIC),
            _HEADER.pack(descriptor.end, _DESCRIPTOR, first, position),
            body,
            _HEADER.pack(descriptor.end, kind, second, position + second),
            _SPAN.pack(descriptor.start, descriptor.end),
            payload,
        )
    )
