"""Making collections with the ids of their source, whatever fails on the way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from mbk.errors import MilvusError, RateLimited, Unsupported
from mbk.milvus.proto import common, milvus, schema
from mbk.model.records import (
    CollectionSchema,
    FieldSchema,
    FunctionSchema,
    IndexInfo,
    KeyValue,
)
from mbk.ports.milvus.server import (
    Milvus,
)
from tests.raising import raised
from tests.unit.milvus.double import failed, serving

CHANNEL = "by-dev-rootcoord-dml_0"
SECRET = "$2a$10$hash"


class Collections:
    """A server's collections: ids by position, as milvus numbers them. ``fail`` breaks calls of that name, once each."""

    def __init__(self, *, fail: tuple[str, ...] = ()) -> None:
        self.made: Any = None
        self.calls: list[str] = []
        self.properties: dict[str, str] = {}
        self._fail = list(fail)
        self._next = 0

    def answers(self) -> dict[str, Callable[[Any, dict[str, str]], Any]]:
        names = ("CreateCollection", "AddCollectionField", "AlterCollection", "DescribeCollection")
        return {name: self._guarded(name) for name in names}

    def _guarded(self, name: str) -> Callable[[Any, dict[str, str]], Any]:
        def answer(request: Any, _: dict[str, str]) -> Any:
            self.calls.append(name)
            if name in self._fail:
                self._fail.remove(name)
                return failed("rate limit exceeded", code=8)
            return getattr(self, name)(request)

        return answer

    def CreateCollection(self, request: Any) -> Any:
        self.made = schema.CollectionSchema.FromString(request.schema)
        self.properties = {pair.key: pair.value for pair in request.properties}
        numbers = itertools.count(100)
        for field in self.made.fields:
            field.fieldID = next(numbers)
        if self.made.enable_dynamic_field:
            next(numbers)
        for struct in self.made.struct_array_fields:
            struct.fieldID = next(numbers)
            for part in struct.fields:
                part.fieldID = next(numbers)
        self._next = next(numbers)
        return common.Status()

    def AddCollectionField(self, request: Any) -> Any:
        field = schema.FieldSchema.FromString(request.schema)
        field.fieldID = self._next
        self._next += 1
        self.made.fields.append(field)
        return common.Status()

    def AlterCollection(self, request: Any) -> Any:
        assert not (request.properties and request.delete_keys)
        self.properties |= {pair.key: pair.value for pair in request.properties}
        for key in request.delete_keys:
            self.properties.pop(key, None)
        return common.Status()

    def DescribeCollection(self, _: Any) -> Any:
        return milvus.DescribeCollectionResponse(schema=self.made)


def grown(*, function: bool = False) -> CollectionSchema:
    """A schema whose last two fields came after ``$meta``."""
    numbers = {"id": 100, "text": 101, "vector": 102, "late": 104, "later": 105}
    fields = [FieldSchema(field_id=number, name=name, data_type=5) for name, number in numbers.items()]
    fields[0].is_primary_key = True
    return CollectionSchema(
        name="docs",
        fields=fields,
        enable_dynamic_field=True,
        properties=[KeyValue(key="max_field_id", value="105"), KeyValue(key="mmap.enabled", value="true")],
        functions=[FunctionSchema(name="embed", type=2, input_field_names=["text"])] if function else [],
    )


def create(client: Milvus, record: CollectionSchema) -> None:
    client.definitions.create_collection("default", record, shards=1, consistency_level=0)


def test_fields_that_came_later_come_later_again_and_the_servers_own_properties_stay_its_own() -> None:
    server = Collections()
    with serving("v2.6.0", **server.answers()) as client:
        create(client, grown())
    assert {field.name: field.fieldID for field in server.made.fields} == {
        "id": 100,
        "text": 101,
        "vector": 102,
        "late": 104,
        "later": 105,
    }
    assert server.properties == {"mmap.enabled": "true"}


def test_a_creation_that_was_limited_half_way_goes_on_there() -> None:
    server = Collections(fail=("AddCollectionField",))
    with serving("v2.6.8", **server.answers()) as client:
        with pytest.raises(RateLimited):
            create(client, grown(function=True))
        # Whatever happens, functions are checked again.
        assert "disable_func_runtime_check" not in server.properties
        create(client, grown(function=True))
    assert server.calls.count("CreateCollection") == 1
    assert [field.name for field in server.made.fields] == ["id", "text", "vector", "late", "later"]
    assert "disable_func_runtime_check" not in server.properties


def test_functions_are_unchecked_only_while_they_are_made_and_only_where_that_can_be_switched() -> None:
    seen: list[dict[str, str]] = []

    class Watched(Collections):
        def CreateCollection(self, request: Any) -> Any:
            seen.append({pair.key: pair.value for pair in request.properties})
            return super().CreateCollection(request)

    for version in ("v2.6.7", "v2.6.8"):
        server = Watched()
        with serving(version, **server.answers()) as client:
            create(client, grown(function=True))
    assert "disable_func_runtime_check" not in seen[0]
    assert seen[1]["disable_func_runtime_check"] == "true"
    assert "disable_func_runtime_check" not in server.properties


def test_a_source_that_leaves_its_functions_unchecked_keeps_it_so() -> None:
    record = grown(function=True)
    record.properties.append(KeyValue(key="disable_func_runtime_check", value="true"))
    server = Collections()
    with serving("v2.6.8", **server.answers()) as client:
        create(client, record)
    assert server.properties["disable_func_runtime_check"] == "true"
    assert "AlterCollection" not in server.calls


def test_a_server_that_numbers_otherwise_is_found_out_before_rows_come() -> None:
    class Shifted(Collections):
        def AddCollectionField(self, request: Any) -> Any:
            self._next += 1
            return super().AddCollectionField(request)

    with (
        serving("v2.6.0", **Shifted().answers()) as client,
        raised(MilvusError, "field-ids-differ") as caught,
    ):
        create(client, grown())
    assert "late is 105" in str(caught.value.facts["fields"])


def test_an_index_that_the_server_cannot_have_is_refused_before_it_is_asked() -> None:
    index = IndexInfo(field_name="f", index_type="BITMAP", params={"index_type": "BITMAP"})
    with (
        serving("v2.4.23") as client,
        raised(Unsupported, "milvus-feature-missing", feature="indexes of the type BITMAP"),
    ):
        client.definitions.create_index("default", "docs", index)


def test_properties_and_keys_to_delete_are_two_calls() -> None:
    server = Collections()
    server.properties = {"old": "1"}
    with serving("v3.0.1", **server.answers()) as client:
        pairs = [KeyValue(key="new", value="2")]
        client.definitions.alter_collection("default", "docs", properties=pairs, delete_keys=["old"])
    assert server.properties == {"new": "2"}
