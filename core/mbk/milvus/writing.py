"""The writing half of the port: what a restore makes and loads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mbk.errors import NotFound, Unsupported
from mbk.milvus.creating import Creating
from mbk.milvus.failures import one_line
from mbk.milvus.limits import index_problems
from mbk.milvus.proto import common, milvus
from mbk.milvus.rbac import PRIVILEGE_GROUPS_SINCE, restore_rbac
from mbk.milvus.reading import Reading
from mbk.milvus.schema import index_name_to_send, index_params_to_send, write_pairs
from mbk.milvus.server import name_of
from mbk.model.records import IndexInfo, KeyValue, Rbac
from mbk.ports.milvus.server import Feature, IndexState

#: The zone of an encrypted database is the server's to give; its key comes with ``cipher.key``. Replication alone may write
#: to a database with its id. milvus: pkg/common/common.go.
_SERVER_MANAGED = frozenset({"cipher.ezID", "replicate.id", "replicate.endTS"})
#: Locks, which would refuse the very collections that a restore makes.
_LOCKS = "database.force.deny."


class Writing(Creating, Reading):
    def create_database(self, name: str, properties: Sequence[KeyValue] = ()) -> None:
        """`AlreadyExists` for one that is there. Servers before 2.4.3 have no properties: they are left out.

        So are those that are the server's own, and locks.
        """
        known = Feature.DESCRIBE_DATABASE in self.features
        sent = [pair for pair in properties if known and _is_ours(pair.key)]
        request = milvus.CreateDatabaseRequest(db_name=name, properties=write_pairs(sent))
        self._channel.call("CreateDatabase", request, f"create database {name}")

    def drop_collection(self, database: str, collection: str) -> None:
        """A collection that is not there is no error."""
        self._unfinished.discard((database, collection))
        request = milvus.DropCollectionRequest(collection_name=collection)
        with suppress(NotFound):
            self._channel.call(
                "DropCollection", request, f"drop {name_of(database, collection)}", database=database
            )

    def create_partition(self, database: str, collection: str, partition: str) -> None:
        what = f"look for partition {partition} of {name_of(database, collection)}"
        wanted = milvus.HasPartitionRequest(collection_name=collection, partition_name=partition)
        if self._channel.call("HasPartition", wanted, what, database=database).value:
            return
        request = milvus.CreatePartitionRequest(collection_name=collection, partition_name=partition)
        what = f"create partition {partition} of {name_of(database, collection)}"
        self._channel.call("CreatePartition", request, what, database=database)

    def create_index(self, database: str, collection: str, index: IndexInfo) -> None:
        """`Unsupported` for an index that a server of this version cannot have."""
        what = f"create the index on {index.field_name} of {name_of(database, collection)}"
        if problems := index_problems(index, self._server_version):
            raise Unsupported(f"{what}: Milvus {self.version} has no {' and no '.join(problems)}")
        request = milvus.CreateIndexRequest(
            collection_name=collection,
            field_name=index.field_name,
            index_name=index_name_to_send(index.index_name),
            extra_params=index_params_to_send(index.params),
        )
        self._channel.call("CreateIndex", request, what, database=database)

    def drop_index(self, database: str, collection: str, index: IndexInfo) -> None:
        request = milvus.DropIndexRequest(
            collection_name=collection, field_name=index.field_name, index_name=index.index_name
        )
        what = f"drop index {index.index_name} of {name_of(database, collection)}"
        self._channel.call("DropIndex", request, what, database=database)

    def index_states(self, database: str, collection: str) -> list[IndexState]:
        return [
            IndexState(
                name=index.index_name,
                finished=index.state == common.Finished,
                total_rows=index.total_rows,
                indexed_rows=index.indexed_rows,
                failed=_failure(index),
            )
            for index in self._indexes(database, collection)
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
            self._channel.call("LoadPartitions", some, what, database=database)
            return
        request = milvus.LoadCollectionRequest(collection_name=collection, **placed)
        self._channel.call("LoadCollection", request, what, database=database)

    def load_progress(self, database: str, collection: str) -> int:
        """`MilvusError` for a collection that is not loading: nobody asked for it, or it failed."""
        request = milvus.GetLoadingProgressRequest(collection_name=collection)
        what = f"get the loading progress of {name_of(database, collection)}"
        return int(self._channel.call("GetLoadingProgress", request, what, database=database).progress)

    def release(self, database: str, collection: str) -> None:
        request = milvus.ReleaseCollectionRequest(collection_name=collection)
        self._channel.call(
            "ReleaseCollection", request, f"release {name_of(database, collection)}", database=database
        )

    def create_alias(self, database: str, collection: str, alias: str) -> None:
        request = milvus.CreateAliasRequest(collection_name=collection, alias=alias)
        what = f"create alias {alias} of {name_of(database, collection)}"
        self._channel.call("CreateAlias", request, what, database=database)

    def restore_rbac(self, rbac: Rbac) -> list[str]:
        return restore_rbac(
            self._channel,
            rbac,
            self.read_rbac(),
            whole=Feature.RBAC_BACKUP in self.features,
            groups=self._server_version >= PRIVILEGE_GROUPS_SINCE,
        )


def _is_ours(key: str) -> bool:
    return key not in _SERVER_MANAGED and not key.startswith(_LOCKS)


def _failure(index: Any) -> str:
    if index.state != common.IndexState.Failed:
        return ""
    return one_line(index.index_state_fail_reason) or "the server gives no reason"
