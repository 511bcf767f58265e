"""Collections: creating, describing, altering, adding fields, dropping.

Sources: milvus ``internal/rootcoord/create_collection_task.go``, ``internal/proxy/task.go``, ``impl.go``;
for 2.3.5 the real server (tests/versions/test_double_is_like_2_3_5.py).
"""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.clock import milliseconds
from tests.milvus_double.functions import CHECK_SWITCH, check_providers
from tests.milvus_double.objects import drop_segments
from tests.milvus_double.refusal import Refused, invalid, no_collection
from tests.milvus_double.schema_changes import DYNAMIC_SWITCH, MAX_FIELD_ID, switch_dynamic
from tests.milvus_double.schemas import (
    check_name,
    largest_id,
    params,
    shown_schema,
    stored_schema,
)
from tests.milvus_double.state import (
    DEFAULT_PARTITION,
    GROWING,
    Collection,
    Database,
    Partition,
    State,
)

MAX_SHARDS = 16
DESCRIPTION = "collection.description"


def pairs(values: dict[str, str]) -> list[common.KeyValuePair]:
    return [common.KeyValuePair(key=key, value=value) for key, value in values.items()]


def by_coordinator(state: State, database: str, name: str) -> Refused:
    """The root coordinator speaks of the database by its id, and of the time (run: 2.3.5, 2.5.27)."""
    where = f"collection not found[database={state.database(database).id}][collection={name}]"
    return Refused(
        f"timestamp = {state.clock.now()}: {where}", code=100, error_code=common.CollectionNotExists
    )


class Collections(Part):
    def CreateCollection(self, request: milvus.CreateCollectionRequest, call: Call) -> common.Status:
        database = self._database(call)
        sent = schema_pb2.CollectionSchema.FromString(request.schema)
        if sent.name and sent.name != request.collection_name:
            raise invalid(f"collection name = {request.collection_name}, schema.Name={sent.name}")
        shards = request.shards_num or 1
        if not 1 <= shards <= MAX_SHARDS:
            raise invalid(f"maximum shards's number should be limited to {MAX_SHARDS}")
        sent.name = request.collection_name
        schema = stored_schema(sent, request.collection_name, self.state.version)
        properties = params(request.properties)
        check_providers(
            schema, answering=self.state.providers_answer, switched_off=self._check_is_off(properties)
        )
        if request.collection_name in database.collections:
            return self._again(database.collections[request.collection_name], schema, shards)
        if any(request.collection_name in item.aliases for item in database.collections.values()):
            raise self._is_alias(request.collection_name, database.name)
        made = self._made(database.name, schema, shards, request, properties)
        database.collections[made.name] = made
        self.state.collections[made.id] = made
        return common.Status()

    def _is_alias(self, name: str, database: str) -> Refused:
        version = self.state.version
        if version.has("input_errors"):
            conflict = f"alias and collection name conflict[database={database}][alias={name}]"
            return Refused(f"please choose a unique name: {conflict}", code=1601)
        if version.has("fields_are_named"):
            return Refused(
                f"collection name [{name}] conflicts with an existing alias, please choose a unique name"
            )
        return Refused(f"create duplicate collection with different parameters, collection: {name}")

    def _database(self, call: Call) -> Database:
        try:
            return self.state.database(call.database)
        except Refused:
            if self.state.version.number < (2, 4, 0):
                raise Refused(f"database:{call.database} not found") from None
            raise

    def _check_is_off(self, properties: dict[str, str]) -> bool:
        wanted = properties.get(CHECK_SWITCH, "").lower() == "true"
        return wanted and self.state.version.has("function_check_switch")

    def _again(self, there: Collection, schema: schema_pb2.CollectionSchema, shards: int) -> common.Status:
        """Creating what is there is no error where both are equal."""
        if there.schema != schema or there.shards != shards:
            raise Refused(f"create duplicate collection with different parameters, collection: {there.name}")
        return common.Status()

    def _made(
        self,
        database: str,
        schema: schema_pb2.CollectionSchema,
        shards: int,
        request: milvus.CreateCollectionRequest,
        properties: dict[str, str],
    ) -> Collection:
        number = self.state.clock.new_id()
        made = Collection(
            id=number,
            database=database,
            name=schema.name,
            schema=schema,
            shards=shards,
            consistency_level=request.consistency_level,
            channels=self.state.new_channels(number, shards),
            created=self.state.clock.now(),
            properties=properties,
            max_field_id=largest_id(schema),
        )
        if self.state.version.has(MAX_FIELD_ID):
            # A value that a client brings along wins, and shifts the ids of fields added later (milvus#48988).
            made.properties.setdefault(MAX_FIELD_ID, str(made.max_field_id))
            made.max_field_id = max(made.max_field_id, int(made.properties[MAX_FIELD_ID]))
        if self.state.version.has("timezone"):
            made.properties.setdefault("timezone", "UTC")
        names = [DEFAULT_PARTITION]
        if made.partition_key is not None:
            count = request.num_partitions or (16 if self.state.version.number >= (2, 4, 0) else 64)
            names = [f"{DEFAULT_PARTITION}_{at}" for at in range(count)]
        elif request.num_partitions:
            raise invalid("num_partitions should only be specified with partition key field enabled")
        for name in names:
            made.partitions[name] = Partition(
                id=self.state.clock.new_id(), name=name, created=self.state.clock.now()
            )
        return made

    def DropCollection(self, request: milvus.DropCollectionRequest, call: Call) -> common.Status:
        if call.database not in self.state.databases:
            return common.Status()
        database = self.state.database(call.database)
        found = database.collections.get(request.collection_name)
        if found is None:
            if any(request.collection_name in item.aliases for item in database.collections.values()):
                raise Refused(f"cannot drop the collection via alias = {request.collection_name}")
            return common.Status()
        if found.aliases and self.state.version.number >= (2, 5, 0):
            raise Refused(
                f"unable to drop the collection [{found.name}] because it has associated aliases "
                f"[{' '.join(found.aliases)}], "
                "please remove all aliases before dropping the collection"
            )
        drop_segments(self.state, found.segments.values())
        del database.collections[found.name]
        del self.state.collections[found.id]
        return common.Status()

    def HasCollection(self, request: milvus.HasCollectionRequest, call: Call) -> milvus.BoolResponse:
        if self.state.version.number >= (2, 4, 0):
            self.state.database(call.database)
        try:
            self.state.collection(call.database, request.collection_name)
        except Refused:
            return milvus.BoolResponse(value=False)
        return milvus.BoolResponse(value=True)

    def DescribeCollection(
        self, request: milvus.DescribeCollectionRequest, call: Call
    ) -> milvus.DescribeCollectionResponse:
        found = self._described(request, call)
        version = self.state.version
        schema = shown_schema(found.schema)
        if version.has("schema_properties"):
            schema.properties.extend(pairs(found.properties))
        if version.has("schema_says_database"):
            schema.dbName = found.database
        answer = milvus.DescribeCollectionResponse(
            schema=schema,
            collectionID=found.id,
            virtual_channel_names=found.channels,
            physical_channel_names=found.physical_channels,
            created_timestamp=found.created,
            created_utc_timestamp=milliseconds(found.created),
            shards_num=found.shards,
            aliases=found.aliases,
            consistency_level=found.consistency_level,
            collection_name=found.name,
            properties=pairs(found.properties),
            num_partitions=len(found.partitions),
        )
        if version.has("databases"):
            answer.db_name = found.database
        if version.has("update_timestamps"):
            answer.update_timestamp = found.created
            answer.update_timestamp_str = str(found.created)
        return answer

    def _described(self, request: milvus.DescribeCollectionRequest, call: Call) -> Collection:
        """The older error code stays unset, and the name comes back, where there is no such collection (run: 2.3.5)."""
        if not request.collection_name:
            return self.state.collection_by_id(request.collectionID)
        try:
            return self.state.collection(call.database, request.collection_name)
        except Refused as refused:
            if self.state.version.has("missing_by_old_code"):
                raise self._undescribed(request.collection_name, call, refused) from refused
            inner = refused
            if refused.code == 800 and self.state.version.number < (2, 4, 0):
                inner = no_collection(request.collection_name, call.database)
            raise Refused(
                f"can't find collection {inner.reason}" if inner.code == 100 else inner.reason,
                code=inner.code,
                detail=inner.reason,
                answer=milvus.DescribeCollectionResponse(
                    schema=schema_pb2.CollectionSchema(),
                    collection_name=request.collection_name,
                    db_name=call.database if self.state.version.has("databases") else "",
                ),
            ) from refused

    def _undescribed(self, name: str, call: Call, refused: Refused) -> Refused:
        """Only the older code says that the collection is missing (run: 2.5.27, 2.6.19)."""
        answer = milvus.DescribeCollectionResponse(collection_name=name, db_name=call.database)
        if refused.code != 100:
            return Refused(refused.reason, code=refused.code, error_code=refused.error_code, answer=answer)
        return Refused(
            f"can't find collection[database={call.database}][collection={name}]",
            code=0,
            error_code=common.CollectionNotExists,
            answer=answer,
        )

    def ShowCollections(
        self, request: milvus.ShowCollectionsRequest, call: Call
    ) -> milvus.ShowCollectionsResponse:
        found = list(self.state.database(call.database).collections.values())
        answer = milvus.ShowCollectionsResponse()
        for item in found:
            if request.collection_names and item.name not in request.collection_names:
                continue
            if request.type == milvus.ShowType.InMemory:
                if not any(part.loaded for part in item.partitions.values()):
                    continue
                answer.inMemory_percentages.append(100)
                answer.query_service_available.append(True)
            answer.collection_names.append(item.name)
            answer.collection_ids.append(item.id)
            answer.created_timestamps.append(item.created)
            answer.created_utc_timestamps.append(milliseconds(item.created))
            if self.state.version.has("collections_have_shards"):
                answer.shards_num.append(item.shards)
        return answer

    def AlterCollection(self, request: milvus.AlterCollectionRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        changed = params(request.properties)
        if not changed and not (request.delete_keys and self.state.version.has("delete_keys")):
            raise Refused("only support alter collection properties, but collection properties is empty")
        if DYNAMIC_SWITCH in changed and self.state.version.has("add_field"):
            switch_dynamic(found, changed)
            return common.Status()
        if DESCRIPTION in changed and self.state.version.number >= (2, 6, 0):
            found.schema.description = changed.pop(DESCRIPTION)
        if request.properties and request.delete_keys:
            raise invalid("can not provide properties and deletekeys at the same time")
        found.properties.update(changed)
        for key in request.delete_keys:
            found.properties.pop(key, None)
        return common.Status()

    def AlterCollectionField(self, request: milvus.AlterCollectionFieldRequest, call: Call) -> common.Status:
        found = self.state.looked_up(call.database, request.collection_name)
        field = found.field_named(request.field_name)
        if field is None:
            raise Refused(f"field not found[field={request.field_name}]", code=1700)
        given = params(field.type_params) | params(request.properties)
        for key in request.delete_keys:
            given.pop(key, None)
        field.ClearField("type_params")
        field.type_params.extend(pairs(given))
        return common.Status()

    def RenameCollection(self, request: milvus.RenameCollectionRequest, call: Call) -> common.Status:
        database = self.state.database(call.database)
        target = self.state.database(request.newDBName or call.database)
        if self.state.version.has("names_checked_first"):
            self._check_free(target, request.newName)
        try:
            found = self.state.collection(call.database, request.oldName)
        except Refused as refused:
            if refused.code != 100:
                raise
            if self.state.version.number >= (2, 6, 0):
                raise
            raise by_coordinator(self.state, database.name, request.oldName) from refused
        if found.name != request.oldName:
            raise Refused(f"unsupported use an alias to rename collection, alias:{request.oldName}")
        check_name(request.newName, "collection")
        self._check_free(target, request.newName)
        del database.collections[found.name]
        found.name = found.schema.name = request.newName
        found.database = target.name
        target.collections[found.name] = found
        return common.Status()

    def _check_free(self, database: Database, name: str) -> None:
        taken = {name for item in database.collections.values() for name in (item.name, *item.aliases)}
        if name in taken:
            raise Refused(
                f"duplicated new collection name {database.name}:{name} with other collection name or alias"
            )

    def GetCollectionStatistics(
        self, request: milvus.GetCollectionStatisticsRequest, call: Call
    ) -> milvus.GetCollectionStatisticsResponse:
        """Blind to deletes (``GetNumRowsOfCollection`` in ``datacoord/meta.go``)."""
        found = self.state.collection(call.database, request.collection_name)
        rows = sum(
            segment.row_count
            for segment in found.live_segments()
            if segment.readable and segment.state != GROWING
        )
        return milvus.GetCollectionStatisticsResponse(stats=pairs({"row_count": str(rows)}))

    def TruncateCollection(self, request: Any, call: Call) -> Any:
        found = self.state.collection(call.database, request.collection_name)
        drop_segments(self.state, found.segments.values())
        found.buffered_deletes.clear()
        return milvus.TruncateCollectionResponse()
