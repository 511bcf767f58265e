"""Creates, alters, loads and drops databases, collections and what belongs to them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mbk.errors import NotFound, Unsupported
from mbk.milvus.creating import Creating, alter_collection
from mbk.milvus.descriptions import indexes_of
from mbk.milvus.failures import one_line, unsupported
from mbk.milvus.limits import index_problems, schema_problems
from mbk.milvus.proto import common, milvus
from mbk.milvus.schema import index_name_to_send, index_params_to_send, write_pairs
from mbk.milvus.sendable import unsendable
from mbk.milvus.server import Server, name_of
from mbk.model.records import CollectionSchema, IndexInfo, KeyValue
from mbk.ports.milvus.values import Feature, IndexState

#: The server assigns the zone of an encrypted database; its key comes with ``cipher.key``. Only replication may write to a
#: database with a replication id. milvus: pkg/common/common.go.
_SERVER_MANAGED = frozenset({"cipher.ezID", "replicate.id", "replicate.endTS"})
#: Locks, which would refuse the collections that a restore creates.
_LOCKS = "database.force.deny."


class Definitions:
    """Implements :class:`mbk.ports.milvus.roles.Definitions`."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._creating = Creating(server)

    def schema_problems(self, schema: CollectionSchema) -> Sequence[str]:
        return schema_problems(schema, self._server.number, self._server.features)

    def unsendable(
        self,
        schema: CollectionSchema,
        *,
        shards: int,
        consistency_level: int,
        partitions: int,
        replicas: int,
        indexes: Sequence[IndexInfo] = (),
    ) -> Sequence[str]:
        return unsendable(schema, (shards, consistency_level, partitions), replicas, indexes)

    def create_database(self, name: str, properties: Sequence[KeyValue] = ()) -> None:
        """`AlreadyExists` if it exists. Servers before 2.4.3 have no properties: they are left out.

        Properties that the server manages and locks are left out, too.
        """
        supported = Feature.DESCRIBE_DATABASE in self._server.features
        sent = [pair for pair in properties if supported and _is_ours(pair.key)]
        request = milvus.CreateDatabaseRequest(db_name=name, properties=write_pairs(sent))
        self._server.call("CreateDatabase", request, f"create database {name}")

    def drop_database(self, name: str) -> None:
        """A missing database is not an error: some servers say nothing, others that it is not found."""
        with suppress(NotFound):
            self._server.call(
                "DropDatabase", milvus.DropDatabaseRequest(db_name=name), f"drop database {name}"
            )

    def create_collection(
        self,
        database: str,
        schema: CollectionSchema,
        *,
        shards: int,
        consistency_level: int,
        partitions: int = 0,
        properties: Sequence[KeyValue] = (),
    ) -> None:
        """If an identical collection exists, the server reports success."""
        if problems := self.schema_problems(schema):
            raise Unsupported(
                "collection {collection}: Milvus {version} does not support {reason}",
                code="schema-unsupported",
                collection=schema.name,
                version=self._server.version,
                reason="; ".join(problems),
            )
        self._creating.create(
            database,
            schema,
            shards=shards,
            consistency_level=consistency_level,
            partitions=partitions,
            properties=properties,
        )

    def alter_collection(
        self,
        database: str,
        collection: str,
        *,
        properties: Sequence[KeyValue] = (),
        delete_keys: Sequence[str] = (),
    ) -> None:
        alter_collection(self._server, database, collection, properties=properties, delete_keys=delete_keys)

    def alter_field(self, database: str, collection: str, field: str, *, delete_keys: Sequence[str]) -> None:
        request = milvus.AlterCollectionFieldRequest(
            collection_name=collection, field_name=field, delete_keys=delete_keys
        )
        what = f"alter field {field} of {name_of(database, collection)}"
        self._server.call("AlterCollectionField", request, what, database=database)

    def alter_index(self, database: str, collection: str, index: str, *, delete_keys: Sequence[str]) -> None:
        request = milvus.AlterIndexRequest(
            collection_name=collection, index_name=index, delete_keys=delete_keys
        )
        what = f"alter index {index} of {name_of(database, collection)}"
        self._server.call("AlterIndex", request, what, database=database)

    def drop_collection(self, database: str, collection: str) -> None:
        """A missing collection is not an error."""
        self._creating.forget(database, collection)
        request = milvus.DropCollectionRequest(collection_name=collection)
        with suppress(NotFound):
            self._server.call(
                "DropCollection", request, f"drop {name_of(database, collection)}", database=database
            )

    def create_partition(self, database: str, collection: str, partition: str) -> None:
        what = f"check for partition {partition} of {name_of(database, collection)}"
        lookup = milvus.HasPartitionRequest(collection_name=collection, partition_name=partition)
        if self._server.call("HasPartition", lookup, what, database=database).value:
            return
        request = milvus.CreatePartitionRequest(collection_name=collection, partition_name=partition)
        what = f"create partition {partition} of {name_of(database, collection)}"
        self._server.call("CreatePartition", request, what, database=database)

    def create_index(self, database: str, collection: str, index: IndexInfo) -> None:
        """`Unsupported` for an index that a server of this version does not support."""
        what = f"create the index on {index.field_name} of {name_of(database, collection)}"
        if problems := index_problems(index, self._server.number):
            raise unsupported(what, self._server.version, " and ".join(problems))
        request = milvus.CreateIndexRequest(
            collection_name=collection,
            field_name=index.field_name,
            index_name=index_name_to_send(index.index_name),
            extra_params=index_params_to_send(index.params),
        )
        self._server.call("CreateIndex", request, what, database=database)

    def drop_index(self, database: str, collection: str, index: IndexInfo) -> None:
        request = milvus.DropIndexRequest(
            collection_name=collection, field_name=index.field_name, index_name=index.index_name
        )
        what = f"drop index {index.index_name} of {name_of(database, collection)}"
        self._server.call("DropIndex", request, what, database=database)

    def index_states(self, database: str, collection: str) -> list[IndexState]:
        return [
            IndexState(
                name=index.index_name,
                finished=index.state == common.Finished,
                total_rows=index.total_rows,
                indexed_rows=index.indexed_rows,
                failed=_failure(index),
            )
            for index in indexes_of(self._server, database, collection)
        ]

    def load(
        self,
        database: str,
        collection: str,
        *,
        partitions: Sequence[str] = (),
        replicas: int = 1,
        resource_groups: Sequence[str] = (),
    ) -> None:
        what = f"load {name_of(database, collection)}"
        placed: dict[str, Any] = {"replica_number": replicas, "resource_groups": resource_groups}
        if partitions:
            some = milvus.LoadPartitionsRequest(
                collection_name=collection, partition_names=partitions, **placed
            )
            self._server.call("LoadPartitions", some, what, database=database)
            return
        request = milvus.LoadCollectionRequest(collection_name=collection, **placed)
        self._server.call("LoadCollection", request, what, database=database)

    def load_progress(self, database: str, collection: str) -> int:
        """`MilvusError` for a collection that is not loading: loading was not requested, or it failed."""
        request = milvus.GetLoadingProgressRequest(collection_name=collection)
        what = f"get the loading progress of {name_of(database, collection)}"
        return int(self._server.call("GetLoadingProgress", request, what, database=database).progress)

    def release(self, database: str, collection: str) -> None:
        request = milvus.ReleaseCollectionRequest(collection_name=collection)
        self._server.call(
            "ReleaseCollection", request, f"release {name_of(database, collection)}", database=database
        )

    def create_alias(self, database: str, collection: str, alias: str) -> None:
        request = milvus.CreateAliasRequest(collection_name=collection, alias=alias)
        what = f"create alias {alias} of {name_of(database, collection)}"
        self._server.call("CreateAlias", request, what, database=database)

    def alter_alias(self, database: str, collection: str, alias: str) -> None:
        request = milvus.AlterAliasRequest(collection_name=collection, alias=alias)
        what = f"make {alias} an alias of {name_of(database, collection)}"
        self._server.call("AlterAlias", request, what, database=database)

    def rename_collections(self, database: str, names: Sequence[tuple[str, str]]) -> None:
        for old, new in names:
            what = f"rename {name_of(database, old)} to {new}"
            request = milvus.RenameCollectionRequest(
                db_name=database, oldName=old, newName=new, newDBName=database
            )
            self._server.call("RenameCollection", request, what, database=database)


def _is_ours(key: str) -> bool:
    return key not in _SERVER_MANAGED and not key.startswith(_LOCKS)


def _failure(index: Any) -> str:
    if index.state != common.IndexState.Failed:
        return ""
    return one_line(index.index_state_fail_reason) or "the server gave no reason"
