"""Restores that are killed or stopped."""

from __future__ import annotations

from typing import Any

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e.data import Coll, assert_same
from tests.e2e.interrupted.held import BACKUPS, BUCKET, JOURNAL, STAGED, Held
from tests.e2e.site import ROOT, make_site, s3_storage
from tests.servers.faults import Fault
from tests.servers.s3 import S3Server
from tests.shell import said_in


@pytest.fixture(scope="module")
def backups(
    milvus_s3: EmbeddedMilvus,
    milvus_store: S3Server,
    coll: Coll,
    small: Coll,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Backups ``whole`` (of `coll`) and ``small``."""
    site = make_site(
        tmp_path_factory.mktemp("backups") / "backup.yaml",
        milvus_s3,
        s3_storage(milvus_store, BUCKET, ROOT),
        s3_storage(milvus_store, BUCKET, BACKUPS),
    )
    with site.session() as session:
        session.create("whole", filter=str(coll))
        session.create("small", filter=str(small))


def test_a_restore_killed_while_it_stages_goes_on_with_what_was_staged(
    held: Held, coll: Coll, backups: None
) -> None:
    restore = ("restore", "-n", "whole", "-s", "_staged", "--rebuild_index")
    held.kill(Fault("stall", "PUT", STAGED, skip=10), *restore)
    assert not coll.moved("coll_staged").exists()
    report = held.site.json(*restore)
    assert report["transfer"]["objects"]["kept"] >= 10
    assert_same(coll, coll.moved("coll_staged"))
    assert held.left() == []


@pytest.mark.parametrize("writes", [0, 1, 3, 4, 6])
def test_a_restore_killed_at_any_step_ends_well_when_it_is_repeated(
    writes: int, held: Held, small: Coll, backups: None
) -> None:
    """Killed at each writing of its journal: while creating, while starting the first import or the second, later."""
    restore = ("restore", "-n", "small", "-s", f"_{writes}", "--rebuild_index")
    held.kill(Fault("stall", "PUT", JOURNAL, skip=writes), *restore)
    report = held.site.json(*restore)
    (outcome,) = report["collections"]
    assert (outcome["outcome"], outcome["rows_expected"], outcome["rows_present"]) == ("done", 300, 300)
    assert_same(small, small.moved(f"small_{writes}"))
    assert held.left() == []


@pytest.mark.parametrize(("written", "times"), [(STAGED, 10), (JOURNAL, 4)], ids=["staging", "importing"])
def test_ctrl_c_in_a_restore_leaves_neither_a_collection_nor_copies(
    written: str, times: int, held: Held, coll: Coll, backups: None
) -> None:
    fault = Fault("stall", "PUT", written, skip=times)
    errors = held.interrupt(fault, "restore", "-n", "whole", "-s", "_stopped", "--rebuild_index")
    assert len(said_in(errors)) == 1, errors
    assert not coll.moved("coll_stopped").exists()
    assert held.left() == []
    assert coll.rows()


def restored(report: Any) -> list[tuple[str, str, int]]:
    """What a gc says of directories of restores: outcome, reason or not, objects."""
    found = [item for item in report["leftovers"] if item["kind"] == "restore"]
    return [(item["outcome"], "with a reason" if item["reason"] else "", item["objects"]) for item in found]


def test_gc_removes_what_a_restore_staged_that_was_killed(held: Held, coll: Coll, backups: None) -> None:
    restore = ("restore", "-n", "whole", "-s", "_gone", "--rebuild_index")
    held.kill(Fault("stall", "PUT", STAGED, skip=10), *restore)
    left = held.left()
    assert len(left) >= 10
    assert restored(held.site.json("gc", "--yes")) == [], "it is young"
    (planned,) = restored(held.site.json("gc", "--grace", "0h", "--dry-run"))
    assert planned[0] == "planned"
    assert held.left() == left
    (done,) = restored(held.site.json("gc", "--grace", "0h", "--yes"))
    assert done == ("removed", "", len(left))
    assert held.left() == []
    held.site.json(*restore)
    assert_same(coll, coll.moved("coll_gone"))


def test_gc_leaves_the_journal_of_a_collection_that_is_half_made(
    held: Held, coll: Coll, backups: None
) -> None:
    restore = ("restore", "-n", "whole", "-s", "_half", "--rebuild_index")
    held.kill(Fault("stall", "PUT", JOURNAL, skip=4), *restore)
    ((outcome, reason, objects),) = restored(held.site.json("gc", "--grace", "0h", "--yes"))
    assert (outcome, reason) == ("removed", "with a reason")
    assert objects >= 10
    (journal,) = held.left()
    assert journal.endswith("/mbk.json")
    held.site.json(*restore)
    assert_same(coll, coll.moved("coll_half"))
    assert held.left() == []


def test_gc_removes_the_journal_of_a_collection_that_is_dropped(
    held: Held, coll: Coll, backups: None
) -> None:
    held.kill(
        Fault("stall", "PUT", JOURNAL, skip=4), "restore", "-n", "whole", "-s", "_dropped", "--rebuild_index"
    )
    dropped = coll.moved("coll_dropped")
    dropped.client.drop_collection(dropped.name)
    assert restored(held.site.json("gc", "--grace", "0h", "--yes"))[0][:2] == ("removed", "")
    assert held.left() == []


def test_gc_beside_a_restore_leaves_what_that_works_with(held: Held, coll: Coll, backups: None) -> None:
    running = held.start(
        Fault("stall", "PUT", JOURNAL, skip=4), "restore", "-n", "whole", "-s", "_beside", "--rebuild_index"
    )
    left = held.left()
    assert restored(held.site.json("gc", "--grace", "0h", "--yes"))[0][:2] == ("kept", "with a reason")
    assert held.left() == left
    held.finish(running)
    assert_same(coll, coll.moved("coll_beside"))
    assert held.left() == []
