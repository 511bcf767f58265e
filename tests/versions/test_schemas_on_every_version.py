"""What a server of each version is asked to hold: let pass and kept to the last id, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mbk.model.records import (
    CollectionSchema,
    FieldSchema,
    FunctionSchema,
    KeyValue,
    StructArrayFieldSchema,
    as_dict,
)
from tests.milvus_double.server import MilvusDouble
from tests.versions.played import (
    ARRAY,
    BINARY,
    BRAIN,
    BYTES,
    FLOATS,
    GEOMETRY,
    HALF,
    INT64,
    JSON,
    SPARSE,
    STRONG,
    TEXT,
    TIMESTAMPTZ,
    VARCHAR,
    VECTORS_IN_STRUCT,
    Played,
    base,
    connected,
    field,
    make,
    numbered,
)


def clips(first_id: int, **values: Any) -> StructArrayFieldSchema:
    """An array of structs with two parts, numbered from ``first_id`` on."""
    capacity = {"max_capacity": "8"}
    parts = [
        field("caption", ARRAY, params={**capacity, "max_length": "20"}, element_type=VARCHAR),
        field("clip", VECTORS_IN_STRUCT, params={**capacity, "dim": "4"}, element_type=FLOATS),
    ]
    for number, part in enumerate(parts, start=first_id + 1):
        part.field_id = number
    return StructArrayFieldSchema(field_id=first_id, name="clips", fields=parts, **values)


def constructs(name: str) -> dict[str, CollectionSchema]:
    """One schema a construct, so that what is refused is refused for that alone."""
    dim, text = {"dim": "8"}, {"max_length": "20"}
    words = field("words", VARCHAR, params={**text, "enable_analyzer": "true"})
    embed = FunctionSchema(
        name="embed",
        type=2,
        input_field_names=["words"],
        output_field_names=["made"],
        params=[KeyValue(key="provider", value="openai")],
    )
    bm25 = FunctionSchema(name="bm25", type=1, input_field_names=["words"], output_field_names=["made"])
    return {
        "array": numbered(name, *base(), field("f", ARRAY, params={"max_capacity": "3"}, element_type=INT64)),
        "json": numbered(name, *base(), field("f", JSON)),
        "geometry": numbered(name, *base(), field("f", GEOMETRY)),
        "text": numbered(name, *base(), field("f", TEXT)),
        "timestamptz": numbered(name, *base(), field("f", TIMESTAMPTZ)),
        "half": numbered(name, base()[0], field("f", HALF, params=dim)),
        "brain": numbered(name, base()[0], field("f", BRAIN, params=dim)),
        "sparse": numbered(name, base()[0], field("f", SPARSE)),
        "bytes": numbered(name, base()[0], field("f", BYTES, params=dim)),
        "two vectors": numbered(name, *base(), field("f", BINARY, params=dim)),
        "null": numbered(name, *base(), field("f", VARCHAR, params=text, nullable=True)),
        "default": numbered(name, *base(), field("f", INT64, default_value_base64="GAc=")),
        "null vector": numbered(name, *base(), field("f", HALF, params=dim, nullable=True)),
        "dynamic": numbered(name, *base(), enable_dynamic_field=True),
        "partition key": numbered(name, *base(), field("f", INT64, is_partition_key=True)),
        "clustering key": numbered(name, *base(), field("f", INT64, is_clustering_key=True)),
        "analyzer": numbered(name, *base(), words),
        "bm25": numbered(
            name, *base(), words, field("made", SPARSE, is_function_output=True), functions=[bm25]
        ),
        "embedding": numbered(
            name,
            *base(),
            words,
            field("made", FLOATS, params=dim, is_function_output=True),
            functions=[embed],
        ),
        "structs": numbered(name, *base(), struct_array_fields=[clips(102)]),
        "added later": CollectionSchema(
            name=name,
            fields=[*numbered(name, *base()).fields, field("f", INT64, field_id=103, nullable=True)],
            enable_dynamic_field=True,
        ),
    }


@pytest.mark.parametrize("construct", constructs(""))
def test_what_is_let_pass_comes_out_as_it_went_in_and_what_is_not_the_server_has_not(
    played: Played, construct: str, name: str
) -> None:
    schema = constructs(name)[construct]
    refusal = refused(played, schema)
    assert (not refusal) == known(played, construct), refusal
    if refusal:
        return
    # Where the check of functions cannot be switched off, somebody must answer it.
    with played.double.state.lock:
        played.double.state.providers_answer = not played.has("function_check_switch")
    partitions = 3 if construct == "partition key" else 0
    make(played, schema, partitions=partitions)
    described = played.client.inventory.describe("default", name)
    assert shape(described.schema) == shape(schema)
    assert len(described.partitions) == (partitions or 1)


def refused(played: Played, schema: CollectionSchema) -> str:
    return "; ".join(played.client.definitions.schema_problems(schema))


def known(played: Played, construct: str) -> bool:
    """By the double's table."""
    needed = {
        "two vectors": "several_vectors",
        "null": "nullable",
        "default": "default_values",
        "clustering key": "clustering_key",
        "dynamic": "dynamic_field",
        "partition key": "partition_key",
        "bm25": "functions",
        "embedding": "text_embedding",
        "structs": "struct_arrays",
        "added later": "add_field",
        "null vector": "nullable_vectors",
    }
    kinds = {
        "array": ARRAY,
        "json": JSON,
        "geometry": GEOMETRY,
        "text": TEXT,
        "timestamptz": TIMESTAMPTZ,
        "half": HALF,
        "brain": BRAIN,
        "sparse": SPARSE,
        "bytes": BYTES,
    }
    if construct in kinds:
        return played.double.version.knows_type(kinds[construct])
    # Analyzers are merely ignored before 2.5.
    return construct == "analyzer" or played.has(needed[construct])


def shape(schema: CollectionSchema) -> Any:
    """What must not change: names, ids, types, parameters, marks, defaults, functions by what they read and write."""

    def of_field(item: FieldSchema) -> Any:
        marks = (item.is_primary_key, item.is_partition_key, item.is_clustering_key, item.nullable)
        kind = (item.data_type, item.element_type, as_dict(item.type_params), item.default_value_base64)
        return item.field_id, item.name, kind, marks, item.is_function_output

    fields = [of_field(item) for item in schema.fields]
    structs = [
        (item.field_id, item.name, [of_field(part) for part in item.fields])
        for item in schema.struct_array_fields
    ]
    functions = [
        (item.name, item.type, item.input_field_names, item.output_field_names, as_dict(item.params))
        for item in schema.functions
    ]
    return fields, structs, functions, schema.enable_dynamic_field


def test_everything_at_once_keeps_its_ids(tmp_path: Path) -> None:
    """Function, structs, dynamic fields, fields added later: with nobody answering at the function's remote side."""
    name = "everything"
    fields = [
        *base(),
        field("words", VARCHAR, params={"max_length": "20", "enable_analyzer": "true"}),
        field("made", FLOATS, params={"dim": "8"}, is_function_output=True),
    ]
    schema = numbered(
        name,
        *fields,
        enable_dynamic_field=True,
        functions=constructs(name)["embedding"].functions,
        struct_array_fields=[clips(105)],
    )
    schema.fields += [
        field("late", INT64, field_id=108, nullable=True),
        field("later", VARCHAR, params={"max_length": "9"}, field_id=109, nullable=True),
    ]
    with MilvusDouble("v2.6.12", home=tmp_path) as double, connected(double) as client:
        client.definitions.create_collection("default", schema, shards=1, consistency_level=STRONG)
        described = client.inventory.describe("default", name)
    assert shape(described.schema) == shape(schema)
    assert "disable_func_runtime_check" not in as_dict(list(described.properties))


def test_properties_are_kept_and_the_servers_own_are_its_own(played: Played, name: str) -> None:
    pairs = [
        KeyValue(key="collection.ttl.seconds", value="86400"),
        KeyValue(key="max_field_id", value="500"),
    ]
    make(played, numbered(name, *base(), properties=pairs[1:]), properties=pairs[:1])
    found = as_dict(list(played.client.inventory.describe("default", name).properties))
    assert found["collection.ttl.seconds"] == "86400"
    assert found.get("max_field_id") != "500"
