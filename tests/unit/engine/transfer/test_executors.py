"""What workers are handed, what they give back, and what is never theirs."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.fence import OPEN
from mbk.engine.runtime.fenced import writing_backup
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.executors.batches import BYTES, OBJECTS, CopyBatch, Strain, batches
from mbk.engine.transfer.executors.bench import CopyJob, Side
from mbk.engine.transfer.items import SERVER, CopyItem
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import ConfigError, ObjectNotFound, StorageUnavailable, UsageError
from mbk.model.events import Event, Notice, ObjectCopied, RetryScheduled
from mbk.ports.storage import Storage, StorageRef
from mbk.testing import MemoryService, MemoryStorage
from mbk.testing.memory import MemoryRef
from tests.fakes.workers import HereWorkers
from tests.fakes.world import QUICK
from tests.raising import raised


class Pair:
    """Two buckets, the workers that copy between them, and the run."""

    def __init__(self, *, one_service: bool = True, references: bool = True) -> None:
        self.services = [MemoryService("from", "to"), MemoryService("to")]
        self.source = MemoryStorage(self.services[0], "from")
        self.destination = MemoryStorage(self.services[0 if one_service else 1], "to", root="backup/")
        self.workers = HereWorkers(self.reference if references else lambda _: None)
        self.events: list[Event] = []
        self.run = Run(self.events.append, policy=QUICK, budget=Budget(copies=4, memory=1000))

    def reference(self, storage: Storage) -> StorageRef:
        where = storage.location
        return MemoryRef(where.endpoint, where.bucket)

    def put(self, count: int) -> list[CopyItem]:
        items = []
        for number in range(count):
            self.source.write(f"a/{number}", [b"x" * number])
            items.append(CopyItem(source_key=f"a/{number}", key=f"backup/b/{number}", size=number))
        return items

    def transfer(self, destination: Storage | None = None) -> Transfer:
        return Transfer(
            source=self.source,
            destination=destination or self.destination,
            run=self.run,
            limits=TransferLimits(executor=self.workers),
        )

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.mark.parametrize("one_service", [True, False], ids=["by server", "streamed"])
def test_workers_copy_all_and_each_object_is_told_once(one_service: bool) -> None:
    pair = Pair(one_service=one_service)
    items = pair.put(50)
    with pair.transfer() as transfer:
        arrived = transfer.arrive(
            items,
            collection="docs",
            present={},
            listed=lambda: listing.by_key(pair.destination, pair.run, "backup/b/"),
        )
        stats = transfer.stats
    assert [item.item for item in arrived] == items
    assert sum(stats.objects.values()) == 50
    assert sorted(event.key for event in pair.of(ObjectCopied)) == sorted(item.key for item in items)
    assert {item.key for batch in pair.workers.sent for item in batch.items} <= {item.key for item in items}
    assert pair.workers.closed


def test_the_first_object_decides_the_way_here_and_workers_go_it() -> None:
    pair = Pair()
    with pair.transfer() as transfer:
        transfer.copy(pair.put(3), collection="", present={})
    assert [batch.way for batch in pair.workers.sent] == [SERVER]
    assert sum(len(batch.items) for batch in pair.workers.sent) == 2


def test_what_is_there_already_is_compared_here() -> None:
    pair = Pair()
    items = pair.put(10)
    with pair.transfer() as transfer:
        transfer.copy(items, collection="", present={})
        pair.workers.sent.clear()
        present = listing.by_key(pair.destination, pair.run, "backup/b/")
        transfer.copy(items, collection="", present=present)
        assert transfer.stats.objects["kept"] == 10
    assert pair.workers.sent == []


def test_nothing_that_is_written_under_the_fence_goes_to_a_worker() -> None:
    pair = Pair()
    data = pair.put(3)
    meta = [replace(item, key=f"backup/made/meta/{number}") for number, item in enumerate(data)]
    with pair.transfer(writing_backup(pair.destination, OPEN, "made")) as transfer:
        transfer.copy([*meta, *data], collection="", present={})
    sent = {item.key for batch in pair.workers.sent for item in batch.items}
    assert sent
    assert not sent & {item.key for item in meta}
    assert {item.key for item in meta} <= {entry.key for entry in pair.destination.list()}


def test_an_error_comes_back_whole() -> None:
    pair = Pair()
    items = pair.put(2)
    gone = CopyItem(source_key="a/gone", key="backup/b/gone", size=1)
    with pair.transfer() as transfer, pytest.raises(ObjectNotFound) as caught:
        transfer.copy([gone, *items], collection="", present={})
    assert caught.value.facts["key"] == "a/gone"


def test_retries_and_notices_of_workers_are_the_runs() -> None:
    pair = Pair()
    told = (
        RetryScheduled(what="copy x", attempt=1, delay=0.1, error="busy"),
        Notice(code="of-a-worker", message="once"),
    )
    with pair.transfer() as transfer:
        transfer.copy(pair.put(1), collection="", present={})
        pair.workers.after = lambda done: replace(done, events=told)
        transfer.copy(pair.put(60), collection="", present={})
        assert transfer.stats.retries == len(pair.of(RetryScheduled)) > 1
    assert pair.run.notices == ["once"]


def test_a_batch_that_was_not_finished_in_time_goes_on() -> None:
    """Each takes its object up too late the first time."""
    pair = Pair()
    items = pair.put(20)
    late: set[int] = set()

    def before(batch: CopyBatch) -> CopyBatch:
        first = len(batch.items) not in late
        late.add(len(batch.items))
        return replace(batch, seconds=0.0) if first else batch

    pair.workers.before = before
    with pair.transfer() as transfer:
        transfer.copy(items, collection="", present={})
        assert transfer.stats.objects == {"server": 20}
    assert len(pair.workers.sent) > 20 / OBJECTS


def test_batches_are_bounded_in_objects_and_in_bytes() -> None:
    small = [CopyItem(source_key=str(n), key=str(n), size=1) for n in range(2 * OBJECTS + 1)]
    assert [len(batch.items) for batch in batches(small, SERVER)] == [OBJECTS, OBJECTS, 1]
    large = [CopyItem(source_key=str(n), key=str(n), size=BYTES // 2) for n in range(5)]
    assert [len(batch.items) for batch in batches(large, SERVER)] == [2, 2, 1]
    assert [len(batch.items) for batch in batches([replace(large[0], size=9 * BYTES)], SERVER)] == [1]


def test_a_worker_gets_its_share() -> None:
    pair = Pair()
    with pair.transfer() as transfer:
        transfer.prepare()
        share: CopyJob = pair.workers.job
    assert (share.budget.copies, share.budget.memory) == (2, 500)
    assert share.policy.budget == QUICK.budget / 2


def test_the_report_tells_what_held_the_workers_back() -> None:
    pair = Pair()
    strain = Strain(worker="one", most=3, limited="too slow")
    with pair.transfer() as transfer:
        pair.workers.after = lambda done: replace(done, strain=replace(strain, worker=str(len(done.known))))
        transfer.copy(pair.put(20), collection="", present={})
        stats = transfer.stats
    assert stats.concurrency == 6
    assert stats.limited_because == "each worker: too slow"


def test_a_storage_that_only_this_process_can_open_is_refused() -> None:
    with raised(UsageError, "storage-without-reference"):
        Pair(references=False).transfer().prepare()


def test_a_worker_whose_configuration_leads_elsewhere_is_refused() -> None:
    pair = Pair()
    other = MemoryService("to")
    side = Side(reference=MemoryRef(other.name, "to"), location=pair.destination.location)
    with pytest.raises(ConfigError):
        side.open()


def test_a_service_that_is_down_costs_a_worker_its_own_retries_only() -> None:
    pair = Pair()
    job = CopyJob(
        id="one",
        source=Side(reference=pair.reference(pair.source), location=pair.source.location),
        destination=Side(reference=pair.reference(pair.destination), location=pair.destination.location),
        limits=TransferLimits(),
        policy=replace(QUICK, budget=2.0),
    )
    assert "Ref" in repr(job)
    bench = pickle.loads(pickle.dumps(job)).open()

    def down(operation: str, key: str) -> None:
        raise StorageUnavailable("down")

    bench._opened[1].fault = down
    done = bench.do(CopyBatch(items=tuple(pair.put(9)), way=SERVER))
    bench.close()
    assert isinstance(done.error, StorageUnavailable)
    assert len(done.events) == 2
