"""A whole storage over the wire of an object-storage service: the algorithms that every vendor needs alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Lock
from typing import Generic, final
from uuid import uuid4

from mbk.errors import (
    BucketNotFound,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.calls import AnyWire, Calls
from mbk.plugin.conditions import (
    delete_failed,
    no_conditional_write,
    no_locks,
    no_multipart,
    no_versions,
    require_options,
    wrong_size,
)
from mbk.plugin.paging import Onwards
from mbk.plugin.senders import Senders
from mbk.plugin.streams import counted, cut, part_sizes
from mbk.plugin.uploads import PartsUpload, made
from mbk.plugin.wire import (
    BEGINNING,
    Body,
    Data,
    KeepsLocks,
    KeepsVersions,
    Marker,
    Page,
    RecallsVersions,
    StreamsIfAbsent,
    Terms,
    Upload,
)
from mbk.ports.storage import (
    MIB,
    PLAIN,
    Capabilities,
    Level,
    Location,
    ObjectInfo,
    ObjectVersion,
    Receipt,
    Retention,
    Storage,
    WriteOptions,
)

#: Large enough that the work around a chunk is small beside it, small enough to be held by each open stream.
CHUNK = MIB


@final
class ObjectStorage(Generic[AnyWire]):
    """See :class:`mbk.ports.storage.Storage`. Thread-safe; the wire is opened at the first request.

    ``condition_ignored`` is the reason why a service that declares conditional writes may all the same ignore the
    condition: then one pair of probe objects finds out before the first conditional write. Empty: it is known to hold.

    The parts of a write that is larger than 16 MiB, or that turns out to be larger than 8 MiB, go up several at a time
    (:mod:`mbk.plugin.senders` states the bound of memory).
    """

    def __init__(
        self, wire: AnyWire, *, location: Location, capabilities: Capabilities, condition_ignored: str = ""
    ) -> None:
        self._wire = wire
        self._location = location
        self._capabilities = capabilities
        self._condition_ignored = condition_ignored
        self._condition_holds = not condition_ignored
        self._calls = Calls(wire, location)
        self._senders = Senders()
        self._probing = Lock()
        self._takes_batches = capabilities.delete_batch > 1

    def __repr__(self) -> str:
        return f"<ObjectStorage {self._location}>"

    @property
    def wrapped(self) -> AnyWire:
        """The wire, which may have an `mbk.ports.storage.ability` of its own."""
        return self._wire

    @property
    def location(self) -> Location:
        return self._location

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def check(self, *, create: bool = False) -> None:
        try:
            with self._calls.on_bucket("list"):
                self._wire.page(self._location.root, limit=1)
        except BucketNotFound:
            if not create:
                raise
            with self._calls.on_bucket("create"):
                self._wire.create_bucket()

    def close(self) -> None:
        self._senders.close()
        self._wire.close()

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for page in self._pages(prefix, start_after=start_after):
            yield from (info for info in page.objects if info.key > start_after and not _is_marker(info))

    def list_level(self, prefix: str = "") -> Level:
        pages = [*self._pages(prefix, level=True)]
        return Level(
            objects=tuple(info for page in pages for info in page.objects if not _is_marker(info)),
            prefixes=tuple(dict.fromkeys(name for page in pages for name in page.prefixes)),
        )

    def stat(self, key: str) -> ObjectInfo:
        with self._calls.on_key("stat", key):
            return self._wire.head(key)

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        if length == 0:
            self.stat(key)
            yield iter(())
            return
        with self._calls.on_key("read", key):
            body = self._wire.get(key, offset=offset, length=length)
        with self._streamed(key, body) as chunks:
            yield chunks

    @contextmanager
    def _streamed(self, key: str, body: Body | None) -> Iterator[Iterator[bytes]]:
        if body is None:
            yield iter(())
            return
        try:
            yield self._stream(key, body)
        finally:
            body.close()

    def write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require_writable(key, options)
        return self._write(key, chunks, size, Terms(options=options))

    def write_if_absent(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, options: WriteOptions = PLAIN
    ) -> ObjectInfo:
        self._require_writable(key, options)
        self._require_conditions(key)
        return self._write(key, chunks, size, Terms(if_absent=True, options=options))

    def multipart(self, key: str, *, options: WriteOptions = PLAIN) -> PartsUpload:
        self._require_writable(key, options)
        if not self._capabilities.multipart:
            raise no_multipart(self._location)
        return self._start(key, Terms(options=options))

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        remaining = iter(keys)
        while batch := tuple(dict.fromkeys(islice(remaining, self._capabilities.delete_batch))):
            for key in batch:
                self._calls.require_key(key)
            failures |= self._delete_batch(batch)
        if failures:
            raise delete_failed(failures, self._calls.place)

    def clean(self, prefix: str) -> int:
        return sum([self._abort(key, upload_id) for key, upload_id in [*self._unfinished(prefix)]])

    def unfinished(self, prefix: str) -> Iterator[str]:
        """See `mbk.ports.storage.Unfinished`."""
        for key, _ in self._unfinished(prefix):
            yield key

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        """See `mbk.ports.storage.Versioned`."""
        wire, onwards = self._versioned(), Onwards()
        marker: Marker | None = BEGINNING
        while marker is not None:
            with self._calls.on_bucket("list the versions of"):
                page = wire.versions(prefix, marker)
                onwards.require(page.next, page.versions[:1])
            yield from page.versions
            marker = page.next

    @contextmanager
    def read_version(self, version: ObjectVersion, *, offset: int = 0) -> Iterator[Iterator[bytes]]:
        """See `mbk.ports.storage.Recalling`."""
        wire = self._wire
        if not isinstance(wire, RecallsVersions):
            raise no_versions(self._location)
        with self._calls.on_key("read a version of", version.key):
            body = wire.get_version(version, offset=offset)
        with self._streamed(version.key, body) as chunks:
            yield chunks

    def delete_versions(self, versions: Iterable[ObjectVersion]) -> None:
        """See `mbk.ports.storage.Versioned`."""
        wire = self._versioned()
        failures: dict[str, str] = {}
        remaining = iter(versions)
        while batch := tuple(islice(remaining, self._capabilities.delete_batch)):
            with self._calls.on_bucket("delete versions from"):
                failures |= wire.delete_versions(batch)
        if failures:
            raise delete_failed(failures, self._calls.place)

    def require_locks(self) -> None:
        """See `mbk.ports.storage.Locking`."""
        wire = self._locking()
        with self._calls.on_bucket("ask for the object lock of"):
            wire.require_locks()

    def lock(self, key: str, retention: Retention) -> None:
        """See `mbk.ports.storage.Locking`."""
        wire = self._locking()
        try:
            with self._calls.on_key("lock", key):
                wire.lock(key, retention)
        except PermissionDenied:
            # Services refuse a shorter lock, and say no more of it than of a right that is missing.
            found = self.locked(key)
            if found is None or not found.covers(retention):
                raise

    def locked(self, key: str, version: str = "") -> Retention | None:
        """See `mbk.ports.storage.Locking`."""
        wire = self._locking()
        with self._calls.on_key("ask for the lock of", key):
            return wire.locked(key, version)

    def _locking(self) -> KeepsLocks:
        if not isinstance(self._wire, KeepsLocks) or "retention" not in self._capabilities.write_options:
            raise no_locks(self._location)
        return self._wire

    def _versioned(self) -> KeepsVersions:
        if not isinstance(self._wire, KeepsVersions):
            raise no_versions(self._location)
        return self._wire

    def can_copy_from(self, other: Storage) -> bool:
        return self._capabilities.server_side_copy and self._calls.copies_from(other)

    def copy(self, source: Storage, source_key: str, key: str, *, options: WriteOptions = PLAIN) -> Receipt:
        if not self._capabilities.server_side_copy:
            raise Unsupported(
                "{storage} does not support server-side copies",
                code="copy-unsupported",
                storage=self._location,
            )
        self._require_writable(key, options)
        with self._calls.on_source(f"copy to {key!r} in {self._calls.place} from", source, source_key):
            return self._wire.copy_object(source, source_key, key, options)

    # -- reading -------------------------------------------------------------------------------------------------

    def _pages(self, prefix: str, *, level: bool = False, start_after: str = "") -> Iterator[Page]:
        token, onwards = "", Onwards()
        while True:
            with self._calls.on_bucket("list"):
                page = self._wire.page(prefix, level=level, token=token, start_after=start_after)
                # Some services name a prefix on each page that its objects reach to.
                onwards.require(page.next, page.objects[:1])
            yield page
            if not page.next:
                return
            token = page.next

    def _stream(self, key: str, body: Body) -> Iterator[bytes]:
        missing = body.length
        while missing is None or missing > 0:
            with self._calls.on_key("read", key, streaming=True):
                chunk = body.read(CHUNK if missing is None else min(CHUNK, missing))
            if not chunk and missing is None:
                return
            if not chunk:
                raise TransferInterrupted(
                    "cannot read {key!r} in {place}: {missing} of {length} bytes are missing",
                    code="body-incomplete",
                    key=key,
                    missing=missing,
                    length=body.length,
                    **self._calls.place.facts,
                )
            missing = None if missing is None else missing - len(chunk)
            yield chunk

    # -- writing -------------------------------------------------------------------------------------------------

    def _require_writable(self, key: str, options: WriteOptions) -> None:
        self._calls.require_key(key)
        require_options(options, self._capabilities, self._location)

    def _write(self, key: str, chunks: Iterable[bytes], size: int | None, terms: Terms) -> ObjectInfo:
        largest = self._capabilities.max_object_size
        if size is not None and largest is not None and size > largest:
            raise self._bad_size(key, f"{size} bytes exceed the largest object size, {largest} bytes")
        sizes = part_sizes(size, self._capabilities)
        pieces = cut(counted(chunks, size, lambda why: self._bad_size(key, why)), sizes)
        begun = [*islice(pieces, 2)]
        if len(begun) < 2:
            return self._put(key, b"".join(begun), terms)
        return self._write_large(key, _drained(begun, pieces), terms)

    def _bad_size(self, key: str, why: str) -> StorageError:
        return wrong_size(key, self._calls.place, why)

    def _put(self, key: str, data: bytes, terms: Terms) -> ObjectInfo:
        with self._calls.on_key("write", key):
            receipt = self._wire.put(key, data, terms)
        return made(key, len(data), receipt)

    def _write_large(self, key: str, pieces: Iterator[Data], terms: Terms) -> ObjectInfo:
        if terms.if_absent and isinstance(self._wire, StreamsIfAbsent):
            return self._stream_if_absent(self._wire, key, pieces, terms.options)
        if not self._capabilities.multipart:
            return self._put(key, b"".join(pieces), terms)
        with self._start(key, terms) as upload:
            self._senders.send(upload.put_part, pieces)
            return upload.complete()

    def _stream_if_absent(
        self, wire: StreamsIfAbsent, key: str, pieces: Iterator[Data], options: WriteOptions
    ) -> ObjectInfo:
        counting = _Counting(pieces)
        try:
            with self._calls.on_key("write", key):
                receipt = wire.stream_if_absent(key, counting, options)
        except MbkError:
            # What the caller's own iterable raised is not the wire's to translate.
            if counting.error is not None:
                raise counting.error from None
            raise
        return made(key, counting.size, receipt)

    def _start(self, key: str, terms: Terms) -> PartsUpload:
        return PartsUpload(self._calls, key, terms, part_copy=self._capabilities.part_copy)

    def _require_conditions(self, key: str) -> None:
        """Finds out, once, that the service does not merely ignore the condition, as some do."""
        if not self._capabilities.conditional_write:
            raise no_conditional_write(self._location)
        with self._probing:
            known = self._condition_holds
        if not known:
            self._condition_holds = self._probe_conditions(key)
        if not self._condition_holds:
            raise Unsupported(
                "{place} ignores the condition of conditional writes: {reason}",
                code="conditional-write-ignored",
                reason=self._condition_ignored,
                **self._calls.place.facts,
            )

    def _probe_conditions(self, key: str) -> bool:
        parent, slash, _ = key.rpartition("/")
        name = f".mbk-probe-{uuid4().hex}"
        probe = f"{parent}{slash}{name}"
        if self._wire.fault_of_key(probe):  # too long
            probe = f"{self._location.root}{name}"
        try:
            self._put_probe(probe)
            self._put(probe, b"", Terms(if_absent=True))
        except ObjectExists:
            return True
        finally:
            with suppress(MbkError):
                self.delete([probe])
        return False

    def _put_probe(self, key: str) -> None:
        """`Unsupported` where the service takes the object, but not with the condition."""
        try:
            self._put(key, b"", Terms(if_absent=True))
        except StorageError as refusal:
            if refusal.retryable or isinstance(refusal, Unsupported):
                raise
            self._put(key, b"", Terms())
            raise Unsupported(
                "{place} refuses conditional writes: {reason}",
                code="conditional-write-refused",
                reason=refusal.facts.get("reason", refusal.message),
                **self._calls.place.facts,
            ) from refusal

    # -- deleting ------------------------------------------------------------------------------------------------

    def _delete_batch(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Returns why, for each key that is still there."""
        left, refusal = (
            self._delete_together(keys) if self._takes_batches else (dict.fromkeys(keys, ""), None)
        )
        failures = {key: why or self._delete_alone(key) for key, why in left.items()}
        failures = {key: why for key, why in failures.items() if why}
        if isinstance(refusal, StorageError) and not failures:
            self._takes_batches = False
        return failures

    def _delete_together(self, keys: tuple[str, ...]) -> tuple[dict[str, str], MbkError | None]:
        """Why each key is left; all, without a reason, and why the batch was refused as a whole.

        Some services refuse it for the sake of one key, some know no batches, and say so in many ways.
        """
        try:
            with self._calls.on_bucket("delete from"):
                return {**self._wire.delete_batch(keys)}, None
        except (PermissionDenied, StorageError) as refusal:
            if refusal.retryable:
                raise
            return dict.fromkeys(keys, ""), refusal

    def _delete_alone(self, key: str) -> str:
        """Why the object is still there, empty when it is not. Raises what is worth another try."""
        try:
            with suppress(ObjectNotFound), self._calls.on_key("delete", key):
                self._wire.delete(key)
        except (PermissionDenied, StorageError) as exc:
            if exc.retryable:
                raise
            return exc.message
        return ""

    def _unfinished(self, prefix: str) -> Iterator[tuple[str, str]]:
        onwards = Onwards()
        marker: Marker | None = BEGINNING
        while marker is not None:
            with self._calls.on_bucket("list the unfinished uploads of"):
                page = self._wire.unfinished(prefix, marker)
                onwards.require(page.next, page.uploads[:1])
            yield from (found for found in page.uploads if found[0].startswith(prefix))
            marker = page.next

    def _abort(self, key: str, upload_id: str) -> bool:
        with self._calls.on_key("abort the multipart upload of", key):
            return self._wire.abort(Upload(key=key, id=upload_id))


class _Counting(Iterator[Data]):
    """The same pieces; ``size`` is the sum of those that were taken, ``error`` what was raised instead of one."""

    def __init__(self, pieces: Iterator[Data]) -> None:
        self._pieces = pieces
        self.size = 0
        self.error: Exception | None = None

    def __next__(self) -> Data:
        try:
            piece = next(self._pieces)
        except StopIteration:
            raise
        except Exception as exc:
            self.error = exc
            raise
        self.size += len(piece)
        return piece


def _is_marker(info: ObjectInfo) -> bool:
    """An empty object that other tools made to look like a directory."""
    return not info.size and info.key.endswith("/")


def _drained(begun: list[Data], rest: Iterator[Data]) -> Iterator[Data]:
    """All pieces; no frame keeps the first ones for as long as the upload lasts."""
    while begun:
        yield begun.pop(0)
    yield from rest
