"""Milvus on local storage, backups on local storage: every kind of data, every way of restoring."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import mbk
from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import CollectionNotFound, NotFound, UsageError
from mbk.model.events import (
    CollectionFinished,
    Event,
    ImportProgressed,
    ObjectCopied,
    RunFinished,
    RunStarted,
)
from mbk.model.reports import RunReport
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Site, local_storage, make_site, outcome_of
from tests.e2e.world import World, make_world
from tests.raising import raised
from tests.shell import said_in


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def site(milvus: EmbeddedMilvus, tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("site")
    return make_site(
        home / "backup.yaml", milvus, local_storage(milvus.storage_root), local_storage(home / "backups")
    )


@pytest.fixture(scope="module")
def world(clients: Clients) -> World:
    return make_world(clients, "world")


@pytest.fixture(scope="module")
def restored(site: Site, world: World) -> tuple[RunReport, RunReport]:
    """The reports of one backup of the world and of its restore beside the original."""
    with site.session() as session:
        created = session.create("world", filter=f"{world.one}.*,{world.two}.*")
        return created, session.restore("world", suffix="_back", rebuild_index=True, load=True)


@pytest.fixture(scope="module")
def simple(clients: Clients, site: Site) -> Coll:
    """A small loaded collection with an alias, in backup ``simple``."""
    coll = data.plain(clients, clients.database("simple"), "coll")
    coll.client.create_alias(coll.name, "known_as")
    with site.session() as session:
        session.create("simple", filter=str(coll))
    return coll


KINDS = ["rich", "binary", "auto", "auto_text", "keyed", "empty"]


def back(world: World, kind: str) -> tuple[Coll, Coll]:
    source: Coll = getattr(world, kind)
    return source, source.moved(f"{source.name}_back")


def test_a_row_that_was_deleted_and_inserted_again_within_its_segment_comes_back(
    clients: Clients, site: Site
) -> None:
    """By this server's own imports; 2.2 loses it without help (``test_2_2.py``)."""
    coll = data.plain(clients, clients.database("again"), "coll", rows=0, loaded=False)
    coll.insert(data.plain_rows(range(100)))
    coll.delete([50, 51])
    coll.insert(data.plain_rows([50], salt="new "))
    coll.flush()
    coll.load()
    with site.session() as session:
        session.create("again", filter=str(coll))
        session.restore("again", suffix="_back", rebuild_index=True)
    assert len(coll.rows()) == 99
    assert_same(coll, coll.moved("coll_back"), rows=coll.rows())


def test_segments_that_are_imported_as_one_keep_their_rows_and_those_with_deletes_their_own(
    clients: Clients, site: Site
) -> None:
    coll = data.plain(clients, clients.database("small"), "coll", rows=0, loaded=False)
    for start in range(0, 400, 100):
        coll.insert(data.plain_rows(range(start, start + 100)))
        coll.flush()
    coll.delete([50, 51])
    coll.flush()
    coll.load()
    with site.session() as session:
        session.create("small", filter=str(coll))
        session.restore("small", suffix="_back", rebuild_index=True)
    assert len(coll.rows()) == 398
    assert_same(coll, coll.moved("coll_back"), rows=coll.rows())


@pytest.mark.parametrize("kind", KINDS)
def test_rows_and_search_results_are_the_same_after_a_restore(
    kind: str, world: World, restored: object
) -> None:
    source, copy = back(world, kind)
    source.load()
    assert_same(source, copy)


@pytest.mark.parametrize("kind", KINDS)
def test_schema_indexes_and_partitions_are_the_same_after_a_restore(
    kind: str, world: World, restored: object
) -> None:
    source, copy = back(world, kind)
    wanted, found = source.described(), copy.described()
    for key in (
        "fields",
        "description",
        "auto_id",
        "enable_dynamic_field",
        "consistency_level",
        "num_shards",
    ):
        assert found.get(key) == wanted.get(key), key
    assert dict(found["properties"]) == dict(wanted["properties"])
    assert copy.indexes() == source.indexes()
    assert set(copy.partitions()) == set(source.partitions())


@pytest.mark.parametrize("kind", ["rich"])
def test_every_row_is_in_its_own_partition_after_a_restore(kind: str, world: World, restored: object) -> None:
    source, copy = back(world, kind)
    copy.load()
    wanted, found = source.rows_by_partition(), copy.rows_by_partition()
    assert {name: rows.keys() for name, rows in found.items()} == {
        name: rows.keys() for name, rows in wanted.items()
    }


def test_reports_count_the_rows_exactly_deletes_and_upserts_included(
    world: World, restored: tuple[RunReport, RunReport]
) -> None:
    created, report = restored
    for kind, rows in (("rich", 1330), ("binary", 480), ("auto", 200), ("auto_text", 200)):
        source, copy = back(world, kind)
        assert outcome_of(created, source).rows_expected == rows
        outcome = outcome_of(report, copy)
        assert (outcome.rows_expected, outcome.rows_present, outcome.notes) == (rows, rows, ())
    assert outcome_of(report, back(world, "empty")[1]).rows_present == 0


def test_rows_that_may_expire_are_not_claimed_to_be_exact(
    world: World, restored: tuple[RunReport, RunReport]
) -> None:
    (note,) = outcome_of(restored[1], back(world, "keyed")[1]).notes
    assert "upper bound" in note


def test_what_was_loaded_is_loaded_again_and_nothing_else(world: World, restored: object) -> None:
    """Must run before the comparisons load everything: hence by the report of the server, taken once."""
    source, copy = back(world, "rich")
    assert source.client.get_load_state(source.name)["state"].name == "Loaded"
    assert copy.client.get_load_state(copy.name)["state"].name == "Loaded"


@pytest.mark.parametrize("kind", ["auto", "auto_text"])
def test_a_restored_collection_goes_on_making_keys_of_its_own(
    kind: str, world: World, restored: object
) -> None:
    _, copy = back(world, kind)
    copy.load()
    before = copy.rows()
    (row,) = data.without(data.plain_rows([1]), "pk")
    (made,) = copy.insert([row])
    after = copy.rows()
    assert after.keys() - before.keys() == {made}
    copy.delete([made])


def test_a_restored_collection_takes_rows_into_the_partition_of_their_key(
    world: World, restored: object
) -> None:
    source, copy = back(world, "keyed")
    copy.load()
    tenant = {"pk": 10_000, "tenant": "tenant 3", "vector": [0.5] * data.DIMENSION}
    copy.insert([tenant])
    assert copy.rows('tenant == "tenant 3"').keys() == source.rows('tenant == "tenant 3"').keys() | {10_000}
    copy.delete([10_000])


def test_a_listing_and_a_view_tell_of_the_backup(site: Site, world: World, restored: object) -> None:
    (line,) = [item for item in site.json("list") if item["name"] == "world"]
    assert line["state"] == "complete"
    seen = site.json("get", "-n", "world")
    names = {f"{item['db_name']}.{item['collection_name']}" for item in seen["collection_backups"]}
    assert names == {str(coll) for coll in world.all}


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rename", "target"),
    [
        ("simple.coll:{db}.other", "{db}.other"),
        ("simple.*:{db}.*", "{db}.coll"),
        ("simple.*:{db}.*,simple.coll:{db}.single_wins", "{db}.single_wins"),
    ],
)
def test_collections_are_renamed_into_databases_that_are_made(
    rename: str, target: str, site: Site, simple: Coll, fresh: str
) -> None:
    with site.session() as session:
        report = session.restore("simple", rename=rename.format(db=fresh), meta_only=True)
    (outcome,) = report.collections
    assert outcome.target == target.format(db=fresh)
    assert simple.moved(outcome.target.split(".")[1], database=fresh).exists()


def test_a_rename_without_databases_means_the_default_one(site: Site, clients: Clients, name: str) -> None:
    coll = data.plain(clients, "default", name, rows=20)
    site.mbk("create", "-n", name, "--filter", name)
    report = site.json("restore", "-n", name, "--rename", f"{name}:{name}_2", "--rebuild_index")
    (outcome,) = report["collections"]
    assert (outcome["source"], outcome["target"]) == (f"default.{name}", f"default.{name}_2")
    assert (outcome["rows_expected"], outcome["rows_present"]) == (20, 20)
    assert_same(coll, coll.moved(f"{name}_2"))


def test_the_filter_means_the_names_after_renaming(site: Site, world: World, fresh: str) -> None:
    rename = f"{world.one}.*:{fresh}.*"
    with site.session() as session:
        report = session.restore(
            "world", rename=rename, filter=f"{fresh}.auto,{fresh}.binary", meta_only=True
        )
        assert {item.target for item in report.collections} == {f"{fresh}.auto", f"{fresh}.binary"}
        with raised(CollectionNotFound, "backup-collection-missing", collection=f"{world.one}.auto"):
            session.restore("world", rename=rename, filter=f"{world.one}.auto", meta_only=True)


def test_a_filter_that_names_a_database_that_is_not_there_fails(site: Site, fresh: str) -> None:
    with site.session() as session:
        with raised(NotFound, "database-missing", database="no_such_database"):
            session.create("mistyped", filter="no_such_database.*")
        assert "mistyped" not in [item.name for item in session.list()]
        session.create(fresh, filter=f"{fresh}.*")
        with raised(NotFound, "backup-database-missing", database="no_such_database"):
            session.restore(fresh, filter="no_such_database.*")


def test_databases_without_collections_come_back(site: Site, clients: Clients, fresh: str) -> None:
    with site.session() as session:
        session.create(fresh, filter=f"{fresh}.")
        clients["default"].drop_database(fresh)
        session.restore(fresh)
    assert fresh in clients.databases


# -- targets that are there --------------------------------------------------------------------------------------------


def test_a_target_that_exists_is_refused_and_left_alone(site: Site, simple: Coll) -> None:
    before = simple.rows()
    line = site.mbk("restore", "-n", "simple", code=5).stderr.strip()
    assert "simple.coll" in line
    assert len(said_in(line)) == 1
    assert simple.rows() == before


def test_an_existing_collection_is_replaced_on_request(site: Site, simple: Coll, fresh: str) -> None:
    target = data.plain(simple.clients, fresh, "coll", rows=30)
    target.insert(data.plain_rows(range(5000, 5010)))
    site.mbk("restore", "-n", "simple", "-r", f"simple.*:{fresh}.*", "--drop_exist_collection", code=2)
    assert len(target.rows()) == 40
    site.mbk(
        "restore",
        "-n",
        "simple",
        "-r",
        f"simple.*:{fresh}.*",
        "--drop_exist_collection",
        "--yes",
        "--rebuild_index",
    )
    assert_same(simple, target)


def test_rows_are_added_to_an_existing_collection_on_request(site: Site, simple: Coll, fresh: str) -> None:
    target = data.plain(simple.clients, fresh, "coll", rows=0)
    extra = data.plain_rows(range(9000, 9005))
    target.insert(extra)
    with site.session() as session:
        report = session.restore("simple", rename=f"simple.*:{fresh}.*", skip_create=True)
    assert report.collections[0].rows_present == 200
    # A loaded collection shows imported rows only some time later, unless it is loaded anew.
    target.reload()
    assert target.rows().keys() == simple.rows().keys() | {row["pk"] for row in extra}


def test_skipping_the_creation_needs_the_collection(site: Site, simple: Coll, fresh: str) -> None:
    with site.session() as session, raised(CollectionNotFound, "target-missing"):
        session.restore("simple", rename=f"simple.*:{fresh}.*", skip_create=True)
    with site.session() as session, raised(UsageError, "options-conflict", option="drop_exist_collection"):
        session.restore("simple", skip_create=True, drop_existing=True)


# -- meta, indexes, aliases, load state --------------------------------------------------------------------------------


def test_meta_only_brings_a_collection_without_rows(site: Site, simple: Coll, fresh: str) -> None:
    with site.session() as session:
        session.restore("simple", rename=f"simple.*:{fresh}.*", meta_only=True, rebuild_index=True)
    target = simple.moved(database=fresh)
    target.load()
    assert target.rows() == {}
    target.insert(data.plain_rows([1, 2]))
    assert target.rows().keys() == {1, 2}


def test_without_rebuilding_there_is_no_index(site: Site, simple: Coll, fresh: str) -> None:
    with site.session() as session:
        session.restore("simple", rename=f"simple.*:{fresh}.*", meta_only=True)
    assert simple.moved(database=fresh).indexes() == []


def test_vector_indexes_become_auto_indexes_of_the_same_metric_on_request(
    site: Site, simple: Coll, fresh: str
) -> None:
    with site.session() as session:
        session.restore("simple", rename=f"simple.*:{fresh}.*", rebuild_index=True, auto_index=True)
    target = simple.moved(database=fresh)
    (index,) = target.indexes()
    assert (index["index_name"], index["index_type"], index["metric_type"]) == (
        "by_vector",
        "AUTOINDEX",
        "L2",
    )
    assert_same(simple, target)


def test_indexes_of_an_existing_collection_are_replaced_on_request(
    site: Site, simple: Coll, fresh: str
) -> None:
    target = data.plain(simple.clients, fresh, "coll", rows=0, loaded=False)
    target.client.drop_index(target.name, "by_vector")
    target.index({**data.IVF, "index_name": "old", "index_type": "FLAT", "params": {}})
    with site.session() as session:
        session.restore(
            "simple", rename=f"simple.*:{fresh}.*", skip_create=True, drop_index=True, rebuild_index=True
        )
    assert target.indexes() == simple.indexes()
    assert_same(simple, target)


def test_aliases_and_load_state_are_replayed_on_request(site: Site, simple: Coll, fresh: str) -> None:
    target = simple.moved(database=fresh)
    with site.session() as session:
        report = session.restore(
            "simple", rename=f"simple.*:{fresh}.*", rebuild_index=True, aliases=True, load=True
        )
    assert report.collections[0].notes == ()
    assert target.client.get_load_state(target.name)["state"].name == "Loaded"
    assert len(target.moved("known_as").rows()) == 200


def test_an_alias_that_is_taken_is_told_and_takes_nothing_back(site: Site, simple: Coll) -> None:
    target = simple.moved("beside_alias")
    with site.session() as session:
        report = session.restore("simple", rename=f"simple.coll:{target}", rebuild_index=True, aliases=True)
    assert any("known_as" in note for note in report.collections[0].notes)
    assert_same(simple, target)


# -- strategies, dry run, library --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("strategy", "rows"), [("auto", 60), ("serial_flush", 60), ("skip_flush", 50)])
def test_a_strategy_draws_the_line(
    strategy: str, rows: int, site: Site, clients: Clients, fresh: str
) -> None:
    coll = data.plain(clients, fresh, "coll", rows=50)
    coll.insert(data.plain_rows(range(100, 110)))
    with site.session() as session:
        created = session.create(fresh, filter=str(coll), strategy=strategy)
        report = session.restore(fresh, suffix="_back", rebuild_index=True)
    assert created.failed == ()
    assert report.collections[0].rows_present == rows
    wanted = {key: row for key, row in coll.rows().items() if rows == 60 or key < 50}
    assert_same(coll, coll.moved("coll_back"), rows=wanted)


def test_meta_only_backs_up_no_data(site: Site, simple: Coll, fresh: str) -> None:
    with site.session() as session:
        created = session.create(f"{fresh}_meta", filter=str(simple), strategy="meta_only")
        report = session.restore(f"{fresh}_meta", rename=f"simple.*:{fresh}.*", rebuild_index=True)
    assert created.transfer.objects == {}
    assert report.collections[0].rows_present in (0, None)
    assert simple.moved(database=fresh).indexes() == simple.indexes()


def test_dry_runs_change_nothing(site: Site, simple: Coll, fresh: str) -> None:
    with site.session() as session:
        planned = session.create(fresh, filter=str(simple), dry_run=True)
        assert [(item.outcome, item.rows_expected) for item in planned.collections] == [("planned", 200)]
        assert fresh not in [item.name for item in session.list()]
        planned = session.restore("simple", rename=f"simple.*:{fresh}_new.*", dry_run=True)
    assert [(item.outcome, item.target) for item in planned.collections] == [("planned", f"{fresh}_new.coll")]
    assert f"{fresh}_new" not in simple.clients.databases


def test_a_program_sees_what_happens(site: Site, simple: Coll, fresh: str) -> None:
    events: list[Event] = []
    with mbk.connect(site.config) as session:
        created = session.create(fresh, filter=str(simple), on_event=events.append)
        session.restore(fresh, rename=f"simple.*:{fresh}.*", on_event=events.append)
        session.delete(fresh)
        assert fresh not in [item.name for item in session.list()]
    assert isinstance(events[0], RunStarted)
    assert [event.command for event in events if isinstance(event, RunFinished)] == ["create", "restore"]
    copied = [event for event in events if isinstance(event, ObjectCopied)]
    assert sum(event.size for event in copied[: created.collections[0].objects]) == created.size
    finished = [event.collection for event in events if isinstance(event, CollectionFinished)]
    assert finished == ["simple.coll", f"{fresh}.coll"]
    percents = [event.percent for event in events if isinstance(event, ImportProgressed)]
    assert percents[-1] == 100
    assert percents == sorted(percents)


def test_a_collection_that_is_named_and_not_there_is_told(site: Site, simple: Coll, clients: Clients) -> None:
    """Before anything is written; the others are backed up if that is what the user wants."""
    create = ("create", "-n", "named", "--filter", f"{simple},simple.nowhere")
    assert "simple.nowhere" in site.mbk(*create, code=4).stderr
    assert "named" not in [item["name"] for item in site.json("list")]
    answer: Any = site.json(*create, "--allow-missing")
    outcomes = {item["source"]: item["outcome"] for item in answer["collections"]}
    assert outcomes["simple.coll"] == "done"


def test_incremental_backups_of_files_share_what_did_not_change(
    clients: Clients, site: Site, fresh: str, name: str
) -> None:
    coll = data.plain(clients, fresh, "coll")
    days = [f"{name}_{day}" for day in range(3)]
    with site.session() as session:
        first = session.create(days[0], filter=str(coll), incremental=True).transfer.objects
        second = session.create(days[1], filter=str(coll), incremental=True).transfer.objects
        assert second == {"reused": sum(first.values())}
        coll.insert(data.plain_rows(range(1000, 1100)))
        coll.flush()
        third = session.create(days[2], filter=str(coll), incremental=True).transfer.objects
        assert third["reused"] == sum(first.values())
        assert 0 < sum(third.values()) - third["reused"] < third["reused"] * 2
        told = {item.name: item for item in session.list() if item.name in days}
        assert [bool(told[day].added) for day in days] == [True, False, True]
        assert [bool(told[day].frees) for day in days] == [False, False, True]
        for day in days[:2]:
            session.delete(day)
        assert session.verify(days[2], depth="contents").is_whole
        session.restore(days[2], suffix="_back", rebuild_index=True, load=True)
    assert_same(coll, coll.moved("coll_back"))
