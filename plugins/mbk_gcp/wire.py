"""The requests of Google Cloud Storage: the JSON API, and the XML API for uploads in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google_crc32c
import requests
from google.api_core.exceptions import (  # noqa: TID253  loaded only with an opened storage
    Conflict,
    from_http_status,
)
from google.cloud.storage.batch import Batch  # noqa: TID253  loaded only with an opened storage

from mbk.errors import ObjectNotFound, StorageError, TransferInterrupted, Unsupported, UsageError
from mbk.plugin.external import external_spec, external_uri
from mbk.plugin.headers import byte_range
from mbk.plugin.keys import fault_of_length
from mbk.plugin.wire import Body, Marker, Page, Part, Terms, Unfinished, Upload, WireError
from mbk.ports.storage import ObjectInfo, Receipt, Storage, WriteOptions
from mbk_gcp.answers import encoded, info_of, told_crc32c
from mbk_gcp.client import ONCE, Connection, connect
from mbk_gcp.errors import TRANSLATION, require_success
from mbk_gcp.multipart import listed, of_listing, of_upload, parsed, started, unfinished
from mbk_gcp.options import headers_with, resource_with
from mbk_gcp.settings import GcpSettings
from mbk_gcp.upload import CONTENT_TYPE, put, stream

#: https://cloud.google.com/storage/docs/batch: no more than 100 calls in a batch.
DELETE_BATCH = 100
MAX_KEY_BYTES = 1024

_FIELDS = "items(name,size,etag,updated,crc32c,md5Hash,storageClass),prefixes,nextPageToken"


class GcpWire:
    """See :class:`mbk.plugin.wire.Wire` and `StreamsIfAbsent` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    failures = TRANSLATION

    def __init__(self, settings: GcpSettings) -> None:
        self.settings = settings
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The SDK's client, and its session."""
        assert self._connection  # `open` was called
        return self._connection

    def open(self) -> None:
        if self._connection is None:
            self._connection = connect(self.settings)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def fault_of_key(self, key: str) -> str:
        """https://cloud.google.com/storage/docs/objects#naming"""
        refused = key in (".", "..") or "\r" in key or "\n" in key
        if refused or key.startswith(".well-known/acme-challenge/"):
            return "Google refuses it"
        return fault_of_length(key, MAX_KEY_BYTES)

    def external_uri(self, key: str, *, own: bool) -> str:  # noqa: ARG002  Milvus has one name for such a bucket
        return external_uri("gcs", self.settings.bucket, key)

    def external_spec(self) -> str:
        settings = self.settings
        file = "" if settings.use_iam else settings.credentials_file
        return external_spec(
            "gcpnative",
            tls=settings.tls,
            region=settings.region,
            token="" if settings.use_iam or file else settings.session_token.get_secret_value(),
            credentials_json=_text_of(file) if file else "",
        )

    def create_bucket(self) -> None:
        client = self.connection.client
        if not client.project:
            raise WireError(
                UsageError,
                "the credentials name no project to create it in",
                code="project-missing",
                hint="set GOOGLE_CLOUD_PROJECT, or create the bucket",
            )
        try:
            client.create_bucket(self.settings.bucket, location=self.settings.region or None, **ONCE)
        except Conflict:
            # Made in the meantime, or somebody else's: then it may not be listed.
            self.page("", limit=1)

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        listing = self.connection.client.list_blobs(
            self._bucket(),
            prefix=prefix or None,
            delimiter="/" if level else None,
            page_token=token or None,
            start_offset=start_after or None,
            max_results=limit or None,
            fields=_FIELDS,
            **ONCE,
        )
        page = next(listing.pages)
        return Page(
            objects=[info_of(blob) for blob in page],
            prefixes=[*page.prefixes],
            next=listing.next_page_token or "",
        )

    def head(self, key: str) -> ObjectInfo:
        blob = self._bucket().blob(key)
        blob.reload(**ONCE)
        return info_of(blob)

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        # Without it the service would unpack objects that were stored as gzip.
        headers = {"Accept-Encoding": "gzip"}
        if ranged := byte_range(offset, length):
            headers["Range"] = ranged
        path = f"/download/storage/v1/b/{self.settings.bucket}/o/{quote(key, safe='')}?alt=media"
        connection = self.connection
        answer = connection.send("GET", connection.url + path, headers=headers, stream=True)
        try:
            require_success(answer, *((206, 416) if ranged else (200,)))
            if answer.status_code != 416:
                return _body(answer)
        except BaseException:
            answer.close()
            raise
        # The range begins past the end.
        answer.close()
        return None

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        return put(self.connection, self.settings.bucket, key, data, terms)

    def stream_if_absent(self, key: str, pieces: Iterator[bytes], options: WriteOptions) -> Receipt:
        terms = Terms(if_absent=True, options=options)
        return stream(self.connection, self.settings.bucket, key, pieces, terms)

    def start(self, key: str, terms: Terms) -> Upload:
        headers = {"Content-Type": CONTENT_TYPE, **headers_with(terms.options)}
        upload_id, when = started(self._xml("POST", key, "uploads", headers=headers))
        return Upload(key=key, id=upload_id, terms=terms, started=when)

    def put_part(self, upload: Upload, number: int, data: bytes) -> str:
        headers = {"x-goog-hash": f"crc32c={encoded(google_crc32c.Checksum(data))}"}
        query = f"partNumber={number}&{of_upload(upload)}"
        return str(self._xml("PUT", upload.key, query, data=data, headers=headers).headers["ETag"])

    def copy_part(self, *_: Any, **__: Any) -> str:
        raise WireError(Unsupported, "the service copies whole objects only", code="no-part-copy")

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        """The XML API tells another etag than the JSON API, so it is left out."""
        parsed(self._xml("POST", upload.key, of_upload(upload), data=listed(parts)))
        return Receipt()

    def abort(self, upload: Upload) -> bool:
        self._xml("DELETE", upload.key, of_upload(upload))
        return True

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        """Resumable uploads that nobody ends cannot be listed; the service drops them after a week."""
        return unfinished(self._xml("GET", None, of_listing(prefix, marker)))

    def delete(self, key: str) -> None:
        self._bucket().delete_blob(key, **ONCE)

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        batch = _Deletes(self.connection.client)
        with batch:
            for key in keys:
                self._bucket().delete_blob(key, **ONCE)
        if len(batch.answers) != len(keys):
            raise WireError(TransferInterrupted, "the answer is incomplete", code="answer-incomplete")
        answers = zip(keys, batch.answers, strict=True)
        return {key: "" for key, answer in answers if not _is_gone(answer)}

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        """Large objects, and those of another location or class, take several rounds of a rewrite."""
        client = self.connection.client
        origin = client.bucket(source.location.bucket).blob(source_key)
        target = self._bucket().blob(key, kms_key_name=options.encryption_key or None)
        if asked := resource_with(options):
            # A resource replaces the source's metadata, which for ours is this.
            target._properties.update(asked, contentType=CONTENT_TYPE)
        token, _, _ = target.rewrite(origin, **ONCE)
        while token is not None:
            token, _, _ = target.rewrite(origin, token=token, **ONCE)
        info = info_of(target)
        return Receipt(size=info.size, etag=info.etag, modified=info.modified, checksums=info.checksums)

    def _bucket(self) -> Any:
        return self.connection.client.bucket(self.settings.bucket)

    def _xml(self, method: str, key: str | None, query: str, **more: Any) -> requests.Response:
        connection = self.connection
        answer = connection.send(method, connection.xml_url(self.settings.bucket, key, query), **more)
        require_success(answer, 200, 204)
        return answer


class _Deletes(Batch):  # type: ignore[misc]  # the SDK is not typed
    """A batch whose answers can be asked for, one for each call, in the calls' order."""

    def __init__(self, client: Any) -> None:
        super().__init__(client, raise_exception=False)
        self.answers: list[Any] = []

    def finish(self, raise_exception: bool = True) -> Any:
        self.answers = super().finish(raise_exception=raise_exception)
        return self.answers


def _is_gone(answer: Any) -> bool:
    status = answer.status_code
    if status != 404:
        return status in (200, 204)
    return TRANSLATION.kind_of(from_http_status(status, "", response=answer)) is ObjectNotFound


def _body(answer: requests.Response) -> Body:
    length = int(answer.headers.get("Content-Length", -1))
    if length < 0:
        raise WireError(StorageError, "the answer does not tell its length", code="length-missing")

    def read(size: int) -> bytes:
        chunk: bytes = answer.raw.read(size, decode_content=False)
        return chunk

    whole = answer.status_code == 200
    told = told_crc32c(answer.headers.get("x-goog-hash", "")) if whole else None
    return Body(length=length, read=_checked(read, length, told) if told else read, close=answer.close)


def _checked(read: Callable[[int], bytes], length: int, told: str) -> Callable[[int], bytes]:
    """The same bytes; the last are given away only when the whole is known to be right."""
    checksum = google_crc32c.Checksum()
    missing = length

    def read_on(size: int) -> bytes:
        nonlocal missing
        chunk = read(size)
        checksum.update(chunk)
        missing -= len(chunk)
        if not missing and encoded(checksum) != told:
            raise WireError(
                TransferInterrupted, "its CRC32C differs from the service's", code="checksum-differs"
            )
        return chunk

    return read_on


def _text_of(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(
            "{file} cannot be read: {problem}",
            code="key-file-unreadable",
            file=file,
            problem=type(exc).__name__,
        ) from exc
