"""The writing half of the port: what a restore makes, loads and imports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mbk.errors import ImportFailed, MilvusError, NotFound, Unsupported
from mbk.milvus.failures import check, one_line
from mbk.milvus.proto import common, milvus
from mbk.milvus.rbac import restore_rbac
from mbk.milvus.reading import Reading
from mbk.milvus.schema import (
    SERVER_MANAGED,
    index_name_to_send,
    index_params_to_send,
    merged,
    schema_problems,
    write_pairs,
    write_schema,
)
from mbk.milvus.server import name_of
from mbk.model.meta import CollectionSchema, IndexInfo, KeyValue, Rbac
from mbk.ports.milvus import Feature, ImportPhase, ImportRequest, ImportState, IndexState

_LOGICAL_BITS = 18
_UNKNOWN_JOB = re.compile(r"not (found|exist)|doesn't exist|cannot find|can't find", re.I)
_PHASES = {
    common.ImportCompleted: ImportPhase.COMPLETED,
    common.ImportFailed: ImportPhase.FAILED,
    common.ImportFailedAndCleaned: ImportPhase.FAILED,
}


class Writing(Reading):
    def create_database(self, name: str, properties: Sequence[KeyValue] = ()) -> None:
        """`AlreadyExists` for one that is there. Servers before 2.4.3 have no properties: they are left out."""
        sent = properties if Feature.DESCRIBE_DATABASE in self.features else ()
        request = milvus.CreateDatabaseRequest(db_name=name, properties=write_pairs(sent))
        self._channel.call("CreateDatabase", request, f"create database {name}")

    def check_schema(self, schema: CollectionSchema) -> None:
        if problems := schema_problems(schema, self._server_version):
            raise Unsupported(
                f"collection {schema.name}: Milvus {self.version} cannot represent {'; '.join(problems)}"
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
        """`CollectionExists` for the name of a different one; for an equal one the server says nothing."""
        what = f"create {name_of(database, schema.name)}"
        self.check_schema(schema)
        union = [pair for pair in merged(schema.properties, properties) if pair.key not in SERVER_MANAGED]
        request = milvus.CreateCollectionRequest(
            collection_name=schema.name,
            schema=write_schema(schema, union).SerializeToString(),
            shards_num=shards,
            consistency_level=consistency_level,
            num_partitions=partitions,
            properties=write_pairs(union),
        )
        self._channel.call("CreateCollection", request, what, database=database)
        self._verify_field_ids(database, schema)

    def _verify_field_ids(self, database: str, schema: CollectionSchema) -> None:
        made = {field.name: field.fieldID for field in self._describe(database, schema.name).schema.fields}
        wrong = [
            f"{field.name} is {made.get(field.name)} and was {field.field_id}"
            for field in schema.fields
            if field.field_id and not field.is_dynamic and made.get(field.name) != field.field_id
        ]
        if wrong:
            raise MilvusError(
                f"{name_of(database, schema.name)} got other field ids than the source: {', '.join(wrong)}",
                hint="its data cannot be imported; drop the collection",
            )

    def drop_collection(self, database: str, collection: str) -> None:
        """A collection that is not there is no error."""
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
        request = milvus.CreateIndexRequest(
            collection_name=collection,
            field_name=index.field_name,
            index_name=index_name_to_send(index.index_name),
            extra_params=index_params_to_send(index.params),
        )
        what = f"create the index on {index.field_name} of {name_of(database, collection)}"
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
        self, database: str, collection: str, *, partitions: Sequence[str] = (), replicas: int = 1
    ) -> None:
        what = f"load {name_of(database, collection)}"
        if partitions:
            some = milvus.LoadPartitionsRequest(
                collection_name=collection, partition_names=partitions, replica_number=replicas
            )
            self._channel.call("LoadPartitions", some, what, database=database)
            return
        request = milvus.LoadCollectionRequest(collection_name=collection, replica_number=replicas)
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

    def start_import(self, request: ImportRequest) -> str:
        what = f"import into {name_of(request.database, request.collection)}"
        message = milvus.ImportRequest(
            collection_name=request.collection,
            partition_name=request.partition,
            files=self._import_paths(request, what),
            options=[
                common.KeyValuePair(key=key, value=value)
                for key, value in self._import_options(request).items()
            ],
        )
        # For a collection that is not there the import itself would take up to a minute to say so.
        self._describe(request.database, request.collection)
        response = self._channel.call("Import", message, what, database=request.database)
        if not response.tasks:
            raise ImportFailed(f"{what}: the server named no job")
        return str(response.tasks[0])

    def _import_paths(self, request: ImportRequest, what: str) -> list[str]:
        """gRPC knows one file a job, of at most two paths; before 2.4 exactly two, the second may be empty."""
        if len(request.files) != 1:
            raise Unsupported(f"{what}: Milvus {self.version} takes one import file a job here")
        (paths,) = request.files
        if self._imports_l0:
            return list(paths)
        if request.l0:
            raise Unsupported(f"{what}: Milvus {self.version} has no L0 segments")
        return [*paths, ""] if len(paths) == 1 else list(paths)

    @property
    def _imports_l0(self) -> bool:
        return Feature.L0_SEGMENTS in self.features

    def _import_options(self, request: ImportRequest) -> dict[str, str]:
        options = {"l0_import" if request.l0 else "backup": "true"}
        if request.end_ts:
            hybrid = Feature.HYBRID_END_TS in self.features
            options["end_ts"] = str(request.end_ts if hybrid else _milliseconds(request.end_ts))
        if self._imports_l0:
            options["skip_disk_quota_check"] = "true"
        if request.storage_version:
            options["storage_version"] = str(request.storage_version)
        if request.ezk:
            options["ezk"] = request.ezk
        return options

    def import_state(self, job: str, *, database: str = "") -> ImportState:
        what = f"get the state of import job {job}"
        if not job.isdecimal():
            raise ImportFailed(f"{what}: there is no such job")
        response = self._channel.call(
            "GetImportState",
            milvus.GetImportStateRequest(task=int(job)),
            what,
            database=database,
            checked=False,
        )
        if response.status.error_code and _UNKNOWN_JOB.search(response.status.reason):
            raise ImportFailed(f"{what}: {one_line(response.status.reason)}")
        check(response.status, what)
        infos = {pair.key: pair.value for pair in response.infos}
        phase = _PHASES.get(response.state, ImportPhase.RUNNING)
        return ImportState(
            phase=phase,
            percent=int(infos.get("progress_percent") or 0),
            rows=response.row_count,
            reason=one_line(infos.get("failed_reason", "")) if phase is ImportPhase.FAILED else "",
        )

    def restore_rbac(self, rbac: Rbac) -> list[str]:
        return restore_rbac(self._channel, rbac, self.read_rbac(), whole=Feature.RBAC_BACKUP in self.features)


def _milliseconds(hybrid: int) -> int:
    """Rounded up: a row of the boundary's own millisecond is rather one too many than lost."""
    return -(-hybrid >> _LOGICAL_BITS)


def _failure(index: Any) -> str:
    if index.state != common.IndexState.Failed:
        return ""
    return one_line(index.index_state_fail_reason) or "the server gives no reason"
