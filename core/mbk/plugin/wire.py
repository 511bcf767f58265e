"""The wire of an object storage: what a vendor's plugin writes, one request a method.

`mbk.plugin.objects.ObjectStorage` makes a whole storage of it: ranges, length-checked streams, writing by parts,
batches of deletes, guards of copies, conditional writes, rules of keys, and the words of errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias, runtime_checkable

from mbk.frozen import frozen
from mbk.plugin.failures import Translation
from mbk.plugin.failures import WireError as WireError
from mbk.ports.storage import PLAIN, ObjectInfo, ObjectVersion, Receipt, Retention, Storage, WriteOptions

#: What a part is made of. A view is one of bytes that do not change, and need not be copied.
Data: TypeAlias = bytes | memoryview
#: Where a listing of unfinished uploads goes on: the markers of key and upload, as far as the service has them.
Marker = tuple[str, str]
BEGINNING: Marker = ("", "")


@frozen(kw_only=True)
class Page:
    """One answer to a listing. ``next`` is the token of the next page, empty after the last one.

    A page may be empty in the middle. Directory markers among the objects are taken out by `ObjectStorage`.
    """

    objects: Sequence[ObjectInfo] = ()
    prefixes: Sequence[str] = ()
    next: str = ""


@frozen(kw_only=True)
class Body:
    """The body of an answer. ``read`` gives at most so many bytes, and none at its end.

    ``length`` in bytes as announced; None where a proxy between announces none, and ``read`` raises if the body breaks off.
    """

    length: int | None
    read: Callable[[int], bytes]
    close: Callable[[], object]


@frozen(kw_only=True)
class Terms:
    """What a new object is written under. ``if_absent``: only where the key has none (`ObjectExists`)."""

    if_absent: bool = False
    options: WriteOptions = PLAIN


@frozen(kw_only=True)
class Upload:
    """One multipart upload. ``started`` by the service's clock, where its finished object cannot be told by its etag."""

    key: str
    id: str
    terms: Terms = Terms()
    started: datetime | None = None


@frozen(kw_only=True)
class Part:
    """A part that the service took; ``size`` in bytes."""

    number: int
    etag: str
    size: int


@frozen(kw_only=True)
class Unfinished:
    """One page of the uploads that were neither completed nor aborted: keys and ids. ``next`` is None after the last."""

    uploads: Sequence[tuple[str, str]] = ()
    next: Marker | None = None


@frozen(kw_only=True)
class VersionPage:
    """One page of versions. ``next`` is None after the last."""

    versions: Sequence[ObjectVersion] = ()
    next: Marker | None = None


class Wire(Protocol):
    """One bucket of a service, one request a method, from any thread.

    A method raises what the SDK raises, which ``failures`` translates, or `WireError`. Keys have passed
    `fault_of_key`, options are of those that the storage declares, `open` was called once before.
    """

    @property
    def failures(self) -> Translation: ...

    def open(self) -> None:
        """Makes the SDK's client, if there is none yet; sends nothing to the storage."""

    def close(self) -> None:
        """Gives connections back; idempotent, also when never opened."""

    def fault_of_key(self, key: str) -> str:
        """Why the service cannot store an object under this key, empty where it can (:mod:`mbk.plugin.keys`)."""

    def create_bucket(self) -> None:
        """No error where the caller owns it already."""

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        """``level``: with ``/`` as the delimiter. ``limit`` 0: as many as the service gives.

        ``start_after`` may be left out of the request where the service has nothing like it.
        """

    def head(self, key: str) -> ObjectInfo: ...

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        """The object from ``offset`` on, ``length`` (at least 1) bytes or to the end; None where it ends before.

        `StorageError` where the service ignored the range.
        """

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt: ...

    def start(self, key: str, terms: Terms) -> Upload: ...

    def put_part(self, upload: Upload, number: int, data: Data) -> str:
        """Returns the etag that `complete` needs, unchanged; empty where it needs none."""

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        """As `put_part`, of a range of an object in another bucket of the service."""

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        """``parts`` in ascending order of number, at least one. `ObjectNotFound` where the upload is gone."""

    def abort(self, upload: Upload) -> bool:
        """Drops the parts; returns whether there was anything to drop. `ObjectNotFound` where the upload is gone."""

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished: ...

    def delete(self, key: str) -> None: ...

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """Deletes at most ``capabilities.delete_batch`` keys. Returns those that may be still there, with why.

        An empty reason: the service told none, or the key cannot be part of a batch; it is then deleted alone.
        `PermissionDenied` or `Unsupported` of the whole batch: each key is then deleted alone.
        """

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt: ...


@runtime_checkable
class KeepsVersions(Protocol):
    """What a wire adds where the service can keep old versions of objects."""

    def versions(self, prefix: str, marker: Marker) -> VersionPage: ...

    def delete_versions(self, versions: Sequence[ObjectVersion]) -> Mapping[str, str]:
        """Deletes at most ``capabilities.delete_batch`` versions. Returns the keys of those still there, with why."""


@runtime_checkable
class RecallsVersions(KeepsVersions, Protocol):
    """What a wire adds where a version that is not current can be read."""

    def get_version(self, version: ObjectVersion, *, offset: int) -> Body | None:
        """As `Wire.get`, to the end of a version."""


@runtime_checkable
class KeepsLocks(Protocol):
    """What a wire adds where the service can lock objects. Each method may take a second request where it has to look first."""

    def require_locks(self) -> None:
        """`Unsupported` where the bucket was made without them."""

    def lock(self, key: str, retention: Retention) -> None:
        """Locks the object as it is now. What is locked for longer is refused (`PermissionDenied`) or left as it is."""

    def locked(self, key: str, version: str) -> Retention | None:
        """Of a version, or of the object as it is now where ``version`` is empty."""


@runtime_checkable
class CopiesFrom(Protocol):
    """A wire that copies from other storages than those of its own backend and endpoint."""

    def copies_from(self, source: Storage) -> bool:
        """By ``source.location``, or an `mbk.ports.storage.ability` of it; no request."""


@runtime_checkable
class StreamsIfAbsent(Protocol):
    """A wire whose multipart uploads cannot be completed conditionally, and that writes large objects so in another way."""

    def stream_if_absent(self, key: str, pieces: Iterator[Data], options: WriteOptions) -> Receipt:
        """Writes two or more pieces, each of a multiple of 1 MiB but the last. What `pieces` raises passes through."""


def bare(etag: str | None) -> str | None:
    """An etag without the quotes that HTTP puts around it."""
    return etag.strip('"') if etag else None
