"""The reading half of the port: what is there, where the flush boundary lies, which segments are persistent."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbk.errors import MilvusError, NotFound
from mbk.milvus import management
from mbk.milvus.flush import flush_all_and_wait, flush_and_wait
from mbk.milvus.proto import common, milvus, schema
from mbk.milvus.rbac import read_rbac
from mbk.milvus.schema import is_external, merged, read_index, read_pairs, read_schema
from mbk.milvus.server import Server, name_of
from mbk.model.records import DEFAULT_DATABASE, LOADED, NOT_LOADED, Database, Rbac
from mbk.ports.milvus.server import (
    CollectionInfo,
    Feature,
    FlushAllPoint,
    FlushPoint,
    PartitionInfo,
    SegmentInfo,
    SegmentLogs,
)

#: Without count(*) the primary keys themselves are fetched and counted, at most so many.
MAX_COUNTED_KEYS = 1_000_000
_PERSISTENT = frozenset({common.Flushed, common.Flushing})
#: Only a server that takes part in a replication answers (milvus: pkg/util/merr/errors.go, `ErrDenyReplicateMessage`).
_NO_REPLICATION = 1900
#: The list named a segment that a compaction replaced just then. Servers do not call that a passing error: 600 is none
#: in milvus: pkg/util/merr/errors.go; the second is 2.2's (internal/datacoord/errors.go, `msgSegmentNotFound`).
_SEGMENT_REPLACED = re.compile(r"segment not found|failed to get segment \d+", re.I)


class Reading(Server):
    def databases(self) -> list[Database]:
        if Feature.DATABASES not in self.features:
            return [Database(db_name=DEFAULT_DATABASE)]
        listed = self._channel.call("ListDatabases", milvus.ListDatabasesRequest(), "list databases")
        if Feature.DESCRIBE_DATABASE not in self.features:
            return [Database(db_name=name) for name in listed.db_names]
        return [self._database(name) for name in listed.db_names]

    def _database(self, name: str) -> Database:
        request = milvus.DescribeDatabaseRequest(db_name=name)
        found = self._channel.call("DescribeDatabase", request, f"describe database {name}", database=name)
        return Database(db_name=name, db_id=found.dbID, properties=read_pairs(found.properties))

    def collections(self, database: str) -> list[str]:
        request = milvus.ShowCollectionsRequest()
        what = f"list the collections of database {database}"
        return list(self._channel.call("ShowCollections", request, what, database=database).collection_names)

    def has_collection(self, database: str, collection: str) -> bool:
        """Also true for an alias, as the server sees it; false in a database that is not there."""
        request = milvus.HasCollectionRequest(collection_name=collection)
        what = f"look for {name_of(database, collection)}"
        try:
            return bool(self._channel.call("HasCollection", request, what, database=database).value)
        except NotFound:
            return False

    def describe(self, database: str, collection: str) -> CollectionInfo:
        found = self._describe(database, collection)
        record = read_schema(found.schema)
        record.properties = merged(record.properties, read_pairs(found.properties))
        partitions = self._partitions(database, collection)
        load_state = self._load_state(database, collection)
        loaded = {} if load_state == NOT_LOADED else self._loaded_partitions(database, collection)
        replicas = () if load_state == NOT_LOADED else self._replicas(database, found.collectionID)
        return CollectionInfo(
            database=database,
            name=record.name,
            id=found.collectionID,
            schema=record,
            shards=found.shards_num,
            consistency_level=found.consistency_level,
            partitions=partitions,
            indexes=tuple(read_index(index) for index in self._indexes(database, collection)),
            load_state=load_state,
            partition_load_states={part.name: loaded.get(part.name, NOT_LOADED) for part in partitions},
            replicas=len(replicas),
            resource_groups=tuple(sorted({replica.resource_group_name for replica in replicas} - {""})),
            properties=tuple(record.properties),
            aliases=tuple(found.aliases),
            database_id=found.db_id,
            created_timestamp=found.created_timestamp,
            virtual_channels=tuple(found.virtual_channel_names),
            physical_channels=tuple(found.physical_channel_names),
            external=is_external(found.schema),
            update_timestamp=found.update_timestamp,
        )

    def _partitions(self, database: str, collection: str) -> tuple[PartitionInfo, ...]:
        request = milvus.ShowPartitionsRequest(collection_name=collection)
        what = f"list the partitions of {name_of(database, collection)}"
        found = self._channel.call("ShowPartitions", request, what, database=database)
        if len(found.partition_names) != len(found.partitionIDs):
            raise MilvusError(f"{what}: the server sent names and ids of different number")
        pairs = zip(found.partitionIDs, found.partition_names, strict=True)
        return tuple(PartitionInfo(id=number, name=name) for number, name in pairs)

    def _replicas(self, database: str, collection_id: int) -> Sequence[Any]:
        """Empty where the server does not tell: released meanwhile, or just beginning to load."""
        request = milvus.GetReplicasRequest(collectionID=collection_id)
        found = self._channel.call("GetReplicas", request, "get replicas", database=database, checked=False)
        return tuple(found.replicas)

    def row_count(self, database: str, collection: str) -> int | None:
        """None unless every partition is loaded, and for more than `MAX_COUNTED_KEYS` rows on servers before 2.3."""
        if self._load_state(database, collection) != LOADED:
            return None
        loaded = self._loaded_partitions(database, collection)
        partitions = self._partitions(database, collection)
        if any(loaded.get(part.name) != LOADED for part in partitions):
            return None
        if Feature.COUNT in self.features:
            return int(self._query(database, collection, "", "count(*)").scalars.long_data.data[0])
        return self._count_keys(database, collection)

    def _count_keys(self, database: str, collection: str) -> int | None:
        # The statistics ignore deletes and so are no truth, but they bound what a query can bring.
        request = milvus.GetCollectionStatisticsRequest(collection_name=collection)
        what = f"get the statistics of {name_of(database, collection)}"
        stats = self._channel.call("GetCollectionStatistics", request, what, database=database).stats
        if any(pair.key == "row_count" and int(pair.value) > MAX_COUNTED_KEYS for pair in stats):
            return None
        fields = self._describe(database, collection).schema.fields
        key = next(field for field in fields if field.is_primary_key)
        if key.data_type == schema.DataType.VarChar:
            return len(
                self._query(database, collection, f'{key.name} >= ""', key.name).scalars.string_data.data
            )
        # -2**63 as a literal overflows the server's parser.
        everything = f"{key.name} >= 0 or {key.name} < 0"
        return len(self._query(database, collection, everything, key.name).scalars.long_data.data)

    def _query(self, database: str, collection: str, expression: str, output: str) -> Any:
        """One column of a strongly consistent query: level 0, and no older guarantee timestamp for old servers."""
        request = milvus.QueryRequest(
            collection_name=collection,
            expr=expression,
            output_fields=[output],
            consistency_level=common.Strong,
            guarantee_timestamp=0,
        )
        what = f"count the rows of {name_of(database, collection)}"
        response = self._channel.call("Query", request, what, database=database)
        return next(
            (column for column in response.fields_data if column.field_name == output), schema.FieldData()
        )

    def flush(
        self,
        database: str,
        collection: str,
        *,
        timeout: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> FlushPoint:
        return flush_and_wait(
            self._channel,
            database,
            collection,
            channels=self._virtual_channels,
            timeout=timeout,
            sleep=sleep,
        )

    def _virtual_channels(self, database: str, collection: str) -> list[str]:
        return list(self._describe(database, collection).virtual_channel_names)

    def flush_all(self, *, sleep: Callable[[float], None] = time.sleep) -> FlushAllPoint:
        with self._using(Feature.FLUSH_ALL, "flush all collections"):
            return flush_all_and_wait(self._channel, sleep=sleep)

    def segments(self, database: str, collection: str) -> list[SegmentInfo]:
        request = milvus.GetPersistentSegmentInfoRequest(collectionName=collection)
        what = f"list the segments of {name_of(database, collection)}"
        try:
            found = self._channel.call("GetPersistentSegmentInfo", request, what, database=database)
        except MilvusError as error:
            if error.retryable or not _SEGMENT_REPLACED.search(error.message):
                raise
            raise MilvusError(error.message, code=error.code, retryable=True) from error
        return [
            SegmentInfo(
                id=info.segmentID,
                partition_id=info.partitionID,
                rows=info.num_rows,
                is_l0=info.level == common.L0,
                storage_version=info.storage_version,
                v_channel=getattr(info, "insert_channel", ""),
            )
            for info in found.infos
            if info.state in _PERSISTENT
        ]

    def segment_logs(
        self, database: str, collection_id: int, segments: Sequence[int]
    ) -> Mapping[int, SegmentLogs]:
        with self._using(Feature.SEGMENT_DETAIL, f"describe the segments of collection {collection_id}"):
            return self._rest.segment_logs(database, collection_id, segments)

    def encryption_key(self, database: str) -> str:
        return management.encryption_key(self._settings.management_endpoint, database)

    def replicate_position(self) -> str:
        what = f"get the position of the replication channel {self._settings.rpc_channel_name}"
        with self._using(Feature.REPLICATE_POSITION, what):
            request = milvus.ReplicateMessageRequest(channel_name=self._settings.rpc_channel_name)
            try:
                return str(self._channel.call("ReplicateMessage", request, what).position)
            except MilvusError as error:
                if error.code == _NO_REPLICATION:
                    return ""
                raise

    def pause_gc(self, seconds: int, *, collection_id: int | None = None) -> str:
        endpoint = self._settings.management_endpoint
        return management.pause(endpoint, seconds, collection_id=collection_id)

    def resume_gc(self, ticket: str = "", *, collection_id: int | None = None) -> None:
        management.resume(self._settings.management_endpoint, ticket=ticket, collection_id=collection_id)

    def read_rbac(self) -> Rbac:
        databases = [database.db_name for database in self.databases()]
        return read_rbac(self._channel, databases, whole=Feature.RBAC_BACKUP in self.features)
