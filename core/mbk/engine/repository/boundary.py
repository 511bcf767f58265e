"""Where a backup drew its line, channel by channel (FORMAT.md 1.3, 1.4, 3.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mbk.engine.repository.flush_messages import flush_ticks
from mbk.engine.repository.positions import timestamp
from mbk.model.layout import physical_channel
from mbk.model.records import Backup, Collection


@dataclass(frozen=True, slots=True)
class Boundary:
    """Channel, virtual or physical, -> hybrid timestamp of the flush."""

    channels: Mapping[str, int]

    @property
    def is_one(self) -> bool:
        """Whether it does not matter which channel a segment is of."""
        return len(set(self.channels.values())) == 1

    def of(self, v_channel: str) -> int | None:
        """The timestamp on a segment's channel; ``""``: the segment's channel is not known. None: nobody can tell."""
        if not v_channel:
            return next(iter(self.channels.values())) if self.is_one else None
        return self.channels.get(v_channel, self.channels.get(physical_channel(v_channel)))


def boundary_of(record: Collection, backup: Backup) -> Boundary:
    """By checkpoints; where a channel has none, by the messages of a flush over everything."""
    found = {channel: timestamp(position) for channel, position in record.channel_checkpoints.items()}
    checked = {physical_channel(channel) for channel in found}
    ours = set(record.physical_channel_names) | set(map(physical_channel, record.virtual_channel_names))
    for channel, tick in flush_ticks(backup).items():
        if channel not in checked and (channel in ours or not (ours or checked)):
            found[channel] = tick
    return Boundary(found)
