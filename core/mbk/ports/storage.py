"""The storage port, version 2: what a vendor's plugin implements and the engine builds on.

Primitives only. Parallelism, retries, verification and fallbacks are the engine's. An object storage needs not
implement it call by call: :class:`mbk.plugin.objects.ObjectStorage` does, over a `Wire` of one request a method.
Every call blocks and may be made from several threads at once. SDK-internal retries are switched off:
one call is one attempt. Every failure is one of :mod:`mbk.errors`, never an exception of an SDK.

Keys are ``/``-separated, relative to the bucket (container, directory), without a leading ``/``.
A prefix is empty or ends with ``/``, save in `Storage.list` of a storage with ``partial_prefixes``. A key goes through every call unchanged or is `InvalidKey` (K1-K6).
The rule numbers (``L1`` …) are those of :mod:`mbk.testing`, listed in docs/reference/storage-rules.md.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from datetime import datetime
from typing import Literal, Protocol, TypeVar, runtime_checkable

from mbk.frozen import frozen

#: A plugin that implements an older version is refused when its storage is opened, with what to change.
PORT_VERSION = 2

MIB = 1024 * 1024
GIB = 1024 * MIB
TIB = 1024 * GIB


@frozen
class Location:
    """Where a storage is, without credentials: two locations can be compared and printed.

    ``backend`` is the plugin's canonical name, ``endpoint`` a ``host:port`` or ``""``, ``account`` what the vendor
    scopes buckets by (Azure's storage account) or ``""``, ``bucket`` the bucket, container or absolute directory.
    ``root`` is the configured prefix below which Milvus' data or the backups lie: empty or ending with ``/``.
    ``mount`` is what Milvus puts before a key to name the same object: ``""`` for object storages, where Milvus uses
    keys as they are, and the directory as the Milvus process sees it, with a trailing ``/``, for a file system.
    """

    backend: str
    endpoint: str
    bucket: str
    root: str = ""
    account: str = ""
    region: str = ""
    mount: str = ""

    def same_bucket(self, other: Location) -> bool:
        """Whether a key names the same object in both."""
        return (self.backend, self.endpoint, self.account, self.bucket) == (
            other.backend,
            other.endpoint,
            other.account,
            other.bucket,
        )

    def same_service(self, other: Location) -> bool:
        """Whether both are buckets of one service, whatever account they belong to."""
        return (self.backend, self.endpoint) == (other.backend, other.endpoint)

    def readable_by_same_milvus(self, other: Location) -> bool:
        """Whether a Milvus that keeps its data here can also read what lies in ``other``, by `mount` and key."""
        return self.same_bucket(other) or bool(self.mount and other.mount)

    def __str__(self) -> str:
        parts = (self.endpoint, self.account, self.bucket.rstrip("/"), self.root.rstrip("/"))
        return f"{self.backend}://{'/'.join(part for part in parts if part)}"


#: The kinds of checksums that `ObjectInfo.checksums` can hold. ``xxh128`` is XXH3 of 128 bits, in its canonical form.
CHECKSUMS = frozenset({"crc32c", "crc64nvme", "crc64ecma", "md5", "sha256", "xxh128"})

_NOTHING: Mapping[str, str] = {}


def _nothing() -> Mapping[str, str]:
    """One shared empty mapping: a listing of a million objects holds a million of these values."""
    return _NOTHING


@frozen
class ObjectInfo:
    """One object of a listing, a stat or a write; ``size`` in bytes. What the service did not tell is None or empty.

    ``checksums`` are of the whole object's bytes, by kind (`CHECKSUMS`), each as lower-case hexadecimal digits of the
    digest, the most significant byte first. ``storage_class`` is the vendor's own word, empty where it tells none.
    """

    key: str
    size: int
    etag: str | None = None
    modified: datetime | None = None
    checksums: Mapping[str, str] = field(default_factory=_nothing, hash=False)
    storage_class: str = ""


@frozen(kw_only=True)
class Receipt:
    """What the service told of an object that it made or copied: None or empty where it told nothing.

    As `ObjectInfo`, but most services tell no size of a copy, and the key is the caller's.
    """

    size: int | None = None
    etag: str | None = None
    modified: datetime | None = None
    checksums: Mapping[str, str] = field(default_factory=_nothing, hash=False)


@frozen(kw_only=True)
class Level:
    """What lies directly below a prefix: the objects, and the common prefixes (each ends with ``/``) of all others."""

    objects: tuple[ObjectInfo, ...] = ()
    prefixes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.objects or self.prefixes)


@frozen(kw_only=True)
class Retention:
    """Until ``until`` (with a zone) nobody may delete or replace the object; ``governance`` can be lifted by those allowed to."""

    mode: Literal["governance", "compliance"]
    until: datetime

    def covers(self, other: Retention) -> bool:
        """Whether what is locked so is locked as long and as strictly as ``other`` asks; services cut times to the second."""
        strict = self.mode == "compliance" or other.mode == "governance"
        return strict and int(self.until.timestamp()) >= int(other.until.timestamp())


@frozen(kw_only=True)
class WriteOptions:
    """How an object is to be kept. Each option that is set must be named by ``Capabilities.write_options``.

    ``storage_class`` is the vendor's own word. ``encryption_key`` is the id of a key in the vendor's key service, with
    which the service encrypts the object. ``tags`` are the vendor's object tags.
    ``private``: for its owner alone, where objects are files with rights of their own; elsewhere it says nothing.
    """

    retention: Retention | None = None
    storage_class: str = ""
    encryption_key: str = ""
    tags: Mapping[str, str] = field(default_factory=_nothing, hash=False)
    private: bool = False

    @property
    def chosen(self) -> frozenset[str]:
        """The names of the options that are set."""
        return frozenset(name for name in WRITE_OPTIONS if getattr(self, name))


#: The names of all options, as `Capabilities.write_options` lists those that a storage honours.
WRITE_OPTIONS = frozenset({"retention", "storage_class", "encryption_key", "tags"})
#: As the bucket's own defaults have it.
PLAIN = WriteOptions()
PRIVATE = WriteOptions(private=True)


@frozen
class Capabilities:
    """What a storage can do and its limits, as data. Sizes in bytes; None means no limit worth knowing.

    A capability is a promise: the conformance kit tries each one that is declared, and expects
    :class:`~mbk.errors.Unsupported` from each one that is not. ``checksums`` are the kinds that `Storage.stat` tells
    of every object that this storage made, however it made it; it may tell more of some. ``write_options`` are the
    fields of `WriteOptions` that are honoured. ``partial_prefixes``: `Storage.list` takes a prefix that ends amid a name.
    """

    server_side_copy: bool = False
    part_copy: bool = False
    conditional_write: bool = False
    multipart: bool = False
    partial_prefixes: bool = False
    checksums: frozenset[str] = frozenset()
    write_options: frozenset[str] = frozenset()
    max_copy_size: int | None = None
    min_part_size: int = 5 * MIB
    max_part_size: int = 5 * GIB
    max_parts: int = 10_000
    max_object_size: int | None = None
    delete_batch: int = 1
    max_key_bytes: int = 1024


class MultipartUpload(Protocol):
    """One multipart upload, opened by :meth:`Storage.multipart` and used as a context manager.

    Leaving the context with an exception aborts; leaving it without having called :meth:`complete` aborts too.
    Until :meth:`complete` returns nothing is visible at the key, and what was there before stays (M1-M10).
    """

    def __enter__(self) -> MultipartUpload: ...

    def __exit__(self, *exc_info: object) -> None: ...

    def put_part(self, number: int, data: bytes) -> None:
        """Uploads part ``number`` (from 1; any order, from any thread; a repeated number replaces)."""

    def copy_part(self, number: int, source: Storage, key: str, *, offset: int, length: int) -> None:
        """Fills part ``number`` server side from a range of ``key`` in ``source``; `Unsupported` where it cannot."""

    def complete(self) -> ObjectInfo:
        """Makes the object visible, parts in ascending order of number. At least one part is needed."""

    def abort(self) -> None:
        """Forgets the upload and its parts; idempotent; after :meth:`complete` it does nothing."""


class Lister(Protocol):
    """Finding objects."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        """Lazily yields the objects whose key starts with ``prefix``, each once, in no promised order (L1-L10).

        With ``start_after`` only those whose key comes after it, by code point. A missing prefix yields nothing.
        Directory markers (empty objects whose key ends with ``/``) and unfinished or temporary objects are not yielded.
        """

    def list_level(self, prefix: str = "") -> Level:
        """The objects directly below the prefix, and one common prefix for each "directory" below it (L2-L7)."""


class Reader(Protocol):
    """Looking at objects."""

    def stat(self, key: str) -> ObjectInfo:
        """What the service tells of the object; `ObjectNotFound` where there is none (R5, R6, R8)."""

    def read(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Opens a stream of non-empty chunks of ``length`` bytes from ``offset`` (to the end when None).

        `ObjectNotFound` is raised on entering, and `ObjectArchived` where the object must be restored from an archive
        first. A range that reaches past the end yields what is there; a range that starts at or past the end yields
        nothing. `TransferInterrupted` when the stream breaks off early (R1-R4, R7, R9).
        """


class Writer(Protocol):
    """Making objects. An option that is not in ``capabilities.write_options`` is `Unsupported`, never dropped (O1, O2)."""

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        """Writes an object whole or not at all, replacing what was there (W1-W7).

        ``size`` is the sum of the chunks where the caller knows it; a mismatch raises and nothing is visible.
        Without it the storage streams (multipart where it must), with memory bounded by a few parts.
        An exception of the iterable passes through unchanged, and nothing is visible.
        """

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        """As `write`, but raises `ObjectExists` where the key has an object. Of two racing writers one wins (W8-W10).

        `Unsupported` where ``capabilities.conditional_write`` is False. Where the answer to an earlier attempt of the
        same caller was lost, its own object is met: compare the object before believing `ObjectExists`.
        """

    def multipart(
        self, key: str, *, options: WriteOptions = PLAIN
    ) -> AbstractContextManager[MultipartUpload]:
        """Starts a multipart upload; `Unsupported` where ``capabilities.multipart`` is False."""


class Deleter(Protocol):
    """Removing objects, and what killed processes left."""

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes each key; a missing key is no error. `DeleteFailed` names those that are still there (D1-D4)."""

    def clean(self, prefix: str) -> int:
        """Removes what killed processes left below ``prefix``: unfinished multipart uploads, temporary files.

        Returns how many. Objects are never touched. The caller knows that nobody else writes there (X1, X2).
        """


class Copier(Protocol):
    """Copying inside of the service. Called on the destination."""

    def can_copy_from(self, other: Storage) -> bool:
        """Whether a server-side copy from ``other`` is worth trying: the same vendor and service, no request made.

        Decided by ``other.location``, or by an `ability` of it: ``other`` may be wrapped (C7).
        """

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        """Copies an object server side: its bytes never pass through this process.

        Returns what the service told of the copy, which may be nothing: the caller verifies by listing.
        `Unsupported` where the pair of storages cannot, `PermissionDenied` where the destination's credentials may
        not read the source; never a silent fallback. Sizes up to ``capabilities.max_copy_size`` (C1-C8).
        """


@runtime_checkable
class Storage(Lister, Reader, Writer, Deleter, Copier, Protocol):
    """One bucket, opened with one set of credentials. What needs less asks for one of the roles that it is made of."""

    @property
    def location(self) -> Location: ...

    @property
    def capabilities(self) -> Capabilities: ...

    def check(self, *, create: bool = False) -> None:
        """Finds out cheaply (one list request) that the bucket is there and may be listed.

        With ``create`` a missing bucket is created. Raises `BucketNotFound`, `AuthenticationFailed`,
        `PermissionDenied` or `StorageUnavailable`, each naming the bucket and the endpoint (S1, S2).
        """

    def close(self) -> None:
        """Gives connections back; idempotent (S3)."""


class StorageRef(Protocol):
    """What opens one storage again, in this process or in another one: frozen, picklable, its repr without a secret (S9)."""

    def open(self) -> Storage:
        """Opens it anew, with the plugins of the process that calls; the caller closes it. Raises what opening raises."""


Ability = TypeVar("Ability")


def ability(storage: object, kind: type[Ability]) -> Ability | None:
    """What of ``storage`` has the methods of ``kind``, a runtime-checkable protocol: itself, or what it wraps.

    A storage that adds to another one (throttles, traces, counts) has that one as its attribute ``wrapped``, and is
    looked through. A storage that keeps other bytes or keys than it is given (encrypts, renames) must have no
    attribute ``wrapped`` and a `Location` whose ``backend`` is its own name, so that nothing passes it by.
    """
    layer: object | None = storage
    while layer is not None and not isinstance(layer, kind):
        layer = getattr(layer, "wrapped", None)
    return layer


@frozen(kw_only=True)
class ObjectVersion:
    """One version of an object, or a mark that it was deleted (``is_mark``). ``is_current``: what reading the key returns now.

    ``size`` in bytes and ``etag`` are None where the service did not tell them, and of marks; ``checksums`` as in `ObjectInfo`.
    """

    key: str
    version: str
    is_current: bool = False
    is_mark: bool = False
    size: int | None = None
    etag: str | None = None
    checksums: Mapping[str, str] = field(default_factory=_nothing, hash=False)


@runtime_checkable
class Versioned(Protocol):
    """An `ability` of storages whose buckets may keep what was replaced and deleted (V1, V2).

    Both calls raise `Unsupported` where the service knows no versions.
    """

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """All versions below the prefix, each once; those of one key from the newest on, its marks anywhere between them.

        A bucket that keeps none has the current ones.
        """

    def delete_versions(self, versions: Iterable[ObjectVersion]) -> None:
        """Deletes these versions for good; a missing one is no error. `DeleteFailed` names the keys of those still there."""


@runtime_checkable
class Recalling(Protocol):
    """An `ability` of `Versioned` storages in which what was replaced or deleted can be read. Where the service marks what was
    deleted, that comes back once no mark of its key is newer (V3).
    """

    def read_version(
        self, version: ObjectVersion, *, offset: int = 0
    ) -> AbstractContextManager[Iterator[bytes]]:
        """As `Reader.read`, of a version. `Unsupported` where the service knows none."""


@runtime_checkable
class Locking(Protocol):
    """An `ability` of storages that can keep an object from being deleted until a moment (H1, H2).

    What locks an object while it is made is `WriteOptions.retention`. Each call raises `Unsupported` where the service has no such
    locks, or the bucket was made without them.
    """

    def require_locks(self) -> None:
        """Returns if the bucket can lock objects; `PermissionDenied` where these credentials may not ask."""

    def lock(self, key: str, retention: Retention) -> None:
        """Locks the object as it is now. One that is locked for as long, and as strictly, stays as it is: never shorter."""

    def locked(self, key: str, version: str = "") -> Retention | None:
        """Until when the object, or one of its versions, is or was locked; None if it never was."""


@runtime_checkable
class Tidying(Protocol):
    """An `ability` of storages in which a killed process leaves what no listing shows, such as temporary files."""

    def tidy(self, prefix: str) -> int:
        """Removes what ended processes left below ``prefix``, and returns how many. Unlike with `Deleter.clean`, others
        may be writing there: what they are making stays.
        """


@runtime_checkable
class Unfinished(Protocol):
    """An `ability` of storages that can tell what `Deleter.clean` would remove (X1)."""

    def unfinished(self, prefix: str) -> Iterator[str]:
        """The keys of the unfinished uploads and temporary files below ``prefix``; one for each of them, in no promised order."""


@runtime_checkable
class Browsable(Protocol):
    """An `ability` of storages whose prefixes are directories of the operating system.

    Each call is so quick that what surrounds a request would cost more than the request.
    """

    def directories(self, prefix: str = "") -> Sequence[str]:
        """A prefix for each directory directly below this one, whatever is in it.

        `Lister.list_level` looks into each of them, to tell only of those in which an object lies.
        """

    def glance(self, prefix: str, names: Container[str]) -> tuple[Sequence[ObjectInfo], Mapping[str, bytes]]:
        """The objects directly below the prefix, and the bytes of those that are called so, by name.

        Large ones are left out, and those that cannot be read: who needs one reads it, and learns why.
        """


@runtime_checkable
class Deferring(Protocol):
    """An `ability` of storages in which it costs less to make many objects durable together than each of them."""

    def defer(self, prefix: str) -> None:
        """From now on, an object that this storage makes below ``prefix`` may be visible before it is durable.

        Only for a prefix at which nothing that counts lies: what a crash of the machine may have cost its bytes there
        since an earlier call is removed. Where the storage cannot defer, nothing changes, and each object is durable at once.
        """

    def settle(self, prefix: str) -> None:
        """All objects below ``prefix`` are durable once this returns; without `defer` they are already.

        What it raises is final: what was written may be lost, and the next `defer` removes it.
        """


@runtime_checkable
class MilvusReachable(Protocol):
    """An `ability` of some storages: Milvus itself can write to it and read from it, as it does with snapshots.

    Milvus copies inside one kind of service only, and refuses what it cannot.
    """

    def external_uri(self, key: str, *, own: bool) -> str:
        """``key`` as Milvus names it. ``own``: its data lies in the same service, and it needs not be told which.

        `Unsupported` where Milvus has no name for it.
        """

    def external_spec(self) -> str:
        """How Milvus is let in where that is not its own service: a JSON text, and a secret.

        `Unsupported` where the credentials cannot be given to Milvus.
        """
