"""A small S3 server in the test's own process: what a bucket is, without signatures, and with habits (`tests.servers.habits`).

A request costs a tenth of what it costs on `tests.servers.s3.ministack`; who is let in is that server's to tell.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from itertools import count
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.servers.process import HOST
from tests.servers.s3 import S3Server
from tests.servers.web import WebServer

#: A moment that all objects share: nothing here depends on it.
_WHEN = "2026-11-30T12:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Request:
    """``bucket`` and ``key`` decoded, ``query`` and ``headers`` by name (those of headers in lower case)."""

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    host: str = ""

    def has(self, name: str) -> bool:
        return name in self.query


@dataclass(frozen=True, slots=True)
class Answer:
    """``length`` is what a HEAD tells, ``announced``: whether the body's is told at all."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    announced: bool = True


Serve: TypeAlias = Callable[[Request], Answer]
#: Looks at a request before the service, may change it and its answer, or answer itself.
Habit: TypeAlias = Callable[[Request, Serve], Answer]


@dataclass(frozen=True, slots=True)
class Kept:
    data: bytes
    etag: str


@dataclass(slots=True)
class Upload:
    key: str
    parts: dict[int, Kept] = field(default_factory=dict)


@dataclass(slots=True)
class Bucket:
    """``versions`` None where the bucket keeps none; else every version of every key, the newest last, None a delete marker."""

    objects: dict[str, Kept] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    versions: dict[str, list[tuple[str, Kept | None]]] | None = None


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "refused") -> None:
        super().__init__(status, code, message)
        self.answer = error(status, code, message)


def error(status: int, code: str, message: str = "refused") -> Answer:
    return Answer(status, xml("Error", f"<Code>{code}</Code><Message>{message}</Message>"))


def xml(name: str, content: str) -> bytes:
    return f'<?xml version="1.0"?><{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'.encode()


def kept(data: bytes) -> Kept:
    return Kept(data, hashlib.md5(data, usedforsecurity=False).hexdigest())


@dataclass(slots=True)
class S3Memory:
    """``seen`` are the requests that came; habits are asked in their order. Of any thread."""

    habits: tuple[Habit, ...] = ()
    buckets: dict[str, Bucket] = field(default_factory=dict)
    seen: list[Request] = field(default_factory=list)
    port: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def server(self) -> S3Server:
        return S3Server(self.port, "memory-key", "memory-secret")

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """An object that somebody else wrote."""
        with self._lock:
            self._keep(self.buckets[bucket], key, kept(data))

    def answer(self, request: Request) -> Answer:
        self.seen.append(replace(request, body=b""))
        serve: Serve = self._serve
        for habit in reversed(self.habits):
            serve = _with(habit, serve)
        try:
            with self._lock:
                return serve(request)
        except Refusal as refusal:
            return refusal.answer

    def _serve(self, request: Request) -> Answer:
        if not request.key and request.method == "PUT" and not request.query:
            if request.bucket in self.buckets:
                raise Refusal(409, "BucketAlreadyOwnedByYou")
            self.buckets[request.bucket] = Bucket()
            return Answer()
        bucket = self.buckets.get(request.bucket)
        if bucket is None:
            raise Refusal(404, "NoSuchBucket")
        serve = self._of_objects if request.key else self._of_bucket
        return serve(bucket, request)

    # -- the bucket ----------------------------------------------------------------------------------------------

    def _of_bucket(self, bucket: Bucket, request: Request) -> Answer:
        match request.method:
            case "GET" if request.has("uploads"):
                return self._unfinished(bucket, request)
            case "GET" if request.has("versions"):
                return self._versions(bucket, request)
            case "GET":
                return self._listing(bucket, request)
            case "POST" if request.has("delete"):
                return self._delete_several(bucket, request)
            case "HEAD":
                return Answer()
        raise Refusal(405, "MethodNotAllowed")

    def _listing(self, bucket: Bucket, request: Request) -> Answer:
        query, encode = request.query, _encoder(request)
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = unquote(query["continuation-token"]) if request.has("continuation-token") else ""
        after = max(after, query.get("start-after", ""))
        limit = int(query.get("max-keys", 1000))
        entries: dict[str, str] = {}
        for key in sorted(bucket.objects):
            if not key.startswith(prefix):
                continue
            rest = key[len(prefix) :]
            common = (
                prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
            )
            name = common or key
            if name <= after or (common and after.startswith(common)):
                continue
            if common:
                entries[name] = f"<CommonPrefixes><Prefix>{encode(name)}</Prefix></CommonPrefixes>"
            else:
                entries[name] = _content(encode(key), bucket.objects[key])
        page = [*entries.items()][:limit]
        truncated = len(entries) > limit
        token = (
            f"<NextContinuationToken>{quote(page[-1][0], safe='')}</NextContinuationToken>"
            if truncated
            else ""
        )
        encoding = "<EncodingType>url</EncodingType>" if request.has("encoding-type") else ""
        return Answer(
            body=xml(
                "ListBucketResult",
                f"<Name>{request.bucket}</Name><Prefix>{encode(prefix)}</Prefix>{encoding}"
                f"<IsTruncated>{str(truncated).lower()}</IsTruncated>{token}{''.join(text for _, text in page)}",
            )
        )

    def _unfinished(self, bucket: Bucket, request: Request) -> Answer:
        encode, prefix = _encoder(request), request.query.get("prefix", "")
        found = "".join(
            f"<Upload><Key>{encode(upload.key)}</Key><UploadId>{name}</UploadId></Upload>"
            for name, upload in bucket.uploads.items()
            if upload.key.startswith(prefix)
        )
        encoding = "<EncodingType>url</EncodingType>" if request.has("encoding-type") else ""
        return Answer(
            body=xml("ListMultipartUploadsResult", f"{encoding}<IsTruncated>false</IsTruncated>{found}")
        )

    def _versions(self, bucket: Bucket, request: Request) -> Answer:
        encode, prefix = _encoder(request), request.query.get("prefix", "")
        kept_versions: Mapping[str, list[tuple[str, Kept | None]]] = (
            {key: [("null", found)] for key, found in bucket.objects.items()}
            if bucket.versions is None
            else bucket.versions
        )
        told = []
        for key, versions in sorted(kept_versions.items()):
            for number, (name, data) in enumerate(versions, start=1) if key.startswith(prefix) else ():
                element = "Version" if data is not None else "DeleteMarker"
                latest = str(number == len(versions)).lower()
                told.append(
                    f"<{element}><Key>{encode(key)}</Key><VersionId>{name}</VersionId>"
                    f"<IsLatest>{latest}</IsLatest></{element}>"
                )
        encoding = "<EncodingType>url</EncodingType>" if request.has("encoding-type") else ""
        return Answer(
            body=xml("ListVersionsResult", f"{encoding}<IsTruncated>false</IsTruncated>{''.join(told)}")
        )

    def _delete_several(self, bucket: Bucket, request: Request) -> Answer:
        for item in ElementTree.fromstring(request.body).iterfind("{*}Object"):
            key, version = item.findtext("{*}Key") or "", item.findtext("{*}VersionId")
            self._delete(bucket, key, version)
        return Answer(body=xml("DeleteResult", ""))

    # -- objects -------------------------------------------------------------------------------------------------

    def _of_objects(self, bucket: Bucket, request: Request) -> Answer:
        match request.method:
            case "GET" | "HEAD":
                return self._read(bucket, request)
            case "DELETE" if request.has("uploadId"):
                if bucket.uploads.pop(request.query["uploadId"], None) is None:
                    raise Refusal(404, "NoSuchUpload")
                return Answer(204)
            case "DELETE":
                self._delete(bucket, request.key, None)
                return Answer(204)
            case "POST" if request.has("uploads"):
                name = f"upload-{next(self._numbers)}"
                bucket.uploads[name] = Upload(request.key)
                return Answer(body=xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>"))
            case "POST" if request.has("uploadId"):
                return self._complete(bucket, request)
            case "PUT" if request.has("uploadId"):
                return self._part(bucket, request)
            case "PUT":
                return self._put(bucket, request)
        raise Refusal(405, "MethodNotAllowed")

    def _read(self, bucket: Bucket, request: Request) -> Answer:
        found = bucket.objects.get(request.key)
        if found is None:
            raise Refusal(404, "NoSuchKey")
        headers = {"ETag": f'"{found.etag}"', "Last-Modified": formatdate(0, usegmt=True)}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if span is None:
            return Answer(200, found.data, headers, len(found.data))
        first, size = int(span[1]), len(found.data)
        if first >= size:
            raise Refusal(416, "InvalidRange")
        last = min(int(span[2]), size - 1) if span[2] else size - 1
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return Answer(206, found.data[first : last + 1], headers, last + 1 - first)

    def _put(self, bucket: Bucket, request: Request) -> Answer:
        if request.headers.get("if-none-match") == "*" and request.key in bucket.objects:
            raise Refusal(412, "PreconditionFailed")
        source = request.headers.get("x-amz-copy-source")
        new = kept(request.body) if source is None else self._source(source)
        self._keep(bucket, request.key, new)
        if source is None:
            return Answer(headers={"ETag": f'"{new.etag}"'})
        told = f"<ETag>&quot;{new.etag}&quot;</ETag><LastModified>{_WHEN}</LastModified>"
        return Answer(body=xml("CopyObjectResult", told))

    def _part(self, bucket: Bucket, request: Request) -> Answer:
        upload = self._upload(bucket, request)
        source = request.headers.get("x-amz-copy-source")
        if source is None:
            new = kept(request.body)
        else:
            whole = self._source(source).data
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("x-amz-copy-source-range", ""))
            new = kept(whole[int(span[1]) : int(span[2]) + 1] if span else whole)
        upload.parts[int(request.query["partNumber"])] = new
        if source is None:
            return Answer(headers={"ETag": f'"{new.etag}"'})
        return Answer(body=xml("CopyPartResult", f"<ETag>&quot;{new.etag}&quot;</ETag>"))

    def _complete(self, bucket: Bucket, request: Request) -> Answer:
        upload = self._upload(bucket, request)
        if request.headers.get("if-none-match") == "*" and request.key in bucket.objects:
            raise Refusal(412, "PreconditionFailed")
        parts = []
        for item in ElementTree.fromstring(request.body).iterfind("{*}Part"):
            part = upload.parts.get(int(item.findtext("{*}PartNumber") or 0))
            if part is None or part.etag != (item.findtext("{*}ETag") or "").strip('"'):
                raise Refusal(400, "InvalidPart")
            parts.append(part)
        if not parts:
            raise Refusal(400, "MalformedXML")
        del bucket.uploads[request.query["uploadId"]]
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts), usedforsecurity=False)
        new = Kept(b"".join(part.data for part in parts), f"{digest.hexdigest()}-{len(parts)}")
        self._keep(bucket, request.key, new)
        return Answer(body=xml("CompleteMultipartUploadResult", f"<ETag>&quot;{new.etag}&quot;</ETag>"))

    def _upload(self, bucket: Bucket, request: Request) -> Upload:
        upload = bucket.uploads.get(request.query["uploadId"])
        if upload is None or upload.key != request.key:
            raise Refusal(404, "NoSuchUpload")
        return upload

    def _source(self, header: str) -> Kept:
        bucket, _, key = unquote(header).lstrip("/").partition("/")
        if bucket not in self.buckets:
            raise Refusal(404, "NoSuchBucket")
        found = self.buckets[bucket].objects.get(key)
        if found is None:
            raise Refusal(404, "NoSuchKey")
        return found

    def _keep(self, bucket: Bucket, key: str, new: Kept) -> None:
        bucket.objects[key] = new
        if bucket.versions is not None:
            bucket.versions.setdefault(key, []).append((f"v{next(self._numbers)}", new))

    def _delete(self, bucket: Bucket, key: str, version: str | None) -> None:
        if bucket.versions is None:
            bucket.objects.pop(key, None)
            return
        versions = bucket.versions.setdefault(key, [])
        if version is None:
            versions.append((f"v{next(self._numbers)}", None))
        else:
            versions[:] = [entry for entry in versions if entry[0] != version]
        newest = versions[-1][1] if versions else None
        if newest is None:
            bucket.objects.pop(key, None)
        else:
            bucket.objects[key] = newest
        if not versions:
            del bucket.versions[key]


def _with(habit: Habit, serve: Serve) -> Serve:
    return lambda request: habit(request, serve)


def _encoder(request: Request) -> Callable[[str], str]:
    return (lambda text: quote(text, safe="/")) if request.has("encoding-type") else escape


def _content(name: str, found: Kept) -> str:
    return (
        f"<Contents><Key>{name}</Key><LastModified>{_WHEN}</LastModified><ETag>&quot;{found.etag}&quot;</ETag>"
        f"<Size>{len(found.data)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


@contextmanager
def s3_memory(*habits: Habit, buckets: tuple[str, ...] = ()) -> Iterator[S3Memory]:
    """A service with these habits and these buckets, on a free port."""
    service = S3Memory(habits, {name: Bucket() for name in buckets})
    server = WebServer((HOST, 0), type("Handler", (_Handler,), {"service": service}))
    service.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one segment: else the body waits 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1
    service: S3Memory

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        path, _, query = self.path.partition("?")
        bucket, _, key = path.removeprefix("/").partition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(
            self.command,
            unquote(bucket),
            unquote(key),
            dict(parse_qsl(query, keep_blank_values=True)),
            headers,
            self.rfile.read(int(headers.get("content-length") or 0)),
            headers.get("host", ""),
        )
        self._answer(self.service.answer(request))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = answer.length if self.command == "HEAD" and answer.length is not None else len(answer.body)
        if answer.announced:
            self.send_header("Content-Length", str(length))
        elif self.command != "HEAD":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command == "HEAD":
            return
        if answer.announced:
            self.wfile.write(answer.body)
            return
        for start in range(0, len(answer.body), 65536):
            piece = answer.body[start : start + 65536]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")
