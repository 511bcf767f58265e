"""What the engine puts around a storage: everything passes through, but for what a layer says itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, ParamSpec, TypeVar, cast

from mbk.ports.around import Around
from mbk.ports.storage import PLAIN, MultipartUpload, ObjectInfo, Receipt, Storage, WriteOptions, ability

P = ParamSpec("P")
T = TypeVar("T")
Ability = TypeVar("Ability")

#: Calls of abilities whose answers are listings: it takes requests to iterate over them, none to call.
_LISTINGS: Final = frozenset({"unfinished", "versions"})


class Layer(Around):
    """A storage of the engine around another one, which plugins never see.

    What it adds to the calls of an ability of what is below, a subclass says in `within` and `listed`.
    """

    def __repr__(self) -> str:
        return repr(self.wrapped)

    def can_copy_from(self, other: Storage) -> bool:
        return super().can_copy_from(peeled(other))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return super().copy(peeled(source), source_key, key, options=options)

    def within(self, _name: str, call: Callable[[], Any], /) -> Any:
        """Makes a call of an ability, by its name."""
        return call()

    def listed(self, _name: str, entries: Callable[[], Iterator[Any]], /) -> Iterator[Any]:
        """A listing of an ability, by its name."""
        return entries()


class UploadLayer:
    """See :class:`mbk.ports.storage.MultipartUpload`. What a layer puts around one of ``key``; it is left by whoever opened it."""

    def __init__(self, wrapped: MultipartUpload, key: str) -> None:
        self._wrapped = wrapped
        self._key = key

    def __enter__(self) -> MultipartUpload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def put_part(self, number: int, data: bytes) -> None:
        self.within(f"write part {number} of {self._key}", self._wrapped.put_part, number, data)

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        copy: Callable[..., None] = self._wrapped.copy_part
        source = peeled(source)
        self.within(f"copy part {number} of {key}", copy, number, source, key, offset=offset, length=length)

    def complete(self) -> ObjectInfo:
        return self.within(f"complete {self._key}", self._wrapped.complete)

    def abort(self) -> None:
        self._wrapped.abort()

    def within(self, _what: str, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Makes a request of the upload."""
        return call(*args, **kwargs)


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
