"""What changes the schema of a collection that exists. Ids go on after the largest that ever was, so that gaps stay.

Sources: milvus ``internal/rootcoord/ddl_callbacks_alter_collection_add_field.go`` and its neighbours for functions and for
the dynamic field, ``internal/proxy/task.go``; the messages of milvus-proto.
"""

from __future__ import annotations

from pymilvus.grpc_gen import common_pb2 as common
from pymilvus.grpc_gen import milvus_pb2 as milvus
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.calls import Call, Part
from tests.milvus_double.refusal import Refused, invalid
from tests.milvus_double.schemas import DYNAMIC, FIRST_FUNCTION_ID, check_added_field, check_field, check_name
from tests.milvus_double.state import Collection

MAX_FIELD_ID = "max_field_id"
#: A property that is a switch: it makes ``$meta``, and is not kept.
DYNAMIC_SWITCH = "dynamicfield.enabled"


def next_id(found: Collection) -> int:
    found.max_field_id += 1
    if MAX_FIELD_ID in found.properties:
        found.properties[MAX_FIELD_ID] = str(found.max_field_id)
    return found.max_field_id


def switch_dynamic(found: Collection, changed: dict[str, str]) -> None:
    """``$meta`` behind all other fields; rows that are there have none, which is null (2.6 and later)."""
    if len(changed) > 1:
        raise invalid("cannot alter dynamic schema with other properties at the same time: invalid parameter")
    wanted = changed[DYNAMIC_SWITCH].lower() == "true"
    if not wanted and found.schema.enable_dynamic_field:
        raise invalid("dynamic schema cannot supported to be disabled: invalid parameter")
    if wanted and not found.schema.enable_dynamic_field:
        found.schema.enable_dynamic_field = True
        field = found.schema.fields.add(name=DYNAMIC, data_type=DataType.JSON, is_dynamic=True, nullable=True)
        field.fieldID = next_id(found)


class SchemaChanges(Part):
    def AddCollectionField(self, request: milvus.AddCollectionFieldRequest, call: Call) -> common.Status:
        """`$meta` keeps its id, so that it is no longer the last."""
        found = self.state.collection(call.database, request.collection_name)
        self._add_field(found, schema_pb2.FieldSchema.FromString(request.schema))
        return common.Status()

    def _add_field(self, found: Collection, field: schema_pb2.FieldSchema) -> None:
        check_added_field(field, self._names(found), self.state.version)
        field.fieldID = next_id(found)
        found.schema.fields.append(field)

    def _names(self, found: Collection) -> set[str]:
        return {item.name for item in (*found.schema.fields, *found.schema.struct_array_fields)}

    def AddCollectionStructField(
        self, request: milvus.AddCollectionStructFieldRequest, call: Call
    ) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        struct = schema_pb2.StructArrayFieldSchema()
        struct.CopyFrom(request.struct_array_field_schema)
        check_name(struct.name, "field")
        if struct.name in self._names(found):
            raise invalid(f"duplicate field name: {struct.name}")
        if not struct.nullable:
            raise invalid(
                f"added field must be nullable, please check it, field name = {struct.name}: invalid parameter"
            )
        struct.fieldID = next_id(found)
        for field in struct.fields:
            check_field(field, self.state.version, collection=found.name, nested=True)
            field.nullable = True
            field.fieldID = next_id(found)
        found.schema.struct_array_fields.append(struct)
        return common.Status()

    def AddCollectionFunction(
        self, request: milvus.AddCollectionFunctionRequest, call: Call
    ) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        if any(item.name == request.functionSchema.name for item in found.schema.functions):
            raise invalid(f"duplicate function name: {request.functionSchema.name}")
        self._put_function(found, request.functionSchema)
        return common.Status()

    def AlterCollectionFunction(
        self, request: milvus.AlterCollectionFunctionRequest, call: Call
    ) -> common.Status:
        found = self.state.collection(call.database, request.collection_name)
        self._drop_function(found, request.function_name)
        self._put_function(found, request.functionSchema)
        return common.Status()

    def DropCollectionFunction(
        self, request: milvus.DropCollectionFunctionRequest, call: Call
    ) -> common.Status:
        self._drop_function(
            self.state.collection(call.database, request.collection_name), request.function_name
        )
        return common.Status()

    def _put_function(self, found: Collection, function: schema_pb2.FunctionSchema) -> None:
        ids = {field.name: field for field in found.schema.fields}
        if missing := {*function.input_field_names, *function.output_field_names} - ids.keys():
            raise invalid(
                f"function {function.name}'s fields {sorted(missing)} not found in collection schema"
            )
        made = found.schema.functions.add()
        made.CopyFrom(function)
        made.id = max([FIRST_FUNCTION_ID - 1, *(item.id for item in found.schema.functions)]) + 1
        made.ClearField("input_field_ids")
        made.ClearField("output_field_ids")
        made.input_field_ids.extend(ids[name].fieldID for name in made.input_field_names)
        made.output_field_ids.extend(ids[name].fieldID for name in made.output_field_names)
        for name in made.output_field_names:
            ids[name].is_function_output = True

    def _drop_function(self, found: Collection, name: str) -> schema_pb2.FunctionSchema:
        function = next((item for item in found.schema.functions if item.name == name), None)
        if function is None:
            raise invalid(f"function not found: {name}")
        dropped = schema_pb2.FunctionSchema()
        dropped.CopyFrom(function)
        found.schema.functions.remove(function)
        for field in found.schema.fields:
            if field.fieldID in dropped.output_field_ids:
                field.is_function_output = False
        return dropped

    def AlterCollectionSchema(
        self, request: milvus.AlterCollectionSchemaRequest, call: Call
    ) -> milvus.AlterCollectionSchemaResponse:
        """Adds fields with the function that fills them, or drops a field or a function: then ids have a gap."""
        found = self.state.collection(call.database, request.collection_name)
        action = request.action
        if action.HasField("add_request"):
            for info in action.add_request.field_infos:
                field = schema_pb2.FieldSchema()
                field.CopyFrom(info.field_schema)
                self._add_field(found, field)
            for function in action.add_request.func_schema:
                self._put_function(found, function)
        elif action.HasField("drop_request"):
            self._drop(found, action.drop_request)
        return milvus.AlterCollectionSchemaResponse()

    def _drop(self, found: Collection, asked: milvus.AlterCollectionSchemaRequest.DropRequest) -> None:
        if asked.function_name:
            outputs = self._drop_function(found, asked.function_name).output_field_ids
            gone = set(outputs) if asked.drop_function_output_fields else set()
        else:
            gone = {
                item.fieldID
                for item in found.schema.fields
                if asked.field_id == item.fieldID or asked.field_name == item.name
            }
            if not gone:
                raise Refused(f"field not found[field={asked.field_name or asked.field_id}]", code=1700)
        if found.key_field.fieldID in gone:
            raise invalid("cannot drop primary key field: invalid parameter")
        kept = [item for item in found.schema.fields if item.fieldID not in gone]
        found.schema.ClearField("fields")
        found.schema.fields.extend(kept)
        found.indexes = {name: item for name, item in found.indexes.items() if item.field_id not in gone}
