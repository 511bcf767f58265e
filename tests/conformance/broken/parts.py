"""Storages whose multipart uploads are broken."""

from __future__ import annotations

from dataclasses import replace

from mbk.errors import (
    StorageError,
    Unsupported,
)
from mbk.ports.storage import PLAIN, MultipartUpload, ObjectInfo, Storage, WriteOptions
from mbk.testing import MemoryStorage
from mbk.testing.memory import EVERYTHING, MemoryUpload, StoredObject, StoredUpload
from tests.conformance.broken.registry import caught_by


class WithUpload(MemoryStorage):
    """Opens uploads of its own class."""

    upload_class: type[MemoryUpload]

    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> MultipartUpload:
        opened = super().multipart(key, options=options)
        assert isinstance(opened, MemoryUpload)
        return self.upload_class(self, opened.upload)


@caught_by("M1")
class ShowsPartsEarly(MemoryStorage):
    def get(self, key: str) -> StoredObject:
        with self.service.lock:
            for upload in self.bucket.uploads:
                if upload.key == key and key not in self.bucket.objects:
                    data = b"".join(upload.parts.values())
                    return StoredObject(data, ObjectInfo(key, len(data)))
        return super().get(key)


@caught_by("M1")
class UploadsUndeclared(MemoryStorage):
    capabilities = property(lambda _self: replace(EVERYTHING, multipart=False, part_copy=False))


@caught_by("M2")
class MakesRoomBeforeTheUpload(WithUpload):
    class upload_class(MemoryUpload):
        def __init__(self, storage: MemoryStorage, upload: StoredUpload) -> None:
            super().__init__(storage, upload)
            self.before = storage.bucket.objects.pop(upload.key, None)

        def abort(self) -> None:
            super().abort()
            if self.before:
                self.storage.bucket.objects.setdefault(self.upload.key, self.before)


@caught_by("M3", "M7")
class JoinsPartsAsTheyCame(WithUpload):
    class upload_class(MemoryUpload):
        def joined(self) -> bytes:
            return b"".join(self.upload.parts.values())


@caught_by("M3")
class SortsPartNumbersAsText(WithUpload):
    class upload_class(MemoryUpload):
        def joined(self) -> bytes:
            return b"".join(self.upload.parts[number] for number in sorted(self.upload.parts, key=str))


@caught_by("M4")
class KeepsTheFirstPartOfANumber(WithUpload):
    class upload_class(MemoryUpload):
        def put_part(self, number: int, data: bytes) -> None:
            super().put_part(number, self.upload.parts.get(number, data))


@caught_by("M5", "M6")
class LeavesThePartsOfAnAbortedUpload(WithUpload):
    class upload_class(MemoryUpload):
        def abort(self) -> None:
            pass


@caught_by("M5")
class AbortsOnlyOnce(WithUpload):
    class upload_class(MemoryUpload):
        aborted = False

        def abort(self) -> None:
            if self.aborted:
                raise StorageError("NoSuchUpload")
            self.aborted = True
            super().abort()


@caught_by("M6")
class CompletesOnLeaving(WithUpload):
    class upload_class(MemoryUpload):
        def __exit__(self, *exc_info: object) -> None:
            if self.upload in self.storage.bucket.uploads and self.upload.parts:
                self.complete()
            self.abort()


@caught_by("M7", "M8", "C7")
class LiesAboutPartCopy(WithUpload):
    class upload_class(MemoryUpload):
        def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
            raise Unsupported("501 Not Implemented")


@caught_by("M7")
class CopiesPartsUndeclared(WithUpload):
    capabilities = property(lambda _self: replace(EVERYTHING, part_copy=False))

    class upload_class(MemoryUpload):
        def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
            with source.read(key, offset=offset, length=length) as chunks:
                self.put_part(number, b"".join(chunks))


@caught_by("M7", "C7")
class CopiesOneByteTooMany(WithUpload):
    class upload_class(MemoryUpload):
        def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
            longer = length + (offset < 1000)
            super().copy_part(number, source, key, offset=offset, length=longer)


@caught_by("M8")
class ReadsForeignPartsItself(WithUpload):
    class upload_class(MemoryUpload):
        def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
            with source.read(key, offset=offset, length=length) as chunks:
                self.put_part(number, b"".join(chunks))


@caught_by("M9")
class CompletesWithoutParts(WithUpload):
    class upload_class(MemoryUpload):
        def complete(self) -> ObjectInfo:
            self.upload.parts.setdefault(1, b"")
            return super().complete()


@caught_by("O2")
class UploadsPartsWithoutOptions(MemoryStorage):
    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> MultipartUpload:
        self.check_options(options)
        return super().multipart(key)


@caught_by("M10")
class OpensOneUploadAKey(MemoryStorage):
    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> MultipartUpload:
        for upload in self.bucket.uploads:
            if upload.key == key:
                return MemoryUpload(self, upload)
        return super().multipart(key, options=options)


@caught_by("X1")
class CleansNothing(MemoryStorage):
    def clean(self, prefix: str) -> int:
        del prefix
        return 0


@caught_by("X2")
class CleansObjectsAway(MemoryStorage):
    def clean(self, prefix: str) -> int:
        super().delete([key for key in self.bucket.objects if key.startswith(prefix)])
        return super().clean(prefix)


@caught_by("X2")
class CleansByCharacters(MemoryStorage):
    def clean(self, prefix: str) -> int:
        return super().clean(prefix.rstrip("/"))
