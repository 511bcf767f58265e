"""The storage port over one bucket of an S3 service."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain, islice
from threading import Lock
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

from mbk.errors import (
    DeleteFailed,
    MbkError,
    ObjectExists,
    PermissionDenied,
    StorageError,
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.external import external_spec, external_uri
from mbk.plugin.failures import Place
from mbk.plugin.keys import fault_of_length, require_key
from mbk.plugin.streams import MAX_PARTS, counted, cut, part_sizes
from mbk.plugin.uploads import bare
from mbk.ports.storage import GIB, MIB, TIB, Capabilities, Location, ObjectInfo, Storage
from mbk_s3.client import connect
from mbk_s3.errors import code_of, translated
from mbk_s3.multipart import S3Upload
from mbk_s3.settings import S3Settings

#: What all three profiles are called in a `Location`: the same bucket reached as ``minio`` and ``s3`` is one bucket.
FAMILY = "s3"
CHUNK = MIB
DELETE_BATCH = 1000
MAX_KEY_BYTES = 1024

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class S3Storage:
    """See :class:`mbk.ports.storage.Storage`. Thread-safe; the client is made at the first request.

    ``write_if_absent`` can raise `ObjectExists` for an object that an earlier attempt of the same caller wrote, when
    that attempt's answer was lost: compare the object before believing it.
    """

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.place = Place(settings.bucket, settings.endpoint)
        self._location = Location(
            backend=FAMILY,
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            root=settings.root,
            region=settings.signing_region,
        )
        self._capabilities = Capabilities(
            server_side_copy=True,
            part_copy=settings.part_copy,
            conditional_write=settings.conditional_write,
            multipart=True,
            max_copy_size=5 * GIB,
            max_parts=MAX_PARTS,
            max_object_size=5 * TIB,
            delete_batch=DELETE_BATCH,
            max_key_bytes=MAX_KEY_BYTES,
        )
        self._lock = Lock()
        self._client: Any = None
        self._conditions_hold = settings.profile_of_service.strict_conditions

    def __repr__(self) -> str:
        return f"<S3Storage {self._location}>"

    @property
    def location(self) -> Location:
        return self._location

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    @property
    def client(self) -> Any:
        """The SDK's client."""
        if self._client is None:
            with self._lock, translated(self.place, "open"):
                if self._client is None:
                    self._client = connect(self.settings)
        return self._client

    def place_of(self, source: Storage) -> Place:
        return Place(source.location.bucket, source.location.endpoint)

    def external_uri(self, key: str, *, own: bool) -> str:
        """Without an endpoint Milvus takes its own; the scheme ``minio`` is the one that carries an endpoint."""
        settings = self.settings
        if own and not settings.milvus_endpoint:
            return external_uri("s3", settings.bucket, key)
        return external_uri("minio", settings.milvus_endpoint or settings.endpoint, settings.bucket, key)

    def external_spec(self) -> str:
        settings = self.settings
        if settings.profile and not settings.static_keys:
            raise Unsupported(
                f"the profile {settings.profile!r} is known to this machine alone, and Milvus cannot use it",
                hint="use keys or a role (useIAM), or --format binlog",
            )
        return external_spec(
            settings.profile_of_service.provider,
            tls=settings.tls,
            region=settings.region
            or (settings.signing_region if settings.profile_of_service.regional else ""),
            keys=settings.static_keys,
            token=settings.session_token.get_secret_value() if settings.static_keys else "",
            iam_endpoint=settings.iam_endpoint,
        )

    def check(self, *, create: bool = False) -> None:
        try:
            self._page(Prefix=self.location.root, MaxKeys=1)
        except MbkError as exc:
            if not create or code_of(exc.__cause__ or exc) != "NoSuchBucket":
                raise
            self._create_bucket()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        request = {"Prefix": prefix} if recursive else {"Prefix": prefix, "Delimiter": "/"}
        while True:
            page = self._page(**request)
            for item in page.get("Contents", ()):
                if item["Size"] or not item["Key"].endswith("/"):
                    yield ObjectInfo(item["Key"], item["Size"], bare(item.get("ETag")), item["LastModified"])
            for item in page.get("CommonPrefixes", ()):
                yield ObjectInfo(item["Prefix"], 0)
            if not page["IsTruncated"]:
                return
            request["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, key: str) -> ObjectInfo:
        with self._calling("stat", key):
            answer = self.client.head_object(**self._target(key))
        return ObjectInfo(key, answer["ContentLength"], bare(answer.get("ETag")), answer.get("LastModified"))

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
        try:
            yield self._stream(key, answer["Body"], answer["ContentLength"])
        finally:
            answer["Body"].close()

    def write(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        return self._write(key, chunks, size=size, only_if_absent=False)

    def write_if_absent(self, key: str, chunks: Iterable[bytes], *, size: int | None = None) -> ObjectInfo:
        self._require_conditions(key)
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
        theirs = other.location
        return (theirs.backend, theirs.endpoint) == (FAMILY, self.location.endpoint)

    def copy(self, source: Storage, source_key: str, key: str) -> None:
        if not self.can_copy_from(source):
            raise Unsupported(f"no server-side copy from {source.location} to {self.location}")
        _check_key(key, self.place)
        _check_key(source_key, self.place_of(source))
        with translated(self.place_of(source), f"copy to {key!r} in {self.place} from", source_key):
            self.client.copy_object(
                **self._target(key), CopySource={"Bucket": source.location.bucket, "Key": source_key}
            )

    def multipart(self, key: str) -> AbstractContextManager[S3Upload]:
        _check_key(key, self.place)
        return S3Upload(self, key)

    def clean(self, prefix: str) -> int:
        """See the port. MinIO lists the unfinished uploads of a whole key only, never below a prefix; it drops them itself after a day."""
        uploads = list(self._unfinished(prefix))
        for key, upload_id in uploads:
            with self._calling("abort the multipart upload of", key):
                self.client.abort_multipart_upload(**self._target(key), UploadId=upload_id)
        return len(uploads)

    def _calling(self, doing: str, key: str) -> AbstractContextManager[None]:
        _check_key(key, self.place)
        return translated(self.place, doing, key)

    def _target(self, key: str) -> dict[str, str]:
        return {"Bucket": self.place.bucket, "Key": key}

    def _page(self, **request: Any) -> dict[str, Any]:
        with translated(self.place, "list"):
            page: dict[str, Any] = self.client.list_objects_v2(Bucket=self.place.bucket, **request)
        # An answer whose body was cut off before its first byte is parsed as an empty page.
        if "IsTruncated" not in page or (page["IsTruncated"] and not page.get("NextContinuationToken")):
            raise TransferInterrupted(f"cannot list {self.place}: the answer is incomplete")
        return page

    def _create_bucket(self) -> None:
        request: dict[str, Any] = {"Bucket": self.place.bucket}
        if self.settings.profile_of_service.regional and self.location.region != "us-east-1":
            request["CreateBucketConfiguration"] = {"LocationConstraint": self.location.region}
        with translated(self.place, "create"):
            try:
                self.client.create_bucket(**request)
            except self.client.exceptions.BucketAlreadyOwnedByYou:
                return

    def _get(self, key: str, offset: int, length: int | None) -> dict[str, Any] | None:
        """The answer to a GET, None where the range begins past the end."""
        request = self._target(key)
        if offset or length is not None:
            last = "" if length is None else offset + length - 1
            request["Range"] = f"bytes={offset}-{last}"
        try:
            with self._calling("read", key):
                answer: dict[str, Any] = self.client.get_object(**request)
        except MbkError as exc:
            if code_of(exc.__cause__ or exc) in ("InvalidRange", "416"):
                return None
            raise
        if "Range" in request and "ContentRange" not in answer:
            answer["Body"].close()
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
        _check_key(key, self.place)
        parts = cut(counted(chunks, size, self._bad_size(key)), part_sizes(size))
        first = next(parts, b"")
        second = next(parts, None)
        if second is None:
            return self._put(key, first, only_if_absent=only_if_absent)
        with S3Upload(self, key, only_if_absent=only_if_absent) as upload:
            for number, part in enumerate(chain((first, second), parts), start=1):
                upload.put_part(number, part)
            return upload.complete()

    def _bad_size(self, key: str) -> Any:
        return lambda why: StorageError(f"cannot write {key!r} in {self.place}: {why}")

    def _put(self, key: str, data: bytes, *, only_if_absent: bool) -> ObjectInfo:
        condition = {"IfNoneMatch": "*"} if only_if_absent else {}
        with self._calling("write", key):
            answer = self.client.put_object(**self._target(key), Body=data, **condition)
        return ObjectInfo(key, len(data), bare(answer.get("ETag")))

    def _require_conditions(self, key: str) -> None:
        """Finds out, once, that the service does not merely ignore ``If-None-Match``, as some do."""
        if not self.capabilities.conditional_write:
            raise Unsupported(f"no conditional write in {self.place}")
        with self._lock:
            known = self._conditions_hold
        if not known:
            self._conditions_hold = self._probe_conditions(key)
        if not self._conditions_hold:
            raise Unsupported(f"no conditional write in {self.place}: the service ignores If-None-Match")

    def _probe_conditions(self, key: str) -> bool:
        parent, slash, _ = key.rpartition("/")
        probe = f"{parent}{slash}.mbk-probe-{uuid4().hex}"
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
        # XML 1.0 cannot name these.
        alone = [key for key in keys if _CONTROL.search(key)]
        together = [key for key in keys if not _CONTROL.search(key)]
        failures = {}
        if together:
            try:
                failures = self._delete_together(together)
            except (PermissionDenied, Unsupported):
                # Some services refuse a batch for the sake of one key, some know no batches.
                alone += together
        for key in alone:
            try:
                with self._calling("delete", key):
                    self.client.delete_object(**self._target(key))
            except PermissionDenied as exc:
                failures[key] = exc.message
        return failures

    def _delete_together(self, keys: Iterable[str]) -> dict[str, str]:
        with translated(self.place, "delete from"):
            answer = self.client.delete_objects(
                Bucket=self.place.bucket,
                Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
            )
        return {
            error["Key"]: f"{error.get('Message') or 'no reason was given'} ({error.get('Code')})"
            for error in answer.get("Errors", ())
            if error.get("Code") != "NoSuchKey"
        }

    def _unfinished(self, prefix: str) -> Iterator[tuple[str, str]]:
        request = {"Bucket": self.place.bucket, "Prefix": prefix, "EncodingType": "url"}
        while True:
            try:
                with translated(self.place, "list the unfinished uploads of"):
                    page = self.client.list_multipart_uploads(**request)
            except MbkError as exc:
                # rclone's way to say that there are none.
                if code_of(exc.__cause__ or exc) == "NoSuchUpload":
                    return
                raise
            encoded = page.get("EncodingType") == "url"
            for upload in page.get("Uploads", ()):
                key = unquote(upload["Key"]) if encoded else upload["Key"]
                if key.startswith(prefix):
                    yield key, upload["UploadId"]
            if not page.get("IsTruncated"):
                return
            marker = page.get("NextKeyMarker", "")
            request["KeyMarker"] = unquote(marker) if encoded else marker
            request["UploadIdMarker"] = page.get("NextUploadIdMarker", "")


def _check_key(key: str, place: Place) -> None:
    require_key(key, place, fault_of_length(key, MAX_KEY_BYTES))
