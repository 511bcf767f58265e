"""Field ids: by position at creation, one by one after it, and what no order of changes brings about."""

from __future__ import annotations

import pytest

from mbk.milvus.numbering import creation_plan
from mbk.model.records import CollectionSchema, FieldSchema, KeyValue, StructArrayFieldSchema


def schema(
    *numbers: int,
    structs: dict[int, int] | None = None,
    dynamic: bool = False,
    highest: int = 0,
    meta: int = 0,
) -> CollectionSchema:
    """Fields of ``numbers``; ``structs``: id -> how many parts follow it; ``meta``: the id of ``$meta``, where described."""
    fields = [FieldSchema(field_id=number, name=f"f{number}", data_type=5) for number in numbers]
    if meta:
        fields.append(FieldSchema(field_id=meta, name="$meta", data_type=23, is_dynamic=True))
    arrays = [
        StructArrayFieldSchema(
            field_id=number,
            name=f"s{number}",
            fields=[FieldSchema(field_id=number + 1 + at, name=f"p{at}") for at in range(parts)],
        )
        for number, parts in (structs or {}).items()
    ]
    properties = [KeyValue(key="max_field_id", value=str(highest))] if highest else []
    return CollectionSchema(
        fields=fields, struct_array_fields=arrays, enable_dynamic_field=dynamic, properties=properties
    )


def ids_given(record: CollectionSchema) -> dict[str, int]:
    """The ids that a server gives when it is led by the plan: the rule of milvus' rootcoord, played."""
    plan = creation_plan(record)
    assert not plan.problems
    given: dict[str, int] = {}

    def give(name: str) -> None:
        given[name] = max(given.values(), default=99) + 1

    def give_struct(struct: StructArrayFieldSchema) -> None:
        give(struct.name)
        for part in struct.fields:
            give(f"{struct.name}.{part.name}")

    for field in plan.fields:
        give(field.name)
    if plan.dynamic:
        give("$meta")
    for struct in plan.structs:
        give_struct(struct)
    for step in plan.later:
        if isinstance(step.item, StructArrayFieldSchema):
            give_struct(step.item)
        else:
            give(step.item.name if step.item else "$meta")
    return given


@pytest.mark.parametrize(
    ("record", "meta"),
    [
        (schema(100, 101, 102), None),
        (schema(100, 101, dynamic=True), 102),
        (schema(100, 101, 103, 104, dynamic=True), 102),
        (schema(100, 101, 103, dynamic=True, meta=102), 102),
        (schema(100, 101, structs={102: 2, 105: 1}), None),
        (schema(100, 101, 106, structs={103: 2}, dynamic=True), 102),
        (schema(100, 101, 105, structs={102: 2, 106: 1}), None),
        # Dynamic fields were switched on later: behind the structs.
        (schema(100, 101, structs={102: 2}, dynamic=True), 105),
        (schema(100, 101, 106, structs={102: 2}, dynamic=True), 105),
        (schema(100, 101, 103, dynamic=True, highest=103), 102),
    ],
)
def test_a_server_led_by_the_plan_gives_the_ids_of_the_source(
    record: CollectionSchema, meta: int | None
) -> None:
    given = ids_given(record)
    assert given.get("$meta") == meta
    for field in record.fields:
        assert given[field.name] == field.field_id
    for struct in record.struct_array_fields:
        assert given[struct.name] == struct.field_id
        assert [given[f"{struct.name}.{part.name}"] for part in struct.fields] == [
            part.field_id for part in struct.fields
        ]


def test_fields_that_were_added_later_are_added_in_the_order_of_their_ids() -> None:
    record = schema(104, 100, 103, 101, dynamic=True)
    plan = creation_plan(record)
    assert [field.name for field in plan.fields] == ["f100", "f101"]
    assert [step.item.name for step in plan.later if step.item] == ["f103", "f104"]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (
            schema(100, 102, 103),
            "f102: the field id 102 (it would become 101; the source dropped fields before it)",
        ),
        (schema(100, 101, 105, dynamic=True), "f105: the field id 105 (it would become 103;"),
        # 101 was dropped, and $meta is 103: taken for 101 it would be imported without a word as nothing.
        (
            schema(100, 102, dynamic=True, highest=103),
            "$meta: its field id (the source has assigned ids up to 103",
        ),
        (schema(100, 101, dynamic=True, meta=104), "$meta: the field id 104"),
    ],
)
def test_ids_that_dropped_fields_left_behind_are_explained(record: CollectionSchema, problem: str) -> None:
    (found,) = creation_plan(record).problems
    assert found.startswith(problem)


def test_ids_that_nobody_knows_need_not_be_met() -> None:
    record = schema(0, 0, dynamic=True)
    plan = creation_plan(record)
    assert (len(plan.fields), plan.later, plan.problems, plan.dynamic) == (2, (), (), True)
