"""Query and search over the live rows: by expression, partition, limit and offset; vectors by brute force.

Every answer is strongly consistent. Sources: milvus ``internal/proxy/task_query.go``, ``task_search.go``; 2.3.5 by running it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.distances import nearest
from tests.milvus_double.expressions import Getter, Parser
from tests.milvus_double.refusal import Refused, RpcFailure, invalid
from tests.milvus_double.schemas import params
from tests.milvus_double.state import Collection, Key, Row, Segment, State
from tests.milvus_double.wire import VECTORS, value_of, write_columns

COUNT = "count(*)"
MAX_WINDOW = 16_384


def template_values(sent: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _template_value(value) for name, value in sent.items()}


def _template_value(value: Any) -> Any:
    slot = value.WhichOneof("val")
    if slot != "array_val":
        return getattr(value, slot)
    inner = value.array_val.WhichOneof("data")
    return list(getattr(value.array_val, inner).data) if inner else []


def named_keys(found: Collection, text: str, values: Mapping[str, Any]) -> list[Key] | None:
    """The keys of ``pk in [...]`` or ``pk == ...``, whether there are such rows or not; None for other expressions."""
    name = re.escape(found.key_field.name)
    several = re.fullmatch(rf"\s*{name}\s+in\s*(\[.*\]|\{{\w+\}})\s*", text, re.S | re.I)
    one = re.fullmatch(rf"\s*{name}\s*==\s*(-?\d+|\"[^\"]*\"|'[^']*')\s*", text)
    match = several or one
    if match is None:
        return None
    keys = Parser(match[1], lambda _: False, values).parse()(_nothing)
    return list(keys) if several else [keys]


def _nothing(_: str) -> Any:
    return None


def selected(
    state: State,
    found: Collection,
    text: str,
    partitions: Sequence[str],
    values: Mapping[str, Any],
    *,
    older: bool = False,
) -> list[Row]:
    """The live rows of loaded partitions that the expression holds for, in order of their keys.

    ``older``: also those whose key was inserted again later, which are counted and not shown (run: 2.3.5).
    """
    wanted = _partitions(found, partitions)
    rows: Iterable[Row] = state.visible(found, wanted).values() if wanted else []
    if older:
        rows = [row for segment in _segments(found, wanted) for row in state.live_rows(found, segment)]
    if text.strip():
        holds = Parser(text, lambda name: _knows(found, name), values).parse()
        rows = [row for row in rows if holds(_getter(found, row))]
    return sorted(rows, key=lambda row: row.pk)


def _segments(found: Collection, partitions: Sequence[int]) -> list[Segment]:
    """Those that hold rows which queries see."""
    readable = (item for item in found.live_segments() if item.readable and not item.is_l0)
    return [segment for segment in readable if segment.partition_id in partitions]


def _partitions(found: Collection, names: Sequence[str]) -> list[int]:
    if not found.loaded:
        raise Refused(f"failed to query: collection not loaded[collection={found.id}]", code=101)
    for name in names:
        if name not in found.partitions:
            raise Refused(f"partition name {name} not found")
    asked = [found.partitions[name] for name in names] or [
        part for part in found.partitions.values() if part.loaded
    ]
    if unloaded := [part.id for part in asked if not part.loaded]:
        raise Refused(f"failed to query: partition not loaded[partition={unloaded}]", code=201)
    return [part.id for part in asked]


def _knows(found: Collection, name: str) -> bool:
    return found.field_named(name) is not None or found.schema.enable_dynamic_field


def _getter(found: Collection, row: Row) -> Getter:
    def get(name: str) -> Any:
        field = found.field_named(name)
        if field is None:
            return _dynamic(found, row).get(name)
        value = value_of(field, row)
        return json.loads(value) if field.data_type == DataType.JSON and value is not None else value

    return get


def _dynamic(found: Collection, row: Row) -> dict[str, Any]:
    field = next((item for item in found.schema.fields if item.is_dynamic), None)
    value = None if field is None else value_of(field, row)
    return dict(json.loads(value)) if value else {}


class Queries(Part):
    def Query(self, request: milvus.QueryRequest, call: Call) -> milvus.QueryResults:
        found = self.state.collection(call.database, request.collection_name)
        self.state.wait_for(found, self.state.clock.now())
        given = params(request.query_params)
        limit, offset = int(given.get("limit") or 0), int(given.get("offset") or 0)
        if limit + offset > MAX_WINDOW:
            raise invalid(
                f"invalid max query result window, (offset+limit) should be in range [1, {MAX_WINDOW}]"
            )
        counting = COUNT in [name.lower() for name in request.output_fields]
        if counting and not self.state.version.has("count"):
            raise Refused(
                "query expression is empty" if not request.expr.strip() else "field count(*) not exist"
            )
        if not request.expr.strip() and self.state.version.number < (2, 3, 0):
            raise Refused("query expression is empty")
        if not request.expr.strip() and not limit and not counting:
            reason = "empty expression should be used with limit"
            coded = self.state.version.has("query_errors_coded")
            raise invalid(f"{reason}: invalid parameter") if coded else Refused(reason)
        values = template_values(request.expr_template_values)
        wanted = None if counting else self._wanted(found, request.output_fields)
        rows = self._selected(found, request, values, older=counting)
        if wanted is None:
            number = schema_pb2.LongArray(data=[len(rows)])
            column = schema_pb2.FieldData(
                type=DataType.Int64, field_name=COUNT, scalars=schema_pb2.ScalarField(long_data=number)
            )
            return milvus.QueryResults(fields_data=[column])
        rows = rows[offset : offset + limit] if limit else rows[offset:]
        columns = write_columns(found, rows, lambda field: field.fieldID in wanted)
        answer = milvus.QueryResults(
            fields_data=columns,
            collection_name=found.name,
            output_fields=[column.field_name for column in columns],
        )
        if self.state.version.number >= (2, 5, 0):
            answer.primary_field_name = found.key_field.name
        return answer

    def _wanted(self, found: Collection, names: Sequence[str]) -> set[int]:
        """The ids of the fields to show; the key always. A dynamic key shows the whole dynamic field."""
        wanted = {found.key_field.fieldID}
        for name in names:
            struct = next((item for item in found.schema.struct_array_fields if item.name == name), None)
            if name in ("*", "%"):
                # What a function makes is not part of "*" (``translateOutputFields``), and vectors not on 2.2.
                old = self.state.version.number < (2, 3, 0)
                wanted |= {
                    field.fieldID
                    for field in found.fields
                    if not _hidden(found, field)
                    and not (old and (field.data_type in VECTORS) is (name == "*"))
                }
            elif struct is not None:
                wanted |= {field.fieldID for field in struct.fields}
            elif field := found.field_named(name):
                wanted.add(field.fieldID)
            elif dynamic := next((item for item in found.schema.fields if item.is_dynamic), None):
                wanted.add(dynamic.fieldID)
            else:
                raise Refused(f"field {name} not exist")
        return wanted

    def _selected(
        self, found: Collection, request: milvus.QueryRequest, values: Mapping[str, Any], *, older: bool
    ) -> list[Row]:
        """From 2.5 on it is the plan that cannot be made (run: 2.5.27, 2.6.19)."""
        try:
            return selected(self.state, found, request.expr, request.partition_names, values, older=older)
        except Refused as refused:
            unreadable = refused.reason.startswith("cannot parse expression")
            if not unreadable or not self.state.version.has("query_errors_coded"):
                raise
            reason = refused.reason
            if self.state.version.has("input_errors"):
                reason = f"{reason.replace(', error:', ':', 1)}: invalid parameter"
            raise invalid(f"failed to create query plan: {reason}: invalid parameter") from refused

    def HybridSearch(self, request: milvus.HybridSearchRequest, call: Call) -> milvus.SearchResults:
        """No ranking: only what is refused before."""
        self.state.looked_up(call.database, request.collection_name)
        raise RpcFailure(grpc.StatusCode.UNIMPLEMENTED, "the double ranks nothing")

    def RunAnalyzer(self, request: Any, call: Call) -> Any:
        """As the standard analyzer does."""
        texts = [text.decode() for text in request.placeholder]
        results = [
            milvus.AnalyzerResult(
                tokens=[milvus.AnalyzerToken(token=word) for word in re.findall(r"\w+", text.lower())]
            )
            for text in texts
        ]
        return milvus.RunAnalyzerResponse(results=results)

    def Search(self, request: milvus.SearchRequest, call: Call) -> milvus.SearchResults:
        found = self.state.collection(call.database, request.collection_name)
        given = params(request.search_params)
        field = self._searched(found, given.get("anns_field", ""))
        index = next((item for item in found.indexes.values() if item.field_id == field.fieldID), None)
        metric = given.get("metric_type") or (index.params.get("metric_type") if index else "") or "L2"
        limit, offset = int(given.get("topk") or 10), int(given.get("offset") or 0)
        values = template_values(request.expr_template_values)
        rows = selected(self.state, found, request.dsl, request.partition_names, values)
        rows = [row for row in rows if value_of(field, row) is not None]
        group = common.PlaceholderGroup.FromString(request.placeholder_group)
        result = schema_pb2.SearchResultData(
            num_queries=request.nq or len(group.placeholders[0].values), top_k=limit
        )
        shown: list[Row] = []
        vectors = [value_of(field, row) for row in rows]
        for query in group.placeholders[0].values:
            hits = nearest(field, vectors, query, metric, text=group.placeholders[0].type == DataType.VarChar)
            hits = hits[offset : offset + limit]
            shown += [rows[at] for at, _ in hits]
            result.scores.extend(score for _, score in hits)
            result.topks.append(len(hits))
        result.top_k = max(result.topks, default=0)
        self._fill(found, result, shown, request.output_fields)
        return milvus.SearchResults(collection_name=found.name, results=result)

    def _searched(self, found: Collection, name: str) -> schema_pb2.FieldSchema:
        field = (
            found.field_named(name)
            if name
            else next(item for item in found.fields if item.data_type in VECTORS)
        )
        if field is None:
            raise Refused(f"failed to get field schema by name: fieldName({name}) not found", code=1100)
        return field

    def _fill(
        self, found: Collection, result: schema_pb2.SearchResultData, rows: list[Row], names: Sequence[str]
    ) -> None:
        key = found.key_field
        wanted = self._wanted(found, names) - {key.fieldID} if names else set()
        if key.name in names or "*" in names:
            wanted.add(key.fieldID)
        result.fields_data.extend(write_columns(found, rows, lambda field: field.fieldID in wanted))
        result.output_fields.extend(names)
        result.primary_field_name = key.name if self.state.version.number >= (2, 5, 0) else ""
        keys = [row.pk for row in rows]
        if key.data_type == DataType.VarChar:
            result.ids.str_id.data.extend(keys)
        else:
            result.ids.int_id.data.extend(keys)


def _hidden(found: Collection, field: schema_pb2.FieldSchema) -> bool:
    outputs = {
        number
        for function in found.schema.functions
        if function.type == 1
        for number in function.output_field_ids
    }
    return field.fieldID in outputs
