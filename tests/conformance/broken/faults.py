"""Storages that make the wrong thing of a network and a service that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, TypeVar

import pytest

from mbk.errors import (
    MbkError,
    ObjectExists,
    StorageError,
    StorageUnavailable,
    Throttled,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.streams import cut
from mbk.ports.storage import MIB, PLAIN, MultipartUpload, ObjectInfo, Receipt, Storage, WriteOptions
from mbk.testing import FaultConformance, MemoryService, MemoryStorage
from mbk.testing.memory import MemoryUpload
from tests.conformance.broken.registry import caught_by

Result = TypeVar("Result")


@dataclass(slots=True)
class Failure:
    action: str
    call: str
    key: str
    times: int
    skip: int
    after: int


class MemoryNetwork:
    """A :class:`mbk.testing.faults.Network` inside of this process."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []
        self.count = 0

    def fail(
        self, action: str, call: str, key: str = "", *, times: int = 1, skip: int = 0, after: int = 0
    ) -> bool:
        self.failures.append(Failure(action, call, key, times, skip, after))
        return True

    def mend(self) -> None:
        self.failures.clear()

    def requests(self) -> int:
        return self.count

    def failure(self, call: str, key: str) -> Failure | None:
        self.count += 1
        for failure in self.failures:
            if failure.call == call and failure.key in ("", key):
                failure.skip -= 1
                if failure.skip < 0 and failure.times > 0:
                    failure.times -= 1
                    return failure
        return None


class Remote(MemoryStorage):
    """A storage in memory behind a network: the right one."""

    def __init__(self, network: MemoryNetwork, service: MemoryService) -> None:
        super().__init__(service, "here")
        self.network = network

    def request(self, call: str, key: str, act: Callable[[], Result]) -> Result:
        failure = self.network.failure(call, key)
        action = failure.action if failure else ""
        if action in ("reset", "fail"):
            raise self.broken()
        if action == "throttle":
            raise Throttled("slow down")
        if action == "refuse":
            raise Unsupported("not implemented")
        if action == "fail_inside":
            raise self.error_inside()
        result = act()
        if action == "lose":
            raise self.broken()
        return result

    def broken(self) -> MbkError:
        return StorageUnavailable("the connection broke")

    def error_inside(self) -> MbkError:
        return StorageUnavailable("internal error")

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        if [
            failure for failure in self.network.failures if (failure.action, failure.call) == ("cut", "list")
        ]:
            self.network.mend()
            yield from self.cut_listing()
            return
        yield from self.request("list", "", lambda: [*super(Remote, self).list(prefix)])

    def cut_listing(self) -> Iterator[ObjectInfo]:
        raise TransferInterrupted("the listing broke off")

    def stat(self, key: str) -> ObjectInfo:
        return self.request("stat", key, lambda: super(Remote, self).stat(key))

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        failures = [failure for failure in self.network.failures if failure.action == "cut"]
        self.request("read", key, lambda: None)
        with super().read(key, offset=offset, length=length) as chunks:
            yield self.cut_body(b"".join(chunks)[: failures[0].after]) if failures else chunks

    def cut_body(self, received: bytes) -> Iterator[bytes]:
        if received:
            yield received
        raise TransferInterrupted("the body broke off")

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        pieces = cut(chunks, repeat(8 * MIB))
        first, second = next(pieces, b""), next(pieces, None)
        if second is None:
            return self.request("write", key, lambda: super(Remote, self).write(key, [first]))
        with self.multipart(key) as upload:
            for number, piece in enumerate(chain((first, second), pieces), start=1):
                upload.put_part(number, piece)
            return upload.complete()

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        return self.request("write", key, lambda: super(Remote, self).write_if_absent(key, chunks))

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        return self.request("copy", key, lambda: super(Remote, self).copy(source, source_key, key))

    def delete(self, keys: Iterable[str]) -> None:
        names = [*keys]
        with suppress(Unsupported):
            self.request("delete_batch", "", lambda: super(Remote, self).delete(names))
            return
        super().delete(names)

    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> MultipartUpload:
        opened = super().multipart(key)
        assert isinstance(opened, MemoryUpload)
        return self.upload_class(self, opened.upload)

    class upload_class(MemoryUpload):
        storage: Remote
        completed = False

        def put_part(self, number: int, data: bytes) -> None:
            act = super().put_part
            self.storage.request("part", self.upload.key, lambda: act(number, data))

        def complete(self) -> ObjectInfo:
            if self.completed:
                return self.storage.stat(self.upload.key)
            return self.storage.request("complete", self.upload.key, self._complete)

        def _complete(self) -> ObjectInfo:
            info = super().complete()
            self.completed = True
            return info

        def abort(self) -> None:
            self.storage.request("abort", self.upload.key, super().abort)

        def __exit__(self, *exc_info: object) -> None:
            if exc_info[0] is None:
                self.abort()
            else:
                with suppress(MbkError):
                    self.abort()


class FaultsOfMemory(FaultConformance):
    storage_class: type[Remote]

    @pytest.fixture
    def network(self) -> MemoryNetwork:
        return MemoryNetwork()

    @pytest.fixture
    def storage(self, network: MemoryNetwork) -> Remote:
        return self.storage_class(network, MemoryService("here"))


@caught_by("F1", "F6", "F7", "F9", "F11")
class GivesUpOnABrokenConnection(Remote):
    def broken(self) -> MbkError:
        return StorageError("[Errno 104] Connection reset by peer")


@caught_by("F2")
class TriesAgainByItself(Remote):
    def request(self, call: str, key: str, act: Callable[[], Result]) -> Result:
        try:
            return super().request(call, key, act)
        except Throttled:
            return super().request(call, key, act)


@caught_by("F3")
class TakesABrokenBodyForWhole(Remote):
    def cut_body(self, received: bytes) -> Iterator[bytes]:
        yield from [received] if received else []


@caught_by("F4")
class TakesABrokenListingForTheEnd(Remote):
    def cut_listing(self) -> Iterator[ObjectInfo]:
        return iter(())


@caught_by("F5")
class LooksAtTheStatusOnly(Remote):
    def request(self, call: str, key: str, act: Callable[[], Result]) -> Any:
        try:
            return super().request(call, key, act)
        except StorageUnavailable as exc:
            if exc.message != "internal error":
                raise
            return None


@caught_by("F6")
class CompletesOnlyOnce(Remote):
    class upload_class(Remote.upload_class):
        def complete(self) -> ObjectInfo:
            return self.storage.request("complete", self.upload.key, self._complete)


@caught_by("F7")
class TakesAnyObjectForItsOwn(Remote):
    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        try:
            return super().write_if_absent(key, chunks, size=size)
        except ObjectExists:
            return self.stat(key)


@caught_by("F8")
class LeavesTheUploadOnCtrlC(Remote):
    class upload_class(Remote.upload_class):
        def __exit__(self, *exc_info: object) -> None:
            if exc_info[0] is not KeyboardInterrupt:
                super().__exit__(*exc_info)


@caught_by("F9")
class TellsOfTheAbortInstead(Remote):
    class upload_class(Remote.upload_class):
        def __exit__(self, *exc_info: object) -> None:
            self.abort()


@caught_by("F10")
class NeedsBatches(Remote):
    def delete(self, keys: Iterable[str]) -> None:
        names = [*keys]
        self.request("delete_batch", "", lambda: super(Remote, self).delete(names))


@caught_by("F11")
class LeavesThePartsOfAFailedWrite(Remote):
    class upload_class(Remote.upload_class):
        def __exit__(self, *exc_info: object) -> None:
            if exc_info[0] is None or not issubclass(exc_info[0], StorageUnavailable):
                super().__exit__(*exc_info)
