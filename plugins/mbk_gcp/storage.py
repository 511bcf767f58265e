"""The storage port over one bucket of Google Cloud Storage."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

import google_crc32c
import requests
from google.api_core.exceptions import Conflict, GoogleAPICallError  # noqa: TID253  loaded only with an opened storage
from google.cloud.storage.batch import Batch  # noqa: TID253  loaded only with an opened storage

from mbk.errors import (
    AuthenticationFailed,
    BucketNotFound,
    DeleteFailed,
    MbkError,
    ObjectNotFound,
    StorageError,
    TransferInterrupted,
    Unsupported,
    UsageError,
)
from mbk.plugin.external import external_spec, external_uri
from mbk.plugin.failures import Place
from mbk.plugin.keys import fault_of_length, require_key
from mbk.plugin.streams import counted, cut
from mbk.ports.storage import MIB, TIB, Capabilities, Location, ObjectInfo, Storage
from mbk_gcp.client import ONCE, Connection, connect
from mbk_gcp.errors import require_success, status_of, translate, translated
from mbk_gcp.multipart import GcpUpload, abort, unfinished
from mbk_gcp.settings import NAME, GcpSettings
from mbk_gcp.upload import CONTENT_TYPE, PIECE, ResumableUpload

CHUNK = MIB
#: https://cloud.google.com/storage/docs/batch: no more than 100 calls in a batch.
DELETE_BATCH = 100
MAX_KEY_BYTES = 1024

_FIELDS = "items(name,size,etag,updated),prefixes,nextPageToken"
_ABSENT = {"if_generation_match": 0}


class GcpStorage:
    """See :class:`mbk.ports.storage.Storage`. Thread-safe; the client is made at the first request.

    ``write_if_absent`` can raise `ObjectExists` for an object that an earlier attempt of the same caller wrote, when
    that attempt's answer was lost: compare the object before believing it.
    """

    def __init__(self, settings: GcpSettings) -> None:
        self.settings = settings
        self.place = Place(settings.bucket, settings.endpoint)
        self._location = Location(
            backend=NAME,
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            root=settings.root,
            region=settings.region,
        )
        # https://cloud.google.com/storage/quotas. A rewrite takes any size, round by round.
        self._capabilities = Capabilities(
            server_side_copy=True,
            conditional_write=True,
            multipart=True,
            checksums=frozenset({"crc32c"}),
            max_object_size=5 * TIB,
            delete_batch=DELETE_BATCH,
            max_key_bytes=MAX_KEY_BYTES,
        )
        self._lock = Lock()
        self._connection: Connection | None = None

    def __repr__(self) -> str:
        return f"<GcpStorage {self._location}>"

    @property
    def location(self) -> Location:
        return self._location

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def external_uri(self, key: str, *, own: bool) -> str:  # noqa: ARG002  Milvus has one name for such a bucket
        return external_uri("gcs", self.settings.bucket, key)

    def external_spec(self) -> str:
        settings = self.settings
        file = "" if settings.use_iam else settings.credentials_file
        try:
            credentials = Path(file).read_text(encoding="utf-8") if file else ""
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"{file} cannot be read: {type(exc).__name__}") from exc
        return external_spec(
            "gcpnative",
            tls=settings.tls,
            region=settings.region,
            token="" if settings.use_iam or file else settings.session_token.get_secret_value(),
            credentials_json=credentials,
        )

    @property
    def connection(self) -> Connection:
        with self._lock, translated(self.place, "open"):
            if self._connection is None:
                self._connection = connect(self.settings)
            return self._connection

    def blob(self, key: str) -> Any:
        """The SDK's object of a key; no request."""
        return self._bucket().blob(key)

    def check(self, *, create: bool = False) -> None:
        try:
            next(self._pages(prefix=self.location.root or None, max_results=1), None)
        except BucketNotFound:
            if not create:
                raise
            self._create_bucket()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        for page in self._pages(prefix=prefix or None, delimiter=None if recursive else "/", fields=_FIELDS):
            for blob in page:
                if blob.size or not blob.name.endswith("/"):
                    yield _info(blob)
            for name in page.prefixes:
                yield ObjectInfo(name, 0)

    def stat(self, key: str) -> ObjectInfo:
        with self._calling("stat", key):
            blob = self.blob(key)
            blob.reload(**ONCE)
            return _info(blob)

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        if length == 0:
            self.stat(key)
            yield iter(())
            return
        answer = self._get(key, offset, length)
        try:
            # 416: the range begins past the end.
            yield iter(()) if answer.status_code == 416 else self._stream(key, answer)
        finally:
            answer.close()

    def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        return self._write(key, chunks, size, {})

    def write_if_absent(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        return self._write(key, chunks, size, _ABSENT)

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        remaining = iter(keys)
        while batch := tuple(dict.fromkeys(islice(remaining, DELETE_BATCH))):
            for key in batch:
                check_key(key, self.place)
            failures |= self._delete_batch(batch)
        if failures:
            key, why = next(iter(failures.items()))
            raise DeleteFailed(
                f"{len(failures)} objects are still in {self.place}, first {key!r}: {why}", failures=failures
            )

    def can_copy_from(self, other: Storage) -> bool:
        theirs = other.location
        return (theirs.backend, theirs.endpoint) == (NAME, self.location.endpoint)

    def copy(self, source: Storage, source_key: str, key: str) -> None:
        """See the port. Large objects, and those of another location or class, take several rounds of a rewrite."""
        if not self.can_copy_from(source):
            raise Unsupported(f"no server-side copy from {source.location} to {self.location}")
        place = Place(source.location.bucket, source.location.endpoint)
        check_key(key, self.place)
        check_key(source_key, place)
        with translated(place, f"copy to {key!r} in {self.place} from", source_key):
            origin = self.connection.client.bucket(place.bucket).blob(source_key)
            target = self.blob(key)
            token = None
            while True:
                token, _, _ = target.rewrite(origin, token=token, **ONCE)
                if token is None:
                    return

    def multipart(self, key: str) -> AbstractContextManager[GcpUpload]:
        check_key(key, self.place)
        return GcpUpload(self, key)

    def clean(self, prefix: str) -> int:
        """See the port. Resumable uploads that nobody ends cannot be listed; the service drops them after a week."""
        uploads = list(unfinished(self, prefix))
        for key, upload_id in uploads:
            abort(self, key, upload_id)
        return len(uploads)

    def _bucket(self) -> Any:
        return self.connection.client.bucket(self.place.bucket)

    def _calling(self, doing: str, key: str) -> AbstractContextManager[None]:
        check_key(key, self.place)
        return translated(self.place, doing, key)

    def _pages(self, **request: Any) -> Iterator[Any]:
        with translated(self.place, "list"):
            pages = self.connection.client.list_blobs(self._bucket(), **request, **ONCE).pages
        while True:
            with translated(self.place, "list"):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def _create_bucket(self) -> None:
        client = self.connection.client
        if not client.project:
            raise UsageError(
                f"{self.place} does not exist and cannot be made: the credentials name no project",
                hint="set GOOGLE_CLOUD_PROJECT, or create the bucket",
            )
        with translated(self.place, "create"):
            try:
                client.create_bucket(self.place.bucket, location=self.settings.region or None, **ONCE)
            except Conflict:
                # Made in the meantime, or somebody else's: then it may not be listed.
                next(client.list_blobs(self._bucket(), max_results=1, **ONCE).pages, None)

    def _get(self, key: str, offset: int, length: int | None) -> requests.Response:
        # Without it the service would unpack objects that were stored as gzip.
        headers = {"Accept-Encoding": "gzip"}
        ranged = bool(offset) or length is not None
        if ranged:
            headers["Range"] = f"bytes={offset}-{'' if length is None else offset + length - 1}"
        with self._calling("read", key):
            path = f"/download/storage/v1/b/{self.place.bucket}/o/{quote(key, safe='')}?alt=media"
            connection = self.connection
            answer = connection.send("GET", connection.url + path, headers=headers, stream=True)
            try:
                require_success(answer, *((206, 416) if ranged else (200,)))
            except BaseException:
                answer.close()
                raise
        return answer

    def _stream(self, key: str, answer: requests.Response) -> Iterator[bytes]:
        """The body, held against the length that was announced and, where it is the whole object, its CRC32C."""
        expected = int(answer.headers.get("Content-Length", -1))
        if expected < 0:
            raise StorageError(f"cannot read {key!r} in {self.place}: the answer does not tell its length")
        checksum = google_crc32c.Checksum()
        missing = expected
        while missing:
            with translated(self.place, "read", key, streaming=True):
                chunk: bytes = answer.raw.read(min(CHUNK, missing), decode_content=False)
            if not chunk:
                raise TransferInterrupted(
                    f"cannot read {key!r} in {self.place}: {missing} of {expected} bytes are missing"
                )
            missing -= len(chunk)
            checksum.update(chunk)
            # The last chunk is given away only when the whole is known to be right.
            if not missing and answer.status_code == 200 and not _matches(answer, checksum.digest()):
                raise TransferInterrupted(f"cannot read {key!r} in {self.place}: its CRC32C is another")
            yield chunk

    def _write(
        self, key: str, chunks: Iterable[bytes], size: int | None, conditions: dict[str, int]
    ) -> ObjectInfo:
        check_key(key, self.place)
        pieces = cut(counted(chunks, size, self._bad_size(key)), repeat(PIECE))
        first = next(pieces, b"")
        second = next(pieces, None)
        if second is None:
            return self._put(key, first, conditions)
        return ResumableUpload(self, key, size, conditions).write(chain((first, second), pieces))

    def _bad_size(self, key: str) -> Any:
        return lambda why: StorageError(f"cannot write {key!r} in {self.place}: {why}")

    def _put(self, key: str, data: bytes, conditions: dict[str, int]) -> ObjectInfo:
        with self._calling("write", key):
            blob = self.blob(key)
            blob.upload_from_string(data, content_type=CONTENT_TYPE, checksum="crc32c", **conditions, **ONCE)
            return _info(blob)

    def _delete_batch(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Returns why, for each key that is still there; raises what is worth another try of them all."""
        batch = _Deletes(self.connection.client)
        with translated(self.place, "delete from"):
            with batch:
                for key in keys:
                    self._bucket().delete_blob(key, **ONCE)
            if len(batch.answers) != len(keys):
                raise TransferInterrupted(f"cannot delete from {self.place}: the answer is incomplete")
        failures: dict[str, MbkError] = {}
        for key, answer in zip(keys, batch.answers, strict=True):
            if error := self._failure(key, answer):
                failures[key] = error
        for error in failures.values():
            if error.retryable or isinstance(error, BucketNotFound | AuthenticationFailed):
                raise error
        return {key: error.message for key, error in failures.items()}

    def _failure(self, key: str, answer: requests.Response) -> MbkError | None:
        try:
            require_success(answer, 200, 204)
        except GoogleAPICallError as exc:
            error = translate(exc, self.place, "delete", key)
            return None if isinstance(error, ObjectNotFound) and status_of(exc) == 404 else error
        return None


class _Deletes(Batch):  # type: ignore[misc]  # the SDK is not typed
    """A batch whose answers can be asked for, one for each call, in the calls' order."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, raise_exception=False)
        self.answers: list[Any] = []

    def finish(self, raise_exception: bool = True) -> Any:
        self.answers = super().finish(raise_exception=raise_exception)
        return self.answers


def _info(blob: Any) -> ObjectInfo:
    return ObjectInfo(blob.name, int(blob.size), blob.etag, blob.updated)


def _matches(answer: requests.Response, digest: bytes) -> bool:
    """Whether the CRC32C is the one that the service tells; one that tells none is believed."""
    hashes = dict(
        item.strip().split("=", 1) for item in answer.headers.get("x-goog-hash", "").split(",") if item
    )
    return hashes.get("crc32c") in (None, base64.b64encode(digest).decode())


def check_key(key: str, place: Place) -> None:
    """Raises `InvalidKey` for what cannot be an object's name: https://cloud.google.com/storage/docs/objects#naming"""
    why = fault_of_length(key, MAX_KEY_BYTES)
    if key in (".", "..") or "\r" in key or "\n" in key or key.startswith(".well-known/acme-challenge/"):
        why = why or "Google refuses it"
    require_key(key, place, why)
