"""Writes to the log of a standby cluster: one stream a physical channel, every message confirmed.

Messages have the form of the source's own log (:mod:`mbk.milvus.wal`). The server takes the messages of a stream in order
and answers each with its time tick. It skips messages that it already has without an answer (milvus-io/milvus
``internal/proxy/replicate/replicate_stream_server.go``): so we ask for the checkpoint whenever we open a stream.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

from mbk.errors import MilvusUnavailable
from mbk.milvus import wal
from mbk.milvus.channel import Channel
from mbk.milvus.failures import from_rpc
from mbk.milvus.proto import common, grpc, milvus, msg, schema
from mbk.milvus.rbac import lacking, to_message
from mbk.milvus.schema import write_field, write_pairs, write_schema
from mbk.model.records import Collection, CollectionSchema, Database, IndexInfo, Rbac

CONFIRM_SECONDS = 120.0
#: Fields that the server keeps in every collection but does not describe.
_SYSTEM_FIELDS = ((0, "RowID", "row id"), (1, "Timestamp", "time stamp"))
_CONSISTENCY = "consistency_level"


class MilvusReplication:
    """Implements :class:`mbk.ports.replicate.Replication`: ``source`` and ``target`` are the ids of the clusters.

    ``control`` is the source's control channel. The physical channels of both are paired in the order of the topology.
    """

    def __init__(self, channel: Channel, *, source: str, target: str, control: str) -> None:
        self._channel = channel
        self._source = source
        self._target = target
        self._control = control
        self._ticks = 0
        self._broadcasts = count(1)
        self._streams: dict[str, _Stream] = {}

    def topology(self) -> Mapping[str, tuple[str, ...]]:
        request = milvus.GetReplicateConfigurationRequest()
        answer = self._channel.call("GetReplicateConfiguration", request, "get the replicate configuration")
        return {item.cluster_id: tuple(item.pchannels) for item in answer.configuration.clusters}

    def checkpoint(self, channel: str) -> int:
        request = milvus.GetReplicateInfoRequest(source_cluster_id=self._source, target_pchannel=channel)
        # This response has no status.
        answer = self._channel.call(
            "GetReplicateInfo", request, f"get the checkpoint of {channel}", checked=False
        )
        return int(answer.checkpoint.time_tick)

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        self._channel.close()

    # -- messages ------------------------------------------------------------------------------------------------

    def create_database(self, database: Database) -> None:
        header = wal.new("CreateDatabaseHeader", db_name=database.db_name, db_id=database.db_id)
        body = wal.new("CreateDatabaseBody", properties=write_pairs(database.properties))
        self._broadcast(wal.CREATE_DATABASE, header, body, [self._control])

    def create_collection(self, collection: Collection, database_id: int) -> None:
        partitions = [part.partition_id for part in collection.partition_backups]
        header = wal.new(
            "CreateCollectionHeader",
            collection_id=collection.collection_id,
            partition_ids=partitions,
            db_id=database_id,
        )
        body = msg.CreateCollectionRequest(
            base=common.MsgBase(msg_type=common.MsgType.CreateCollection, timestamp=self._ticks + 1),
            db_name=collection.db_name,
            collectionName=collection.collection_name,
            dbID=database_id,
            collectionID=collection.collection_id,
            virtualChannelNames=collection.virtual_channel_names,
            physicalChannelNames=collection.physical_channel_names,
            partitionIDs=partitions,
            partitionNames=[part.partition_name for part in collection.partition_backups],
            collection_schema=_whole_schema(collection),
        )
        channels = [self._control, *collection.virtual_channel_names]
        self._broadcast(wal.CREATE_COLLECTION, header, body, channels)

    def create_index(self, collection: Collection, database_id: int, index: IndexInfo) -> None:
        header = wal.new(
            "CreateIndexHeader",
            db_id=database_id,
            collection_id=collection.collection_id,
            field_id=index.field_id,
            index_id=index.index_id,
            index_name=index.index_name,
        )
        info = wal.new(
            "IndexInfo",
            collectionID=collection.collection_id,
            fieldID=index.field_id,
            index_name=index.index_name,
            indexID=index.index_id,
            type_params=write_pairs(index.type_params),
            index_params=write_pairs(index.index_params),
            is_auto_index=index.is_auto_index,
            user_index_params=write_pairs(index.user_index_params),
            min_index_version=index.min_index_version,
            max_index_version=index.max_index_version,
        )
        stored = wal.new("FieldIndex", index_info=info, create_time=index.create_time)
        body = wal.new("CreateIndexBody", field_index=stored)
        self._broadcast(wal.CREATE_INDEX, header, body, [self._control])

    def start_import(
        self,
        collection: Collection,
        *,
        job: int,
        partition: int,
        files: Sequence[Sequence[str]],
        options: Mapping[str, str],
    ) -> None:
        body = msg.ImportMsg(
            base=common.MsgBase(msg_type=common.MsgType.Import, timestamp=self._ticks + 1),
            db_name=collection.db_name,
            collection_name=collection.collection_name,
            collectionID=collection.collection_id,
            partitionIDs=[partition],
            options=dict(options),
            files=[msg.ImportFile(id=number, paths=paths) for number, paths in enumerate(files, start=1)],
            schema=_whole_schema(collection),
            jobID=job,
        )
        self._broadcast(wal.IMPORT, wal.new("Empty"), body, collection.virtual_channel_names)

    def commit_import(self, collection: Collection, *, job: int, needed: bool) -> None:
        if not needed:
            next(self._broadcasts)
            self._ticks += len(collection.virtual_channel_names)
            return
        header = wal.new("CommitImportHeader", collection_id=collection.collection_id, job_id=job)
        self._broadcast(wal.COMMIT_IMPORT, header, wal.new("Empty"), collection.virtual_channel_names)

    def load(self, collection: Collection, database_id: int) -> None:
        indexes = {index.field_id: index.index_id for index in collection.index_infos}
        fields = collection.schema.fields if collection.schema else []
        header = wal.new(
            "AlterLoadConfigHeader",
            db_id=database_id,
            collection_id=collection.collection_id,
            partition_ids=sorted(part.partition_id for part in collection.partition_backups),
            load_fields=[
                wal.new("LoadField", field_id=field.field_id, index_id=indexes.get(field.field_id, 0))
                for field in fields
            ],
            use_local_replica_config=True,
        )
        self._broadcast(wal.ALTER_LOAD_CONFIG, header, wal.new("Empty"), [self._control])

    def restore_rbac(self, rbac: Rbac, present: Rbac) -> None:
        missing = lacking(rbac, present)[0]
        if not (missing.users or missing.roles or missing.grants or missing.privilege_groups):
            return  # servers refuse an empty message
        body = wal.new("RestoreRbacBody", rbac_meta=to_message(missing))
        self._broadcast(wal.RESTORE_RBAC, wal.new("Empty"), body, [self._control])

    def forward(self, channel: str, message: bytes) -> None:
        self._stream(channel).deliver([(wal.time_tick(message), message)])

    # -- sending -------------------------------------------------------------------------------------------------

    def _broadcast(self, kind: wal.Kind, header: Any, body: Any, channels: Sequence[str]) -> None:
        """A retry must send the same ticks, so the counters advance only once the message was delivered."""
        first = self._ticks
        ticks = count(first + 1)
        number = next(self._broadcasts)
        copies = wal.broadcast(kind, header, body, channels, ticks=ticks, broadcast_id=number)
        try:
            for channel, tick, message in copies:
                self._stream(channel).deliver([(tick, message)])
        except BaseException:
            self._broadcasts = count(number)
            raise
        self._ticks = first + len(copies)

    def _stream(self, channel: str) -> _Stream:
        if channel not in self._streams:
            paired = self._paired(channel)
            self._streams[channel] = _Stream(
                self._channel, self._source, channel, taken=lambda: self.checkpoint(paired)
            )
        return self._streams[channel]

    def _paired(self, channel: str) -> str:
        topology = self.topology()
        ours, theirs = topology.get(self._source, ()), topology.get(self._target, ())
        return theirs[ours.index(channel)] if channel in ours and len(ours) == len(theirs) else channel


class _Stream:
    """The stream of one physical channel; opened when needed, closed on errors."""

    def __init__(self, channel: Channel, source: str, name: str, *, taken: Callable[[], int]) -> None:
        """``taken`` returns the time tick up to which the server has the messages of this channel."""
        self._channel = channel
        self._source = source
        self._name = name
        self._ask_taken = taken
        self._taken = 0
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._call: Any = None

    def close(self) -> None:
        if self._call is not None:
            self._outgoing.put(None)
            self._call.cancel()
            self._call = None

    def deliver(self, messages: Sequence[tuple[int, bytes]]) -> None:
        """Sends the messages, in the order of their ticks, and waits until the server has confirmed each."""
        what = f"replicate to {self._name}"
        call = self._opened()
        messages = [(tick, message) for tick, message in messages if tick > self._taken]
        waiting = deque(tick for tick, _ in messages)
        watch = threading.Timer(CONFIRM_SECONDS, call.cancel)
        watch.daemon = True
        watch.start()
        try:
            for _, message in messages:
                self._outgoing.put(self._request(message))
            while waiting:
                confirmed = next(call).replicate_confirmed_message_info.confirmed_time_tick
                while waiting and waiting[0] <= confirmed:
                    self._taken = waiting.popleft()
        except StopIteration:
            self.close()
            raise MilvusUnavailable(
                "{operation}: the server closed the stream", code="replication-stream-closed", operation=what
            ) from None
        except grpc.RpcError as exc:
            self.close()
            if exc.code() == grpc.StatusCode.CANCELLED:
                raise MilvusUnavailable(
                    "{operation}: no confirmation within {seconds:.0f} s",
                    code="replication-timeout",
                    operation=what,
                    seconds=CONFIRM_SECONDS,
                ) from None
            raise from_rpc(exc, what, self._channel.target) from exc
        finally:
            watch.cancel()

    def _opened(self) -> Any:
        if self._call is None:
            self._taken = self._ask_taken()
            outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
            self._outgoing = outgoing
            self._call = self._channel.stream(
                "CreateReplicateStream", iter(outgoing.get, None), extra=(("cluster-id", self._source),)
            )
        return self._call

    def _request(self, message: bytes) -> Any:
        inner = milvus.ReplicateMessage(
            source_cluster_id=self._source, message=common.ImmutableMessage.FromString(message)
        )
        return milvus.ReplicateRequest(replicate_message=inner)


def _whole_schema(collection: Collection) -> Any:
    """The schema as the server stores it: with the system fields, ``$meta`` and the consistency level by name."""
    record = collection.schema or CollectionSchema()
    message = write_schema(record, record.properties)
    del message.fields[:]
    message.fields.extend(write_field(field) for field in record.fields)
    for field, source in zip(message.fields, record.fields, strict=True):
        field.is_dynamic = source.is_dynamic
    message.fields.extend(
        schema.FieldSchema(fieldID=number, name=name, description=text, data_type=schema.DataType.Int64)
        for number, name, text in _SYSTEM_FIELDS
    )
    level = common.ConsistencyLevel.Name(collection.consistency_level)
    message.properties.append(common.KeyValuePair(key=_CONSISTENCY, value=level))
    return message
