"""Multipart uploads of the XML API: https://cloud.google.com/storage/docs/multipart-uploads, in path style."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from uuid import uuid4
from xml.etree import ElementTree

from tests.servers.gcs_store import Answer, Refusal, Request, attributes_of, check_hashes, invalid

if TYPE_CHECKING:
    from tests.servers.gcs import GcsServer

#: https://cloud.google.com/storage/quotas#requests
SMALLEST_PART = 5 * 1024 * 1024
PARTS = 10_000
_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def handle(server: GcsServer, request: Request) -> Answer:
    caller = server.accounts.caller(request)
    bucket, _, encoded = request.path.lstrip("/").partition("/")
    name = unquote(encoded)
    query = request.query
    if request.method == "GET" and "uploads" in query:
        server.accounts.require(caller, "storage.multipartUploads.list", bucket)
        return _unfinished(server, bucket, query)
    server.accounts.require(caller, "storage.multipartUploads.create", bucket)
    with server.store.lock:
        match request.method:
            case "POST" if "uploads" in query:
                return _start(server, bucket, name, request.headers)
            case "PUT" if "partNumber" in query:
                return _put_part(server, bucket, name, request)
            case "POST" if "uploadId" in query:
                return _complete(server, bucket, name, request)
            case "DELETE" if "uploadId" in query:
                _parts_of(server, bucket, name, query["uploadId"])
                del server.store.bucket(bucket).uploads[query["uploadId"]]
                return Answer(204)
    raise Refusal(405, "methodNotAllowed", "The specified method is not allowed.", "MethodNotAllowed")


def _start(server: GcsServer, bucket: str, name: str, headers: dict[str, str]) -> Answer:
    server.store.check(bucket, name, {})
    upload = uuid4().hex
    server.store.bucket(bucket).uploads[upload] = (name, {}, _attributes(headers))
    return _xml("InitiateMultipartUploadResult", {"Bucket": bucket, "Key": name, "UploadId": upload})


def _attributes(headers: dict[str, str]) -> dict[str, Any]:
    """https://cloud.google.com/storage/docs/xml-api/reference-headers"""
    resource: dict[str, Any] = {}
    if storage_class := headers.get("x-goog-storage-class"):
        resource["storageClass"] = storage_class
    if mode := headers.get("x-goog-object-lock-mode"):
        until = headers["x-goog-object-lock-retain-until-date"]
        modes = {"GOVERNANCE": "Unlocked", "COMPLIANCE": "Locked"}
        resource["retention"] = {"mode": modes[mode], "retainUntilTime": until}
    return attributes_of(resource, headers.get("x-goog-encryption-kms-key-name"))


def _put_part(server: GcsServer, bucket: str, name: str, request: Request) -> Answer:
    number = int(request.query["partNumber"])
    if not 1 <= number <= PARTS:
        raise invalid("Part number must be an integer between 1 and 10000, inclusive.")
    parts = _parts_of(server, bucket, name, request.query["uploadId"])
    check_hashes(request.headers.get("x-goog-hash", ""), request.body)
    parts[number] = request.body
    return Answer(200, b"", {"ETag": _etag(request.body)})


def _complete(server: GcsServer, bucket: str, name: str, request: Request) -> Answer:
    """Parts in ascending order, each as large as it must be but the last. There are no preconditions."""
    parts = _parts_of(server, bucket, name, request.query["uploadId"])
    listed = [
        (int(part.findtext("{*}PartNumber") or 0), part.findtext("{*}ETag"))
        for part in ElementTree.fromstring(request.body).iterfind("{*}Part")
    ]
    numbers = [number for number, _ in listed]
    if not numbers or numbers != sorted(set(numbers)):
        raise invalid("The list of parts was not in ascending order.", "InvalidPartOrder")
    if any(number not in parts or _etag(parts[number]) != etag for number, etag in listed):
        raise invalid("One or more of the specified parts could not be found.", "InvalidPart")
    if any(len(parts[number]) < SMALLEST_PART for number in numbers[:-1]):
        raise invalid(
            "Your proposed upload is smaller than the minimum allowed object size.", "EntityTooSmall"
        )
    _, _, attributes = server.store.bucket(bucket).uploads.pop(request.query["uploadId"])
    data = b"".join(parts[number] for number in numbers)
    server.store.put(bucket, name, data, whole=False, attributes=attributes)
    return _xml("CompleteMultipartUploadResult", {"Bucket": bucket, "Key": name, "ETag": '"of-parts"'})


def _unfinished(server: GcsServer, bucket: str, query: dict[str, str]) -> Answer:
    """https://cloud.google.com/storage/docs/xml-api/get-bucket-uploads: by key, then id; after both markers."""
    after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
    found = sorted(
        (name, upload)
        for upload, (name, _, _) in server.store.bucket(bucket).uploads.items()
        if name.startswith(query.get("prefix", "")) and (name, upload) > after
    )
    page = found[: server.page_size]
    root = ElementTree.Element("ListMultipartUploadsResult", xmlns=_SPACE)
    more = len(found) > len(page)
    _fill(root, {"Bucket": bucket, "IsTruncated": str(more).lower()})
    if more:
        _fill(root, {"NextKeyMarker": page[-1][0], "NextUploadIdMarker": page[-1][1]})
    for name, upload in page:
        _fill(ElementTree.SubElement(root, "Upload"), {"Key": name, "UploadId": upload})
    return Answer(200, ElementTree.tostring(root), {"Content-Type": "application/xml"})


def _parts_of(server: GcsServer, bucket: str, name: str, upload: str) -> dict[int, bytes]:
    owner, parts, _ = server.store.bucket(bucket).uploads.get(upload, ("", {}, {}))
    if owner != name:
        raise Refusal(404, "notFound", "The requested upload was not found.", "NoSuchUpload")
    return parts


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _xml(tag: str, texts: dict[str, str]) -> Answer:
    root = ElementTree.Element(tag, xmlns=_SPACE)
    _fill(root, texts)
    return Answer(200, ElementTree.tostring(root), {"Content-Type": "application/xml"})


def _fill(element: ElementTree.Element, texts: dict[str, str]) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(element, tag).text = text
