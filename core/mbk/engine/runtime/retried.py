"""Storages and a Milvus whose every call goes through the run's retry, so that no caller can forget it.

A context wraps what it is given (`retried`, `retried_milvus`). A caller that names its calls itself, waits longer or
repeats several calls as one uses `Retrier.call` as before: what is called inside of it is one attempt.

Several threads may use them, as they may use what is wrapped. They raise what the wrapped calls raise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from mbk.engine.runtime.layer import Layer, UploadLayer
from mbk.engine.runtime.retry import Retrier
from mbk.engine.runtime.run import Run
from mbk.engine.runtime.steered import steered
from mbk.errors import AccessError, BucketNotFound, DeleteFailed, MbkError, ObjectExists, Unreachable
from mbk.ports.storage import (
    PLAIN,
    Level,
    MultipartUpload,
    ObjectInfo,
    Receipt,
    Storage,
    WriteOptions,
)

if TYPE_CHECKING:
    from mbk.ports.milvus.server import Milvus

#: How often keys that could not be deleted are tried again.
REFUSALS = 2

P = ParamSpec("P")
T = TypeVar("T")


#: What users call the storages that an operation works on.
SIDES: Final[Mapping[str, str]] = {"storage": "milvus storage", "backup_storage": "backup storage"}


def retried(storage: Storage, run: Run, *, urgent: bool = False, side: str = "") -> Storage:
    """The storage, each of whose calls the run retries, and each of whose attempts the run's budget lets through.

    ``urgent``: the budget counts the calls, but they wait for nobody. ``side``: which of the `SIDES` it is, or how
    the user called it, which is said of a storage that cannot be reached or entered.
    """
    bare = storage
    if isinstance(storage, RetriedStorage):
        bare, side = storage.wrapped, side or storage.side
    return RetriedStorage(steered(bare, run, urgent=urgent), run.retry, side)


def retried_milvus(milvus: Milvus, run: Run) -> Milvus:
    """The server, each of whose calls the run retries, except those whose lost answer only their caller can look for."""
    bare = milvus.bare if isinstance(milvus, _RetriedMilvus) else milvus
    return cast("Milvus", _RetriedMilvus(bare, run.retry))


class RetriedStorage(Layer):
    """See :class:`mbk.ports.storage.Storage`."""

    def __init__(self, wrapped: Storage, retry: Retrier, side: str = "") -> None:
        super().__init__(wrapped)
        self._retry = retry
        self.side = side

    def check(self, *, create: bool = False) -> None:
        try:
            self._retry.briefly(f"reach {self.location}", self.wrapped.check, create=create)
        except (AccessError, BucketNotFound, Unreachable) as error:
            if not self.side:
                raise
            raise error.on(self.side, SIDES.get(self.side, self.side)) from error.__cause__

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """A listing in order of keys goes on where it broke; what breaks in another one is the caller's to repeat."""
        if self._retry.is_inside:
            return self.wrapped.list(prefix, start_after=start_after)
        return self._listed(prefix, start_after)

    def _listed(self, prefix: str, after: str) -> Iterator[ObjectInfo]:
        opened: list[Iterator[ObjectInfo]] = []
        ordered = True

        def step() -> ObjectInfo | None:
            try:
                if not opened:
                    opened.append(iter(self.wrapped.list(prefix, start_after=after)))
                return next(opened[0], None)
            except MbkError as error:
                opened.clear()
                if ordered:
                    raise
                raise error.final() from error.__cause__

        while (entry := self._retry.call(f"list {prefix}", step)) is not None:
            ordered = ordered and entry.key > after
            after = entry.key
            yield entry

    def list_level(self, prefix: str = "") -> Level:
        return self._call(f"list {prefix}", self.wrapped.list_level, prefix)

    def stat(self, key: str) -> ObjectInfo:
        return self._call(f"stat {key}", self.wrapped.stat, key)

    def read(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """A stream that breaks is opened again where it broke."""
        if self._retry.is_inside:
            return self.wrapped.read(key, offset=offset, length=length)
        return self._resumed(key, offset, length)

    @contextmanager
    def _resumed(self, key: str, offset: int, length: int | None) -> Iterator[Iterator[bytes]]:
        what = f"read {key}"
        with ExitStack() as stack:
            first = self._retry.call(
                what, lambda: stack.enter_context(self.wrapped.read(key, offset=offset, length=length))
            )
            opened = [first]

            def open_at(at: int) -> AbstractContextManager[Iterator[bytes]]:
                if opened:
                    return nullcontext(opened.pop())
                if length is not None and at >= length:
                    return nullcontext(iter(()))
                rest = None if length is None else length - at
                return self.wrapped.read(key, offset=offset + at, length=rest)

            yield stack.enter_context(closing(self._retry.stream(what, open_at)))

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        """Chunks that can be read once only can be sent once only: their caller repeats the call."""
        if not isinstance(chunks, (list, tuple)):
            return self.wrapped.write(key, chunks, size=size, options=options)
        return self._call(f"write {key}", self.wrapped.write, key, chunks, size=size, options=options)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        """An object that an attempt without an answer made is the caller's own: it has the same bytes.

        So the bytes must be such as no other run writes: a token, an id.
        """
        if not isinstance(chunks, (list, tuple)):
            return self.wrapped.write_if_absent(key, chunks, size=size, options=options)
        unanswered = False

        def once() -> ObjectInfo:
            nonlocal unanswered
            try:
                return self.wrapped.write_if_absent(key, chunks, size=size, options=options)
            except ObjectExists:
                if unanswered and self._holds(key, chunks):
                    return self.wrapped.stat(key)
                raise
            except MbkError as error:
                unanswered = unanswered or error.retryable
                raise

        return self._retry.call(f"write {key}", once)

    def _holds(self, key: str, chunks: Iterable[bytes]) -> bool:
        with self.wrapped.read(key) as found:
            return b"".join(found) == b"".join(chunks)

    @contextmanager
    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> Iterator[MultipartUpload]:
        with ExitStack() as stack:
            upload = self._call(
                f"start {key}", lambda: stack.enter_context(self.wrapped.multipart(key, options=options))
            )
            yield _RetriedUpload(upload, key, self._retry)

    def delete(self, keys: Iterable[str]) -> None:
        """Keys that the service refused are tried again: why it did is text, which nobody can tell to be for a moment."""
        left, refused = [*keys], 0
        if not left:
            return

        def once() -> None:
            nonlocal left, refused
            try:
                self.wrapped.delete(left)
            except DeleteFailed as error:
                left, refused = [*error.failures], refused + 1
                if refused > REFUSALS:
                    raise
                raise error.passing() from error.__cause__

        self._retry.call(f"delete {left[0]}", once)

    def clean(self, prefix: str) -> int:
        return self._call(f"clean {prefix}", self.wrapped.clean, prefix)

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return self._call(f"copy {source_key}", super().copy, source, source_key, key, options=options)

    def within(self, name: str, call: Callable[[], Any], /) -> Any:
        return self._call(_words(name, self), call)

    def listed(self, name: str, entries: Callable[[], Iterator[Any]], /) -> Iterator[Any]:
        """One in no promised order cannot go on where it broke: it is kept until it is whole."""
        if self._retry.is_inside:
            return entries()
        return iter(self._retry.call(_words(name, self), lambda: [*entries()]))

    def _call(self, what: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._retry.or_once(what, function, *args, **kwargs)


def _words(call: str, storage: Storage) -> str:
    return f"{call.replace('_', ' ')} of {storage.location}"


class _RetriedUpload(UploadLayer):
    def __init__(self, wrapped: MultipartUpload, key: str, retry: Retrier) -> None:
        super().__init__(wrapped, key)
        self._retry = retry

    def within(self, what: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._retry.or_once(what, call, *args, **kwargs)


#: Calls that start something anew each time: after a lost answer their caller looks for what they started.
_ONCE: Final[Mapping[str, frozenset[str]]] = {
    "imports": frozenset({"start"}),
    "snapshots": frozenset({"export", "restore"}),
}
#: A port that is often not reachable at all, and that a run can do without.
_BRIEFLY: Final = frozenset({"gc"})
_ROLES = frozenset(
    {
        "inventory",
        "rows",
        "points",
        "segments",
        "gc",
        "access",
        "definitions",
        "imports",
        "snapshots",
    }
)


class _RetriedMilvus:
    """See :class:`mbk.ports.milvus.server.Milvus`."""

    def __init__(self, bare: Milvus, retry: Retrier) -> None:
        self.bare = bare
        self._retry = retry

    def __repr__(self) -> str:
        return repr(self.bare)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.bare, name)
        if name not in _ROLES:
            return found
        again = self._retry.briefly if name in _BRIEFLY else self._retry.or_once
        return _RetriedRole(found, again, _ONCE.get(name, frozenset()))


class _RetriedRole:
    def __init__(self, bare: Any, again: Callable[..., Any], once: frozenset[str]) -> None:
        self._bare = bare
        self._again = again
        self._once = once

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._bare, name)
        if name in self._once or not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            named = ".".join(arg for arg in args[:2] if isinstance(arg, str) and arg)
            return self._again(f"{name.replace('_', ' ')} {named}".strip(), method, *args, **kwargs)

        return call
