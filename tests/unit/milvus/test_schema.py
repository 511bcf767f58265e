from __future__ import annotations

import pytest

from mbk.milvus.features import Version, features_of
from mbk.milvus.limits import index_problems, schema_problems
from mbk.milvus.proto import common, schema
from mbk.milvus.schema import (
    index_name_to_send,
    index_params_to_send,
    is_external,
    merged,
    read_index,
    read_schema,
    write_schema,
)
from mbk.model.records import (
    CollectionSchema,
    FieldSchema,
    FunctionSchema,
    IndexInfo,
    KeyValue,
    StructArrayFieldSchema,
)

OLD, NEW = (2, 3, 5), (2, 6, 11)


def problems(record: CollectionSchema, version: Version) -> list[str]:
    return schema_problems(record, version, features_of(version, databases=True))


def pair(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=value)


def rich() -> CollectionSchema:
    return CollectionSchema(
        name="docs",
        description="every construct",
        fields=[
            FieldSchema(field_id=100, name="id", is_primary_key=True, data_type=5, auto_id=True),
            FieldSchema(
                field_id=101,
                name="text",
                data_type=21,
                nullable=True,
                default_value_base64="MgNuL2E=",
                type_params=[pair("max_length", "256"), pair("enable_analyzer", "true")],
            ),
            FieldSchema(field_id=102, name="sparse", data_type=104, is_function_output=True),
            FieldSchema(field_id=103, name="array", data_type=22, element_type=4, is_clustering_key=True),
            FieldSchema(field_id=104, name="tenant", data_type=5, is_partition_key=True),
        ],
        enable_dynamic_field=True,
        functions=[
            FunctionSchema(
                name="bm25",
                id=7,
                type=1,
                input_field_names=["text"],
                input_field_ids=[101],
                output_field_names=["sparse"],
                output_field_ids=[102],
                params=[pair("k", "v")],
            )
        ],
        struct_array_fields=[
            StructArrayFieldSchema(
                field_id=106,
                name="clips",
                description="structs",
                nullable=False,
                type_params=[pair("max_capacity", "8")],
                fields=[FieldSchema(field_id=107, name="clip", data_type=106, element_type=101)],
            )
        ],
    )


def test_a_schema_survives_the_way_to_the_server_and_back() -> None:
    sent = write_schema(rich(), [pair("mmap.enabled", "true")])
    received = read_schema(schema.CollectionSchema.FromString(sent.SerializeToString()))
    expected = rich()
    expected.properties = [pair("mmap.enabled", "true")]
    assert received == expected


def test_the_dynamic_field_itself_is_never_sent() -> None:
    record = rich()
    record.fields.append(FieldSchema(field_id=105, name="$meta", data_type=23, is_dynamic=True))
    assert write_schema(record) == write_schema(rich())
    assert problems(record, NEW) == []


def test_a_legacy_default_value_is_used_and_a_damaged_one_dropped() -> None:
    record = CollectionSchema(
        fields=[
            FieldSchema(name="good", data_type=5, default_value_proto="\x18\x07"),
            FieldSchema(name="bad", data_type=5, default_value_proto="\x18\ufffd\ufffd\ufffd"),
        ]
    )
    good, bad = write_schema(record).fields
    assert good.default_value.long_data == 7
    assert not bad.HasField("default_value")


def test_an_old_server_is_told_precisely_what_it_lacks() -> None:
    assert problems(rich(), NEW) == []
    assert problems(rich(), OLD) == [
        "text: null values",
        "sparse: the type SparseFloatVector",
        "array: a clustering key",
        "bm25: functions",
        "clips: arrays of structs",
    ]
    assert "text: a default value" in problems(rich(), (2, 2, 16))
    assert "array: the type Array" in problems(rich(), (2, 2, 16))


def test_fields_that_were_added_later_need_a_server_that_can_add_them() -> None:
    record = CollectionSchema(
        fields=[
            FieldSchema(field_id=100, name="id", data_type=5, is_primary_key=True),
            FieldSchema(field_id=102, name="late", data_type=5, nullable=True),
        ],
        enable_dynamic_field=True,
    )
    assert problems(record, NEW) == []
    assert problems(record, (2, 5, 20)) == ["late: the field id 102, which the source added later"]


@pytest.mark.parametrize(
    ("field", "version", "problem"),
    [
        (FieldSchema(name="f", data_type=105), (2, 5, 20), "f: the type Int8Vector"),
        (FieldSchema(name="f", data_type=25), (2, 6, 12), "f: the type Text"),
        (FieldSchema(name="f", data_type=24), (2, 6, 0), "f: the type Geometry"),
        (FieldSchema(name="f", data_type=24), (2, 5, 26), "f: the type Geometry"),
        (FieldSchema(name="f", data_type=999), (2, 6, 12), "f: the type 999"),
        (FieldSchema(name="f", data_type=101, nullable=True), (2, 6, 12), "f: null values"),
        (
            FieldSchema(name="f", data_type=22, element_type=26),
            (2, 6, 0),
            "f: elements of the type Timestamptz",
        ),
        (FieldSchema(name="f", data_type=22, element_nullable=True), (2, 6, 12), "f: null elements"),
    ],
)
def test_each_thing_is_refused_by_the_last_server_without_it_and_taken_by_3_0(
    field: FieldSchema, version: Version, problem: str
) -> None:
    record = CollectionSchema(fields=[field])
    assert problems(record, version) == [problem]
    assert problems(record, (3, 0, 1)) == []


@pytest.mark.parametrize(
    ("params", "version", "problem"),
    [
        ({"index_type": "BITMAP"}, (2, 4, 23), "indexes of the type BITMAP"),
        ({"index_type": "HNSW", "metric_type": "COSINE"}, (2, 2, 16), "the metric COSINE"),
        ({"index_type": "HNSW", "metric_type": "MAX_SIM_L2"}, (2, 6, 0), "the metric MAX_SIM_L2"),
        ({"index_type": "INVERTED", "json_path": "a['b']"}, (2, 4, 23), "indexes on paths in JSON"),
    ],
)
def test_an_index_that_a_server_cannot_have_is_named(
    params: dict[str, str], version: Version, problem: str
) -> None:
    index = IndexInfo(index_type=params["index_type"], params=params)
    assert index_problems(index, version) == [problem]
    assert index_problems(index, (3, 0, 1)) == []


def test_parts_of_structs_are_sent_plain_however_they_are_described() -> None:
    record = rich()
    record.struct_array_fields[0].fields[0].name = "clips[clip]"
    (struct,) = write_schema(record).struct_array_fields
    assert [field.name for field in struct.fields] == ["clip"]


def test_an_external_collection_is_known_by_its_source_or_by_its_fields() -> None:
    assert not is_external(schema.CollectionSchema(name="own", fields=[schema.FieldSchema(name="id")]))
    assert is_external(schema.CollectionSchema(external_source="s3://bucket/"))
    assert is_external(schema.CollectionSchema(fields=[schema.FieldSchema(external_field="column")]))


def test_the_later_properties_win() -> None:
    first = [pair("a", "1"), pair("b", "2")]
    assert merged(first, [pair("b", "3"), pair("c", "4")]) == [pair("a", "1"), pair("b", "3"), pair("c", "4")]


@pytest.mark.parametrize(
    ("name", "sent"),
    [("vec_idx", "vec_idx"), ("_a", "_a"), ("/a/b", ""), ("1a", ""), ("a-b", ""), ("中", ""), ("", "")],
)
def test_only_plain_index_names_are_sent(name: str, sent: str) -> None:
    assert index_name_to_send(name) == sent


def test_an_index_keeps_its_parameters() -> None:
    params = {"index_type": "HNSW", "metric_type": "COSINE", "params": '{"M": 16}'}
    described = schema_index(params)
    index = read_index(described)
    assert (index.index_type, index.params) == ("HNSW", params)
    assert {item.key: item.value for item in index_params_to_send(index.params)} == params
    (renamed,) = index_params_to_send({"index_type": "marisa-trie"})
    assert renamed.value == "Trie"


def schema_index(params: dict[str, str]) -> object:
    from mbk.milvus.proto import milvus

    pairs = [common.KeyValuePair(key=key, value=value) for key, value in params.items()]
    return milvus.IndexDescription(index_name="v", field_name="vector", params=pairs)
