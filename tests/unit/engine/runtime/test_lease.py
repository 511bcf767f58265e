"""Two runs on one backup, or into one collection: one works, the other is told; what the dead leave behind passes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from mbk.engine.runtime import lease
from mbk.engine.runtime.claims import hold_targets
from mbk.engine.runtime.holder import Holder, held, read
from mbk.engine.runtime.lease import Lease, hold
from mbk.engine.runtime.pace import LeasePace
from mbk.engine.runtime.retry import RetryPolicy
from mbk.engine.runtime.run import Run
from mbk.errors import (
    Busy,
    Interrupted,
    LeaseLost,
    MbkError,
    ObjectNotFound,
    PermissionDenied,
    StorageFull,
    StorageUnavailable,
)
from mbk.model.events import Event, Notice
from mbk.ports.storage import Capabilities, ObjectInfo, Storage
from mbk.testing import MemoryService, MemoryStorage
from mbk_local.storage import LocalStorage
from tests.fakes.world import World
from tests.limits import no_more_threads
from tests.raising import raised

T = TypeVar("T")

QUICK = LeasePace(beat=0.02, expiry=2.0, settle=0.01, handover=0.05, poll=0.01)
#: The first look tells; nothing is waited for.
AT_ONCE = LeasePace(expiry=0.0, settle=0.0, handover=0.0, poll=0.0)
#: Only the fence looks.
NO_RENEWAL = LeasePace(beat=10_000, expiry=0.5, settle=0.0, handover=0.0, poll=0.01)


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
    storage: Storage,
    name: str,
    *,
    machine: str,
    pid: int = 1,
    targets: tuple[str, ...] = (),
    token: str = "of-another",
) -> None:
    holder = Holder(token, machine, pid, "backup of 'nightly'", targets=targets)
    data = msgspec.json.encode(holder)
    storage.write(key(storage, name), [data], size=len(data))


def succeed(storage: Storage, name: str, what: str) -> None:
    """Another run takes the lease over."""
    data = msgspec.json.encode(Holder("of-a-successor", "elsewhere", 7, what))
    storage.write(key(storage, name), [data], size=len(data))


@contextmanager
def beating(storage: Storage, name: str, machine: str, *, pid: int = 1) -> Iterator[None]:
    """Another machine that is alive."""
    stop = threading.Event()

    def renew() -> None:
        beat = 0
        while not stop.wait(0.01):
            beat += 1
            data = msgspec.json.encode(Holder("of-another", machine, pid, "backup of 'nightly'", beat))
            storage.write(key(storage, name), [data], size=len(data))

    left_by(storage, name, machine=machine, pid=pid)
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


def test_without_a_thread_that_renews_it_there_is_no_lease(storage: Storage) -> None:
    with no_more_threads(), raised(MbkError, "threads-exhausted"), hold(storage, "nightly", "create", Run()):
        pass
    assert leases(storage) == []
    with hold(storage, "nightly", "create", Run()):
        assert leases(storage) == [key(storage, "nightly")]


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


HOLDER = """
import sys, time
from mbk.engine.runtime.lease import hold
from mbk.engine.runtime.run import Run
from mbk_local.storage import LocalStorage
with hold(LocalStorage(sys.argv[1]), "nightly", "backup of 'nightly'", Run()):
    print("held", flush=True)
    time.sleep(3600)
"""


@contextmanager
def holding(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease of ``nightly``."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(directory)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    with holding(tmp_path) as process:
        holder = read(storage, key(storage, "nightly"), Run())
        assert holder is not None
        process.kill()
        process.wait()
        with hold(storage, "nightly", "backup", Run(), pace=LeasePace(expiry=10_000)):
            pass
    assert not [*tmp_path.iterdir()], "who is dead does not come back: nothing is kept for it"
    assert not Path(tempfile.gettempdir(), f"mbk-run-{holder.token}.lock").exists()


def test_a_machine_of_the_same_name_and_a_process_id_that_is_not_here_prove_nothing(storage: Storage) -> None:
    """A clone, or a container elsewhere: alive, and renewing."""
    with (
        beating(storage, "nightly", socket.gethostname(), pid=2**22 + 1),
        raised(Busy, "run-in-progress", machine=socket.gethostname()),
    ):
        hold(storage, "nightly", "backup", Run(), pace=LeasePace(expiry=10_000, poll=0.01)).__enter__()


@pytest.mark.parametrize("boot", [None, b"another-boot"], ids=["nothing", "of another boot"])
def test_what_proves_no_death_is_waited_for(tmp_path: Path, boot: bytes | None) -> None:
    """A disk that was cloned while the run was in progress brings its sign along, without the run."""
    storage, run = LocalStorage(str(tmp_path)), Run()
    token = uuid.uuid4().hex
    path = Path(tempfile.gettempdir()) / f"mbk-run-{token}.lock"
    if boot:
        path.write_bytes(boot)
    left_by(storage, "nightly", machine=socket.gethostname(), token=token)
    run.cancelled.set()
    try:
        with pytest.raises(Interrupted):  # it wants to wait
            hold(storage, "nightly", "backup", run, pace=LeasePace(expiry=10_000)).__enter__()
    finally:
        path.unlink(missing_ok=True)


def test_a_silent_lease_is_taken_over_and_kept_for_its_holder_to_see(storage: Storage) -> None:
    left_by(storage, "nightly", machine="elsewhere")
    with hold(storage, "nightly", "deletion", Run(), pace=AT_ONCE):
        pass
    left = read(storage, key(storage, "nightly"), Run())
    assert left is not None
    assert (left.ended, left.what, left.ousted) == (True, "deletion", ("of-another",))
    with hold(storage, "nightly", "backup", Run(), pace=LeasePace(expiry=10_000)):
        pass  # what has ended blocks nobody


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


def test_a_run_whose_lease_was_taken_over_stops_and_says_by_whom() -> None:
    storage = MemoryStorage(root="backup/")
    run = Run()
    with (
        raised(LeaseLost, "lease-lost", operation="backup", successor="deletion of 'nightly'", pid=7),
        hold(storage, "nightly", "backup", run, pace=QUICK),
    ):
        succeed(storage, "nightly", "deletion of 'nightly'")
        assert run.cancelled.wait(30)
        run.check_cancelled()
    assert leases(storage)  # the other's, which is not ours to give back


def test_the_fence_reads_the_lease_and_cancels_the_run() -> None:
    storage, run = MemoryStorage(root="backup/"), Run()
    with (
        raised(LeaseLost, "lease-lost"),
        hold(storage, "nightly", "backup", run, pace=NO_RENEWAL) as fence,
    ):
        fence.require()
        succeed(storage, "nightly", "deletion of 'nightly'")
        assert not fence.is_lost
        with raised(LeaseLost, "lease-lost"):
            fence.require()
        assert fence.is_lost
        assert run.cancelled.is_set()


def test_a_run_that_ends_well_without_noticing_does_not_succeed() -> None:
    storage = MemoryStorage(root="backup/")
    with (
        raised(LeaseLost, "lease-gone", operation="backup"),
        hold(storage, "nightly", "backup", Run(), pace=NO_RENEWAL),
    ):
        storage.delete([key(storage, "nightly")])


def test_what_comes_of_a_lost_lease_is_told_as_that() -> None:
    storage = MemoryStorage(root="backup/")
    with (
        raised(LeaseLost, "lease-lost"),
        hold(storage, "nightly", "backup", Run(), pace=NO_RENEWAL),
    ):
        succeed(storage, "nightly", "deletion of 'nightly'")
        raise ObjectNotFound("everything is gone")


def test_who_tidies_up_waits_for_its_successor_and_leaves_nothing() -> None:
    storage = MemoryStorage(root="backup/")
    seen: list[Lease] = []
    ended = threading.Event()

    def deletion() -> None:
        with hold(storage, "nightly", "deletion", Run(), pace=AT_ONCE, deletes=True):
            taken.set()
            ended.wait(30)

    taken, thread = threading.Event(), threading.Thread(target=deletion)
    with (
        raised(LeaseLost, "lease-lost", successor="deletion"),
        hold(storage, "nightly", "backup", Run(), pace=NO_RENEWAL, aftermath=seen.append) as fence,
    ):
        held.discard(fence.token)  # type: ignore[attr-defined]  # as if it were another process
        thread.start()
        assert taken.wait(30)
        threading.Timer(0.2, ended.set).start()
    thread.join()
    assert [lease.before and lease.before.deletes for lease in seen] == [True]
    assert not leases(storage)


def test_a_twin_of_a_cloned_machine_is_noticed_by_its_beats() -> None:
    """Both have the same lease, process and random numbers; what one writes the other has not written."""
    storage, run = MemoryStorage(root="backup/"), Run()
    with raised(LeaseLost, "lease-lost"), hold(storage, "nightly", "backup", run, pace=QUICK):
        mine = read(storage, key(storage, "nightly"), Run())
        assert mine is not None
        data = msgspec.json.encode(msgspec.structs.replace(mine, beat=mine.beat + 10**12))
        storage.write(key(storage, "nightly"), [data], size=len(data))
        assert run.cancelled.wait(30)


@pytest.mark.parametrize("where", ["read", "write"])
def test_who_stood_still_while_it_renewed_its_lease_does_not_believe_its_own_write(where: str) -> None:
    """Between look and write another may have come, worked and gone."""
    run = Run()
    storage = Slow(where)
    pace = LeasePace(beat=0.02, expiry=0.2, settle=0.01, handover=0.05, poll=0.01)
    with (
        raised(LeaseLost, "lease-gone", operation="backup"),
        hold(storage, "nightly", "backup", run, pace=pace),
    ):
        storage.stands_still = True
        assert run.cancelled.wait(30)


class Slow(MemoryStorage):
    """Its process is stopped once, after a read was answered or before a write was sent, for longer than others wait."""

    def __init__(self, where: str) -> None:
        super().__init__(root="backup/")
        self._where, self.stands_still = where, False

    def _stop(self, where: str) -> None:
        if self.stands_still and where == self._where:
            self.stands_still = False
            time.sleep(0.4)

    @contextmanager
    def read(self, *args: Any, **kwargs: Any) -> Iterator[Iterator[bytes]]:
        with super().read(*args, **kwargs) as chunks:
            yield chunks
        self._stop("read")

    def write(self, *args: Any, **kwargs: Any) -> ObjectInfo:
        self._stop("write")
        return super().write(*args, **kwargs)


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
    left = [read(storage, entry, Run()) for entry in sorted(leases(storage))]
    assert [holder and (holder.ended, holder.ousted) for holder in left] == [
        (True, ()),
        (True, ("of-another",)),
    ]
    with hold_targets(storage, ["db.a"], "restore", Run(), pace=LeasePace(expiry=10_000)):
        pass


def test_a_restore_whose_claim_was_taken_over_stops_and_says_by_whom(storage: Storage) -> None:
    run = Run()
    with (
        raised(LeaseLost, "lease-lost", operation="restore of 'nightly'", successor="restore of 'weekly'"),
        hold_targets(storage, ["db.a", "db.b"], "restore of 'nightly'", run, pace=NO_RENEWAL) as fence,
    ):
        held.discard(fence.token)  # type: ignore[attr-defined]  # as if it were another process
        with hold_targets(storage, ["db.b"], "restore of 'weekly'", Run(), pace=AT_ONCE):
            pass
        fence.require()
    assert run.cancelled.is_set()
    assert not [entry for entry in leases(storage) if "/restore-" in entry]


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


def full(operation: str, what: str) -> None:
    if operation in ("write", "write_if_absent"):
        raise StorageFull("no space left on device")


def test_what_frees_space_goes_on_where_none_is_left_for_a_lease() -> None:
    events: list[Event] = []
    storage = MemoryStorage(root="backup/", fault=full)
    with hold(storage, "nightly", "deletion", Run(events.append), deletes=True) as fence:
        fence.require()
    assert noticed(events) == [("no-lease", {"reason": "no space left on device"})]
    with raised(StorageFull):
        hold(storage, "nightly", "backup", Run()).__enter__()


def test_no_space_is_no_reason_to_delete_beside_a_live_run() -> None:
    storage = MemoryStorage(root="backup/")
    with hold(storage, "nightly", "backup", Run(), pace=QUICK):
        storage.fault = full
        with raised(Busy, "run-in-progress"):
            hold(storage, "nightly", "deletion", Run(), pace=QUICK, deletes=True).__enter__()
        storage.fault = MemoryStorage().fault


def test_whose_silent_lease_is_in_the_way_of_a_deletion_without_space_does_not_keep_it() -> None:
    storage = MemoryStorage(root="backup/")
    left_by(storage, "nightly", machine="elsewhere")
    storage.fault = full
    with hold(storage, "nightly", "deletion", Run(), pace=AT_ONCE, deletes=True):
        assert not leases(storage)


@pytest.mark.parametrize("call", range(12))
@pytest.mark.parametrize("answered", [True, False], ids=["refused", "answer lost"])
def test_a_fault_that_passes_ends_no_lease(call: int, answered: bool) -> None:
    storage = Flaky(call, answered=answered)
    run = Run(policy=RetryPolicy(first=0.0001))
    left_by(storage, "old", machine="elsewhere")
    storage.counting = True
    pace = LeasePace(settle=0.0, handover=0.0, abandoned=timedelta())
    with hold(storage, "nightly", "backup", run, pace=pace) as fence:
        fence.require()
    storage.counting = False
    assert not leases(storage)


class Flaky(MemoryStorage):
    """Its call number ``call`` fails once: before it was made, or afterwards, so that its answer is lost."""

    def __init__(self, call: int, *, answered: bool) -> None:
        super().__init__(root="backup/")
        self._left, self._answered, self.counting = call, answered, False

    def _fails(self) -> bool:
        self._left -= self.counting
        return self.counting and self._left == -1

    def _once(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        fails = self._fails()
        if fails and self._answered:
            raise StorageUnavailable("reset")
        result = function(*args, **kwargs)
        if fails:
            raise StorageUnavailable("reset")
        return result

    def list(self, *args: Any, **kwargs: Any) -> Iterator[ObjectInfo]:
        return self._once(super().list, *args, **kwargs)

    def read(self, *args: Any, **kwargs: Any) -> AbstractContextManager[Iterator[bytes]]:
        return self._once(super().read, *args, **kwargs)

    def write(self, *args: Any, **kwargs: Any) -> ObjectInfo:
        return self._once(super().write, *args, **kwargs)

    def write_if_absent(self, *args: Any, **kwargs: Any) -> ObjectInfo:
        return self._once(super().write_if_absent, *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> None:
        return self._once(super().delete, *args, **kwargs)

    def clean(self, *args: Any, **kwargs: Any) -> int:
        return self._once(super().clean, *args, **kwargs)
