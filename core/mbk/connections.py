"""The connections of a session: Milvus, its storage and the backup storage, each opened on first use; and its limits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from mbk.about import TOOL
from mbk.errors import ConfigError, MbkError
from mbk.model.addresses import FILE, Address
from mbk.model.options import (
    CopyOptions,
    CreateOptions,
    GcOptions,
    ImportOptions,
    L0CompactOptions,
    MigrateOptions,
    StandbyOptions,
    VerifyOptions,
)
from mbk.model.states import Depth
from mbk.registry.reference import OwnPlace, OwnReference, Reference, References

if TYPE_CHECKING:
    from mbk.config.schema import BackupSettings, Settings, StorageChoice
    from mbk.engine.runtime.budget import Budget
    from mbk.engine.runtime.context import Context
    from mbk.engine.runtime.executor import Executor
    from mbk.engine.runtime.limits import Limits
    from mbk.engine.runtime.pace import Pace
    from mbk.engine.runtime.run import Run
    from mbk.engine.runtime.steering import Steering
    from mbk.model.declared import Options
    from mbk.model.locking import ObjectLock
    from mbk.model.operations import Operation
    from mbk.model.rates import Bandwidth, RequestRate
    from mbk.model.retention import Rules
    from mbk.ports.cloud import Volume
    from mbk.ports.metastore import MetaStore
    from mbk.ports.milvus.server import Milvus
    from mbk.ports.replicate import OpenReplication, Replication
    from mbk.ports.storage import Location, Storage, StorageRef
    from mbk.registry.registry import Registry

#: Of the operations that make a backup in the storage of the backups.
_MAKING = (CreateOptions, ImportOptions, L0CompactOptions)


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
        self._steering: Steering | None = None
        self._references = References()
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
            self._references = References()
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

    def _milvus_place(self) -> Location | None:
        """None if the plugin or the settings of Milvus' storage cannot be used: not every operation needs it."""
        storage = self._storage_if_any()
        return None if storage is None else storage.location

    def _asked(self, run: Run) -> Milvus:
        from mbk.engine.runtime.retried import retried_milvus

        return retried_milvus(run.retry.briefly("connect to Milvus", lambda: self.milvus), run)

    def _storage_if_any(self) -> Storage | None:
        try:
            return self.storage
        except MbkError:
            return None

    def _metastore_if_any(self) -> MetaStore | None:
        try:
            return self.metastore
        except ConfigError:
            return None

    @property
    def storage(self) -> Storage:
        """Where Milvus keeps its data."""
        with self._lock:
            if self._storage is None:
                self._storage = self._opened("storage")
            return self._storage

    @property
    def backup_storage(self) -> Storage:
        """Where the backups are."""
        with self._lock:
            if self._backup is None:
                self._backup = self._opened("backup_storage")
            return self._backup

    def _opened(self, side: Literal["storage", "backup_storage"]) -> Storage:
        """Opens a side of the configuration."""
        choice: StorageChoice = getattr(self.settings, side)
        return self._remembered(choice, OwnReference(side))

    @contextmanager
    def _place(self, address: Address, *, inside: bool, **changes: str) -> Iterator[Storage]:
        """The storage in which an address lies, as `choice_for` has it; closed afterwards.

        ``changes``: values other than the configured ones, if they are not empty.
        """
        from mbk.registry.places import choice_for

        given = {name: value for name, value in changes.items() if value}
        choice = choice_for(address, self.settings, self.registry, inside=inside, changes=given)
        try:
            storage = self._remembered(choice, OwnPlace(address, inside, given))
        except ConfigError as error:
            of_the_url = any(item.key == address.url for item in error.problems)
            if not address.scheme or address.profile or of_the_url:
                raise
            hint = f"what is missing can stand in a profile: profiles.NAME in the configuration, and NAME@{address.scheme}://..."
            raise ConfigError(error.source, error.problems, hint=hint) from error
        with closing(storage):
            try:
                yield storage
            finally:
                self._references.discard(storage)

    def _remembered(self, choice: StorageChoice, own: StorageRef) -> Storage:
        """Opens a storage, and remembers how workers do. ``own``: with what they have themselves."""
        storage = self.registry.open(choice)
        if self.settings.transfer.dask_credentials == "own" and self.settings.transfer.executor == "dask":
            self._references.add(storage, own)
        elif self.registry.is_installed(choice.type):
            self._references.add(storage, Reference(choice))
        return storage

    def _ends(self, backup: str, options: CopyOptions, run: Run, stack: ExitStack) -> tuple[Storage, Storage]:
        """Where a backup is copied from, and where to."""
        from mbk.engine.runtime.retried import retried

        def opened(address: Address, *, inside: bool, **changes: str) -> Storage:
            storage = self.backup_storage
            if address.scheme or address.profile or any(changes.values()):
                storage = stack.enter_context(self._place(address, inside=inside, **changes))
            return retried(storage, run, side="--bucket" if changes.get("bucket") else side_of(address))

        source, target = Address.of_backup(backup).without_slash, options.destination
        return (
            opened(source, inside=False),
            opened(target, inside=target.is_directory, root_path=options.path, bucket=options.bucket),
        )

    # -- what the engine gets ------------------------------------------------------------------------------------

    def _steered(self, allowed: Budget, options: Options | None = None) -> tuple[Budget, Steering]:
        """What the run may use, and what it shares of that: with all runs of the session what is configured, with none
        what its own options say instead.
        """
        from mbk.engine.runtime.steering import Steering

        rate: RequestRate | None = getattr(options, "max_rate", None)
        bandwidth: Bandwidth | None = getattr(options, "max_bandwidth", None)
        if rate is not None or bandwidth is not None:
            own = replace(
                allowed,
                max_rate=allowed.max_rate if rate is None else rate.limit,
                max_bandwidth=allowed.max_bandwidth
                if bandwidth is None
                else replace(bandwidth, zone=allowed.max_bandwidth.zone),
            )
            return own, Steering(own)
        with self._lock:
            if self._steering is None:
                self._steering = Steering(allowed)
            return allowed, self._steering

    def _limits(self) -> Limits:
        from mbk.engine.runtime.limits import BackupLimits, Limits, RestoreLimits, TransferLimits
        from mbk.ports.storage import MIB

        transfer, backup, restore = self.settings.transfer, self.settings.backup, self.settings.restore
        return Limits(
            transfer=TransferLimits(
                mode=transfer.mode,
                part_threshold=transfer.multipart_copy_threshold_mib * MIB,
                executor=self._executor(),
            ),
            backup=BackupLimits(
                incremental=backup.layout == "shared",
                pause_gc=backup.pause_gc,
                gc_seconds=backup.gc_pause_seconds,
            ),
            restore=RestoreLimits(
                import_jobs=restore.import_jobs,
                max_segments=restore.max_segments_per_import_job,
                max_group_size=restore.max_group_size,
                keep_temp=restore.keep_temp_files,
            ),
        )

    def _executor(self) -> Executor | None:
        """What copies, unless the threads of this process do."""
        transfer, references = self.settings.transfer, self._references.of
        match transfer.executor:
            case "threads":
                return None
            case "processes":
                from mbk.workers.processes import Processes, cores

                return Processes(transfer.workers or cores(), references)
            case "dask":
                from mbk.workers.cluster import Dask

                return Dask(
                    references=references,
                    scheduler=transfer.dask_scheduler,
                    scheduler_file=transfer.dask_scheduler_file,
                    tls=(transfer.dask_tls_ca, transfer.dask_tls_cert, transfer.dask_tls_key),
                    workers=transfer.workers or 1,
                    patience=transfer.dask_patience,
                    tells=transfer.dask_credentials == "send",
                    allow_plain=transfer.dask_allow_plain,
                )

    @contextmanager
    def _context(
        self, operation: Operation, name: str, options: Options, run: Run, *, id: str = ""
    ) -> Iterator[Context]:
        """What the operation needs. Connections opened only for it are closed with it."""
        from mbk.engine.runtime.context import ClusterContext, Context, CopyContext, StandbyContext

        given: dict[str, Any] = {
            "run": run,
            "id": id,
            "limits": self._limits(),
            "pace": self.pace,
            "tool": TOOL,
            "object_lock": self.object_lock if isinstance(options, _MAKING) else None,
            "retention": self._retention(),
            "milvus_place": self._milvus_place()
            if {"backup", "other backup"} & {*operation.writes}
            else None,
        }
        with ExitStack() as stack:
            if isinstance(options, CopyOptions):
                source, target = self._ends(name, options, run, stack)
                given["object_lock"] = self._lock_of_copy(options, target, run)
                yield CopyContext(**given, backup_storage=source, target=target)
                return
            given["backup_storage"] = self.backup_storage
            needs_milvus = "milvus" in operation.needs or _is_drill(options)
            if needs_milvus:
                given |= {
                    "milvus": run.retry.briefly("connect to Milvus", lambda: self.milvus),
                    "storage": self.storage,
                    "rpc_channel": self.settings.milvus.rpc_channel_name,
                }
            match options:
                case GcOptions():
                    yield Context(
                        **given, storage=self._storage_if_any(), ask_milvus=lambda: self._asked(run)
                    )
                case CreateOptions(index_extra=True):
                    yield ClusterContext(**given, metastore=self.metastore)
                case CreateOptions(resume=True):
                    # Whether the begun run asked for index extras is known once its manifest is read.
                    yield ClusterContext(**given, metastore=self._metastore_if_any())
                case StandbyOptions():
                    yield StandbyContext(**given, open_log=self._open_log(options))
                case MigrateOptions():
                    yield self._cloud_context(given)
                case _:
                    yield ClusterContext(**given) if needs_milvus else Context(**given)

    @property
    def object_lock(self) -> ObjectLock | None:
        """How new backups are locked; `UsageError` where the configuration says half of it."""
        return _object_lock(self.settings.backup, "backup")

    def _lock_of_copy(self, options: CopyOptions, target: Storage, run: Run) -> ObjectLock | None:
        """As the configuration says of the place: a profile for itself, ``backup`` for the bucket of the backups."""
        profile = options.destination.profile
        if profile:
            # What opened the target found it.
            return _object_lock(self.settings.profiles[profile], f"profiles.{profile}")
        lock = self.object_lock
        if lock is None or self._is_of_backups(target):
            return lock
        run.notice(
            "copy-not-locked",
            "the copy is not locked: backup.objectLock is for the bucket of the backups, not for {storage}; a profile can have "
            "objectLock for it, named as PROFILE@ before the address",
            storage=target.location,
        )
        return None

    def _is_of_backups(self, target: Storage) -> bool:
        try:
            return self.backup_storage.location.same_bucket(target.location)
        except MbkError:
            return False  # no copy needs it

    def _retention(self) -> Rules:
        """The configured rules."""
        from mbk.model.labels import tests_of
        from mbk.model.retention import Rules, span_of, zone_of

        kept = self.settings.retention
        return Rules(
            last=kept.keep_last,
            within=span_of(kept.keep_within or None, "retention.keepWithin"),
            hourly=kept.keep_hourly,
            daily=kept.keep_daily,
            weekly=kept.keep_weekly,
            monthly=kept.keep_monthly,
            yearly=kept.keep_yearly,
            labels=tests_of(kept.keep_labels, "retention.keepLabels"),
            zone=zone_of(kept.time_zone, "retention.timeZone"),
        )

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


def _object_lock(settings: BackupSettings | StorageChoice, section: str) -> ObjectLock | None:
    from mbk.errors import UsageError
    from mbk.model.locking import ObjectLock

    mode, days = settings.object_lock_mode, settings.object_lock_days
    if bool(mode) != bool(days):
        raise UsageError(
            "{section}.objectLock has no {missing}",
            code="object-lock-incomplete",
            section=section,
            missing="days" if mode else "mode",
            hint="set {section}.objectLock.mode to governance or compliance, and {section}.objectLock.days",
        )
    return ObjectLock(mode=mode, days=days) if mode else None


def side_of(address: Address) -> str:
    """Whose storage it is, for errors: the side of the configuration, a profile of it, or the URL itself."""
    if address.profile:
        return f"profiles.{address.profile}"
    if address.scheme == FILE:
        return address.path
    return address.url if address.scheme else "backup_storage"


def _is_drill(options: Options) -> bool:
    return isinstance(options, VerifyOptions) and options.depth is Depth.DRILL


def budget(settings: Settings, *, restores: bool) -> Budget:
    """What a run may use at the same time, as configured; ``restores``: it writes to Milvus."""
    from mbk.engine.runtime.budget import COPIES, Budget

    transfer = settings.transfer
    return Budget(
        copies=transfer.concurrency or COPIES,
        parts=transfer.concurrency or COPIES,
        adaptive=transfer.concurrency is None,
        max_rate=transfer.max_rate.limit,
        max_bandwidth=replace(transfer.max_bandwidth, zone=transfer.time_zone),
        memory=transfer.memory,
        collections=settings.restore.collections if restores else settings.backup.collections,
        segments=settings.backup.segments,
    )
