"""The use-case `check`: is everything reachable, writable, and the right place?

Each question is asked with a small probe object that is taken away again, and answered on its own: one failure does
not hide the answers after it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mbk.engine.run import Run
from mbk.engine.transfer import STREAM, Transfer, TransferLimits
from mbk.errors import MbkError, VerificationFailed
from mbk.model.backup import CheckResult
from mbk.model.layout import INSERT_LOG
from mbk.model.plan import CopyItem
from mbk.ports.milvus import Milvus
from mbk.ports.storage import Storage

PROBE = b"mbk"
GC_LEASE = 1


@dataclass(frozen=True, slots=True)
class Check:
    """``milvus``, ``storage`` and ``backup`` open what they name; each is opened when its turn comes."""

    milvus: Callable[[], Milvus]
    storage: Callable[[], Storage]
    backup: Callable[[], Storage]
    run: Run
    transfer: TransferLimits
    pause_gc: bool = True

    def results(self) -> Iterator[CheckResult]:
        yield from self._milvus()
        yield from self._side("milvus storage", self.storage, is_backup=False)
        yield from self._side("backup storage", self.backup, is_backup=True)
        yield self._ask("copy from milvus storage to backup storage", self._copy)

    def _milvus(self) -> Iterator[CheckResult]:
        connected = self._ask("milvus", lambda: self.milvus().version)
        yield connected
        if not connected.ok:
            return
        yield self._ask("milvus: list collections", self._collections)
        if self.pause_gc:
            yield self._ask("milvus: pause garbage collection", self._gc, only_warn=True)

    def _collections(self) -> str:
        milvus = self.milvus()
        counts = {item.db_name: len(milvus.collections(item.db_name)) for item in milvus.databases()}
        return f"{sum(counts.values())} collections in {len(counts)} databases"

    def _gc(self) -> str:
        milvus = self.milvus()
        milvus.resume_gc(milvus.pause_gc(GC_LEASE))
        return "can be paused"

    def _side(
        self, name: str, open_storage: Callable[[], Storage], *, is_backup: bool
    ) -> Iterator[CheckResult]:
        def reach() -> str:
            storage = open_storage()
            storage.check(create=is_backup)
            return str(storage.location)

        reached = self._ask(name, reach)
        yield reached
        if not reached.ok:
            return
        if not is_backup:
            yield self._root(name, open_storage())
        yield self._ask(f"{name}: write, read and delete", lambda: self._probe(open_storage()))

    def _root(self, name: str, storage: Storage) -> CheckResult:
        what = f"{name}: Milvus' data"
        try:
            first = next(iter(storage.list(f"{storage.location.root}{INSERT_LOG}/", recursive=False)), None)
        except MbkError as error:
            return CheckResult(what, False, error.message, error.hint, exit_code=error.exit_code)
        if first is None:
            return CheckResult(
                what,
                True,
                f"no {INSERT_LOG} below {storage.location}",
                "right only for a Milvus without data: compare bucketName and rootPath with your Milvus",
                warning=True,
            )
        return CheckResult(what, True, f"found below {storage.location}")

    def _probe(self, storage: Storage) -> str:
        key = self._key(storage)
        try:
            storage.write(key, [PROBE], size=len(PROBE))
            with storage.read(key) as chunks:
                if b"".join(chunks) != PROBE:
                    raise VerificationFailed(f"{key} reads differently from what was written")
        finally:
            storage.delete([key])
        return "works"

    def _copy(self) -> str:
        source, destination = self.storage(), self.backup()
        item = CopyItem(self._key(source, "src"), self._key(destination, "dst"), len(PROBE))
        source.write(item.source_key, [PROBE], size=item.size)
        try:
            with Transfer(source, destination, self.run, self.transfer) as transfer:
                transfer.copy([item], collection="", present={})
                stats = transfer.stats
        finally:
            source.delete([item.source_key])
            destination.delete([item.key])
        if STREAM in stats.objects:
            return f"streamed through this process: {stats.streamed_because}"
        return "server side"

    @staticmethod
    def _key(storage: Storage, side: str = "probe") -> str:
        return f"{storage.location.root}mbk_check_{side}_{uuid.uuid4().hex}"

    def _ask(self, what: str, question: Callable[[], str], *, only_warn: bool = False) -> CheckResult:
        try:
            return CheckResult(what, True, question())
        except MbkError as error:
            return CheckResult(
                what, only_warn, error.message, error.hint, warning=only_warn, exit_code=error.exit_code
            )
