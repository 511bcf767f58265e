"""Backups that are killed or stopped while they are made."""

from __future__ import annotations

import pytest

from tests.e2e import data
from tests.e2e.data import Coll, assert_same
from tests.e2e.interrupted.held import BACKUPS, BUCKET, COPIES, Held
from tests.servers.faults import Fault
from tests.shell import said_in


def test_a_killed_backup_is_told_to_be_incomplete_and_is_completed_without_copying_twice(
    held: Held, coll: Coll, name: str
) -> None:
    create = ("create", "-n", "killed", "--filter", str(coll))
    held.kill(Fault("stall", "PUT", COPIES, skip=20), *create)
    assert held.state("killed") == "incomplete"
    refused = held.site.mbk(*create, code=5).stderr
    assert "--resume" in refused
    held.site.mbk("restore", "-n", "killed", "-s", "_no", code=1)
    assert not coll.moved("coll_no").exists()
    objects = held.site.json(*create, "--resume")["transfer"]["objects"]
    assert objects["kept"] >= 20
    assert held.state("killed") == "complete"
    held.site.mbk("restore", "-n", "killed", "-s", "_killed", "--rebuild_index")
    assert_same(coll, coll.moved("coll_killed"))
    assert held.left() == []


@pytest.mark.parametrize("file", ["mbk.json", "backup_meta.json", "segment_meta.json", "full_meta.json"])
def test_a_backup_killed_while_it_commits_is_not_taken_for_complete(
    file: str, held: Held, small: Coll, name: str
) -> None:
    create = ("create", "-n", name, "--filter", str(small))
    skip = 1 if file == "mbk.json" else 0
    held.kill(Fault("stall", "PUT", f"/meta/{file}", skip=skip), *create)
    assert held.state(name) == "incomplete"
    objects = held.site.json(*create, "--resume")["transfer"]["objects"]
    assert set(objects) == {"kept"}
    assert held.state(name) == "complete"


def test_ctrl_c_in_a_backup_leaves_it_incomplete_and_the_garbage_collection_running(
    held: Held, coll: Coll
) -> None:
    create = ("create", "-n", "stopped", "--filter", str(coll))
    errors = held.interrupt(Fault("stall", "PUT", COPIES, skip=10), *create)
    assert len(said_in(errors)) == 1, errors
    assert "--resume" in errors
    assert held.gc_requests() == ["pause", "resume"]
    assert held.state("stopped") == "incomplete"
    held.site.mbk("delete", "-n", "stopped", "--yes")
    assert data.keys_below(held.store, BUCKET, f"{BACKUPS}/stopped/") == []
