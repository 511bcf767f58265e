"""From the schema that a client sends to the one that a server keeps: what it refuses, drops, and numbers.

Sources: milvus ``internal/rootcoord/create_collection_task.go`` (numbers by position, `$meta` behind the fields, struct arrays
and their sub-fields behind that), ``internal/proxy/task.go`` and ``util.go`` (checks and their words).
An older server never sees message fields that its protocol lacks: they are dropped here, as protobuf drops them there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.milvus_double.functions import BM25, MINHASH, TEXT_EMBEDDING
from tests.milvus_double.refusal import Refused, invalid
from tests.milvus_double.versions import ServerVersion
from tests.milvus_double.wire import VECTORS

FIRST_FIELD_ID = FIRST_FUNCTION_ID = 100
DYNAMIC = "$meta"
MAX_NAME = 255
MAX_DIMENSION = 32_768
MAX_FIELDS = 64
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
_SYSTEM_NAMES = frozenset({"RowID", "Timestamp", "$meta"})
_ELEMENTS = frozenset(
    {1, 2, 3, 4, 5, DataType.Float, DataType.Double, DataType.VarChar, DataType.Timestamptz, DataType.Struct}
)
_KEY_TYPES = frozenset({DataType.Int64, DataType.VarChar})
_FUNCTION_SINCE = {BM25: "functions", TEXT_EMBEDDING: "text_embedding", MINHASH: "minhash"}


def params(pairs: Iterable[Any]) -> dict[str, str]:
    """Key-value pairs as a mapping."""
    return {pair.key: pair.value for pair in pairs}


def stored_schema(
    sent: schema_pb2.CollectionSchema, name: str, version: ServerVersion
) -> schema_pb2.CollectionSchema:
    """The schema with ids, or `Refused`. Its properties are empty: a collection keeps them beside it."""
    schema = schema_pb2.CollectionSchema()
    schema.CopyFrom(sent)
    _forget(schema, version)
    _check(schema, name, version)
    schema.ClearField("properties")
    if schema.enable_dynamic_field:
        schema.fields.add(
            name=DYNAMIC, data_type=DataType.JSON, is_dynamic=True, description="dynamic schema"
        )
    _number(schema)
    return schema


# -- what an older server never sees -----------------------------------------------------------------------------------


def _forget(schema: schema_pb2.CollectionSchema, version: ServerVersion) -> None:
    if not version.has("functions"):
        schema.ClearField("functions")
    if not version.has("struct_arrays"):
        schema.ClearField("struct_array_fields")
    if not version.has("dynamic_field"):
        schema.ClearField("enable_dynamic_field")
    if not version.has("external_collections"):
        schema.ClearField("external_source")
        schema.ClearField("external_spec")
    for field in _all_fields(schema):
        forget_field(field, version)


def forget_field(field: schema_pb2.FieldSchema, version: ServerVersion) -> None:
    """Drops what the version's protocol lacks."""
    lacking = {
        "nullable": "nullable",
        "is_function_output": "functions",
        "is_clustering_key": "clustering_key",
        "is_partition_key": "partition_key",
        "default_value": "default_values",
        "external_field": "external_collections",
    }
    for name, feature in lacking.items():
        if not version.has(feature):
            field.ClearField(name)


def _all_fields(schema: schema_pb2.CollectionSchema) -> Iterator[schema_pb2.FieldSchema]:
    yield from schema.fields
    for struct in schema.struct_array_fields:
        yield from struct.fields


# -- what is refused ---------------------------------------------------------------------------------------------------


def check_name(name: str, kind: str) -> None:
    """The rule of ``validateName`` in ``internal/proxy/util.go``."""
    if not name.strip():
        what = kind if kind == "collection alias" else f"{kind} name"
        raise invalid(f"{what} should not be empty: invalid parameter")
    if len(name) > MAX_NAME:
        raise invalid(
            f"Invalid {kind} name: {name}. the length of a {kind} name must be less than 255 characters"
        )
    if not _NAME.fullmatch(name):
        first = "the first character of a {} name must be an underscore or letter"
        only = "{} name can only contain numbers, letters and underscores"
        rule = (only if re.match(r"[A-Za-z_]", name) else first).format(kind)
        raise invalid(f"Invalid {kind} name: {name}. {rule}: invalid parameter")


def _check(schema: schema_pb2.CollectionSchema, name: str, version: ServerVersion) -> None:
    check_name(name, "collection")
    if len(schema.fields) > MAX_FIELDS:
        raise invalid(f"maximum field's number should be limited to {MAX_FIELDS}")
    names = [field.name for field in schema.fields] + [struct.name for struct in schema.struct_array_fields]
    if twice := [name for at, name in enumerate(names) if name in names[:at]]:
        said = f" {twice[0]} found" if version.has("fields_are_named") else ""
        raise invalid(f"duplicated field name{said}")
    _check_keys(schema, version)
    for field in schema.fields:
        check_field(field, version, collection=name)
    for struct in schema.struct_array_fields:
        _check_struct(struct, version)
    # A type that an old server does not know is no vector to it (run: 2.3.5 takes a sparse one beside another).
    vectors = [
        field for field in schema.fields if field.data_type in VECTORS and version.knows_type(field.data_type)
    ]
    if len(vectors) > version.max_vector_fields:
        if version.max_vector_fields == 1:
            found = ", ".join(field.name for field in vectors[:2])
            raise invalid(f"multiple vector fields is not supported, fields name: {found}")
        raise invalid(f"maximum vector field's number should be limited to {version.max_vector_fields}")
    if not vectors and (2, 4, 0) <= version.number < (3, 0, 0):
        raise invalid("schema does not contain vector field: invalid parameter")
    _check_functions(schema, version)


def _check_keys(schema: schema_pb2.CollectionSchema, version: ServerVersion) -> None:
    if schema.external_source and not any(field.is_primary_key for field in schema.fields):
        # An external collection has rows without keys: the server counts them (3.0, docs/design-docs of milvus).
        schema.fields.add(name="__virtual_pk__", data_type=DataType.Int64, is_primary_key=True, autoID=True)
    keys = [field for field in schema.fields if field.is_primary_key]
    if not keys:
        raise invalid("primary key is not specified")
    if len(keys) > 1:
        raise invalid(f"there are more than one primary key, field name = {keys[0].name}, {keys[1].name}")
    if keys[0].data_type not in _KEY_TYPES:
        raise invalid("the data type of primary key should be Int64 or VarChar")
    for mark, what in (("is_partition_key", "partition"), ("is_clustering_key", "clustering")):
        marked = [field for field in schema.fields if getattr(field, mark)]
        if len(marked) > 1:
            raise invalid(
                f"there are more than one {what} key, field name = {marked[0].name}, {marked[1].name}"
            )
        if what == "partition" and any(field.data_type not in _KEY_TYPES for field in marked):
            raise invalid("the data type of partition key should be Int64 or VarChar")
        if what == "partition" and any(field.nullable for field in marked):
            raise invalid("partition key field not support nullable: invalid parameter")
        if what == "partition" and any(field.is_primary_key for field in marked):
            raise invalid("the partition key field must not be primary field")


def check_field(
    field: schema_pb2.FieldSchema, version: ServerVersion, *, collection: str = "", nested: bool = False
) -> None:
    if field.is_dynamic:
        raise invalid("cannot explicitly set a field as a dynamic field")
    if field.name in _SYSTEM_NAMES:
        raise invalid(f"invalid field name: {field.name}, it is reserved")
    check_name(field.name.partition("[")[0] if nested else field.name, "field")
    kind, given = int(field.data_type), params(field.type_params)
    if not version.knows_type(kind) and kind != DataType.String and version.number < (2, 3, 0):
        known = kind in (0, DataType.Array)
        raise invalid(f"{DataType.Name(kind) if known else kind} data type not supported")
    if kind == 0:
        raise invalid("data type None is not valid")
    if kind == DataType.String:
        raise invalid("string data type not supported yet, please use VarChar type instead")
    if not version.knows_type(kind) and version.number >= (2, 4, 0):
        # 2.3 takes every number, and only rows of such a type fail (run: 2.3.5 takes a sparse vector).
        raise invalid(_unknown_type(kind, version))
    if kind == DataType.Array and field.element_type not in _ELEMENTS:
        raise invalid(f"element type {DataType.Name(field.element_type)} is not supported")
    _check_params(field, given, collection, version)
    if field.nullable:
        if field.is_primary_key:
            raise invalid("primary field not support null: invalid parameter")
        if field.data_type in VECTORS and not version.has("nullable_vectors"):
            raise invalid(f"vector type not support null, fieldName: {field.name}: invalid parameter")
    if field.HasField("default_value"):
        if field.data_type in VECTORS or kind in (DataType.Array, DataType.JSON):
            raise invalid(f"type not support default_value, type:{DataType.Name(kind)}, name:{field.name}")
        if field.is_primary_key:
            raise invalid("primary field not support default_value: invalid parameter")


def _unknown_type(kind: int, version: ServerVersion) -> str:
    expected = "Invalid field" if version.has("input_errors") else "valid field"
    return f"invalid parameter[expected={expected}][actual=field data type: {kind} is not supported]"


def _without_length(field: schema_pb2.FieldSchema, version: ServerVersion) -> str:
    if version.has("input_errors"):
        return f"the field({field.name})"
    return f"varChar field({field.name})" if version.has("fields_are_named") else "varChar field"


def _check_params(
    field: schema_pb2.FieldSchema, given: dict[str, str], collection: str, version: ServerVersion
) -> None:
    kind = int(field.data_type)
    element = int(field.element_type)
    named = version.has("fields_are_named")
    if DataType.VarChar in (kind, element if kind == DataType.Array else 0) and "max_length" not in given:
        raise invalid(
            f"type param(max_length) should be specified for {_without_length(field, version)} of collection {collection}"
        )
    if kind == DataType.Array and "max_capacity" not in given:
        which = f"array field {field.name}" if named else "array field"
        raise invalid(f"type param(max_capacity) should be specified for {which} of collection {collection}")
    dense = element if kind == DataType.ArrayOfVector else kind
    if dense in VECTORS and dense != DataType.SparseFloatVector:
        try:
            dim = int(given["dim"])
        except KeyError:
            which = f" of field {field.name}" if named else ""
            raise invalid(
                f"dimension is not defined in field type params{which}, check type param `dim` for vector field"
            ) from None
        except ValueError:
            raise invalid(f"invalid dimension: {given['dim']}") from None
        binary = dense == DataType.BinaryVector
        least = 2 if named and not binary else 1
        if not least <= dim <= MAX_DIMENSION * (8 if binary else 1):
            which = f" of field {field.name}. float vector dimension" if named else "."
            raise invalid(f"invalid dimension: {dim}{which} should be in range {least} ~ {MAX_DIMENSION}")
        if binary and dim % 8:
            which = f" of field {field.name}. binary vector dimension" if named else "."
            raise invalid(f"invalid dimension: {dim}{which} should be multiple of 8. ")


def _check_struct(struct: schema_pb2.StructArrayFieldSchema, version: ServerVersion) -> None:
    if not version.has("struct_arrays"):
        raise invalid("struct array field is not supported")
    check_name(struct.name, "field")
    if not struct.fields:
        raise invalid(f"struct array field {struct.name} has no sub-fields")
    for field in struct.fields:
        if field.data_type not in (DataType.Array, DataType.ArrayOfVector):
            raise invalid(
                f"Fields in StructArrayField can only be array or array of vector, but field {field.name} is not"
            )
        check_field(field, version, nested=True)


def _check_functions(schema: schema_pb2.CollectionSchema, version: ServerVersion) -> None:
    by_name = {field.name: field for field in schema.fields}
    for function in schema.functions:
        feature = _FUNCTION_SINCE.get(int(function.type))
        if feature is None or not version.has(feature):
            raise invalid(f"check function params with unknown function type: {function.name}")
        for name in (*function.input_field_names, *function.output_field_names):
            if name not in by_name:
                raise invalid(f"function {function.name}'s field {name} not found in collection schema")
        inputs = [by_name[name] for name in function.input_field_names]
        outputs = [by_name[name] for name in function.output_field_names]
        if function.type == BM25 and (
            len(inputs) != 1 or params(inputs[0].type_params).get("enable_analyzer", "").lower() != "true"
        ):
            raise invalid("BM25 function input field must set enable_analyzer to true")
        for field in outputs:
            field.is_function_output = True


# -- numbers -----------------------------------------------------------------------------------------------------------


def _number(schema: schema_pb2.CollectionSchema) -> None:
    """By position; the numbers that a client sends are not looked at."""
    following = iter(range(FIRST_FIELD_ID, FIRST_FIELD_ID + 10_000))
    for field in schema.fields:
        field.fieldID = next(following)
    for struct in schema.struct_array_fields:
        struct.fieldID = next(following)
        for field in struct.fields:
            field.fieldID = next(following)
    by_name = {field.name: field.fieldID for field in schema.fields}
    for at, function in enumerate(schema.functions):
        function.id = FIRST_FUNCTION_ID + at
        function.ClearField("input_field_ids")
        function.ClearField("output_field_ids")
        function.input_field_ids.extend(by_name[name] for name in function.input_field_names)
        function.output_field_ids.extend(by_name[name] for name in function.output_field_names)


def largest_id(schema: schema_pb2.CollectionSchema) -> int:
    ids = [field.fieldID for field in _all_fields(schema)]
    return int(max([*ids, *(struct.fieldID for struct in schema.struct_array_fields)]))


def shown_schema(schema: schema_pb2.CollectionSchema) -> schema_pb2.CollectionSchema:
    """What DescribeCollection shows: without ``$meta``."""
    shown = schema_pb2.CollectionSchema()
    shown.CopyFrom(schema)
    shown.ClearField("fields")
    shown.fields.extend(field for field in schema.fields if not field.is_dynamic)
    return shown


def check_added_field(field: schema_pb2.FieldSchema, known: set[str], version: ServerVersion) -> None:
    """``addCollectionFieldTask.PreExecute`` in ``internal/proxy/task.go``."""
    forget_field(field, version)
    if field.name in known:
        raise invalid(f"duplicate field name: {field.name}")
    if field.is_primary_key:
        raise invalid(f"not support to add pk field, field name = {field.name}: invalid parameter")
    if field.is_partition_key:
        raise invalid(
            f"not support to add partition key field, field name  = {field.name}: invalid parameter"
        )
    if field.autoID:
        raise invalid(f"only primary field can speficy AutoID with true, field name = {field.name}")
    if not field.nullable:
        raise invalid(
            f"added field must be nullable, please check it, field name = {field.name}: invalid parameter"
        )
    if field.data_type in VECTORS and not version.has("nullable_vectors"):
        raise Refused(
            f"not support to add vector field, field name = {field.name}: invalid parameter", code=1100
        )
    check_field(field, version)
