"""Replication: a secondary cluster that takes the messages of another's write-ahead log.

The copies of a broadcast take effect when all of them are there. What is not younger than the newest message of its
channel is left out without an answer. Sources: milvus ``internal/proxy/replicate/replicate_stream_server.go``,
``internal/streamingnode/server/wal/interceptors/replicate`` (de-duplication by time tick, channels mapped by their place in
the topology), ``internal/streamingcoord`` (broadcasts).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import msg_pb2 as msg
from pymilvus.grpc_gen import schema_pb2

from tests.milvus_double import wal_messages as wal
from tests.milvus_double.calls import Call, Part
from tests.milvus_double.faults import Faults
from tests.milvus_double.imports import FAILED, Imports, Wanted
from tests.milvus_double.rbac import WholeRbac
from tests.milvus_double.refusal import Refused, RpcFailure
from tests.milvus_double.schemas import largest_id
from tests.milvus_double.state import (
    ALL_PARTITIONS,
    Collection,
    Database,
    ImportJob,
    Index,
    Partition,
    State,
)

FIRST_USER_FIELD = 100


class Replication(Part):
    """``taken``: every message, in the order in which it took effect. ``positions``: target channel -> newest time tick.

    ``refused``: what messages asked for that could not be done; a real server would try for ever.
    """

    def __init__(self, state: State, imports: Imports, faults: Faults) -> None:
        super().__init__(state)
        self.configuration = common.ReplicateConfiguration()
        self.cluster = ""
        self.positions: dict[str, int] = {}
        self.taken: list[wal.WalMessage] = []
        self.refused: list[str] = []
        self._imports, self._faults = imports, faults
        self._rbac = WholeRbac(state)
        self._waiting: dict[int, set[str]] = {}

    def follow(
        self, source: str, target: str, source_channels: list[str], target_channels: list[str]
    ) -> None:
        """Makes this server the secondary ``target`` of ``source``, as UpdateReplicateConfiguration does."""
        clusters = ((source, source_channels), (target, target_channels))
        self.configuration = common.ReplicateConfiguration(
            clusters=[common.MilvusCluster(cluster_id=name, pchannels=names) for name, names in clusters],
            cross_cluster_topology=[
                common.CrossClusterTopology(source_cluster_id=source, target_cluster_id=target)
            ],
        )
        self.cluster = target

    # -- calls ---------------------------------------------------------------------------------------------------------

    def UpdateReplicateConfiguration(self, request: Any, _call: Call) -> Any:
        self.configuration.CopyFrom(request.replicate_configuration)
        topology = list(self.configuration.cross_cluster_topology)
        self.cluster = topology[0].target_cluster_id if topology else ""
        return common.Status()

    def GetReplicateConfiguration(self, _request: Any, _call: Call) -> Any:
        shown = common.ReplicateConfiguration()
        shown.CopyFrom(self.configuration)
        for cluster in shown.clusters:
            cluster.connection_param.token = ""
        return milvus.GetReplicateConfigurationResponse(status=common.Status(), configuration=shown)

    def GetReplicateInfo(self, request: Any, _call: Call) -> Any:
        channel = request.target_pchannel
        if channel not in self._channels(self.cluster):
            # A real server waits for a channel that will never be assigned to it.
            raise RpcFailure(grpc.StatusCode.DEADLINE_EXCEEDED, f"channel {channel} is not assigned")
        checkpoint = common.ReplicateCheckpoint(
            cluster_id=request.source_cluster_id,
            pchannel=channel,
            time_tick=self.positions.get(channel, 0),
        )
        return milvus.GetReplicateInfoResponse(checkpoint=checkpoint)

    def ReplicateMessage(self, _request: Any, _call: Call) -> Any:
        """The stream of 2.5, of which this server is no part (milvus: internal/proxy/impl.go, pkg/util/merr/errors.go)."""
        raise Refused("deny to use the replicate message in the normal instance", code=1900)

    def CreateReplicateStream(self, requests: Iterator[Any], call: Call) -> Iterator[Any]:
        source = call.metadata.get("cluster-id", "")
        if not self._follows(source):
            raise RpcFailure(
                grpc.StatusCode.FAILED_PRECONDITION, f"cluster {source!r} is not replicated here"
            )
        for request in requests:
            fault = self._faults.of_stream(request)
            if fault is not None and not fault.done:
                raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "the stream is closed")
            tick = self._take(source, request.replicate_message)
            if fault is not None:
                raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "the stream is closed")
            if tick:
                info = milvus.ReplicateConfirmedMessageInfo(confirmed_time_tick=tick)
                yield milvus.ReplicateResponse(replicate_confirmed_message_info=info)

    # -- taking --------------------------------------------------------------------------------------------------------

    def _follows(self, source: str) -> bool:
        return any(
            (item.source_cluster_id, item.target_cluster_id) == (source, self.cluster)
            for item in self.configuration.cross_cluster_topology
        )

    def _channels(self, cluster: str) -> list[str]:
        found = (item for item in self.configuration.clusters if item.cluster_id == cluster)
        return list(next(found, common.MilvusCluster()).pchannels)

    def _take(self, source: str, sent: Any) -> int:
        """The time tick to confirm, 0 for a message that is known."""
        if sent.source_cluster_id != source:
            raise RpcFailure(
                grpc.StatusCode.INVALID_ARGUMENT, f"a message of cluster {sent.source_cluster_id!r}"
            )
        try:
            message = wal.decoded(sent.message)
            channel = self._own(source, wal.physical(message.channel))
        except ValueError as error:
            raise RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        with self.state.lock:
            if message.tick <= self.positions.get(channel, 0):
                return 0
            self.positions[channel] = message.tick
            if self._complete(message):
                self._apply(source, message)
        return message.tick

    def _own(self, source: str, channel: str) -> str:
        theirs, ours = self._channels(source), self._channels(self.cluster)
        if channel not in theirs:
            raise ValueError(f"channel {channel} is none of cluster {source}")
        return ours[theirs.index(channel)]

    def _own_virtual(self, source: str, channel: str) -> str:
        head = wal.physical(channel)
        return self._own(source, head) + channel.removeprefix(head)

    def _complete(self, message: wal.WalMessage) -> bool:
        if not message.broadcast_id:
            return True
        seen = self._waiting.setdefault(message.broadcast_id, set())
        seen.add(message.channel)
        if seen < set(message.broadcast_channels):
            return False
        del self._waiting[message.broadcast_id]
        return True

    # -- effects -------------------------------------------------------------------------------------------------------

    def _apply(self, source: str, message: wal.WalMessage) -> None:
        self.taken.append(message)
        try:
            if message.kind == wal.CREATE_DATABASE:
                self._create_database(message)
            elif message.kind == wal.CREATE_COLLECTION:
                self._create_collection(source, message)
            elif message.kind == wal.CREATE_INDEX:
                self._create_index(message)
            elif message.kind == wal.IMPORT:
                self._import(message)
            elif message.kind == wal.COMMIT_IMPORT:
                self._imports.commit(message.header.number(2))
            elif message.kind == wal.ALTER_LOAD_CONFIG:
                self._load(message)
            elif message.kind == wal.RESTORE_RBAC:
                self._rbac.restore(milvus.RBACMeta.FromString(b"".join(message.body.raw(1))))
            elif message.kind != wal.FLUSH_ALL:
                self.refused.append(f"message type {message.kind} has no effect here")
        except Refused as refused:
            self.refused.append(refused.reason)

    def _create_database(self, message: wal.WalMessage) -> None:
        name, number = message.header.text(1), message.header.number(2)
        properties = wal.pairs(message.body.raw(1))
        self.state.databases.setdefault(name, Database(number, name, properties, self.state.clock.now()))

    def _create_collection(self, source: str, message: wal.WalMessage) -> None:
        body = msg.CreateCollectionRequest.FromString(message.payload)
        number = message.header.number(1)
        if number in self.state.collections:
            return
        schema = schema_pb2.CollectionSchema()
        schema.CopyFrom(body.collection_schema)
        system = {field.fieldID for field in schema.fields if field.fieldID < FIRST_USER_FIELD}
        if system != {0, 1}:
            raise Refused(f"collection {body.collectionName} lacks its system fields")
        own = [field for field in schema.fields if field.fieldID >= FIRST_USER_FIELD]
        del schema.fields[:]
        schema.fields.extend(own)
        properties = {pair.key: pair.value for pair in schema.properties}
        del schema.properties[:]
        level = properties.pop("consistency_level", "Bounded")
        collection = Collection(
            id=number,
            database=body.db_name or "default",
            name=body.collectionName,
            schema=schema,
            shards=len(body.virtualChannelNames),
            consistency_level=common.ConsistencyLevel.Value(level),
            channels=[self._own_virtual(source, name) for name in body.virtualChannelNames],
            created=self.state.clock.now(),
            properties=properties,
            max_field_id=largest_id(schema),
        )
        for partition_id, name in zip(body.partitionIDs, body.partitionNames, strict=True):
            collection.partitions[name] = Partition(partition_id, name, collection.created)
        self.state.database(collection.database).collections[collection.name] = collection
        self.state.collections[number] = collection

    def _create_index(self, message: wal.WalMessage) -> None:
        stored = message.body.message(1)
        info = stored.message(1)
        collection = self.state.collection_by_id(message.header.number(2))
        field_id = message.header.number(3)
        field = next((item for item in collection.fields if item.fieldID == field_id), None)
        if field is None:
            raise Refused(f"collection {collection.name} has no field {field_id} to index")
        name = info.text(3)
        collection.indexes[name] = Index(
            id=info.number(4),
            name=name,
            field_id=field_id,
            field_name=collection.full_name(field),
            params=wal.pairs(info.raw(12)) or wal.pairs(info.raw(6)),
            type_params=wal.pairs(info.raw(5)),
            created=stored.number(3),
            auto=bool(info.number(11)),
        )

    def _import(self, message: wal.WalMessage) -> None:
        body = msg.ImportMsg.FromString(message.payload)
        collection = self.state.collection_by_id(body.collectionID)
        names = {part.id: part.name for part in collection.partitions.values()} | {ALL_PARTITIONS: ""}
        partition = names.get(body.partitionIDs[0] if body.partitionIDs else ALL_PARTITIONS, "?")
        files = [list(file.paths) for file in body.files]
        wanted = Wanted(collection.database, collection.name, partition, files, dict(body.options))
        try:
            self._imports.create(wanted, job_id=body.jobID)
        except Refused as refused:
            # Whoever sent the message learns of it by asking for the job.
            self.state.jobs[body.jobID] = ImportJob(
                id=body.jobID,
                database=collection.database,
                collection_id=collection.id,
                collection=collection.name,
                partition=partition,
                files=files,
                options=dict(body.options),
                state=FAILED,
                reason=refused.reason,
            )

    def _load(self, message: wal.WalMessage) -> None:
        collection = self.state.collection_by_id(message.header.number(2))
        wanted = set(message.header.numbers(3))
        for partition in collection.partitions.values():
            partition.loaded = partition.id in wanted
        collection.loaded, collection.replicas = bool(wanted), 1
