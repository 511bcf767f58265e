"""What is chosen, in both directions: filters, excludes, partitions, and the mapping of a restore plan."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.engine.backup.inventory import require_present, take_inventory, with_partitions
from mbk.engine.restore.plan import RestoreTask, make_plan
from mbk.errors import CollectionNotFound, InvalidName, MbkError, NotFound, UsageError
from mbk.model.events import Notice
from mbk.model.mapping import parse_mapping
from mbk.model.options import RestoreOptions
from mbk.model.records import Backup, Collection, CollectionSchema, Database, FieldSchema, KeyValue, Partition
from mbk.model.selection import Renaming, Selection
from tests.fakes.milvus import V2_3, V2_6
from tests.fakes.world import World
from tests.raising import raised

# -- backing up --------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> World:
    world = World()
    for name in ("docs", "docs_old", "tmp_1", "tmp_2"):
        world.milvus.add(name, partitions=("_default", "y2024", "y2025"))
    world.milvus.add("docs", database="db")
    world.milvus.add("logs", database="db")
    return world


@pytest.mark.parametrize(
    ("text", "exclude", "names", "databases"),
    [
        ("", "", "db.docs db.logs default.docs default.docs_old default.tmp_1 default.tmp_2", "db default"),
        ("docs*", "", "default.docs default.docs_old", "default"),
        ("*.docs", "", "db.docs default.docs", "db default"),
        ("", "tmp_?,db.*", "default.docs default.docs_old", "default"),
        ("d[b].*", "", "db.docs db.logs", "db"),
        ("db.", "", "", "db"),
        ("tmp_1/y*", "", "default.tmp_1", "default"),
    ],
)
def test_an_inventory_has_what_is_chosen(
    text: str, exclude: str, names: str, databases: str, server: World
) -> None:
    found = take_inventory(server.milvus, Selection.parse(text, exclude=exclude), server.run())
    assert [str(name) for name in found.names] == names.split()
    assert sorted(item.db_name for item in found.databases) == databases.split()
    assert found.missing == []


def test_a_glob_that_fits_nothing_is_told_and_a_name_that_is_not_there_is_missing(server: World) -> None:
    found = take_inventory(server.milvus, Selection.parse("docs,gone,x*", exclude="zz"), server.run())
    assert [str(name) for name in found.missing] == ["default.gone"]
    assert found.idle == ["default.x*", "default.zz"]
    assert [(event.code, event.facts) for event in server.events if isinstance(event, Notice)] == [
        ("filter-fits-nothing", {"option": "filter", "item": "default.x*"}),
        ("filter-fits-nothing", {"option": "filter", "item": "default.zz"}),
    ]


@pytest.mark.parametrize(
    ("text", "exclude", "code"),
    [
        ("x*", "", "filter-unmatched"),
        ("n*.*", "", "filter-unmatched"),
        ("", "*.*", "filter-unmatched"),
        ("docs", "docs", "nothing-selected"),
    ],
)
def test_a_filter_that_leaves_nothing_is_an_error(text: str, exclude: str, code: str, server: World) -> None:
    with raised(NotFound, code):
        take_inventory(server.milvus, Selection.parse(text, exclude=exclude), server.run())


def test_a_collection_is_narrowed_to_its_chosen_partitions(server: World) -> None:
    info = server.milvus.inventory.describe("default", "docs")
    for text, exclude, kept in (
        ("docs/y*", "", ["y2024", "y2025"]),
        ("docs/y2024,docs/z*", "", ["y2024"]),
        ("docs", "*/y2024", ["_default", "y2025"]),
        ("docs/z*", "", []),
    ):
        chosen = with_partitions(info, Selection.parse(text, exclude=exclude), server.run())
        assert [partition.name for partition in chosen.partitions] == kept
    assert with_partitions(info, Selection.parse("docs"), server.run()) is info
    with raised(NotFound, "partition-missing", collection="default.docs", partition="gone"):
        with_partitions(info, Selection.parse("docs/gone"), server.run())


def test_partitions_of_a_partition_key_are_no_choice(server: World) -> None:
    info = server.milvus.inventory.describe("default", "docs")
    info.schema.fields[1].is_partition_key = True
    with raised(UsageError, "partitions-not-selectable", collection="default.docs"):
        with_partitions(info, Selection.parse("docs/y2024"), server.run())


def choose(server: World, text: str) -> None:
    selection, run = Selection.parse(text), server.run()
    require_present(take_inventory(server.milvus, selection, run), run, allow_missing=False)
    with_partitions(server.milvus.inventory.describe("default", "docs"), selection, run)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("dcos", "default.docs"),
        ("db.dosc", "db.docs"),
        ("logs,db.*", "db.logs"),
        ("defalt.docs", "default.docs"),
        ("dbb.*", "db"),
        ("docs/_defalt", "_default"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_one_that_was_meant(
    text: str, meant: str, server: World
) -> None:
    with pytest.raises(NotFound) as caught:
        choose(server, text)
    assert (caught.value.hint or "").startswith(f"did you mean {meant}? check --filter")


def test_nothing_is_suggested_for_a_name_that_is_like_no_other(server: World) -> None:
    with pytest.raises(NotFound) as caught:
        choose(server, "orders")
    assert (caught.value.hint or "").startswith("check --filter")


# -- restoring ---------------------------------------------------------------------------------------------------------


def collection(database: str, name: str, number: int, *partitions: str) -> Collection:
    return Collection(
        collection_id=number,
        db_name=database,
        collection_name=name,
        schema=CollectionSchema(name=name, fields=[FieldSchema(field_id=100, name="id")]),
        shards_num=2,
        partition_backups=[Partition(partition_name=at) for at in partitions or ("_default",)],
    )


def backup() -> Backup:
    return Backup(
        name="nightly",
        database_backups=[
            Database(db_name="default"),
            Database(db_name="db", properties=[KeyValue(key="timezone", value="UTC")], ezk="key"),
            Database(db_name="empty"),
        ],
        collection_backups=[
            collection("", "docs", 1, "_default", "y2024", "y2025"),
            collection("default", "docs_old", 2),
            collection("db", "docs", 3),
            collection("db", "logs", 4),
        ],
    )


def plan(**options: Any) -> list[RestoreTask]:
    return list(make_plan(backup(), RestoreOptions(**options)).tasks)


def names(tasks: list[RestoreTask]) -> list[str]:
    return [f"{task.source}>{task.target}" for task in tasks]


def test_globs_mean_the_names_after_renaming_and_source_globs_those_before() -> None:
    suffix = Renaming(suffix="_new")
    assert names(plan(renaming=suffix, selection=Selection.parse("docs_n*"))) == [
        "default.docs>default.docs_new"
    ]
    assert names(plan(renaming=suffix, source_selection=Selection.parse("*.docs", exclude="db.*"))) == [
        "default.docs>default.docs_new"
    ]
    assert names(plan(renaming=suffix, selection=Selection.parse("*.*", exclude="*_old_new,*.docs_new"))) == [
        "db.logs>db.logs_new"
    ]


def test_databases_of_chosen_collections_and_chosen_databases_are_made() -> None:
    def made(text: str, exclude: str = "") -> list[str]:
        options = RestoreOptions(selection=Selection.parse(text, exclude=exclude))
        return [database.db_name for database in make_plan(backup(), options).databases]

    assert made("") == ["db", "empty"]
    assert made("*.logs") == ["db"]
    assert made("e*.") == ["empty"]
    assert made("", exclude="empty.*") == ["db"]
    assert made("docs") == []


def test_only_the_chosen_partitions_are_restored() -> None:
    options = {"renaming": Renaming(suffix="_new")}
    (task,) = plan(**options, selection=Selection.parse("docs_new/y*"))
    assert task.partial
    assert [part.partition_name for part in task.record.partition_backups] == ["y2024", "y2025"]
    (task,) = plan(**options, source_selection=Selection.parse("docs", exclude="docs/y2025"))
    assert [part.partition_name for part in task.record.partition_backups] == ["_default", "y2024"]
    assert [task.partial for task in plan()] == [False] * 4


def test_collections_without_a_partition_that_fits_are_left_out() -> None:
    assert names(plan(selection=Selection.parse("*.*/y*"))) == ["default.docs>default.docs"]


@pytest.mark.parametrize(
    ("text", "error", "code", "facts"),
    [
        ("gone", CollectionNotFound, "backup-collection-missing", {"collection": "default.gone"}),
        ("gone.*", NotFound, "backup-database-missing", {"database": "gone"}),
        (
            "docs/gone",
            NotFound,
            "backup-partition-missing",
            {"collection": "default.docs", "partition": "gone"},
        ),
        ("x*", NotFound, "backup-filter-unmatched", {"items": "default.x*"}),
    ],
)
def test_what_is_named_and_not_there_is_an_error(
    text: str, error: type[MbkError], code: str, facts: dict[str, str]
) -> None:
    for where in ("selection", "source_selection"):
        with raised(error, code, **facts):
            plan(**{where: Selection.parse(text)})


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        ({"selection": "dcos"}, "did you mean default.docs? --filter takes names after renaming"),
        (
            {"source_selection": "dcos"},
            "did you mean default.docs? --source-filter takes names of the backup",
        ),
        ({"selection": "defalt.*"}, "did you mean default? --filter takes names after renaming"),
        ({"source_selection": "defalt.*"}, "did you mean default? --source-filter takes names of the backup"),
    ],
)
def test_a_mistyped_name_is_answered_with_one_of_the_backup(options: dict[str, str], hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        plan(**{name: Selection.parse(text) for name, text in options.items()})
    assert (caught.value.hint or "").startswith(hint)


def test_what_a_mistyped_rename_meant_is_not_replaced_under_its_old_name() -> None:
    with raised(UsageError, "rename-unmatched", item="default.dosc"):
        plan(renaming=Renaming.parse("dosc:new"), drop_existing=True)


def test_a_glob_that_fits_nothing_beside_one_that_does_is_told() -> None:
    made = make_plan(backup(), RestoreOptions(selection=Selection.parse("docs,x*")))
    assert names(list(made.tasks)) == ["default.docs>default.docs"]
    assert (made.unmatched, made.unrenamed) == (("default.x*",), ())


def test_a_rename_of_what_is_not_there_is_told() -> None:
    renaming = Renaming.parse("docs:new,dosc_old:old,db.*:db2.*,bd.*:db3.*")
    made = make_plan(backup(), RestoreOptions(renaming=renaming))
    assert (made.unmatched, made.unrenamed) == ((), ("default.dosc_old", "bd.*"))


def test_a_plan_maps_one_source_to_several_targets_with_overrides() -> None:
    mapping = parse_mapping(
        [
            {
                "source": "",
                "target": "a",
                "colls": [
                    {"source": "docs", "target": "one", "override": {"shardNum": 4, "description": "copied"}},
                    {"source": "docs", "target": "two"},
                ],
            },
            {"source": "db", "target": "b", "withProp": False},
        ]
    )
    made = make_plan(backup(), RestoreOptions(mapping=mapping))
    assert names(list(made.tasks)) == [
        "default.docs>a.one",
        "default.docs>a.two",
        "db.docs>b.docs",
        "db.logs>b.logs",
    ]
    assert [(task.shards, task.description) for task in made.tasks[:2]] == [(4, "copied"), (0, None)]
    assert {item.db_name: item.properties for item in made.databases} == {"a": [], "b": []}


def test_the_filter_of_a_plan_means_target_names() -> None:
    mapping = parse_mapping([{"source": "db", "target": "b"}, {"source": "db", "target": "c"}])
    made = make_plan(backup(), RestoreOptions(mapping=mapping, selection=Selection.of({"c": ["logs"]})))
    assert names(list(made.tasks)) == ["db.logs>c.logs"]
    assert [item.properties for item in made.databases] == [[KeyValue(key="timezone", value="UTC")]]


@pytest.mark.parametrize(
    ("mapping", "error", "code", "facts"),
    [
        (
            [{"source": "gone", "target": "a"}],
            NotFound,
            "mapped-database-missing",
            {"database": "gone"},
        ),
        (
            [{"source": "db", "colls": [{"source": "gone"}]}],
            CollectionNotFound,
            "mapped-collection-missing",
            {"collection": "db.gone"},
        ),
        ([{"source": "db", "target": "a"}] * 2, UsageError, "targets-collide", {"collection": "a.docs"}),
        (
            [{"source": "db", "target": "a-b"}],
            InvalidName,
            "target-name-invalid",
            {"name": "a-b", "type": "database"},
        ),
        (
            [{"source": "db", "colls": [{"source": "docs", "target": "1x"}]}],
            InvalidName,
            "target-name-invalid",
            {"name": "1x", "type": "collection"},
        ),
        (
            [{"source": "db", "colls": [{"source": "docs", "target": "x" * 256}]}],
            InvalidName,
            "target-name-invalid",
            {"name": "x" * 256},
        ),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(
    mapping: object, error: type[MbkError], code: str, facts: dict[str, str]
) -> None:
    with raised(error, code, **facts):
        plan(mapping=parse_mapping(mapping))


@pytest.mark.parametrize(
    ("value", "code", "facts"),
    [
        ({}, "option-type-wrong", {"option": "mapping"}),
        ([1], "option-type-wrong", {"option": "mapping[0]"}),
        ([{"src": "a"}], "option-key-unknown", {"option": "mapping[0]", "key": "src"}),
        ([{"source": 1}], "option-type-wrong", {"option": "mapping[0].source"}),
        ([{"withProp": 1}], "option-type-wrong", {"option": "mapping[0].withProp"}),
        ([{"colls": [{}]}], "mapping-source-missing", {"mapping": "mapping[0].colls[0]"}),
        (
            [{"colls": [{"source": "a", "override": {"shardNum": -1}}]}],
            "shard-number-invalid",
            {"option": "mapping[0].colls[0].override.shardNum"},
        ),
        (
            [{"colls": [{"source": "a", "override": {"shardNum": True}}]}],
            "shard-number-invalid",
            {"option": "mapping[0].colls[0].override.shardNum"},
        ),
    ],
)
def test_a_mapping_of_another_shape_is_refused_with_its_place(
    value: object, code: str, facts: dict[str, str]
) -> None:
    with raised(UsageError, code, **facts):
        parse_mapping(value)


def test_a_plan_excludes_suffix_and_renames() -> None:
    with raised(UsageError, "options-conflict", other="suffix or rename"):
        RestoreOptions(mapping=parse_mapping([{"source": "db"}]), renaming=Renaming(suffix="_x"))


def test_a_mapping_restores_the_rows_as_often_as_it_says_with_its_own_description() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(5))
    world.create()
    override = {"shardNum": 3, "description": "second"}
    colls = [{"source": "docs", "target": "one"}, {"source": "docs", "target": "two", "override": override}]
    world.restore(mapping=parse_mapping([{"source": "default", "target": "copies", "colls": colls}]))
    for name in ("one", "two"):
        assert [key for key, _ in world.milvus.visible_rows(name, database="copies")] == list(range(5))
    two = world.milvus.inventory.describe("copies", "two")
    assert (two.shards, two.schema.description) == (3, "second")
    assert world.milvus.inventory.describe("copies", "one").shards == 1


def test_a_partition_is_restored_alone_and_its_deletes_are_applied() -> None:
    world = World()
    world.milvus.add("docs", partitions=("_default", "cold", "warm"))
    for at, partition in enumerate(("_default", "cold", "warm")):
        world.milvus.insert("docs", range(at * 10, at * 10 + 5), partition=partition)
    world.milvus.delete("docs", [1, 11, 12])
    world.create()
    report = world.restore(suffix="_new", source_selection=Selection.parse("docs/c*"))
    assert [key for key, _ in world.milvus.visible_rows("docs_new")] == [10, 13, 14]
    assert report.collections[0].outcome == "done"


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=[V2_3, V2_6], ids=["2.3", "2.6"])
def parts(request: pytest.FixtureRequest) -> World:
    world = World(features=request.param)
    world.milvus.add("docs", partitions=("_default", "cold", "warm"))
    for at, partition in enumerate(("_default", "cold", "warm")):
        world.milvus.insert("docs", range(at * 10, at * 10 + 5), partition=partition)
    world.milvus.add("plain")
    world.milvus.insert("plain", range(3))
    world.milvus.delete("docs", [1, 11, 12])
    return world


def test_a_backup_of_partitions_holds_nothing_of_the_others(parts: World) -> None:
    report = parts.create(only="docs/c*,docs/warm")
    (record,) = parts.catalog().read("nightly").collection_backups
    assert [part.partition_name for part in record.partition_backups] == ["cold", "warm"]
    cold_and_warm = sum(len(part.segment_backups) for part in record.partition_backups)
    assert cold_and_warm == len({key.split("/")[6] for key in parts.backed_up if "insert_log" in key}) == 2
    assert report.collections[0].rows_expected is None
    parts.restore(suffix="_new")
    assert [key for key, _ in parts.milvus.visible_rows("docs_new")] == [10, 13, 14, 20, 21, 22, 23, 24]


def test_collections_without_a_chosen_partition_are_skipped(parts: World) -> None:
    report = parts.create(only="*/cold")
    assert {item.source: item.outcome for item in report.collections} == {
        "default.docs": "done",
        "default.plain": "skipped",
    }
    assert parts.held() == ["docs"]


def test_a_partition_that_is_named_and_not_there_is_refused_or_left_out(parts: World) -> None:
    with raised(NotFound, "partition-missing", collection="default.docs", partition="gone"):
        parts.create(only="docs/gone,plain")
    assert not parts.backed_up
    parts.create(only="docs/gone,plain", allow_missing=True)
    assert parts.held() == ["plain"]
    assert "left-out" in parts.notices


def test_partitions_of_a_partition_key_are_no_choice_of_a_restore() -> None:
    keyed = backup()
    assert keyed.collection_backups[0].schema is not None
    keyed.collection_backups[0].schema.fields[0].is_partition_key = True
    with raised(UsageError, "partitions-not-selectable", collection="default.docs"):
        make_plan(keyed, RestoreOptions(selection=Selection.parse("docs/y2024")))
    others = make_plan(keyed, RestoreOptions(selection=Selection.parse("*.*/_d*")))
    assert [str(task.source) for task in others.tasks] == ["default.docs_old", "db.docs", "db.logs"]
