"""The reference storage: every capability, in memory, thread-safe. Broken storages are subclasses of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from uuid import uuid4
from weakref import WeakValueDictionary

from mbk.errors import MbkError, ObjectArchived, PermissionDenied, StorageError
from mbk.frozen import frozen
from mbk.plugin.conditions import (
    bucket_missing,
    delete_failed,
    no_conditional_write,
    no_copy_from,
    no_locks,
    no_multipart,
    no_part_copy,
    object_exists,
    object_missing,
    range_past_end,
    require_options,
    upload_empty,
    wrong_size,
)
from mbk.plugin.keys import fault_of_length, require_key
from mbk.ports.storage import (
    PLAIN,
    WRITE_OPTIONS,
    Capabilities,
    Level,
    Location,
    MultipartUpload,
    ObjectInfo,
    ObjectVersion,
    Receipt,
    Retention,
    Storage,
    WriteOptions,
)

EVERYTHING = Capabilities(
    server_side_copy=True,
    part_copy=True,
    conditional_write=True,
    multipart=True,
    partial_prefixes=True,
    checksums=frozenset({"md5", "sha256"}),
    write_options=WRITE_OPTIONS,
    min_part_size=1,
    delete_batch=1000,
)

#: Called before each primitive with its name and key; what it raises is what the primitive raises.
Fault = Callable[[str, str], None]


_VERSIONS = count(1)
#: What is in a storage class of this name must be restored before it is read.
ARCHIVE = "ARCHIVE"


@frozen
class StoredObject:
    data: bytes
    info: ObjectInfo
    options: WriteOptions = PLAIN


@frozen
class OldVersion:
    """``stored`` None: a mark of deletion."""

    key: str
    version: str
    stored: StoredObject | None = None

    def told(self) -> ObjectVersion:
        if self.stored is None:
            return ObjectVersion(key=self.key, version=self.version, is_mark=True)
        return _told(self.stored)


@dataclass(eq=False, slots=True)
class StoredUpload:
    key: str
    options: WriteOptions = PLAIN
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Bucket:
    """``versioned``: what is replaced or deleted is kept in ``old``, the oldest first, with a mark for each deletion."""

    objects: dict[str, StoredObject] = field(default_factory=dict)
    versioned: bool = False
    old: list[OldVersion] = field(default_factory=list)
    uploads: list[StoredUpload] = field(default_factory=list)

    def copy(self) -> Bucket:
        return Bucket(dict(self.objects), self.versioned, [*self.old], [*self.uploads])


class MemoryService:
    """Buckets that live as long as this object; storages opened on one service copy from each other."""

    def __init__(self, *buckets: str) -> None:
        self.name = uuid4().hex
        _SERVICES[self.name] = self
        self.lock = threading.RLock()
        self.buckets = {name: Bucket() for name in buckets}


#: By name, so that a reference finds its service again.
_SERVICES: WeakValueDictionary[str, MemoryService] = WeakValueDictionary()


@frozen
class MemoryRef:
    """A :class:`mbk.ports.storage.StorageRef`, in this process only and as long as the service is there."""

    service: str
    bucket: str

    def open(self) -> MemoryStorage:
        return MemoryStorage(_SERVICES[self.service], self.bucket)


class MemoryStorage:
    """One bucket of a :class:`MemoryService`; without one, the bucket of a service of its own.

    ``fault`` is called before each primitive with its name (``check list stat read chunk write delete copy multipart
    put_part copy_part complete abort clean versions read_version delete_versions locks lock locked``) and its key or prefix. For ``delete`` an :class:`~mbk.errors.MbkError`
    becomes that key's entry in `DeleteFailed`; ``chunk`` precedes each chunk of a read.

    Objects of the storage class `ARCHIVE` cannot be read, and those under a retention cannot be deleted until it ends; where
    the bucket is versioned that goes for their versions.
    """

    chunk_size = 64 * 1024

    def __init__(
        self,
        service: MemoryService | None = None,
        bucket: str = "memory",
        *,
        root: str = "",
        capabilities: Capabilities = EVERYTHING,
        fault: Fault | None = None,
    ) -> None:
        self.service = service or MemoryService(bucket)
        self.fault: Fault = fault or _no_fault
        self._location = Location(backend="memory", endpoint=self.service.name, bucket=bucket, root=root)
        self._capabilities = capabilities

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._location}>"

    @property
    def location(self) -> Location:
        return self._location

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def bucket(self) -> Bucket:
        """The state behind this storage. `BucketNotFound` where the service has no such bucket."""
        return self.require_bucket()

    def require_bucket(self) -> Bucket:
        try:
            return self.service.buckets[self._location.bucket]
        except KeyError:
            raise bucket_missing(self._location) from None

    def check(self, *, create: bool = False) -> None:
        self.fault("check", "")
        with self.service.lock:
            if create:
                self.service.buckets.setdefault(self._location.bucket, Bucket())
            self.require_bucket()

    def close(self) -> None:
        pass

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        self.fault("list", prefix)
        for info in self.below(prefix):
            if info.key > start_after and not info.key.endswith("/"):
                yield info

    def list_level(self, prefix: str = "") -> Level:
        self.fault("list", prefix)
        found = self.below(prefix)
        names = {info.key: info.key[len(prefix) :].partition("/") for info in found}
        return Level(
            objects=tuple(i for i in found if not (names[i.key][1] or i.key.endswith("/"))),
            prefixes=tuple(dict.fromkeys(f"{prefix}{name}/" for name, slash, _ in names.values() if slash)),
        )

    def stat(self, key: str) -> ObjectInfo:
        self.fault("stat", key)
        return self.get(key).info

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        self.fault("read", key)
        found = self.get(key)
        if found.options.storage_class == ARCHIVE:
            raise ObjectArchived(
                "object {key!r} in {place} is archived",
                code="archived",
                key=key,
                place=self._location,
                hint="restore it first",
            )
        data = found.data
        end = len(data) if length is None else min(len(data), offset + length)
        yield self._chunks(key, data[offset:end])

    def _chunks(self, key: str, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), self.chunk_size):
            self.fault("chunk", key)
            yield data[start : start + self.chunk_size]

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self.fault("write", key)
        self.check_key(key)
        self.check_options(options)
        return self.put(key, self.collect(key, chunks, size), options)

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        if not self._capabilities.conditional_write:
            raise no_conditional_write(self._location)
        self.fault("write", key)
        self.check_key(key)
        self.check_options(options)
        data = self.collect(key, chunks, size)
        with self.service.lock:
            if key in self.bucket.objects:
                raise object_exists(key, self._location)
            return self.put(key, data, options)

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        for key in keys:
            self.check_key(key)
            try:
                self.fault("delete", key)
                self.remove(key)
            except MbkError as exc:
                failures[key] = exc.message
        if failures:
            raise delete_failed(failures, self._location)

    def can_copy_from(self, other: Storage) -> bool:
        return self._location.same_service(other.location)

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        if not (self._capabilities.server_side_copy and self.can_copy_from(source)):
            raise no_copy_from(source.location, self._location)
        self.fault("copy", key)
        self.check_key(key)
        self.check_options(options)
        info = self.put(key, self.sibling(source).get(source_key).data, options)
        return Receipt(size=info.size, etag=info.etag, modified=info.modified, checksums=info.checksums)

    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> MultipartUpload:
        if not self._capabilities.multipart:
            raise no_multipart(self._location)
        self.fault("multipart", key)
        self.check_key(key)
        self.check_options(options)
        upload = StoredUpload(key, options)
        with self.service.lock:
            self.bucket.uploads.append(upload)
        return MemoryUpload(self, upload)

    def clean(self, prefix: str) -> int:
        self.fault("clean", prefix)
        with self.service.lock:
            kept = [upload for upload in self.bucket.uploads if not upload.key.startswith(prefix)]
            removed = len(self.bucket.uploads) - len(kept)
            self.bucket.uploads[:] = kept
        return removed

    def unfinished(self, prefix: str) -> Iterator[str]:
        self.fault("unfinished", prefix)
        with self.service.lock:
            left = [upload.key for upload in self.bucket.uploads if upload.key.startswith(prefix)]
        yield from left

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        self.fault("versions", prefix)
        with self.service.lock:
            current = [
                _told(item, is_current=True)
                for key, item in self.bucket.objects.items()
                if key.startswith(prefix)
            ]
            old = [version.told() for version in self.bucket.old if version.key.startswith(prefix)]
        yield from (*current, *reversed(old))

    @contextmanager
    def read_version(self, version: ObjectVersion, *, offset: int = 0) -> Iterator[Iterator[bytes]]:
        self.fault("read_version", version.key)
        with self.service.lock:
            current = self.bucket.objects.get(version.key)
            found = next((old for old in self.bucket.old if old.version == version.version), None)
            is_current = current is not None and current.info.etag == version.version
        stored = current if is_current else found.stored if found else None
        if stored is None:
            raise object_missing(version.key, self._location)
        yield self._chunks(version.key, stored.data[offset:])

    def delete_versions(self, versions: Iterable[ObjectVersion]) -> None:
        self.fault("delete_versions", "")
        gone = {(version.key, version.version) for version in versions}
        failures: dict[str, str] = {}
        with self.service.lock:
            kept = []
            for old in self.bucket.old:
                if (old.key, old.version) not in gone:
                    kept.append(old)
                elif old.stored is not None and _is_retained(old.stored):
                    kept.append(old)
                    failures[old.key] = "retained"
            self.bucket.old[:] = kept
            for key, item in [*self.bucket.objects.items()]:
                if (key, item.info.etag) not in gone:
                    continue
                if _is_retained(item):
                    failures[key] = "retained"
                else:
                    del self.bucket.objects[key]
            for key in {key for key, _ in gone}:
                self._bring_back(key)
        if failures:
            raise delete_failed(failures, self._location)

    def _bring_back(self, key: str) -> None:
        """What was below the marks and versions that are gone is current again."""
        newest = next((old for old in reversed(self.bucket.old) if old.key == key), None)
        if key not in self.bucket.objects and newest is not None and newest.stored is not None:
            self.bucket.old.remove(newest)
            self.bucket.objects[key] = newest.stored

    def require_locks(self) -> None:
        self.fault("locks", "")
        self.require_bucket()
        if "retention" not in self.capabilities.write_options:
            raise no_locks(self._location)

    def lock(self, key: str, retention: Retention) -> None:
        self.fault("lock", key)
        self.require_locks()
        with self.service.lock:
            found = self.get(key)
            before = found.options.retention
            if before is None or not before.covers(retention):
                options = replace(found.options, retention=retention)
                self.bucket.objects[key] = replace(found, options=options)

    def locked(self, key: str, version: str = "") -> Retention | None:
        """Of the version that is current; of those that are not, nothing is known here."""
        self.fault("locked", key)
        self.require_locks()
        found = self.get(key)
        return found.options.retention if version in ("", found.info.etag) else None

    # What the primitives above are made of, for subclasses that break one of them on purpose.

    def reference(self) -> MemoryRef:
        return MemoryRef(self.service.name, self._location.bucket)

    def sibling(self, source: Storage) -> MemoryStorage:
        """The bucket of a storage of the same service, however that storage is wrapped."""
        here = self._location.same_bucket(source.location)
        return self if here else type(self)(self.service, source.location.bucket)

    def below(self, prefix: str) -> tuple[ObjectInfo, ...]:
        with self.service.lock:
            items = [*self.bucket.objects.items()]
        return tuple(item.info for key, item in items if key.startswith(prefix))

    def remove(self, key: str) -> None:
        with self.service.lock:
            found = self.bucket.objects.get(key)
            retention = found and found.options.retention
            if retention and not self.bucket.versioned and retention.until > datetime.now(UTC):
                raise PermissionDenied(
                    "object {key!r} in {place} is retained until {until}",
                    code="object-retained",
                    key=key,
                    place=self._location,
                    until=retention.until,
                )
            if self._keep(key):
                self.bucket.old.append(OldVersion(key, f"v{next(_VERSIONS)}"))
            self.bucket.objects.pop(key, None)

    def _keep(self, key: str) -> bool:
        found = self.bucket.objects.get(key) if self.bucket.versioned else None
        if found is not None:
            self.bucket.old.append(OldVersion(key, found.info.etag or "", found))
        return found is not None

    def check_options(self, options: WriteOptions) -> None:
        require_options(options, self.capabilities, self._location)

    def check_key(self, key: str) -> None:
        require_key(key, self._location, fault_of_length(key, self._capabilities.max_key_bytes))

    def get(self, key: str) -> StoredObject:
        self.check_key(key)
        with self.service.lock:
            try:
                return self.bucket.objects[key]
            except KeyError:
                raise object_missing(key, self._location) from None

    def put(self, key: str, data: bytes, options: WriteOptions = PLAIN) -> ObjectInfo:
        info = ObjectInfo(
            key,
            len(data),
            etag=f"v{next(_VERSIONS)}",
            modified=datetime.now(UTC),
            checksums=self.digests(data),
            storage_class=options.storage_class,
        )
        with self.service.lock:
            self._keep(key)
            self.bucket.objects[key] = StoredObject(data, info, options)
        return info

    def digests(self, data: bytes) -> dict[str, str]:
        return {kind: hashlib.new(kind, data).hexdigest() for kind in sorted(self.capabilities.checksums)}

    def collect(self, key: str, chunks: Iterable[bytes], size: int | None) -> bytes:
        self.require_bucket()
        data = b"".join(chunks)
        if size is not None and size != len(data):
            raise wrong_size(key, self._location, f"{len(data)} bytes arrived, {size} were announced")
        return data


class MemoryUpload:
    """A multipart upload into a :class:`MemoryStorage`."""

    def __init__(self, storage: MemoryStorage, upload: StoredUpload) -> None:
        self.storage = storage
        self.upload = upload

    def __enter__(self) -> MultipartUpload:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.abort()

    def put_part(self, number: int, data: bytes) -> None:
        self.storage.fault("put_part", self.upload.key)
        with self.storage.service.lock:
            self.require_open()
            self.upload.parts[number] = bytes(data)

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        if not (self.storage.capabilities.part_copy and self.storage.can_copy_from(source)):
            raise no_part_copy(self.storage.location)
        self.storage.fault("copy_part", self.upload.key)
        data = self.storage.sibling(source).get(key).data[offset : offset + length]
        if len(data) != length:
            raise range_past_end(key, source.location, offset + length)
        self.put_part(number, data)

    def complete(self) -> ObjectInfo:
        self.storage.fault("complete", self.upload.key)
        with self.storage.service.lock:
            self.require_open()
            if not self.upload.parts:
                raise upload_empty(self.upload.key, self.storage.location)
            self.forget()
            return self.storage.put(self.upload.key, self.joined(), self.upload.options)

    def abort(self) -> None:
        self.storage.fault("abort", self.upload.key)
        with self.storage.service.lock:
            self.forget()

    def require_open(self) -> None:
        if self.upload not in self.storage.bucket.uploads:
            raise StorageError(
                "{place} has no such upload of {key!r}",
                code="upload-missing",
                key=self.upload.key,
                place=self.storage.location,
            )

    def joined(self) -> bytes:
        return b"".join(self.upload.parts[number] for number in sorted(self.upload.parts))

    def forget(self) -> None:
        uploads = self.storage.bucket.uploads
        if self.upload in uploads:
            uploads.remove(self.upload)


def _told(stored: StoredObject, *, is_current: bool = False) -> ObjectVersion:
    info = stored.info
    return ObjectVersion(
        key=info.key, version=info.etag or "", is_current=is_current, size=info.size, etag=info.etag
    )


def _is_retained(stored: StoredObject) -> bool:
    retention = stored.options.retention
    return retention is not None and retention.until > datetime.now(UTC)


def _no_fault(_operation: str, _key: str) -> None:
    pass
