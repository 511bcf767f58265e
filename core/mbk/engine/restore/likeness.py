"""Whether rows of a backup can go into a collection that exists: its schema compared with the backup's, field by field.

Imports match columns by field id and know no names: two fields of one type in another order would be exchanged without a
word. So everything that decides what a column means has to be equal. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from mbk.model.records import (
    CollectionSchema,
    FieldSchema,
    FunctionSchema,
    KeyValue,
    StructArrayFieldSchema,
    as_dict,
)
from mbk.ports.milvus.values import CollectionInfo

#: docs/reference/backup-format.md#schema
_TYPES = {
    1: "Bool", 2: "Int8", 3: "Int16", 4: "Int32", 5: "Int64", 10: "Float", 11: "Double", 20: "String", 21: "VarChar",
    22: "Array", 23: "JSON", 24: "Geometry", 25: "Text", 26: "Timestamptz", 100: "BinaryVector", 101: "FloatVector",
    102: "Float16Vector", 103: "BFloat16Vector", 104: "SparseFloatVector", 105: "Int8Vector", 106: "ArrayOfVector",
}  # fmt: skip
ARRAY = 22
#: A column that allows more takes every value of one that allows less.
_LIMITS = ("max_length", "max_capacity")
_DIMENSION = "dim"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=_Named)


def differences(
    wanted: CollectionSchema, partitions: Iterable[str], present: CollectionInfo, *, fills: bool
) -> list[str]:
    """What of the target ``present`` is not as in the backup, ``field: what`` each; empty if rows can be imported.

    ``partitions``: those of the backup. ``fills``: imports fill columns that the backup lacks.
    """
    found = [*_of_schemas(wanted, present.schema, fills=fills)]
    if any(field.is_partition_key for field in wanted.fields):
        # Rows lie in the partition that the hash of their key names, and that depends on the number of partitions.
        counts = len({*partitions}), len(present.partitions)
        found += _differ("partitions of the partition key", *counts)
    return found


def _of_schemas(wanted: CollectionSchema, present: CollectionSchema, *, fills: bool) -> Iterator[str]:
    for name, field, found in _pairs(_user_fields(wanted), _user_fields(present)):
        if field is None:
            if not (fills and found and (found.nullable or found.default_value_base64)):
                yield f"{name}: not in the backup"
        elif found is None:
            yield f"{name}: not in the collection"
        else:
            yield from _of_fields(name, field, found)
    for name, struct, there in _pairs(wanted.struct_array_fields, present.struct_array_fields):
        if struct is None or there is None:
            yield f"{name}: not in the {'backup' if struct is None else 'collection'}"
        else:
            yield from _of_structs(name, struct, there)
    for name, function, made in _pairs(wanted.functions, present.functions):
        if function is None or made is None:
            yield f"{name}: not in the {'backup' if function is None else 'collection'}"
        else:
            yield from _of_functions(name, function, made)
    yield from _differ("dynamic fields", wanted.enable_dynamic_field, present.enable_dynamic_field)
    yield from _differ("namespace", wanted.enable_namespace, present.enable_namespace)
    yield from _differ("autoID", _auto_id(wanted), _auto_id(present))


def _of_fields(name: str, field: FieldSchema, found: FieldSchema) -> Iterator[str]:
    yield from _differ_by_id(name, field.field_id, found.field_id)
    # A tool that did not know arrays recorded no type of their elements.
    if field.element_type or not field.data_type == found.data_type == ARRAY:
        yield from _differ(f"{name}: type", _type(field), _type(found))
    yield from _differ(f"{name}: primary key", field.is_primary_key, found.is_primary_key)
    yield from _differ(f"{name}: partition key", field.is_partition_key, found.is_partition_key)
    yield from _differ(f"{name}: clustering key", field.is_clustering_key, found.is_clustering_key)
    yield from _differ(f"{name}: nullable", field.nullable, found.nullable)
    yield from _differ(f"{name}: nullable elements", field.element_nullable, found.element_nullable)
    yield from _differ(f"{name}: output of a function", field.is_function_output, found.is_function_output)
    yield from _of_params(name, field.type_params, found.type_params)


def _of_structs(name: str, struct: StructArrayFieldSchema, found: StructArrayFieldSchema) -> Iterator[str]:
    yield from _differ_by_id(name, struct.field_id, found.field_id)
    yield from _differ(f"{name}: nullable", struct.nullable, found.nullable)
    yield from _of_params(name, struct.type_params, found.type_params)
    for part, field, there in _pairs(struct.fields, found.fields):
        if field is None or there is None:
            yield f"{name}.{part}: not in the {'backup' if field is None else 'collection'}"
        else:
            yield from _of_fields(f"{name}.{part}", field, there)


def _of_functions(name: str, function: FunctionSchema, found: FunctionSchema) -> Iterator[str]:
    yield from _differ(f"{name}: kind of function", function.type, found.type)
    yield from _differ(f"{name}: inputs", _list(function.input_field_names), _list(found.input_field_names))
    yield from _differ(
        f"{name}: outputs", _list(function.output_field_names), _list(found.output_field_names)
    )


def _of_params(name: str, wanted: list[KeyValue], present: list[KeyValue]) -> Iterator[str]:
    ours, theirs = as_dict(wanted), as_dict(present)
    yield from _differ(f"{name}: {_DIMENSION}", ours.get(_DIMENSION, ""), theirs.get(_DIMENSION, ""))
    for key in _LIMITS:
        least, most = ours.get(key, ""), theirs.get(key, "")
        if not (least.isdecimal() and most.isdecimal() and int(least) <= int(most)):
            yield from _differ(f"{name}: {key}", least, most)


def _differ_by_id(name: str, wanted: int, present: int) -> Iterator[str]:
    """Very old backups record no ids: then there is nothing to compare."""
    if wanted:
        yield from _differ(f"{name}: field id", wanted, present)


def _differ(what: str, wanted: object, present: object) -> Iterator[str]:
    if wanted != present:
        yield f"{what}: {_said(present)} instead of {_said(wanted)}"


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) or "none"


def _pairs(wanted: Iterable[N], present: Iterable[N]) -> Iterator[tuple[str, N | None, N | None]]:
    ours, theirs = {item.name: item for item in wanted}, {item.name: item for item in present}
    for name in dict.fromkeys((*ours, *theirs)):
        yield name, ours.get(name), theirs.get(name)


def _user_fields(schema: CollectionSchema) -> list[FieldSchema]:
    """Without those that servers add: none describes them."""
    return [field for field in schema.fields if not (field.is_dynamic or field.name.startswith("$"))]


def _type(field: FieldSchema) -> str:
    name = _TYPES.get(field.data_type, str(field.data_type))
    return f"{name} of {_TYPES.get(field.element_type, field.element_type)}" if field.element_type else name


def _auto_id(schema: CollectionSchema) -> bool:
    return schema.auto_id or any(field.auto_id for field in schema.fields)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
