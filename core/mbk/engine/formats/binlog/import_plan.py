"""Splits a collection's segments into import jobs (docs/reference/milvus-protocol.md#files-of-an-import-job). Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from mbk.engine.formats.binlog.conversion import Conversion
from mbk.engine.formats.binlog.places import Place, SegmentPlaces
from mbk.engine.formats.binlog.versions import PACKED
from mbk.frozen import frozen
from mbk.model.records import Collection, SegmentHead
from mbk.ports.storage import MIB

#: A segment of this size gets a job of its own; smaller ones are merged where that saves jobs.
LARGE = 128 * MIB

Located = tuple[SegmentHead, Place]


@frozen
class ImportGroup:
    """The segments of one import job. ``staged``: they must first be copied below one directory of Milvus' storage.

    ``key`` identifies the group in a journal: the same segments always give the same key. ``rest``: the job is sent over
    REST. ``folded``: the L0 segments whose deletes become delta logs of these.
    """

    key: str
    partition: str
    segments: tuple[SegmentHead, ...]
    places: tuple[Place, ...]
    staged: bool
    l0: bool = False
    rest: bool = False
    storage_version: int = 0
    v_channel: str = ""
    conversion: Conversion = Conversion.NONE
    folded: tuple[Place, ...] = ()

    @property
    def located(self) -> list[tuple[int, Place]]:
        """Segment id and place, for each."""
        return [(item.segment_id, place) for item, place in zip(self.segments, self.places, strict=True)]

    @property
    def rows(self) -> int:
        return 0 if self.l0 else sum(segment.num_of_rows for segment in self.segments)

    @property
    def sent_version(self) -> int:
        """The storage version to declare to Milvus, after conversion."""
        rewritten = Conversion.UNPACK in self.conversion or (self.l0 and bool(self.conversion))
        return 0 if rewritten else self.storage_version

    @property
    def has_deletes(self) -> bool:
        return self.l0 or bool(self.folded) or any(place.delta for place in self.places)

    @property
    def units(self) -> list[list[Located]]:
        """The segments by directory, which cannot be split without copying."""
        together: defaultdict[str, list[Located]] = defaultdict(list)
        for segment, place in zip(self.segments, self.places, strict=True):
            together[place.delta if self.l0 else place.parent].append((segment, place))
        return list(together.values())

    def __str__(self) -> str:
        named = ", ".join(str(segment.segment_id) for segment in self.segments[:3])
        more = len(self.segments) - 3
        return f"{named} and {more} more" if more > 0 else named


def never(_segment: int) -> bool:
    return False


@frozen
class GroupLimits:
    """``merge``: one job takes a directory of several segments, so merging small ones saves jobs.

    ``rest`` True: every job is sent over REST, None: those that benefit, False: none. ``many_l0``: a job over REST
    takes several L0 segments. ``conversion``: what must be converted for the target, wherever it occurs. ``may_cut``:
    whether a segment may hold something newer than the consistency point.
    """

    stage_all: bool
    merge: bool
    max_segments: int
    max_size: int
    by_channel: bool = False
    rest: bool | None = False
    many_l0: bool = False
    conversion: Conversion = Conversion.NONE
    may_cut: Callable[[int], bool] = never


def stages(collection: Collection, found: SegmentPlaces, limits: GroupLimits) -> list[list[ImportGroup]]:
    """Groups in the order of import: data, then deletes of single partitions, then those of all partitions."""
    folding = Conversion.FOLD_L0 in limits.conversion
    of_all = _with_places(collection.l0_segments, found)
    data: list[ImportGroup] = []
    partition_l0: list[ImportGroup] = []
    for partition in collection.partition_backups:
        segments = _with_places(partition.segment_backups, found)
        name = partition.partition_name
        rows = [located for located in segments if located[1].insert]
        deletes = [located for located in segments if not located[1].insert]
        folded = tuple(place for _, place in (*deletes, *of_all)) if folding else ()
        data += _data_groups(name, rows, found, limits, folded)
        partition_l0 += () if folding else _l0_groups(name, deletes, found, limits)
    all_l0 = [] if folding else [*_l0_groups("", of_all, found, limits)]
    return [stage for stage in (data, partition_l0, all_l0) if stage]


def halves(group: ImportGroup) -> list[ImportGroup]:
    """The same segments as two jobs. Segments of one directory can only be split by copying them."""
    parts = group.units
    staged = group.staged
    if len(parts) == 1 or staged:
        parts = [[located] for located in zip(group.segments, group.places, strict=True)]
        staged = True
    middle = (len(parts) + 1) // 2
    return [
        _like(group, [located for part in some for located in part], staged=staged)
        for some in (parts[:middle], parts[middle:])
    ]


def resumed_group(key: str, ids: Iterable[int], collection: Collection, found: SegmentPlaces) -> ImportGroup:
    """The group of a job that an earlier run started and that this run only waits for."""
    members = set(ids)
    everywhere = [*_all_segments(collection)]
    located = [pair for pair in _with_places(everywhere, found) if pair[0].segment_id in members]
    names = {item.partition_id: item.partition_name for item in collection.partition_backups}
    group = ImportGroup(
        key=key,
        partition=names.get(located[0][0].partition_id, "") if located else "",
        segments=tuple(segment for segment, _ in located),
        places=tuple(place for _, place in located),
        staged=True,
        l0=not any(place.insert for _, place in located),
        storage_version=located[0][0].storage_version if located else 0,
    )
    return replace(group, v_channel=group.segments[0].v_channel if located else "")


def _all_segments(collection: Collection) -> Iterator[SegmentHead]:
    for partition in collection.partition_backups:
        yield from partition.segment_backups
    yield from collection.l0_segments


def _with_places(segments: Iterable[SegmentHead], found: SegmentPlaces) -> list[Located]:
    """Segments that have objects, each once: older writers list a segment of a group repeatedly."""
    unique = {segment.segment_id: segment for segment in segments}
    return [(segment, found.places[number]) for number, segment in unique.items() if number in found.places]


# -- data --------------------------------------------------------------------------------------------------------------


def _data_groups(
    partition: str,
    segments: list[Located],
    found: SegmentPlaces,
    limits: GroupLimits,
    folded: tuple[Place, ...],
) -> Iterator[ImportGroup]:
    kinds: defaultdict[tuple[int, str, Conversion], list[Located]] = defaultdict(list)
    for segment, place in segments:
        channel = segment.v_channel if limits.by_channel else ""
        needed = _conversion(segment, place, limits.conversion, folded=bool(folded))
        kinds[segment.storage_version, channel, needed].append((segment, place))
    rest = limits.rest is True
    for (_, _, conversion), alike in kinds.items():
        directly, together = _divide(alike, found, limits) if not conversion else ([], alike)
        for units in _jobs(directly, limits):
            many = limits.rest is not False and len(units) > 1
            yield _group(
                partition, [pair for unit in units for pair in unit], staged=False, rest=rest or many
            )
        for chunk in _chunks(together, limits):
            group = _group(partition, chunk, staged=True, rest=rest)
            yield replace(group, conversion=conversion, folded=folded)


def _conversion(segment: SegmentHead, place: Place, required: Conversion, *, folded: bool) -> Conversion:
    needed = Conversion.NONE
    if segment.storage_version == PACKED:
        needed |= Conversion.UNPACK
    if folded:
        needed |= Conversion.FOLD_L0
    if place.delta or folded:
        needed |= Conversion.PLAIN_DELTAS | Conversion.APPLY_DELETES
    return needed & required


def _divide(
    segments: list[Located], found: SegmentPlaces, limits: GroupLimits
) -> tuple[list[list[Located]], list[Located]]:
    """Directories that Milvus can import in place, and segments that must be staged."""
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
        delta_parents = {parent for _, place in group for parent in place.delta_parents}
        others = found.siblings[parent] - ids or not found.foreign.isdisjoint({parent, *delta_parents})
        if others or len(delta_parents) > 1 or len(group) > limits.max_segments:
            staged += group
        elif limits.merge and limits.rest is False and sum(place.size for _, place in group) < LARGE:
            small.append(group)
        else:
            direct.append(group)
    if len(small) > 1:
        staged += [item for group in small for item in group]
    else:
        direct += small
    return direct, staged


def _jobs(directories: list[list[Located]], limits: GroupLimits) -> Iterator[list[list[Located]]]:
    """Directories that share a job: over REST each is one of its files."""
    job: list[list[Located]] = []
    for directory in directories:
        full = sum(map(len, job)) + len(directory) > limits.max_segments
        if job and (limits.rest is False or full):
            yield job
            job = []
        job.append(directory)
    if job:
        yield job


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


# -- deletes -----------------------------------------------------------------------------------------------------------


def _l0_groups(
    partition: str, segments: list[Located], found: SegmentPlaces, limits: GroupLimits
) -> Iterator[ImportGroup]:
    kinds: defaultdict[tuple[int, str, Conversion], list[Located]] = defaultdict(list)
    for segment, place in segments:
        channel = segment.v_channel if limits.by_channel else ""
        wanted = (
            Conversion.CUT_L0 if limits.may_cut(segment.segment_id) else Conversion.NONE
        ) | Conversion.PLAIN_DELTAS
        kinds[segment.storage_version, channel, limits.conversion & wanted].append((segment, place))
    most = limits.max_segments if limits.many_l0 and limits.rest is not False else 1
    for (_, _, conversion), alike in kinds.items():
        for start in range(0, len(alike), most):
            some = alike[start : start + most]
            group = _group(
                partition,
                some,
                staged=limits.stage_all
                or bool(conversion)
                or any(place.beside or place.delta in found.foreign for _, place in some),
                l0=True,
                rest=limits.rest is True or len(some) > 1,
            )
            yield replace(group, conversion=conversion)


# -- making them -------------------------------------------------------------------------------------------------------


def _group(
    partition: str, located: list[Located], *, staged: bool, l0: bool = False, rest: bool = False
) -> ImportGroup:
    segments = tuple(segment for segment, _ in located)
    return ImportGroup(
        key=_key(segments),
        partition=partition,
        segments=segments,
        places=tuple(place for _, place in located),
        staged=staged,
        l0=l0,
        rest=rest,
        storage_version=segments[0].storage_version,
        v_channel=segments[0].v_channel,
    )


def _like(group: ImportGroup, located: list[Located], *, staged: bool) -> ImportGroup:
    segments = tuple(segment for segment, _ in located)
    return replace(
        group,
        key=_key(segments),
        segments=segments,
        places=tuple(place for _, place in located),
        staged=staged,
    )


def _key(segments: tuple[SegmentHead, ...]) -> str:
    ids = ",".join(str(number) for number in sorted(segment.segment_id for segment in segments))
    return f"{segments[0].partition_id}-{hashlib.sha256(ids.encode()).hexdigest()[:12]}"
