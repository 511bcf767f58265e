"""Killed, interrupted and failing runs: what is acknowledged stays, what is half is never visible, all can go on.

A proxy before the S3 server holds a run at a certain request: there it is killed, or something happens beside it.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mbk.demo.embedded import EmbeddedMilvus
from tests.e2e import data
from tests.e2e.data import Clients, Coll, assert_same
from tests.e2e.site import MINUTES, ROOT, Site, make_site, s3_storage
from tests.servers.faults import Fault, FaultProxy, fault_proxy
from tests.servers.s3 import S3Server

BUCKET, BACKUPS = "milvus", "held"
EVER = 1_000_000
COPIES = "/insert_log/"
STAGED = "restore-temp[^?]*/insert_log/"
JOURNAL = "restore-temp[^?]*/mbk.json"


@pytest.fixture(scope="module")
def clients(milvus_s3: EmbeddedMilvus) -> Iterator[Clients]:
    with Clients(milvus_s3) as found:
        yield found


@dataclass(frozen=True, slots=True)
class Held:
    """A site whose storages are reached through a proxy, also the management port of Milvus."""

    site: Site
    proxy: FaultProxy
    management: FaultProxy
    store: S3Server

    def start(self, fault: Fault, *words: str) -> subprocess.Popen[str]:
        """Starts a command and returns when it waits at the fault."""
        fault.times = EVER
        self.proxy.faults.append(fault)
        process = self.site.start(*words)
        wait_for(lambda: fault.seen > fault.skip, process)
        return process

    def let_go(self) -> None:
        """Breaks the connections that are held; from now on everything passes."""
        self.proxy.faults.clear()
        self.proxy.closing.set()

    def kill(self, fault: Fault, *words: str) -> None:
        process = self.start(fault, *words)
        process.kill()
        process.communicate(timeout=MINUTES)
        self.let_go()

    def interrupt(self, fault: Fault, *words: str) -> str:
        """What the command says to Ctrl-C; requires its exit code."""
        process = self.start(fault, *words)
        process.send_signal(signal.SIGINT)
        self.let_go()
        _, errors = process.communicate(timeout=MINUTES)
        assert process.returncode == 130, errors
        return errors

    def finish(self, process: subprocess.Popen[str], *, code: int = 0) -> str:
        self.let_go()
        output, errors = process.communicate(timeout=MINUTES)
        assert process.returncode == code, errors
        return output

    def state(self, name: str) -> str:
        (line,) = [item for item in self.site.json("list") if item["name"] == name]
        return str(line["state"])

    def left(self) -> list[str]:
        """Temporary copies and journals of restores."""
        return data.keys_below(self.store, BUCKET, f"{ROOT}/restore-temp")

    def gc_requests(self) -> list[str]:
        """``pause`` and ``resume`` as they came."""
        return [item.target.partition("?")[0].rpartition("/")[2] for item in self.management.requests]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + MINUTES
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"ended before it was held: {process.communicate()}")
        assert time.monotonic() < deadline, "the fault was never met"
        time.sleep(0.02)


@pytest.fixture
def held(milvus_s3: EmbeddedMilvus, milvus_store: S3Server, tmp_path: Path) -> Iterator[Held]:
    paused = Fault("answer", target="garbage_collection", times=EVER, status=200, body=b'{"ticket": "t-1"}')
    with fault_proxy(milvus_store.port) as proxy, fault_proxy(1, paused) as management:
        store = milvus_store.behind(proxy.port)
        site = make_site(
            tmp_path / "backup.yaml",
            milvus_s3,
            s3_storage(store, BUCKET, ROOT),
            s3_storage(store, BUCKET, BACKUPS),
            milvus={"management": {"endpoint": f"http://127.0.0.1:{management.port}"}},
            backup={"concurrency": {"collections": 1}},
        )
        yield Held(site, proxy, management, milvus_store)


@pytest.fixture(scope="module")
def coll(clients: Clients) -> Coll:
    """Two partitions of several segments each."""
    coll = data.rich(clients, clients.database("interrupted"), "coll", partitions=["p1"])
    coll.load()
    for first in (0, 200, 400, 600):
        coll.insert(data.rich_rows(range(first, first + 100)))
        coll.insert(data.rich_rows(range(first + 100, first + 200)), partition="p1")
        coll.flush()
    coll.delete(range(50, 70))
    return coll


@pytest.fixture(scope="module")
def small(clients: Clients) -> Coll:
    """Two partitions of one segment each, which are imported from where they lie."""
    coll = data.plain(clients, clients.database("interrupted"), "small")
    coll.client.create_partition(coll.name, "p1")
    coll.insert(data.plain_rows(range(1000, 1100)), partition="p1")
    coll.flush()
    return coll


# -- create ------------------------------------------------------------------------------------------------------------


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
    assert len(errors.strip().splitlines()) == 1, errors
    assert "--resume" in errors
    assert held.gc_requests() == ["pause", "resume"]
    assert held.state("stopped") == "incomplete"
    held.site.mbk("delete", "-n", "stopped", "--yes")
    assert data.keys_below(held.store, BUCKET, f"{BACKUPS}/stopped/") == []


# -- restore -----------------------------------------------------------------------------------------------------------


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
    assert len([line for line in errors.splitlines() if not line.startswith("mbk: warning:")]) == 1, errors
    assert not coll.moved("coll_stopped").exists()
    assert held.left() == []
    assert coll.rows()


# -- one of several ----------------------------------------------------------------------------------------------------


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
    line = held.site.mbk("restore", "-n", name, "-s", "_lost", code=1).stderr.strip()
    assert len(line.splitlines()) == 1
    assert not small.moved("small_lost").exists()
