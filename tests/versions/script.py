"""One script for a real server and for the double: what each answers, with ids, times and channels made comparable."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.milvus_pb2_grpc import MilvusServiceStub
from pymilvus.grpc_gen.schema_pb2 import DataType

#: Ids and hybrid timestamps have 18 digits, milliseconds 13, seconds 10.
_LONG = re.compile(r"\d{15,}|\b\d{13}\b|\b1\d{9}\b")
_CHANNEL = re.compile(r"(by-dev|in01[0-9a-f]*)?-?rootcoord-dml_\d+")
_TRACE = re.compile(r"stack trace:.*", re.S)


#: What differs from build to build, from run to run, or says how the real server got there.
_PASSING = frozenset(
    [
        "_bh",
        "msgID",
        "build_time",
        "git_commit",
        "go_version",
        "leader_addr",
        "leaderID",
        "node_ids",
        "nodeID",
        "persist_cost",
    ]
)
#: In no promised order.
_UNORDERED = frozenset(
    [
        "collection_names",
        "output_fields",
        "infos",
        "properties",
        "created_timestamps",
        "index_descriptions",
        "fields_data",
        "shards_num",
    ]
)
_PATIENCE = 60.0


@dataclass(frozen=True)
class Site:
    """A running server: where it is asked, and where its objects lie."""

    target: str
    rest: str
    management: str
    data: Path

    def object_shapes(self) -> list[str]:
        """The keys of its rows and deletes, ids left out."""
        found = (path.relative_to(self.data).as_posix() for path in self.data.rglob("*") if path.is_file())
        return sorted(_LONG.sub("<n>", key) for key in found if key.startswith(("insert_log/", "delta_log/")))


class Server:
    """Calls by name, with plain answers: a dictionary, or the gRPC status code of a call that failed."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._channel = grpc.insecure_channel(site.target)
        self._stub = MilvusServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def raw(self, rpc: str, request: Any, database: str = "") -> Any:
        metadata = (("dbname", database),) if database else ()
        return getattr(self._stub, rpc)(request, timeout=60, metadata=metadata, wait_for_ready=True)

    def __call__(self, rpc: str, request: Any, database: str = "") -> Any:
        try:
            return self.plain(self.raw(rpc, request, database))
        except grpc.RpcError as error:
            return {"rpc": error.code().name}

    @staticmethod
    def plain(message: Any) -> Any:
        return comparable(MessageToDict(message, preserving_proto_field_name=True))

    def imported(self, request: milvus.ImportRequest, database: str = "") -> Any:
        """The last state of the job."""
        answer = self.raw("Import", request, database)
        assert not answer.status.reason, answer.status.reason
        asked = milvus.GetImportStateRequest(task=answer.tasks[0])
        ended = ("ImportCompleted", "ImportFailed")
        return until(lambda: self("GetImportState", asked), lambda found: found.get("state") in ended)


def until(ask: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    """Asks until the answer is a good one; the last answer is returned anyway."""
    deadline = time.monotonic() + _PATIENCE
    while not done(found := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def comparable(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if "key" in value and set(value) <= {"key", "value"}:
            return (value["key"], comparable(value.get("value", "")))
        return {
            comparable(name): comparable(item, name) for name, item in value.items() if name not in _PASSING
        }
    if isinstance(value, list):
        items = [comparable(item, key) for item in value]
        items = [item for item in items if not (isinstance(item, tuple) and item[0] in _PASSING)]
        return sorted(items, key=repr) if key in _UNORDERED else items
    if isinstance(value, str):
        value = _CHANNEL.sub("<pchannel>", _LONG.sub("<n>", value))
        return _TRACE.sub("", value)
    if isinstance(value, int) and not isinstance(value, bool) and value > 10**9:
        return "<n>"
    return value


def http(url: str, *, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def empty_request(rpc: str) -> Any:
    method = milvus.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name[rpc]
    return GetMessageClass(method.input_type)()


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
