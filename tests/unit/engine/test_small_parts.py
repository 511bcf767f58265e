"""Parts, positions, target schemas: pure functions."""

from __future__ import annotations

import base64
import contextlib
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbk.engine.repository.timeline import timestamp
from mbk.engine.restore.plan import RestoreTask
from mbk.engine.restore.schema import target_indexes, target_properties, target_schema
from mbk.engine.transfer.ways.cutting import cut
from mbk.errors import InvalidBackup
from mbk.model.options import RestoreOptions
from mbk.model.records import Collection, CollectionSchema, FieldSchema, IndexInfo, KeyValue, as_dict
from mbk.model.selection import CollectionName
from mbk.ports.storage import Capabilities
from tests.fakes.rows import position
from tests.fixtures.backups import worked_example as example
from tests.raising import raised


@st.composite
def limits(draw: st.DrawFn) -> Capabilities:
    smallest = draw(st.integers(100, 1000))
    return Capabilities(
        min_part_size=smallest,
        max_part_size=draw(st.integers(smallest, 100_000)),
        max_parts=draw(st.integers(1, 200)),
    )


@settings(deadline=None)
@given(size=st.integers(0, 200_000), capabilities=limits(), preferred=st.integers(1, 5000))
def test_parts_cover_an_object_exactly_and_keep_to_the_limits(
    size: int, capabilities: Capabilities, preferred: int
) -> None:
    parts = list(cut(size, capabilities, preferred=preferred))
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    ends = list(accumulate(part.length for part in parts))
    assert [part.offset for part in parts] == [0, *ends][: len(parts)]
    assert (ends or [0])[-1] == size
    assert all(0 < part.length <= capabilities.max_part_size for part in parts)
    assert all(part.length >= capabilities.min_part_size for part in parts[:-1])
    assert len({part.length for part in parts[:-1]}) <= 1, "some vendors want parts of one size"
    if size <= capabilities.max_parts * capabilities.max_part_size:
        assert len(parts) <= capabilities.max_parts


def test_the_checkpoint_of_the_worked_example_is_its_backup_timestamp() -> None:
    assert timestamp(example.CHECKPOINT) == example.FLUSHED_AT


@settings(deadline=None)
@given(channel=st.text(max_size=40), value=st.integers(1, 2**64 - 1))
def test_any_timestamp_is_read_exactly(channel: str, value: int) -> None:
    assert timestamp(base64.b64encode(position(channel, value)).decode()) == value


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_bytes_that_are_no_position_never_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(InvalidBackup):
        assert timestamp(base64.b64encode(data).decode()) >= 0


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "checkpoint-without-timestamp"),
        ("!", "checkpoint-damaged"),
        ("AAA", "checkpoint-damaged"),
        ("CgNhYmM=", "checkpoint-without-timestamp"),
    ],
)
def test_what_is_no_position_is_an_invalid_backup(text: str, code: str) -> None:
    with raised(InvalidBackup, code):
        timestamp(text)


def task() -> RestoreTask:
    schema = CollectionSchema(
        name="docs",
        fields=[
            FieldSchema(
                field_id=100,
                name="vec",
                data_type=101,
                type_params=[KeyValue(key="dim", value="8"), KeyValue(key="mmap.enabled", value="true")],
                index_params=[KeyValue(key="nlist", value="1")],
            ),
            FieldSchema(field_id=101, name="text", data_type=21),
        ],
        properties=[KeyValue(key="a", value="schema"), KeyValue(key="b", value="schema")],
    )
    record = Collection(
        schema=schema,
        properties=[KeyValue(key="b", value="collection"), KeyValue(key="max_field_id", value="101")],
        index_infos=[
            IndexInfo(
                field_name="vec", index_name="v", params={"index_type": "HNSW", "M": "8", "metric_type": "IP"}
            ),
            IndexInfo(
                field_name="text", index_name="t", params={"index_type": "Trie", "mmap.enabled": "true"}
            ),
        ],
    )
    return RestoreTask(record, CollectionName("default", "docs"), CollectionName("other", "texts"))


def test_properties_of_both_places_are_joined_without_those_that_the_server_keeps() -> None:
    assert as_dict(target_properties(task(), RestoreOptions())) == {"a": "schema", "b": "collection"}
    options = RestoreOptions(skip_params={"collectionProperties": frozenset({"b"})})
    assert as_dict(target_properties(task(), options)) == {"a": "schema"}


def test_the_target_schema_has_the_new_name_and_the_backup_keeps_its_own() -> None:
    given_task = task()
    options = RestoreOptions(
        skip_params={"fieldTypeParams": frozenset({"mmap.enabled"}), "fieldIndexParams": frozenset({"nlist"})}
    )
    schema = target_schema(given_task, options)
    assert schema.name == "texts"
    assert [field.field_id for field in schema.fields] == [100, 101]
    assert as_dict(schema.fields[0].type_params) == {"dim": "8"}
    assert schema.fields[0].index_params == []
    assert given_task.record.schema is not None
    assert given_task.record.schema.name == "docs"
    assert len(given_task.record.schema.fields[0].type_params) == 2


def test_indexes_are_made_as_they_were_or_automatic_for_vectors() -> None:
    plain = target_indexes(task(), RestoreOptions())
    assert [index.params["index_type"] for index in plain] == ["HNSW", "Trie"]
    automatic = target_indexes(task(), RestoreOptions(auto_index=True))
    assert automatic[0].params == {"index_type": "AUTOINDEX", "metric_type": "IP"}
    assert automatic[0].index_type == "AUTOINDEX"
    assert automatic[1].params["index_type"] == "Trie"
    skipped = target_indexes(task(), RestoreOptions(skip_params={"indexParams": frozenset({"mmap.enabled"})}))
    assert skipped[1].params == {"index_type": "Trie"}
