"""The storage port over one bucket of Tencent Cloud COS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
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
    TransferInterrupted,
    Unsupported,
)
from mbk.plugin.external import external_spec, external_uri
from mbk.plugin.failures import Place
from mbk.plugin.keys import fault_of_path, require_key
from mbk.plugin.streams import MAX_PARTS, counted, cut, part_sizes
from mbk.plugin.uploads import bare
from mbk.ports.storage import GIB, MIB, Capabilities, Location, ObjectInfo, Storage
from mbk_tc.client import Clients
from mbk_tc.errors import code_of, translated
from mbk_tc.multipart import FORBID_OVERWRITE, TcUpload, headers
from mbk_tc.settings import TcSettings, region_of

BACKEND = "tc"
CHUNK = MIB
DELETE_BATCH = 1000
MAX_KEY_BYTES = 850

# What a URL or OSS's XML cannot carry unchanged.


class TcStorage:
    """See :class:`mbk.ports.storage.Storage`. Thread-safe; the client is made at the first request.

    ``write_if_absent`` can raise `ObjectExists` for an object that an earlier attempt of the same caller wrote, when
    that attempt's answer was lost: compare the object before believing it.
    """

    def __init__(self, settings: TcSettings) -> None:
        self.settings = settings
        self.place = Place(settings.bucket, settings.endpoint)
        self._location = Location(
            backend=BACKEND,
            endpoint=settings.endpoint,
            bucket=settings.bucket,
            root=settings.root,
            region=settings.region or settings.home_region,
        )
        self._capabilities = Capabilities(
            server_side_copy=True,
            part_copy=True,
            conditional_write=True,
            multipart=True,
            max_copy_size=5 * GIB,
            min_part_size=MIB,
            max_part_size=5 * GIB,
            max_parts=MAX_PARTS,
            max_object_size=MAX_PARTS * 5 * GIB,
            delete_batch=DELETE_BATCH,
            max_key_bytes=MAX_KEY_BYTES,
        )
        self._lock = Lock()
        self._clients: Clients | None = None
        self._conditions_hold = False

    def __repr__(self) -> str:
        return f"<TcStorage {self._location}>"

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
            "tencent",
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
        """The SDK's client, with credentials that are valid now."""
        with translated(self.place, "open"):
            if self._clients is None:
                with self._lock:
                    if self._clients is None:
                        self._clients = Clients(self.settings)
            return self._clients.current()

    def place_of(self, source: Storage) -> Place:
        return Place(source.location.bucket, source.location.endpoint)

    def check(self, *, create: bool = False) -> None:
        try:
            self._page(Prefix=self.location.root, MaxKeys=1)
        except MbkError as exc:
            if not create or code_of(exc.__cause__ or exc) != "NoSuchBucket":
                raise
            self._create_bucket()

    def close(self) -> None:
        if self._clients is not None:
            self._clients.close()

    def list(self, prefix: str = "", *, recursive: bool = True) -> Iterator[ObjectInfo]:
        request = {"Prefix": prefix, "Delimiter": "" if recursive else "/", "MaxKeys": 1000}
        while True:
            page = self._page(**request)
            for item in page.get("Contents") or ():
                key, size = item["Key"], int(item["Size"])
                if size or not key.endswith("/"):
                    modified = datetime.fromisoformat(item["LastModified"])
                    yield ObjectInfo(key, size, bare(item.get("ETag")), modified)
            for item in page.get("CommonPrefixes") or ():
                yield ObjectInfo(item["Prefix"], 0)
            if page["IsTruncated"] != "true":
                return
            request["Marker"] = page["NextMarker"]

    def stat(self, key: str) -> ObjectInfo:
        with self._calling("stat", key):
            answer = headers(self.client.head_object(**self._target(key)))
            size = int(answer["Content-Length"])
        return ObjectInfo(key, size, bare(answer.get("ETag")), _time(answer.get("Last-Modified")))

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
        body = answer["Body"].get_raw_stream()
        try:
            yield self._stream(key, body, int(answer["Content-Length"]))
        finally:
            body.close()

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
        """Between the buckets of one region, as far as names tell; whose they are does not matter."""
        if other.location.backend != BACKEND:
            return False
        theirs = other.location.endpoint
        region = self.settings.home_region
        return theirs == self.location.endpoint or (region != "" and region == region_of(_host(theirs)))

    def copy(self, source: Storage, source_key: str, key: str) -> None:
        self.check_key(key)
        origin = self.copy_source(source, source_key)
        with translated(self.place_of(source), f"copy to {key!r} in {self.place} from", source_key):
            self.client.copy_object(**self._target(key), CopySource=origin)

    def copy_source(self, source: Storage, key: str) -> dict[str, str]:
        """What the SDK makes the source's address of; `Unsupported` where there can be no copy."""
        if not self.can_copy_from(source):
            raise Unsupported(f"no server-side copy from {source.location} to {self.location}")
        self.check_key(key, self.place_of(source))
        endpoint = source.location.endpoint.removesuffix(":443").removesuffix(":80")
        return {"Bucket": source.location.bucket, "Key": key, "Endpoint": endpoint}

    def multipart(self, key: str) -> AbstractContextManager[TcUpload]:
        self.check_key(key)
        return TcUpload(self, key)

    def clean(self, prefix: str) -> int:
        uploads = list(self._unfinished(prefix))
        for key, upload_id in uploads:
            with self._calling("abort the multipart upload of", key):
                self.client.abort_multipart_upload(**self._target(key), UploadId=upload_id)
        return len(uploads)

    def check_key(self, key: str, place: Place | None = None) -> None:
        """`InvalidKey` for what COS does not take (cloud.tencent.com, "Object overview") or a URL would change."""
        require_key(key, place or self.place, fault_of_path(key, MAX_KEY_BYTES))

    def _calling(self, doing: str, key: str) -> AbstractContextManager[None]:
        self.check_key(key)
        return translated(self.place, doing, key)

    def _target(self, key: str) -> dict[str, str]:
        return {"Bucket": self.place.bucket, "Key": key}

    def _page(self, **request: Any) -> dict[str, Any]:
        with translated(self.place, "list"):
            page: dict[str, Any] = self.client.list_objects(Bucket=self.place.bucket, **request)
        if "IsTruncated" not in page or (page["IsTruncated"] == "true" and not page.get("NextMarker")):
            raise TransferInterrupted(f"cannot list {self.place}: the answer is incomplete")
        return page

    def _create_bucket(self) -> None:
        try:
            with translated(self.place, "create"):
                self.client.create_bucket(Bucket=self.place.bucket)
        except MbkError as exc:
            if code_of(exc.__cause__ or exc) != "BucketAlreadyOwnedByYou":
                raise

    def _get(self, key: str, offset: int, length: int | None) -> Mapping[str, Any] | None:
        """The answer to a GET, None where the range begins past the end."""
        ranged = {}
        if offset or length is not None:
            last = "" if length is None else offset + length - 1
            ranged["Range"] = f"bytes={offset}-{last}"
        try:
            with self._calling("read", key):
                answer = headers(self.client.get_object(**self._target(key), **ranged))
        except MbkError as exc:
            if code_of(exc.__cause__ or exc) in ("InvalidRange", "416"):
                return None
            raise
        if "Content-Length" not in answer or (ranged and "Content-Range" not in answer):
            answer["Body"].get_raw_stream().close()
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
        with TcUpload(self, key, only_if_absent=only_if_absent) as upload:
            for number, part in enumerate(chain((first, second), parts), start=1):
                upload.put_part(number, part)
            return upload.complete()

    def _bad_size(self, key: str) -> Any:
        return lambda why: StorageError(f"cannot write {key!r} in {self.place}: {why}")

    def _put(self, key: str, data: bytes, *, only_if_absent: bool) -> ObjectInfo:
        condition = FORBID_OVERWRITE if only_if_absent else {}
        with self._calling("write", key):
            answer = headers(self.client.put_object(**self._target(key), Body=data, **condition))
        return ObjectInfo(key, len(data), bare(answer.get("ETag")))

    def _require_conditions(self, key: str) -> None:
        """Finds out, once, that the bucket keeps no versions: there COS ignores the condition."""
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
            return self._delete_together(keys)
        except PermissionDenied:
            # A batch may be refused for the sake of one key.
            pass
        failures = {}
        for key in keys:
            try:
                with self._calling("delete", key):
                    self.client.delete_object(**self._target(key))
            except PermissionDenied as exc:
                failures[key] = exc.message
        return failures

    def _delete_together(self, keys: Iterable[str]) -> dict[str, str]:
        request = {"Quiet": "true", "Object": [{"Key": key} for key in keys]}
        with translated(self.place, "delete from"):
            answer = self.client.delete_objects(Bucket=self.place.bucket, Delete=request)
            return {
                error["Key"]: f"{error.get('Message') or 'no reason was given'} ({error.get('Code')})"
                for error in answer.get("Error") or ()
                if error.get("Code") != "NoSuchKey"
            }

    def _unfinished(self, prefix: str) -> Iterator[tuple[str, str]]:
        markers = {"KeyMarker": "", "UploadIdMarker": ""}
        while True:
            with translated(self.place, "list the unfinished uploads of"):
                page = self.client.list_multipart_uploads(Bucket=self.place.bucket, Prefix=prefix, **markers)
            for upload in page.get("Upload") or ():
                if upload["Key"].startswith(prefix):
                    yield upload["Key"], upload["UploadId"]
            if page.get("IsTruncated") != "true":
                return
            markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0]


def _time(header: str | None) -> datetime | None:
    return parsedate_to_datetime(header) if header else None
