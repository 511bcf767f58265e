"""Lists and describes databases, collections and what belongs to them."""

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
        answer = self._server.call("DescribeDatabase", request, f"describe database {name}", database=name)
        return Database(db_name=name, db_id=answer.dbID, properties=read_pairs(answer.properties))

    def collections(self, database: str) -> list[str]:
        request = milvus.ShowCollectionsRequest()
        what = f"list the collections of database {database}"
        return list(self._server.call("ShowCollections", request, what, database=database).collection_names)

    def has_collection(self, database: str, collection: str) -> bool:
        """Also true for an alias, as in the server; false if the database does not exist."""
        request = milvus.HasCollectionRequest(collection_name=collection)
        what = f"check for {name_of(database, collection)}"
        try:
            return bool(self._server.call("HasCollection", request, what, database=database).value)
        except NotFound:
            return False

    def describe(self, database: str, collection: str) -> CollectionInfo:
        answer = describe(self._server, database, collection)
        record = read_schema(answer.schema)
        record.properties = merged(record.properties, read_pairs(answer.properties))
        partitions = partitions_of(self._server, database, collection)
        state = load_state(self._server, database, collection)
        loaded = {} if state == NOT_LOADED else loaded_partitions(self._server, database, collection)
        replicas = () if state == NOT_LOADED else self._replicas(database, answer.collectionID)
        return CollectionInfo(
            database=database,
            name=record.name,
            id=answer.collectionID,
            schema=record,
            shards=answer.shards_num,
            consistency_level=answer.consistency_level,
            partitions=partitions,
            indexes=tuple(read_index(index) for index in indexes_of(self._server, database, collection)),
            load_state=state,
            partition_load_states={part.name: loaded.get(part.name, NOT_LOADED) for part in partitions},
            replicas=len(replicas),
            resource_groups=tuple(sorted({replica.resource_group_name for replica in replicas} - {""})),
            properties=tuple(record.properties),
            aliases=tuple(answer.aliases),
            database_id=answer.db_id,
            created_timestamp=answer.created_timestamp,
            virtual_channels=tuple(answer.virtual_channel_names),
            physical_channels=tuple(answer.physical_channel_names),
            external=is_external(answer.schema),
            update_timestamp=answer.update_timestamp,
        )

    def _replicas(self, database: str, collection_id: int) -> Sequence[Any]:
        """Empty if the server does not list them: released meanwhile, or about to load."""
        request = milvus.GetReplicasRequest(collectionID=collection_id)
        answer = self._server.call("GetReplicas", request, "get replicas", database=database, checked=False)
        return tuple(answer.replicas)
