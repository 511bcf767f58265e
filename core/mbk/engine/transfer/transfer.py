"""The only copier: objects from one storage to another, server side where the pair supports it, else streamed.

Whether a pair of storages copies server side is found by trying, never by comparing names: the first object decides. If
the service refuses, the pair streams from then on, and the report gives the reason.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType

from mbk.engine.runtime.budget import Room
from mbk.engine.runtime.limits import TransferLimits
from mbk.engine.runtime.pool import Pool
from mbk.engine.runtime.run import Run
from mbk.engine.transfer.items import CopyItem
from mbk.engine.transfer.parts import Part, cut
from mbk.engine.transfer.same import Same, compare, digest
from mbk.engine.transfer.verify import size_differs
from mbk.errors import AccessError, NotFound, Unsupported, UsageError
from mbk.model.events import ObjectCopied
from mbk.model.reports import TransferStats
from mbk.ports.storage import MIB, ObjectInfo, Storage

SERVER = "server"
STREAM = "stream"
CONVERT = "convert"
KEPT = "kept"

#: The most memory that one streamed object uses: the parts that its storage is collecting and sending.
HELD = 48 * MIB
#: One chunk read from the source, one being written to the destination.
CHUNKS = 2 * MIB


class Transfer:
    """Copies between one pair of storages, as much at once as the run's budget allows.

    Several threads may call it, except those of its own pools. Close it, or use it as a context manager.
    """

    def __init__(self, *, source: Storage, destination: Storage, run: Run, limits: TransferLimits) -> None:
        budget = run.budget
        self._source = source
        self._destination = destination
        self._run = run
        self._limits = limits
        self._pool = Pool(budget.copies, run.cancelled, name="mbk-copy")
        # A pool of its own: a worker that copies a large object waits for its parts.
        self._parts = Pool(budget.parts, run.cancelled, name="mbk-part")
        self._room = Room(budget.memory, run.cancelled)
        self._lock = threading.Lock()
        self._deciding = threading.Lock()
        self._way: str | None = None
        self._reason: str | None = None
        #: Whether the destination's etags identify the content of an object; None while unknown.
        self._etags_tell: bool | None = None
        self._comparing = threading.Lock()
        self._objects: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._decide_without_trying()

    def __enter__(self) -> Transfer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        self._parts.close()

    @property
    def stats(self) -> TransferStats:
        with self._lock:
            return TransferStats(
                objects=dict(self._objects),
                bytes=dict(self._bytes),
                streamed_because=self._reason,
                retries=self._run.retry.retries,
                limited_because=self._limited(),
            )

    def _limited(self) -> str | None:
        if not self._room.was_short:
            return None
        budget = self._run.budget
        return (
            f"at most {self._room.most} of {budget.copies} copies were streamed at once, "
            f"to stay within {budget.memory // MIB} MiB of memory"
        )

    def copy(self, items: Iterable[CopyItem], *, collection: str, present: Mapping[str, ObjectInfo]) -> None:
        """Copies all items, or raises the first error once the running copies have ended.

        ``present``: the objects already in the destination, by key; one that is the same is kept (`compare`).
        """

        def one(item: CopyItem) -> None:
            self._count(item.key, item.size, self._kept_or_copied(item, present.get(item.key)), collection)

        self._pool.run(one, items)

    def converted(self, key: str, size: int, *, collection: str) -> None:
        """Counts an object of ``size`` bytes that was written to the destination by converting objects of the source."""
        self._count(key, size, CONVERT, collection)

    def _count(self, key: str, size: int, how: str, collection: str) -> None:
        with self._lock:
            self._objects[how] += 1
            self._bytes[how] += size
        self._run.emit(ObjectCopied(collection=collection, key=key, size=size, how=how))

    # -- what already exists --------------------------------------------------------------------------------------

    def _kept_or_copied(self, item: CopyItem, existing: ObjectInfo | None) -> str:
        same = Same.NO if existing is None else compare(item, existing)
        if same is Same.UNSURE:
            return self._copied_if_etags_tell(item)
        return KEPT if same is Same.YES else self._copy(item)

    def _copied_if_etags_tell(self, item: CopyItem) -> str:
        """The etags differ although both look like digests, but some services hash the encrypted bytes.

        The first such object is copied again: if the copy has the source's etag, etags identify the content.
        """
        with self._comparing:
            if self._etags_tell is None:
                how = self._copy(item)
                self._etags_tell = self._tells(item)
                return how
        return self._copy(item) if self._etags_tell else KEPT

    def _tells(self, item: CopyItem) -> bool | None:
        """None if an object of this size gets an etag of another kind, as one sent in parts does."""
        try:
            made = self._run.retry.call(f"stat {item.key}", self._destination.stat, item.key)
        except AccessError:
            return False  # without permission to look, sizes decide
        etag = digest(made.etag)
        return None if etag is None else etag == digest(item.etag)

    # -- deciding ------------------------------------------------------------------------------------------------

    def _decide_without_trying(self) -> None:
        if self._limits.mode == "direct":
            self._way = SERVER
        elif self._limits.mode == "streaming":
            self._stream_from_now_on("the configuration asks for it", silently=True)
        elif not self._destination.can_copy_from(self._source):
            self._stream_from_now_on(
                f"{self._destination.location.backend} cannot copy from {self._source.location.backend} by itself"
                if self._source.location.backend != self._destination.location.backend
                else "source and destination are different services",
                silently=True,
            )

    def _stream_from_now_on(self, reason: str, *, silently: bool = False) -> None:
        self._way, self._reason = STREAM, reason
        if not silently:
            self._run.notice("streaming", "streaming objects through this process: {reason}", reason=reason)

    def _copy(self, item: CopyItem) -> str:
        if item.source_key == item.key and self._source.location.same_bucket(self._destination.location):
            raise UsageError(
                "{key} would be copied onto itself",
                code="object-onto-itself",
                key=item.key,
                hint="choose a root path for backups outside Milvus' own",
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
            # A service may answer "not found" for a bucket of another account: only the source itself knows.
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
        parts = cut(item.size, self._destination.capabilities, preferred=self._run.budget.part_size)
        retry = self._run.retry
        with ExitStack() as stack:
            upload = retry.call(
                f"start {item.key}", lambda: stack.enter_context(self._destination.multipart(item.key))
            )

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

            self._parts.run(one, parts)
            retry.call(f"complete {item.key}", upload.complete)

    def _by_stream(self, item: CopyItem) -> str:
        def once() -> None:
            info = self._destination.write(item.key, self._chunks(item), size=item.size)
            if info.size != item.size:
                raise size_differs(item, info.size, self._destination.location)

        # Collected and joined, a part is in memory twice.
        memory = min(2 * item.size, HELD) + CHUNKS
        with self._room.taken(memory):
            self._run.retry.call(f"write {item.key}", once)
        return STREAM

    def _chunks(self, item: CopyItem) -> Iterator[bytes]:
        def open_at(offset: int) -> AbstractContextManager[Iterator[bytes]]:
            return self._source.read(item.source_key, offset=offset)

        for chunk in self._run.retry.stream(f"read {item.source_key}", open_at):
            self._run.check_cancelled()
            yield chunk
