"""The operation `check`: is everything reachable, writable, and the right place?

Each check runs on its own: one failure does not hide the results after it. For one command only what it needs is asked:
what it only reads is read, by an object that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial

from mbk.engine.formats.known import FORMATS
from mbk.engine.runtime.executor import Executor
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.executors.away import Away
from mbk.engine.transfer.items import STREAM, CopyItem
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.probe import DATA, Probe, ask, ask_optional
from mbk.engine.transfer.sample import Sample
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import AccessError, BucketNotFound, MbkError, Unreachable, Unsupported, WrongStorage
from mbk.frozen import frozen
from mbk.model.layout import INSERT_LOG
from mbk.model.locking import ObjectLock
from mbk.model.operations import Access, Operation
from mbk.model.records import DEFAULT_DATABASE
from mbk.model.reports import CheckResult
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature
from mbk.ports.storage import Storage

#: A pause so short that it ends before it matters; ending it explicitly would end those of other clients, too.
GC_LEASE = 1


@frozen
class Check:
    """``milvus``, ``storage`` and ``backup`` open what they name; each is called only when needed.

    ``command``: the one whose needs are asked for; None for whatever any needs. ``object_lock``: how backups are to be locked.
    """

    milvus: Callable[[], Milvus]
    storage: Callable[[], Storage]
    backup: Callable[[], Storage]
    run: Run
    transfer: TransferLimits
    pause_gc: bool = True
    command: Operation | None = None
    object_lock: ObjectLock | None = None

    def results(self) -> Iterator[CheckResult]:
        if self.command is None or "milvus" in self.command.needs:
            yield from self._milvus()
        sides = [side for side in self._sides() if side.access != "none"]
        reached = []
        for side in sides:
            result = self._reach(side)
            yield result
            reached.append(result.ok and not result.warning)
            if reached[-1]:
                yield from self._of_side(side)
        if len(sides) > 1 and all(reached):
            yield from self._between(*sides)

    def _sides(self) -> tuple[_Side, _Side]:
        command = self.command
        return (
            _Side(
                name="milvus storage",
                open=self.storage,
                access=command.access_to_storage if command else "write",
                below=f"{INSERT_LOG}/",
            ),
            _Side(
                name="backup storage",
                open=self.backup,
                access=command.access_to_backups if command else "write",
                is_backup=True,
            ),
        )

    def _of_side(self, side: _Side) -> Iterator[CheckResult]:
        if not side.is_backup:
            yield self._root(side.name)
        probe = Probe.of(side.open())
        if side.access == "write":
            copied = self.command is None or "storage" in self.command.needs
            yield from probe.results(side.name, self.run, copies=copied)
            if side.is_backup and copied and (lock := self.object_lock) is not None:
                yield ask(f"{side.name}: object lock", lambda: probe.lock(self.run, lock.mode))
            return
        yield from side.sample.results(side.name)
        if side.access == "note":
            yield ask_optional(f"{side.name}: write", lambda: probe.note(self.run), "results are not kept")

    def _between(self, storage: _Side, backup: _Side) -> Iterator[CheckResult]:
        for source, target in ((storage, backup), (backup, storage)):
            if target.access == "write":
                what = f"copy from {source.name} to {target.name}"
                yield ask(
                    what, partial(self._copied, source, target), optional="it is tried by the first run"
                )
        if (executor := self.transfer.executor) is not None:
            yield ask("workers", lambda: self._workers(storage.open(), backup.open(), executor))
        yield from self._of_formats(storage.open(), backup.open())

    def _workers(self, storage: Storage, backup: Storage, executor: Executor) -> str:
        with closing(Away(Pair(source=storage, destination=backup, run=self.run), executor)) as workers:
            workers.reach()
        return "open both storages"

    def _milvus(self) -> Iterator[CheckResult]:
        connected = ask("milvus", lambda: self.milvus().version)
        yield connected
        if not connected.ok:
            return
        yield ask("milvus: list collections", self._collections)
        command = self.command
        if self.pause_gc and (command is None or command.access_to_backups == "write"):
            # Without a pause a backup only gives a notice, so this is only a warning.
            yield ask_optional("milvus: pause garbage collection", self._gc, "backups run without it")
        if self._asks_rest(self.milvus().features):
            yield ask_optional("milvus: REST", self._rest, self._without_rest())

    def _asks_rest(self, features: frozenset[Feature]) -> bool:
        """A backup asks it for the files of segments, a restore imports by it."""
        command = self.command
        restores = command is None or command.access_to_storage == "write"
        return (Feature.REST_IMPORT if restores else Feature.SEGMENT_DETAIL) in features

    def _of_formats(self, storage: Storage, backup: Storage) -> Iterator[CheckResult]:
        """Errors in reaching Milvus are reported by the checks of Milvus."""
        with suppress(MbkError):
            milvus = self.milvus()
            for kind in FORMATS:
                yield from kind.checks(milvus, storage, backup)

    def _collections(self) -> str:
        milvus = self.milvus()
        counts = {
            item.db_name: len(milvus.inventory.collections(item.db_name))
            for item in milvus.inventory.databases()
        }
        return f"{sum(counts.values())} collections in {len(counts)} databases"

    def _gc(self) -> str:
        self.milvus().gc.pause(GC_LEASE)
        return "can be paused"

    def _rest(self) -> str:
        """Lists import jobs, as a restore does before it relies on the port."""
        try:
            self.milvus().imports.jobs(DEFAULT_DATABASE, "", rest=True)
        except (Unsupported, Unreachable, AccessError):
            raise
        except MbkError:
            pass  # Milvus answered, whatever it thinks of the request.
        return "answers"

    def _without_rest(self) -> str:
        if Feature.SEGMENT_DETAIL in self.milvus().features:
            return "backups list the bucket for the files of segments, and restores import over gRPC"
        return "restores import over gRPC"

    def _reach(self, side: _Side) -> CheckResult:
        """A missing backup bucket is only a warning where it is written to: `create` creates it."""
        is_made = side.is_backup and (self.command is None or "storage" in self.command.needs)
        is_made = is_made and side.access == "write"

        def reach() -> str:
            storage = side.open()
            try:
                storage.check()
            except BucketNotFound as error:
                if is_made:
                    raise Unsupported(error.message) from error
                raise
            return str(storage.location)

        return ask(side.name, reach, optional="create makes it" if is_made else "")

    def _copied(self, source: _Side, target: _Side) -> str:
        """Of a probe, or of an object that is there where the source is only read."""
        destination = target.open()
        probe = Probe.of(destination)
        with probe.removed(self.run):
            if source.access != "write":
                found = source.sample.get()
                return self._copy(source.open(), destination, found.key, probe.copied, found.size)
            origin = Probe.of(source.open())
            with origin.removed(self.run):
                origin.write()
                way = self._copy(source.open(), destination, origin.key, probe.copied, len(DATA))
                probe.read(probe.copied)
                return way

    def _copy(self, source: Storage, destination: Storage, source_key: str, key: str, size: int) -> str:
        with Transfer(
            source=source, destination=destination, run=self.run, limits=self.transfer.here
        ) as transfer:
            transfer.copy(
                [CopyItem(source_key=source_key, key=key, size=size)],
                collection="",
                present={},
            )
            stats = transfer.stats
        if STREAM in stats.objects:
            return f"streamed through this process: {stats.streamed_because}"
        return "server side"

    def _root(self, name: str) -> CheckResult:
        """A wrong bucket may contain the data of another Milvus: if this one has data, it must be here."""
        storage = self.storage()
        result = ask_root(name, storage)
        if not result.ok or (flushed := self._flushed_collection()) is None:
            return result
        detail = f"{result.detail}, but Milvus has data"
        if not result.warning:
            prefix = f"{storage.location.root}{INSERT_LOG}/{flushed.id}/"
            here = ask(result.what, lambda: listing.first(storage, prefix))
            if here.detail:
                return result if here.ok else here
            label = f"{flushed.database}.{flushed.name}"
            detail = f"no data of {label} below {storage.location}, but Milvus has data of it"
        return replace(
            result,
            ok=False,
            warning=False,
            detail=detail,
            hint="bucketName and rootPath must be those of your Milvus",
            exit_code=WrongStorage.exit_code,
        )

    def _flushed_collection(self) -> CollectionInfo | None:
        """One with flushed rows, if any; errors are reported by the checks of Milvus."""
        with suppress(MbkError):
            milvus = self.milvus()
            for database in milvus.inventory.databases():
                for collection in milvus.inventory.collections(database.db_name):
                    segments = milvus.segments.persistent(database.db_name, collection)
                    if any(segment.rows and not segment.is_l0 for segment in segments):
                        return milvus.inventory.describe(database.db_name, collection)
        return None


@frozen(kw_only=True)
class _Side:
    """One of the two storages. ``below``: the prefix in its root of what is there to be read."""

    name: str
    open: Callable[[], Storage]
    access: Access
    below: str = ""
    is_backup: bool = False

    @property
    def sample(self) -> Sample:
        storage = self.open()
        return Sample(storage, f"{storage.location.root}{self.below}")


def ask_root(name: str, storage: Storage) -> CheckResult:
    """Whether Milvus' data is below the root; lists one directory, never the whole bucket."""
    prefix = f"{storage.location.root}{INSERT_LOG}/"
    what = f"{name}: Milvus' data"
    result = ask(what, lambda: listing.first(storage, prefix))
    if not result.ok:
        return result
    if result.detail:
        return replace(result, detail=f"found below {storage.location}")
    return replace(
        result,
        detail=f"no {INSERT_LOG} below {storage.location}",
        hint="right only for a Milvus without data: compare bucketName and rootPath with your Milvus",
        warning=True,
    )
