"""The library face: one composition root for shell, REST and programs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any

from mbk.about import TOOL
from mbk.connections import Connections
from mbk.errors import Interrupted, UsageError
from mbk.model.events import Event
from mbk.model.keywords import create_options, restore_options
from mbk.model.options import CreateOptions, RestoreOptions
from mbk.model.reports import (
    BackupSummary,
    CheckResult,
    MigrationReport,
    RunReport,
    compacted_name,
    default_name,
)

if TYPE_CHECKING:
    from mbk.config.schema import Settings
    from mbk.engine.runtime.run import Run
    from mbk.ports.cloud import Volume
    from mbk.ports.replicate import Replication
    from mbk.ports.storage import Storage
    from mbk.registry.registry import Registry

OnEvent = Callable[[Event], None]


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


class Session(Connections):
    """Milvus, its storage and the backup storage, opened on first use and closed with the session."""

    def create(
        self,
        name: str | None = None,
        options: CreateOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
        id: str = "",
        **changes: Any,
    ) -> RunReport:
        """Backs up. ``changes`` are fields of `CreateOptions`; also ``filter``, ``exclude`` and ``strategy`` as text.

        Setting ``cancelled`` from another thread stops the run in order, with `Interrupted`. ``id``: the backup's own.

        Raises `BackupExists`, `InvalidName` and other `UsageError`, `Busy`, `PartialFailure` (with the report) and what the
        storages and Milvus raise.
        """
        from mbk.engine.operations.create import Create
        from mbk.engine.operations.limits import backup_limits

        name = name or default_name()
        options = create_options(options or CreateOptions(), changes)
        limits = backup_limits(self.settings)
        hint = f"finish it: mbk create -n {name} --resume"
        with self._run("create", name, on_event, hint=hint, cancelled=cancelled) as run:
            job = Create(
                self.milvus,
                self.storage,
                self.backup_storage,
                run,
                limits,
                TOOL,
                id,
                self.metastore if options.index_extra else None,
                self.settings.milvus.rpc_channel_name,
            )
            return job.execute(name, options)

    def restore(
        self,
        name: str,
        options: RestoreOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
        **changes: Any,
    ) -> RunReport:
        """Restores. ``changes`` are fields of `RestoreOptions`; also ``suffix``, ``rename``, ``filter``, ``exclude``,
        ``source_filter`` and ``source_exclude`` as text, ``mapping`` and ``skip_params`` as JSON would give them.

        Raises `BackupNotFound`, `CollectionExists`, `InvalidBackup`, `PartialFailure` (with the report) and what the
        storages and Milvus raise.
        """
        from mbk.engine.operations.restore import Restore

        options = restore_options(options or RestoreOptions(), changes)
        limits = self._restore_limits()
        with self._run("restore", name, on_event, hint="run it again", cancelled=cancelled) as run:
            return Restore(self.milvus, self.storage, self.backup_storage, run, limits).execute(name, options)

    def list(self) -> Iterable[BackupSummary]:
        """All backups by name, incomplete and unreadable ones too. Needs no Milvus."""
        from mbk.engine.repository.catalog import Catalog
        from mbk.engine.runtime.run import Run

        self.backup_storage.check()
        yield from Catalog(self.backup_storage, Run(self.registry.emit)).summaries()

    def get(self, name: str, *, detail: bool = False) -> dict[str, Any]:
        """The brief view of a backup (``BackupInfoBrief``, PARITY.md 1.2), whole with ``detail``."""
        from mbk.engine.repository.catalog import Catalog
        from mbk.engine.repository.view import incomplete, view
        from mbk.engine.runtime.run import Run

        self.backup_storage.check()
        catalog = Catalog(self.backup_storage, Run(self.registry.emit))
        return incomplete(catalog, name) or view(catalog, name, detail=detail)

    def delete(
        self, name: str, *, on_event: OnEvent | None = None, cancelled: threading.Event | None = None
    ) -> int:
        """Deletes a backup, also an incomplete one; returns how many objects went.

        Raises `BackupNotFound`, `UsageError` for what cannot be a name, `Busy`, and what the storage raises.
        """
        from mbk.engine.repository.catalog import Catalog
        from mbk.engine.runtime.lease import hold

        self.backup_storage.check()
        hint = f"the rest goes with: mbk delete -n {name}"
        with self._run("delete", name, on_event, hint=hint, cancelled=cancelled) as run:
            catalog = Catalog(self.backup_storage, run)
            catalog.layout(name)  # refuses what is no name
            with hold(self.backup_storage, name, f"deletion of backup {name!r}", run):
                return catalog.delete(name)

    def copy(
        self,
        name: str,
        *,
        path: str = "",
        bucket: str = "",
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunReport:
        """Copies a backup as it is to another root path or bucket of the backup storage. Needs no Milvus.

        Raises `BackupExists`, `BackupNotFound`, `InvalidBackup` and what the storage raises.
        """
        from mbk.engine.operations.copy import CopyBackup

        hint = "run it again, it goes on where it was"
        with self._run("copy", name, on_event, hint=hint, cancelled=cancelled) as run:
            target = self._backup_storage_at(path, bucket)
            try:
                return CopyBackup(self.backup_storage, target, run, self._transfer_limits()).execute(name)
            finally:
                target.close()

    def restore_secondary(
        self,
        name: str,
        *,
        source: str,
        target: str,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunReport:
        """Makes a standby of the backup: ``source`` and ``target`` are the ids of the clusters (FORMAT.md 6.1).

        The session's Milvus is the standby. Raises `UsageError` where the backup or the server cannot, and
        `AlreadyExists` where the standby is not fresh.
        """
        from mbk.engine.operations.standby import SecondaryRestore
        from mbk.milvus import connect_replication

        def open_replication(control: str) -> Replication:
            return connect_replication(self.settings.milvus, source=source, target=target, control=control)

        hint = "run it again, it goes on where it was"
        with self._run("restore secondary", name, on_event, hint=hint, cancelled=cancelled) as run:
            job = SecondaryRestore(
                self.milvus, open_replication, self.storage, self.backup_storage, run, self._restore_limits()
            )
            return job.execute(name, source=source, target=target)

    def l0compact(
        self,
        name: str,
        output: str | None = None,
        *,
        force: bool = False,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunReport:
        """Makes a backup of the same rows without L0 segments, ``{name}_l0compacted`` unless ``output`` says otherwise.

        ``force`` deletes a backup of that name first. Needs no Milvus, and pyarrow: `MissingDependency` without it.
        Raises `BackupExists`, `BackupNotFound`, `InvalidBackup` and what the storage raises.
        """
        from mbk.engine.operations.l0compact import L0Compact

        output = output or compacted_name(name)
        hint = f"begin anew: mbk l0compact -n {name} -o {output} --force"
        with self._run("l0compact", output, on_event, hint=hint, cancelled=cancelled) as run:
            job = L0Compact(self.backup_storage, run, self._transfer_limits(), TOOL)
            return job.execute(name, output, force=force)

    def migrate(self, name: str, cluster: str, *, on_event: OnEvent | None = None) -> MigrationReport:
        """Uploads a backup to Zilliz Cloud and starts its migration into the cluster of that id.

        Raises `ConfigError` without an API key, `BackupNotFound`, `InvalidBackup`, and what the service raises.
        """
        from mbk.cloud import ZillizCloud
        from mbk.config.schema import StorageChoice
        from mbk.engine.operations.migrate import Migrate

        def open_volume(volume: Volume) -> Storage:
            return self.registry.open(StorageChoice(type=volume.storage_type, values=volume.values))

        cloud = ZillizCloud(self.settings.cloud)
        with self._run("migrate", name, on_event, hint="run it again, it goes on where it was") as run:
            job = Migrate(self.backup_storage, cloud, open_volume, run, self._transfer_limits())
            return job.execute(name, cluster)

    def check(self) -> Iterable[CheckResult]:
        """Tries everything that a backup and a restore need; one answer after the other, as they come.

        Writes small probe objects below both roots and deletes them again.
        """
        from mbk.engine.operations.check import Check
        from mbk.engine.runtime.run import Run

        yield from Check(
            lambda: self.milvus,
            lambda: self.storage,
            lambda: self.backup_storage,
            Run(self.registry.emit),
            self._transfer_limits(),
            self.settings.backup.pause_gc,
        ).results()

    # -- how -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _run(
        self,
        command: str,
        name: str,
        on_event: OnEvent | None,
        *,
        hint: str,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Run]:
        from mbk.engine.runtime.run import Run

        registry = self.registry

        def emit(event: Event) -> None:
            registry.emit(event)
            if on_event is not None:
                on_event(event)

        run = Run(emit, cancelled=cancelled)
        try:
            with run.command(command, name):
                yield run
        except (KeyboardInterrupt, Interrupted) as stop:
            raise Interrupted(f"{command} of {name!r} was interrupted", hint=hint) from stop
