"""Flushing: growing segments and waiting deletes become objects. And what there is to see of segments and compaction.

How deletes lie, per version: 2.2 writes only those of the segments that this flush seals (unless
``state.sync_deletes``); 2.3 writes one deltalog for each persistent segment that holds such a key; from 2.4 on they are L0
segments, one for each partition and channel, partition -1 where the delete named none.

Sources: milvus ``internal/proxy/task_flush*.go``, ``internal/datacoord/services.go`` (Flush, GetFlushState,
GetPersistentSegmentInfo), ``internal/flushcommon/writebuffer/l0_write_buffer.go``; 2.3.5 by running it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.clock import milliseconds
from tests.milvus_double.objects import compact, seal_deletes, write_deletes, write_inserts
from tests.milvus_double.state import (
    ALL_PARTITIONS,
    FLUSHED,
    GROWING,
    SEALED,
    Collection,
    Segment,
    State,
)

PCHANNELS = 16
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def flush(state: State, found: Collection, timestamp: int) -> list[Segment]:
    """Everything acknowledged is persistent afterwards, and every channel's checkpoint is ``timestamp``, once nothing of
    that time is under way any more (`pass_time`).

    Returns the data segments that were sealed. What is under way gets a segment that is not among them.
    """
    sealed = [item for item in found.segments.values() if item.state in (GROWING, SEALED)]
    for segment in sealed:
        if segment.rows:
            write_inserts(state, found, segment, segment.rows)
            segment.state = FLUSHED
            if state.version.has("segments_sorted"):
                state.unsorted.append((time.monotonic() + state.sort_seconds, found.id, segment.id))
        else:
            del found.segments[segment.id]
    sealed = [segment for segment in sealed if segment.rows]
    _flush_deletes(state, found, sealed)
    found.flushing = timestamp
    pass_time(state, found)
    return sealed


def pass_time(state: State, found: Collection) -> None:
    """Ends the flush that is under way, if nothing of its time is."""
    if found.flushing and state.has_passed(found, found.flushing):
        if state.sync_deletes:
            _flush_deletes(state, found, [])
        found.checkpoints = dict.fromkeys(found.channels, found.flushing)
        found.flushing = 0


def _flush_deletes(state: State, found: Collection, sealed: Iterable[Segment]) -> None:
    if state.version.has("l0_segments"):
        seal_deletes(state, found)
    else:
        _write_to_segments(state, found, found.persistent_segments() if state.sync_deletes else sealed)


def _write_to_segments(state: State, found: Collection, segments: Iterable[Segment]) -> None:
    """A delete is done with when it stands in every segment that has its key; 2.2 keeps the rest in memory."""
    targets = list(segments)
    for segment in targets:
        keys = {row.pk for row in segment.rows}
        mine = [
            item.delete
            for item in found.buffered_deletes
            if item.channel == segment.channel
            and item.partition_id in (ALL_PARTITIONS, segment.partition_id)
            and item.delete.pk in keys
        ]
        if mine:
            write_deletes(state, found, segment, mine)
    if state.sync_deletes:
        growing = {
            (segment.channel, row.pk)
            for segment in found.live_segments()
            if segment.state in (GROWING, SEALED)
            for row in segment.rows
        }
        found.buffered_deletes = [
            item for item in found.buffered_deletes if (item.channel, item.delete.pk) in growing
        ]


class Flushing(Part):
    def Flush(self, request: milvus.FlushRequest, call: Call) -> milvus.FlushResponse:
        found = {name: self.state.collection(call.database, name) for name in request.collection_names}
        self.state.let_flush_in(found.values())
        answer = milvus.FlushResponse(db_name=call.database)
        version = self.state.version
        for name, collection in found.items():
            before = [item.id for item in collection.persistent_segments() if not item.is_l0]
            timestamp = self.state.clock.now()
            sealed = flush(self.state, collection, timestamp)
            answer.coll_segIDs[name].data.extend(segment.id for segment in sealed)
            answer.flush_coll_segIDs[name].data.extend(before)
            answer.coll_seal_times[name] = milliseconds(timestamp) // 1000
            if version.has("flush_ts"):
                answer.coll_flush_ts[name] = timestamp
            if version.has("channel_cps"):
                for channel, checkpoint in collection.checkpoints.items():
                    position = answer.channel_cps[channel]
                    position.channel_name, position.timestamp = channel, checkpoint
                    position.msgID = checkpoint.to_bytes(8, "little")
                    if version.number < (2, 5, 0):
                        position.msgGroup = "1"
                    if version.has("streaming"):
                        position.WAL_name = common.WALName.RocksMQ
        return answer

    def GetFlushState(self, request: milvus.GetFlushStateRequest, call: Call) -> milvus.GetFlushStateResponse:
        """From 2.3 on the checkpoints of the channels must have passed ``flush_ts``, too."""
        segments = [self.state.segment(number) for number in request.segmentIDs]
        flushed = all(segment is None or segment.state != GROWING for segment in segments)
        if request.collection_name and request.flush_ts:
            found = self.state.collection(call.database, request.collection_name)
            pass_time(self.state, found)
            flushed = flushed and all(at >= request.flush_ts for at in found.checkpoints.values())
        return milvus.GetFlushStateResponse(flushed=flushed)

    def FlushAll(self, request: milvus.FlushAllRequest, call: Call) -> milvus.FlushAllResponse:
        """One boundary over all: a message on each physical channel from 2.6.11 on, before that only a timestamp."""
        boundary = self.state.clock.now()
        named = getattr(request, "db_name", "")
        for collection in self.state.collections.values():
            if not named or collection.database == named:
                flush(self.state, collection, boundary)
        answer = milvus.FlushAllResponse(flush_all_ts=boundary)
        if self.state.version.has("flush_all_messages"):
            channels = [f"by-dev-rootcoord-dml_{number}" for number in range(PCHANNELS)]
            for at, channel in enumerate(channels):
                answer.flush_all_msgs[channel].CopyFrom(_message(channel, boundary, at))
            answer.cluster_info.cluster_id = "by-dev"
            answer.cluster_info.cchannel = f"{channels[0]}_vcchan"
            answer.cluster_info.pchannels.extend(channels)
        return answer

    def GetFlushAllState(
        self, request: milvus.GetFlushAllStateRequest, call: Call
    ) -> milvus.GetFlushAllStateResponse:
        """2.2 never says yes; who asks for nothing is told that it is flushed (run: 2.5.27, 2.6.19)."""
        version = self.state.version
        if version.number < (2, 3, 0):
            return milvus.GetFlushAllStateResponse(flushed=not request.flush_all_ts)
        for found in self.state.collections.values():
            pass_time(self.state, found)
        boundary = max([request.flush_all_ts, *request.flush_all_tss.values()])
        behind = [
            at
            for found in self.state.collections.values()
            for at in found.checkpoints.values()
            if at < boundary
        ]
        answer = milvus.GetFlushAllStateResponse(flushed=not behind)
        if version.number[:2] == (2, 5):
            answer.flush_states.extend(milvus.FlushAllState(db_name=name) for name in self.state.databases)
        return answer

    def GetPersistentSegmentInfo(
        self, request: milvus.GetPersistentSegmentInfoRequest, call: Call
    ) -> milvus.GetPersistentSegmentInfoResponse:
        found = self.state.collection(call.database, request.collectionName)
        version = self.state.version
        answer = milvus.GetPersistentSegmentInfoResponse()
        for segment in found.persistent_segments():
            info = answer.infos.add(
                segmentID=segment.id,
                collectionID=found.id,
                partitionID=segment.partition_id,
                num_rows=segment.row_count,
                state=segment.state,
            )
            if version.has("segment_level"):
                info.level = segment.level
            if version.has("segment_is_sorted"):
                info.is_sorted = segment.is_sorted
            if version.has("segment_storage_version"):
                info.storage_version = segment.storage_version
            if version.has("segment_channel"):
                info.insert_channel = segment.channel
                info.compaction_from.extend(segment.compaction_from)
        return answer

    def GetQuerySegmentInfo(
        self, request: milvus.GetQuerySegmentInfoRequest, call: Call
    ) -> milvus.GetQuerySegmentInfoResponse:
        found = self.state.collection(call.database, request.collectionName)
        answer = milvus.GetQuerySegmentInfoResponse()
        for segment in found.live_segments() if found.loaded else []:
            if not segment.is_l0 and segment.readable:
                answer.infos.add(
                    segmentID=segment.id,
                    collectionID=found.id,
                    partitionID=segment.partition_id,
                    num_rows=segment.row_count,
                    state=common.Growing if segment.state == GROWING else common.Sealed,
                    nodeID=1,
                )
        return answer

    def ManualCompaction(
        self, request: milvus.ManualCompactionRequest, call: Call
    ) -> milvus.ManualCompactionResponse:
        found = (
            self.state.collection_by_id(request.collectionID)
            if request.collectionID
            else self.state.collection(call.database, request.collection_name)
        )
        chosen = {segment.id for segment in found.persistent_segments()}
        if self.state.compaction_seconds:
            self.state.wait(self.state.compaction_seconds)
        made = compact(self.state, found, among=chosen)
        return milvus.ManualCompactionResponse(
            compactionID=self.state.clock.new_id(), compactionPlanCount=len(made)
        )

    def GetCompactionState(
        self, request: milvus.GetCompactionStateRequest, call: Call
    ) -> milvus.GetCompactionStateResponse:
        return milvus.GetCompactionStateResponse(state=common.Completed)


def _message(channel: str, timestamp: int, at: int) -> common.ImmutableMessage:
    """A FlushAll message as the log holds it: the time tick is a property, in base 36."""
    return common.ImmutableMessage(
        id=common.MessageID(id=base36(timestamp + at), WAL_name=common.WALName.RocksMQ),
        payload=b"",
        properties={
            "_tt": base36(timestamp),
            "_t": "37",
            "_v": "2",
            "_vc": channel,
            "_lc": base36(timestamp),
            "_h": "",
            "_pcl": "",
        },
    )


def base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
