"""The requests of OSS."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from oss2.exceptions import OssError  # noqa: TID253  loaded only with an opened storage
from oss2.models import PartInfo  # noqa: TID253  loaded only with an opened storage

from mbk.errors import StorageError, TransferInterrupted, Unsupported
from mbk.plugin.conditions import error_in_success
from mbk.plugin.external import external_spec, external_uri_by_key
from mbk.plugin.headers import class_of, info_of, receipt_of, required
from mbk.plugin.keys import fault_of_path
from mbk.plugin.wire import Body, Marker, Page, Part, Terms, Unfinished, Upload, WireError, bare
from mbk.ports.storage import ObjectInfo, Receipt, Storage, WriteOptions
from mbk_ali.client import connect
from mbk_ali.errors import TRANSLATION, code_of
from mbk_ali.options import conditions, copied_with, written_with
from mbk_ali.settings import AliSettings, region_of

BACKEND = "ali"
DELETE_BATCH = 1000
MAX_KEY_BYTES = 1023
#: As many as OSS gives.
PAGE = 1000
#: What OSS's own headers begin with.
PREFIX = "x-oss-"
#: By default OSS answers a range that reaches past the end with the whole object.
STANDARD_RANGES = {"x-oss-range-behavior": "standard"}


class AliWire:
    """See :class:`mbk.plugin.wire.Wire` and `CopiesFrom` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    failures = TRANSLATION

    def __init__(self, settings: AliSettings) -> None:
        self.settings = settings

    @cached_property
    def client(self) -> Any:
        """The SDK's bucket."""
        return connect(self.settings)

    def open(self) -> None:
        _ = self.client

    def close(self) -> None:
        if "client" in vars(self):
            self.client.session.session.close()

    def fault_of_key(self, key: str) -> str:
        """help.aliyun.com, "Object naming conventions"."""
        return fault_of_path(key, MAX_KEY_BYTES)

    def external_uri(self, key: str, *, own: bool) -> str:
        settings = self.settings
        return external_uri_by_key(
            key,
            bucket=settings.bucket,
            endpoint=settings.endpoint,
            milvus_endpoint=settings.milvus_endpoint,
            own=own,
        )

    def external_spec(self) -> str:
        key, secret, token = self.settings.static_keys or ("", "", "")
        return external_spec(
            "aliyun",
            tls=self.settings.tls,
            region=self.settings.signing_region,
            keys=(key, secret) if key else None,
            token=token,
            iam_endpoint=self.settings.iam_endpoint,
        )

    def copies_from(self, source: Storage) -> bool:
        """OSS copies between the buckets of one region."""
        theirs, region = source.location, self.settings.home_region
        near = region != "" and region == region_of(theirs.endpoint.rpartition(":")[0])
        return theirs.backend == BACKEND and (near or theirs.endpoint == self.settings.endpoint)

    def create_bucket(self) -> None:
        self.client.create_bucket()

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        page = self.client.list_objects_v2(
            prefix=prefix,
            delimiter="/" if level else "",
            continuation_token=token,
            start_after=start_after,
            max_keys=limit or PAGE,
        )
        if page.is_truncated and not page.next_continuation_token:
            raise WireError(TransferInterrupted, "the answer is incomplete", code="answer-incomplete")
        return Page(
            objects=[_listed(item) for item in page.object_list],
            prefixes=page.prefix_list,
            next=page.next_continuation_token if page.is_truncated else "",
        )

    def head(self, key: str) -> ObjectInfo:
        return info_of(key, self.client.head_object(key).headers, PREFIX)

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        last = None if length is None else offset + length - 1
        ranged = bool(offset) or last is not None
        try:
            answer = self.client.get_object(
                key,
                byte_range=(offset, last) if ranged else None,
                headers=STANDARD_RANGES if ranged else None,
            )
        except OssError as exc:
            if code_of(exc) in ("InvalidRange", "416"):
                return None
            raise
        # requests' own stream would undo the encoding that an object's metadata name.
        response = answer.resp.response
        if answer.content_length is None or (ranged and answer.status != 206):
            response.close()
            raise WireError(StorageError, "the service ignored the range", code="range-ignored")
        return Body(length=answer.content_length, read=response.raw.read, close=response.close)

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        headers = {**conditions(terms), **written_with(terms.options)}
        return receipt_of(self.client.put_object(key, data, headers=headers).headers, PREFIX)

    def start(self, key: str, terms: Terms) -> Upload:
        headers = {**conditions(terms), **written_with(terms.options)}
        answer = self.client.init_multipart_upload(key, headers=headers)
        return Upload(key=key, id=required(vars(answer), "upload_id"), terms=terms)

    def put_part(self, upload: Upload, number: int, data: bytes) -> str:
        answer = self.client.upload_part(upload.key, upload.id, number, data)
        return _etag(answer)

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        place = (source.location.bucket, key, (offset, offset + length - 1))
        answer = self.client.upload_part_copy(*place, upload.key, upload.id, number)
        _require_result(answer, "CopyPartResult")
        return _etag(answer)

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        listed = [PartInfo(part.number, part.etag) for part in parts]
        answer = self.client.complete_multipart_upload(
            upload.key, upload.id, listed, headers=conditions(upload.terms)
        )
        _require_result(answer, "CompleteMultipartUploadResult")
        return receipt_of(answer.headers, PREFIX)

    def abort(self, upload: Upload) -> bool:
        self.client.abort_multipart_upload(upload.key, upload.id)
        return True

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        page = self.client.list_multipart_uploads(
            prefix=prefix, key_marker=marker[0], upload_id_marker=marker[1]
        )
        following = (page.next_key_marker, page.next_upload_id_marker)
        return Unfinished(
            uploads=[(upload.key, upload.upload_id) for upload in page.upload_list],
            next=following if page.is_truncated else None,
        )

    def delete(self, key: str) -> None:
        self.client.delete_object(key)

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """OSS names the keys that it deleted, and gives no reasons for the others."""
        deleted = set(self.client.batch_delete_objects([*keys]).deleted_keys)
        return {key: "" for key in keys if key not in deleted}

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        headers = copied_with(options)
        answer = self.client.copy_object(source.location.bucket, source_key, key, headers=headers)
        _require_result(answer, "CopyObjectResult")
        return receipt_of(answer.headers, PREFIX)


def _listed(item: Any) -> ObjectInfo:
    modified = datetime.fromtimestamp(item.last_modified, UTC)
    return ObjectInfo(item.key, item.size, item.etag, modified, storage_class=class_of(item.storage_class))


def _etag(answer: Any) -> str:
    return bare(required(answer.headers, "ETag")) or ""


def _require_result(answer: Any, element: str) -> None:
    """The SDK looks at the status alone, which comes before the work is done.

    A service that is not OSS does not even know the header that names a source, and stores an empty object.
    """
    body: bytes = answer.resp.read()
    if element.encode() in body:
        return
    if b"<Error>" in body:
        told = re.search(rb"<Message>([^<]*)", body)
        raise error_in_success(told[1].decode(errors="replace") if told else "no reason given")
    raise WireError(
        Unsupported, "the answer has no {element}: is it OSS?", code="service-unknown", element=element
    )
