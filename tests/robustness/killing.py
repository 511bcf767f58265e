"""A process that ends at one of its calls: a plugin that wraps the storages, and a hook of the double, count and kill."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc

from mbk.errors import StorageUnavailable
from mbk.plugin.spec import StorageBackend, hookimpl
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import PLAIN, Level, MultipartUpload, ObjectInfo, Receipt, Storage, WriteOptions
from tests.milvus_double.refusal import RpcFailure

T = TypeVar("T")

#: ``amid``: all chunks were taken, and the object is not there yet.
BEFORE, AMID, AFTER = "before", "amid", "after"


@dataclass(slots=True)
class Fate:
    """Counts calls, and does ``end`` at call ``at``, at the instant ``when``. ``at`` 0: never."""

    at: int
    when: str
    end: Callable[[], None]
    calls: int = 0
    names: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, name: str) -> int:
        """The number of this call; it may be the last thing that this process does."""
        with self._lock:
            self.calls += 1
            self.names.append(name)
            number = self.calls
        self.pass_by(number, BEFORE)
        return number

    def pass_by(self, number: int, instant: str) -> None:
        if number == self.at and instant == self.when:
            self.end()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


def stop() -> None:
    """All threads stand still until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def fail() -> None:
    raise StorageUnavailable("the storage gave no answer", code="no-answer")


def no_answer() -> None:
    """What a client of the double hears of a call that it cannot tell to be done or not."""
    raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "transport is closing")


class Mortal(StorageWrapper):
    """A storage whose calls are counted by ``fate``, which may end the process at one of them."""

    def __init__(self, wrapped: Storage, fate: Fate) -> None:
        super().__init__(wrapped)
        self._fate = fate

    def _do(self, name: str, call: Callable[[], T]) -> T:
        number = self._fate.call(name)
        result = call()
        self._fate.pass_by(number, AFTER)
        return result

    def check(self, *, create: bool = False) -> None:
        self._do("check", lambda: super(Mortal, self).check(create=create))

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        return iter(
            self._do(f"list {prefix}", lambda: [*super(Mortal, self).list(prefix, start_after=start_after)])
        )

    def list_level(self, prefix: str = "") -> Level:
        return self._do(f"list {prefix}", lambda: super(Mortal, self).list_level(prefix))

    def stat(self, key: str) -> ObjectInfo:
        return self._do(f"stat {key}", lambda: super(Mortal, self).stat(key))

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        number = self._fate.call(f"read {key}")
        with super().read(key, offset=offset, length=length) as chunks:
            yield chunks
        self._fate.pass_by(number, AFTER)

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        number = self._fate.call(f"write {key}")
        info = super().write(key, self._sent(number, chunks), size=size, options=options)
        self._fate.pass_by(number, AFTER)
        return info

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        number = self._fate.call(f"write {key}")
        info = super().write_if_absent(key, self._sent(number, chunks), size=size, options=options)
        self._fate.pass_by(number, AFTER)
        return info

    def _sent(self, number: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
        yield from chunks
        self._fate.pass_by(number, AMID)

    def multipart(
        self, key: str, *, options: WriteOptions = PLAIN
    ) -> AbstractContextManager[MultipartUpload]:
        return self._do(f"multipart {key}", lambda: super(Mortal, self).multipart(key, options=options))

    def delete(self, keys: Iterable[str]) -> None:
        given = [*keys]
        self._do(f"delete {given[:1]}", lambda: super(Mortal, self).delete(given))

    def clean(self, prefix: str) -> int:
        return self._do(f"clean {prefix}", lambda: super(Mortal, self).clean(prefix))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return self._do(
            f"copy {key}", lambda: super(Mortal, self).copy(source, source_key, key, options=options)
        )


@dataclass(frozen=True, slots=True)
class Wrapping:
    """The plugin: every storage that is opened is counted by the same fate."""

    fate: Fate

    @hookimpl(wrapper=True)
    def mbk_open_storage(self, backend: StorageBackend) -> Generator[None, Storage, Storage]:
        storage = yield
        return Mortal(storage, self.fate)


@dataclass(slots=True)
class Executioner:
    """A hook of the double: the client ends at a call, before the server does it or after it did."""

    fate: Fate
    _numbers: threading.local = field(default_factory=threading.local)

    def before(self, rpc: str, request: Any) -> None:
        self._numbers.now = self.fate.call(rpc)

    def after(self, rpc: str, request: Any, response: Any) -> None:
        self.fate.pass_by(self._numbers.now, AFTER)

    def over_http(self) -> bool:
        """A request to the REST or management port, which is done whenever the client ends. Never struck."""
        with suppress(RpcFailure):
            self.fate.pass_by(self.fate.call("http"), AFTER)
        return False


def killing(pid: Callable[[], int], when: str) -> Callable[[], None]:
    """Ends the client. Before a call its server does not do it any more."""

    def end() -> None:
        while not pid():
            time.sleep(0.001)
        os.kill(pid(), signal.SIGKILL)
        if when == BEFORE:
            raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "the client is gone")

    return end
