"""Segments whose files are listed together.

A request lists a thousand objects, and many segments have ten: one by one, their listings would be a third of a backup's
requests. So the segments of a partition whose ids begin alike are listed by what they have in common. No order of keys is
relied on. Segments that nobody asked for may be listed with them, such as those that Milvus has yet to remove; a group
with too many objects is divided.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from itertools import groupby

from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.frozen import frozen
from mbk.model import layout
from mbk.ports.milvus.values import SegmentInfo
from mbk.ports.storage import Lister, ObjectInfo, Storage

#: What one request lists, of every vendor.
PAGE = 1000
#: Objects listed together: some requests wasted where a group must be divided, and 2 MiB of memory a thread.
OBJECTS = 4 * PAGE
#: Pages of a group where little is copied: its listing is most of the work, and each group takes a request more for the other kind.
WIDE = 8


@frozen
class Group:
    """Segments of one partition, at least one, in the order of their ids as text."""

    collection: int
    partition: int
    segments: Sequence[SegmentInfo]

    @property
    def shared(self) -> str:
        """What the keys of these segments have in common, and those of as few others as possible."""
        names = [str(self.segments[0].id), str(self.segments[-1].id)]
        if len(self.segments) == 1:
            return f"{names[0]}/"
        return os.path.commonprefix(names)  # noqa: RUF071 - numbers, not paths

    def divided(self, most: int = 0) -> Iterator[Group]:
        """Groups that have more in common, of at most ``most`` segments; 0: one level deeper, however many."""
        at = len(self.shared)
        for _, found in groupby(self.segments, lambda segment: str(segment.id)[at : at + 1]):
            yield from Group(self.collection, self.partition, [*found]).within(most)

    def within(self, most: int) -> Iterator[Group]:
        if most and len(self.segments) > most:
            yield from self.divided(most)
        else:
            yield self


def place_of(segment: SegmentInfo) -> tuple[int, str]:
    """The order in which neighbours share most of their keys."""
    return segment.partition_id, str(segment.id)


def grouped(
    collection: int, segments: Iterable[SegmentInfo], *storages: Storage, logs: int, pages: int = 1
) -> Iterator[Group]:
    """All segments of a collection in groups that can be listed in these storages. ``logs``: how many each has at least. ``pages``:
    how many the listing of a group should have at most."""
    together = all(storage.capabilities.partial_prefixes for storage in storages)
    most = max(1, pages * PAGE // max(1, logs)) if together else 1
    once = {segment.id: segment for segment in segments}
    for partition, found in groupby(
        sorted(once.values(), key=place_of), lambda segment: segment.partition_id
    ):
        yield from Group(collection, partition, [*found]).within(most)


@frozen
class Logs:
    """The objects of one segment, as they were listed."""

    inserts: list[ObjectInfo] = field(default_factory=list)
    deltas: list[ObjectInfo] = field(default_factory=list)


def listed(
    storage: Lister,
    run: Run,
    root: str,
    group: Group,
    *,
    inserts: bool = True,
    deltas: bool = True,
    most: int = OBJECTS,
) -> Iterator[tuple[Group, dict[int, Logs]]]:
    """The group with the objects of each segment, or its parts, one after another.

    ``root``: what the keys begin with, in Milvus' storage or in a backup. ``inserts`` and ``deltas``: which are listed.
    ``most``: a group with more objects is divided.
    """
    found = _at_most(storage, run, root, group, inserts=inserts, deltas=deltas, most=most)
    if found is not None:
        yield group, found
        return
    for part in group.divided():
        yield from listed(storage, run, root, part, inserts=inserts, deltas=deltas, most=most)


def _at_most(
    storage: Lister, run: Run, root: str, group: Group, *, inserts: bool, deltas: bool, most: int
) -> dict[int, Logs] | None:
    """None if there are too many objects for several segments."""
    alone = len(group.segments) == 1
    kinds = [layout.INSERT_LOG] * inserts + [layout.DELTA_LOG] * deltas
    places = {kind: f"{root}{kind}/{group.collection}/{group.partition}/" for kind in kinds}

    def read(entries: Iterable[ObjectInfo]) -> dict[int, Logs] | None:
        logs = {str(segment.id): Logs() for segment in group.segments}
        insert, delta = places.get(layout.INSERT_LOG), places.get(layout.DELTA_LOG, "")
        for count, entry in enumerate(entries):
            if count >= most and not alone:
                return None
            is_insert = insert is not None and entry.key.startswith(insert)
            below = len(insert if is_insert and insert else delta)
            of = logs.get(entry.key[below : entry.key.find("/", below)])
            if of is not None:
                (of.inserts if is_insert else of.deltas).append(entry)
        return {segment.id: logs[str(segment.id)] for segment in group.segments}

    return listing.consume(storage, run, read, *(f"{place}{group.shared}" for place in places.values()))
