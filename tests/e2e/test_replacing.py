"""``restore --drop_exist_collection`` on the real 2.3.5 and 2.2.16: the collection that is there stays until the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymilvus import DataType, MilvusClient, MilvusException

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import AlreadyExists, MbkError, UsageError
from tests.e2e.data import Clients, Coll
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_2_2, milvus_local
from tests.e2e.site import Site, local_storage, make_site
from tests.raising import raised

ROWS, OTHERS = range(60), range(1000, 1030)


@pytest.fixture(scope="module", params=["2.3.5", "2.2.16"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedMilvus]:
    start = milvus_local if request.param == "2.3.5" else milvus_2_2
    with start(tmp_path_factory.mktemp("replacing"), STABLE_SEGMENTS) as found:
        yield found


@pytest.fixture(scope="module")
def clients(server: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(server) as found:
        yield found


def prices(clients: Clients, database: str, *, names: tuple[str, str] = ("price", "stock")) -> Coll:
    """Loaded, with an index and two fields of one type."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    for name in names:
        schema.add_field(name, DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    coll = Coll(clients, database, "prices", output=("pk", "price", "stock"))
    coll.client.create_collection(coll.name, schema=schema, consistency_level="Strong")
    coll.index(
        {"field_name": "vector", "index_type": "IVF_FLAT", "metric_type": "L2", "params": {"nlist": 4}}
    )
    coll.load()
    return coll


def fill(coll: Coll, keys: range) -> None:
    coll.insert([{"pk": key, "price": key, "stock": -key, "vector": [float(key)] * 4} for key in keys])
    coll.flush()


def keys(coll: Coll) -> list[int]:
    return sorted(coll.rows("pk >= 0"))


@pytest.fixture
def site(server: EmbeddedMilvus, tmp_path: Path) -> Site:
    return make_site(
        tmp_path / "backup.yaml",
        server,
        local_storage(server.storage_root),
        local_storage(tmp_path / "backups"),
    )


@pytest.fixture
def coll(clients: Clients, fresh: str, site: Site) -> Coll:
    """Backed up with `ROWS`, and now a collection of the same name with `OTHERS` and an alias."""
    coll = prices(clients, fresh)
    fill(coll, ROWS)
    with site.session() as session:
        session.create("one", filter=f"{fresh}.*")
    coll.client.drop_collection(coll.name)
    coll = prices(clients, fresh)
    fill(coll, OTHERS)
    coll.client.create_alias(coll.name, f"{fresh}_alias")
    return coll


class Reader(threading.Thread):
    """Asks for all keys by a name again and again; ``seen`` are the answers, ``refused`` what was said instead of one."""

    def __init__(self, coll: Coll) -> None:
        super().__init__()
        self.coll = coll
        self.seen: set[tuple[int, ...]] = set()
        self.refused = list[str]()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.seen.add(tuple(keys(self.coll)))
            except MilvusException as error:
                self.refused.append(str(error))
            time.sleep(0.002)


def test_who_reads_by_an_alias_sees_the_old_rows_or_the_new_ones(coll: Coll, site: Site, fresh: str) -> None:
    reader = Reader(coll.moved(f"{fresh}_alias"))
    reader.start()
    try:
        with site.session() as session:
            session.restore("one", drop_existing=True, rebuild_index=True)
    finally:
        reader.over.set()
        reader.join()
    assert reader.refused == []
    assert reader.seen == {tuple(OTHERS), tuple(ROWS)}
    assert keys(coll) == [*ROWS]
    assert keys(reader.coll) == [*ROWS]
    assert coll.client.list_collections() == ["prices"]
    fill(coll, range(2000, 2010))
    assert keys(coll) == [*ROWS, *range(2000, 2010)]


def test_a_damaged_backup_leaves_the_collection_as_it_was(
    coll: Coll, site: Site, fresh: str, tmp_path: Path
) -> None:
    log = max((path for path in (tmp_path / "backups").rglob("insert_log/**/*") if path.is_file()), key=str)
    log.write_bytes(log.read_bytes()[:-20])
    with site.session() as session, pytest.raises(MbkError):
        session.restore("one", drop_existing=True, rebuild_index=True)
    assert keys(coll) == [*OTHERS]
    assert keys(coll.moved(f"{fresh}_alias")) == [*OTHERS]
    assert coll.client.list_collections() == ["prices"]


def test_an_alias_is_no_target_unless_it_is_followed(coll: Coll, site: Site, fresh: str) -> None:
    renamed = {f"{fresh}.prices": f"{fresh}.{fresh}_alias"}
    with site.session() as session:
        with raised(AlreadyExists, "target-is-alias"):
            session.restore("one", rename=renamed, skip_create=True)
        assert keys(coll) == [*OTHERS]
        session.restore("one", rename=renamed, skip_create=True, follow_alias=True)
        coll.reload()
        assert keys(coll) == [*ROWS, *OTHERS]
        with raised(AlreadyExists, "already-added"):
            session.restore("one", rename=renamed, skip_create=True, follow_alias=True)


def test_columns_in_another_order_are_not_exchanged(
    clients: Clients, coll: Coll, site: Site, fresh: str
) -> None:
    coll.client.drop_alias(f"{fresh}_alias")
    coll.client.drop_collection(coll.name)
    other = prices(clients, fresh, names=("stock", "price"))
    with site.session() as session, raised(UsageError, "target-schema-differs") as caught:
        session.restore("one", skip_create=True)
    assert "price: field id: 102 instead of 101" in str(caught.value.facts["differences"])
    assert keys(other) == []
