"""Partitions, and what is loaded. Loading is done at once.

Sources: milvus ``internal/proxy/impl.go``, ``internal/rootcoord``, ``internal/querycoordv2/services.go``; 2.3.5 by running it.
"""

from __future__ import annotations

from collections.abc import Iterable

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.clock import milliseconds
from tests.milvus_double.collections import pairs
from tests.milvus_double.objects import drop_segments
from tests.milvus_double.refusal import Refused, no_index
from tests.milvus_double.schemas import check_name
from tests.milvus_double.state import DEFAULT_PARTITION, Collection, Partition
from tests.milvus_double.wire import VECTORS

DEFAULT_GROUP = "__default_resource_group"


class Partitions(Part):
    def CreatePartition(self, request: milvus.CreatePartitionRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        if found.partition_key is not None:
            raise Refused("disable create partition if partition key mode is used")
        if not request.partition_name.replace("_", "a").isalnum():
            raise Refused(
                f"Invalid partition name: {request.partition_name}. Partition name can only contain numbers, letters "
                "and underscores."
            )
        check_name(request.partition_name, "partition")
        if request.partition_name not in found.partitions:
            found.partitions[request.partition_name] = Partition(
                id=self.state.clock.new_id(), name=request.partition_name, created=self.state.clock.now()
            )
        return common.Status()

    def DropPartition(self, request: milvus.DropPartitionRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        if request.partition_name == DEFAULT_PARTITION:
            raise Refused("default partition cannot be deleted")
        if found.partition_key is not None:
            raise Refused("disable drop partition if partition key mode is used")
        partition = found.partitions.get(request.partition_name)
        if partition is None:
            return common.Status()
        if partition.loaded:
            raise Refused("partition cannot be dropped, partition is loaded, please release it first")
        drop_segments(
            self.state, (item for item in found.segments.values() if item.partition_id == partition.id)
        )
        del found.partitions[partition.name]
        return common.Status()

    def HasPartition(self, request: milvus.HasPartitionRequest, call: Call) -> milvus.BoolResponse:
        found = self.state.collection(call.database, request.collection_name)
        return milvus.BoolResponse(value=request.partition_name in found.partitions)

    def ShowPartitions(
        self, request: milvus.ShowPartitionsRequest, call: Call
    ) -> milvus.ShowPartitionsResponse:
        if request.collection_name:
            found = self.state.collection(call.database, request.collection_name)
        else:
            found = self.state.collection_by_id(request.collectionID)
        if (
            request.type == milvus.ShowType.InMemory
            and not found.loaded
            and self.state.version.number < (2, 3, 0)
        ):
            raise Refused(f"collection {found.id} has not been loaded into QueryNode")
        answer = milvus.ShowPartitionsResponse()
        for part in found.partitions.values():
            if request.partition_names and part.name not in request.partition_names:
                continue
            if request.type == milvus.ShowType.InMemory:
                if not part.loaded:
                    continue
                answer.inMemory_percentages.append(100)
            answer.partition_names.append(part.name)
            answer.partitionIDs.append(part.id)
            answer.created_timestamps.append(part.created)
            answer.created_utc_timestamps.append(milliseconds(part.created))
        return answer

    def GetPartitionStatistics(
        self, request: milvus.GetPartitionStatisticsRequest, call: Call
    ) -> milvus.GetPartitionStatisticsResponse:
        found = self.state.collection(call.database, request.collection_name)
        number = found.partition_named(request.partition_name).id
        rows = sum(
            item.row_count
            for item in found.persistent_segments()
            if item.partition_id == number and not item.is_l0
        )
        return milvus.GetPartitionStatisticsResponse(stats=pairs({"row_count": str(rows)}))


class Loading(Part):
    def LoadCollection(self, request: milvus.LoadCollectionRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        self._load(found, found.partitions.values(), request.replica_number)
        return common.Status()

    def LoadPartitions(self, request: milvus.LoadPartitionsRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        self._load(
            found, [found.partition_named(name) for name in request.partition_names], request.replica_number
        )
        return common.Status()

    def _load(self, found: Collection, partitions: Iterable[Partition], replicas: int) -> None:
        """Every vector field needs an index (``loadCollectionTask`` in ``internal/proxy/task.go``)."""
        indexed = {index.field_id for index in found.indexes.values()}
        vectors = [field for field in found.fields if field.data_type in VECTORS]
        if missing := [field.name for field in vectors if field.fieldID not in indexed]:
            if self.state.version.number < (2, 4, 0) or not found.indexes:
                raise no_index(found.name, kind="collection")
            raise Refused(
                f"there is no vector index on field: [{' '.join(missing)}], please create index firstly",
                code=700,
            )
        for part in partitions:
            part.loaded = True
        found.loaded, found.replicas = True, replicas or found.replicas or 1

    def ReleaseCollection(self, request: milvus.ReleaseCollectionRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        for part in found.partitions.values():
            part.loaded = False
        found.loaded, found.replicas = False, 0
        return common.Status()

    def ReleasePartitions(self, request: milvus.ReleasePartitionsRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        for name in request.partition_names:
            found.partition_named(name).loaded = False
        found.loaded = any(part.loaded for part in found.partitions.values())
        return common.Status()

    def GetLoadState(self, request: milvus.GetLoadStateRequest, call: Call) -> milvus.GetLoadStateResponse:
        try:
            found = self.state.collection(call.database, request.collection_name)
        except Refused as refused:
            if refused.code != 100:
                raise
            return milvus.GetLoadStateResponse(state=common.LoadStateNotExist)
        loaded = all(part.loaded for part in self._asked(found, request.partition_names))
        state = common.LoadStateLoaded if found.loaded and loaded else common.LoadStateNotLoad
        return milvus.GetLoadStateResponse(state=state)

    def _asked(self, found: Collection, names: Iterable[str]) -> list[Partition]:
        """Without names: those that are loaded, as a collection of which some are loaded is loaded."""
        asked = [found.partition_named(name) for name in names]
        return asked or [part for part in found.partitions.values() if part.loaded]

    def GetLoadingProgress(
        self, request: milvus.GetLoadingProgressRequest, call: Call
    ) -> milvus.GetLoadingProgressResponse:
        found = self.state.collection(call.database, request.collection_name)
        asked = self._asked(found, request.partition_names)
        if not found.loaded or not all(part.loaded for part in asked):
            raise Refused(f"collection not loaded[collection={found.id}]", code=101)
        answer = milvus.GetLoadingProgressResponse(progress=100)
        if self.state.version.number >= (2, 3, 0):
            answer.refresh_progress = 100
        return answer

    def GetReplicas(self, request: milvus.GetReplicasRequest, call: Call) -> milvus.GetReplicasResponse:
        if request.collectionID:
            found = self.state.collection_by_id(request.collectionID)
        else:
            found = self.state.collection(call.database, request.collection_name)
        if not found.loaded:
            raise Refused(f"replica not found[collection={found.id}]", code=400)
        answer = milvus.GetReplicasResponse()
        for number in range(found.replicas):
            replica = answer.replicas.add(
                replicaID=found.id + 1 + number,
                collectionID=found.id,
                node_ids=[1],
                resource_group_name=DEFAULT_GROUP,
            )
            for channel in found.channels:
                replica.shard_replicas.add(
                    leaderID=1, leader_addr="127.0.0.1:1", dm_channel_name=channel, node_ids=[1]
                )
        return answer

    def DescribeResourceGroup(
        self, request: milvus.DescribeResourceGroupRequest, call: Call
    ) -> milvus.DescribeResourceGroupResponse:
        if request.resource_group != DEFAULT_GROUP:
            raise Refused(f"resource group not found[rg={request.resource_group}]", code=300)
        group = milvus.ResourceGroup(name=DEFAULT_GROUP, capacity=1, num_available_node=1)
        return milvus.DescribeResourceGroupResponse(resource_group=group)

    def ListResourceGroups(
        self, request: milvus.ListResourceGroupsRequest, call: Call
    ) -> milvus.ListResourceGroupsResponse:
        return milvus.ListResourceGroupsResponse(resource_groups=[DEFAULT_GROUP])
