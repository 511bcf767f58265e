"""The messages of the write-ahead log that replication carries, decoded.

Sources: milvus ``pkg/proto/messages.proto`` (numbers of types and fields), ``pkg/proto/index_coord.proto`` (``FieldIndex``),
``pkg/streaming/util/message/properties.go`` (names of properties, base36 time ticks, base64 headers).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymilvus.grpc_gen import common_pb2 as common

from tests.milvus_double.protowire import Wire

CREATE_COLLECTION, IMPORT, ALTER_LOAD_CONFIG = 5, 11, 14
CREATE_DATABASE, RESTORE_RBAC, CREATE_INDEX = 16, 21, 34
FLUSH_ALL, COMMIT_IMPORT = 37, 45
#: The version in which the server of 2.6 and later writes, and takes, each type.
VERSIONS = {
    CREATE_COLLECTION: 1,
    IMPORT: 1,
    ALTER_LOAD_CONFIG: 2,
    CREATE_DATABASE: 2,
    RESTORE_RBAC: 2,
    CREATE_INDEX: 2,
    FLUSH_ALL: 2,
    COMMIT_IMPORT: 2,
}


@dataclass(frozen=True, slots=True)
class WalMessage:
    """``broadcast``: id and all channels of it, (0, ()) for a message of its own."""

    kind: int
    version: int
    channel: str
    tick: int
    header: Wire
    payload: bytes
    broadcast_id: int = 0
    broadcast_channels: tuple[str, ...] = ()

    @property
    def body(self) -> Wire:
        return Wire(self.payload)


def decoded(message: Any) -> WalMessage:
    """Of a ``commonpb.ImmutableMessage``. ``ValueError`` says what is wrong with it."""
    properties: Mapping[str, str] = message.properties
    missing = [name for name in ("_t", "_v", "_tt", "_vc", "_lc", "_lcs") if name not in properties]
    # One of the two says what was last confirmed: an id, or "the message itself".
    if missing not in (["_lc"], ["_lcs"], []):
        raise ValueError(f"the message has no property {missing[0]}")
    if not message.id.id:
        raise ValueError("the message has no id")
    kind, version = int(properties["_t"]), int(properties["_v"])
    if VERSIONS.get(kind, version) != version:
        raise ValueError(f"message type {kind} has version {VERSIONS[kind]}, not {version}")
    broadcast = Wire(_bytes(properties.get("_bh", "")))
    return WalMessage(
        kind,
        version,
        properties["_vc"],
        int(properties["_tt"], 36),
        Wire(_bytes(properties.get("_h", ""))),
        message.payload,
        broadcast.number(1),
        tuple(broadcast.texts(2)),
    )


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a header is no base64: {error}") from None


def physical(channel: str) -> str:
    """The physical channel of a virtual or a control one: without what follows the last ``_``, where that has a v."""
    head, _, tail = channel.rpartition("_")
    return head if "v" in tail else channel


def pairs(values: list[bytes]) -> dict[str, str]:
    found = [common.KeyValuePair.FromString(value) for value in values]
    return {pair.key: pair.value for pair in found}
