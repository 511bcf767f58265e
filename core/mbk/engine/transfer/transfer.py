"""The only copier: objects from one storage to another, server side where the pair can, streamed where it cannot.

Whether a pair of storages copies server side is found out by trying, never by comparing names (DESIGN.md 5): the
first object decides. Where the vendor refuses, the pair streams from then on, and the reason stands in the report.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from types import TracebackType

from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.parts import Part, cut
from mbk.errors import AccessError, NotFound, Unsupported, UsageError, VerificationFailed
from mbk.model.events import ObjectCopied
from mbk.model.reports import TransferStats
from mbk.ports.storage import MIB, ObjectInfo, Storage

SERVER = "server"
STREAM = "stream"
KEPT = "kept"

#: More threads than this only contend for the interpreter lock (LAB.md 3).
MAX_WORKERS = 32
MAX_STREAMS = 16
PART_WORKERS = 8


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """``mode`` is ``auto``, ``direct`` or ``streaming``; ``part_threshold`` in bytes: from there on copy by parts."""

    mode: str = "auto"
    concurrency: int = 128
    part_threshold: int = 500 * MIB


class Transfer:
    """Copies between one pair of storages. Thread-safe; close it, or use it as a context manager."""

    def __init__(self, source: Storage, destination: Storage, run: Run, limits: TransferLimits) -> None:
        self._source = source
        self._destination = destination
        self._run = run
        self._limits = limits
        self._pool = Pool(min(limits.concurrency, MAX_WORKERS), run.cancelled, name="mbk-copy")
        self._streams = threading.BoundedSemaphore(min(limits.concurrency, MAX_STREAMS))
        self._lock = threading.Lock()
        self._deciding = threading.Lock()
        self._way: str | None = None
        self._reason: str | None = None
        self._objects: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._decide_without_trying()

    def __enter__(self) -> Transfer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()

    @property
    def stats(self) -> TransferStats:
        with self._lock:
            return TransferStats(
                objects=dict(self._objects),
                bytes=dict(self._bytes),
                streamed_because=self._reason,
                retries=self._run.retry.retries,
            )

    def copy(self, items: Iterable[CopyItem], *, collection: str, present: Mapping[str, ObjectInfo]) -> None:
        """Copies all items, or raises the first error after the copies under way have ended.

        ``present`` is what the destination already holds, by key: objects of the right size are kept.
        """

        def one(item: CopyItem) -> None:
            held = present.get(item.key)
            how = KEPT if held is not None and held.size == item.size else self._copy(item)
            with self._lock:
                self._objects[how] += 1
                self._bytes[how] += item.size
            self._run.emit(ObjectCopied(collection=collection, key=item.key, size=item.size, how=how))

        self._pool.run(one, items)

    # -- deciding ------------------------------------------------------------------------------------------------

    def _decide_without_trying(self) -> None:
        if self._limits.mode == "direct":
            self._way = SERVER
        elif self._limits.mode == "streaming":
            self._stream_from_now_on("asked for by the configuration", told=True)
        elif not self._destination.can_copy_from(self._source):
            self._stream_from_now_on(
                f"{self._destination.location.backend} cannot copy from {self._source.location.backend} by itself"
                if self._source.location.backend != self._destination.location.backend
                else "source and destination are different services",
                told=True,
            )

    def _stream_from_now_on(self, reason: str, *, told: bool = False) -> None:
        self._way, self._reason = STREAM, reason
        if not told:
            self._run.notice("streaming", f"objects pass through this process: {reason}")

    def _copy(self, item: CopyItem) -> str:
        if item.source_key == item.key and self._source.location.same_bucket(self._destination.location):
            raise UsageError(
                f"{item.key} would be copied onto itself",
                hint="choose a backup root path outside of Milvus' own",
            )
        if self._way is None:
            with self._deciding:
                if self._way is None:
                    return self._try(item)
        return self._by_server(item) if self._way == SERVER else self._by_stream(item)

    def _try(self, item: CopyItem) -> str:
        try:
            how = self._by_server(item)
        except (Unsupported, AccessError, NotFound) as refusal:
            # A vendor may hide a bucket of another account behind "not found": the source itself knows better.
            self._run.retry.call(f"stat {item.source_key}", self._source.stat, item.source_key)
            self._stream_from_now_on(refusal.message)
            return self._by_stream(item)
        if how == SERVER:
            self._way = SERVER
        return how

    # -- ways ----------------------------------------------------------------------------------------------------

    def _by_server(self, item: CopyItem) -> str:
        limits = self._destination.capabilities
        too_large = limits.max_copy_size is not None and item.size > limits.max_copy_size
        if limits.part_copy and (too_large or item.size >= max(1, self._limits.part_threshold)):
            self._by_parts(item)
            return SERVER
        if too_large and self._limits.mode != "direct":
            return self._by_stream(item)
        self._run.retry.call(
            f"copy {item.source_key}", self._destination.copy, self._source, item.source_key, item.key
        )
        return SERVER

    def _by_parts(self, item: CopyItem) -> None:
        parts = cut(item.size, self._destination.capabilities)
        retry = self._run.retry
        with ExitStack() as stack:
            upload = retry.call(
                f"start {item.key}", lambda: stack.enter_context(self._destination.multipart(item.key))
            )
            pool = stack.enter_context(Pool(PART_WORKERS, self._run.cancelled, name="mbk-part"))

            def one(part: Part) -> None:
                retry.call(
                    f"copy part {part.number} of {item.source_key}",
                    upload.copy_part,
                    part.number,
                    self._source,
                    item.source_key,
                    offset=part.offset,
                    length=part.length,
                )

            pool.run(one, parts)
            retry.call(f"complete {item.key}", upload.complete)

    def _by_stream(self, item: CopyItem) -> str:
        def once() -> None:
            info = self._destination.write(item.key, self._chunks(item), size=item.size)
            if info.size != item.size:
                raise VerificationFailed(
                    f"{item.key} has {info.size} bytes after copying, {item.source_key} had {item.size}",
                    hint="something else writes there; run again with --resume",
                )

        with self._streams:
            self._run.retry.call(f"write {item.key}", once)
        return STREAM

    def _chunks(self, item: CopyItem) -> Iterator[bytes]:
        def open_at(offset: int) -> AbstractContextManager[Iterator[bytes]]:
            return self._source.read(item.source_key, offset=offset)

        for chunk in self._run.retry.stream(f"read {item.source_key}", open_at):
            self._run.check_cancelled()
            yield chunk
