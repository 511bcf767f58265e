"""Two runs on one backup, or into one collection: one works, the other is told; what the dead leave behind passes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from mbk.engine.runtime import lease
from mbk.engine.runtime.lease import Holder, Lease, hold, hold_targets
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.run import Run
from mbk.errors import Busy, Interrupted, PermissionDenied
from mbk.model.events import Event, Notice
from mbk.ports.storage import Capabilities, Storage
from mbk.testing import MemoryService, MemoryStorage
from mbk_local.storage import LocalStorage
from tests.fakes.world import World
from tests.raising import raised

QUICK = LeasePace(beat=0.02, expiry=0.2, settle=0.01, poll=0.01)
#: The first look tells; nothing is waited for.
AT_ONCE = LeasePace(expiry=0.0, settle=0.0, poll=0.0)


@pytest.fixture(params=["conditional", "plain", "local"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(str(tmp_path))
    service = MemoryService("b")
    plain = Capabilities()
    if request.param == "plain":
        return MemoryStorage(service, "b", root="backup/", capabilities=plain)
    return MemoryStorage(service, "b", root="backup/")


def key(storage: Storage, name: str) -> str:
    return f"{storage.location.root}{lease.PREFIX}{name}"


def leases(storage: Storage) -> list[str]:
    return [entry.key for entry in storage.list(f"{storage.location.root}{lease.PREFIX}")]


def noticed(events: list[Event]) -> list[tuple[str, Mapping[str, object]]]:
    return [(event.code, event.facts) for event in events if isinstance(event, Notice)]


def left_by(
    storage: Storage, name: str, *, machine: str, pid: int = 1, targets: tuple[str, ...] = ()
) -> None:
    holder = Holder("of-another", machine, pid, "backup of 'nightly'", targets=targets)
    data = msgspec.json.encode(holder)
    storage.write(key(storage, name), [data], size=len(data))


@contextmanager
def beating(storage: Storage, name: str, machine: str) -> Iterator[None]:
    """Another machine that is alive."""
    stop = threading.Event()

    def renew() -> None:
        beat = 0
        while not stop.wait(0.01):
            beat += 1
            data = msgspec.json.encode(Holder("of-another", machine, 1, "backup of 'nightly'", beat))
            storage.write(key(storage, name), [data], size=len(data))

    left_by(storage, name, machine=machine)
    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_the_second_is_told_who_is_busy_and_can_go_on_afterwards(storage: Storage) -> None:
    with hold(storage, "nightly", "backup of 'nightly'", Run(), pace=QUICK):
        with raised(Busy, "run-in-progress", operation="backup of 'nightly'", pid=os.getpid()):
            hold(storage, "nightly", "deletion", Run(), pace=QUICK).__enter__()
        with hold(storage, "weekly", "backup", Run(), pace=QUICK):
            pass
    with hold(storage, "nightly", "deletion", Run(), pace=QUICK):
        pass
    assert not leases(storage)


def test_nothing_is_left_of_a_lease_on_a_directory(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    with hold(storage, "nightly", "backup", Run()):
        assert leases(storage)
    assert not [*tmp_path.iterdir()]


def test_of_many_that_come_at_once_one_gets_it() -> None:
    storage = MemoryStorage(root="backup/")
    start, got, refused = threading.Barrier(8), [], []

    def contend() -> None:
        start.wait()
        try:
            with hold(storage, "nightly", "backup", Run(), pace=QUICK):
                got.append(1)
                finish.wait()
        except Busy:
            refused.append(1)
            if len(refused) == 7:
                finish.set()

    finish = threading.Event()
    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


def test_the_lease_of_a_dead_process_of_this_machine_is_taken_over_at_once(storage: Storage) -> None:
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    left_by(storage, "nightly", machine=lease._machine(), pid=int(dead.stdout))
    with hold(storage, "nightly", "backup", Run(), pace=LeasePace(expiry=10_000)):
        pass
    assert not leases(storage)


def test_the_lease_of_another_machine_is_taken_over_when_it_no_longer_changes(storage: Storage) -> None:
    left_by(storage, "nightly", machine="elsewhere")
    with hold(storage, "nightly", "backup", Run(), pace=AT_ONCE):
        pass
    assert not leases(storage)


def test_another_machine_that_is_alive_is_believed() -> None:
    storage = MemoryStorage(root="backup/")
    with (
        beating(storage, "nightly", "elsewhere"),
        raised(Busy, "run-in-progress", machine="elsewhere"),
    ):
        hold(storage, "nightly", "backup", Run(), pace=LeasePace(expiry=10_000, poll=0.01)).__enter__()


def test_a_damaged_lease_blocks_nobody(storage: Storage) -> None:
    storage.write(key(storage, "nightly"), [b"{"], size=1)
    with hold(storage, "nightly", "backup", Run(), pace=AT_ONCE):
        pass


def test_a_run_whose_lease_was_taken_over_stops() -> None:
    storage = MemoryStorage(root="backup/")
    events: list[Event] = []
    run = Run(events.append)
    with hold(storage, "nightly", "backup", run, pace=QUICK):
        left_by(storage, "nightly", machine="elsewhere")
        assert run.cancelled.wait(30)
    assert noticed(events) == [("lease-lost", {"operation": "backup"})]
    assert leases(storage)  # the other's, which is not ours to give back


def test_waiting_for_a_lease_ends_with_the_run() -> None:
    storage = MemoryStorage(root="backup/")
    run = Run()
    left_by(storage, "nightly", machine="elsewhere")
    run.cancelled.set()
    with pytest.raises(Interrupted):
        hold(storage, "nightly", "backup", run, pace=LeasePace(expiry=10_000)).__enter__()


def test_where_leases_are_forbidden_the_work_goes_on_and_says_so() -> None:
    def forbid(operation: str, what: str) -> None:
        if lease.PREFIX in what and operation in ("write", "list"):
            raise PermissionDenied("write: denied")

    events: list[Event] = []
    storage, run = MemoryStorage(root="backup/", fault=forbid), Run(events.append)
    with hold(storage, "nightly", "backup", run):
        pass
    assert noticed(events) == [("no-lease", {"reason": "write: denied"})]


def test_two_restores_share_no_collection_and_may_run_side_by_side(storage: Storage) -> None:
    with hold_targets(storage, ["db.a", "db.b"], "restore of 'nightly'", Run(), pace=QUICK):
        with (
            hold_targets(storage, ["db.c"], "restore of 'weekly'", Run(), pace=QUICK),
            raised(Busy, "restore-in-progress", collection="db.b", operation="restore of 'nightly'"),
        ):
            hold_targets(storage, ["db.b", "db.d"], "restore", Run(), pace=QUICK).__enter__()
        with hold_targets(storage, ["db.d"], "restore", Run(), pace=QUICK):
            pass
    assert not leases(storage)


def test_the_claim_of_a_restore_that_was_killed_blocks_nobody(storage: Storage) -> None:
    left_by(storage, "restore-1", machine="elsewhere", targets=("db.a",))
    left_by(storage, "restores", machine="elsewhere")
    with hold_targets(storage, ["db.a"], "restore", Run(), pace=AT_ONCE):
        pass
    assert not leases(storage)


def test_leases_that_nobody_came_back_for_are_swept() -> None:
    storage = MemoryStorage(root="backup/")
    left_by(storage, "old", machine="elsewhere")
    with hold(storage, "nightly", "backup", Run(), pace=LeasePace(settle=0.0, abandoned=timedelta())):
        assert leases(storage) == [key(storage, "nightly")]


def test_a_backup_in_progress_cannot_be_deleted_or_resumed_by_another_run() -> None:
    world = World()
    world.milvus.add("docs")
    world.milvus.insert("docs", range(4))
    with hold(world.backup, "nightly", "backup of 'nightly'", Run()), pytest.raises(Busy):
        world.create("nightly", resume=True)
    assert not world.catalog().is_taken("nightly")
    world.create("nightly")
    assert [summary.name for summary in world.catalog().summaries()] == ["nightly"]


def test_a_lease_renews_itself() -> None:
    storage = MemoryStorage(root="backup/")
    renewed = threading.Event()

    def watch(operation: str, what: str) -> None:
        if operation == "write":
            renewed.set()

    mine = Lease(storage, key(storage, "nightly"), "backup", Run(), QUICK)
    mine.take()
    storage.fault = watch
    assert renewed.wait(30)
    mine.release()
    assert not leases(storage)
