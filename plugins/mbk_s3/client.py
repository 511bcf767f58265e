"""S3 without its SDK: the requests by the names, parameters and members of answers that the SDK has for them.

What costs the SDK 1.5 ms of CPU a request costs this a fifth of one (docs/explanation/copying.md). It is one bucket's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from mbk.plugin.conditions import require_empty
from mbk.plugin.http import Answer
from mbk.plugin.refusals import Refused
from mbk.plugin.wire import Data
from mbk_s3 import documents
from mbk_s3.addresses import encoded
from mbk_s3.bucket import Bucket, Request
from mbk_s3.documents import Members
from mbk_s3.payloads import Payload, Payloads, md5_of
from mbk_s3.refused import refused

#: Members of requests that are header fields.
_FIELDS = {
    "ContentMD5": "Content-MD5",
    "CopySourceRange": "x-amz-copy-source-range",
    "IfNoneMatch": "If-None-Match",
    "ChecksumMode": "x-amz-checksum-mode",
    "ObjectLockMode": "x-amz-object-lock-mode",
    "ObjectLockRetainUntilDate": "x-amz-object-lock-retain-until-date",
    "Range": "Range",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "x-amz-server-side-encryption",
    "StorageClass": "x-amz-storage-class",
    "Tagging": "x-amz-tagging",
    "TaggingDirective": "x-amz-tagging-directive",
}
#: Members of requests that are parameters of the query.
_PARAMETERS = {
    "ContinuationToken": "continuation-token",
    "Delimiter": "delimiter",
    "EncodingType": "encoding-type",
    "KeyMarker": "key-marker",
    "MaxKeys": "max-keys",
    "MaxUploads": "max-uploads",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "StartAfter": "start-after",
    "UploadId": "uploadId",
    "UploadIdMarker": "upload-id-marker",
    "VersionId": "versionId",
    "VersionIdMarker": "version-id-marker",
}
#: Header fields of answers that are members.
_TOLD = {
    "content-range": "ContentRange",
    "etag": "ETag",
    "x-amz-checksum-crc32c": "ChecksumCRC32C",
    "x-amz-checksum-crc64nvme": "ChecksumCRC64NVME",
    "x-amz-checksum-sha256": "ChecksumSHA256",
    "x-amz-checksum-type": "ChecksumType",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
    "x-amz-storage-class": "StorageClass",
}


class Client:
    """One bucket, from any thread. ``Bucket`` in the members is left out, as it is known.

    Raises `Refused` for what the service refuses, `WireError` for answers that are none, and what a sender raises.
    """

    #: What is raised for what the service refuses.
    refusal = Refused

    def __init__(self, bucket: Bucket, payloads: Payloads) -> None:
        self._bucket = bucket
        self._payloads = payloads

    def close(self) -> None:
        self._bucket.close()

    def list_objects_v2(self, **members: Any) -> Members:
        query = {"list-type": "2", "encoding-type": "url"}
        return documents.decoded(self._document("GET", members, query=query))

    def list_object_versions(self, **members: Any) -> Members:
        query = {"versions": "", "encoding-type": "url"}
        return documents.decoded(self._document("GET", members, query=query))

    def list_multipart_uploads(self, **members: Any) -> Members:
        return self._document("GET", members, query={"uploads": ""})

    def head_object(self, **members: Any) -> Members:
        answer = self._send("HEAD", members)
        told = _told(answer)
        if modified := answer.headers.get("last-modified"):
            told["LastModified"] = documents.moment(modified)
        length = answer.headers.get("content-length", "")
        return {**told, "ContentLength": int(length)} if length.isdecimal() else told

    def get_object(self, **members: Any) -> Members:
        answer = self._send("GET", members, streamed=True)
        stream = answer.stream
        assert stream is not None  # of an answer of success that was to be streamed
        length = {} if stream.length is None else {"ContentLength": stream.length}
        return {**_told(answer), **length, "Body": stream}

    def put_object(self, *, Body: bytes, **members: Any) -> Members:
        once = "IfNoneMatch" in members
        return _told(self._put(members, Body, whole=True, repeatable=not once))

    def delete_object(self, **members: Any) -> None:
        require_empty(self._send("DELETE", members, repeatable=True))

    def delete_objects(self, *, Delete: Mapping[str, Any], **members: Any) -> Members:
        body = documents.deletion(Delete["Objects"])
        # It must carry a digest; older servers know only this one, newer ones accept it, too.
        members["ContentMD5"] = md5_of(body)
        return self._document("POST", members, body, query={"delete": ""}, repeatable=True)

    def copy_object(self, *, CopySource: Mapping[str, str], **members: Any) -> Members:
        return self._copied("CopyObjectResult", CopySource, members)

    def upload_part_copy(self, *, CopySource: Mapping[str, str], **members: Any) -> Members:
        return self._copied("CopyPartResult", CopySource, members)

    def create_multipart_upload(self, **members: Any) -> Members:
        # An upload whose answer is lost is dropped with all that are unfinished.
        answer = self._send("POST", members, query={"uploads": ""}, repeatable=True)
        return {**_told(answer), **_content(answer)}

    def upload_part(self, *, Body: Data, **members: Any) -> Members:
        return _told(self._put(members, Body, whole=False, repeatable=True))

    def complete_multipart_upload(self, *, MultipartUpload: Mapping[str, Any], **members: Any) -> Members:
        body = documents.completion(MultipartUpload["Parts"])
        answer = self._send("POST", members, body)
        return {**_told(answer), **_content(answer)}

    def abort_multipart_upload(self, **members: Any) -> None:
        require_empty(self._send("DELETE", members, repeatable=True))

    def get_object_lock_configuration(self, **members: Any) -> Members:
        return {"ObjectLockConfiguration": self._document("GET", members, query={"object-lock": ""})}

    def get_object_retention(self, **members: Any) -> Members:
        return {"Retention": self._document("GET", members, query={"retention": ""})}

    def put_object_retention(self, *, Retention: Mapping[str, Any], **members: Any) -> None:
        body = documents.retention({name: _text(value) for name, value in Retention.items()})
        members["ContentMD5"] = md5_of(body)
        self._send("PUT", members, body, query={"retention": ""}, repeatable=True)

    def create_bucket(self, **members: Any) -> None:
        region = members.get("CreateBucketConfiguration", {}).get("LocationConstraint")
        self._send("PUT", members, documents.location(region) if region else b"")

    def _put(self, members: Mapping[str, Any], body: Data, *, whole: bool, repeatable: bool) -> Answer:
        """One request, or as many more as the service refuses proofs: it did nothing then."""
        while True:
            payload = self._payloads.of_object(body, whole=whole)
            try:
                return self._send("PUT", members, body, payload, repeatable=repeatable)
            except Refused as refusal:
                if not self._payloads.learns(refusal, payload):
                    raise

    def _copied(self, result: str, source: Mapping[str, str], members: Mapping[str, Any]) -> Members:
        headers = {"x-amz-copy-source": encoded(f"{source['Bucket']}/{source['Key']}")}
        answer = self._send("PUT", members, headers=headers, repeatable=True)
        return {**_told(answer), result: _content(answer)}

    def _document(self, method: str, members: Mapping[str, Any], *args: Any, **more: Any) -> Members:
        return _content(self._send(method, members, *args, **more))

    def _send(
        self,
        method: str,
        members: Mapping[str, Any],
        body: Data = b"",
        payload: Payload | None = None,
        *,
        query: Mapping[str, str] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
        streamed: bool = False,
        repeatable: bool | None = None,
    ) -> Answer:
        fields = {_FIELDS[name]: _text(value) for name, value in members.items() if name in _FIELDS}
        asked = {_PARAMETERS[name]: _text(value) for name, value in members.items() if name in _PARAMETERS}
        return self._bucket.send(
            Request(
                method=method,
                key=members.get("Key"),
                query={**query, **asked},
                headers={**fields, **headers},
                body=body,
                payload=payload or self._payloads.of(body),
                streamed=streamed,
                repeatable=repeatable,
            )
        )


def _content(answer: Answer) -> Members:
    """What the body says. A copy and a completed upload answer with success before they may fail."""
    name, members = documents.parsed(answer.content)
    if name == "Error":
        said = refused(answer)
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, said.code, said.message)
    return members


def _told(answer: Answer) -> Members:
    return {_TOLD[name]: value for name, value in answer.headers.items() if name in _TOLD}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(value)
