"""What a backup contains besides collections: zone keys, users and roles, a replication position, index details of etcd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from mbk.engine.runtime.run import Run
from mbk.errors import Interrupted, MbkError, MilvusError
from mbk.model.records import Database, IndexInfo, Rbac, RpcChannel, as_dict
from mbk.ports.metastore import MetaStore
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature

#: Both are set in the properties of an encrypted database.
ZONE_PROPERTIES = ("cipher.ezID", "cipher.key")
#: What is taken from the meta store; the rest of an index is as Milvus describes it.
INDEX_EXTRAS = (
    "field_id", "create_time", "type_params", "index_params", "user_index_params", "is_auto_index",
    "min_index_version", "max_index_version",
)  # fmt: skip


def with_zone_keys(milvus: Milvus, databases: Sequence[Database], run: Run) -> list[Database]:
    """Adds to encrypted databases the key that a restore must provide; without it their rows are unreadable."""
    return [_with_zone_key(milvus, database, run) for database in databases]


def _with_zone_key(milvus: Milvus, database: Database, run: Run) -> Database:
    properties = as_dict(database.properties)
    if not all(properties.get(key) for key in ZONE_PROPERTIES):
        return database
    what = f"get the encryption key of database {database.db_name}"
    key = run.retry.call(what, milvus.access.encryption_key, database.db_name)
    return msgspec.structs.replace(database, ezk=key)


def read_rbac(milvus: Milvus, run: Run) -> Rbac:
    rbac = run.retry.call("read RBAC", milvus.access.read)
    if Feature.RBAC_BACKUP not in milvus.features:
        run.notice(
            "rbac-no-passwords",
            "{users} users, {roles} roles and {grants} grants are backed up, but Milvus {version} does not return passwords: a restore skips the users",
            users=len(rbac.users),
            roles=len(rbac.roles),
            grants=len(rbac.grants),
            version=milvus.version,
        )
    return rbac


def rpc_channel(milvus: Milvus, name: str, run: Run) -> RpcChannel | None:
    """The position of the replication channel of Milvus 2.5, if there is one; a failure is only a notice."""
    if Feature.REPLICATE_POSITION not in milvus.features:
        return None
    try:
        position = run.retry.call("get the replication position", milvus.points.replicate_position)
    except Interrupted:
        raise
    except MbkError as error:
        run.notice(
            "no-replication-position", "the replication position is not recorded: {reason}", reason=error
        )
        return None
    return RpcChannel(name=name, position=position) if position else None


def with_index_extras(store: MetaStore, info: CollectionInfo, run: Run) -> CollectionInfo:
    """With the remaining details of its indexes, and in the schema the dynamic field, which Milvus does not describe.

    `MilvusError` if etcd and Milvus disagree: an index that is not described would be lost silently.
    """
    label = f"{info.database}.{info.name}"
    extras = run.retry.call(f"read the indexes of {label}", store.index_extras, info.id)
    recorded = {extra.index_id: extra for extra in extras}
    described = {index.index_id for index in info.indexes}
    for extra in extras:
        if extra.index_id not in described:
            raise MilvusError(
                "{collection}: index {index!r} ({index_id}) is in Milvus' etcd, but Milvus does not describe it",
                code="index-not-described",
                collection=label,
                index=extra.index_name,
                index_id=extra.index_id,
                hint="does milvus.etcd.rootPath belong to this Milvus?",
            )
    for index in sorted(info.indexes, key=lambda index: index.index_id):
        if index.index_id in recorded:
            continue
        raise MilvusError(
            "{collection}: index {index!r} ({index_id}) is missing from Milvus' etcd",
            code="index-not-in-etcd",
            collection=label,
            index=index.index_name,
            index_id=index.index_id,
            hint="does milvus.etcd.rootPath belong to this Milvus?",
        )
    info = replace(info, indexes=tuple(_merged(index, recorded[index.index_id]) for index in info.indexes))
    if not info.schema.enable_dynamic_field or any(field.is_dynamic for field in info.schema.fields):
        return info
    field = run.retry.call(f"read the fields of {label}", store.dynamic_field, info.id)
    if field is None:
        raise MilvusError(
            "{collection}: the dynamic field is missing from Milvus' etcd",
            code="dynamic-field-not-in-etcd",
            collection=label,
            hint="does milvus.etcd.rootPath belong to this Milvus?",
        )
    return replace(info, schema=msgspec.structs.replace(info.schema, fields=[*info.schema.fields, field]))


def _merged(index: IndexInfo, extra: IndexInfo) -> IndexInfo:
    values = msgspec.structs.asdict(extra)
    return msgspec.structs.replace(index, **{name: values[name] for name in INDEX_EXTRAS})
