"""The storage port: what a vendor's plugin implements and the engine builds on.

Primitives only. Part splitting, parallelism, retries, verification and fallbacks are the engine's.
Every call blocks and may be made from several threads at once. SDK-internal retries are switched off:
one call is one attempt. Every failure is one of :mod:`mbk.errors`, never an exception of an SDK.

Keys are ``/``-separated, relative to the bucket (container, directory), without a leading ``/``.
A prefix is empty or ends with ``/``. A key goes through every call unchanged or is `InvalidKey` (K1-K6).
The rule numbers (``L1`` …) are those of :mod:`mbk.testing`, listed in docs/reference/storage-rules.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, runtime_checkable

MIB = 1024 * 1024
GIB = 1024 * MIB
TIB = 1024 * GIB


@dataclass(frozen=True, slots=True)
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

    def readable_by_same_milvus(self, other: Location) -> bool:
        """Whether a Milvus that keeps its data here can also read what lies in ``other``, by `mount` and key."""
        return self.same_bucket(other) or bool(self.mount and other.mount)

    def __str__(self) -> str:
        parts = (self.endpoint, self.account, self.bucket.rstrip("/"), self.root.rstrip("/"))
        return f"{self.backend}://{'/'.join(part for part in parts if part)}"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object of a listing or a stat; ``size`` in bytes.

    In a listing with ``recursive=False`` a key that ends with ``/`` is a common prefix: its size is 0, the rest None.
    """

    key: str
    size: int
    etag: str | None = None
    modified: datetime | None = None

    @property
    def is_prefix(self) -> bool:
        return self.key.endswith("/")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a storage can do and its limits, as data. Sizes in bytes; None means no limit worth knowing.

    A capability is a promise: the conformance kit tries each one that is declared, and expects
    :class:`~mbk.errors.Unsupported` from each one that is not.
    """

    server_side_copy: bool = False
    part_copy: bool = False
    conditional_write: bool = False
    multipart: bool = False
    checksums: frozenset[str] = frozenset()
    max_copy_size: int | None = None
    max_write_size: int | None = None
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


@runtime_checkable
class Storage(Protocol):
    """One bucket, opened with one set of credentials."""

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

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        """Lazily yields the objects whose key starts with ``prefix``, each once, in no promised order (L1-L9).

        ``recursive=False`` yields the objects directly below the prefix, and one common prefix (a key ending with
        ``/``) for each "directory" below it. A missing prefix yields nothing. Directory markers (empty objects whose
        key ends with ``/``) and unfinished or temporary objects are not yielded.
        """

    def stat(self, key: str) -> ObjectInfo:
        """The object's size and etag; `ObjectNotFound` where there is none (R5, R6)."""

    def read(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Opens a stream of non-empty chunks of ``length`` bytes from ``offset`` (to the end when None).

        `ObjectNotFound` is raised on entering. A range that reaches past the end yields what is there; a range that
        starts at or past the end yields nothing. `TransferInterrupted` when the stream breaks off early (R1-R4, R7).
        """

    def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        """Writes an object whole or not at all, replacing what was there (W1-W7).

        ``size`` is the sum of the chunks where the caller knows it; a mismatch raises and nothing is visible.
        Without it the storage streams (multipart where it must), with memory bounded by a few parts.
        An exception of the iterable passes through unchanged, and nothing is visible.
        """

    def write_if_absent(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        """As `write`, but raises `ObjectExists` where the key has an object. Of two racing writers one wins (W8-W10).

        `Unsupported` where ``capabilities.conditional_write`` is False.
        """

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes each key; a missing key is no error. `DeleteFailed` names those that are still there (D1-D4)."""

    def can_copy_from(self, other: Storage) -> bool:
        """Whether a server-side copy from ``other`` is worth trying: the same vendor and service, no request made."""

    def copy(self, source: Storage, source_key: str, key: str) -> None:
        """Copies an object server side: its bytes never pass through this process. Called on the destination.

        Nothing is returned, because vendors answer with neither size nor etag: the caller verifies by listing.
        `Unsupported` where the pair of storages cannot, `PermissionDenied` where the destination's credentials may
        not read the source; never a silent fallback. Sizes up to ``capabilities.max_copy_size`` (C1-C6).
        """

    def multipart(self, key: str) -> AbstractContextManager[MultipartUpload]:
        """Starts a multipart upload; `Unsupported` where ``capabilities.multipart`` is False."""

    def clean(self, prefix: str) -> int:
        """Removes what killed processes left below ``prefix``: unfinished multipart uploads, temporary files.

        Returns how many. Objects are never touched. The caller knows that nobody else writes there (X1, X2).
        """


@runtime_checkable
class MilvusReachable(Protocol):
    """What a `Storage` may also be: Milvus itself can write to it and read from it, as it does with snapshots.

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
