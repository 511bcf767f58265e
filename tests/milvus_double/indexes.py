"""Indexes: only what is known of them. Building one is done at once, and makes no objects that a backup could touch.

Sources: milvus ``internal/proxy/task_index.go``, ``internal/datacoord/index_service.go``; 2.3.5 by running it.
"""

from __future__ import annotations

import re

import grpc
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.collections import pairs
from tests.milvus_double.refusal import Refused, RpcFailure, invalid, no_index
from tests.milvus_double.schemas import params
from tests.milvus_double.state import GROWING, Collection, Index
from tests.milvus_double.wire import VECTORS

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TYPES_2_2 = "FLAT IVF_FLAT IVF_SQ8 IVF_PQ HNSW ANNOY DISKANN BIN_FLAT BIN_IVF_FLAT AUTOINDEX STL_SORT Trie marisa-trie SCANN"
_TYPES_2_4 = (
    "INVERTED BITMAP SPARSE_INVERTED_INDEX SPARSE_WAND GPU_CAGRA GPU_IVF_FLAT GPU_IVF_PQ GPU_BRUTE_FORCE"
)
_TYPES_2_5 = "HNSW_SQ HNSW_PQ HNSW_PRQ NGRAM IVF_RABITQ RTREE MINHASH_LSH"
_TYPES_SINCE = {(2, 2, 0): _TYPES_2_2, (2, 4, 0): _TYPES_2_4, (2, 5, 0): _TYPES_2_5}
_INVALID_PARAMS = "[expected=valid index params][actual=invalid index params]"
#: Which engine built it, where none is known; from 2.5 on DescribeIndex says so.
_NO_ENGINE = (-(1 << 31), (1 << 31) - 1)


class Indexes(Part):
    def CreateIndex(self, request: milvus.CreateIndexRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        given = params(request.extra_params)
        field = self._field(found, request.field_name)
        self._check_type(field, given)
        path = given.get("json_path", "") if self.state.version.has("json_path_index") else ""
        if request.index_name and not _NAME.fullmatch(request.index_name):
            raise Refused(
                f"Invalid index name: {request.index_name}. The first character of a index name must be an underscore "
                "or letter."
            )
        made = (
            request.field_name if self.state.version.number >= (2, 3, 0) else f"_default_idx_{field.fieldID}"
        )
        name = request.index_name or _path_name(path) or made
        there = next((index for index in found.indexes.values() if _same_place(index, field, path)), None)
        if there is not None:
            return self._again(there, name if request.index_name else there.name, given)
        if name in found.indexes:
            raise Refused("CreateIndex failed: at most one distinct index is allowed per field")
        found.indexes[name] = Index(
            id=self.state.clock.new_id(),
            name=name,
            field_id=field.fieldID,
            field_name=request.field_name,
            params=given,
            type_params=params(field.type_params),
            created=self.state.clock.now(),
            auto=given.get("index_type", "AUTOINDEX") == "AUTOINDEX",
        )
        return common.Status()

    def _field(self, found: Collection, name: str) -> schema_pb2.FieldSchema:
        field = found.field_named(name)
        if field is None and found.schema.enable_dynamic_field and self.state.version.has("json_path_index"):
            # A key of the dynamic field is indexed under its own name.
            field = next((item for item in found.schema.fields if item.is_dynamic), None)
        if field is None:
            raise Refused(f"cannot create index on non-exist field: {name}")
        return field

    def _check_type(self, field: schema_pb2.FieldSchema, given: dict[str, str]) -> None:
        kind = given.get("index_type", "")
        known = {
            name
            for since, names in _TYPES_SINCE.items()
            if self.state.version.number >= since
            for name in names.split()
        }
        coded = self.state.version.has("fields_are_named")
        if kind and kind not in known:
            reason = f"invalid index type: {kind}"
            raise (
                invalid(f"invalid parameter[expected=valid index][actual={reason}]")
                if coded
                else Refused(reason)
            )
        if kind == "Trie" and field.data_type != DataType.VarChar:
            if not coded:
                raise invalid("index type not match: invalid parameter[expected=STL_SORT][actual=Trie]")
            inner = "" if self.state.version.has("input_errors") else _INVALID_PARAMS
            raise invalid(f"TRIE are only supported on varchar field: invalid parameter{inner}")
        if field.data_type in VECTORS and kind != "AUTOINDEX" and "metric_type" not in given:
            if not coded:
                raise Refused("metric type not found or not supported, supported: [L2 IP COSINE]")
            raise invalid(f"metric type not set for vector index: invalid parameter{_INVALID_PARAMS}")

    def _again(self, there: Index, name: str, given: dict[str, str]) -> common.Status:
        if there.name != name:
            raise Refused("CreateIndex failed: creating multiple indexes on same field is not supported")
        if there.params != given:
            raise Refused("CreateIndex failed: at most one distinct index is allowed per field")
        return common.Status()

    def DescribeIndex(self, request: milvus.DescribeIndexRequest, call: Call) -> milvus.DescribeIndexResponse:
        found = self.state.collection(call.database, request.collection_name)
        return milvus.DescribeIndexResponse(
            index_descriptions=[
                self._described(found, index)
                for index in self._asked(found, request.index_name, request.field_name)
            ]
        )

    def GetIndexStatistics(
        self, request: milvus.GetIndexStatisticsRequest, call: Call
    ) -> milvus.GetIndexStatisticsResponse:
        found = self.state.collection(call.database, request.collection_name)
        return milvus.GetIndexStatisticsResponse(
            index_descriptions=[
                self._described(found, index) for index in self._asked(found, request.index_name)
            ]
        )

    def _asked(self, found: Collection, name: str, field: str = "") -> list[Index]:
        indexes = [
            index
            for index in found.indexes.values()
            if (not name or index.name == name) and (not field or index.field_name == field)
        ]
        if not indexes:
            raise no_index(name) if name else no_index(found.name, kind="collection")
        return indexes

    def _described(self, found: Collection, index: Index) -> milvus.IndexDescription:
        rows = _rows(found)
        newest, oldest = _NO_ENGINE if self.state.version.has("fields_are_named") else (0, 0)
        return milvus.IndexDescription(
            max_index_version=newest,
            min_index_version=oldest,
            index_name=index.name,
            indexID=index.id,
            field_name=index.field_name,
            params=pairs(index.params),
            indexed_rows=rows,
            total_rows=rows,
            state=common.Finished,
        )

    def GetIndexState(self, request: milvus.GetIndexStateRequest, call: Call) -> milvus.GetIndexStateResponse:
        found = self.state.collection(call.database, request.collection_name)
        self._asked(found, request.index_name)
        return milvus.GetIndexStateResponse(state=common.Finished)

    def GetIndexBuildProgress(
        self, request: milvus.GetIndexBuildProgressRequest, call: Call
    ) -> milvus.GetIndexBuildProgressResponse:
        found = self.state.collection(call.database, request.collection_name)
        self._asked(found, request.index_name)
        return milvus.GetIndexBuildProgressResponse(indexed_rows=_rows(found), total_rows=_rows(found))

    def DropIndex(self, request: milvus.DropIndexRequest, call: Call) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        index = found.indexes.get(request.index_name)
        if index is None and not request.index_name:
            index = next(
                (item for item in found.indexes.values() if item.field_name == request.field_name), None
            )
        if found.loaded and (self.state.version.number < (2, 4, 0) or self._is_vector(found, index)):
            raise Refused("index cannot be dropped, collection is loaded, please release it first")
        if index is not None:
            del found.indexes[index.name]
        return common.Status()

    def _is_vector(self, found: Collection, index: Index | None) -> bool:
        return index is not None and any(
            field.fieldID == index.field_id and field.data_type in VECTORS for field in found.fields
        )

    def AlterIndex(self, request: milvus.AlterIndexRequest, call: Call) -> common.Status:
        if self.state.version.number < (2, 4, 0):
            raise RpcFailure(
                grpc.StatusCode.INTERNAL, "runtime error: invalid memory address or nil pointer dereference"
            )
        found = self.state.looked_up(call.database, request.collection_name)
        (index,) = self._asked(found, request.index_name)
        if request.extra_params and request.delete_keys:
            raise invalid("cannot provide both DeleteKeys and ExtraParams")
        index.params.update(params(request.extra_params))
        for key in request.delete_keys:
            index.params.pop(key, None)
        return common.Status()


def _rows(found: Collection) -> int:
    return sum(
        segment.row_count
        for segment in found.live_segments()
        if not segment.is_l0 and segment.readable and segment.state != GROWING
    )


def _same_place(index: Index, field: schema_pb2.FieldSchema, path: str) -> bool:
    return index.field_id == field.fieldID and index.params.get("json_path", "") == path


def _path_name(path: str) -> str:
    """``doc["a"]["b"]`` -> ``/a/b`` (``typeutil.ParseAndVerifyNestedPath``)."""
    keys = re.findall(r"\[\s*[\"']?([^\]\"']+)[\"']?\s*\]", path)
    return "".join(f"/{key}" for key in keys)
