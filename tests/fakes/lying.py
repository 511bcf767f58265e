"""Storages that lie: they answer as if all were well."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import PLAIN, ObjectInfo, Receipt, Storage, WriteOptions


class Lying(StorageWrapper):
    """``lie`` to the first ``times`` calls about keys that hold ``about``.

    ``flipped read``, ``short read``: another byte, or one byte less, is read. ``flipped write``, ``half write``, ``lost
    write``: what is stored differs from what was sent, or is nothing. ``flipped copy``, ``lost copy``: the same of a copy.
    ``silent``: nothing is told of an object but its size.
    """

    def __init__(
        self, wrapped: Storage, lie: str, *, times: int = 1, about: str = "_log/", silent: bool = False
    ) -> None:
        super().__init__(wrapped)
        self._lie = lie
        self._left = times
        self._about = about
        self._silent = silent
        self._lock = threading.Lock()
        #: The keys that were lied about.
        self.lied: list[str] = []

    def _lies(self, lie: str, key: str) -> bool:
        with self._lock:
            if self._lie != lie or self._about not in key or not self._left:
                return False
            self._left -= 1
            self.lied.append(key)
            return True

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return map(self._told, super().list(prefix, start_after=start_after))

    def stat(self, key: str) -> ObjectInfo:
        return self._told(super().stat(key))

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        with super().read(key, offset=offset, length=length) as chunks:
            if self._lies("flipped read", key):
                yield iter([_flipped(b"".join(chunks))])
            elif self._lies("short read", key):
                yield iter([b"".join(chunks)[:-1]])
            else:
                yield chunks

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        if self._lies("lost write", key):
            return ObjectInfo(key, len(b"".join(chunks)))
        if self._lies("half write", key):
            data = b"".join(chunks)
            super().write(key, [data[: len(data) // 2]], options=options)
            return ObjectInfo(key, len(data))
        if self._lies("flipped write", key):
            chunks = [_flipped(b"".join(chunks))]
        return self._told(super().write(key, chunks, size=size, options=options))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        if self._lies("lost copy", key):
            return Receipt()
        told = super().copy(source, source_key, key, options=options)
        if self._lies("flipped copy", key):
            with super().read(key) as chunks:
                data = b"".join(chunks)
            made = super().write(key, [_flipped(data)])
            told = Receipt(size=made.size, etag=made.etag, checksums=made.checksums)
        return Receipt() if self._silent else told

    def _told(self, info: ObjectInfo) -> ObjectInfo:
        return ObjectInfo(info.key, info.size) if self._silent else info


def _flipped(data: bytes) -> bytes:
    """The last bit, as an object's end is what is read last."""
    return data[:-1] + bytes([data[-1] ^ 1])
