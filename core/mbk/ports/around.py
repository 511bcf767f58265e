"""A storage around another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

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
)


class Around:
    """See :class:`mbk.ports.storage.Storage`. Passes every call on; a subclass overrides what it adds to, and calls ``super()``.

    ``wrapped`` lets `mbk.ports.storage.ability` look through.
    """

    def __init__(self, wrapped: Storage) -> None:
        self._wrapped = wrapped

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._wrapped!r}>"

    @property
    def wrapped(self) -> Storage:
        return self._wrapped

    @property
    def location(self) -> Location:
        return self._wrapped.location

    @property
    def capabilities(self) -> Capabilities:
        return self._wrapped.capabilities

    def check(self, *, create: bool = False) -> None:
        self._wrapped.check(create=create)

    def close(self) -> None:
        self._wrapped.close()

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return self._wrapped.list(prefix, start_after=start_after)

    def list_level(self, prefix: str = "") -> Level:
        return self._wrapped.list_level(prefix)

    def stat(self, key: str) -> ObjectInfo:
        return self._wrapped.stat(key)

    def read(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        return self._wrapped.read(key, offset=offset, length=length)

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self._wrapped.write(key, chunks, size=size, options=options)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self._wrapped.write_if_absent(key, chunks, size=size, options=options)

    def multipart(
        self, key: str, *, options: WriteOptions = PLAIN
    ) -> AbstractContextManager[MultipartUpload]:
        return self._wrapped.multipart(key, options=options)

    def delete(self, keys: Iterable[str]) -> None:
        self._wrapped.delete(keys)

    def clean(self, prefix: str) -> int:
        return self._wrapped.clean(prefix)

    def can_copy_from(self, other: Storage) -> bool:
        return self._wrapped.can_copy_from(other)

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return self._wrapped.copy(source, source_key, key, options=options)
