"""Definitions out of a backup that no message of the protocol takes."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from mbk.milvus.proto import schema
from mbk.milvus.sendable import unsendable
from mbk.model.records import CollectionSchema, FieldSchema, FunctionSchema, IndexInfo, StructArrayFieldSchema

BEYOND = 2**31


def said(
    *fields: FieldSchema, numbers: tuple[int, int, int] = (1, 2, 0), replicas: int = 1, **more: Any
) -> list[str]:
    found = unsendable(
        CollectionSchema(name="docs", fields=list(fields), **more), numbers, replicas, [IndexInfo()]
    )
    return [problem.partition(":")[0] for problem in found]


def test_a_sound_definition_can_be_sent() -> None:
    default = base64.b64encode(schema.ValueField(long_data=7).SerializeToString()).decode()
    assert said(FieldSchema(field_id=100, name="id", data_type=5, default_value_base64=default)) == []


@pytest.mark.parametrize(
    ("numbers", "replicas", "problem"),
    [
        ((BEYOND, 2, 0), 1, "shards"),
        ((1, BEYOND, 0), 1, "consistency level"),
        ((1, 2, 2**63), 1, "partitions"),
        ((1, 2, 0), -BEYOND - 1, "replicas"),
    ],
)
def test_numbers_beyond_the_protocols_are_found(
    numbers: tuple[int, int, int], replicas: int, problem: str
) -> None:
    assert said(numbers=numbers, replicas=replicas) == [problem]


@pytest.mark.parametrize(
    "wrong",
    [
        {"default_value_base64": "!"},
        {"default_value_base64": base64.b64encode(b"\xff\xff").decode()},
        {"data_type": BEYOND},
        {"element_type": BEYOND},
        {"field_id": 2**63},
    ],
)
def test_what_is_wrong_in_a_field_is_found_with_its_name(wrong: dict[str, Any]) -> None:
    assert said(FieldSchema(name="price", **wrong)) == ["field price"]
    inside = StructArrayFieldSchema(name="parts", fields=[FieldSchema(name="price", **wrong)])
    assert said(struct_array_fields=[inside]) == ["field parts"]


def test_functions_are_looked_at_too() -> None:
    assert said(functions=[FunctionSchema(name="bm25", type=BEYOND)]) == ["functions"]
