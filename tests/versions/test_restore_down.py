"""Backups of newer servers into a real 2.3.5 and 2.2.16: packed segments, L0 deletes and newer deltas become what they read."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import DamagedBackup, MissingDependency, Unsupported
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.milvus_servers import STABLE_SEGMENTS, milvus_2_2, milvus_local
from tests.e2e.site import Site, local_storage, make_site
from tests.raising import raised
from tests.versions.deleted import plain, rich, texts
from tests.versions.everything import rows_of
from tests.versions.places import Place, place

NEWER = ("v2.4.23", "v2.5.20", "v2.6.12")


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    with milvus_local(tmp_path_factory.mktemp("milvus"), STABLE_SEGMENTS) as server:
        yield server


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMilvus]:
    with milvus_2_2(tmp_path_factory.mktemp("milvus_2_2"), STABLE_SEGMENTS) as server:
        yield server


@pytest.fixture(scope="module")
def old(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as clients:
        yield clients


@dataclass(frozen=True, slots=True)
class Newer:
    """A double of a newer version, filled and backed up; ``site`` is the 2.3.5 that reads its backups."""

    version: str
    clients: Clients
    place: Place
    site: Site
    colls: tuple[Coll, ...]


@pytest.fixture(scope="module", params=NEWER)
def newer(
    request: pytest.FixtureRequest, milvus: EmbeddedMilvus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Newer]:
    directory: Path = tmp_path_factory.mktemp("newer")
    version = request.param
    with place(directory, version) as found, Clients(found.double) as clients:
        database = clients.database("v" + "".join(filter(str.isdigit, version)))
        colls = rich(clients, database), texts(clients, database)
        with found.session() as session:
            session.create("down", format="binlog", filter=f"{database}.*")
        target = local_storage(milvus.storage_root)
        (directory / "old").mkdir()
        site = make_site(
            directory / "old" / "backup.yaml", milvus, target, local_storage(directory / "backups")
        )
        yield Newer(version, clients, found, site, colls)


def test_the_backup_holds_what_a_2_3_cannot_read(newer: Newer) -> None:
    """Else this module would prove nothing."""
    with newer.site.session() as session:
        (rich_, _) = sorted(
            session.get("down", detail=True).document["collection_backups"],
            key=lambda item: item["collection_name"],
        )
    segments = [item for part in rich_["partition_backups"] for item in part.get("segment_backups", [])]
    packed = {item.get("storage_version", 0) for item in segments if not item.get("is_l0")}
    l0 = [item for item in (*segments, *rich_.get("l0_segments", [])) if item.get("is_l0")]
    assert packed == ({2} if newer.version >= "v2.6" else {0})
    assert l0


def test_a_real_2_3_has_the_same_rows_afterwards(newer: Newer, old: Clients) -> None:
    with newer.site.session() as session:
        report = session.restore("down", rebuild_index=True)
    assert {item.outcome for item in report.collections} == {"done"}
    assert report.transfer.objects["convert"]
    assert report.transfer.bytes["convert"] > report.transfer.objects["convert"]
    for coll in newer.colls:
        assert_same(coll, replace(coll, clients=old), rows=coll.rows())
        assert coll.rows_by_partition().keys() == replace(coll, clients=old).rows_by_partition().keys()
    wanted, found = newer.colls[0], replace(newer.colls[0], clients=old)
    for name, rows in wanted.rows_by_partition().items():
        assert found.rows_by_partition()[name] == rows, name
    assert not list(newer.site.server.storage_root.glob("restore-temp-*")), "staged copies stay"


@pytest.mark.parametrize("newer", ["v2.6.12"], indirect=True, scope="module")
def test_what_a_killed_run_left_is_not_taken_for_whole(newer: Newer, old: Clients) -> None:
    """Its staged copies are there: one was cut short, one is of a version that did it in another way."""
    coll = newer.colls[1]
    with newer.site.session() as session:
        settings = session.settings
        keeping = settings.restore.model_copy(update={"keep_temp_files": True})
        session.settings = settings.model_copy(update={"restore": keeping})
        session.restore("down", suffix="_one", filter=f"{coll}_one")
        staged = newer.site.server.storage_root / f"restore-temp-down-{coll.database}-{coll.name}_one"
        target = staged.rename(staged.with_name(staged.name.replace("_one", "_two")))
        (*_, last) = sorted(path for path in target.rglob("insert_log/**/*") if path.is_file())
        last.write_bytes(last.read_bytes()[:20])
        last.with_name("9999999999999999999").write_bytes(b"left by another version")
        session.settings = settings
        session.restore("down", suffix="_two", filter=f"{coll}_two", rebuild_index=True)
    assert_same(coll, replace(coll, clients=old, name=f"{coll.name}_two"), rows=coll.rows())


@pytest.mark.parametrize("newer", ["v2.6.12"], indirect=True, scope="module")
def test_a_flipped_bit_in_a_column_group_or_a_delta_is_refused_by_our_own_reader(
    newer: Newer, old: Clients
) -> None:
    """A converted segment has other bytes, which nobody could compare with anything afterwards."""
    coll = newer.colls[0]
    below = newer.place.config.parent / "backups" / "down" / "binlogs"
    with newer.site.session() as session:
        found = session.get("down").document["collection_backups"]
    number = next(item["collection_id"] for item in found if item["collection_name"] == coll.name)
    logs = {kind: sorted((below / kind / str(number)).rglob("*")) for kind in ("insert_log", "delta_log")}
    groups = {path.parent.name: path for path in logs["insert_log"] if path.is_file()}
    deltas = [path for path in logs["delta_log"] if path.is_file()]
    assert len(groups) > 1
    for path in (*groups.values(), deltas[0]):
        content = path.read_bytes()
        path.write_bytes(
            content[: len(content) // 2]
            + bytes([content[len(content) // 2] ^ 8])
            + content[len(content) // 2 + 1 :]
        )
        with newer.site.session() as session, raised(DamagedBackup, "object-damaged") as caught:
            session.restore("down", suffix="_flipped", filter=f"{coll}_flipped")
        assert str(caught.value.facts["key"]).endswith(f"/{path.name}")
        path.write_bytes(content)
    assert not old[coll.database].has_collection(f"{coll.name}_flipped")


@pytest.mark.parametrize("version", ["v2.4.23", "v2.6.12"])
def test_a_real_2_2_has_the_same_rows_afterwards(
    version: str, oldest: EmbeddedMilvus, tmp_path: Path
) -> None:
    """It takes a delete for one of all rows of its key, older or younger."""
    (tmp_path / "oldest").mkdir()
    target, backups = local_storage(oldest.storage_root), local_storage(tmp_path / "backups")
    site = make_site(tmp_path / "oldest/backup.yaml", oldest, target, backups)
    with place(tmp_path, version) as found, Clients(found.double) as clients, Clients(oldest) as old:
        database = clients.database("v" + "".join(filter(str.isdigit, version)))
        colls = plain(clients, database), texts(clients, database)
        with found.session() as session:
            session.create("down", format="binlog", filter=f"{database}.*")
        with site.session() as session:
            session.restore("down", rebuild_index=True)
        for coll in colls:
            # This server gives vectors to nobody.
            there = replace(coll, clients=old)
            there.load()
            wanted = {key: {**row, coll.vector: None} for key, row in coll.rows().items()}
            assert {key: {**row, coll.vector: None} for key, row in there.rows().items()} == wanted
            for row in list(coll.rows().values())[::40]:
                vector = row[coll.vector]
                vectors = [vector[0] if isinstance(vector[0], bytes) else vector]
                assert there.hits(vectors, limit=1) == [[0.0]]


def test_what_a_2_3_cannot_represent_is_listed_at_once_and_nothing_is_made(
    tmp_path: Path, milvus: EmbeddedMilvus, old: Clients
) -> None:
    with place(tmp_path, "v2.6.12") as found, Clients(found.double) as clients:
        unfitting(clients["default"])
        with found.session() as session:
            session.create("wide", format="binlog", filter="wide")
    (tmp_path / "old").mkdir()
    site = make_site(
        tmp_path / "old/backup.yaml",
        milvus,
        local_storage(milvus.storage_root),
        local_storage(tmp_path / "backups"),
    )
    with site.session() as session, pytest.raises(Unsupported) as caught:
        session.restore("wide")
    for part in ("maybe: null values", "half: the type Float16Vector", "sparse: the type SparseFloatVector",
                 "several vector fields", "bm25: functions"):  # fmt: skip
        assert part in str(caught.value)
    assert not old["default"].has_collection("wide")


def unfitting(client: MilvusClient) -> None:
    schema = MilvusClient.create_schema(auto_id=False)
    schema.add_field("pk", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=100, enable_analyzer=True)
    schema.add_field("maybe", DataType.INT64, nullable=True)
    schema.add_field("half", DataType.FLOAT16_VECTOR, dim=8)
    schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_function(
        Function("bm25", FunctionType.BM25, input_field_names=["text"], output_field_names=["sparse"])
    )
    client.create_collection("wide", schema=schema, consistency_level="Strong")


@pytest.mark.parametrize("newer", ["v2.6.12"], indirect=True, scope="module")
def test_without_pyarrow_it_is_told_before_anything_is_made(
    newer: Newer, old: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    readers = ("mbk.binlog", "mbk.engine.formats.binlog.converter", "mbk.engine.formats.binlog.rows")
    for name in [name for name in sys.modules if name.startswith(readers)]:
        monkeypatch.delitem(sys.modules, name)
    with newer.site.session() as session, raised(MissingDependency, "pyarrow-missing"):
        session.restore("down", suffix="_none")
    for coll in newer.colls:
        assert not old[coll.database].has_collection(f"{coll.name}_none")


def test_nulls_and_every_kind_of_vector_come_back_in_a_2_5(tmp_path: Path) -> None:
    """Out of packed segments into a double, as no real 2.5 can be had; what its L0 segments delete stays apart."""
    for version in ("v2.6.12", "v2.5.20"):
        (tmp_path / version).mkdir()
    backups = tmp_path / "backups"
    with (
        place(tmp_path / "v2.6.12", "v2.6.12", backups=backups) as newer_,
        place(tmp_path / "v2.5.20", "v2.5.20", backups=backups) as older,
        Clients(newer_.double) as clients,
    ):
        unfitting(clients["default"])
        chance = random.Random("2.5")
        rows = [
            {
                "pk": key,
                "text": f"wordy {key % 5}",
                "maybe": None if key % 3 else key,
                "half": np.array([chance.randrange(64) / 64 for _ in range(8)], np.float16),
            }
            for key in range(90)
        ]
        for start in (0, 40):
            clients["default"].insert("wide", rows[start : start + 50])
            clients["default"].flush("wide")
        clients["default"].delete("wide", ids=[3, 41, 42])
        clients["default"].flush("wide")
        with newer_.session() as session:
            session.create("wide", format="binlog")
        with older.session() as session:
            session.restore("wide")
        wanted = rows_of(newer_.double, "default", "wide")
        assert len(wanted["_default"]) == 87
        assert rows_of(older.double, "default", "wide") == wanted
