"""The messages of Milvus' write-ahead log that `restore secondary` writes.

No client package contains their headers, so they are described here as data, with field numbers, from the public source:
milvus-io/milvus ``pkg/proto/messages.proto`` and ``index_coord.proto``; the property names are from
``pkg/streaming/util/message/properties.go``, the versions from ``…/message/codegen/reflect_info.json``.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf import (  # noqa: TID253  only a replication loads this
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

from mbk.frozen import frozen
from mbk.milvus.proto import common
from mbk.model.layout import physical_channel

_PACKAGE = "mbk.wal"
_SCALARS = {"int64": 3, "uint64": 4, "int32": 5, "bool": 8, "string": 9, "enum": 5}
_MESSAGE = 11
_OPTIONAL, _REPEATED = 1, 3

#: Message -> its fields as (name, number, type); ``*`` before a type means repeated, ``.`` a message by full name.
#: Only fields that we write are listed.
_MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "Empty": (),
    "BroadcastHeader": (("broadcast_id", 1, "uint64"), ("vchannels", 2, "*string")),
    "CreateDatabaseHeader": (("db_name", 1, "string"), ("db_id", 2, "int64")),
    "CreateDatabaseBody": (("properties", 1, "*.milvus.proto.common.KeyValuePair"),),
    "CreateCollectionHeader": (
        ("collection_id", 1, "int64"),
        ("partition_ids", 2, "*int64"),
        ("db_id", 3, "int64"),
    ),
    "CreateIndexHeader": (
        ("db_id", 1, "int64"),
        ("collection_id", 2, "int64"),
        ("field_id", 3, "int64"),
        ("index_id", 4, "int64"),
        ("index_name", 5, "string"),
    ),
    "IndexInfo": (
        ("collectionID", 1, "int64"),
        ("fieldID", 2, "int64"),
        ("index_name", 3, "string"),
        ("indexID", 4, "int64"),
        ("type_params", 5, "*.milvus.proto.common.KeyValuePair"),
        ("index_params", 6, "*.milvus.proto.common.KeyValuePair"),
        ("is_auto_index", 11, "bool"),
        ("user_index_params", 12, "*.milvus.proto.common.KeyValuePair"),
        ("min_index_version", 14, "int32"),
        ("max_index_version", 15, "int32"),
    ),
    "FieldIndex": (("index_info", 1, ".mbk.wal.IndexInfo"), ("create_time", 3, "uint64")),
    "CreateIndexBody": (("field_index", 1, ".mbk.wal.FieldIndex"),),
    "CommitImportHeader": (("collection_id", 1, "int64"), ("job_id", 2, "int64")),
    "LoadField": (("field_id", 1, "int64"), ("index_id", 2, "int64")),
    "AlterLoadConfigHeader": (
        ("db_id", 1, "int64"),
        ("collection_id", 2, "int64"),
        ("partition_ids", 3, "*int64"),
        ("load_fields", 4, "*.mbk.wal.LoadField"),
        ("use_local_replica_config", 7, "bool"),
    ),
    "RestoreRbacBody": (("rbac_meta", 1, ".milvus.proto.milvus.RBACMeta"),),
}


@frozen
class Kind:
    """The number and the version of a message type."""

    type: int
    version: int


CREATE_COLLECTION = Kind(5, 1)
IMPORT = Kind(11, 1)
ALTER_LOAD_CONFIG = Kind(14, 2)
CREATE_DATABASE = Kind(16, 2)
RESTORE_RBAC = Kind(21, 2)
CREATE_INDEX = Kind(34, 2)
COMMIT_IMPORT = Kind(45, 2)


@cache
def _pool() -> Any:
    """Our messages, added to those that the client package has loaded."""
    file = descriptor_pb2.FileDescriptorProto(name="mbk/wal.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.extend(["common.proto", "milvus.proto"])
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = _REPEATED if kind.startswith("*") else _OPTIONAL
            plain = kind.removeprefix("*")
            if plain.startswith("."):
                message.field.add(name=field, number=number, label=label, type=_MESSAGE, type_name=plain)
            else:
                message.field.add(name=field, number=number, label=label, type=_SCALARS[plain])
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def new(name: str, **values: Any) -> Any:
    """One of `_MESSAGES` with these values."""
    kind = message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    return kind(**values)


def encoded(value: int) -> str:
    """A number as in the log's properties: in base 36."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    text = ""
    while value:
        value, digit = divmod(value, 36)
        text = digits[digit] + text
    return text or "0"


def broadcast(
    kind: Kind, header: Any, body: Any, channels: Sequence[str], *, ticks: Iterator[int], broadcast_id: int
) -> list[tuple[str, int, bytes]]:
    """The copies of one message, one a channel: physical channel, time tick, ``commonpb.ImmutableMessage``.

    Each copy has its own tick: a cluster skips messages that are not newer than the last one of that channel.
    """
    payload = body.SerializeToString()
    shared = {
        "_t": str(kind.type),
        "_v": str(kind.version),
        "_h": _base64(header),
        "_bh": _base64(new("BroadcastHeader", broadcast_id=broadcast_id, vchannels=channels)),
        "_lcs": "",
    }
    copies = []
    for channel in channels:
        tick = next(ticks)
        message = common.ImmutableMessage(
            id=common.MessageID(id=encoded(tick), WAL_name=common.WALName.Value("Kafka")),
            payload=payload,
            properties={**shared, "_vc": channel, "_tt": encoded(tick)},
        )
        copies.append((physical_channel(channel), tick, message.SerializeToString()))
    return copies


def time_tick(message: bytes) -> int:
    """The hybrid time tick of a serialized ``commonpb.ImmutableMessage``; ``ValueError`` if it has none."""
    properties = common.ImmutableMessage.FromString(message).properties
    if "_tt" not in properties:
        raise ValueError("the message has no time tick")
    return int(properties["_tt"], 36)


def _base64(message: Any) -> str:
    return base64.b64encode(message.SerializeToString()).decode("ascii")
