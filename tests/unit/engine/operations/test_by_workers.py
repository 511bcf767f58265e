"""Whole operations whose objects workers copy."""

from __future__ import annotations

from functools import cached_property

from mbk.engine.runtime.limits import TransferLimits
from mbk.errors import Unreachable
from mbk.model.options import Strategy
from mbk.ports.storage import Storage, StorageRef
from mbk.testing.memory import MemoryRef
from tests.fakes.workers import HereWorkers
from tests.fakes.world import World
from tests.raising import raised


def reference(storage: Storage) -> StorageRef:
    return MemoryRef(storage.location.endpoint, storage.location.bucket)


class WithWorkers(World):
    @cached_property
    def hands(self) -> HereWorkers:
        return HereWorkers(reference)

    @property
    def limits(self) -> TransferLimits:
        return TransferLimits(mode=self.transfer, executor=self.hands)

    @property
    def sent(self) -> list[str]:
        return [item.key for batch in self.hands.sent for item in batch.items]


def filled(world: World) -> World:
    world.milvus.add("docs", partitions=("_default", "cold"))
    world.milvus.insert("docs", range(8))
    world.milvus.insert("docs", range(8, 12), partition="cold")
    world.milvus.delete("docs", [1, 9])
    return world


def data(world: World) -> dict[str, bytes]:
    return {key: value for key, value in world.backed_up.items() if "/binlogs/" in key}


def test_workers_copy_the_data_of_a_backup_and_of_its_restore_and_nothing_else() -> None:
    plain, world = filled(World()), WithWorkers()
    filled(world)
    plain.create()
    report = world.create()
    assert data(world) == data(plain) != {}
    assert set(world.sent) < {*data(world)}
    assert len(world.sent) == report.transfer.objects["server"] - 1, "the first one decided the way"
    world.hands.sent.clear()
    world.restore(suffix="_again")
    assert world.sent
    assert all(key.startswith("files/restore-temp-") for key in world.sent)
    assert world.milvus.rows_by_partition("docs_again") == world.milvus.rows_by_partition("docs")


def test_a_plan_and_a_backup_of_definitions_start_no_worker() -> None:
    world = WithWorkers()
    filled(world)
    world.create(dry_run=True)
    world.create("meta", strategy=Strategy.META_ONLY)
    assert not hasattr(world.hands, "job")


def test_workers_that_cannot_be_had_are_told_before_anything_is_written() -> None:
    world = WithWorkers()
    filled(world).create("there")
    before = world.objects("milvus"), world.objects("backups")
    world.hands.refusal = Unreachable("no scheduler", code="none")
    for refused in (lambda: world.create("new"), lambda: world.restore("there", suffix="_new")):
        with raised(Unreachable, "none"):
            refused()
    assert (world.objects("milvus"), world.objects("backups")) == before
