"""What the engine puts around a storage: everything passes through, but for what a layer says itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar, cast

from mbk.ports.storage import (
    PLAIN,
    Capabilities,
    Level,
    Location,
    MultipartUpload,
    ObjectInfo,
    Receipt,
    Storage,
    WriteOptions,
    ability,
)

Ability = TypeVar("Ability")

#: Calls of abilities whose answers are listings: it takes requests to iterate over them, none to call.
_LISTINGS: Final = frozenset({"versions"})


class Layer:
    """See :class:`mbk.ports.storage.Storage`. A storage of the engine around another one, which plugins never see.

    What it adds to the calls of an ability of what is below, a subclass says in `within` and `listed`.
    """

    def __init__(self, wrapped: Storage) -> None:
        self.wrapped = wrapped

    def __repr__(self) -> str:
        return repr(self.wrapped)

    @property
    def location(self) -> Location:
        return self.wrapped.location

    @property
    def capabilities(self) -> Capabilities:
        return self.wrapped.capabilities

    def check(self, *, create: bool = False) -> None:
        self.wrapped.check(create=create)

    def close(self) -> None:
        self.wrapped.close()

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return self.wrapped.list(prefix, start_after=start_after)

    def list_level(self, prefix: str = "") -> Level:
        return self.wrapped.list_level(prefix)

    def stat(self, key: str) -> ObjectInfo:
        return self.wrapped.stat(key)

    def read(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        return self.wrapped.read(key, offset=offset, length=length)

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self.wrapped.write(key, chunks, size=size, options=options)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self.wrapped.write_if_absent(key, chunks, size=size, options=options)

    def multipart(
        self, key: str, *, options: WriteOptions = PLAIN
    ) -> AbstractContextManager[MultipartUpload]:
        return self.wrapped.multipart(key, options=options)

    def delete(self, keys: Iterable[str]) -> None:
        self.wrapped.delete(keys)

    def clean(self, prefix: str) -> int:
        return self.wrapped.clean(prefix)

    def can_copy_from(self, other: Storage) -> bool:
        return self.wrapped.can_copy_from(peeled(other))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return self.wrapped.copy(peeled(source), source_key, key, options=options)

    def within(self, _name: str, call: Callable[[], Any], /) -> Any:
        """Makes a call of an ability, by its name."""
        return call()

    def listed(self, _name: str, entries: Callable[[], Iterator[Any]], /) -> Iterator[Any]:
        """A listing of an ability, by its name."""
        return entries()


def reach(storage: Storage, kind: type[Ability]) -> Ability | None:
    """As `mbk.ports.storage.ability`, with what each layer on the way adds to a storage's calls."""
    if not isinstance(storage, Layer) or isinstance(storage, kind):
        return ability(storage, kind)
    found = reach(storage.wrapped, kind)
    return found if found is None else cast("Ability", _Reached(found, storage))


class _Reached:
    """An ability of what a layer is around."""

    def __init__(self, found: object, layer: Layer) -> None:
        self._found = found
        self._layer = layer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._found, name)
        through = self._layer.listed if name in _LISTINGS else self._layer.within
        return lambda *args, **kwargs: through(name, lambda: method(*args, **kwargs))


def peeled(storage: Storage) -> Storage:
    """The storage without what the engine put around it: storages know each other by their own kinds."""
    while isinstance(storage, Layer):
        storage = storage.wrapped
    return storage
