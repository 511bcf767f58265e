"""The envelope of storage version 1: a magic number, a descriptor event, then data events with a payload each.

Everything is little-endian. Sources: milvus ``internal/storage/event_header.go``, ``event_data.go``, ``event_writer.go``,
``binlog_writer.go``; sizes and positions are as the real 2.3.5 writes them (tests/versions/test_binlog_codec.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAGIC = 0xFFFABC
DESCRIPTOR, INSERT, DELETE = 0, 1, 2
_MAGIC = struct.Struct("<i")
#: timestamp, type code, length with this header, where the next event starts
_HEADER = struct.Struct("<Qbii")
#: collection, partition, segment, field, first and last timestamp, data type of the payload
_FIXED = struct.Struct("<qqqqQQi")
_LENGTH = struct.Struct("<i")
#: first and last timestamp of a data event
_SPAN = struct.Struct("<QQ")
#: The fixed sizes of the eight kinds of events.
_POST_HEADERS = bytes([_FIXED.size] + [_SPAN.size] * 7)


class CodecError(Exception):
    """A file that is none of Milvus', or not of the kind asked for."""


@dataclass(frozen=True, slots=True)
class LogIds:
    """Whose file it is. ``field`` is -1 in deltalogs."""

    collection: int
    partition: int
    segment: int
    field: int = -1


@dataclass(frozen=True, slots=True)
class EventFile:
    """One file: ``payloads`` are parquet files of their own. ``extras`` is the descriptor's JSON."""

    ids: LogIds
    data_type: int
    kind: int
    payloads: Sequence[bytes]
    first_timestamp: int
    last_timestamp: int
    extras: Mapping[str, Any] = field(default_factory=dict)


def encode_file(file: EventFile) -> bytes:
    extra = json.dumps(dict(file.extras), separators=(",", ":"), sort_keys=True).encode()
    ids = file.ids
    span = file.first_timestamp, file.last_timestamp
    fixed = _FIXED.pack(ids.collection, ids.partition, ids.segment, ids.field, *span, file.data_type)
    written = bytearray(_MAGIC.pack(MAGIC))
    descriptor = fixed + _POST_HEADERS + _LENGTH.pack(len(extra)) + extra
    _append(written, DESCRIPTOR, file.last_timestamp, descriptor)
    for payload in file.payloads:
        _append(written, file.kind, file.last_timestamp, _SPAN.pack(*span) + payload)
    return bytes(written)


def _append(written: bytearray, kind: int, timestamp: int, body: bytes) -> None:
    length = _HEADER.size + len(body)
    written += _HEADER.pack(timestamp, kind, length, len(written) + length) + body


def decode_file(data: bytes) -> EventFile:
    """`CodecError` where the magic is wrong (a bare parquet file, say), or where the file breaks off."""
    if len(data) < _MAGIC.size or _MAGIC.unpack_from(data)[0] != MAGIC:
        found = data[: _MAGIC.size].hex() or "an empty file"
        raise CodecError(f"parse magic number failed, expected: {MAGIC}, actual: {found}")
    events = _events(data)
    kind, descriptor = next(events, (DESCRIPTOR, b""))
    if kind != DESCRIPTOR or len(descriptor) < _FIXED.size + len(_POST_HEADERS) + _LENGTH.size:
        raise CodecError("the first event is no descriptor")
    *ids, first, last, data_type = _FIXED.unpack_from(descriptor)
    at = _FIXED.size + len(_POST_HEADERS)
    (size,) = _LENGTH.unpack_from(descriptor, at)
    extra = descriptor[at + _LENGTH.size : at + _LENGTH.size + size]
    rest = list(events)
    kinds = {kind for kind, _ in rest}
    if len(kinds) > 1:
        raise CodecError(f"events of several kinds in one file: {sorted(kinds)}")
    return EventFile(
        LogIds(*ids),
        data_type,
        kinds.pop() if kinds else INSERT,
        [body[_SPAN.size :] for _, body in rest],
        first,
        last,
        json.loads(extra) if extra else {},
    )


def _events(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = _MAGIC.size
    while at < len(data):
        if at + _HEADER.size > len(data):
            raise CodecError("unexpected EOF in the header of an event")
        _, kind, length, following = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or following != at + length or following > len(data):
            raise CodecError(f"an event at {at} is said to end at {following} of {len(data)}")
        yield kind, data[at + _HEADER.size : following]
        at = following
