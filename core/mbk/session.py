"""The library's entry point: one composition root for the command line, REST and programs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any, Unpack

from mbk.connections import Connections, budget, side_of
from mbk.errors import Interrupted, UsageError
from mbk.model.addresses import Address
from mbk.model.declared import Options, text_of, wrong_type
from mbk.model.events import Event
from mbk.model.operations import OPERATIONS
from mbk.model.options import (
    CheckOptions,
    Checksum,
    CopyOptions,
    CreateOptions,
    DeleteOptions,
    GcOptions,
    ImportOptions,
    L0CompactOptions,
    Layout,
    MigrateOptions,
    PinOptions,
    PruneOptions,
    RestoreOptions,
    StandbyOptions,
    UndeleteOptions,
    VerifyOptions,
)
from mbk.model.reports import (
    BackupSummary,
    CheckResult,
    DeletionReport,
    GcReport,
    MigrationReport,
    PinReport,
    PruneReport,
    RunReport,
    UndeleteReport,
    VerifyReport,
    compacted_name,
    default_name,
)
from mbk.model.states import Depth

if TYPE_CHECKING:
    from datetime import datetime

    from mbk.config.schema import Settings
    from mbk.engine.repository.catalog import Catalog
    from mbk.engine.runtime.context import Context
    from mbk.engine.runtime.pace import Pace
    from mbk.engine.runtime.run import Run
    from mbk.model.contents import BackupInfo
    from mbk.model.forecast import Forecast
    from mbk.model.keywords import CreateKeywords, GcKeywords, PruneKeywords, RestoreKeywords
    from mbk.model.listings import Entry
    from mbk.model.operations import Operation
    from mbk.model.options import Bytes, DepthName, Requests
    from mbk.model.plans import Plan
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
    pace: Pace | None = None,
) -> Session:
    """Opens a session. Connections are made on first use.

    ``config``: the path of a configuration file, `Settings`, or None for the file that the command line would find.
    ``overrides``: dotted keys of the file's dialect with their values, above everything else. ``storage`` and
    ``backup_storage`` as on the shell. ``registry``: with plugins of the program's own. ``pace``: polling
    intervals and timeouts. Raises `ConfigError`.
    """
    from mbk.config.schema import Settings

    if not isinstance(config, (str, PathLike, Settings, type(None))):
        raise wrong_type("config", config, "the path of a file, Settings or None")
    if isinstance(config, Settings):
        if overrides or sets or storage or backup_storage:
            raise UsageError(
                "overrides apply to a configuration file only",
                code="overrides-without-file",
                hint="change the Settings object instead",
            )
        settings = config
    else:
        from mbk.config.load import load

        settings = load(
            config, sets=sets, overrides=overrides, storage=storage, backup_storage=backup_storage
        ).settings
    return Session(settings, registry=registry, pace=pace)


class Session(Connections):
    """Milvus, its storage and the backup storage, opened on first use and closed with the session.

    Several threads may call it.
    """

    def create(
        self,
        name: str | None = None,
        options: CreateOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
        id: str = "",
        **changes: Unpack[CreateKeywords],
    ) -> RunReport:
        """Backs up. ``changes`` are fields of `CreateOptions`, over those of ``options``.

        Setting ``cancelled`` from another thread stops the run cleanly, with `Interrupted`. ``id``: the id of the backup.

        Raises `BackupExists`, `InvalidName` and other `UsageError`, `Busy`, `PartialFailure` (with the report) and what the
        storages and Milvus raise.
        """
        chosen = CreateOptions.of(options, changes)
        report: RunReport = self.run("create", name, chosen, on_event=on_event, cancelled=cancelled, id=id)
        return report

    def restore(
        self,
        name: str | None = None,
        options: RestoreOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
        **changes: Unpack[RestoreKeywords],
    ) -> RunReport:
        """Restores. ``changes`` are fields of `RestoreOptions`, over those of ``options``.

        Without a name ``at`` says which backup: the one that comes nearest to that moment. The ``name`` of the report is that of the
        backup, and its collections have the ``moment`` that they really are of.

        Raises `BackupNotFound`, `CollectionExists`, `InvalidBackup`, `PartialFailure` (with the report) and what the
        storages and Milvus raise.
        """
        chosen = RestoreOptions.of(options, changes)
        report: RunReport = self.run("restore", name, chosen, on_event=on_event, cancelled=cancelled)
        return report

    def list(self) -> Iterable[BackupSummary]:
        """All backups by name, incomplete and unreadable ones too. Needs no Milvus."""
        from mbk.engine.repository.pool.freeing import with_frees

        yield from with_frees(self.backup_storage, self._silent_run(), self._catalog().summaries())

    def names(self) -> Sequence[str]:
        """The names of all backups, as `list` tells them, in order. Faster: no file is read. Needs no Milvus."""
        return self._catalog().names()

    def nearby(self) -> Sequence[str]:
        """Root paths beside that of the backups below which there are some, at most a few: for whoever finds none."""
        from contextlib import closing

        from mbk.engine.repository.nearby import holding_backups
        from mbk.engine.runtime.run import Run

        choice = self.settings.backup_storage
        root = str(choice.values.get("root_path", "")).rstrip("/")
        parent, slash, own = root.rpartition("/")
        if not own:
            return ()
        above = parent or ("/" if slash else "." if self.backup_storage.location.mount else "")
        values = {**choice.values, "root_path": above}
        with closing(self.registry.open(choice.model_copy(update={"values": values}))) as storage:
            found = holding_backups(storage, Run(self.registry.emit, policy=self.pace.retry), own)
            return [f"{parent}{slash}{name}" for name in found]

    def is_taken(self, name: str) -> bool:
        """Whether anything lies under the name of a backup, so that no new one can have it. Needs no Milvus."""
        return self._catalog().is_taken(name)

    def get(self, name: str, *, detail: bool = False) -> BackupInfo:
        """The contents of a backup; ``detail`` adds partitions and segments. Needs no Milvus.

        Raises `BackupNotFound`, `InvalidBackup`, `UsageError` for an invalid name, and what the storage raises.
        """
        from mbk.engine.repository.pool.freeing import frees_of
        from mbk.engine.repository.view import incomplete, view
        from mbk.model.contents import BackupInfo

        text_of(name, "name")
        catalog = self._catalog()
        document = incomplete(catalog, name) or view(catalog, name, detail=detail)
        if "added" in document:
            freed = frees_of(self.backup_storage, self._silent_run(), name)
            document |= {} if freed is None else {"frees": freed}
        return BackupInfo.of(document)

    def ls(self, where: str = "", *, recursive: bool = False, totals: bool = False) -> Iterator[Entry]:
        """What lies in a place, one by one: an address (docs/reference/cli.md#addresses), or a name and a path below it.

        Without ``where`` what lies among the backups. ``recursive``: all objects instead of the next level. ``totals``: the
        objects of each directory are counted. Reads no metadata, needs no Milvus. `NotFound` if there is nothing, `UsageError`,
        and what the storage raises.
        """
        from mbk.engine.operations.ls import entries
        from mbk.engine.runtime.retried import retried
        from mbk.engine.runtime.run import Run

        address = Address.parse(text_of(where, "where"))
        run = Run(self.registry.emit, policy=self.pace.retry)
        with self._place(address, inside=True) as opened:
            storage = retried(opened, run, side=side_of(address))
            storage.check()
            below = "" if address.scheme else address.path.strip("/")
            prefix = f"{storage.location.root}{below}/" if below else storage.location.root
            yield from entries(storage, run, prefix, recursive=recursive, totals=totals)

    def verify(
        self,
        name: str,
        *,
        depth: DepthName = Depth.DIGESTS,
        sample: int | str = 100,
        record: bool = False,
        max_rate: Requests = None,
        max_bandwidth: Bytes = None,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> VerifyReport:
        """Verifies a backup: ``listing``, ``digests``, ``contents`` or ``drill``. Only a drill needs Milvus.

        ``sample``: percent of the contents to read, another part every day. ``record``: also makes the record of objects
        that a backup of another tool lacks. Raises `DamageFound` (with the report) if anything is wrong, `BackupNotFound`,
        `InvalidBackup` for a backup that was never completed, and what the storage raises.
        """
        given = {"depth": depth, "sample": sample, "record": record}
        options = VerifyOptions.of(None, {**given, "max_rate": max_rate, "max_bandwidth": max_bandwidth})
        report: VerifyReport = self.run("verify", name, options, on_event=on_event, cancelled=cancelled)
        return report

    def delete(
        self,
        name: str,
        *,
        versions: bool = False,
        remnants: bool = False,
        max_rate: Requests = None,
        max_bandwidth: Bytes = None,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> int:
        """Deletes a backup, even an incomplete one; returns the number of deleted objects.

        Only what belongs to the backup is deleted. ``versions``: also old versions, in a bucket that keeps them. ``remnants``: also
        if there is only data without metadata, which an interrupted `create` of the Go tool left. Raises `BackupNotFound`,
        `DeleteFailed` if something is still there, `UsageError` for an invalid name, `Busy`, and what the storage raises.
        """
        given = {"versions": versions, "remnants": remnants}
        options = DeleteOptions.of(None, {**given, "max_rate": max_rate, "max_bandwidth": max_bandwidth})
        report: DeletionReport = self.run("delete", name, options, on_event=on_event, cancelled=cancelled)
        return report.deleted_objects

    def undelete(
        self,
        name: str,
        *,
        max_rate: Requests = None,
        max_bandwidth: Bytes = None,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> UndeleteReport:
        """Brings back the newest complete backup of this name from a bucket that keeps versions. Needs no Milvus.

        Only marks of deletion are removed; what other bytes were written over is written again. Raises `BackupNotFound` or
        `InvalidBackup` if no version tells of one, `BackupExists` if another backup is there now, `DamagedBackup` if there is no
        version of some objects, `Unsupported` where the storage tells no versions, `Busy`, and what the storage raises.
        """
        options = UndeleteOptions.of(None, {"max_rate": max_rate, "max_bandwidth": max_bandwidth})
        report: UndeleteReport = self.run("undelete", name, options, on_event=on_event, cancelled=cancelled)
        return report

    def pin(
        self,
        name: str,
        *,
        until: datetime | str | None = None,
        reason: str = "",
        remove: bool = False,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> PinReport:
        """Keeps a backup from being deleted, until a moment (``"90d"`` from now) or for good; ``remove`` lets it go again.

        Raises `BackupNotFound`, `InvalidBackup` for one that was never completed, `UsageError`, `Busy`, and what the storage
        raises.
        """
        options = PinOptions.of(None, {"until": until, "reason": reason, "remove": remove})
        report: PinReport = self.run("pin", name, options, on_event=on_event, cancelled=cancelled)
        return report

    def prune(
        self,
        options: PruneOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
        **changes: Unpack[PruneKeywords],
    ) -> PruneReport:
        """Deletes the backups that no rule keeps; ``plan("prune", options=…)`` tells which. Without a rule the configured ones
        count. Needs no Milvus.

        Raises `UsageError` where there is no rule, `PartialFailure` (with the report) if a backup could not be deleted, and
        what the storage raises.
        """
        chosen = PruneOptions.of(options, changes)
        report: PruneReport = self.run("prune", None, chosen, on_event=on_event, cancelled=cancelled)
        return report

    def gc(
        self,
        options: GcOptions | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
        **changes: Unpack[GcKeywords],
    ) -> GcReport:
        """Removes what belongs to no backup and to no run; ``plan("gc")`` tells what, as ``leftovers``. Needs no Milvus, but its storage
        for what restores left there.

        Raises `Busy` while another run builds on the pool, `InvalidBackup` if the record of a backup cannot be read, `PartialFailure`
        (with the report) if something that should go is still there, and what the storages raise.
        """
        chosen = GcOptions.of(options, changes)
        report: GcReport = self.run("gc", None, chosen, on_event=on_event, cancelled=cancelled)
        return report

    def copy(
        self,
        name: str,
        to: str = "",
        *,
        path: str = "",
        bucket: str = "",
        layout: Layout = "same",
        checksum: Checksum = "auto",
        max_rate: Requests = None,
        max_bandwidth: Bytes = None,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunReport:
        """Copies a backup to another place or another name, or completes such a copy. Needs no Milvus.

        ``name`` and ``to`` are addresses: a name, ``PROFILE@NAME``, a URL or a path (docs/reference/cli.md#addresses); a ``to``
        that ends with ``/`` is what the copy lies in. ``path`` and ``bucket`` are another root path and bucket for a ``to`` that
        is no URL. Of a backup whose objects lie in a pool, only those are copied that the pool there lacks; ``layout`` gives the copy
        another layout. `DamagedBackup` if the backup lacks an object or one was changed. Raises `BackupExists` if another backup is
        there, `BackupNotFound`, `InvalidBackup` for a partial or incomplete one, `UsageError`, and what the storages raise.
        """
        given = {"to": to, "path": path, "bucket": bucket, "layout": layout, "checksum": checksum}
        options = CopyOptions.of(None, {**given, "max_rate": max_rate, "max_bandwidth": max_bandwidth})
        report: RunReport = self.run("copy", name, options, on_event=on_event, cancelled=cancelled)
        return report

    def import_backup(
        self,
        name: str,
        *,
        checksum: Checksum = "auto",
        max_rate: Requests = None,
        max_bandwidth: Bytes = None,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunReport:
        """Takes a classic backup into the pool of its root, and frees its classic copies; it stays the same backup. Needs no Milvus.

        `DamagedBackup` if the backup lacks an object or one was changed. Raises `BackupNotFound`, `InvalidBackup` for a partial or
        incomplete one or one of snapshots, `UsageError`, `Busy`, and what the storage raises.
        """
        given = {"checksum": checksum, "max_rate": max_rate, "max_bandwidth": max_bandwidth}
        options = ImportOptions.of(None, given)
        report: RunReport = self.run("import", name, options, on_event=on_event, cancelled=cancelled)
        return report

    def restore_secondary(
        self,
        name: str,
        *,
        source: str,
        target: str,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunReport:
        """Creates a standby from the backup: ``source`` and ``target`` are the ids of the clusters.

        The session's Milvus is the standby. Raises `UsageError` if the backup or the server does not support it, and
        `AlreadyExists` if the standby is not empty.
        """
        options = StandbyOptions(source=source, target=target)
        report: RunReport = self.run(
            "restore secondary", name, options, on_event=on_event, cancelled=cancelled
        )
        return report

    def l0compact(
        self,
        name: str,
        output: str | None = None,
        *,
        force: bool = False,
        checksum: Checksum = "auto",
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> RunReport:
        """Creates a backup of the same rows without L0 segments, named ``output`` or ``{name}_l0compacted``.

        ``force`` first deletes an existing backup with that name. Needs no Milvus, but pyarrow (`MissingDependency`).
        `DamagedBackup` if it lacks an object or one was changed. Raises `BackupExists`, `BackupNotFound`, `InvalidBackup` and
        what the storage raises.
        """
        options = L0CompactOptions(output=output or "", force=force, checksum=checksum)
        report: RunReport = self.run("l0compact", name, options, on_event=on_event, cancelled=cancelled)
        return report

    def migrate(
        self,
        name: str,
        cluster: str,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> MigrationReport:
        """Uploads a backup to Zilliz Cloud and starts its migration into the cluster with that id.

        Raises `ConfigError` without an API key, `BackupNotFound`, `InvalidBackup`, and what the service raises.
        """
        options = MigrateOptions(cluster=cluster)
        report: MigrationReport = self.run("migrate", name, options, on_event=on_event, cancelled=cancelled)
        return report

    def check(self, command: str = "all") -> Iterable[CheckResult]:
        """Checks everything that a backup and a restore need; yields the results one by one.

        ``command`` (create, restore, verify, delete): asks only for what that one needs. Writes small probe objects below the
        roots that are written to, and deletes them again. `UsageError` for another command.
        """
        # At once, and not with the first result.
        return self._checked(CheckOptions.of(None, {"command": command}).command)

    def _checked(self, command: str) -> Iterator[CheckResult]:
        from mbk.engine.operations.check import Check

        yield from Check(
            milvus=lambda: self.milvus,
            storage=lambda: self.storage,
            backup=lambda: self.backup_storage,
            run=self._silent_run(),
            transfer=self._limits().transfer,
            pause_gc=self.settings.backup.pause_gc,
            command=OPERATIONS.get(command),
            object_lock=self.object_lock,
        ).results()

    # -- running operations --------------------------------------------------------------------------------------

    def run(
        self,
        operation: str,
        name: str | None = None,
        options: Options | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
        id: str = "",
    ) -> Any:
        """Runs the operation of this name, one of `OPERATIONS`; the report is that of the operation's own method."""
        declared = self._declared(operation)
        given = declared.options.of(options, {})
        name = _named(declared, name, given)
        output = given.output or compacted_name(name) if isinstance(given, L0CompactOptions) else name
        hint = declared.resume.format(name=name, output=output)
        # Before the run: Ctrl-C amid an import is nothing that a run can end well.
        module = import_module(declared.module)
        with (
            self._run(
                declared,
                given,
                command=operation,
                name=output,
                hint=hint,
                on_event=on_event,
                cancelled=cancelled,
            ) as run,
            self._context(declared, name, given, run, id=id) as context,
        ):
            run.phase("plan")
            if getattr(given, "dry_run", False):
                plan: Plan = module.preview(context, module.plan(context, name, given))
                return plan.report()
            return module.execute(context, name, given)

    def plan(
        self,
        operation: str,
        name: str | None = None,
        options: Options | None = None,
        *,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> Plan:
        """What the operation of this name would do: objects, bytes and rows as they are now. Changes nothing.

        Raises everything that the operation itself raises before its first write.
        """
        with self._planned(operation, name, options, on_event, cancelled) as (_, plan):
            return plan

    def forecast(
        self,
        operation: str,
        name: str | None = None,
        options: Options | None = None,
        *,
        probe: bool = True,
        prices: str | PathLike[str] | None = None,
        on_event: OnEvent | None = None,
        cancelled: threading.Event | None = None,
    ) -> Forecast:
        """As `plan`, with the time that moving the objects takes and what it costs.

        With ``probe`` some of the objects are copied or read for a few seconds; the copies are removed again. ``prices``: a file
        with prices of your own, which come before the list prices that mbk knows.
        """
        from mbk.model.forecast import Forecast, costs_of
        from mbk.prices import known, price_of

        table = known(prices)
        with self._planned(operation, name, options, on_event, cancelled) as (context, plan):
            from mbk.engine.operations.forecast import forecast, storage_of

            told = forecast(context, plan) if probe else Forecast(plan=plan)
            found = {
                side.side: price_of(storage_of(context, side.side).location, table)
                for side in told.plan.requests
            }
            charged = {side: price for side, price in found.items() if price is not None}
            return replace(told, costs=costs_of(told.plan, charged))

    @contextmanager
    def _planned(
        self,
        operation: str,
        name: str | None,
        options: Options | None,
        on_event: OnEvent | None,
        cancelled: threading.Event | None,
    ) -> Iterator[tuple[Context, Plan]]:
        declared = self._declared(operation)
        given = declared.options.of(options, {})
        name = _named(declared, name, given)
        module = import_module(declared.module)
        with (
            self._run(
                declared,
                given,
                command=f"plan {operation}",
                name=name,
                hint="run it again",
                on_event=on_event,
                cancelled=cancelled,
            ) as run,
            self._context(declared, name, given, run) as context,
        ):
            run.phase("plan")
            yield context, module.preview(context, module.plan(context, name, given))

    def _catalog(self) -> Catalog:
        """The backups, once their storage answers."""
        from mbk.engine.repository.catalog import Catalog
        from mbk.engine.runtime.retried import retried

        run = self._silent_run()
        retried(self.backup_storage, run, side="backup_storage").check()
        return Catalog(self.backup_storage, run)

    def _silent_run(self) -> Run:
        """For what is no command, within the configured budget."""
        from mbk.engine.runtime.run import Run

        allowed, steering = self._steered(budget(self.settings, restores=False))
        return Run(self.registry.emit, policy=self.pace.retry, budget=allowed, steering=steering)

    def _declared(self, operation: str) -> Operation:
        declared = OPERATIONS.get(operation)
        if declared is None or not declared.module:
            choices = ", ".join(item.name for item in OPERATIONS.values() if item.module)
            raise UsageError(
                "operation {operation!r} cannot be run",
                code="operation-not-runnable",
                operation=operation,
                choices=choices,
                hint="use one of {choices}",
            )
        return declared

    @contextmanager
    def _run(
        self,
        operation: Operation,
        options: Options,
        *,
        command: str,
        name: str,
        hint: str,
        on_event: OnEvent | None,
        cancelled: threading.Event | None,
    ) -> Iterator[Run]:
        from mbk.engine.runtime.run import Run

        if on_event is not None and not callable(on_event):
            raise wrong_type("on_event", on_event, "a function that takes an event")
        if cancelled is not None and not hasattr(cancelled, "is_set"):
            raise wrong_type("cancelled", cancelled, "a threading.Event")
        registry = self.registry

        def emit(event: Event) -> None:
            registry.emit(event)
            if on_event is not None:
                on_event(event)

        configured = budget(self.settings, restores="milvus" in operation.writes)
        allowed, steering = self._steered(configured, options)
        run = Run(emit, policy=self.pace.retry, cancelled=cancelled, budget=allowed, steering=steering)
        try:
            with run.command(command, name):
                run.phase("connect")
                yield run
        except (KeyboardInterrupt, Interrupted) as stop:
            raise Interrupted(
                "{what} was interrupted",
                code="interrupted",
                what=f"{command} of {name!r}" if name else command,
                command=command,
                name=name,
                resume=hint,
                hint="{resume}",
            ) from stop


def _named(operation: Operation, name: str | None, options: Options) -> str:
    """A new backup without a name is named after the time. Checks an address, which is printed and logged from here on."""
    if name is not None:
        text_of(name, "name")
    if isinstance(options, CopyOptions):
        options.names(name or "")
    if operation.name_of_backup == "or moment" and not name and not options.finds_backup:
        raise UsageError(
            "neither a backup nor a moment is named",
            code="backup-or-moment-missing",
            hint="name a backup, or the moment to restore with at",
        )
    return name or (default_name() if operation.name_of_backup == "optional" else "")
