"""Bringing a backup to a managed Milvus: temporary credentials that end, uploads that are killed, refusals."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from mbk.engine.operations import migrate
from mbk.engine.runtime.context import CloudContext
from mbk.engine.runtime.limits import Limits
from mbk.errors import (
    AuthenticationFailed,
    BackupNotFound,
    DamagedBackup,
    InvalidBackup,
    PermissionDenied,
    StorageFull,
    VerificationFailed,
)
from mbk.model.options import MigrateOptions
from mbk.model.reports import MigrationReport
from mbk.ports.cloud import Volume
from mbk.ports.storage import Storage
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.world import Killed, Life, World
from tests.raising import raised
from tests.sharing import share


@dataclass
class Service:
    """Hands out credentials for one bucket and starts migrations."""

    service: MemoryService = field(default_factory=lambda: MemoryService("volume"))
    lifetime: timedelta = timedelta(hours=1)
    limits: dict[str, int] = field(default_factory=dict)
    applied: int = 0
    started: list[tuple[str, str, str]] = field(default_factory=list)
    fault: Life | None = None
    #: Credentials up to this application are refused by the storage.
    dead_until: int = 0

    def apply_volume(self, cluster: str, path: str) -> Volume:
        self.applied += 1
        expires = datetime.now(UTC) + self.lifetime
        return Volume(
            f"volume-{cluster}", "memory", f"up/{path}/", {"n": self.applied}, expires, **self.limits
        )

    def start_migration(self, volume: str, path: str, cluster: str) -> str:
        self.started.append((volume, path, cluster))
        return "job-1"

    def open(self, volume: Volume) -> Storage:
        storage = MemoryStorage(self.service, "volume", root=volume.prefix)
        number = int(volume.values["n"])

        def fault(operation: str, what: str) -> None:
            if self.fault is not None:
                self.fault(operation, what)
            if operation == "write" and number <= self.dead_until:
                raise PermissionDenied("expired")

        storage.fault = fault
        return storage

    @property
    def held(self) -> dict[str, bytes]:
        return {key: item.data for key, item in self.service.buckets["volume"].objects.items()}


def backed_up() -> World:
    world = World()
    world.milvus.add("docs", partitions=("_default", "p"))
    world.milvus.insert("docs", range(100))
    world.milvus.insert("docs", range(100, 200), partition="p")
    world.create()
    return world


def run(world: World, service: Service, name: str = "nightly", *, batch: int = 2_000) -> MigrationReport:
    context = CloudContext(
        run=world.run(),
        backup_storage=world.backup,
        cloud=service,
        open_volume=service.open,
        limits=Limits(transfer=world.limits),
        pace=world.pace,
        batch=batch,
    )
    with context.run.command("migrate", name):
        return migrate.execute(context, name, MigrateOptions(cluster="cluster"))


def uploaded(world: World, service: Service) -> dict[str, bytes]:
    """The volume's objects under the keys that they have in the backup."""
    return {"backup/nightly/" + key.split("/", 2)[2]: data for key, data in service.held.items()}


def test_every_object_is_uploaded_before_the_migration_starts() -> None:
    world, service = backed_up(), Service()
    report = run(world, service)
    assert uploaded(world, service) == world.backed_up
    ((volume, path, cluster),) = service.started
    assert (volume, cluster) == ("volume-cluster", "cluster")
    assert {key.split("/")[1] for key in service.held} == {path}
    assert (report.job, report.objects) == ("job-1", len(world.backed_up))
    assert report.size == sum(map(len, world.backed_up.values()))


@pytest.mark.parametrize("dead_until", [0, 1])
def test_a_shared_backup_goes_up_as_a_classic_one(dead_until: int) -> None:
    world, service = backed_up(), Service(dead_until=dead_until)
    classic = {key: data for key, data in world.backed_up.items() if not key.endswith((".gz", "/mbk.json"))}
    share(world.backup, "nightly")
    stranger = next(key for key in world.backed_up if "/insert_log/" in key)
    world.backup.write(f"{stranger}0", [b"another backup's"])
    report = run(world, service, batch=5)
    found = uploaded(world, service)
    assert found.keys() == classic.keys()
    for key, data in classic.items():
        if key.endswith(("full_meta.json", "backup_meta.json")):
            wanted = json.loads(data)
            wanted.pop("mbk", None)
            assert json.loads(found[key]) == wanted
        else:
            assert found[key] == data
    assert (report.objects, report.size) == (len(found), sum(map(len, found.values())))
    assert len(service.started) == 1


def test_a_shared_backup_that_is_damaged_is_not_migrated() -> None:
    world, service = backed_up(), Service()
    share(world.backup, "nightly")
    world.backup.delete([next(key for key in world.backed_up if "/insert_log/" in key)])
    with raised(DamagedBackup, "backup-objects-differ", missing=1):
        run(world, service)
    assert service.applied == 0


def test_credentials_that_are_about_to_end_are_renewed() -> None:
    world, service = backed_up(), Service(lifetime=migrate.MARGIN / 2)
    run(world, service, batch=4)
    assert service.applied > len(world.backed_up) / 4
    assert uploaded(world, service) == world.backed_up


def test_credentials_that_end_before_their_time_are_renewed_once() -> None:
    world, service = backed_up(), Service(dead_until=1)
    run(world, service)
    assert service.applied == 2
    assert uploaded(world, service) == world.backed_up


def test_credentials_that_may_not_write_start_nothing() -> None:
    world, service = backed_up(), Service(dead_until=99)
    with pytest.raises(PermissionDenied):
        run(world, service)
    assert service.started == []


def test_a_killed_upload_is_gone_on_with() -> None:
    world = backed_up()
    service = Service(fault=Life(12))
    with pytest.raises(Killed):
        run(world, service)
    assert service.started == []
    before = set(service.held)
    assert before
    service.fault = None
    world.events.clear()
    run(world, service)
    kept = [event.key for event in world.events if event.kind == "object.copied" and event.how == "kept"]
    assert set(kept) == before
    assert uploaded(world, service) == world.backed_up
    assert len(service.started) == 1


def test_an_object_that_the_volume_lost_starts_nothing() -> None:
    world, service = backed_up(), Service()
    lost = next(key for key in world.backed_up if "insert_log" in key)

    class Losing(Service):
        def open(self, volume: Volume) -> Storage:
            storage = super().open(volume)
            self.service.buckets["volume"].objects.pop(
                volume.prefix + lost.removeprefix("backup/nightly/"), None
            )
            return storage

    losing = Losing(service=service.service)
    with raised(VerificationFailed, "copied-object-missing") as caught:
        run(world, losing)
    assert str(caught.value.facts["key"]).endswith(lost.rpartition("/")[2])
    assert losing.started == []


@pytest.mark.parametrize(
    ("limit", "code"), [("max_objects", "volume-objects-exceeded"), ("max_size", "volume-size-exceeded")]
)
def test_a_volume_that_is_too_small_takes_nothing(limit: str, code: str) -> None:
    world, service = backed_up(), Service(limits={limit: 3})
    with raised(StorageFull, code, **{limit: 3}):
        run(world, service)
    assert service.held == {}


def test_what_is_no_whole_backup_is_not_migrated() -> None:
    world, service = backed_up(), Service()
    with pytest.raises(BackupNotFound):
        run(world, service, "other")
    del world.service.buckets["backups"].objects["backup/nightly/meta/full_meta.json"]
    with raised(InvalidBackup, "backup-incomplete"):
        run(world, service)
    assert service.applied == 0


def test_a_wrong_key_ends_it_at_once() -> None:
    class Strict(Service):
        def apply_volume(self, cluster: str, path: str) -> Volume:
            self.applied += 1
            raise AuthenticationFailed("refused")

    service = Strict()
    with pytest.raises(AuthenticationFailed):
        run(backed_up(), service)
    assert service.applied == 1
