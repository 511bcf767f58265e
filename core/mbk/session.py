"""The library face: one composition root for shell, REST and programs."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mbk.errors import Interrupted, UsageError
from mbk.model.backup import BackupSummary, CheckResult, MigrationReport, RunReport, default_name
from mbk.model.events import Event
from mbk.model.options import CreateOptions, RestoreOptions, Strategy
from mbk.model.selection import Renaming, Selection

if TYPE_CHECKING:
    from mbk.config.schema import Settings
    from mbk.engine.run import Run
    from mbk.engine.transfer import TransferLimits
    from mbk.plugin.registry import Registry
    from mbk.ports.cloud import Volume
    from mbk.ports.metastore import MetaStore
    from mbk.ports.milvus import Milvus
    from mbk.ports.storage import Storage

OnEvent = Callable[[Event], None]
Options = TypeVar("Options", CreateOptions, RestoreOptions)


def connect(
    config: str | PathLike[str] | Settings | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    storage: str | None = None,
    backup_storage: str | None = None,
    registry: Registry | None = None,
) -> Session:
    """Opens a session. Nothing is contacted before it is needed.

    ``config``: a path of a configuration file, ready `Settings`, or None for the file that the shell would find.
    ``overrides``: dotted keys of the file's dialect with their values, above everything else. ``storage`` and
    ``backup_storage`` as on the shell. ``registry``: with plugins of the program's own. Raises `ConfigError`.
    """
    from mbk.config.schema import Settings

    if isinstance(config, Settings):
        if overrides or sets or storage or backup_storage:
            raise UsageError(
                "overrides go with a configuration file", hint="change the Settings object instead"
            )
        settings = config
    else:
        from mbk.config.load import load

        settings = load(
            config, sets=sets, overrides=overrides, storage=storage, backup_storage=backup_storage
        ).settings
    return Session(settings, registry=registry)


class Session:
    """Milvus, its storage and the backup storage, opened on first use and closed with the session."""

    def __init__(self, settings: Settings, *, registry: Registry | None = None) -> None:
        self.settings = settings
        self._registry = registry
        self._milvus: Milvus | None = None
        self._metastore: MetaStore | None = None
        self._storage: Storage | None = None
        self._backup: Storage | None = None
        self._lock = threading.RLock()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes what was opened; idempotent. The session can be used again and opens anew."""
        with self._lock:
            opened = (self._milvus, self._metastore, self._storage, self._backup)
            self._milvus = self._metastore = self._storage = self._backup = None
        for item in opened:
            if item is not None:
                item.close()

    # -- what is worked with -------------------------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        with self._lock:
            if self._registry is None:
                from mbk.plugin.registry import Registry

                self._registry = Registry()
                self._registry.start()
            return self._registry

    @property
    def milvus(self) -> Milvus:
        """The server; connecting may raise `MilvusUnavailable` or `AuthenticationFailed`."""
        with self._lock:
            if self._milvus is None:
                from mbk.milvus import connect as connect_milvus

                self._milvus = connect_milvus(self.settings.milvus)
            return self._milvus

    @property
    def metastore(self) -> MetaStore:
        """Milvus' etcd, asked for what Milvus itself does not tell (``index_extra``)."""
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

    # -- what can be done ----------------------------------------------------------------------------------------

    def create(
        self,
        name: str | None = None,
        options: CreateOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        **changes: Any,
    ) -> RunReport:
        """Backs up. ``changes`` are fields of `CreateOptions`; ``filter`` and ``strategy`` may be text.

        Raises `BackupExists`, `PartialFailure` (with the report) and what the storages and Milvus raise.
        """
        from mbk.engine.backup import Create
        from mbk.engine.limits import BackupLimits

        name = name or default_name()
        options = _create_options(options or CreateOptions(), changes)
        settings = self.settings.backup
        limits = BackupLimits(
            collections=settings.collections,
            segments=settings.segments,
            pause_gc=settings.pause_gc,
            gc_seconds=settings.gc_pause_seconds,
            transfer=self._transfer_limits(),
        )
        with self._run("create", name, on_event, hint=f"finish it: mbk create -n {name} --resume") as run:
            job = Create(self.milvus, self.storage, self.backup_storage, run, limits, _tool())
            return job.execute(name, options)

    def restore(
        self,
        name: str,
        options: RestoreOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        **changes: Any,
    ) -> RunReport:
        """Restores. ``changes`` are fields of `RestoreOptions`; also ``suffix``, ``rename``, ``filter`` as text.

        Raises `BackupNotFound`, `CollectionExists`, `InvalidBackup`, `PartialFailure` (with the report) and what the
        storages and Milvus raise.
        """
        from mbk.engine.limits import RestoreLimits
        from mbk.engine.restore import Restore

        options = _restore_options(options or RestoreOptions(), changes)
        settings = self.settings.restore
        limits = RestoreLimits(
            collections=settings.collections,
            import_jobs=settings.import_jobs,
            max_segments=settings.max_segments_per_import_job,
            max_group_size=settings.max_group_size,
            keep_temp=settings.keep_temp_files,
            transfer=self._transfer_limits(),
        )
        with self._run("restore", name, on_event, hint="run it again") as run:
            return Restore(self.milvus, self.storage, self.backup_storage, run, limits).execute(name, options)

    def list(self) -> Iterable[BackupSummary]:
        """All backups by name, incomplete and unreadable ones too. Needs no Milvus."""
        from mbk.engine.catalog import Catalog
        from mbk.engine.run import Run

        self.backup_storage.check()
        yield from Catalog(self.backup_storage, Run(self.registry.emit)).summaries()

    def get(self, name: str, *, detail: bool = False) -> dict[str, Any]:
        """The brief view of a backup (``BackupInfoBrief``, PARITY.md 1.2), whole with ``detail``."""
        from mbk.engine.catalog import Catalog
        from mbk.engine.inspect import incomplete, view
        from mbk.engine.run import Run

        self.backup_storage.check()
        catalog = Catalog(self.backup_storage, Run(self.registry.emit))
        return incomplete(catalog, name) or view(catalog, name, detail=detail)

    def delete(self, name: str, *, on_event: OnEvent | None = None) -> int:
        """Deletes a backup, also an incomplete one; returns how many objects went."""
        from mbk.engine.catalog import Catalog

        self.backup_storage.check()
        with self._run("delete", name, on_event, hint=f"the rest goes with: mbk delete -n {name}") as run:
            return Catalog(self.backup_storage, run).delete(name)

    def migrate(self, name: str, cluster: str, *, on_event: OnEvent | None = None) -> MigrationReport:
        """Uploads a backup to Zilliz Cloud and starts its migration into the cluster of that id.

        Raises `ConfigError` without an API key, `BackupNotFound`, `InvalidBackup`, and what the service raises.
        """
        from mbk.cloud import ZillizCloud
        from mbk.config.schema import StorageChoice
        from mbk.engine.migrate import Migrate

        def open_volume(volume: Volume) -> Storage:
            return self.registry.open(StorageChoice(type=volume.storage_type, values=volume.values))

        cloud = ZillizCloud(self.settings.cloud)
        with self._run("migrate", name, on_event, hint="run it again, it goes on where it was") as run:
            job = Migrate(self.backup_storage, cloud, open_volume, run, self._transfer_limits())
            return job.execute(name, cluster)

    def check(self) -> Iterable[CheckResult]:
        """Asks everything that can be asked without changing anything; one answer after the other."""
        from mbk.engine.check import Check
        from mbk.engine.run import Run

        yield from Check(
            lambda: self.milvus,
            lambda: self.storage,
            lambda: self.backup_storage,
            Run(self.registry.emit),
            self._transfer_limits(),
            self.settings.backup.pause_gc,
        ).results()

    # -- how -----------------------------------------------------------------------------------------------------

    def _transfer_limits(self) -> TransferLimits:
        from mbk.engine.transfer import TransferLimits
        from mbk.ports.storage import MIB

        settings = self.settings.transfer
        return TransferLimits(
            settings.mode, settings.concurrency, settings.multipart_copy_threshold_mib * MIB
        )

    @contextmanager
    def _run(self, command: str, name: str, on_event: OnEvent | None, *, hint: str) -> Iterator[Run]:
        from mbk.engine.run import Run

        registry = self.registry

        def emit(event: Event) -> None:
            registry.emit(event)
            if on_event is not None:
                on_event(event)

        run = Run(emit)
        try:
            with run.command(command, name):
                yield run
        except (KeyboardInterrupt, Interrupted) as stop:
            raise Interrupted(f"{command} of {name!r} was interrupted", hint=hint) from stop


def _create_options(options: CreateOptions, changes: dict[str, Any]) -> CreateOptions:
    if isinstance(text := changes.pop("filter", None), str):
        changes["selection"] = Selection.parse(text)
    if "strategy" in changes:
        changes["strategy"] = _strategy(changes["strategy"])
    return _replaced(options, changes)


def _restore_options(options: RestoreOptions, changes: dict[str, Any]) -> RestoreOptions:
    suffix, rename = changes.pop("suffix", ""), changes.pop("rename", "")
    if suffix or rename:
        make = Renaming.parse if isinstance(rename, str) else Renaming.of
        changes["renaming"] = make(rename, suffix=suffix)
    if isinstance(text := changes.pop("filter", None), str):
        changes["selection"] = Selection.parse(text)
    return _replaced(options, changes)


def _strategy(text: str) -> Strategy:
    try:
        return Strategy(text)
    except ValueError:
        raise UsageError(f"strategy {text!r} is unknown", hint=f"use one of {', '.join(Strategy)}") from None


def _replaced(options: Options, changes: dict[str, Any]) -> Options:
    try:
        return dataclasses.replace(options, **changes)
    except TypeError as exc:
        known = ", ".join(field.name for field in dataclasses.fields(options))
        raise UsageError(f"{exc.args[0]}", hint=f"the options are {known}") from exc


def _tool() -> str:
    import mbk

    return f"mbk {mbk.__version__}"
