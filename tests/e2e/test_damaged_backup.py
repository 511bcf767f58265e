"""Damaged backups and a real 2.3.5, which dies of a flipped bit that it is given: nothing damaged reaches it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from mbk.errors import DamagedBackup, PartialFailure
from mbk.model.reports import RunReport
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import Site, local_storage, make_site
from tests.raising import raised

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def clients(milvus: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus) as found:
        yield found


@pytest.fixture(scope="module")
def coll(clients: Clients) -> Coll:
    """Two segments with deletes beside each."""
    made = data.plain(clients, clients.database("damaged"), "coll", rows=0, loaded=False)
    made.insert(data.plain_rows(range(300)))
    made.flush()
    made.insert(data.plain_rows(range(300, 595)))
    made.flush()
    made.delete([1, 2, 3, 400])
    made.flush()
    made.load()
    return made


@dataclass(frozen=True)
class Damage:
    """A copy of the backup to damage; the backup itself stays whole."""

    site: Site
    coll: Coll

    @property
    def home(self) -> Path:
        return self.site.config.parent / "backups" / "whole"

    def logs(self, kind: str) -> list[Path]:
        """Insert logs by segment and field; delete logs."""
        found = (self.home / "binlogs" / kind).rglob("*")
        return sorted(path for path in found if path.is_file())

    def of_field(self, number: int) -> list[Path]:
        return [path for path in self.logs("insert_log") if path.parent.name == str(number)]

    def refused(self, *, code: str = "", **options: Any) -> DamagedBackup:
        """A restore fails with exit code 8, nothing of it is there, and Milvus has not died of it."""
        with self.site.session() as session, raised(DamagedBackup, code) as caught:
            session.restore("whole", suffix="_back", **options)
        assert caught.value.exit_code == 8
        assert not self.coll.moved("coll_back").exists()
        assert not list(self.site.server.storage_root.glob("restore-temp-*"))
        assert len(self.coll.rows()) == 591, "the server is alive"
        error = caught.value
        assert isinstance(error, DamagedBackup)
        return error

    def restored(self, name: str, **options: Any) -> RunReport:
        with self.site.session() as session:
            return session.restore("whole", suffix=f"_{name}", rebuild_index=True, **options)


@pytest.fixture(scope="module")
def whole(milvus: EmbeddedMilvus, coll: Coll, tmp_path_factory: pytest.TempPathFactory) -> Site:
    home = tmp_path_factory.mktemp("damaged")
    made = make_site(
        home / "backup.yaml", milvus, local_storage(milvus.storage_root), local_storage(home / "backups")
    )
    with made.session() as session:
        session.create("whole", filter=str(coll))
    return made


@pytest.fixture
def damage(whole: Site, coll: Coll) -> Iterator[Damage]:
    made = Damage(whole, coll)
    kept = made.home.with_name("kept")
    shutil.copytree(made.home, kept)
    yield made
    shutil.rmtree(made.home)
    kept.rename(made.home)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << (at % 8)
    path.write_bytes(content)


@pytest.mark.parametrize("number", [0, 1, 100, 101, 102])
def test_a_flipped_bit_of_any_field_never_reaches_milvus(number: int, damage: Damage) -> None:
    (path, *_) = damage.of_field(number)
    size, chance = path.stat().st_size, random.Random(number)
    for at in (0, 60, size // 2, chance.randrange(size), size - 1):
        flip(path, at)
        error = damage.refused(code="object-damaged")
        assert str(error.facts["key"]).endswith(f"{number}/{path.name}")
        assert "same command" not in str(error)
        flip(path, at)
    damage.restored(f"mended_{number}")
    assert_same(damage.coll, damage.coll.moved(f"coll_mended_{number}"))


def test_logs_of_two_segments_that_were_exchanged_are_refused(damage: Damage) -> None:
    for number in (1, 100, 102):
        one, two = damage.of_field(number)
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        damage.refused()
        one.write_bytes(first)
        two.write_bytes(second)


@pytest.mark.parametrize(
    "change",
    [lambda path: path.unlink(), lambda path: path.write_bytes(b""), lambda path: flip(path, 100)],
    ids=["removed", "emptied", "flipped"],
)
def test_a_delete_log_that_is_not_whole_is_refused(change: Callable[[Path], None], damage: Damage) -> None:
    change(damage.logs("delta_log")[0])
    damage.refused()


def test_all_delete_logs_removed_is_refused(damage: Damage) -> None:
    for path in damage.logs("delta_log"):
        path.unlink()
    error = damage.refused(code="backup-objects-differ")
    assert error.facts["missing"] == 2


def test_logs_that_are_there_twice_are_imported_once(damage: Damage) -> None:
    for path in damage.logs("insert_log"):
        path.with_name(str(int(path.name) + 1)).write_bytes(path.read_bytes())
    report = damage.restored("once")
    assert any("do not belong" in notice for notice in report.notices)
    assert_same(damage.coll, damage.coll.moved("coll_once"))


def test_an_entry_missing_in_the_metadata_is_refused(damage: Damage) -> None:
    file = damage.home / "meta" / "full_meta.json"
    tree: Tree = json.loads(file.read_text("utf-8"))
    segments = [
        part for part in tree["collection_backups"][0]["partition_backups"] if "segment_backups" in part
    ]
    segments[0]["segment_backups"].pop()
    file.write_text(json.dumps(tree), "utf-8")
    damage.refused()


def test_rows_are_exact_with_deletes(damage: Damage) -> None:
    (outcome,) = damage.restored("exact", load=True).collections
    assert (outcome.rows_expected, outcome.rows_present, outcome.notes) == (591, 591, ())


def test_salvage_restores_the_whole_segment_and_tells_the_rows_that_are_lost(damage: Damage) -> None:
    flip(damage.of_field(102)[0], 500)
    with pytest.raises(PartialFailure) as caught:
        damage.restored("salvaged", salvage=True)
    report = caught.value.report
    assert isinstance(report, RunReport)
    assert report.collections[0].outcome == "salvaged"
    found = damage.coll.moved("coll_salvaged")
    found.load()
    lost = damage.coll.rows().keys() - found.rows().keys()
    assert len(lost) in (297, 294), "one of the two segments"
    kept = {key: row for key, row in damage.coll.rows().items() if key not in lost}
    assert found.rows() == kept
    assert "rows lost" in " ".join(report.collections[0].notes)
