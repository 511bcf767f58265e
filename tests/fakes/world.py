"""Milvus, its storage, a backup storage and the engine between them, all in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mbk.engine.operations import create, delete, restore
from mbk.engine.repository.catalog import Catalog
from mbk.engine.runtime.budget import Budget
from mbk.engine.runtime.context import ClusterContext
from mbk.engine.runtime.limits import Limits, RestoreLimits, TransferLimits
from mbk.engine.runtime.pace import ImportPace, LeasePace, Pace, SnapshotPace
from mbk.engine.runtime.retry import RetryPolicy
from mbk.engine.runtime.run import Run
from mbk.model.events import Event
from mbk.model.layout import is_record
from mbk.model.options import CreateOptions, DeleteOptions, RestoreOptions
from mbk.model.reports import DeletionReport, RunReport
from mbk.model.selection import Renaming, Selection
from mbk.ports.metastore import MetaStore
from mbk.ports.milvus.values import Feature
from mbk.testing import MemoryService, MemoryStorage
from tests.fakes.milvus import V2_3, FakeMilvus

QUICK = RetryPolicy(first=0.0001, ceiling=0.0001)
#: The fake server is done at once, and what is written in memory shows at once: nobody needs to wait.
AT_ONCE = Pace(
    listing=0.001,
    index=0.001,
    load=0.001,
    drain=0.0,
    retry=QUICK,
    lease=LeasePace(settle=0.001, handover=0.001),
    imports=ImportPace(first=0.001, last=0.001, look=0.001),
    snapshots=SnapshotPace(first=0.001, poll=0.001),
)


class Killed(BaseException):
    """The process died here."""


class Life:
    """Counts the operations of a process, and ends it before operation ``ends_at``: nothing works afterwards."""

    def __init__(self, ends_at: int | None = None) -> None:
        self.ends_at = ends_at
        self.operations = 0
        self._lock = threading.Lock()

    def __call__(self, operation: str, what: str) -> None:
        with self._lock:
            self.operations += 1
            dead = self.ends_at is not None and self.operations >= self.ends_at
        if dead:
            raise Killed(f"{operation} {what}")


@dataclass
class World:
    """``same`` puts the backups into Milvus' bucket; ``backup_root`` is their prefix."""

    features: frozenset[Feature] = V2_3
    same: bool = False
    backup_root: str = "backup/"
    service: MemoryService = field(default_factory=lambda: MemoryService("milvus", "backups"))
    events: list[Event] = field(default_factory=list)
    workers: int = 2
    transfer: str = "auto"
    metastore: MetaStore | None = None
    pace: Pace = AT_ONCE

    def __post_init__(self) -> None:
        self.storage = MemoryStorage(self.service, "milvus", root="files/")
        self.backup = MemoryStorage(self.service, "milvus" if self.same else "backups", root=self.backup_root)
        # The server's own way to the bucket: no test's fault is in it.
        self.milvus = FakeMilvus(MemoryStorage(self.service, "milvus", root="files/"), features=self.features)

    def copy(self) -> World:
        """Another world in which everything is as it is here now, and which nothing that happens here changes.

        What a test puts in place of a method stays behind; so do the faults.
        """
        twin = replace(self, service=MemoryService(), events=[*self.events])
        for name, bucket in self.service.buckets.items():
            assert not bucket.uploads, f"unfinished in {name}: {bucket.uploads}"
            twin.service.buckets[name] = bucket.copy()
        twin.milvus.become(self.milvus)
        return twin

    def live(self, life: Life) -> None:
        """From now on every operation of the tool is counted by ``life``."""
        self.storage.fault = self.backup.fault = self.milvus.fault = life

    def run(self) -> Run:
        return Run(self.events.append, policy=QUICK, budget=self.budget)

    @property
    def budget(self) -> Budget:
        """``workers`` of everything."""
        workers = self.workers
        return Budget(copies=workers, parts=workers, collections=workers, segments=workers)

    @property
    def limits(self) -> TransferLimits:
        return TransferLimits(mode=self.transfer)

    def context(self, run: Run | None = None, **limits: Any) -> ClusterContext:
        """``limits`` are fields of `RestoreLimits`."""
        return ClusterContext(
            run=run or self.run(),
            milvus=self.milvus,
            storage=self.storage,
            backup_storage=self.backup,
            metastore=self.metastore,
            rpc_channel="by-dev-replicate-msg",
            limits=Limits(
                transfer=self.limits,
                restore=RestoreLimits(**limits),
            ),
            pace=self.pace,
            tool="mbk test",
        )

    def create(
        self, name: str = "nightly", *, only: str = "", run: Run | None = None, **options: Any
    ) -> RunReport:
        chosen = CreateOptions(selection=Selection.parse(only), **options)
        context = self.context(run)
        with context.run.command("create", name):
            if chosen.dry_run:
                return create.preview(context, create.plan(context, name, chosen)).report()
            return create.execute(context, name, chosen)

    def restore(
        self,
        name: str = "nightly",
        *,
        suffix: str = "",
        limits: dict[str, Any] | None = None,
        pace: ImportPace | None = None,
        **options: Any,
    ) -> RunReport:
        chosen = RestoreOptions(**{"renaming": Renaming.parse("", suffix=suffix), **options})
        context = self.context(**(limits or {}))
        if pace is not None:
            context = replace(context, pace=replace(context.pace, imports=pace))
        with context.run.command("restore", name):
            if chosen.dry_run:
                return restore.preview(context, restore.plan(context, name, chosen)).report()
            return restore.execute(context, name, chosen)

    def delete(self, name: str = "nightly", **options: Any) -> DeletionReport:
        context = self.context()
        with context.run.command("delete", name):
            return delete.execute(context, name, DeleteOptions(**options))

    def catalog(self) -> Catalog:
        return Catalog(self.backup, self.run())

    def edit(self, change: Callable[[dict[str, Any]], None], name: str = "nightly") -> None:
        """Changes the tree in ``full_meta.json`` of a backup, which becomes one without a record, as other tools make them."""
        place = f"backup/{name}/meta/"
        tree = json.loads(self.backed_up[f"{place}full_meta.json"])
        tree.pop("mbk", None)
        change(tree)
        manifest = self.catalog().read_manifest(name).begun()
        for protection in manifest.protection.values():
            protection.point = 0
        self.backup.write(f"{place}full_meta.json", [json.dumps(tree).encode()])
        self.backup.write(f"{place}mbk.json", [msgspec.json.encode(manifest)])
        self.backup.delete([key for key in self.backed_up if is_record(key.removeprefix(place))])

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        found = self.service.buckets[bucket].objects
        return {key: item.data for key, item in sorted(found.items()) if key.startswith(prefix)}

    @property
    def backed_up(self) -> dict[str, bytes]:
        return self.objects("milvus" if self.same else "backups", self.backup_root)

    @property
    def staged(self) -> dict[str, bytes]:
        """What a restore left in Milvus' bucket."""
        return self.objects("milvus", "files/restore-temp")

    def held(self, name: str = "nightly") -> list[str]:
        """The collections in a committed backup."""
        return sorted(item.collection_name for item in self.catalog().read(name).collection_backups)

    def uploads(self) -> Iterator[str]:
        return (upload.key for bucket in self.service.buckets.values() for upload in bucket.uploads)

    @property
    def notices(self) -> list[str]:
        return [event.code for event in self.events if event.kind == "notice"]
