"""The requests of Google Cloud Storage: the JSON API, and the XML API for uploads in parts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google_crc32c

from mbk.errors import ObjectNotFound, StorageError, TransferInterrupted, Unsupported, UsageError
from mbk.plugin.conditions import answer_foreign, bucket_without_locks, require_empty
from mbk.plugin.external import external_spec, external_uri
from mbk.plugin.headers import byte_range, required
from mbk.plugin.http import Answer, body_of
from mbk.plugin.keys import fault_of_length
from mbk.plugin.refusals import Refused
from mbk.plugin.wire import Body, Data, Marker, Page, Part, Terms, Unfinished, Upload, VersionPage, WireError
from mbk.ports.storage import ObjectInfo, ObjectVersion, Receipt, Retention, Storage, WriteOptions
from mbk_gcp.answers import (
    FIELDS,
    Generation,
    Generations,
    Holder,
    Holding,
    Listing,
    Resource,
    Rewrite,
    add,
    checksums,
    encoded,
    read,
    told_crc32c,
)
from mbk_gcp.batches import deleted
from mbk_gcp.credentials import project_of
from mbk_gcp.errors import TRANSLATION, refusal
from mbk_gcp.multipart import listed, of_listing, of_upload, parsed, started, unfinished
from mbk_gcp.options import headers_with, locked_with, resource_with
from mbk_gcp.service import Service, object_path, xml_path
from mbk_gcp.settings import GcpSettings
from mbk_gcp.upload import CONTENT_TYPE, put, stream

#: https://cloud.google.com/storage/docs/batch: no more than 100 calls in a batch.
DELETE_BATCH = 100
MAX_KEY_BYTES = 1024
#: A header of every answer with an object's bytes.
HASHES = "x-goog-hash"
#: Rounds of a rewrite without a byte more: the service writes at least 1 MiB in each, so one already is odd.
IDLE_ROUNDS = 10

#: White space that nobody reads is a fifth of a page.
_OF_PAGE = f"prettyPrint=false&fields=kind,items({FIELDS}),prefixes,nextPageToken"
_OF_VERSIONS = f"prettyPrint=false&fields=kind,items({FIELDS},generation,timeDeleted),nextPageToken"
_OF_OBJECT = f"prettyPrint=false&fields={FIELDS}"
_OF_ROUND = f"prettyPrint=false&fields=done,totalBytesRewritten,rewriteToken,resource({FIELDS})"


class GcpWire:
    """See :class:`mbk.plugin.wire.Wire`, `StreamsIfAbsent`, `KeepsLocks` and `RecallsVersions` there; also :class:`mbk.ports.storage.MilvusReachable`."""

    failures = TRANSLATION

    def __init__(self, settings: GcpSettings) -> None:
        self.settings = settings

    @cached_property
    def service(self) -> Service:
        return Service(self.settings)

    def open(self) -> None:
        _ = self.service

    def close(self) -> None:
        if "service" in vars(self):
            self.service.close()

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
        project = project_of(self.service.token)
        if not project:
            raise WireError(
                UsageError,
                "the credentials name no project to create it in",
                code="project-missing",
                hint="set GOOGLE_CLOUD_PROJECT, or create the bucket",
            )
        asked = {"name": self.settings.bucket}
        if self.settings.region:
            asked["location"] = self.settings.region
        try:
            self._post(f"/storage/v1/b?project={quote(project, safe='')}", asked)
        except Refused as exc:
            if exc.status != 409:
                raise
            # Made in the meantime, or somebody else's: then it may not be listed.
            self.page("", limit=1)

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        asked = {
            "prefix": prefix,
            "delimiter": "/" if level else "",
            "pageToken": token,
            "startOffset": start_after,
            "maxResults": str(limit or ""),
        }
        query = "".join(f"&{name}={quote(value, safe='')}" for name, value in asked.items() if value)
        target = f"/storage/v1/b/{self.settings.bucket}/o?{_OF_PAGE}{query}"
        page = read(self.service.send("GET", target, 200), Listing)
        return Page(
            objects=[item.info() for item in page.items], prefixes=page.prefixes, next=page.next_page_token
        )

    def head(self, key: str) -> ObjectInfo:
        target = f"{object_path(self.settings.bucket, key)}?{_OF_OBJECT}"
        return read(self.service.send("GET", target, 200), Resource).info()

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        return self._read(key, byte_range(offset, length), "")

    def get_version(self, version: ObjectVersion, *, offset: int) -> Body | None:
        return self._read(version.key, byte_range(offset, None), f"&{_generation(version)}")

    def _read(self, key: str, ranged: str, chosen: str) -> Body | None:
        # Without it the service would unpack objects that were stored as gzip.
        headers = {"Accept-Encoding": "gzip"}
        if ranged:
            headers["Range"] = ranged
        target = f"/download{object_path(self.settings.bucket, key)}?alt=media{chosen}"
        # 416: the range begins past the end.
        statuses = (206, 416) if ranged else (200,)
        answer = self.service.send("GET", target, *statuses, headers=headers, streamed=True)
        if answer.status == 416:
            return None
        if HASHES not in answer.headers and answer.stream is not None:
            answer.stream.close()
            raise answer_foreign(HASHES)
        return _body(answer, ranged)

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        return put(self.service, self.settings.bucket, key, data, terms)

    def stream_if_absent(self, key: str, pieces: Iterator[Data], options: WriteOptions) -> Receipt:
        terms = Terms(if_absent=True, options=options)
        return stream(self.service, self.settings.bucket, key, pieces, terms)

    def start(self, key: str, terms: Terms) -> Upload:
        headers = {"Content-Type": CONTENT_TYPE, **headers_with(terms.options)}
        # One whose answer is lost is dropped with all that are unfinished.
        upload_id, when = started(self._xml("POST", key, "uploads", headers=headers, repeatable=True))
        return Upload(key=key, id=upload_id, terms=terms, started=when)

    def put_part(self, upload: Upload, number: int, data: Data) -> str:
        headers = {"x-goog-hash": f"crc32c={encoded(add(google_crc32c.Checksum(), data))}"}
        query = f"partNumber={number}&{of_upload(upload)}"
        answer = self._xml("PUT", upload.key, query, body=data, headers=headers, repeatable=True)
        return str(required(answer.headers, "ETag"))

    def copy_part(self, *_: Any, **__: Any) -> str:
        raise WireError(Unsupported, "the service copies whole objects only", code="no-part-copy")

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        """The XML API tells another etag than the JSON API, so it is left out."""
        answer = self._xml("POST", upload.key, of_upload(upload), body=listed(parts))
        parsed(answer)
        return Receipt(checksums=checksums(told_crc32c(answer.headers.get(HASHES, "")), None))

    def abort(self, upload: Upload) -> bool:
        require_empty(self._xml("DELETE", upload.key, of_upload(upload), repeatable=True))
        return True

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        """Resumable uploads that nobody ends cannot be listed; the service drops them after a week."""
        return unfinished(self._xml("GET", None, of_listing(prefix, marker)))

    def delete(self, key: str) -> None:
        path = object_path(self.settings.bucket, key)
        require_empty(self.service.send("DELETE", path, *(200, 204), repeatable=True))

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        paths = [object_path(self.settings.bucket, key) for key in keys]
        answers = zip(keys, deleted(self.service, paths), strict=True)
        return {key: "" for key, (status, body) in answers if not _is_gone(status, body)}

    def versions(self, prefix: str, marker: Marker) -> VersionPage:
        """Of each key at once, the newest first: the service lists them from the oldest on, and may end a page amid a key.

        So a page goes on until it holds a whole key, and the next one begins with the key that it ended in.
        """
        items, token = list[Generation](), ""
        while True:
            asked = {"prefix": prefix, "startOffset": marker[0], "pageToken": token}
            query = "".join(f"&{name}={quote(value, safe='')}" for name, value in asked.items() if value)
            target = f"/storage/v1/b/{self.settings.bucket}/o?versions=true&{_OF_VERSIONS}{query}"
            page = read(self.service.send("GET", target, 200), Generations)
            items, token = [*items, *page.items], page.next_page_token
            if not token or (items and items[0].name != items[-1].name):
                break
        last = items[-1].name if token else ""
        whole = [item for item in items if not token or item.name != last]
        whole.sort(key=lambda item: (item.name, -item.generation))
        return VersionPage(versions=[item.version() for item in whole], next=(last, "") if token else None)

    def delete_versions(self, versions: Sequence[ObjectVersion]) -> Mapping[str, str]:
        bucket = self.settings.bucket
        paths = [f"{object_path(bucket, version.key)}?{_generation(version)}" for version in versions]
        answers = zip(versions, deleted(self.service, paths), strict=True)
        return {
            version.key: _reason(refusal(status, body))
            for version, (status, body) in answers
            if not _is_gone(status, body)
        }

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        """Large objects, and those of another location or class, take several rounds of a rewrite."""
        origin = object_path(source.location.bucket, source_key)
        target = object_path(self.settings.bucket, key).removeprefix("/storage/v1")
        query = _OF_ROUND
        if options.encryption_key:
            query += f"&destinationKmsKeyName={quote(options.encryption_key, safe='')}"
        # A resource replaces the source's metadata, which for ours is this.
        asked = resource_with(options)
        resource = {**asked, "contentType": CONTENT_TYPE} if asked else {}
        token, rewritten, idle = "", -1, 0
        while idle < IDLE_ROUNDS:
            following = f"&rewriteToken={quote(token, safe='')}" if token else ""
            answer = self._post(f"{origin}/rewriteTo{target}?{query}{following}", resource, repeatable=True)
            told = read(answer, Rewrite)
            if told.resource is not None:
                return told.resource.receipt()
            token = told.rewrite_token
            if not token:
                raise WireError(TransferInterrupted, "the answer is incomplete", code="answer-incomplete")
            idle = 0 if told.total_bytes_rewritten > rewritten else idle + 1
            rewritten = max(rewritten, told.total_bytes_rewritten)
        raise WireError(
            StorageError,
            "the service makes no progress: {rewritten} bytes after {rounds} further rounds",
            code="rewrite-stuck",
            rewritten=rewritten,
            rounds=idle,
        )

    def require_locks(self) -> None:
        target = f"/storage/v1/b/{self.settings.bucket}?prettyPrint=false&fields=kind,objectRetention"
        told = read(self.service.send("GET", target, 200), Holder).object_retention
        if told is None or told.mode != "Enabled":
            raise bucket_without_locks()

    def lock(self, key: str, retention: Retention) -> None:
        """Without the parameter that overrides one, the service refuses a shorter retention."""
        body = json.dumps({"retention": locked_with(retention)}).encode()
        headers = {"Content-Type": "application/json"}
        self.service.send("PATCH", self._holding(key), 200, headers=headers, body=body, repeatable=True)

    def locked(self, key: str, version: str) -> Retention | None:
        chosen = f"&generation={quote(version, safe='')}" if version else ""
        told = read(self.service.send("GET", f"{self._holding(key)}{chosen}", 200), Holding).retention
        return told.lock() if told else None

    def _holding(self, key: str) -> str:
        return f"{object_path(self.settings.bucket, key)}?prettyPrint=false&fields=kind,retention"

    def _post(self, target: str, document: Mapping[str, object], *, repeatable: bool = False) -> Answer:
        body = json.dumps(document).encode() if document else b""
        headers = {"Content-Type": "application/json"} if document else {}
        return self.service.send("POST", target, 200, headers=headers, body=body, repeatable=repeatable)

    def _xml(self, method: str, key: str | None, query: str, **more: Any) -> Answer:
        target = xml_path(self.settings.bucket, key, query)
        return self.service.send(method, target, *(200, 204), **more)


def _generation(version: ObjectVersion) -> str:
    return f"generation={quote(version.version, safe='')}"


def _reason(refused: Refused) -> str:
    return f"{refused.message or 'no reason given'} ({refused.code or refused.status})"


def _is_gone(status: int, body: str) -> bool:
    if status != 404:
        return status in (200, 204)
    return TRANSLATION.kind_of(refusal(status, body)) is ObjectNotFound


def _body(answer: Answer, span: str) -> Body:
    body = body_of(answer, span)
    told = told_crc32c(answer.headers.get(HASHES, "")) if answer.status == 200 else None
    return replace(body, read=_checked(body.read, body.length, told)) if told else body


def _checked(read: Callable[[int], bytes], length: int | None, told: str) -> Callable[[int], bytes]:
    """The same bytes; the last are given away only when the whole is known to be right (the end of all, for want of a length)."""
    checksum = google_crc32c.Checksum()
    missing = length

    def read_on(size: int) -> bytes:
        nonlocal missing
        chunk = read(size)
        checksum.update(chunk)
        missing = None if missing is None else missing - len(chunk)
        is_whole = not chunk if missing is None else not missing
        if is_whole and encoded(checksum) != told:
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
