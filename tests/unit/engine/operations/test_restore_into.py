"""Restoring into what exists: aliases, schemas that differ, and rows that are there already."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mbk.engine.restore.likeness import ARRAY
from mbk.errors import AlreadyExists, CollectionExists, InvalidBackup, UsageError
from mbk.model.records import FieldSchema, KeyValue
from mbk.model.selection import Renaming, Selection
from tests.fakes.world import Killed, Life, World
from tests.raising import raised

DOCS: dict[str, Any] = {"skip_create": True, "selection": Selection.parse("docs")}


def ready() -> World:
    world = World(same=True, workers=1)
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(4))
    world.milvus.insert("docs", range(4, 6), partition="cold")
    world.milvus.add("logs", database="other")
    world.milvus.insert("logs", range(3), database="other")
    world.create()
    return world


def emptied() -> World:
    world = ready()
    world.milvus.drop_collection("default", "docs")
    world.milvus.add("docs", partitions=("_default", "cold"))
    return world


def keys(world: World, name: str = "docs") -> list[int]:
    return [key for key, _ in world.milvus.visible_rows(name)]


# -- aliases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["skip_create", "drop_existing", "meta_only"])
def test_a_target_that_is_an_alias_is_refused_with_the_collection_behind_it(option: str) -> None:
    world = ready()
    world.milvus.add("docs_v2").aliases.append("docs_back")
    with raised(AlreadyExists, "target-is-alias", aliases="default.docs_back is an alias of default.docs_v2"):
        world.restore(suffix="_back", selection=Selection.parse("docs_back"), **{option: True})
    assert keys(world, "docs_v2") == []


def test_an_alias_is_followed_when_asked_for() -> None:
    world = emptied()
    world.milvus._collections["default", "docs"].aliases.append("docs_back")
    world.milvus.insert("docs", [50])
    chosen: dict[str, Any] = {
        "suffix": "_back", "selection": Selection.parse("docs_back"), "follow_alias": True,
    }  # fmt: skip
    with raised(CollectionExists, "target-exists", collections="default.docs"):
        world.restore(**chosen)
    report = world.restore(skip_create=True, **chosen)
    assert [item.target for item in report.collections] == ["default.docs"]
    assert keys(world) == [0, 1, 2, 3, 4, 5, 50]
    world.restore(drop_existing=True, **chosen)
    assert keys(world) == [0, 1, 2, 3, 4, 5]
    assert world.milvus.describe("default", "docs_back").name == "docs"


def test_two_targets_that_are_one_collection_are_refused() -> None:
    world = ready()
    world.milvus._collections["default", "docs"].aliases.append("logs")
    with raised(UsageError, "targets-collide", collection="default.docs"):
        world.restore(
            skip_create=True, follow_alias=True, renaming=Renaming.parse("other.*:default.*"),
        )  # fmt: skip


# -- schemas -----------------------------------------------------------------------------------------------------------


def test_fields_of_one_type_in_another_order_are_never_exchanged() -> None:
    world = ready()
    world.milvus.drop_collection("default", "docs")
    made = world.milvus.add("docs", partitions=("_default", "cold"))
    text, key = made.schema.fields[1], made.schema.fields[0]
    made.schema.fields = [
        msgspec.structs.replace(text, field_id=key.field_id),
        msgspec.structs.replace(key, field_id=text.field_id),
    ]
    with raised(UsageError, "target-schema-differs") as caught:
        world.restore(**DOCS)
    assert str(caught.value.facts["differences"]) == (
        "default.docs (id: field id: 101 instead of 100; text: field id: 100 instead of 101)"
    )
    assert not world.milvus.import_requests
    assert not world.staged


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data_type": 23}, "text: type: JSON instead of VarChar"),
        ({"type_params": [KeyValue(key="max_length", value="8")]}, "text: max_length: 8 instead of 9"),
        ({"nullable": True}, "text: nullable: yes instead of no"),
        ({"is_partition_key": True}, "text: partition key: yes instead of no"),
        ({"is_clustering_key": True}, "text: clustering key: yes instead of no"),
        ({"name": "title"}, "text: not in the collection; title: not in the backup"),
    ],
)
def test_whatever_a_column_means_is_compared(change: dict[str, Any], said: str) -> None:
    world = emptied()
    fields = world.milvus._collections["default", "docs"].schema.fields
    fields[1] = msgspec.structs.replace(fields[1], **change)
    with raised(UsageError, "target-schema-differs", differences=f"default.docs ({said})"):
        world.restore(**DOCS)


def test_a_column_that_takes_longer_values_takes_these() -> None:
    world = emptied()
    fields = world.milvus._collections["default", "docs"].schema.fields
    fields[1] = msgspec.structs.replace(fields[1], type_params=[KeyValue(key="max_length", value="99")])
    world.restore(**DOCS)
    assert keys(world) == [0, 1, 2, 3, 4, 5]


def test_all_differences_of_all_targets_are_told_at_once() -> None:
    world = emptied()
    world.milvus._collections["default", "docs"].schema.fields.append(
        FieldSchema(field_id=102, name="price", data_type=5)
    )
    world.milvus._collections["other", "logs"].schema.enable_dynamic_field = True
    with raised(UsageError, "target-schema-differs") as caught:
        world.restore(skip_create=True)
    assert caught.value.facts["differences"] == (
        "default.docs (price: not in the backup), other.logs (dynamic fields: yes instead of no)"
    )


def test_arrays_of_a_tool_that_did_not_know_them_go_where_their_type_is_known() -> None:
    """Release 0.3.3 recorded no type of their elements, and no column tells it."""
    world = World(same=True, workers=1)
    made = world.milvus.add("docs")
    fields = made.schema.fields
    fields[1] = msgspec.structs.replace(fields[1], name="tags", data_type=ARRAY, element_type=0)
    world.milvus.insert("docs", range(4))
    world.create()
    with raised(InvalidBackup, "element-types-missing", fields="default.docs.tags"):
        world.restore(renaming=Renaming.of({}, suffix="_back"))
    assert not world.milvus.import_requests
    world.milvus.drop_collection("default", "docs")
    fields = world.milvus.add("docs").schema.fields
    fields[1] = msgspec.structs.replace(fields[1], name="tags", data_type=ARRAY, element_type=5)
    world.restore(**DOCS)
    assert keys(world) == [0, 1, 2, 3]


# -- twice -------------------------------------------------------------------------------------------------------------


def test_the_same_backup_is_not_added_twice_unless_asked_for() -> None:
    world = emptied()
    world.restore(**DOCS)
    with raised(AlreadyExists, "already-added", collection="default.docs"):
        world.restore(**DOCS)
    assert keys(world) == [0, 1, 2, 3, 4, 5]
    world.restore(append=True, **DOCS)
    assert keys(world) == sorted([0, 1, 2, 3, 4, 5] * 2)


def test_partitions_are_added_one_after_the_other() -> None:
    world = emptied()
    world.restore(skip_create=True, selection=Selection.parse("docs/cold"))
    world.restore(skip_create=True, selection=Selection.parse("docs/_default"))
    assert keys(world) == [0, 1, 2, 3, 4, 5]
    with raised(AlreadyExists, "already-added"):
        world.restore(skip_create=True, selection=Selection.parse("docs/cold"))


def test_a_collection_that_was_made_anew_takes_the_backup_again() -> None:
    world = emptied()
    world.restore(**DOCS)
    world.milvus.drop_collection("default", "docs")
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.restore(**DOCS)
    assert keys(world) == [0, 1, 2, 3, 4, 5]


def test_rows_that_are_there_already_are_told() -> None:
    world = emptied()
    world.restore(**DOCS)
    assert "rows-present" not in world.notices
    world = emptied()
    world.milvus.insert("docs", [50])
    world.restore(**DOCS)
    assert "rows-present" in world.notices


# -- the last calls ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"suffix": "_back"}, {"skip_create": True}], ids=["created", "added"])
def test_a_restore_killed_in_its_last_calls_ends_well_when_repeated(options: dict[str, Any]) -> None:
    begin = emptied()
    if "skip_create" in options:
        begin.milvus.drop_collection("other", "logs")
        begin.milvus.add("logs", database="other")
    world, whole = begin.copy(), Life()
    world.live(whole)
    world.restore(**options)
    suffix = options.get("suffix", "")
    removed = 0
    for instant in range(whole.operations - 25, whole.operations):
        world = begin.copy()
        world.live(Life(ends_at=instant))
        with pytest.raises(Killed):
            world.restore(**options)
        world.live(Life())
        journals = [key for key in world.staged if key.endswith("mbk.json") and "ended" not in key]
        removed += len(journals) < 2
        if not world.staged:
            continue  # everything was done
        world.restore(**options)
        assert keys(world, f"docs{suffix}") == [0, 1, 2, 3, 4, 5], f"killed at {instant}"
        assert not world.staged
    assert removed > 2


# -- damaged definitions -----------------------------------------------------------------------------------------------


def test_a_definition_that_cannot_be_sent_is_found_before_a_database_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = ready()
    monkeypatch.setattr(
        world.milvus.definitions,
        "unsendable",
        lambda made, **_: ["shards: too many"] * (made.name == "logs"),
        raising=False,
    )
    with raised(InvalidBackup, "definitions-damaged", problems="other.logs: shards: too many"):
        world.restore(renaming=Renaming.parse("other.*:elsewhere.*,default.*:elsewhere2.*"))
    assert {item.db_name for item in world.milvus.databases()} == {"default", "other"}
