"""The consistency point of a backup, channel by channel: encoding it, reading it back, and where to truncate."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from mbk.errors import InvalidBackup
from mbk.frozen import frozen
from mbk.model.layout import physical_channel
from mbk.model.records import Backup, Collection
from mbk.model.wire import Message

#: A hybrid timestamp is milliseconds above this many bits of a logical counter (milvus: pkg/util/tsoutil).
LOGICAL_BITS = 18
MILLISECOND = 1 << LOGICAL_BITS
_EPOCH, _TICK = datetime.fromtimestamp(0, UTC), timedelta(milliseconds=1)
#: Field 4 of ``msgpb.MsgPosition`` (docs/reference/backup-format.md#positions-and-flush-messages).
TIMESTAMP = 4

#: Of ``commonpb.ImmutableMessage``: field 3 are its properties, entries of a key (1) and a value (2).
_PROPERTIES, _KEY, _VALUE = 3, 1, 2
_TIME_TICK = "_tt"


@frozen
class ConsistencyPoint:
    """Channel, virtual or physical, -> hybrid timestamp of the flush; or one ``common`` timestamp for all channels.

    ``late``: the segments that may hold newer rows, and L0 segments that may hold newer deletes; None: any may. ``earlier``: it
    is not where the backup counted its rows.
    """

    channels: Mapping[str, int]
    common: int = 0
    late: frozenset[int] | None = None
    earlier: bool = False

    @property
    def is_one(self) -> bool:
        """Whether all channels have the same timestamp, so that a segment's channel does not matter."""
        return bool(self.common) or len(set(self.channels.values())) == 1

    def may_cut(self, segment: int) -> bool:
        """Whether the segment may hold rows that are newer, or, if it is an L0 segment, deletes."""
        return self.late is None or segment in self.late

    def of(self, v_channel: str) -> int | None:
        """The timestamp on a segment's channel; ``""``: the channel is unknown. None if it cannot be determined."""
        if self.common:
            return self.common
        if not v_channel:
            return next(iter(self.channels.values())) if self.is_one else None
        return self.channels.get(v_channel, self.channels.get(physical_channel(v_channel)))


def consistency_point(record: Collection, backup: Backup) -> ConsistencyPoint:
    """From the checkpoints; for channels without one, from the messages of a flush of all collections."""
    channels = {channel: timestamp(position) for channel, position in record.channel_checkpoints.items()}
    checked = {physical_channel(channel) for channel in channels}
    ours = set(record.physical_channel_names) | set(map(physical_channel, record.virtual_channel_names))
    for channel, tick in flush_ticks(backup).items():
        if channel not in checked and (channel in ours or not (ours or checked)):
            channels[channel] = tick
    return ConsistencyPoint(channels)


def flush_ticks(backup: Backup) -> dict[str, int]:
    """Physical channel -> hybrid time tick of the flush over everything; empty without such a flush."""
    ticks = {}
    for channel, encoded in backup.flush_all_msgs_base64.items():
        try:
            ticks[channel] = _tick(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError) as exc:
            raise InvalidBackup(
                "the flush message of channel {channel} in backup {backup!r} cannot be decoded: {reason}",
                code="flush-message-damaged",
                channel=channel,
                backup=backup.name,
                reason=exc,
            ) from exc
    return ticks


def _tick(message: bytes) -> int:
    for entry in Message(message).messages(_PROPERTIES):
        if entry.text(_KEY) == _TIME_TICK:
            return int(entry.text(_VALUE), 36)
    raise ValueError("no time tick")


def timestamp(position: str) -> int:
    """The hybrid timestamp of a base64 ``msgpb.MsgPosition``; `InvalidBackup` if it cannot be decoded."""
    try:
        stamp = Message(base64.b64decode(position, validate=True)).integer(TIMESTAMP)
    except (binascii.Error, ValueError) as exc:
        raise InvalidBackup(
            "a channel checkpoint in the backup cannot be decoded", code="checkpoint-damaged"
        ) from exc
    if not stamp:
        raise InvalidBackup(
            "a channel checkpoint in the backup has no timestamp",
            code="checkpoint-without-timestamp",
        )
    return stamp


def whole_milliseconds(hybrid: int) -> int:
    """The hybrid timestamp without its counter: older servers cut imports at milliseconds only."""
    return hybrid >> LOGICAL_BITS << LOGICAL_BITS


def moment(hybrid: int) -> str:
    """A hybrid timestamp, of Milvus' clock, in RFC 3339."""
    return time_of(hybrid).isoformat(timespec="milliseconds")


def time_of(hybrid: int) -> datetime:
    """The time of a hybrid timestamp, in UTC and whole milliseconds."""
    return _EPOCH + (hybrid >> LOGICAL_BITS) * _TICK


def hybrid_of(time: datetime) -> int:
    """The first hybrid timestamp of a time's millisecond."""
    return (time - _EPOCH) // _TICK << LOGICAL_BITS


def position(channel: str, timestamp: int) -> str:
    """The base64 of a ``msgpb.MsgPosition``: a channel's name, field 1, and a hybrid timestamp, field 4.

    See docs/reference/backup-format.md#positions-and-flush-messages.
    """
    name = channel.encode()
    message = b"\x0a" + _varint(len(name)) + name + b"\x20" + _varint(timestamp)
    return base64.b64encode(message).decode()


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 1 << 7:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
