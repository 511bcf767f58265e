"""`verify` of what a real 2.3.5 wrote, imported and compacted, in every depth, and what it says of damage."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import DamageFound
from mbk.model.reports import VerifyReport
from tests.e2e import data
from tests.e2e.data import Clients
from tests.e2e.site import Site, local_storage, make_site
from tests.e2e.world import at_once, binary_with_history, rich_with_history


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("site")


@pytest.fixture(scope="module")
def site(milvus: EmbeddedMilvus, home: Path, clients: Clients) -> Site:
    """With backup ``first`` of two collections, and ``again`` of what was restored from it."""
    made = make_site(
        home / "backup.yaml", milvus, local_storage(milvus.storage_root), local_storage(home / "backups")
    )
    database = clients.database("verified")
    at_once(lambda: rich_with_history(clients, database), lambda: binary_with_history(clients, database))
    with made.session() as session:
        session.create("first", filter=f"{database}.*")
        session.restore("first", suffix="_back")
        session.create("again", filter=f"{database}.*_back")
    return made


def names(clients: Clients) -> list[str]:
    return clients.databases


@pytest.mark.parametrize("backup", ["first", "again"])
@pytest.mark.parametrize("depth", ["listing", "digests", "contents"])
def test_nothing_is_found_in_what_the_server_wrote_or_imported(site: Site, backup: str, depth: Any) -> None:
    with site.session() as session:
        report = session.verify(backup, depth=depth)
    assert report.findings == ()
    if depth == "contents":
        assert all(item.read == item.parsed == item.proven == item.objects for item in report.collections)
        assert all(item.objects for item in report.collections)


@pytest.mark.parametrize("backup", ["first", "again"])
def test_nothing_is_found_without_a_record(site: Site, home: Path, backup: str, tmp_path: Path) -> None:
    import json
    import shutil

    place = tmp_path / "backups"
    shutil.copytree(home / "backups" / backup, place / backup)
    meta = place / backup / "meta"
    for file in meta.iterdir():
        if file.name == "mbk.json" or file.name.startswith(("objects-", "verif")):
            file.unlink()
    full = json.loads((meta / "full_meta.json").read_bytes())
    del full["mbk"]
    (meta / "full_meta.json").write_text(json.dumps(full), encoding="utf-8")
    there = make_site(
        tmp_path / "backup.yaml", site.server, local_storage(site.server.storage_root), local_storage(place)
    )
    with there.session() as session:
        report = session.verify(backup, depth="contents")
        assert (report.findings, report.recorded) == ((), False)
        session.verify(backup, record=True)
        assert session.verify(backup, depth="contents").recorded


def test_a_drill_counts_and_compares_the_rows_and_leaves_nothing(site: Site, clients: Clients) -> None:
    before = names(clients)
    (report,) = site.json("verify", "first", "--depth", "drill")
    assert report["findings"] == []
    restored = {item["name"].split(".")[1]: item["restored"] for item in report["collections"]}
    assert restored == {"rich": 1330, "binary": 480}
    assert names(clients) == before


def test_ctrl_c_amid_a_drill_leaves_nothing(site: Site, clients: Clients) -> None:
    before = names(clients)
    process = site.start("verify", "first", "--depth", "drill")
    while process.poll() is None and not any(name.startswith("mbk_drill_") for name in names(clients)):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert names(clients) == before


def test_a_flipped_bit_in_any_kind_of_object_is_found_by_contents(site: Site, home: Path) -> None:
    objects = sorted(path for path in (home / "backups/first/binlogs").rglob("*") if path.is_file())
    kinds = {path.parent.name if "insert_log" in path.parts else "delta": path for path in objects}
    assert len(kinds) > 5
    with site.session() as session:
        for kind, path in kinds.items():
            with flipped(path), pytest.raises(DamageFound) as caught:
                session.verify("first", depth="contents")
            report = caught.value.report
            assert isinstance(report, VerifyReport)
            (finding,) = report.findings
            assert (finding.kind, finding.key) == ("damaged", key_of(path, home)), kind
        with flipped(path):
            (told,) = site.json("verify", "first", "--depth", "contents", code=8)
        (line,) = told["findings"]
        assert (line["kind"], line["key"]) == ("damaged", key_of(path, home))
        assert isinstance(session.verify("first", depth="contents"), VerifyReport)


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """One bit of the file is another for a while."""
    whole = path.read_bytes()
    place = len(whole) * 2 // 3
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    try:
        yield
    finally:
        path.write_bytes(whole)


def key_of(path: Path, home: Path) -> str:
    """How findings name an object of the backup ``first``."""
    return path.relative_to(home / "backups/first").as_posix()


def test_all_goes_on_after_a_damaged_backup(site: Site, home: Path, clients: Clients) -> None:
    coll = data.plain(clients, clients.database("third"), "coll")
    with site.session() as session:
        session.create("damaged", filter=str(coll))
    next(path for path in (home / "backups/damaged/binlogs").rglob("*") if path.is_file()).unlink()
    reports = site.json("verify", "--all", "--depth", "listing", code=8)
    assert {item["name"]: item["is_whole"] for item in reports} == {
        "again": True,
        "damaged": False,
        "first": True,
    }


def test_a_drill_may_have_a_milvus_of_its_own(site: Site, clients: Clients) -> None:
    before = names(clients)
    (report,) = site.json("verify", "again", "--depth", "drill", "--embedded")
    assert report["findings"] == []
    assert {item["restored"] for item in report["collections"]} == {1330, 480}
    assert names(clients) == before


def test_a_server_without_databases_is_drilled_in_scratch_collections(
    milvus_2_2: EmbeddedMilvus, tmp_path: Path
) -> None:
    site = make_site(
        tmp_path / "backup.yaml",
        milvus_2_2,
        local_storage(milvus_2_2.storage_root),
        local_storage(tmp_path / "backups"),
    )
    with Clients(milvus_2_2) as clients:
        coll = data.plain(clients, "default", "coll", rows=0)
        coll.insert(data.plain_rows(range(300)))
        # In one flush with their rows: this server does not persist deletes of flushed segments.
        coll.delete([1, 2, 3])
        with site.session() as session:
            session.create("nightly")
            assert session.verify("nightly", depth="contents").findings == ()
            report = session.verify("nightly", depth="drill")
        assert report.findings == ()
        assert [item.restored for item in report.collections] == [297]
        assert clients["default"].list_collections() == ["coll"]
