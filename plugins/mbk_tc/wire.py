"""The requests of COS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from qcloud_cos.cos_exception import CosServiceError  # noqa: TID253  loaded only with an opened storage
from requests.structures import CaseInsensitiveDict

from mbk.errors import StorageError, TransferInterrupted
from mbk.plugin.external import external_spec, external_uri_by_key
from mbk.plugin.headers import byte_range, class_of, info_of, receipt_of, required
from mbk.plugin.keys import fault_of_path
from mbk.plugin.wire import Body, Marker, Page, Part, Terms, Unfinished, Upload, WireError, bare
from mbk.ports.storage import ObjectInfo, Receipt, Storage, WriteOptions
from mbk_tc.client import Clients
from mbk_tc.errors import TRANSLATION, code_of
from mbk_tc.options import conditions, copied_with, written_with
from mbk_tc.settings import TcSettings, region_of

BACKEND = "tc"
DELETE_BATCH = 1000
MAX_KEY_BYTES = 850
#: As many as COS gives.
PAGE = 1000
#: What COS's own headers begin with.
PREFIX = "x-cos-"


class TcWire:
    """See :class:`mbk.plugin.wire.Wire` and `CopiesFrom` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    failures = TRANSLATION

    def __init__(self, settings: TcSettings) -> None:
        self.settings = settings

    @cached_property
    def _clients(self) -> Clients:
        return Clients(self.settings)

    @property
    def client(self) -> Any:
        """The SDK's client, with credentials that are valid now."""
        return self._clients.current()

    def open(self) -> None:
        _ = self._clients

    def close(self) -> None:
        if "_clients" in vars(self):
            self._clients.close()

    def fault_of_key(self, key: str) -> str:
        """cloud.tencent.com, "Object overview"."""
        return fault_of_path(key, MAX_KEY_BYTES)

    def external_uri(self, key: str, *, own: bool) -> str:
        where = self.settings
        names = {"bucket": where.bucket, "endpoint": where.endpoint, "milvus_endpoint": where.milvus_endpoint}
        return external_uri_by_key(key, own=own, **names)

    def external_spec(self) -> str:
        settings = self.settings
        key, secret, token = settings.static_keys or ("", "", "")
        return external_spec(
            "tencent",
            region=settings.region or settings.home_region,
            tls=settings.tls,
            token=token,
            keys=(key, secret) if key else None,
            iam_endpoint=settings.iam_endpoint,
        )

    def copies_from(self, source: Storage) -> bool:
        """Between the buckets of one region, as far as names tell; whose they are does not matter."""
        if source.location.backend != BACKEND:
            return False
        region, host = self.settings.home_region, source.location.endpoint.rpartition(":")[0]
        return source.location.endpoint == self.settings.endpoint or (
            region != "" and region == region_of(host)
        )

    def create_bucket(self) -> None:
        try:
            self.client.create_bucket(Bucket=self.settings.bucket)
        except CosServiceError as exc:
            if code_of(exc) != "BucketAlreadyOwnedByYou":
                raise

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        page = self.client.list_objects(
            Bucket=self.settings.bucket,
            Prefix=prefix,
            Delimiter="/" if level else "",
            Marker=token or start_after,
            MaxKeys=limit or PAGE,
        )
        more = page.get("IsTruncated")
        if more not in ("true", "false") or (more == "true" and not page.get("NextMarker")):
            raise WireError(TransferInterrupted, "the answer is incomplete", code="answer-incomplete")
        return Page(
            objects=[_listed(item) for item in page.get("Contents") or ()],
            prefixes=[required(item, "Prefix") for item in page.get("CommonPrefixes") or ()],
            next=page["NextMarker"] if more == "true" else "",
        )

    def head(self, key: str) -> ObjectInfo:
        return info_of(key, _headers(self.client.head_object(**self._target(key))), PREFIX)

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        span = byte_range(offset, length)
        try:
            answer = _headers(
                self.client.get_object(**self._target(key), **({"Range": span} if span else {}))
            )
        except CosServiceError as exc:
            if code_of(exc) in ("InvalidRange", "416"):
                return None
            raise
        # requests' own stream would undo the encoding that an object's metadata name.
        body = answer["Body"].get_raw_stream()
        if "Content-Length" not in answer or (span and "Content-Range" not in answer):
            body.close()
            raise WireError(StorageError, "the service ignored the range", code="range-ignored")
        return Body(length=int(answer["Content-Length"]), read=body.read, close=body.close)

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        asked = {**conditions(terms), **written_with(terms.options)}
        return receipt_of(_headers(self.client.put_object(**self._target(key), **asked, Body=data)), PREFIX)

    def start(self, key: str, terms: Terms) -> Upload:
        """Without the condition, which counts when the upload is completed."""
        answer = self.client.create_multipart_upload(**self._target(key), **written_with(terms.options))
        return Upload(key=key, id=required(answer, "UploadId"), terms=terms)

    def put_part(self, upload: Upload, number: int, data: bytes) -> str:
        answer = self.client.upload_part(**self._of(upload), PartNumber=number, Body=data)
        return str(required(_headers(answer), "ETag"))

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        span = byte_range(offset, length)
        part = {"PartNumber": number, "CopySource": _origin(source, key), "CopySourceRange": span}
        return str(required(_headers(self.client.upload_part_copy(**self._of(upload), **part)), "ETag"))

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        listed = {"Part": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]}
        answer = self.client.complete_multipart_upload(
            **self._of(upload), **conditions(upload.terms), MultipartUpload=listed
        )
        return receipt_of(_headers(answer), PREFIX)

    def abort(self, upload: Upload) -> bool:
        self.client.abort_multipart_upload(**self._of(upload))
        return True

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        page = self.client.list_multipart_uploads(
            Bucket=self.settings.bucket, Prefix=prefix, KeyMarker=marker[0], UploadIdMarker=marker[1]
        )
        found = page.get("Upload") or ()
        return Unfinished(
            uploads=[(required(upload, "Key"), required(upload, "UploadId")) for upload in found],
            next=(required(page, "NextKeyMarker"), required(page, "NextUploadIdMarker"))
            if page.get("IsTruncated") == "true"
            else None,
        )

    def delete(self, key: str) -> None:
        self.client.delete_object(**self._target(key))

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        request = {"Quiet": "true", "Object": [{"Key": key} for key in keys]}
        answer = self.client.delete_objects(Bucket=self.settings.bucket, Delete=request)
        failed = [error for error in answer.get("Error") or () if error.get("Code") != "NoSuchKey"]
        return {
            required(error, "Key"): f"{error.get('Message') or 'no reason given'} ({error.get('Code')})"
            for error in failed
        }

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        asked = {"CopySource": _origin(source, source_key), **copied_with(options)}
        return receipt_of(_headers(self.client.copy_object(**self._target(key), **asked)), PREFIX)

    def _target(self, key: str) -> dict[str, str]:
        return {"Key": key, "Bucket": self.settings.bucket}

    def _of(self, upload: Upload) -> dict[str, str]:
        return {"UploadId": upload.id, **self._target(upload.key)}


def _origin(source: Storage, key: str) -> dict[str, str]:
    """What the SDK makes the source's address of. A default port is left out, as it is in a Host header."""
    endpoint = source.location.endpoint.removesuffix(":443").removesuffix(":80")
    return {"Bucket": source.location.bucket, "Key": key, "Endpoint": endpoint}


def _listed(item: Mapping[str, str]) -> ObjectInfo:
    return ObjectInfo(
        required(item, "Key"),
        int(required(item, "Size")),
        bare(item.get("ETag")),
        datetime.fromisoformat(required(item, "LastModified")),
        storage_class=class_of(item.get("StorageClass")),
    )


def _headers(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The headers that the SDK copies out of an answer, under whatever case a proxy gave them."""
    return CaseInsensitiveDict(answer)
