"""Insert, upsert and delete: rows become part of growing segments, deletes wait for the next flush.

Sources: milvus ``internal/proxy/task_insert.go``, ``task_upsert.go``, ``task_delete.go``, ``validate_util.go``; 2.3.5 by running it.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.functions import TEXT_EMBEDDING, no_answer, output
from tests.milvus_double.objects import new_segment
from tests.milvus_double.queries import named_keys, selected, template_values
from tests.milvus_double.refusal import Refused, invalid
from tests.milvus_double.schemas import params
from tests.milvus_double.state import (
    ALL_PARTITIONS,
    DEFAULT_PARTITION,
    GROWING,
    BufferedDelete,
    Collection,
    Delete,
    Key,
    Row,
    Segment,
)
from tests.milvus_double.wire import default_of, read_column, value_of

Columns = dict[int, list[Any]]


class Rows(Part):
    def Insert(self, request: milvus.InsertRequest, call: Call) -> milvus.MutationResult:
        try:
            return self._insert(request, call)
        except Refused as refused:
            refused.answer = milvus.MutationResult(err_index=range(request.num_rows))
            raise

    def _insert(self, request: milvus.InsertRequest, call: Call) -> milvus.MutationResult:
        found = self._target(request, call)
        columns = self._columns(found, request)
        keys = self._keys(found, columns, request.num_rows)
        timestamp = self.state.clock.now()
        with self.state.sent(found, timestamp):
            self._add(found, columns, keys, request, timestamp)
        return milvus.MutationResult(
            IDs=ids(keys), succ_index=range(len(keys)), insert_cnt=len(keys), timestamp=timestamp
        )

    def Upsert(self, request: milvus.UpsertRequest, call: Call) -> milvus.MutationResult:
        """Deletes and rows of one timestamp: a delete reaches only what is older."""
        found = self._target(request, call)
        version = self.state.version
        if found.key_field.autoID and version.number < (2, 4, 0):
            raise invalid("upsert can not assign primary field data when auto id enabled: invalid parameter")
        if request.partial_update and version.has("add_field"):
            columns = self._merged(found, request)
        else:
            columns = self._columns(found, request, keep_keys=True)
        keys = self._keys(found, columns, request.num_rows, given=not found.key_field.autoID)
        old = columns[found.key_field.fieldID] if found.key_field.autoID else keys
        if found.key_field.autoID:
            columns[found.key_field.fieldID] = list(keys)
        timestamp = self.state.clock.now()
        with self.state.sent(found, timestamp):
            self._buffer(found, old, self._partition_of_deletes(found, request.partition_name), timestamp)
            self._add(found, columns, keys, request, timestamp)
        return milvus.MutationResult(
            IDs=ids(keys),
            succ_index=range(len(keys)),
            insert_cnt=len(keys),
            delete_cnt=len(keys),
            upsert_cnt=len(keys),
            timestamp=timestamp,
        )

    def Delete(self, request: milvus.DeleteRequest, call: Call) -> milvus.MutationResult:
        found = self.state.collection(call.database, request.collection_name)
        if not request.expr.strip():
            raise invalid("invalid expression: invalid parameter[expected=valid expr][actual=empty expr]")
        values = template_values(request.expr_template_values)
        keys = named_keys(found, request.expr, values)
        if keys is None and self.state.version.number < (2, 3, 0):
            raise Refused("invalid plan node type, only pk in [1, 2] supported")
        if keys is None:
            names = [request.partition_name] if request.partition_name else []
            keys = [row.pk for row in selected(self.state, found, request.expr, names, values)]
        timestamp = self.state.clock.now()
        with self.state.sent(found, timestamp):
            self._buffer(found, keys, self._partition_of_deletes(found, request.partition_name), timestamp)
        version = self.state.version.number
        answer = milvus.MutationResult(IDs=ids(keys) if version < (2, 3, 0) else None, delete_cnt=len(keys))
        answer.IDs.SetInParent()
        # 2.3 alone says no time (run).
        if not (2, 3, 0) <= version < (2, 4, 0):
            answer.timestamp = timestamp
        return answer

    # -- checks and columns --------------------------------------------------------------------------------------------

    def _target(self, request: Any, call: Call) -> Collection:
        found = self.state.collection(call.database, request.collection_name)
        if found.schema.external_source:
            raise Refused(f"collection {found.name} is external, its data cannot be changed", code=1100)
        if request.partition_name and found.partition_key is not None:
            raise Refused("not support manually specifying the partition names if partition key mode is used")
        if found.partition_key is None:
            found.partition_named(request.partition_name)
        return found

    def _columns(self, found: Collection, request: Any, *, keep_keys: bool = False) -> Columns:
        sent = {data.field_name: data for data in request.fields_data}
        needed = [field for field in found.schema.fields if not (field.is_dynamic or field.autoID)]
        if len(sent) < len(needed) and self.state.version.number < (2, 3, 0):
            raise Refused(f"the length({len(sent)}) of passed fields is less than needed({len(needed)})")
        dynamic = next((data for data in request.fields_data if data.is_dynamic), None)
        columns: Columns = {}
        for field in found.schema.fields:
            data = dynamic if field.is_dynamic else sent.get(field.name)
            made = field.is_function_output or (field.is_primary_key and field.autoID and not keep_keys)
            if made and (data is None or field.is_function_output):
                continue
            if data is None:
                columns[field.fieldID] = self._missing(field, request.num_rows)
                continue
            columns[field.fieldID] = self._filled(field, read_column(field, data), request.num_rows)
        for struct in found.schema.struct_array_fields:
            inner = (
                {data.field_name: data for data in sent[struct.name].struct_arrays.fields}
                if struct.name in sent
                else {}
            )
            for sub in struct.fields:
                if sub.name not in inner:
                    columns[sub.fieldID] = self._missing(sub, request.num_rows)
                else:
                    columns[sub.fieldID] = self._filled(
                        sub, read_column(sub, inner[sub.name]), request.num_rows
                    )
        self._compute(found, columns, request.num_rows)
        return columns

    def _missing(self, field: schema_pb2.FieldSchema, count: int) -> list[Any]:
        if field.is_dynamic:
            return [b"{}"] * count
        if not self.state.version.knows_type(field.data_type):
            raise Refused(f"undefined data type {DataType.Name(field.data_type)}")
        if field.nullable or field.HasField("default_value"):
            return [default_of(field)] * count
        if self.state.version.has("fields_are_named"):
            raise invalid(
                f"fieldSchema({field.name}) has no corresponding fieldData pass in: invalid parameter"
            )
        name = DataType.Name(field.data_type).lower()
        raise invalid(
            f"{name} field '{field.name}' is illegal, array type mismatch: "
            f"invalid parameter[expected=need {'string' if name == 'varchar' else name} array][actual=got nil]"
        )

    def _filled(self, field: schema_pb2.FieldSchema, values: list[Any], count: int) -> list[Any]:
        if not self.state.version.knows_type(field.data_type):
            raise Refused(f"undefined data type {field.data_type} of field({field.name})")
        if len(values) != count:
            raise invalid(
                f"the num_rows ({len(values)}) of field ({field.name}) is not equal to passed num_rows ({count}): "
                "invalid parameter"
            )
        default = default_of(field)
        values = [default if value is None else value for value in values]
        if None in values and not field.nullable:
            raise invalid(f"the field {field.name} is not nullable: invalid parameter")
        limit = int(params(field.type_params).get("max_length", 0))
        if field.data_type == DataType.VarChar and limit:
            for at, value in enumerate(values):
                if value is not None and len(value.encode()) > limit:
                    raise self._too_long(field.name, at, len(value.encode()), limit)
        return values

    def _too_long(self, name: str, row: int, length: int, limit: int) -> Refused:
        if self.state.version.has("fields_are_named"):
            return invalid(
                f"length of varchar field {name} exceeds max length, row number: {row}, length: {length}, "
                f"max length: {limit}: invalid parameter"
            )
        return invalid(
            f"the length ({length}) of {row}th string exceeds max length ({limit}): invalid "
            "parameter[expected=valid length string][actual=string length exceeds max length]"
        )

    def _compute(self, found: Collection, columns: Columns, count: int) -> None:
        """The outputs of functions."""
        for function in found.schema.functions:
            if function.type == TEXT_EMBEDDING and not self.state.providers_answer:
                raise no_answer(function)
            texts = columns.get(function.input_field_ids[0], [None] * count)
            for number in function.output_field_ids:
                field = next(item for item in found.schema.fields if item.fieldID == number)
                columns[number] = [output(function, field, text) for text in texts]

    def _merged(self, found: Collection, request: Any) -> Columns:
        """A partial update: what is not sent stays as it is."""
        key = found.key_field
        data = next(item for item in request.fields_data if item.field_name == key.name)
        keys = read_column(key, data)
        there = self.state.visible(found)
        if missing := [item for item in keys if item not in there]:
            raise invalid(f"partial update of keys that do not exist: {missing[:3]}: invalid parameter")
        names = {item.field_name for item in request.fields_data}
        columns: Columns = {}
        for field in found.schema.fields:
            if field.name in names:
                sent = next(item for item in request.fields_data if item.field_name == field.name)
                columns[field.fieldID] = self._filled(field, read_column(field, sent), request.num_rows)
            else:
                columns[field.fieldID] = [value_of(field, there[item]) for item in keys]
        self._compute(found, columns, request.num_rows)
        return columns

    def _keys(self, found: Collection, columns: Columns, count: int, *, given: bool = False) -> list[Key]:
        field = found.key_field
        if field.autoID and not given:
            allowed = found.properties.get("allow_insert_auto_id", "").lower() == "true"
            if field.fieldID in columns and allowed:
                return columns[field.fieldID]
            first = self.state.clock.new_ids(count)
            made: list[Key] = list(range(first, first + count))
            if field.data_type == DataType.VarChar:
                made = [str(key) for key in made]
            if field.fieldID not in columns:
                columns[field.fieldID] = list(made)
            return made
        return columns[field.fieldID]

    # -- where rows and deletes go -------------------------------------------------------------------------------------

    def _add(
        self, found: Collection, columns: Columns, keys: Sequence[Key], request: Any, timestamp: int
    ) -> None:
        first_id = self.state.clock.new_ids(len(keys))
        for at, key in enumerate(keys):
            values = {number: column[at] for number, column in columns.items()}
            channel = found.channel_of(key)
            segment = self._growing(found, self._partition_id(found, request.partition_name, values), channel)
            segment.rows.append(Row(key, first_id + at, timestamp, values, channel))

    def _partition_id(self, found: Collection, name: str, values: Mapping[int, Any]) -> int:
        key = found.partition_key
        if key is None:
            return found.partition_named(name).id
        count = len(found.partitions)
        at = zlib.crc32(str(values[key.fieldID]).encode()) % count
        return found.partition_named(f"{DEFAULT_PARTITION}_{at}").id

    def _growing(self, found: Collection, partition_id: int, channel: str) -> Segment:
        for segment in found.segments.values():
            if (segment.state, segment.partition_id, segment.channel) == (GROWING, partition_id, channel):
                return segment
        return new_segment(self.state, found, partition_id, channel, segment_state=GROWING)

    def _partition_of_deletes(self, found: Collection, name: str) -> int:
        return found.partition_named(name).id if name else ALL_PARTITIONS

    def _buffer(self, found: Collection, keys: Iterable[Key], partition_id: int, timestamp: int) -> None:
        found.buffered_deletes.extend(
            BufferedDelete(Delete(key, timestamp), partition_id, found.channel_of(key)) for key in keys
        )


def ids(keys: Sequence[Key]) -> schema_pb2.IDs:
    if keys and isinstance(keys[0], str):
        return schema_pb2.IDs(str_id=schema_pb2.StringArray(data=keys))
    return schema_pb2.IDs(int_id=schema_pb2.LongArray(data=keys))
