"""What happens to one of several collections, and to objects of a backup, during and between runs."""

from __future__ import annotations

import pytest

from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.interrupted.held import BACKUPS, BUCKET, COPIES, Held
from tests.e2e.site import ROOT
from tests.servers.faults import Fault
from tests.shell import said_in


@pytest.fixture
def pair(clients: Clients, fresh: str) -> tuple[Coll, Coll]:
    return data.plain(clients, fresh, "a"), data.plain(clients, fresh, "b")


def test_a_collection_dropped_during_the_run_is_skipped_and_told(
    held: Held, pair: tuple[Coll, Coll], fresh: str
) -> None:
    first, second = pair
    process = held.start(
        Fault("stall", "PUT", COPIES), "-o", "json", "create", "-n", "dropping", "--filter", f"{fresh}.*"
    )
    second.client.drop_collection(second.name)
    output = held.finish(process)
    assert '"skipped"' in output
    assert "dropped during the backup" in output
    assert held.state("dropping") == "complete"
    held.site.mbk("restore", "-n", "dropping", "-s", "_back", "--rebuild_index")
    assert_same(first, first.moved("a_back"))
    assert not second.moved("b_back").exists()


def test_a_failing_collection_stops_no_other_and_is_completed_when_it_is_mended(
    held: Held, pair: tuple[Coll, Coll], fresh: str
) -> None:
    good, bad = pair
    number = bad.described()["collection_id"]
    s3 = held.store.client()
    # Milvus' own keys: one column of the collection's only segment goes behind its back.
    key = next(
        key for key in data.keys_below(held.store, BUCKET, f"{ROOT}/insert_log/{number}/") if "/101/" in key
    )
    body = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.delete_object(Bucket=BUCKET, Key=key)
    create = ("create", "-n", "mended", "--filter", f"{fresh}.*")
    report = held.site.json(*create, code=3)
    outcomes = {item["source"]: item["outcome"] for item in report["collections"]}
    assert outcomes == {str(good): "done", str(bad): "failed"}
    assert held.state("mended") == "partial"
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    held.site.mbk(*create, "--resume")
    assert held.state("mended") == "complete"
    held.site.mbk("restore", "-n", "mended", "-s", "_back", "--rebuild_index")
    for coll in pair:
        assert_same(coll, coll.moved(f"{coll.name}_back"))


def test_a_backup_that_lost_objects_is_refused_before_anything_is_changed(
    held: Held, small: Coll, name: str
) -> None:
    held.site.mbk("create", "-n", name, "--filter", str(small))
    keys = data.keys_below(held.store, BUCKET, f"{BACKUPS}/{name}/binlogs/insert_log/")
    segment = keys[0].rsplit("/", 2)[0]
    held.store.client().delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys if key.startswith(f"{segment}/")]}
    )
    line = held.site.mbk("restore", "-n", name, "-s", "_lost", code=8).stderr.strip()
    assert len(said_in(line)) == 1
    assert not small.moved("small_lost").exists()
