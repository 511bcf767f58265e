"""Cutting a collection's segments into import jobs (FORMAT.md 3.8, 4.3; LAB.md 1.4). Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mbk.engine.segment_places import Place, SegmentPlaces
from mbk.model.meta import Collection, SegmentHead
from mbk.ports.storage import MIB

#: A segment of this size is worth a job of its own; smaller ones are put together where that saves jobs.
LARGE = 128 * MIB


@dataclass(frozen=True, slots=True)
class ImportGroup:
    """The segments of one import job. ``staged``: they must be brought below one directory of Milvus' storage first.

    ``key`` names the group in a journal: the same segments always give the same key.
    """

    key: str
    partition: str
    segments: tuple[SegmentHead, ...]
    places: tuple[Place, ...]
    staged: bool
    l0: bool = False
    storage_version: int = 0
    v_channel: str = ""

    @property
    def rows(self) -> int:
        return 0 if self.l0 else sum(segment.num_of_rows for segment in self.segments)

    @property
    def size(self) -> int:
        return sum(place.size for place in self.places)

    @property
    def has_deletes(self) -> bool:
        return self.l0 or any(place.delta for place in self.places)


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """``merge``: one job takes a directory of several segments, so putting small ones together saves jobs."""

    stage_all: bool
    merge: bool
    max_segments: int
    max_size: int
    by_channel: bool = False


def stages(collection: Collection, found: SegmentPlaces, limits: GroupLimits) -> list[list[ImportGroup]]:
    """Groups in the order in which they must be imported: data, then deletes of one partition, then of all."""
    data: list[ImportGroup] = []
    partition_l0: list[ImportGroup] = []
    for partition in collection.partition_backups:
        segments = _with_places(partition.segment_backups, found)
        data += _data_groups(partition.partition_name, [s for s in segments if s[1].insert], found, limits)
        partition_l0 += _l0_groups(partition.partition_name, [s for s in segments if not s[1].insert], limits)
    all_l0 = _l0_groups("", _with_places(collection.l0_segments, found), limits)
    return [stage for stage in (data, partition_l0, list(all_l0)) if stage]


Located = tuple[SegmentHead, Place]


def _with_places(segments: Iterable[SegmentHead], found: SegmentPlaces) -> list[Located]:
    """Segments that have objects, each once: older writers list a segment of a group several times."""
    unique = {segment.segment_id: segment for segment in segments}
    return [(segment, found.places[number]) for number, segment in unique.items() if number in found.places]


def _data_groups(
    partition: str, segments: list[Located], found: SegmentPlaces, limits: GroupLimits
) -> Iterator[ImportGroup]:
    kinds: defaultdict[tuple[int, str], list[Located]] = defaultdict(list)
    for segment, place in segments:
        channel = segment.v_channel if limits.by_channel else ""
        kinds[segment.storage_version, channel].append((segment, place))
    for alike in kinds.values():
        directly, together = _divide(alike, found, limits)
        for group in directly:
            yield _group(partition, group, staged=False)
        for chunk in _chunks(together, limits):
            yield _group(partition, chunk, staged=True)


def _divide(
    segments: list[Located], found: SegmentPlaces, limits: GroupLimits
) -> tuple[list[list[Located]], list[Located]]:
    """Groups that Milvus can read where they lie, and segments that must be staged."""
    if limits.stage_all:
        return [], segments
    by_parent: defaultdict[str, list[Located]] = defaultdict(list)
    for segment, place in segments:
        by_parent[place.parent].append((segment, place))
    direct: list[list[Located]] = []
    staged: list[Located] = []
    small: list[list[Located]] = []
    for parent, group in by_parent.items():
        ids = {str(segment.segment_id) for segment, _ in group}
        delta_parents = {place.delta_parent for _, place in group if place.delta}
        strangers = found.siblings[parent] - ids
        if strangers or len(delta_parents) > 1 or len(group) > limits.max_segments:
            staged += group
        elif limits.merge and sum(place.size for _, place in group) < LARGE:
            small.append(group)
        else:
            direct.append(group)
    if len(small) > 1:
        staged += [item for group in small for item in group]
    else:
        direct += small
    return direct, staged


def _chunks(segments: list[Located], limits: GroupLimits) -> Iterator[list[Located]]:
    chunk: list[Located] = []
    size = 0
    for segment, place in segments:
        if chunk and (len(chunk) >= limits.max_segments or size + place.size > limits.max_size):
            yield chunk
            chunk, size = [], 0
        chunk.append((segment, place))
        size += place.size
    if chunk:
        yield chunk


def _l0_groups(partition: str, segments: list[Located], limits: GroupLimits) -> Iterator[ImportGroup]:
    for segment, place in segments:
        yield _group(partition, [(segment, place)], staged=limits.stage_all, l0=True)


def _group(partition: str, located: list[Located], *, staged: bool, l0: bool = False) -> ImportGroup:
    segments = tuple(segment for segment, _ in located)
    ids = ",".join(str(number) for number in sorted(segment.segment_id for segment in segments))
    digest = hashlib.sha256(ids.encode()).hexdigest()[:12]
    return ImportGroup(
        key=f"{segments[0].partition_id}-{digest}",
        partition=partition,
        segments=segments,
        places=tuple(place for _, place in located),
        staged=staged,
        l0=l0,
        storage_version=segments[0].storage_version,
        v_channel=segments[0].v_channel,
    )
