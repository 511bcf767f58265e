"""What is there: databases, collections and what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mbk.errors import NotFound
from mbk.milvus.descriptions import describe, indexes_of, load_state, loaded_partitions, partitions_of
from mbk.milvus.proto import milvus
from mbk.milvus.schema import is_external, merged, read_index, read_pairs, read_schema
from mbk.milvus.server import Server, name_of
from mbk.model.records import DEFAULT_DATABASE, NOT_LOADED, Database
from mbk.ports.milvus.values import CollectionInfo, Feature


def database_names(server: Server) -> list[str]:
    """Only ``default`` on servers without databases."""
    if Feature.DATABASES not in server.features:
        return [DEFAULT_DATABASE]
    return list(server.call("ListDatabases", milvus.ListDatabasesRequest(), "list databases").db_names)


class Inventory:
    """Implements :class:`mbk.ports.milvus.roles.Inventory`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def databases(self) -> list[Database]:
        names = database_names(self._server)
        if Feature.DESCRIBE_DATABASE not in self._server.features:
            return [Database(db_name=name) for name in names]
        return [self._database(name) for name in names]

    def _database(self, name: str) -> Database:
        request = milvus.DescribeDatabaseRequest(db_name=name)
        found = self._server.call("DescribeDatabase", request, f"describe database {name}", database=name)
        return Database(db_name=name, db_id=found.dbID, properties=read_pairs(found.properties))

    def collections(self, database: str) -> list[str]:
        request = milvus.ShowCollectionsRequest()
        what = f"list the collections of database {database}"
        return list(self._server.call("ShowCollections", request, what, database=database).collection_names)

    def has_collection(self, database: str, collection: str) -> bool:
        """Also true for an alias, as the server sees it; false in a database that is not there."""
        request = milvus.HasCollectionRequest(collection_name=collection)
        what = f"look for {name_of(database, collection)}"
        try:
            return bool(self._server.call("HasCollection", request, what, database=database).value)
        except NotFound:
            return False

    def describe(self, database: str, collection: str) -> CollectionInfo:
        found = describe(self._server, database, collection)
        record = read_schema(found.schema)
        record.properties = merged(record.properties, read_pairs(found.properties))
        partitions = partitions_of(self._server, database, collection)
        state = load_state(self._server, database, collection)
        loaded = {} if state == NOT_LOADED else loaded_partitions(self._server, database, collection)
        replicas = () if state == NOT_LOADED else self._replicas(database, found.collectionID)
        return CollectionInfo(
            database=database,
            name=record.name,
            id=found.collectionID,
            schema=record,
            shards=found.shards_num,
            consistency_level=found.consistency_level,
            partitions=partitions,
            indexes=tuple(read_index(index) for index in indexes_of(self._server, database, collection)),
            load_state=state,
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

    def _replicas(self, database: str, collection_id: int) -> Sequence[Any]:
        """Empty where the server does not tell: released meanwhile, or just beginning to load."""
        request = milvus.GetReplicasRequest(collectionID=collection_id)
        found = self._server.call("GetReplicas", request, "get replicas", database=database, checked=False)
        return tuple(found.replicas)
