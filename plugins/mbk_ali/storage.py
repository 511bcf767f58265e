"""The storage port over one bucket of Alibaba Cloud OSS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, islice
from threading import Lock
from typing import Any
from uuid import uuid4

from mbk.errors import (
    DeleteFailed,
    MbkError,
    ObjectExists,
    PermissionDenied,
    StorageError,
    StorageUnavailable,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.external import external_spec, external_uri
from mbk.plugin.failures import Place
from mbk.plugin.keys import fault_of_path, require_key
from mbk.plugin.streams import MAX_PARTS, counted, cut, part_sizes
from mbk.ports.storage import GIB, Capabilities, Location, ObjectInfo, Storage
from mbk_ali.client import connect
from mbk_ali.errors import code_of, translated
from mbk_ali.multipart import FORBID_OVERWRITE, AliUpload
from mbk_ali.settings import AliSettings, region_of

BACKEND = "ali"
CHUNK = 1024 * 1024
DELETE_BATCH = 1000
MAX_KEY_BYTES = 1023
KIB = 1024
#: By default OSS answers a range that reaches past the end with the whole object.
STANDARD_RANGES = {"x-oss-range-behavior": "standard"}

# What a URL or OSS's XML cannot carry unchanged.


class AliStorage:
    """See :class:`mbk.ports.storage.Storage`. Thread-safe; the client is made at the first request.

    ``write_if_absent`` can raise `ObjectExists` for an object that an earlier attempt of the same caller wrote, when
    that attempt's answer was lost: compare the object before believing it.
    """

    def __init__(self, settings: AliSettings) -> None:
        self.settings = settings
        self.place = Place(settings.bucket, settings.endpoint)
        self._location = Location(
            backend=BACKEND,
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            root=settings.root,
            region=settings.signing_region,
        )
        self._capabilities = Capabilities(
            server_side_copy=True,
            part_copy=True,
            conditional_write=True,
            multipart=True,
            # Larger ones only within a bucket.
            max_copy_size=GIB,
            min_part_size=100 * KIB,
            max_part_size=5 * GIB,
            max_parts=MAX_PARTS,
            max_object_size=MAX_PARTS * 5 * GIB,
            delete_batch=DELETE_BATCH,
            max_key_bytes=MAX_KEY_BYTES,
        )
        self._lock = Lock()
        self._client: Any = None
        self._conditions_hold = False

    def __repr__(self) -> str:
        return f"<AliStorage {self._location}>"

    @property
    def location(self) -> Location:
        return self._location

    def external_uri(self, key: str, *, own: bool) -> str:
        """Milvus speaks S3 with this vendor, too. Without an endpoint it takes its own; ``minio`` carries one."""
        settings = self.settings
        if own and not settings.milvus_endpoint:
            return external_uri("s3", settings.bucket, key)
        return external_uri("minio", settings.milvus_endpoint or settings.endpoint, settings.bucket, key)

    def external_spec(self) -> str:
        settings = self.settings
        key, secret, token = settings.static_keys or ("", "", "")
        return external_spec(
            "aliyun",
            tls=settings.tls,
            region=self.location.region,
            keys=(key, secret) if key else None,
            token=token,
            iam_endpoint=settings.iam_endpoint,
        )

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def client(self) -> Any:
        """The SDK's bucket."""
        if self._client is None:
            with self._lock, translated(self.place, "open"):
                if self._client is None:
                    self._client = connect(self.settings)
        return self._client

    def place_of(self, source: Storage) -> Place:
        return Place(source.location.bucket, source.location.endpoint)

    def check(self, *, create: bool = False) -> None:
        try:
            self._page(prefix=self.location.root, max_keys=1)
        except MbkError as exc:
            if not create or code_of(exc.__cause__ or exc) != "NoSuchBucket":
                raise
            with translated(self.place, "create"):
                self.client.create_bucket()

    def close(self) -> None:
        if self._client is not None:
            self._client.session.session.close()

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        request = {"prefix": prefix, "delimiter": "" if recursive else "/", "max_keys": 1000}
        while True:
            page = self._page(**request)
            for item in page.object_list:
                if item.size or not item.key.endswith("/"):
                    yield ObjectInfo(item.key, item.size, item.etag, _time(item.last_modified))
            for name in page.prefix_list:
                yield ObjectInfo(name, 0)
            if not page.is_truncated:
                return
            request["continuation_token"] = page.next_continuation_token

    def stat(self, key: str) -> ObjectInfo:
        with self._calling("stat", key):
            answer = self.client.head_object(key)
        return ObjectInfo(key, answer.content_length, answer.etag, _time(answer.last_modified))

    @contextmanager
    def read(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[Iterator[bytes]]:
        if length == 0:
            self.stat(key)
            yield iter(())
            return
        answer = self._get(key, offset, length)
        if answer is None:
            yield iter(())
            return
        # requests' own stream would undo the encoding that an object's metadata name.
        body = answer.resp.response.raw
        try:
            yield self._stream(key, body, answer.content_length)
        finally:
            answer.resp.response.close()

    def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        return self._write(key, chunks, size=size, only_if_absent=False)

    def write_if_absent(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        self.check_key(key)
        self._require_conditions(key)
        return self._write(key, chunks, size=size, only_if_absent=True)

    def delete(self, keys: Iterable[str]) -> None:
        failures: dict[str, str] = {}
        remaining = iter(keys)
        while batch := tuple(dict.fromkeys(islice(remaining, DELETE_BATCH))):
            for key in batch:
                self.check_key(key)
            failures |= self._delete_batch(batch)
        if failures:
            key, why = next(iter(failures.items()))
            raise DeleteFailed(
                f"{len(failures)} objects are still in {self.place}, first {key!r}: {why}", failures=failures
            )

    def can_copy_from(self, other: Storage) -> bool:
        """OSS copies between the buckets of one region."""
        if other.location.backend != BACKEND:
            return False
        theirs = other.location.endpoint
        region = self.settings.home_region
        return theirs == self.location.endpoint or (region != "" and region == region_of(_host(theirs)))

    def copy(self, source: Storage, source_key: str, key: str) -> None:
        if not self.can_copy_from(source):
            raise Unsupported(f"no server-side copy from {source.location} to {self.location}")
        self.check_key(key)
        self.check_key(source_key, self.place_of(source))
        with translated(self.place_of(source), f"copy to {key!r} in {self.place} from", source_key):
            answer = self.client.copy_object(source.location.bucket, source_key, key)
            self.require_result(answer, "CopyObjectResult")

    def multipart(self, key: str) -> AbstractContextManager[AliUpload]:
        self.check_key(key)
        return AliUpload(self, key)

    def clean(self, prefix: str) -> int:
        uploads = list(self._unfinished(prefix))
        for key, upload_id in uploads:
            with self._calling("abort the multipart upload of", key):
                self.client.abort_multipart_upload(key, upload_id)
        return len(uploads)

    def check_key(self, key: str, place: Place | None = None) -> None:
        """`InvalidKey` for what OSS does not take (help.aliyun.com, "Object naming conventions") or a URL would change."""
        require_key(key, place or self.place, fault_of_path(key, MAX_KEY_BYTES))

    def require_result(self, answer: Any, element: str) -> None:
        """The SDK looks at the status alone, which comes before the work is done.

        A service that is not OSS does not even know the header that names a source, and stores an empty object.
        """
        body: bytes = answer.resp.read()
        if element.encode() in body:
            return
        if b"<Error>" in body:
            raise StorageUnavailable(f"{self.place} began to answer and then failed: {_told(body)}")
        raise Unsupported(f"{self.place} answered without {element}: is it OSS?")

    def _calling(self, doing: str, key: str) -> AbstractContextManager[None]:
        self.check_key(key)
        return translated(self.place, doing, key)

    def _page(self, **request: Any) -> Any:
        with translated(self.place, "list"):
            page = self.client.list_objects_v2(**request)
        if page.is_truncated and not page.next_continuation_token:
            raise TransferInterrupted(f"cannot list {self.place}: the answer is incomplete")
        return page

    def _get(self, key: str, offset: int, length: int | None) -> Any:
        """The answer to a GET, None where the range begins past the end."""
        last = None if length is None else offset + length - 1
        ranged = bool(offset) or last is not None
        try:
            with self._calling("read", key):
                answer = self.client.get_object(
                    key,
                    byte_range=(offset, last) if ranged else None,
                    headers=STANDARD_RANGES if ranged else None,
                )
        except MbkError as exc:
            if code_of(exc.__cause__ or exc) in ("InvalidRange", "416"):
                return None
            raise
        if answer.content_length is None or (ranged and answer.status != 206):
            answer.resp.response.close()
            raise StorageError(f"cannot read {key!r} in {self.place}: the service ignored the range")
        return answer

    def _stream(self, key: str, body: Any, expected: int) -> Iterator[bytes]:
        missing = expected
        while missing:
            with translated(self.place, "read", key, streaming=True):
                chunk: bytes = body.read(min(CHUNK, missing))
            if not chunk:
                raise TransferInterrupted(
                    f"cannot read {key!r} in {self.place}: {missing} of {expected} bytes are missing"
                )
            missing -= len(chunk)
            yield chunk

    def _write(
        self, key: str, chunks: Iterable[bytes], *, size: int | None, only_if_absent: bool
    ) -> ObjectInfo:
        self.check_key(key)
        parts = cut(counted(chunks, size, self._bad_size(key)), part_sizes(size))
        first = next(parts, b"")
        second = next(parts, None)
        if second is None:
            return self._put(key, first, only_if_absent=only_if_absent)
        with AliUpload(self, key, only_if_absent=only_if_absent) as upload:
            for number, part in enumerate(chain((first, second), parts), start=1):
                upload.put_part(number, part)
            return upload.complete()

    def _bad_size(self, key: str) -> Any:
        return lambda why: StorageError(f"cannot write {key!r} in {self.place}: {why}")

    def _put(self, key: str, data: bytes, *, only_if_absent: bool) -> ObjectInfo:
        with self._calling("write", key):
            answer = self.client.put_object(key, data, headers=FORBID_OVERWRITE if only_if_absent else None)
        return ObjectInfo(key, len(data), answer.etag)

    def _require_conditions(self, key: str) -> None:
        """Finds out, once, that the bucket keeps no versions: there OSS ignores the condition."""
        with self._lock:
            known = self._conditions_hold
        if not known:
            self._conditions_hold = self._probe_conditions(key)
        if not self._conditions_hold:
            raise Unsupported(f"no conditional write in {self.place}: it keeps versions of objects")

    def _probe_conditions(self, key: str) -> bool:
        parent, slash, _ = key.rpartition("/")
        name = f".mbk-probe-{uuid4().hex}"
        probe = f"{parent}{slash}{name}"
        if fault_of_path(probe, MAX_KEY_BYTES):  # too long
            probe = f"{self.location.root}{name}"
        try:
            self._put(probe, b"", only_if_absent=True)
            self._put(probe, b"", only_if_absent=True)
        except ObjectExists:
            return True
        finally:
            with suppress(MbkError):
                self.delete([probe])
        return False

    def _delete_batch(self, keys: tuple[str, ...]) -> dict[str, str]:
        """Returns why, for each key that is still there."""
        try:
            with translated(self.place, "delete from"):
                deleted = set(self.client.batch_delete_objects(list(keys)).deleted_keys)
        except PermissionDenied:
            # A batch may be refused for the sake of one key.
            deleted = set()
        failures = {}
        for key in keys:
            if key in deleted:
                continue
            # OSS names those that it deleted, and gives no reasons for the others.
            try:
                with self._calling("delete", key):
                    self.client.delete_object(key)
            except PermissionDenied as exc:
                failures[key] = exc.message
        return failures

    def _unfinished(self, prefix: str) -> Iterator[tuple[str, str]]:
        markers = {"key_marker": "", "upload_id_marker": ""}
        while True:
            with translated(self.place, "list the unfinished uploads of"):
                page = self.client.list_multipart_uploads(prefix=prefix, **markers)
            for upload in page.upload_list:
                if upload.key.startswith(prefix):
                    yield upload.key, upload.upload_id
            if not page.is_truncated:
                return
            markers = {"key_marker": page.next_key_marker, "upload_id_marker": page.next_upload_id_marker}


def _told(body: bytes) -> str:
    found = re.search(rb"<Message>([^<]*)", body)
    return found[1].decode(errors="replace") if found else "no reason was given"


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0]


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
