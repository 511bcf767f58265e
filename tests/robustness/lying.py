"""Storages that say one thing and do another: the bytes are not those that they acknowledged or were given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mbk.plugin.spec import StorageBackend, hookimpl
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import PLAIN, ObjectInfo, Receipt, Storage, WriteOptions

READS = ("flipped read", "short read")
WRITES = ("lost write", "half write", "flipped write")
COPIES = ("lost copy", "flipped copy")


@dataclass(slots=True)
class Lie:
    """``kind`` happens at call ``at`` of its kind of call, counted from 1; at 0 never. ``calls`` by kind of call."""

    kind: str
    at: int = 0
    calls: dict[str, list[str]] = field(default_factory=lambda: {"read": [], "write": [], "copy": []})
    told: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_told(self, call: str, key: str) -> bool:
        """Whether this call is the one; leases are no part of a backup."""
        if ".mbk/" in key:
            return False
        with self._lock:
            self.calls[call].append(key)
            now = len(self.calls[call]) == self.at and self.kind.endswith(call)
        if now:
            self.told = f"{self.kind} of {key}"
        return now


class Liar(StorageWrapper):
    def __init__(self, wrapped: Storage, lie: Lie) -> None:
        super().__init__(wrapped)
        self._lie = lie

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        lies = self._lie.is_told("read", key)
        with super().read(key, offset=offset, length=length) as chunks:
            yield self._changed(chunks) if lies else chunks

    def _changed(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        data = b"".join(chunks)
        yield from [_flipped(data) if self._lie.kind == "flipped read" else data[: len(data) // 2]]

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        info = super().write(key, chunks, size=size, options=options)
        return self._written(key, info)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        info = super().write_if_absent(key, chunks, size=size, options=options)
        return self._written(key, info)

    def _written(self, key: str, info: ObjectInfo) -> ObjectInfo:
        if self._lie.is_told("write", key):
            self._spoil(key)
        return info

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        receipt = super().copy(source, source_key, key, options=options)
        if self._lie.is_told("copy", key):
            self._spoil(key)
        return receipt

    def _spoil(self, key: str) -> None:
        with super().read(key) as chunks:
            data = b"".join(chunks)
        how = self._lie.kind.split()[0]
        if how == "lost":
            super().delete([key])
        else:
            super().write(key, [_flipped(data) if how == "flipped" else data[: len(data) // 2]])


def _flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    if changed:
        changed[len(changed) // 2] ^= 0x10
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class Lying:
    """The plugin: storages of which ``whose`` is true lie."""

    lie: Lie
    whose: Callable[[Storage], bool] = lambda _storage: True

    @hookimpl(wrapper=True)
    def mbk_open_storage(self, backend: StorageBackend) -> Generator[None, Storage, Storage]:
        storage = yield
        return Liar(storage, self.lie) if self.whose(storage) else storage
