"""The operation `check`: is everything reachable, writable, and the right place?

Each check runs on its own: one failure does not hide the results after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace

from mbk.engine.formats.known import FORMATS
from mbk.engine.runtime.executor import Executor
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.run import Run
from mbk.engine.transfer import listing
from mbk.engine.transfer.executors.away import Away
from mbk.engine.transfer.items import STREAM, CopyItem
from mbk.engine.transfer.pair import Pair
from mbk.engine.transfer.probe import DATA, Probe, ask, ask_optional
from mbk.engine.transfer.transfer import Transfer
from mbk.errors import AccessError, BucketNotFound, MbkError, Unreachable, Unsupported, WrongStorage
from mbk.frozen import frozen
from mbk.model.layout import INSERT_LOG
from mbk.model.records import DEFAULT_DATABASE
from mbk.model.reports import CheckResult
from mbk.ports.milvus.server import Milvus
from mbk.ports.milvus.values import CollectionInfo, Feature
from mbk.ports.storage import Storage

#: A pause so short that it ends before it matters; ending it explicitly would end those of other clients, too.
GC_LEASE = 1


@frozen
class Check:
    """``milvus``, ``storage`` and ``backup`` open what they name; each is called only when needed."""

    milvus: Callable[[], Milvus]
    storage: Callable[[], Storage]
    backup: Callable[[], Storage]
    run: Run
    transfer: TransferLimits
    pause_gc: bool = True

    def results(self) -> Iterator[CheckResult]:
        yield from self._milvus()
        reached = []
        for name, side, is_backup in (
            ("milvus storage", self.storage, False),
            ("backup storage", self.backup, True),
        ):
            result = self._reach(name, side, is_backup=is_backup)
            yield result
            reached.append(result.ok and not result.warning)
            if reached[-1]:
                if not is_backup:
                    yield self._root(name)
                yield from Probe.of(side()).results(name, self.run)
        if all(reached):
            milvus, backup = self.storage(), self.backup()
            yield ask("copy from milvus storage to backup storage", lambda: self._copy(milvus, backup))
            yield ask("copy from backup storage to milvus storage", lambda: self._copy(backup, milvus))
            if (executor := self.transfer.executor) is not None:
                yield ask("workers", lambda: self._workers(milvus, backup, executor))
            yield from self._of_formats(milvus, backup)

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
        if self.pause_gc:
            # Without a pause a backup only gives a notice, so this is only a warning.
            yield ask_optional("milvus: pause garbage collection", self._gc, "backups run without it")
        if Feature.REST_IMPORT in self.milvus().features:
            yield ask_optional("milvus: REST", self._rest, self._without_rest())

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

    def _reach(self, name: str, side: Callable[[], Storage], *, is_backup: bool) -> CheckResult:
        """A missing backup bucket is only a warning: `create` creates it."""

        def reach() -> str:
            storage = side()
            try:
                storage.check()
            except BucketNotFound as error:
                if is_backup:
                    raise Unsupported(error.message) from error
                raise
            return str(storage.location)

        return ask(name, reach, optional="create makes it" if is_backup else "")

    def _copy(self, source: Storage, destination: Storage) -> str:
        origin, target = Probe.of(source), Probe.of(destination)
        with origin.removed(self.run), target.removed(self.run):
            origin.write()
            with Transfer(
                source=source, destination=destination, run=self.run, limits=self.transfer.here
            ) as transfer:
                transfer.copy(
                    [CopyItem(source_key=origin.key, key=target.copied, size=len(DATA))],
                    collection="",
                    present={},
                )
                stats = transfer.stats
            target.read(target.copied)
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
