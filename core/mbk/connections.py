"""The connections of a session: Milvus, its storage and the backup storage, each opened on first use; and its limits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mbk.about import TOOL
from mbk.model.options import CopyOptions, CreateOptions, MigrateOptions, StandbyOptions

if TYPE_CHECKING:
    from mbk.config.schema import Settings
    from mbk.engine.runtime.budget import Budget
    from mbk.engine.runtime.context import Context
    from mbk.engine.runtime.limits import Limits
    from mbk.engine.runtime.pace import Pace
    from mbk.engine.runtime.run import Run
    from mbk.model.declared import Options
    from mbk.model.operations import Operation
    from mbk.ports.cloud import Volume
    from mbk.ports.metastore import MetaStore
    from mbk.ports.milvus.server import Milvus
    from mbk.ports.replicate import OpenReplication, Replication
    from mbk.ports.storage import Storage
    from mbk.registry.registry import Registry


class Connections:
    """A context manager. Several threads may use it."""

    def __init__(
        self, settings: Settings, *, registry: Registry | None = None, pace: Pace | None = None
    ) -> None:
        self.settings = settings
        self._pace = pace
        self._registry = registry
        self._milvus: Milvus | None = None
        self._metastore: MetaStore | None = None
        self._storage: Storage | None = None
        self._backup: Storage | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes what was opened; idempotent. The session can be used again, and reconnects."""
        with self._lock:
            opened = (self._milvus, self._metastore, self._storage, self._backup)
            self._milvus = self._metastore = self._storage = self._backup = None
        for item in opened:
            if item is not None:
                item.close()

    # -- connections ---------------------------------------------------------------------------------------------

    @property
    def pace(self) -> Pace:
        """Polling intervals and timeouts."""
        from mbk.engine.runtime.pace import Pace

        return self._pace or Pace()

    @property
    def registry(self) -> Registry:
        with self._lock:
            if self._registry is None:
                from mbk.registry.registry import Registry

                self._registry = Registry()
                self._registry.start()
            return self._registry

    @property
    def milvus(self) -> Milvus:
        """The server. Connecting may raise `MilvusUnavailable` or `AuthenticationFailed`."""
        with self._lock:
            if self._milvus is None:
                from mbk.milvus import connect as connect_milvus

                self._milvus = connect_milvus(self.settings.milvus)
            return self._milvus

    @property
    def metastore(self) -> MetaStore:
        """Milvus' etcd, for what the server does not expose (``index_extra``)."""
        with self._lock:
            if self._metastore is None:
                from mbk.milvus.etcd import EtcdMetaStore

                milvus = self.settings.milvus
                self._metastore = EtcdMetaStore(milvus.etcd_endpoints, milvus.etcd_root_path)
            return self._metastore

    @property
    def storage(self) -> Storage:
        """Where Milvus keeps its data."""
        with self._lock:
            if self._storage is None:
                self._storage = self.registry.open(self.settings.storage)
            return self._storage

    @property
    def backup_storage(self) -> Storage:
        """Where the backups are."""
        with self._lock:
            if self._backup is None:
                self._backup = self.registry.open(self.settings.backup_storage)
            return self._backup

    def _backup_storage_at(self, *, path: str, bucket: str) -> Storage:
        """Another root path or bucket of the backup storage; the caller closes it."""
        choice = self.settings.backup_storage
        changes = {"root_path": path, "bucket": bucket}
        values = {**choice.values, **{name: value for name, value in changes.items() if value}}
        return self.registry.open(choice.model_copy(update={"values": values}))

    # -- what the engine gets ------------------------------------------------------------------------------------

    def _limits(self) -> Limits:
        from mbk.engine.runtime.limits import BackupLimits, Limits, RestoreLimits, TransferLimits
        from mbk.ports.storage import MIB

        transfer, backup, restore = self.settings.transfer, self.settings.backup, self.settings.restore
        return Limits(
            transfer=TransferLimits(
                mode=transfer.mode, part_threshold=transfer.multipart_copy_threshold_mib * MIB
            ),
            backup=BackupLimits(pause_gc=backup.pause_gc, gc_seconds=backup.gc_pause_seconds),
            restore=RestoreLimits(
                import_jobs=restore.import_jobs,
                max_segments=restore.max_segments_per_import_job,
                max_group_size=restore.max_group_size,
                keep_temp=restore.keep_temp_files,
            ),
        )

    @contextmanager
    def _context(
        self, operation: Operation, options: Options, run: Run, *, id: str = ""
    ) -> Iterator[Context]:
        """What the operation needs. Connections opened only for it are closed with it."""
        from mbk.engine.runtime.context import ClusterContext, Context, CopyContext, StandbyContext

        given: dict[str, Any] = {
            "run": run,
            "id": id,
            "backup_storage": self.backup_storage,
            "limits": self._limits(),
            "pace": self.pace,
            "tool": TOOL,
        }
        with ExitStack() as stack:
            if "milvus" in operation.needs:
                given |= {
                    "milvus": self.milvus,
                    "storage": self.storage,
                    "rpc_channel": self.settings.milvus.rpc_channel_name,
                }
            match options:
                case CreateOptions(index_extra=True):
                    yield ClusterContext(**given, metastore=self.metastore)
                case CopyOptions():
                    target = self._backup_storage_at(path=options.path, bucket=options.bucket)
                    yield CopyContext(**given, target=stack.enter_context(closing(target)))
                case StandbyOptions():
                    yield StandbyContext(**given, open_log=self._open_log(options))
                case MigrateOptions():
                    yield self._cloud_context(given)
                case _:
                    yield ClusterContext(**given) if "milvus" in operation.needs else Context(**given)

    def _cloud_context(self, given: dict[str, Any]) -> Context:
        from mbk.cloud import ZillizCloud
        from mbk.config.schema import StorageChoice
        from mbk.engine.runtime.context import CloudContext

        def open_volume(volume: Volume) -> Storage:
            return self.registry.open(StorageChoice(type=volume.storage_type, values=volume.values))

        return CloudContext(**given, cloud=ZillizCloud(self.settings.cloud), open_volume=open_volume)

    def _open_log(self, clusters: StandbyOptions) -> OpenReplication:
        from mbk.milvus import connect_replication

        def open_log(control: str) -> Replication:
            return connect_replication(
                self.settings.milvus, source=clusters.source, target=clusters.target, control=control
            )

        return open_log


def budget(settings: Settings, *, restores: bool) -> Budget:
    """What a run may use at the same time, as configured; ``restores``: it writes to Milvus."""
    from mbk.engine.runtime.budget import Budget

    return Budget(
        copies=settings.transfer.concurrency,
        parts=settings.transfer.concurrency,
        collections=settings.restore.collections if restores else settings.backup.collections,
        segments=settings.backup.segments,
    )
