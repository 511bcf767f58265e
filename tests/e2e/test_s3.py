"""Milvus on an S3 server; backups in the same bucket, in another one, on another server, in a local directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import BackupNotFound, WrongStorage
from mbk.model.reports import RunReport
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import ROOT, Site, Tree, local_storage, make_site, outcome_of, s3_storage
from tests.e2e.world import at_once, binary_with_history, rich_with_history
from tests.raising import raised
from tests.servers.s3 import S3Server, ministack

BUCKET = "milvus"
RICH, BINARY, PLAIN = 0, 1, 2
#: What is backed up where; an import takes seconds a partition, so that not everything goes everywhere.
TAKEN = {
    "same_bucket": (RICH, BINARY, PLAIN),
    "other_bucket": (BINARY, PLAIN),
    "other_server": (RICH, PLAIN),
    "directory": (BINARY, PLAIN),
}


@pytest.fixture(scope="module")
def clients(milvus_s3: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus_s3) as found:
        yield found


@pytest.fixture(scope="module")
def other_server() -> Iterator[S3Server]:
    """Another service; its user may do everything with one bucket and knows nothing of Milvus' server."""
    with ministack() as server:
        server.make_bucket("backups")
        yield server.user("keeper", "backups")


@pytest.fixture(scope="module")
def storages(
    milvus_store: S3Server, other_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tree]:
    milvus_store.make_bucket("backups")
    return {
        "same_bucket": s3_storage(milvus_store, BUCKET, "backup"),
        "other_bucket": s3_storage(milvus_store, "backups", "backup"),
        "other_server": s3_storage(other_server, "backups", "backup"),
        "directory": local_storage(tmp_path_factory.mktemp("backups")),
    }


@pytest.fixture(scope="module")
def sites(
    storages: dict[str, Tree],
    milvus_s3: EmbeddedMilvus,
    milvus_store: S3Server,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Site]:
    home = tmp_path_factory.mktemp("sites")
    store = s3_storage(milvus_store, BUCKET, ROOT)
    return {
        place: make_site(home / f"{place}.yaml", milvus_s3, store, storage)
        for place, storage in storages.items()
    }


@pytest.fixture(scope="module")
def source(clients: Clients) -> tuple[Coll, Coll, Coll]:
    """Several segments and partitions, deletes and upserts; text keys and binary vectors; one plain segment."""
    database = clients.database("source")
    rich, binary, plain = at_once(
        lambda: rich_with_history(clients, database),
        lambda: binary_with_history(clients, database),
        lambda: data.plain(clients, database, "plain"),
    )
    return rich, binary, plain


@pytest.fixture(scope="module", params=TAKEN)
def cycle(
    request: pytest.FixtureRequest, sites: dict[str, Site], source: tuple[Coll, ...]
) -> tuple[str, RunReport, RunReport]:
    """Where the backup lies, the report of the backup and that of its restore beside the original."""
    place: str = request.param
    with sites[place].session() as session:
        created = session.create(place, filter=",".join(str(source[number]) for number in TAKEN[place]))
        return place, created, session.restore(place, suffix=f"_{place}", rebuild_index=True)


def test_rows_and_search_results_are_the_same_after_a_restore(
    cycle: tuple[str, RunReport, RunReport], source: tuple[Coll, ...]
) -> None:
    place, created, report = cycle
    for number in TAKEN[place]:
        coll = source[number]
        copy = coll.moved(f"{coll.name}_{place}")
        assert_same(coll, copy)
        expected = len(coll.rows())
        assert outcome_of(created, coll).rows_expected == expected
        assert outcome_of(report, copy).rows_expected == outcome_of(report, copy).rows_present == expected


def test_objects_go_the_shortest_way(cycle: tuple[str, RunReport, RunReport]) -> None:
    """By the storage itself within a service, else streamed, with the reason in the report."""
    place, *reports = cycle
    for report in reports:
        ways = set(report.transfer.objects)
        if place in ("same_bucket", "other_bucket"):
            assert (ways, report.transfer.streamed_because) == ({"server"}, None)
        else:
            assert ways == {"stream"}
            assert report.transfer.streamed_because


def test_no_temporary_copies_stay(cycle: tuple[str, RunReport, RunReport], milvus_store: S3Server) -> None:
    assert data.keys_below(milvus_store, BUCKET, f"{ROOT}/restore-temp") == []


def test_a_backup_in_the_bucket_of_milvus_is_read_where_it_lies(
    sites: dict[str, Site], source: tuple[Coll, ...]
) -> None:
    plain = source[PLAIN]
    with sites["same_bucket"].session() as session:
        session.create("in_place", filter=str(plain))
        report = session.restore("in_place", suffix="_in_place", rebuild_index=True)
    assert report.transfer.objects == {}
    assert_same(plain, plain.moved("plain_in_place"))


def test_a_wrong_root_path_is_told_before_anything_is_copied(
    storages: dict[str, Tree],
    milvus_s3: EmbeddedMilvus,
    milvus_store: S3Server,
    source: tuple[Coll, ...],
    tmp_path: Path,
) -> None:
    store = s3_storage(milvus_store, BUCKET, "elsewhere")
    site = make_site(tmp_path / "backup.yaml", milvus_s3, store, storages["directory"])
    with site.session() as session:
        with raised(WrongStorage, "milvus-data-missing"):
            session.create("wrong_root", filter=str(source[PLAIN]))
        with pytest.raises(BackupNotFound):
            session.get("wrong_root")
    line = site.mbk("create", "-n", "wrong_root", "--filter", str(source[PLAIN]), code=2).stderr.strip()
    assert len([text for text in line.splitlines() if "error" in text]) == 1


def test_a_backup_is_deleted_with_every_object(
    sites: dict[str, Site], source: tuple[Coll, ...], milvus_store: S3Server
) -> None:
    site = sites["other_bucket"]
    site.mbk("create", "-n", "for_deletion", "--filter", str(source[PLAIN]))
    assert data.keys_below(milvus_store, "backups", "backup/for_deletion/")
    site.mbk("delete", "-n", "for_deletion", "--yes")
    assert data.keys_below(milvus_store, "backups", "backup/for_deletion/") == []
    site.mbk("get", "-n", "for_deletion", code=4)
