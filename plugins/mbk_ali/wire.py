"""The requests of OSS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from mbk.plugin.buckets import BucketWire, Element, result
from mbk.plugin.conditions import answer_unreadable
from mbk.plugin.external import external_spec, external_uri_by_key
from mbk.plugin.headers import byte_range, info_of, receipt_of, required
from mbk.plugin.http import Answer
from mbk.plugin.keys import fault_of_path
from mbk.plugin.wire import Body, Data, Page, Part, Terms, Upload, bare
from mbk.ports.storage import ObjectInfo, Receipt, Storage, WriteOptions
from mbk_ali.errors import TRANSLATION
from mbk_ali.options import conditions, copied_with, written_with
from mbk_ali.requests import requests_of
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


class AliWire(BucketWire):
    """See :class:`mbk.plugin.wire.Wire` and `CopiesFrom` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    failures = TRANSLATION

    def __init__(self, settings: AliSettings) -> None:
        super().__init__(lambda: requests_of(settings))
        self.settings = settings

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
        # Loads the SDK, which no other request needs.
        from mbk_ali.client import create_bucket

        create_bucket(self.settings, self.requests.checked)

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        return self.requests.page(
            "NextContinuationToken",
            [
                ("list-type", "2"),
                ("prefix", prefix),
                ("delimiter", "/" if level else ""),
                ("continuation-token", token),
                ("start-after", start_after),
                ("max-keys", str(limit or PAGE)),
            ],
        )

    def head(self, key: str) -> ObjectInfo:
        told = self.requests.send("HEAD", key).headers
        return info_of(key, told, PREFIX, size=lambda: self.requests.size(key, STANDARD_RANGES))

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        span = byte_range(offset, length)
        return self.requests.get(key, span, STANDARD_RANGES if span else {})

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        headers = {**conditions(terms), **written_with(terms.options)}
        answer = self.requests.put(key, data, headers, repeatable=not terms.if_absent)
        return receipt_of(answer.headers, PREFIX)

    def start(self, key: str, terms: Terms) -> Upload:
        headers = {**conditions(terms), **written_with(terms.options)}
        return Upload(key=key, id=self.requests.start(key, headers), terms=terms)

    def put_part(self, upload: Upload, number: int, data: Data) -> str:
        return _etag(self.requests.part(upload, number, data))

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        headers = {
            "x-oss-copy-source": _origin(source, key),
            "x-oss-copy-source-range": byte_range(offset, length),
        }
        answer = self.requests.part(upload, number, headers=headers)
        _require_result(answer, "CopyPartResult")
        return _etag(answer)

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        answer = self.requests.complete(upload, parts, conditions(upload.terms))
        _require_result(answer, "CompleteMultipartUploadResult")
        return receipt_of(answer.headers, PREFIX)

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        """OSS names the keys that it deleted, and gives no reasons for the others."""
        answer = self.requests.delete(keys, quiet=False, query=[("encoding-type", "url")])
        deleted = _deleted(result(answer)) if answer.content.strip() else frozenset()
        return {key: "" for key in keys if key not in deleted}

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        headers = {**copied_with(options), "x-oss-copy-source": _origin(source, source_key)}
        answer = self.requests.send("PUT", key, headers=headers, repeatable=True)
        _require_result(answer, "CopyObjectResult")
        return receipt_of(answer.headers, PREFIX)


def _origin(source: Storage, key: str) -> str:
    return f"/{source.location.bucket}/{quote(key, safe='')}"


def _deleted(answer: Element) -> frozenset[str]:
    name = unquote if answer.findtext("EncodingType") == "url" else str
    return frozenset(name(item.findtext("Key") or "") for item in answer.iterfind("Deleted"))


def _etag(answer: Answer) -> str:
    return bare(required(answer.headers, "ETag")) or ""


def _require_result(answer: Answer, element: str) -> None:
    if result(answer).tag != element:
        raise answer_unreadable(f"a {element}")
