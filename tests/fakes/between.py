"""A storage between whose calls something else happens: what a run meets that stood still for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import PLAIN, Level, ObjectInfo, Receipt, Storage, WriteOptions

T = TypeVar("T")


class Instants:
    """Counts the instants before and after each call; at instant ``at`` (from 1, 0: never) ``happens`` once."""

    def __init__(self, at: int, happens: Callable[[], None]) -> None:
        self.at, self.happens = at, happens
        self.passed = 0
        self.where = ""
        self._lock = threading.RLock()

    def passes(self, what: str) -> None:
        """The other threads stand still as well, at their next call."""
        with self._lock:
            self.passed += 1
            if self.passed == self.at:
                self.where = what
                self.happens()

    def around(self, what: str, call: Callable[[], T]) -> T:
        self.passes(f"before {what}")
        result = call()
        self.passes(f"after {what}")
        return result


class Between(StorageWrapper):
    """Every call is one of ``instants``, except those that tell nothing and change nothing."""

    def __init__(self, wrapped: Storage, instants: Instants) -> None:
        super().__init__(wrapped)
        self._instants = instants

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        call = super().list
        return iter(self._instants.around(f"list {prefix}", lambda: [*call(prefix, start_after=start_after)]))

    def list_level(self, prefix: str = "") -> Level:
        call = super().list_level
        return self._instants.around(f"list {prefix}", lambda: call(prefix))

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        self._instants.passes(f"before read {key}")
        with super().read(key, offset=offset, length=length) as chunks:
            yield chunks
        self._instants.passes(f"after read {key}")

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        call = super().write
        return self._instants.around(f"write {key}", lambda: call(key, chunks, size=size, options=options))

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        call = super().write_if_absent
        return self._instants.around(f"write {key}", lambda: call(key, chunks, size=size, options=options))

    def delete(self, keys: Iterable[str]) -> None:
        given, call = [*keys], super().delete
        self._instants.around(f"delete {given[:1]}", lambda: call(given))

    def clean(self, prefix: str) -> int:
        call = super().clean
        return self._instants.around(f"clean {prefix}", lambda: call(prefix))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        call = super().copy
        return self._instants.around(f"copy {key}", lambda: call(source, source_key, key, options=options))
