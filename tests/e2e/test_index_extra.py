"""`--backup-index-extra` against the etcd within a real 2.3.5."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Site, local_storage, make_site

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def coll(clients: Clients) -> Coll:
    """Two indexes, one that was dropped, and dynamic keys; beside it a collection that is not asked for."""
    database = clients.database("index_extra")
    made = data.rich(clients, database, "coll", partitions=())
    made.client.drop_index(made.name, "by_word")
    made.index({"field_name": "word", "index_name": "again", "index_type": "Trie"})
    made.insert(data.rich_rows(range(50)))
    made.flush()
    data.plain(clients, database, "stranger", rows=0, loaded=False)
    return made


def etcd_of(server: EmbeddedMilvus) -> str:
    tree: Tree = yaml.safe_load((server.home / "configs" / "etcd.yaml").read_text())
    return str(tree["listen-client-urls"])


def site_with(server: EmbeddedMilvus, home: Path, **etcd: Any) -> Site:
    storage = local_storage(server.storage_root)
    return make_site(
        home / "backup.yaml", server, storage, local_storage(home / "backups"), milvus={"etcd": etcd}
    )


@pytest.fixture(scope="module")
def site(milvus: EmbeddedMilvus, tmp_path_factory: pytest.TempPathFactory) -> Site:
    # The first endpoint is one that is down.
    endpoints = ["http://127.0.0.1:1", etcd_of(milvus)]
    return site_with(milvus, tmp_path_factory.mktemp("index_extra"), endpoints=endpoints, rootPath="by-dev")


@pytest.fixture(scope="module")
def backed_up(site: Site, coll: Coll) -> Tree:
    """The collection's record in a backup made with the flag."""
    site.mbk("create", "-n", "extra", "--filter", str(coll), "--backup_index_extra")
    text = (site.config.parent / "backups" / "extra" / "meta" / "full_meta.json").read_text("utf-8")
    (collection,) = json.loads(text)["collection_backups"]
    found: Tree = collection
    return found


def pairs(items: list[Tree]) -> dict[str, str]:
    return {item["key"]: item["value"] for item in items}


def test_each_index_is_recorded_with_what_only_etcd_knows(backed_up: Tree, coll: Coll) -> None:
    indexes = {item["index_name"]: item for item in backed_up["index_infos"]}
    assert set(indexes) == {"by_vector", "again"}
    numbers = {item["name"]: item["fieldID"] for item in backed_up["schema"]["fields"]}
    vector = indexes["by_vector"]
    assert vector["field_id"] == numbers["vector"]
    assert vector["field_name"] == "vector"
    assert vector["params"]["index_type"] == vector["index_type"] == "IVF_FLAT"
    assert pairs(vector["type_params"]) == {"dim": str(data.DIMENSION)}
    assert pairs(vector["index_params"])["metric_type"] == "L2"
    assert pairs(vector["user_index_params"])["index_type"] == "IVF_FLAT"
    assert vector["create_time"] > backed_up["created_timestamp"]
    assert indexes["again"]["field_id"] == numbers["word"]
    assert indexes["again"]["create_time"] > vector["create_time"]


def test_the_field_of_dynamic_keys_stands_in_the_schema_with_its_own_id(backed_up: Tree) -> None:
    dynamic = [item for item in backed_up["schema"]["fields"] if item.get("is_dynamic")]
    assert [(item["name"], item["fieldID"], item["data_type"]) for item in dynamic] == [("$meta", 113, 23)]


def test_such_a_backup_restores_as_any_other(site: Site, coll: Coll, backed_up: Tree) -> None:
    site.mbk("restore", "-n", "extra", "-s", "_back", "--rebuild_index")
    coll.load()
    assert_same(coll, coll.moved("coll_back"))
    assert [item["index_name"] for item in coll.moved("coll_back").indexes()] == ["again", "by_vector"]


def test_without_the_flag_etcd_is_not_asked(milvus: EmbeddedMilvus, coll: Coll, tmp_path: Path) -> None:
    deaf = site_with(milvus, tmp_path, endpoints=["127.0.0.1:1"])
    deaf.mbk("create", "-n", "plain", "--filter", str(coll))
    (collection,) = json.loads((tmp_path / "backups/plain/meta/full_meta.json").read_text("utf-8"))[
        "collection_backups"
    ]
    assert not any(item.get("field_id") for item in collection["index_infos"])
    assert not any(item.get("is_dynamic") for item in collection["schema"]["fields"])


def test_the_root_path_of_another_milvus_is_told_before_anything_is_written(
    milvus: EmbeddedMilvus, coll: Coll, tmp_path: Path
) -> None:
    wrong = site_with(milvus, tmp_path, endpoints=[etcd_of(milvus)], rootPath="of-another")
    done = wrong.mbk("create", "-n", "wrong", "--filter", str(coll), "--backup_index_extra", code=1)
    assert "milvus.etcd.rootPath" in done.stderr
    assert not (tmp_path / "backups" / "wrong").exists()
