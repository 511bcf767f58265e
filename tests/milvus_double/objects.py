"""Segments as objects: what a data node writes, in Milvus' own layout, and what garbage collection removes.

======  ==========================================================================================================
v1      ``insert_log/{coll}/{part}/{seg}/{field}/{log}``, one event file a field, fields 0 and 1 too
v2      ``insert_log/{coll}/{part}/{seg}/{group}/{log}``, bare parquet; group 0 has the system and narrow columns, each
        vector and text column has a group of its own, named after its field
v3      ``insert_log/{coll}/{part}/{seg}/_metadata/manifest-{n}.avro`` and ``_data/…``: the shape only
deltas  ``delta_log/{coll}/{part}/{seg}/{log}``, partition -1 for L0 segments over all of them
stats   ``stats_log/{coll}/{part}/{seg}/{pk field}/{log}``; ``bm25_stats/…/{field}/{log}``: never part of a backup
======  ==========================================================================================================
"""

from __future__ import annotations

import json
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace

from tests.milvus_double import codec
from tests.milvus_double.state import (
    ALL_PARTITIONS,
    DROPPED,
    FLUSHED,
    L0,
    L1,
    LEGACY,
    BufferedDelete,
    Collection,
    Delete,
    LogFile,
    Row,
    Segment,
    State,
)
from tests.milvus_double.wire import default_of

BM25 = 1


def new_segment(
    state: State,
    collection: Collection,
    partition_id: int,
    channel: str,
    *,
    level: int | None = None,
    segment_state: int = FLUSHED,
    storage_version: int | None = None,
) -> Segment:
    """An empty segment, registered with its collection."""
    normal = L1 if state.version.has("segment_level") else LEGACY
    segment = Segment(
        id=state.clock.new_id(),
        collection_id=collection.id,
        partition_id=partition_id,
        channel=channel,
        state=segment_state,
        level=normal if level is None else level,
        # Deletes alone have no layout of rows (run: 2.5.27, 2.6.19).
        storage_version=0 if level == L0 else storage_version or state.write_version,
    )
    collection.segments[segment.id] = segment
    return segment


def write_segment(
    state: State,
    collection: Collection,
    partition_id: int,
    channel: str,
    rows: Sequence[Row] = (),
    *,
    deletes: Sequence[Delete] = (),
    level: int | None = None,
    segment_state: int = FLUSHED,
    storage_version: int | None = None,
) -> Segment:
    """A new persistent segment with its objects. With ``level=L0`` it holds only ``deletes``."""
    segment = new_segment(
        state,
        collection,
        partition_id,
        channel,
        level=level,
        segment_state=segment_state,
        storage_version=storage_version,
    )
    segment.rows = list(rows)
    if rows:
        write_inserts(state, collection, segment, rows)
    if deletes:
        write_deletes(state, collection, segment, deletes)
    return segment


def write_inserts(state: State, collection: Collection, segment: Segment, rows: Sequence[Row]) -> None:
    """The insert logs of ``rows``, at most ``state.rows_per_log`` in each, and the statistics."""
    for start in range(0, len(rows), state.rows_per_log):
        batch = rows[start : start + state.rows_per_log]
        columns = codec.columns_of(collection.fields, [_grown(collection, row) for row in batch])
        files = codec.encode_columns(
            min(segment.storage_version, 2), collection.fields, columns, _ids(collection, segment)
        )
        if segment.storage_version < 3:
            for directory, data in files.items():
                _add_insert_log(state, segment, directory, batch, data)
        else:
            _write_manifest(state, segment, files)
    if segment.storage_version < 3:
        _write_statistics(state, collection, segment, rows)


def _grown(collection: Collection, row: Row) -> Row:
    """A row that is older than a field has the field's default once it is written."""
    later = {
        field.fieldID: default_of(field)
        for field in collection.fields
        if field.fieldID not in row.values and field.HasField("default_value")
    }
    return replace(row, values={**row.values, **later}) if later else row


def write_deletes(state: State, collection: Collection, segment: Segment, deletes: Sequence[Delete]) -> None:
    """One more deltalog of the segment, in the form that ``state.delta_form`` names."""
    log_id = state.clock.new_id()
    if state.delta_form == "packed":
        data = codec.encode_packed_deletes(deletes)
    else:
        multi_field = state.delta_form == "multi_field"
        data = codec.encode_deletes(deletes, _ids(collection, segment), multi_field=multi_field)
    key = state.key("delta_log", collection.id, segment.partition_id, segment.id, log_id)
    segment.delta_logs.append(_put(state, key, log_id, data, [item.timestamp for item in deletes]))
    segment.deletes.extend(deletes)


def _ids(collection: Collection, segment: Segment) -> codec.LogIds:
    return codec.LogIds(collection.id, segment.partition_id, segment.id)


def _write_manifest(state: State, segment: Segment, files: Mapping[int, bytes]) -> None:
    base = state.key("insert_log", segment.collection_id, segment.partition_id, segment.id)
    number = 1 + sum(key.endswith(".avro") for key in segment.other_keys)
    for group, data in files.items():
        key = f"{base}/_data/{group}_{state.clock.new_id()}.parquet"
        _put(state, key, 0, data, ())
        segment.other_keys.append(key)
    key = f"{base}/_metadata/manifest-{number}.avro"
    _put(state, key, 0, b"Obj\x01" + json.dumps(segment.other_keys).encode(), ())
    segment.other_keys.append(key)


def _write_statistics(state: State, collection: Collection, segment: Segment, rows: Sequence[Row]) -> None:
    """Not the bloom filter itself, which nobody reads here: an object in its place."""
    outputs = {
        name for item in collection.schema.functions if item.type == BM25 for name in item.output_field_names
    }
    places = [("stats_log", collection.key_field.fieldID)]
    places += [("bm25_stats", field.fieldID) for field in collection.fields if field.name in outputs]
    for kind, field_id in places:
        log_id = state.clock.new_id()
        key = state.key(kind, collection.id, segment.partition_id, segment.id, field_id, log_id)
        file = _put(state, key, log_id, json.dumps({"fieldID": field_id, "rows": len(rows)}).encode(), ())
        if kind == "stats_log":
            segment.stats_logs.setdefault(field_id, []).append(file)
        else:
            segment.other_keys.append(key)


def _add_insert_log(state: State, segment: Segment, directory: int, rows: Sequence[Row], data: bytes) -> None:
    log_id = state.clock.new_id()
    key = state.key("insert_log", segment.collection_id, segment.partition_id, segment.id, directory, log_id)
    file = _put(state, key, log_id, data, [row.timestamp for row in rows])
    segment.insert_logs.setdefault(directory, []).append(file)


def _put(state: State, key: str, log_id: int, data: bytes, times: Sequence[int]) -> LogFile:
    state.store.write(key, [data], size=len(data))
    return LogFile(
        log_id=log_id,
        key=key,
        size=len(data),
        entries=len(times),
        first_timestamp=min(times, default=0),
        last_timestamp=max(times, default=0),
    )


# -- what happens to segments later -----------------------------------------------------------------------------------


def drop_segments(state: State, segments: Iterable[Segment]) -> None:
    """Marks them; their objects stay until garbage collection."""
    for segment in segments:
        if segment.state != DROPPED:
            segment.state = DROPPED
            segment.dropped_at = time.monotonic()
            state.dropped.append(segment)


def compact(state: State, collection: Collection, *, among: Container[int] | None = None) -> list[Segment]:
    """Merges the flushed data segments of each partition and channel into one, all flushed deletes applied.

    ``among``: the ids of those to merge; None: all. L0 segments are gone afterwards, but for those whose keys are still in growing segments or under way.

    The old segments are dropped at once, their objects stay: a backup may have listed them before.
    """
    candidates = [item for item in collection.persistent_segments() if among is None or item.id in among]
    old = [segment for segment in candidates if not segment.is_l0]
    growing = {
        row.pk
        for segment in collection.live_segments()
        if not (segment.is_l0 or segment.persistent)
        for row in segment.rows
    }
    l0 = [
        segment
        for segment in candidates
        if segment.is_l0
        and not state.under_way.get(collection.id)
        and not any(delete.pk in growing for delete in segment.deletes)
    ]
    places: dict[tuple[int, str], list[Segment]] = {}
    for segment in old:
        places.setdefault((segment.partition_id, segment.channel), []).append(segment)
    made = []
    for (partition_id, channel), sources in places.items():
        rows = [row for segment in sources for row in state.live_rows(collection, segment, persistent=True)]
        if rows:
            rows.sort(key=lambda row: row.pk)
            merged = write_segment(state, collection, partition_id, channel, rows)
            merged.is_sorted = state.version.has("segment_is_sorted")
            merged.compaction_from = [segment.id for segment in sources]
            made.append(merged)
    drop_segments(state, [*old, *l0])
    return made


def sort_flushed(state: State) -> None:
    """Replaces each segment whose time has come by a sorted one; the objects of the old one stay until they are collected.

    Deletes of the segment's own files are applied, those of L0 segments are not.
    """
    now = time.monotonic()
    due = [item for item in state.unsorted if item[0] <= now]
    state.unsorted = [item for item in state.unsorted if item[0] > now]
    for _, collection_id, segment_id in due:
        collection = state.collections.get(collection_id)
        segment = collection.segments.get(segment_id) if collection else None
        if collection is not None and segment is not None and segment.persistent:
            _replace_sorted(state, collection, segment)


def _replace_sorted(state: State, collection: Collection, segment: Segment) -> None:
    gone: dict[object, int] = {}
    for delete in segment.deletes:
        gone[delete.pk] = max(delete.timestamp, gone.get(delete.pk, 0))
    rows = [row for row in segment.rows if gone.get(row.pk, 0) <= row.timestamp]
    rows.sort(key=lambda row: row.pk)
    if rows:
        made = write_segment(
            state,
            collection,
            segment.partition_id,
            segment.channel,
            rows,
            storage_version=segment.storage_version,
        )
        made.is_sorted = True
        made.compaction_from = [segment.id]
    drop_segments(state, [segment])


def collect_garbage(state: State, *, tolerance: float = 0.0) -> int:
    """Removes the objects of segments dropped more than ``tolerance`` seconds ago, where GC is not paused.

    Returns the number of removed objects. Segments of snapshots are kept.
    """
    now, removed = time.monotonic(), 0
    kept = {number for item in state.snapshots.values() for number in item.extra.get("segment_ids", ())}
    for segment in list(state.dropped):
        until = max(state.gc_paused_until.get(0, 0.0), state.gc_paused_until.get(segment.collection_id, 0.0))
        if segment.id in kept or now < until or now - segment.dropped_at < tolerance:
            continue
        state.store.delete(segment.keys)
        removed += len(segment.keys)
        state.dropped.remove(segment)
        if collection := state.collections.get(segment.collection_id):
            collection.segments.pop(segment.id, None)
    return removed


def leave_orphans(state: State, segment: Segment, *, fields: int = 1) -> list[str]:
    """The files of an upload that failed half way: one more log in only ``fields`` of the segment's directories."""
    left = []
    for directory in sorted(segment.insert_logs)[:fields]:
        source = segment.insert_logs[directory][0]
        key = f"{source.key.rpartition('/')[0]}/{state.clock.new_id()}"
        with state.store.read(source.key) as chunks:
            state.store.write(key, [b"".join(chunks)])
        left.append(key)
    return left


def seal_deletes(state: State, collection: Collection, *, level: int = L0) -> list[Segment]:
    """The buffered deletes as L0 segments, one for each partition and channel.

    A delete that names a partition makes two: one of its partition, and one of all (run: 2.5.27, 2.6.19).
    """
    places: dict[tuple[int, str], list[Delete]] = {}
    for item in collection.buffered_deletes:
        if item.partition_id != ALL_PARTITIONS and _is_alone(collection, item):
            places.setdefault((ALL_PARTITIONS, item.channel), []).append(item.delete)
        places.setdefault((item.partition_id, item.channel), []).append(item.delete)
    collection.buffered_deletes.clear()
    return [
        write_segment(state, collection, partition_id, channel, deletes=deletes, level=level)
        for (partition_id, channel), deletes in places.items()
    ]


def _is_alone(collection: Collection, item: BufferedDelete) -> bool:
    """Whether the delete means the same for all partitions: no other one has rows of the key."""
    return not any(
        row.pk == item.delete.pk
        for segment in collection.live_segments()
        if not segment.is_l0 and segment.partition_id != item.partition_id
        for row in segment.rows
    )
