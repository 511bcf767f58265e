"""What the servers for OSS and COS share: an HTTP server that checks a vendor's signature and asks `ministack`.

There is no server for these protocols, so the vendor's own SDK talks to a front: it verifies the signature with code
of its own, turns the vendor's headers into those of S3, signs the request anew with the keys of the same account on
ministack, and turns the answer's headers and XML back. Objects, rights, parts and conditions are ministack's.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import parse_qsl, quote, unquote, urlencode
from uuid import uuid4

import crcmod
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers.process import HOST
from tests.servers.s3 import REGION, Ministack, S3Server, ministack
from tests.servers.web import WebServer

Headers = dict[str, str]

#: What the headers of `WriteOptions` begin with, behind the vendor's prefix.
_OPTIONS = ("storage-class", "tagging", "server-side-encryption")


@dataclass(frozen=True, slots=True)
class Request:
    """``path`` is raw (as it was sent, without the query), ``query`` decoded, ``headers`` by lower-case name."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Headers
    body: bytes

    @property
    def host(self) -> str:
        return self.headers.get("host", "")

    def has(self, name: str) -> bool:
        return any(name == key for key, _ in self.query)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: bytes

    @property
    def code(self) -> str:
        found = re.search(rb"<Code>([^<]*)</Code>", self.body) if self.status >= 300 else None
        return found[1].decode() if found else ""


class Refused(Exception):
    """The vendor's answer to a request that does not get through."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Key:
    """One key that the vendor gave out; with ``token`` a temporary one. ``account`` is whose rights it has."""

    secret: str
    account: S3Server
    token: str = ""


@dataclass(slots=True)
class Front(ABC):
    """One vendor's protocol. Subclasses say how requests are signed and how S3's words become the vendor's."""

    prefix: ClassVar[str]
    conditions: ClassVar[str]
    #: Headers and words of the vendor that S3 spells in another way than by its prefix.
    spellings: ClassVar[dict[str, str]]
    upstream: Ministack
    keys: dict[str, Key] = field(default_factory=dict)
    #: Buckets that keep versions of objects: there the vendors ignore the condition.
    versioned: set[str] = field(default_factory=set)
    #: Bucket and key of objects that must be restored from an archive before they are read.
    archived: set[tuple[str, str]] = field(default_factory=set)
    #: CRCs of objects by their etag, which tells contents apart.
    crcs: dict[str, str] = field(default_factory=dict)
    #: Tags of unfinished uploads by their id, as they were sent: the server below forgets them.
    tags: dict[str, str] = field(default_factory=dict)
    #: What came, without the bodies, for tests that look or count.
    seen: list[Request] = field(default_factory=list)
    port: int = 0

    @abstractmethod
    def verify(self, request: Request) -> Key:
        """The key that signed the request; `Refused` otherwise."""

    @abstractmethod
    def locate(self, request: Request) -> tuple[str, str]:
        """Bucket and key (decoded)."""

    @abstractmethod
    def source(self, value: str) -> str:
        """The value of the copy source header, as S3 writes it."""

    @abstractmethod
    def error(self, request: Request, status: int, code: str, message: str) -> Answer: ...

    def after(self, request: Request, answer: Answer) -> Answer:
        """Changes a good answer."""
        return answer

    @abstractmethod
    def allowed(self, request: Request, key: str) -> None:
        """`Refused` for what the vendor does not take and S3 would."""

    def answer(self, request: Request) -> Answer:
        self.seen.append(replace(request, body=b""))
        try:
            signer = self.verify(request)
            bucket, key = self.locate(request)
            self.allowed(request, key)
            self._readable(request, bucket, key)
        except Refused as exc:
            return self.error(request, exc.status, exc.code, exc.message)
        found = self.ask(request, signer.account, bucket, key)
        if found.status >= 300:
            status, code = self.translate_error(found)
            return self.error(request, status, code, "the request was refused")
        self._keep_tags(request, found, signer.account, bucket, key)
        found = self._with_crc(request, found, signer.account, bucket, key)
        return self.after(request, self.reworded(found))

    def _readable(self, request: Request, bucket: str, key: str) -> None:
        if request.method == "GET" and (bucket, key) in self.archived:
            raise Refused(403, "InvalidObjectState", "The operation is not valid for the object's state.")

    def _keep_tags(self, request: Request, answer: Answer, account: S3Server, bucket: str, key: str) -> None:
        started = re.search(rb"<UploadId>([^<]+)", answer.body) if request.has("uploads") else None
        if started:
            self.tags[started[1].decode()] = request.headers.get(f"{self.prefix}tagging", "")
        elif request.method == "POST" and request.has("uploadId"):
            tags = parse_qsl(self.tags.get(dict(request.query)["uploadId"], ""))
            tag_set: Any = [{"Key": name, "Value": value} for name, value in tags]
            if tag_set:
                account.client().put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tag_set})

    def _with_crc(self, request: Request, answer: Answer, account: S3Server, bucket: str, key: str) -> Answer:
        """The vendors tell the CRC of an object that was written or is looked at."""
        etag = answer.headers.get("etag", "")
        if request.method == "PUT" and request.body and not request.query:
            self.crcs[etag] = str(_CRC64(request.body))
        elif request.method == "HEAD" and key and etag not in self.crcs:
            whole = self.ask(Request("GET", request.path, (), {}, b""), account, bucket, key)
            self.crcs[etag] = str(_CRC64(whole.body))
        if request.query or etag not in self.crcs:
            return answer
        return replace(answer, headers={**answer.headers, f"{self.prefix}hash-crc64ecma": self.crcs[etag]})

    def translate_error(self, answer: Answer) -> tuple[int, str]:
        return answer.status, answer.code

    def reworded(self, answer: Answer) -> Answer:
        headers = {
            name.replace("x-amz-", self.prefix): self._in_vendors_words(value)
            for name, value in answer.headers.items()
            if name not in ("connection", "transfer-encoding", "content-length", "date", "server")
        }
        body = answer.body
        if body.lstrip().startswith(b"<") and "xml" in answer.headers.get("content-type", ""):
            body = re.sub(rb'\sxmlns(:\w+)?="[^"]*"', b"", body)
            body = re.sub(rb"(\d\d:\d\d:\d\d)(\.\d+)?(Z|\+00:00)<", rb"\1.000Z<", body)
            body = re.sub(
                rb"(<StorageClass>)([^<]+)",
                lambda found: found[1] + self._in_vendors_words(found[2].decode()).encode(),
                body,
            )
        if "content-length" in answer.headers and not body:
            headers["content-length"] = answer.headers["content-length"]
        return replace(answer, headers=headers, body=body)

    def _in_vendors_words(self, value: str) -> str:
        return next((ours for ours, theirs in self.spellings.items() if theirs == value), value)

    def ask(self, request: Request, account: S3Server, bucket: str, key: str) -> Answer:
        """The answer of ministack to the same request in its own words."""
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in ("content-type", "content-md5", "range") and value
        }
        headers |= {
            self.spellings.get(name, name.replace(self.prefix, "x-amz-")): self.spellings.get(value, value)
            for name, value in request.headers.items()
            if name.removeprefix(self.prefix).startswith(_OPTIONS)
        }
        conditional = request.headers.get(self.conditions) == "true" and bucket not in self.versioned
        if conditional and not request.has("uploads"):
            headers["if-none-match"] = "*"
        copied = request.headers.get(f"{self.prefix}copy-source")
        if copied is not None:
            headers["x-amz-copy-source"] = self.source(copied)
            copied_range = request.headers.get(f"{self.prefix}copy-source-range")
            if copied_range:
                headers["x-amz-copy-source-range"] = copied_range
        path = f"/{quote(bucket, safe='')}"
        if key:
            path += f"/{quote(key, safe='/~')}"
        # Flags such as `uploads` have no value; an empty value of anything else says nothing.
        query = [pair for pair in request.query if pair[1] or pair[0] in ("uploads", "delete")]
        target = path + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        return _sent(account, request.method, target, headers, request.body)


def _sent(account: S3Server, method: str, target: str, headers: Headers, body: bytes) -> Answer:
    headers = {**headers, "host": f"{HOST}:{account.port}"}
    headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    signed = AWSRequest(method, f"http://{HOST}:{account.port}{target}", headers=headers, data=body)
    S3SigV4Auth(Credentials(account.access_key, account.secret_key), "s3", REGION).add_auth(signed)
    connection = http.client.HTTPConnection(HOST, account.port, timeout=60)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in signed.headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, content)
    finally:
        connection.close()


def with_elements(body: bytes, root: str, *names: str) -> bytes:
    """The document with an empty element of each name that it lacks, where its root is ``root``."""
    if f"<{root}".encode() not in body:
        return body
    body = body.replace(f"<{root}/>".encode(), f"<{root}></{root}>".encode())
    missing = "".join(f"<{name}></{name}>" for name in names if f"<{name}>".encode() not in body)
    for name in names:
        body = body.replace(f"<{name}/>".encode(), f"<{name}></{name}>".encode())
    return body.replace(f"</{root}>".encode(), f"{missing}</{root}>".encode())


#: ECMA-182, as the vendors compute it.
_CRC64 = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)


def request_id() -> str:
    return uuid4().hex.upper()[:24]


def decoded_path(path: str) -> str:
    return unquote(path)


@contextmanager
def serving(front: Front) -> Iterator[None]:
    """The front on a free port, its ``port``."""
    handler = type("Handler", (_Handler,), {"front": front})
    server = WebServer((HOST, 0), handler)
    front.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def upstream() -> Iterator[Ministack]:
    with ministack() as server:
        yield server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one segment: else the body waits 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1
    front: Front

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        path, _, query = re.sub(r"^https?://[^/]*", "", self.path).partition("?")
        request = Request(
            self.command,
            path,
            tuple(parse_qsl(query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length") or 0)),
        )
        answer = self.front.answer(request)
        self.send_response_only(answer.status)
        headers = dict(answer.headers)
        length = headers.pop("content-length", None) if self.command == "HEAD" else None
        headers.pop("content-length", None)
        for name, value in headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", length or str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any
