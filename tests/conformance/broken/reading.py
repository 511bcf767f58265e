"""Storages that read wrongly."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

from mbk.errors import (
    ObjectNotFound,
    PermissionDenied,
    StorageError,
)
from mbk.ports.storage import PLAIN, Capabilities, ObjectInfo, WriteOptions
from mbk.testing import MemoryStorage
from mbk.testing.memory import ARCHIVE, EVERYTHING, StoredObject
from tests.conformance.broken.registry import Pooled, caught_by


@caught_by("R1")
class YieldsAnEmptyChunk(MemoryStorage):
    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        with super().read(key, offset=offset, length=length) as chunks:
            pieces = [*chunks]
            yield iter(pieces or ([b""] if length is None and not offset else []))


@caught_by("R2")
class ReadsOneByteTooFew(MemoryStorage):
    """Takes the inclusive end of an HTTP range for an exclusive one."""

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        with super().read(key, offset=offset, length=max(length - 1, 0) if length else length) as chunks:
            yield chunks


@caught_by("R2", "R3")
class ReadsOneByteTooMany(MemoryStorage):
    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        with super().read(key, offset=offset, length=None if length is None else length + 1) as chunks:
            yield chunks


@caught_by("R3")
class RaisesPastTheEnd(MemoryStorage):
    """Passes on the 416 that HTTP has for a range that cannot be satisfied."""

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        if (offset or length) and offset >= len(self.get(key).data):
            raise StorageError("416 Requested Range Not Satisfiable")
        with super().read(key, offset=offset, length=length) as chunks:
            yield chunks


@caught_by("R4", "R9")
class FindsOutTooLateThatNothingIsThere(MemoryStorage):
    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        self.check_key(key)
        if self.bucket and key.count("/") == 2 and key.endswith("/nothing"):
            with super().read(key, offset=offset, length=length) as chunks:
                yield chunks
        yield self._late(key, offset, length)

    def _late(self, key: str, offset: int, length: int | None) -> Iterator[bytes]:
        with super().read(key, offset=offset, length=length) as chunks:
            yield from chunks


@caught_by("R5")
class FindsAnEmptyObjectWhereNoneIs(MemoryStorage):
    def stat(self, key: str) -> ObjectInfo:
        self.check_key(key)
        try:
            return super().stat(key)
        except ObjectNotFound:
            return ObjectInfo(key, 0)


@caught_by("R6", "C8")
class MakesUpEtags(MemoryStorage):
    def stat(self, key: str) -> ObjectInfo:
        return replace(super().stat(key), etag=uuid4().hex)


@caught_by("R6")
class KeepsTheEtagOfAReplacedObject(MemoryStorage):
    def put(self, key: str, data: bytes, options: WriteOptions = PLAIN) -> ObjectInfo:
        with self.service.lock:
            info = replace(super().put(key, data, options), etag=f"{len(data)}")
            self.bucket.objects[key] = StoredObject(data, info, options)
            return info


@caught_by("R7")
class KeepsTheConnectionOfAnAbandonedStream(Pooled):
    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        with super().read(key, offset=offset, length=length) as chunks:
            self.take()
            yield self._giving_back(chunks)

    def _giving_back(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        yield from chunks
        self.taken -= 1


@caught_by("M7", "R8")
class TellsChecksumsInBase64(MemoryStorage):
    def digests(self, data: bytes) -> dict[str, str]:
        digests = super().digests(data)
        return {kind: b64encode(bytes.fromhex(value)).decode() for kind, value in digests.items()}


@caught_by("M7", "R8")
class TellsTheChecksumOfTheFirstPart(MemoryStorage):
    def digests(self, data: bytes) -> dict[str, str]:
        return super().digests(data[: 1024 * 1024])


@caught_by("R8")
class PromisesAChecksumThatItDoesNotTell(MemoryStorage):
    @property
    def capabilities(self) -> Capabilities:
        return replace(EVERYTHING, checksums=frozenset({"crc32c", "md5"}))

    def digests(self, data: bytes) -> dict[str, str]:
        del data
        return {}


@caught_by("R9")
class DeniesWhatIsArchived(MemoryStorage):
    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        if self.get(key).options.storage_class == ARCHIVE:
            raise PermissionDenied("403 Forbidden")
        with super().read(key, offset=offset, length=length) as chunks:
            yield chunks
