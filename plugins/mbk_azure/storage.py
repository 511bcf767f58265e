"""The storage port over one container of an Azure storage account."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain, islice
from threading import Lock
from typing import Any

from azure.core import MatchConditions  # noqa: TID253  loaded only with an opened storage
from azure.storage.blob import (  # noqa: TID253  loaded only with an opened storage
    BlobPrefix,
    BlobServiceClient,
    ContainerClient,
)

from mbk.errors import (
    BucketNotFound,
    DeleteFailed,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.keys import fault_of_length, require_key
from mbk.plugin.streams import counted, cut
from mbk.plugin.uploads import bare
from mbk.ports.storage import MIB, Capabilities, Location, ObjectInfo, Storage
from mbk_azure.blocks import MAX_BLOCKS, AzureUpload, block_sizes
from mbk_azure.client import connect
from mbk_azure.errors import Place, Source, code_of, translated
from mbk_azure.external import spec, uri
from mbk_azure.settings import AzureSettings
from mbk_azure.signing import CopySource, Signer

DELETE_BATCH = 256
MAX_KEY_BYTES = 1024
#: Objects a page of a listing, None for as many as the service gives.
PAGE: int | None = None

#: https://learn.microsoft.com/azure/storage/blobs/scalability-targets
LIMITS = Capabilities(
    server_side_copy=True,
    part_copy=True,
    conditional_write=True,
    multipart=True,
    max_copy_size=256 * MIB,
    max_write_size=5000 * MIB,
    min_part_size=1,
    max_part_size=4000 * MIB,
    max_parts=MAX_BLOCKS,
    max_object_size=MAX_BLOCKS * 4000 * MIB,
    delete_batch=DELETE_BATCH,
    max_key_bytes=MAX_KEY_BYTES,
)
#: What the service marks the directories of a hierarchical namespace with, which are listed among the objects.
DIRECTORY = "hdi_isfolder"
#: Our mark of an empty object that drops the blocks of an unfinished upload, and is deleted at once.
DISCARDING = "mbk_discarding"

#: What the service or its URLs turn into another key.
_REFUSED = re.compile(r"[\x00-\x1f\x7f\\]|(?:^|/)\.\.?(?:/|$)")


class AzureStorage:
    """See :class:`mbk.ports.storage.Storage`. Thread-safe; the client is made at the first request.

    ``write_if_absent`` can raise `ObjectExists` for an object that an earlier attempt of the same caller wrote, when
    that attempt's answer was lost: compare the object before believing it.
    """

    def __init__(self, settings: AzureSettings) -> None:
        self.settings = settings
        connection = settings.connection
        self.place = Place(settings.bucket, connection.account, connection.endpoint)
        self._location = Location(
            backend="azure",
            endpoint=connection.endpoint,
            account=connection.account,
            bucket=settings.bucket,
            root=settings.root,
        )
        self._lock = Lock()
        self._service: BlobServiceClient | None = None
        self._container: ContainerClient | None = None
        self._signer: Signer | None = None

    def __repr__(self) -> str:
        return f"<AzureStorage {self.place}>"

    @property
    def location(self) -> Location:
        return self._location

    def external_uri(self, key: str, *, own: bool) -> str:  # noqa: ARG002  the account always stands in it
        return uri(self.settings, key)

    def external_spec(self) -> str:
        return spec(self.settings)

    @property
    def capabilities(self) -> Capabilities:
        return LIMITS

    @property
    def container(self) -> ContainerClient:
        """The SDK's client."""
        if self._container is None:
            with self._lock, translated(self.place, "open"):
                if self._container is None:
                    self._service = connect(self.settings)
                    self._signer = Signer(self.settings, self._service)
                    self._container = self._service.get_container_client(self.place.bucket)
        return self._container

    def blob(self, key: str) -> Any:
        """The SDK's client of one object."""
        _check_key(key, self.place)
        return self.container.get_blob_client(key)

    def check(self, *, create: bool = False) -> None:
        try:
            next(self._pages(self.location.root, page=1), None)
        except BucketNotFound:
            if not create:
                raise
            self._create_container()

    def close(self) -> None:
        if self._service is not None:
            self._service.close()

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        for page in self._pages(prefix, recursive=recursive):
            for item in page:
                if isinstance(item, BlobPrefix):
                    yield ObjectInfo(item.name, 0)
                elif (item.size or not item.name.endswith("/")) and not _hidden(item.metadata):
                    yield ObjectInfo(item.name, item.size, bare(item.etag), item.last_modified)

    def stat(self, key: str) -> ObjectInfo:
        with self._calling("stat", key):
            found = self.blob(key).get_blob_properties()
        self._require_object(key, found)
        return ObjectInfo(key, found.size, bare(found.etag), found.last_modified)

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        if length == 0:
            self.stat(key)
            yield iter(())
            return
        try:
            with self._calling("read", key):
                download = self.blob(key).download_blob(offset=offset, length=length, max_concurrency=1)
        except MbkError as exc:
            if code_of(exc.__cause__) not in ("InvalidRange", "416"):
                raise
            # Nothing is there from the offset on, which of an empty object is already so at 0.
            self.stat(key)
            yield iter(())
            return
        self._require_object(key, download.properties)
        yield self._stream(key, download)

    def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        return self._write(key, chunks, size=size, only_if_absent=False)

    def write_if_absent(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        return self._write(key, chunks, size=size, only_if_absent=True)

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        remaining = iter(keys)
        while batch := tuple(dict.fromkeys(islice(remaining, DELETE_BATCH))):
            for key in batch:
                _check_key(key, self.place)
            failures |= self._delete_batch(batch)
        if failures:
            key, why = next(iter(failures.items()))
            raise DeleteFailed(
                f"{len(failures)} objects are still in {self.place}, first {key!r}: {why}", failures=failures
            )

    def can_copy_from(self, other: Storage) -> bool:
        """Any account of any Azure: the URL that the source signs says where it is."""
        return isinstance(other, CopySource)

    def copy(self, source: Storage, source_key: str, key: str) -> None:
        if not isinstance(source, CopySource):
            raise Unsupported(f"no server-side copy from {source.location} to {self.location}")
        url = source.signed_url(source_key)
        origin = Source(source.place, source_key)
        with translated(self.place, "copy to", key, source=origin):
            self.blob(key).start_copy_from_url(url, requires_sync=True)

    def signed_url(self, key: str) -> str:
        """A URL that reads this one object for an hour. It is a secret: it goes into one header and nowhere else."""
        with translated(self.place, "sign a copy of", key):
            blob = self.blob(key)
            assert self._signer
            return f"{blob.url}?{self._signer.sign(key)}"

    def multipart(self, key: str) -> AbstractContextManager[AzureUpload]:
        with translated(self.place, "open"):
            return AzureUpload(self, key)

    def clean(self, prefix: str) -> int:
        """See the port. Blocks that wait beside an object stay until it is written anew, or for a week."""
        removed = 0
        for page in self._pages(prefix, include=("metadata", "uncommittedblobs")):
            for item in page:
                if DISCARDING in (item.metadata or {}):
                    self._delete_mark(item.name, bare(item.etag))
                    removed += 1
                elif not item.size:
                    removed += self.discard(item.name)
        return removed

    def discard(self, key: str, *, upload: str = "") -> bool:
        """Drops the blocks that wait at a key without an object; with ``upload`` only where all are that upload's.

        Only a write drops blocks, so an empty list of them is committed and the empty object deleted at once, under a
        mark that hides it from every reader here. Both are conditional: an object is never touched.
        """
        if not self._only_blocks_wait(key, upload):
            return False
        try:
            with self._calling("drop the unfinished upload of", key):
                mark = self.blob(key).commit_block_list(
                    [], metadata={DISCARDING: "true"}, match_condition=MatchConditions.IfMissing
                )
        except ObjectExists:
            return False
        self._delete_mark(key, bare(mark["etag"]))
        return True

    def _only_blocks_wait(self, key: str, upload: str) -> bool:
        try:
            with self._calling("list the blocks of", key):
                committed, waiting = self.blob(key).get_block_list("all")
        except ObjectNotFound:
            return False
        except MbkError as exc:
            # An object of another kind, such as an append blob, which has no blocks.
            if code_of(exc.__cause__) == "InvalidBlobType":
                return False
            raise
        return bool(waiting) and not committed and all(block.id.startswith(upload) for block in waiting)

    def _delete_mark(self, key: str, etag: str | None) -> None:
        unchanged = {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}
        with suppress(ObjectExists, ObjectNotFound), self._calling("drop the unfinished upload of", key):
            self.blob(key).delete_blob(**unchanged)

    def _calling(self, doing: str, key: str) -> AbstractContextManager[None]:
        _check_key(key, self.place)
        return translated(self.place, doing, key)

    def _pages(
        self,
        prefix: str,
        *,
        recursive: bool = True,
        include: tuple[str, ...] = ("metadata",),
        page: int | None = None,
    ) -> Iterator[Any]:
        """The pages of a listing. The service may give empty ones in the middle; the last one has no marker."""
        asked: dict[str, Any] = {
            "name_starts_with": prefix or None,
            "include": [*include],
            "results_per_page": page or PAGE,
        }
        with translated(self.place, "list"):
            listing: Any = (
                self.container.list_blobs(**asked) if recursive else self.container.walk_blobs(**asked)
            )
            pages = listing.by_page()
        while True:
            with translated(self.place, "list"):
                found = next(pages, None)
                items = None if found is None else [*found]
            if items is None:
                return
            yield items

    def _create_container(self) -> None:
        with suppress(ObjectExists), translated(self.place, "create"):
            self.container.create_container()

    def _require_object(self, key: str, found: Any) -> None:
        if _hidden(found.metadata):
            raise ObjectNotFound(f"no object {key!r} in {self.place}")

    def _stream(self, key: str, download: Any) -> Iterator[bytes]:
        missing = expected = download.size
        chunks = download.chunks()
        while missing > 0:
            try:
                with translated(self.place, "read", key):
                    chunk: bytes = next(chunks, b"")
            except ObjectExists as exc:
                raise TransferInterrupted(f"cannot read {key!r} in {self.place}: it was replaced") from exc
            if not chunk:
                raise TransferInterrupted(
                    f"cannot read {key!r} in {self.place}: {missing} of {expected} bytes are missing"
                )
            missing -= len(chunk)
            yield chunk

    def _write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None, only_if_absent: bool
    ) -> ObjectInfo:
        _check_key(key, self.place)
        blocks = cut(counted(chunks, size, self._bad_size(key)), block_sizes(size))
        first = next(blocks, b"")
        second = next(blocks, None)
        if second is None:
            return self._put(key, first, only_if_absent=only_if_absent)
        with AzureUpload(self, key, only_if_absent=only_if_absent) as upload:
            for number, block in enumerate(chain((first, second), blocks), start=1):
                upload.put_part(number, block)
            return upload.complete()

    def _bad_size(self, key: str) -> Any:
        return lambda why: StorageError(f"cannot write {key!r} in {self.place}: {why}")

    def _put(self, key: str, data: bytes, *, only_if_absent: bool) -> ObjectInfo:
        with self._calling("write", key):
            answer = self.blob(key).upload_blob(data, length=len(data), overwrite=not only_if_absent)
        return ObjectInfo(key, len(data), bare(answer.get("etag")))

    def _delete_batch(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Returns why, for each key that is still there."""
        left = keys
        # Some services and some signatures know no batches.
        with suppress(PermissionDenied, Unsupported):
            left = self._delete_together(keys)
        return self._delete_singly(left)

    def _delete_together(self, keys: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the keys that are left."""
        with translated(self.place, "delete from"):
            answers = [*self.container.delete_blobs(*keys, raise_on_any_failure=False)]
        if len(answers) != len(keys):
            # A batch that the service cannot read is answered by one part.
            return keys
        statuses = zip(keys, (answer.status_code for answer in answers), strict=True)
        return tuple(key for key, status in statuses if status != 404 and not 200 <= status < 300)

    def _delete_singly(self, keys: tuple[str, ...]) -> dict[str, str]:
        failures = {}
        for key in keys:
            try:
                with suppress(ObjectNotFound), self._calling("delete", key):
                    self.blob(key).delete_blob()
            except (PermissionDenied, StorageError) as exc:
                if exc.retryable:
                    raise
                failures[key] = exc.message
        return failures


def _hidden(metadata: dict[str, str] | None) -> bool:
    """Whether what is listed is no object: a directory, or what drops an unfinished upload."""
    marks = metadata or {}
    return marks.get(DIRECTORY) == "true" or DISCARDING in marks


def _check_key(key: str, place: Place) -> None:
    why = fault_of_length(key, MAX_KEY_BYTES)
    if _REFUSED.search(key):
        why = why or "it has control letters, a backslash, or an element '.' or '..'"
    require_key(key, place, why)
