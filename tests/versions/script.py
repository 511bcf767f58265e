"""One script for a real server and for the double: what each answers, with ids, times and channels made comparable."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub
from pymilvus.grpc_gen.schema_pb2 import DataType

#: Ids and hybrid timestamps have 18 digits, milliseconds 13, seconds 10.
_LONG = re.compile(r"\d{15,}|\b\d{13}\b|\b1\d{9}\b")
_CHANNEL = re.compile(r"(by-dev|in01[0-9a-f]*)?-?rootcoord-dml_\d+")
_TRACE = re.compile(r"stack trace:.*", re.S)


class Server:
    """Calls by name, with plain answers: a dictionary, or the gRPC status code of a call that failed."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address)
        self._stub = MilvusServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def raw(self, rpc: str, request: Any, database: str = "") -> Any:
        metadata = (("dbname", database),) if database else ()
        return getattr(self._stub, rpc)(request, timeout=60, metadata=metadata)

    def __call__(self, rpc: str, request: Any, database: str = "") -> Any:
        try:
            return plain(self.raw(rpc, request, database))
        except grpc.RpcError as error:
            return {"rpc": error.code().name}


def plain(message: Any) -> Any:
    return comparable(MessageToDict(message, preserving_proto_field_name=True))


def comparable(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if set(value) == {"key", "value"}:
            return (value["key"], comparable(value["value"]))
        return {comparable(name): comparable(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [comparable(item, key) for item in value]
    if isinstance(value, str):
        value = _CHANNEL.sub("<pchannel>", _LONG.sub("<n>", value))
        return _TRACE.sub("", value)
    if isinstance(value, int) and not isinstance(value, bool) and value > 10**9:
        return "<n>"
    return value


def http(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


# -- requests ----------------------------------------------------------------------------------------------------------


def field(name: str, kind: int, **more: Any) -> schema_pb2.FieldSchema:
    given = {key: more.pop(key) for key in ("dim", "max_length", "max_capacity") if key in more}
    made = schema_pb2.FieldSchema(name=name, data_type=kind, **more)
    made.type_params.extend(common.KeyValuePair(key=key, value=str(value)) for key, value in given.items())
    return made


KEY = field("pk", DataType.Int64, is_primary_key=True, description="the key")
VECTOR = field("vector", DataType.FloatVector, dim=4)


def create(name: str, *fields: schema_pb2.FieldSchema, **more: Any) -> milvus.CreateCollectionRequest:
    known = {key: more.pop(key) for key in ("enable_dynamic_field", "description", "autoID") if key in more}
    schema = schema_pb2.CollectionSchema(name=name, fields=fields, **known)
    return milvus.CreateCollectionRequest(collection_name=name, schema=schema.SerializeToString(), **more)


def pairs(**values: str) -> list[common.KeyValuePair]:
    return [common.KeyValuePair(key=key, value=value) for key, value in values.items()]


Observe = Callable[[Server], Any]
