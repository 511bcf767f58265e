"""A storage whose every request waits until the budget lets it through, so that no caller can forget it.

A call of a storage may take several requests. They are counted here, from the limits that the storage declares and the
sizes in which core lists and writes: pages, batches of keys, parts. Server-side copies move no bytes through this process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import islice
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from mbk.engine.runtime.concurrency import Outcome, Ticket, outcome_of
from mbk.engine.runtime.layer import Layer, UploadLayer
from mbk.engine.runtime.run import Run
from mbk.errors import DeleteFailed
from mbk.ports.storage import (
    MIB,
    PLAIN,
    Level,
    MultipartUpload,
    ObjectInfo,
    Receipt,
    Storage,
    WriteOptions,
)
from mbk.ports.waiting import asking

#: Objects in one page of a listing, with nearly every service.
PAGE = 1000
#: A larger write, or one of unknown size, goes up in parts of `PART` bytes (:mod:`mbk.plugin.streams`).
SINGLE_WRITE = 16 * MIB
PART = 8 * MIB
#: Larger chunks are handed on in pieces of this size, so that bytes leave at an even rate.
PIECE = MIB

P = ParamSpec("P")
T = TypeVar("T")


def steered(storage: Storage, run: Run, *, urgent: bool = False) -> Storage:
    """The storage within the run's budget; one whose calls are counted further below stays as it is."""
    if isinstance(storage, SteeredStorage):
        storage = storage.wrapped
    below = storage
    while isinstance(below, Layer):
        if isinstance(below, SteeredStorage):
            return storage
        below = below.wrapped
    return SteeredStorage(storage, run, urgent=urgent)


class SteeredStorage(Layer):
    """See :class:`mbk.ports.storage.Storage`. Every method may raise `Interrupted` once the run is cancelled."""

    def __init__(self, wrapped: Storage, run: Run, *, urgent: bool = False) -> None:
        super().__init__(wrapped)
        gate = run.steering.gate(wrapped.location)
        self._flow, self._requests, self._reads, self._writes = (
            gate.flow,
            gate.requests,
            gate.reads,
            gate.writes,
        )
        self._brakes = run.brakes
        self._stop = run.cancelled
        self._patience = run.patience
        self._urgent = urgent

    def check(self, *, create: bool = False) -> None:
        self.request(self.wrapped.check, create=create)

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return self._paged(iter(self.wrapped.list(prefix, start_after=start_after)))

    def _paged(self, entries: Iterator[T]) -> Iterator[T]:
        """A page is a request, and only while the page is fetched."""
        while (first := self.request(next, entries, None)) is not None:
            yield first
            left = PAGE - 1
            for entry in islice(entries, left):
                left -= 1
                yield entry
            if left:
                return

    def list_level(self, prefix: str = "") -> Level:
        level = self.request(self.wrapped.list_level, prefix)
        self._count((len(level.objects) + len(level.prefixes)) // PAGE)
        return level

    def stat(self, key: str) -> ObjectInfo:
        return self.request(self.wrapped.stat, key)

    def read(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        return _SteeredReading(self, lambda: self.wrapped.read(key, offset=offset, length=length))

    def taken(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks of a stream, each in its turn."""
        return chunks if self._reads is None else self._taken(chunks)

    def _taken(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.read_bytes(len(chunk))
            yield chunk

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self._written(self.wrapped.write, key, chunks, size, options)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self._written(self.wrapped.write_if_absent, key, chunks, size, options)

    def _written(
        self,
        write: Callable[..., ObjectInfo],
        key: str,
        chunks: Iterable[bytes],
        size: int | None,
        options: WriteOptions,
    ) -> ObjectInfo:
        feed = _Feed(self, chunks, size)
        # A list is sent again by plugins that can; what counts nothing need not be wrapped.
        plain = feed.is_at_hand and self._writes is None and self._requests is None
        outcome = Outcome.SERVED
        if feed.is_at_hand:
            feed.ticket = self.enter()
        try:
            self.ask()
            return self.patiently(write, key, chunks if plain else feed, size=size, options=options)
        except BaseException as error:
            outcome = Outcome.OTHER if error is feed.error else outcome_of(error)
            raise
        finally:
            self.leave(feed.ticket, outcome)

    @contextmanager
    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> Iterator[MultipartUpload]:
        """Leaving it aborts what is not complete, and waits for nobody."""
        upload = self.wrapped.multipart(key, options=options)
        with ExitStack() as stack:
            begun = self.request(upload.__enter__)
            stack.push(lambda *raised: self.patiently(upload.__exit__, *raised))
            yield _SteeredUpload(begun, key, self)

    def delete(self, keys: Iterable[str]) -> None:
        if self._requests is None:
            self.request(self.wrapped.delete, keys)
            return
        failures: dict[str, str] = {}
        failed: DeleteFailed | None = None
        left = iter(keys)
        while batch := [*islice(left, max(1, self.capabilities.delete_batch))]:
            try:
                self.request(self.wrapped.delete, batch)
            except DeleteFailed as error:
                failures |= error.failures
                failed = error
        if failed is not None:
            raise failed.naming(failures) from failed.__cause__

    def clean(self, prefix: str) -> int:
        removed = self.request(self.wrapped.clean, prefix)
        self._count(removed)
        return removed

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return self.request(super().copy, source, source_key, key, options=options)

    def within(self, _name: str, call: Callable[[], Any], /) -> Any:
        return self.request(call)

    def listed(self, _name: str, entries: Callable[[], Iterator[Any]], /) -> Iterator[Any]:
        return self._paged(entries())

    # -- requests ------------------------------------------------------------------------------------------------

    def request(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """One request, in its turn."""
        ticket = self.enter()
        try:
            if self._requests is not None:
                self.ask()
            result = self.patiently(call, *args, **kwargs)
        except BaseException as error:
            self.leave(ticket, outcome_of(error))
            raise
        self._flow.leave(ticket, Outcome.SERVED)
        return result

    def patiently(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """A call that gives up a silent service as soon as the run is told to stop."""
        before = asking(self._patience.for_call())
        try:
            return call(*args, **kwargs)
        except (KeyboardInterrupt, SystemExit):
            self._stop.set()
            raise
        finally:
            asking(before)

    def read_bytes(self, count: int) -> None:
        if self._reads is not None and self._reads.take(count, self._stop, urgent=self._urgent):
            self._brakes.waited_for_bytes += 1

    def write_bytes(self, count: int) -> None:
        if self._writes is not None and self._writes.take(count, self._stop, urgent=self._urgent):
            self._brakes.waited_for_bytes += 1

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        """The chunk as it may be written, each piece in its turn."""
        if self._writes is None:
            yield chunk
            return
        for at in range(0, len(chunk), PIECE):
            piece = chunk[at : at + PIECE]
            self.write_bytes(len(piece))
            yield piece

    def ask(self, count: int = 1) -> None:
        """So many requests more of what is in flight, in their turn."""
        if self._requests is not None and self._requests.take(count, self._stop, urgent=self._urgent):
            self._brakes.waited_for_requests += 1

    def enter(self) -> Ticket | None:
        """Waits until one more request may be in flight."""
        ticket = self._flow.enter(self._stop, urgent=self._urgent)
        if ticket is not None and ticket.load > self._brakes.most:
            self._brakes.most = ticket.load
        return ticket

    def leave(self, ticket: Ticket | None, outcome: Outcome) -> None:
        """It is no longer in flight."""
        if outcome is Outcome.REFUSED:
            self._brakes.refused += 1
            self._brakes.refused_at = ticket.load if ticket is not None else self._brakes.refused_at
        self._flow.leave(ticket, outcome)

    def _count(self, made: int) -> None:
        """Requests that were made already."""
        if self._requests is not None and made:
            self._requests.take(made, self._stop, urgent=True)


class _SteeredReading:
    """In flight until it is left. What is raised after it was opened says nothing about the load."""

    __slots__ = ("_open", "_opened", "_storage", "_ticket")

    def __init__(
        self, storage: SteeredStorage, open_: Callable[[], AbstractContextManager[Iterator[bytes]]]
    ) -> None:
        self._storage = storage
        self._open = open_

    def __enter__(self) -> Iterator[bytes]:
        self._ticket = self._storage.enter()
        try:
            self._storage.ask()
            self._opened = self._open()
            return self._storage.taken(self._storage.patiently(self._opened.__enter__))
        except BaseException as error:
            self._storage.leave(self._ticket, outcome_of(error))
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return self._opened.__exit__(kind, error, trace)
        finally:
            self._storage.leave(self._ticket, Outcome.SERVED)


class _Feed:
    """The chunks of a write of ``size`` bytes, each in its turn. ``error``: what was raised instead of one. ``ticket``: that
    of the write.

    While a chunk is awaited the write is not in flight: other threads may have to read it from the same storage.
    """

    def __init__(self, storage: SteeredStorage, chunks: Iterable[bytes], size: int | None) -> None:
        self._storage = storage
        self._chunks = chunks
        self._size = size
        self.is_at_hand = isinstance(chunks, (list, tuple))
        self.error: BaseException | None = None
        self.ticket: Ticket | None = None

    def __iter__(self) -> Generator[bytes]:
        is_large = self._size is None or self._size > SINGLE_WRITE
        sent = parts = 0
        try:
            for chunk in self._chunks if self.is_at_hand else self._awaited():
                for piece in self._storage.pieces(chunk):
                    sent += len(piece)
                    if is_large and sent // PART > parts:
                        self._storage.ask(sent // PART - parts)
                        parts = sent // PART
                    yield piece
        except GeneratorExit:
            raise
        except BaseException as error:
            self.error = error
            raise

    def _awaited(self) -> Iterator[bytes]:
        came, is_in_flight = 0, False
        for chunk in self._chunks:
            if not is_in_flight:
                self.ticket = self._storage.enter()
            yield chunk
            came += len(chunk)
            # After its last byte nothing is awaited but the answer.
            is_in_flight = came == self._size
            if not is_in_flight:
                self._storage.leave(self.ticket, Outcome.OTHER)
                self.ticket = None
        if not is_in_flight:
            self.ticket = self._storage.enter()


class _SteeredUpload(UploadLayer):
    def __init__(self, wrapped: MultipartUpload, key: str, storage: SteeredStorage) -> None:
        super().__init__(wrapped, key)
        self._storage = storage

    def put_part(self, number: int, data: bytes) -> None:
        self._storage.write_bytes(len(data))
        super().put_part(number, data)

    def abort(self) -> None:
        """Waits for no turn: it is never cancelled with the work."""
        self._storage.patiently(super().abort)

    def within(self, _what: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._storage.request(call, *args, **kwargs)
