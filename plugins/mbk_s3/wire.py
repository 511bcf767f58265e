"""The requests of S3."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any
from urllib.parse import unquote_plus

from mbk.errors import PermissionDenied, TransferInterrupted, Unsupported
from mbk.plugin.conditions import bucket_without_locks
from mbk.plugin.external import external_spec, external_uri_by_key
from mbk.plugin.failures import Translation
from mbk.plugin.headers import byte_range, required, size_in_range
from mbk.plugin.http import checked_body
from mbk.plugin.keys import fault_of_length
from mbk.plugin.wire import (
    Body,
    Data,
    Marker,
    Page,
    Part,
    Terms,
    Unfinished,
    Upload,
    VersionPage,
    WireError,
    bare,
)
from mbk.ports.storage import ObjectInfo, ObjectVersion, Receipt, Retention, Storage, WriteOptions
from mbk_s3.answers import checksums, class_of
from mbk_s3.connecting import connect, failures_of
from mbk_s3.errors import code_of, kind_of
from mbk_s3.options import copied_with, digest, written_with
from mbk_s3.settings import S3Settings

DELETE_BATCH = 1000
MAX_KEY_BYTES = 1024

_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f\ufffe\uffff]")


class S3Wire:
    """See :class:`mbk.plugin.wire.Wire`; also :class:`mbk.ports.storage.MilvusReachable`."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self._client: Any = None
        self._knows_locks = False

    @cached_property
    def failures(self) -> Translation:
        return failures_of(self.settings)

    @property
    def client(self) -> Any:
        """Of S3's requests by the SDK's names, and the SDK's own where it is needed (:mod:`mbk_s3.connecting`)."""
        self.open()
        return self._client

    def open(self) -> None:
        if self._client is None:
            self._client = connect(self.settings)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def fault_of_key(self, key: str) -> str:
        return fault_of_length(key, MAX_KEY_BYTES)

    def external_uri(self, key: str, *, own: bool) -> str:
        return external_uri_by_key(
            key,
            own=own,
            bucket=self.settings.bucket,
            endpoint=self.settings.endpoint,
            milvus_endpoint=self.settings.milvus_endpoint,
        )

    def external_spec(self) -> str:
        settings = self.settings
        if settings.profile and not settings.static_keys:
            raise Unsupported(
                "snapshots cannot use profile {profile!r}: it exists on this machine, not where Milvus runs",
                code="profile-unsupported",
                profile=settings.profile,
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

    def create_bucket(self) -> None:
        request: dict[str, Any] = {"Bucket": self.settings.bucket}
        region = self.settings.signing_region
        if self.settings.profile_of_service.regional and region != "us-east-1":
            request["CreateBucketConfiguration"] = {"LocationConstraint": region}
        try:
            self.client.create_bucket(**request)
        except self.client.refusal as exc:
            if code_of(exc) != "BucketAlreadyOwnedByYou":
                raise

    def page(
        self, prefix: str, *, level: bool = False, token: str = "", start_after: str = "", limit: int = 0
    ) -> Page:
        asked = {
            "Delimiter": "/" if level else "",
            "ContinuationToken": token,
            "StartAfter": start_after,
            "MaxKeys": limit,
        }
        chosen = {name: value for name, value in asked.items() if value}
        page = self.client.list_objects_v2(Bucket=self.settings.bucket, Prefix=prefix, **chosen)
        # An answer whose body was cut off before its first byte is parsed as an empty page.
        if "IsTruncated" not in page or (page["IsTruncated"] and not page.get("NextContinuationToken")):
            raise WireError(TransferInterrupted, "the answer is incomplete", code="answer-incomplete")
        return Page(
            objects=[_listed(item) for item in page.get("Contents", ())],
            prefixes=[required(item, "Prefix") for item in page.get("CommonPrefixes", ())],
            next=page["NextContinuationToken"] if page["IsTruncated"] else "",
        )

    def head(self, key: str) -> ObjectInfo:
        answer = self.client.head_object(**self._target(key), ChecksumMode="ENABLED")
        size = answer.get("ContentLength")
        return ObjectInfo(
            key,
            self._size_of(key) if size is None else size,
            bare(required(answer, "ETag")),
            answer.get("LastModified"),
            checksums(answer),
            class_of(answer),
        )

    def get(self, key: str, *, offset: int, length: int | None) -> Body | None:
        return self._body(self._target(key), byte_range(offset, length))

    def get_version(self, version: ObjectVersion, *, offset: int) -> Body | None:
        return self._body(
            {**self._target(version.key), "VersionId": version.version}, byte_range(offset, None)
        )

    def _body(self, target: Mapping[str, str], ranged: str) -> Body | None:
        try:
            answer = self.client.get_object(**target, **({"Range": ranged} if ranged else {}))
        except self.client.refusal as exc:
            if code_of(exc) in ("InvalidRange", "416"):
                return None
            raise
        body = answer["Body"]
        try:
            required(answer, "ETag")
        except WireError:
            body.close()
            raise
        return checked_body(
            answer.get("ContentLength"),
            ranged,
            answer.get("ContentRange"),
            read=body.read,
            close=body.close,
            marks_its_end=getattr(body, "marks_its_end", False),
        )

    def _size_of(self, key: str) -> int:
        """Where a stat tells none, as behind a proxy that drops the length: by what the range of the first byte says."""
        try:
            answer = self.client.get_object(**self._target(key), Range="bytes=0-0")
        except self.client.refusal as exc:
            if code_of(exc) in ("InvalidRange", "416"):
                return 0
            raise
        answer["Body"].close()
        size = size_in_range(answer.get("ContentRange"))
        return int(required({"ContentLength": size}, "ContentLength"))

    def put(self, key: str, data: bytes, terms: Terms) -> Receipt:
        request = {**self._target(key), **_condition(terms), **written_with(terms.options)}
        answer = self.client.put_object(**request, **digest(data, terms.options), Body=data)
        _require_encrypted(answer, terms.options)
        return _receipt(answer)

    def start(self, key: str, terms: Terms) -> Upload:
        answer = self.client.create_multipart_upload(**self._target(key), **written_with(terms.options))
        upload = Upload(key=key, id=required(answer, "UploadId"), terms=terms)
        try:
            _require_encrypted(answer, terms.options)
        except WireError:
            with suppress(*self.failures.foreign):
                self.abort(upload)
            raise
        return upload

    def put_part(self, upload: Upload, number: int, data: Data) -> str:
        answer = self.client.upload_part(**self._of(upload), PartNumber=number, Body=data)
        return str(required(answer, "ETag"))

    def copy_part(
        self, upload: Upload, number: int, source: Storage, key: str, *, offset: int, length: int
    ) -> str:
        answer = self.client.upload_part_copy(
            **self._of(upload),
            PartNumber=number,
            CopySource={"Bucket": source.location.bucket, "Key": key},
            CopySourceRange=byte_range(offset, length),
        )
        return str(required(answer.get("CopyPartResult", {}), "ETag"))

    def complete(self, upload: Upload, parts: Sequence[Part]) -> Receipt:
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        return _receipt(
            self.client.complete_multipart_upload(
                **self._of(upload), **_condition(upload.terms), MultipartUpload={"Parts": listed}
            )
        )

    def abort(self, upload: Upload) -> bool:
        self.client.abort_multipart_upload(**self._of(upload))
        return True

    def unfinished(self, prefix: str, marker: Marker) -> Unfinished:
        """MinIO lists the uploads of a whole key or of an empty prefix, and none below any other prefix: except of Amazon
        all are asked for, and the caller leaves out those of other places.
        """
        asked = prefix if self.settings.is_at_amazon else ""
        markers = {"KeyMarker": marker[0], "UploadIdMarker": marker[1]} if any(marker) else {}
        try:
            page = self.client.list_multipart_uploads(
                Bucket=self.settings.bucket, Prefix=asked, EncodingType="url", **markers
            )
        except self.client.refusal as exc:
            # rclone's way to say that there are none.
            if code_of(exc) == "NoSuchUpload":
                return Unfinished()
            raise
        decoded = unquote_plus if page.get("EncodingType") == "url" else str
        following = (decoded(page.get("NextKeyMarker", "")), page.get("NextUploadIdMarker", ""))
        return Unfinished(
            uploads=[
                (decoded(required(upload, "Key")), required(upload, "UploadId"))
                for upload in page.get("Uploads", ())
            ],
            next=following if page.get("IsTruncated") else None,
        )

    def delete(self, key: str) -> None:
        self.client.delete_object(**self._target(key))

    def delete_batch(self, keys: Sequence[str]) -> Mapping[str, str]:
        # XML 1.0 cannot name these.
        alone = {key: "" for key in keys if _UNNAMEABLE.search(key)}
        together = [{"Key": key} for key in keys if key not in alone]
        if not together:
            return alone
        answer = self.client.delete_objects(
            Bucket=self.settings.bucket, Delete={"Objects": together, "Quiet": True}
        )
        return alone | {
            required(error, "Key"): f"{error.get('Message') or 'no reason given'} ({error.get('Code')})"
            for error in answer.get("Errors", ())
            if error.get("Code") != "NoSuchKey"
        }

    def versions(self, prefix: str, marker: Marker) -> VersionPage:
        markers = {"KeyMarker": marker[0], "VersionIdMarker": marker[1]} if any(marker) else {}
        page = self.client.list_object_versions(Bucket=self.settings.bucket, Prefix=prefix, **markers)
        following = (page.get("NextKeyMarker", ""), page.get("NextVersionIdMarker", ""))
        return VersionPage(
            versions=[*map(_version, page.get("Versions", ())), *map(_mark, page.get("DeleteMarkers", ()))],
            next=following if page.get("IsTruncated") else None,
        )

    def delete_versions(self, versions: Sequence[ObjectVersion]) -> Mapping[str, str]:
        objects = [{"Key": item.key, "VersionId": item.version} for item in versions]
        answer = self.client.delete_objects(
            Bucket=self.settings.bucket, Delete={"Objects": objects, "Quiet": True}
        )
        return {
            required(error, "Key"): f"{error.get('Message') or 'no reason given'} ({error.get('Code')})"
            for error in answer.get("Errors", ())
            if error.get("Code") not in ("NoSuchKey", "NoSuchVersion")
        }

    def require_locks(self) -> None:
        answer = self.client.get_object_lock_configuration(Bucket=self.settings.bucket)
        if answer["ObjectLockConfiguration"].get("ObjectLockEnabled") != "Enabled":
            raise bucket_without_locks()

    def lock(self, key: str, retention: Retention) -> None:
        self._require_known_locks()
        asked = {"Mode": retention.mode.upper(), "RetainUntilDate": retention.until}
        self.client.put_object_retention(**self._target(key), Retention=asked)

    def _require_known_locks(self) -> None:
        """A server that knows no locks takes the request for one that replaces the object: none is sent to it."""
        if self._knows_locks:
            return
        try:
            self.require_locks()
        except self.client.refusal as exc:
            if kind_of(exc) is not PermissionDenied:
                raise
        self._knows_locks = True

    def locked(self, key: str, version: str) -> Retention | None:
        chosen = {"VersionId": version} if version else {}
        try:
            answer = self.client.get_object_retention(**self._target(key), **chosen)
        except self.client.refusal as exc:
            if code_of(exc) in ("NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"):
                return None
            raise
        told = answer["Retention"]
        return Retention(mode=required(told, "Mode").lower(), until=required(told, "RetainUntilDate"))

    def copy_object(self, source: Storage, source_key: str, key: str, options: WriteOptions) -> Receipt:
        answer = self.client.copy_object(
            **self._target(key),
            **copied_with(options),
            CopySource={"Bucket": source.location.bucket, "Key": source_key},
        )
        _require_encrypted(answer, options)
        # Whether the copy is encrypted, and its etag no MD5, stands in the headers only.
        return _receipt({**answer, **answer.get("CopyObjectResult", {})})

    def _target(self, key: str) -> dict[str, str]:
        return {"Bucket": self.settings.bucket, "Key": key}

    def _of(self, upload: Upload) -> dict[str, str]:
        return {**self._target(upload.key), "UploadId": upload.id}


def _version(item: Mapping[str, Any]) -> ObjectVersion:
    return ObjectVersion(
        key=required(item, "Key"),
        version=required(item, "VersionId"),
        is_current=item.get("IsLatest", False),
        size=item.get("Size"),
        etag=bare(item.get("ETag")),
    )


def _mark(item: Mapping[str, Any]) -> ObjectVersion:
    return ObjectVersion(key=required(item, "Key"), version=required(item, "VersionId"), is_mark=True)


def _listed(item: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(
        required(item, "Key"),
        required(item, "Size"),
        bare(item.get("ETag")),
        item.get("LastModified"),
        storage_class=class_of(item),
    )


def _receipt(answer: Mapping[str, Any]) -> Receipt:
    return Receipt(
        etag=bare(required(answer, "ETag")),
        modified=answer.get("LastModified"),
        checksums=checksums(answer),
    )


def _condition(terms: Terms) -> dict[str, str]:
    return {"IfNoneMatch": "*"} if terms.if_absent else {}


def _require_encrypted(answer: Mapping[str, Any], options: WriteOptions) -> None:
    """The service names the key that it encrypts with; one that knows no keys of its own ignores what was asked."""
    if options.encryption_key and not answer.get("SSEKMSKeyId"):
        raise WireError(
            Unsupported,
            "the service ignored encryption key {encryption_key!r} and wrote without it",
            code="encryption-ignored",
            encryption_key=options.encryption_key,
        )
